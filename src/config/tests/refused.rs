//! What is refused, and how that is shown.

use super::*;

#[test]
fn everything_wrong_is_reported_at_once_in_the_order_of_the_file() {
    let text = r#"
listen = ["localhost:6432", 5]
login_timout = "30s"
drain_timeout = "2d"
[log]
level = "loud"
[project.acme]
hosts = ["acme.example.com", "a b"]
allow = ["10.0.0.5/8", "10.0.0.0/8", { source = "tag:office", notes = "x" }]
backend = "postgres://10.0.0.5"
observe = "yes"
[project.Beta]
hosts = ["ACME.example.com."]
"#;
    assert_eq!(
        problems(text),
        [
            "2:11 listen[0]: \"localhost:6432\" is not an address and a port such as \
             \"127.0.0.1:6432\" or \"[::]:6432\"",
            "2:29 listen[1]: expected an address and a port such as \"127.0.0.1:6432\" or \
             \"[::]:6432\", found an integer",
            "3:1 login_timout: there is no such key",
            "4:17 drain_timeout: \"2d\" is not a duration such as \"30s\", \"1m 30s\" or \"500ms\"",
            "6:9 log.level: \"loud\" is not \"error\", \"warn\", \"info\" or \"debug\"",
            "8:30 project.acme.hosts[1]: not a DNS host name such as db.example.com or *.example.com",
            "9:10 project.acme.allow[0]: 10.0.0.5/8 has bits set behind its prefix; write \
             10.0.0.5/32 for the one address, or 10.0.0.0/8 for the whole network",
            "9:63 project.acme.allow[2].notes: there is no such key",
            "10:11 project.acme.backend: sslmode = \"verify-full\", the default for this backend, \
             needs sslrootcert",
            "11:11 project.acme.observe: expected true or false, found a string",
            "12:10 project.Beta: a project's name is 1 to 63 of a-z, 0-9 and '-', with no '-' at \
             either end",
            "12:10 project.Beta: the key \"allow\" is missing",
            "12:10 project.Beta: the key \"backend\" is missing",
        ]
    );
}

#[test]
fn t26_host_bits_are_refused_with_both_readings() {
    let found = problems(&MINIMAL.replace("203.0.113.0/24", "10.0.0.5/8"));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("10.0.0.5/32") && found[0].contains("10.0.0.0/8"),
        "{found:?}"
    );
}

#[test]
fn an_expiry_without_an_offset_is_refused() {
    for bad in [
        "2999-01-31T18:00:00",
        "2999-01-31",
        "\"tomorrow\"",
        "\"8h\"",
    ] {
        let found = problems(&with(&format!(
            "deny = [{{ source = \"::1\", expires = {bad} }}]"
        )));
        assert!(
            found[0].contains("deny[0].expires: expected a moment"),
            "{found:?}"
        );
    }
}

#[test]
fn an_unknown_key_is_told_its_nearest_neighbour() {
    let errors = Config::parse(&with("on_revok = \"cut\""), Path::new("proxy.toml")).unwrap_err();
    assert_eq!(
        errors.problems()[0].help(),
        Some("did you mean \"on_revoke\"?")
    );
    let errors = Config::parse("[projects.acme]", Path::new("proxy.toml")).unwrap_err();
    assert_eq!(
        errors.problems()[0].help(),
        Some("did you mean \"project\"?")
    );
    let errors = Config::parse("[tls]\nxyz = 1", Path::new("proxy.toml")).unwrap_err();
    assert_eq!(errors.problems()[0].help(), Some("known here: min_version"));
}

#[test]
fn an_error_shows_its_line_with_a_caret() {
    let errors = Config::parse(
        &MINIMAL.replace("203.0.113.0/24", "10.0.0.5/8"),
        Path::new("proxy.toml"),
    );
    let shown = errors.unwrap_err().to_string();
    assert_eq!(
        shown,
        "error: project.acme.allow[0]: 10.0.0.5/8 has bits set behind its prefix; write \
         10.0.0.5/32 for the one address, or 10.0.0.0/8 for the whole network
 --> proxy.toml:4:10
  |
4 | allow = [\"10.0.0.5/8\"]
  |          ^^^^^^^^^^^^

1 error
"
    );
}

#[test]
fn all_syntax_errors_are_reported_and_nothing_is_guessed_from_the_rest() {
    assert_eq!(problems("listen = \n[tls\n").len(), 2);
    let twice = problems("[tls]\nmin_version = \"1.2\"\nmin_version = \"1.3\"\nmax = 1\n");
    assert_eq!(
        twice,
        ["3:1 : duplicate key", "4:1 tls.max: there is no such key"]
    );
}

#[test]
fn t34_a_password_in_a_url_is_never_shown() {
    for bad in [
        "postgres://me:s3cr/et@10.0.0.5",
        "postgres://s3cret@h:1:1",
        "http://a:s3c@et@b",
    ] {
        let text = MINIMAL.replace("postgres://127.0.0.1:5432", bad);
        let shown = Config::parse(&text, Path::new("proxy.toml"))
            .unwrap_err()
            .to_string();
        assert!(
            shown.contains("backend = \"") && shown.contains("***@"),
            "{shown}"
        );
        assert!(!shown.contains("s3c") && !shown.contains("et@"), "{shown}");
    }
    let syntax = "backend = \"postgres://me:s3cret@10.0.0.5";
    let shown = Config::parse(syntax, Path::new("proxy.toml"))
        .unwrap_err()
        .to_string();
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_host_name_belongs_to_one_project_and_an_address_to_any() {
    let text = with(
        "[project.beta]\nhosts = [\"b.example.com\", \"ACME.db.example.com.\"]\n\
         allow = [\"::1\"]\nbackend = \"/run/postgresql\"",
    );
    assert_eq!(
        problems(&text),
        ["7:27 project.beta.hosts[1]: acme.db.example.com is taken by acme, at proxy.toml:3"]
    );
    let address = text.replace("ACME.db.example.com.", "127.0.0.1");
    let config = parse(&address.replace("\"acme.db.example.com\"", "\"127.0.0.1\""));
    let beta = &config.projects[&"beta".parse().unwrap()];
    assert_eq!(beta.hosts[1], Host::Address("127.0.0.1".parse().unwrap()));
}

#[test]
fn a_project_that_is_named_must_exist() {
    let text = "default_project = \"acne\"\n[[listener]]\naddress = \"[::1]:7000\"\n\
                project = \"other\"\n";
    let errors = Config::parse(&format!("{text}{MINIMAL}"), Path::new("proxy.toml")).unwrap_err();
    let helps: Vec<_> = errors.problems().iter().map(Problem::help).collect();
    assert_eq!(
        helps,
        [
            Some("did you mean \"acme\"?"),
            Some("define it as [project.other]")
        ]
    );
}

#[test]
fn a_missing_file_is_an_error_and_is_watched_for() {
    let directory = directory(&[(
        "proxy.toml",
        &with(
            "certificate = \"a.crt\"\nkey = \"a.key\"\nsslmode = \"verify-full\"\n\
               sslrootcert = \"root.crt\"\n[tags]\noffice = { file = \"office.txt\" }",
        ),
    )]);
    let errors = Config::load(&directory.path().join("proxy.toml")).unwrap_err();
    assert_eq!(errors.problems().len(), 4, "{errors}");
    assert!(
        errors
            .problems()
            .iter()
            .all(|one| one.message().contains("No such file"))
    );
    let watched: Vec<_> = errors
        .files()
        .iter()
        .map(|file| file.path().file_name())
        .collect();
    assert_eq!(watched.len(), 5);
    for name in ["a.crt", "a.key", "root.crt", "office.txt"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    assert!(
        errors
            .files()
            .iter()
            .filter(|file| file.has_changed())
            .count()
            == 4
    );
    let config = Config::load(&directory.path().join("proxy.toml")).unwrap();
    assert_eq!(config.files.len(), 5);
}

#[test]
fn certificate_and_key_come_together() {
    let found = problems(&with("certificate = \"/dev/null\""));
    assert!(
        found
            .iter()
            .any(|one| one.contains("\"certificate\" without \"key\"")),
        "{found:?}"
    );
}

#[test]
fn a_file_of_another_kind_shows_few_of_its_lines_and_no_key() {
    let text = format!("deny = [{{ file = \"feed.txt\" }}]\n{MINIMAL}");
    let directory = directory(&[
        ("proxy.toml", &text),
        ("feed.txt", &"nonsense\n".repeat(5000)),
    ]);
    let path = directory.path().join("proxy.toml");
    let errors = Config::load(&path).unwrap_err();
    assert_eq!(errors.problems().len(), 11);
    assert!(errors.to_string().contains("4990 more bad lines"));
    let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    fs::write(directory.path().join("feed.txt"), key).unwrap();
    let shown = Config::load(&path).unwrap_err().to_string();
    assert!(
        shown.contains("is PEM") && !shown.contains("c2VjcmV0"),
        "{shown}"
    );
}

#[test]
fn a_rule_for_an_unknown_tag_is_refused() {
    let text = with("deny = [\"::1\", \"tag:ofice\"]\n[tags]\noffice = []");
    let errors = Config::parse(&text, Path::new("proxy.toml")).unwrap_err();
    assert_eq!(
        one_line(&errors.problems()[0]),
        "6:16 project.acme.deny[1]: there is no tag ofice"
    );
    assert_eq!(
        errors.problems()[0].help(),
        Some("did you mean \"tag:office\"?")
    );
}

#[test]
fn numbers_and_durations_have_bounds() {
    let found = problems(
        "login_timeout = \"0s\"\n[limits]\nsessions = 0\nlogins = -1\n\
                          logins_per_source = 4294967296\nsessions_per_source = 1000001",
    );
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(
        found[0].contains("\"0s\" is not within \"1s\" to \"10m\""),
        "{found:?}"
    );
    assert_eq!(parse("[limits]\nsessions = 0x1_0").limits.sessions, 16);
}

#[test]
fn an_auth_that_contradicts_itself_is_refused() {
    let scram = problems(&with("auth = \"scram\""));
    assert_eq!(
        scram,
        ["6:8 project.acme.auth: auth = \"scram\" needs verifiers, or auth_query"]
    );
    for auth in ["passthrough", "password"] {
        let sslmode = "sslmode = \"require\"";
        let lines = format!("auth = \"{auth}\"\nverifiers = \"/dev/null\"\n{sslmode}");
        let found = problems(&with(&lines));
        let message = format!("7:13 project.acme.verifiers: not used by auth = \"{auth}\"");
        assert_eq!(found, [message]);
    }
    let password = problems(&with("auth = \"password\""));
    assert_eq!(
        password,
        ["6:8 project.acme.auth: auth = \"password\" would carry passwords over TCP without TLS"]
    );
    let socket =
        with("auth = \"password\"").replace("postgres://127.0.0.1:5432", "/run/postgresql:5432");
    parse(&socket);
    parse(&with("auth = \"password\"\nsslmode = \"require\""));
}
