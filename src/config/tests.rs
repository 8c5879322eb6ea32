//! What is read, and what is refused and how.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::address::Host;
use crate::gate::rule::{Source, Verdict};

const MINIMAL: &str = r#"
[project.acme]
hosts = ["acme.db.example.com"]
allow = ["203.0.113.0/24"]
backend = "postgres://127.0.0.1:5432"
"#;

fn parse(text: &str) -> Config {
    match Config::parse(text, Path::new("proxy.toml")) {
        Ok(config) => config,
        Err(errors) => panic!("{errors}"),
    }
}

/// The problems as `line:column key: message`.
fn problems(text: &str) -> Vec<String> {
    let errors = Config::parse(text, Path::new("proxy.toml")).unwrap_err();
    errors.problems().iter().map(one_line).collect()
}

fn one_line(problem: &Problem) -> String {
    let place = problem
        .place()
        .map(|place| format!("{}:{}", place.line(), place.column()));
    format!(
        "{} {}: {}",
        place.unwrap_or_default(),
        problem.key(),
        problem.message()
    )
}

/// A project's table with some lines more.
fn with(lines: &str) -> String {
    format!("{MINIMAL}{lines}\n")
}

/// A directory with files of these names, and `proxy.toml` of that text.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[test]
fn a_minimal_file_gets_every_default() {
    let config = parse(MINIMAL);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(
        config.listeners[0].address,
        "127.0.0.1:6432".parse().unwrap()
    );
    assert_eq!(config.certs, Path::new("certs"));
    assert_eq!(config.login_timeout, Duration::from_secs(30));
    assert_eq!(config.tls_min_version, TlsVersion::V1_2);
    assert_eq!(
        config.admin,
        AdminListen::On("127.0.0.1:9432".parse().unwrap())
    );
    let project = &config.projects[&"acme".parse().unwrap()];
    assert_eq!(project.rules.len(), 1);
    assert_eq!(project.rules[0].place.to_string(), "proxy.toml:4");
    assert_eq!(project.on_revoke, OnRevoke::Cut);
    assert_eq!(project.refusal, RefusalMode::Explain);
    assert_eq!(project.max_sessions, config.limits.sessions_per_project);
    assert!(config.warnings.is_empty());
}

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
fn t25_a_project_must_say_whom_it_lets_in() {
    let missing = MINIMAL.replace("allow = [\"203.0.113.0/24\"]\n", "");
    assert_eq!(
        problems(&missing),
        ["2:10 project.acme: the key \"allow\" is missing"]
    );
    let empty = MINIMAL.replace("[\"203.0.113.0/24\"]", "[]");
    assert_eq!(
        problems(&empty),
        ["4:9 project.acme.allow: an empty list lets nobody in"]
    );
    let closed = parse(&MINIMAL.replace("203.0.113.0/24", "nowhere"));
    let project = &closed.projects[&"acme".parse().unwrap()];
    assert_eq!(project.rules[0].rule.source, Source::Nowhere);
    let both = MINIMAL.replace("[\"203", "[\"nowhere\", \"203");
    assert!(problems(&both)[0].contains("stands alone"));
}

#[test]
fn anywhere_is_let_in_with_a_warning() {
    for everybody in ["anywhere", "0.0.0.0/0", "::/0"] {
        let config = parse(&MINIMAL.replace("203.0.113.0/24", everybody));
        assert_eq!(config.warnings.len(), 1, "{everybody}");
        assert!(config.warnings[0].message().contains("whole Internet"));
    }
    let denied = parse(&with("deny = [\"anywhere\"]"));
    assert!(denied.warnings.is_empty());
}

#[test]
fn a_rule_is_a_string_or_a_table() {
    let config = parse(&with(
        "deny = [{ source = \"203.0.113.9\", note = \"left\", expires = 2999-01-31T18:00:00+01:00, \
         author = \"ann\", id = \"gone\" }, { source = \"::1\", expires = \"2000-01-01T00:00:00Z\" }]",
    ));
    let project = &config.projects[&"acme".parse().unwrap()];
    let rule = &project.rules[1].rule;
    assert_eq!(rule.verdict, Verdict::Deny);
    assert_eq!(rule.note.as_ref().unwrap().as_str(), "left");
    assert_eq!(rule.author.as_ref().unwrap().as_str(), "ann");
    assert_eq!(rule.id.to_string(), "gone");
    assert_eq!(rule.expires.unwrap().to_string(), "2999-01-31T17:00:00Z");
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].message().contains("has expired"));
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
fn a_given_id_is_unique_in_its_list_and_a_repeated_source_is_warned_about() {
    let twice = "deny = [{ source = \"::1\", id = \"a\" }, { source = \"::2\", id = \"a\" }]";
    let found = problems(&with(twice));
    assert_eq!(
        found,
        ["6:39 project.acme.deny[1]: the id a is taken by the rule at proxy.toml:6"]
    );
    let config = parse(&with("deny = [\"::1\", \"::1/128\"]"));
    assert!(
        config.warnings[0]
            .message()
            .contains("in this list already")
    );
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
fn listeners_have_a_short_and_a_long_form() {
    let text = "listen = [\"0.0.0.0:0\", \"0.0.0.0:0\"]\n[[listener]]\n\
                address = \"[::1]:7000\"\nproject = \"acme\"\n";
    let config = parse(&format!("{text}{MINIMAL}"));
    let shown: Vec<_> = config
        .listeners
        .iter()
        .map(|one| one.address.to_string())
        .collect();
    assert_eq!(shown, ["0.0.0.0:0", "0.0.0.0:0", "[::1]:7000"]);
    assert_eq!(
        config.listeners[2].project.as_ref().unwrap().as_str(),
        "acme"
    );
    assert_eq!(
        problems("listen = [\"127.0.0.1:1\"]\n[[listener]]\naddress = \"127.0.0.1:1\""),
        ["3:11 listener[0].address: 127.0.0.1:1 is listened on already, at proxy.toml:1"]
    );
    assert_eq!(problems("listen = []"), ["1:10 listen: nowhere to listen"]);
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
fn sslmode_follows_the_backend_and_contradictions_are_refused() {
    let of = |backend: &str, lines: &str| with(lines).replace("postgres://127.0.0.1:5432", backend);
    for local in [
        "/run/postgresql",
        "postgres://localhost",
        "postgres://[::1]",
    ] {
        let project = &parse(&of(local, "")).projects[&"acme".parse().unwrap()];
        assert_eq!(project.backend.sslmode, SslMode::Disable, "{local}");
    }
    for (backend, lines, told) in [
        ("postgres://10.0.0.5", "", "needs sslrootcert"),
        (
            "postgres://10.0.0.5",
            "sslmode = \"verify-ca\"",
            "needs sslrootcert",
        ),
        (
            "/run/postgresql",
            "sslmode = \"require\"",
            "over a Unix socket",
        ),
        (
            "postgres://10.0.0.5",
            "sslmode = \"require\"\nsslrootcert = \"/dev/null\"",
            "not used",
        ),
    ] {
        let found = problems(&of(backend, lines));
        assert!(found.iter().any(|one| one.contains(told)), "{found:?}");
    }
    parse(&of("postgres://10.0.0.5", "sslmode = \"disable\""));
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
fn tags_and_deny_are_read_from_files_and_their_bad_lines_shown() {
    let good = "# the office\n203.0.113.0/24\n\n  2001:db8::/32   # v6\n10.0.0.1-10.0.0.9\n";
    let text = format!(
        "deny = [\"198.51.100.7\", {{ file = \"feed.txt\" }}]\n{MINIMAL}\
         deny = [\"tag:office\"]\n[tags]\noffice = [\"192.0.2.1\", {{ file = \"office.txt\" }}]\n"
    );
    let directory = directory(&[
        ("proxy.toml", &text),
        ("feed.txt", good),
        ("office.txt", good),
    ]);
    let path = directory.path().join("proxy.toml");
    let config = Config::load(&path).unwrap();
    assert_eq!(config.deny.len(), 4);
    assert_eq!(config.tags[&"office".parse().unwrap()].len(), 4);
    assert_eq!(config.files.len(), 3);

    fs::write(
        directory.path().join("feed.txt"),
        format!("{good}10.0.0.5/8\nhello # you\n"),
    )
    .unwrap();
    let errors = Config::load(&path).unwrap_err();
    let shown: Vec<_> = errors.problems().iter().map(ToString::to_string).collect();
    assert!(
        shown[0].contains("feed.txt:6:1: deny[1]: 10.0.0.5/8 has bits set"),
        "{shown:?}"
    );
    assert!(
        shown[1].contains("feed.txt:7:1: deny[1]: `hello` is not an IP address"),
        "{shown:?}"
    );
    assert_eq!(shown.len(), 2);
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
fn the_effective_configuration_reads_back_as_itself() {
    let text = format!(
        "listen = [\"[::]:0\"]\ndefault_project = \"acme\"\ndeny = [\"10.0.0.1-10.0.0.9\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nproject = \"acme\"\n[tags]\n\"o-1\" = [\"::1\"]\n\
         {MINIMAL}deny = [{{ source = \"tag:o-1\", note = \"a \\\"b\\\" \\\\ c\", \
         expires = 2999-01-01T00:00:00Z, author = \"ann\", id = \"x\" }}]\n"
    );
    let config = parse(&text);
    let effective = config.effective_toml();
    let again = parse(&effective);
    assert_eq!(again.effective_toml(), effective);
    let project = |config: &Config| config.projects[&"acme".parse().unwrap()].clone();
    assert_eq!(project(&again).revision(), project(&config).revision());
    assert_eq!(again.limits, config.limits);
    assert_eq!(again.listeners.len(), 2);
}

#[test]
fn a_value_that_is_not_shown_stays_out_of_the_effective_configuration() {
    struct Secret(String);
    impl value::Value for Secret {
        fn read(item: &mut reader::Item<'_, '_>) -> Option<Self> {
            item.text("a secret").map(Self)
        }
        fn show(&self) -> String {
            value::quoted("redacted")
        }
    }
    let text = "password = \"s3cret\"";
    let table = DeTable::parse(text).unwrap();
    let mut reader = Reader::new(Document::new(Path::new("a"), text), Path::new(""));
    let secret: Option<Secret> = reader.root(&table, |root| root.optional("password"));
    assert_eq!(secret.unwrap().0, "s3cret");
    assert_eq!(reader.effective.to_string(), "password = \"redacted\"\n");
}

#[test]
fn a_quick_configuration_is_one_project_for_this_machine() {
    let spec = QuickSpec {
        backend: "postgres://127.0.0.1:5432".into(),
        allow: vec!["127.0.0.1".into()],
        certs: Some("certs".into()),
        listen: vec!["127.0.0.1:0".into()],
        ..QuickSpec::default()
    };
    let config = Config::quick(&spec).unwrap();
    let project = &config.projects[&"default".parse().unwrap()];
    let hosts: Vec<_> = project.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["localhost", "127.0.0.1"]);
    assert_eq!(config.listeners[0].address.port(), 0);
    let bad = QuickSpec {
        allow: vec!["10.0.0.5/8".into()],
        ..spec
    };
    let shown = Config::quick(&bad).unwrap_err().to_string();
    assert!(shown.contains("--> the command line:"), "{shown}");
}

#[test]
fn revisions_differ_with_the_rules_and_with_nothing_else() {
    let of = |text: &str| parse(text).projects[&"acme".parse().unwrap()].revision();
    let revision = of(MINIMAL);
    assert_eq!(of(&with("# a comment\nobserve = true")), revision);
    assert_eq!(
        of(&MINIMAL.replace("[\"203.0.113.0/24\"]", "[{source='203.0.113.0/24'}]")),
        revision
    );
    assert_ne!(of(&with("deny = [\"::1\"]")), revision);
    assert_ne!(of(&MINIMAL.replace("/24", "/25")), revision);
    assert_eq!(revision.to_string().parse::<Revision>().unwrap(), revision);
    assert_ne!(
        of(&with("deny = [{ source = \"::1\" }]")),
        of(&with("deny = [{ source = \"::1\", note = \"x\" }]"))
    );
}
