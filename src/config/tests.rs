//! What is read.

use crate::backend::SslMode;
use crate::pki::MinVersion;
use crate::project::{OnRevoke, RefusalStyle};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::address::Host;
use crate::gate::rule::{Source, Verdict};

mod backends;
mod clients;
mod effective;
mod refused;

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
    assert_eq!(config.tls_min_version, MinVersion::Tls12);
    assert_eq!(
        config.admin,
        AdminListen::On("127.0.0.1:9432".parse().unwrap())
    );
    let project = &config.projects[&"acme".parse().unwrap()];
    assert_eq!(project.rules.len(), 1);
    assert_eq!(project.rules[0].place.to_string(), "proxy.toml:4");
    assert_eq!(project.on_revoke, OnRevoke::Cut);
    assert_eq!(project.refusal, RefusalStyle::Explain);
    assert_eq!(project.max_sessions, config.limits.sessions_per_project);
    assert!(config.warnings.is_empty());
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
    assert_eq!(rule.note().unwrap().as_str(), "left");
    assert_eq!(rule.author().unwrap().as_str(), "ann");
    assert_eq!(rule.id.to_string(), "gone");
    assert_eq!(rule.expires().unwrap().to_string(), "2999-01-31T17:00:00Z");
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].message().contains("has expired"));
}

#[test]
fn t25_a_rule_that_is_there_twice_is_an_error_that_shows_both() {
    let twice = "deny = [{ source = \"::1\", id = \"a\" },\n { source = \"::2\", id = \"a\" }]";
    let help = "(give each rule an id of its own, or none)";
    let shown = |text: &str| -> Vec<String> {
        let errors = Config::parse(text, Path::new("proxy.toml")).unwrap_err();
        errors.problems().iter().map(ToString::to_string).collect()
    };
    let found = shown(&with(twice));
    let expected =
        "proxy.toml:7:2: project.acme.deny[1]: the id a is another rule's already, at proxy.toml:6";
    assert_eq!(found, [format!("{expected} {help}")]);
    let in_both = "deny = [{ source = \"::1\", id = \"a\" }]";
    let text = with(in_both).replace("allow = [", "allow = [{ source = \"::2\", id = \"a\" }, ");
    let found = shown(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("deny[0]") && found[0].contains("at proxy.toml:"),
        "{found:?}"
    );
    let errors = Config::parse(
        &with("deny = [\"::1\",\n\"::1/128\"]"),
        Path::new("proxy.toml"),
    );
    let shown = errors.unwrap_err().render(Style::Plain);
    assert!(shown.contains("::1 is in this list already"), "{shown}");
    assert!(
        shown.contains("6 | deny = [\"::1\",") && shown.contains("7 | \"::1/128\"]"),
        "{shown}"
    );
    // The same source may well be in both lists: deny wins.
    let first = parse(MINIMAL).projects[&"acme".parse().unwrap()].rules[0]
        .rule
        .source
        .to_string();
    parse(&with(&format!("deny = [{first:?}]")));
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
fn the_key_of_a_client_certificate_is_its_owners_alone() {
    let lines = "sslmode = \"require\"\nsslcert = \"gate.crt\"\nsslkey = \"gate.key\"";
    let directory = directory(&[
        ("proxy.toml", &with(lines)),
        ("gate.crt", ""),
        ("gate.key", ""),
    ]);
    let path = directory.path().join("proxy.toml");
    let key = directory.path().join("gate.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let config = Config::load(&path).unwrap();
    assert!(config.files.iter().any(|file| file.path() == key));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let errors = Config::load(&path).unwrap_err().to_string();
    assert!(
        errors.contains("project.acme.sslkey") && errors.contains("0644"),
        "{errors}"
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
    assert_eq!(config.deny.rules.len(), 1);
    assert_eq!(config.deny.files[0].networks.len(), 3);
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
fn t25_only_a_list_that_has_changed_is_compiled_again_whatever_its_file_looks_like() {
    let text = format!(
        "deny = [{{ file = \"feed.txt\" }}]\n{MINIMAL}[tags]\n\
         office = [\"192.0.2.1\", {{ file = \"office.txt\" }}]\nfeed = {{ file = \"feed.txt\" }}\n"
    );
    let directory = directory(&[
        ("proxy.toml", &text),
        ("feed.txt", "203.0.113.7\n"),
        ("office.txt", "198.51.100.7\n"),
    ]);
    let path = directory.path().join("proxy.toml");
    let load = |before: &Config| Config::load_main_again(&path, before.compiled()).unwrap();
    let first = Config::load(&path).unwrap();
    let feed = |config: &Config| Arc::clone(&config.deny.files[0].networks);
    let tag = |config: &Config, name: &str| Arc::clone(&config.tags[&name.parse().unwrap()]);
    // A file that two lists consist of is one set.
    assert!(Arc::ptr_eq(&feed(&first), &tag(&first, "feed")));
    let second = load(&first);
    assert!(Arc::ptr_eq(&feed(&first), &feed(&second)));
    assert!(Arc::ptr_eq(&tag(&first, "office"), &tag(&second, "office")));
    // In place, of the same size, and with the time from before.
    let feed_txt = directory.path().join("feed.txt");
    let file = fs::OpenOptions::new().write(true).open(&feed_txt).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    fs::write(&feed_txt, "203.0.113.8\n").unwrap();
    file.set_modified(modified).unwrap();
    let third = load(&second);
    let holds = |config: &Config, ip: &str| {
        let ip: std::net::IpAddr = ip.parse().unwrap();
        feed(config).contains(ip.into())
    };
    assert!(holds(&third, "203.0.113.8") && !holds(&third, "203.0.113.7"));
    assert!(Arc::ptr_eq(&tag(&third, "office"), &tag(&first, "office")));
    // What is in no list any more is forgotten with it.
    fs::write(&path, MINIMAL).unwrap();
    let fourth = load(&third);
    fs::write(&path, &text).unwrap();
    assert!(!Arc::ptr_eq(&feed(&load(&fourth)), &feed(&third)));
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

const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

#[test]
fn auth_scram_reads_a_file_of_verifiers_and_the_file_is_watched() {
    let users = format!("\"alice\" \"{VERIFIER}\"\n");
    let text = with("auth = \"scram\"\nverifiers = \"users.txt\"");
    let directory = directory(&[("users.txt", &users), ("proxy.toml", &text)]);
    let config = Config::load(&directory.path().join("proxy.toml")).unwrap();
    let AuthSpec::Scram(file) = &config.projects[&"acme".parse().unwrap()].auth else {
        panic!("not scram");
    };
    assert!(file.list.as_ref().unwrap().get(b"alice").is_some());
    let watched = |file: &SourceFile| file.path().ends_with("users.txt");
    assert!(config.files.iter().any(watched));
    assert!(!config.effective_toml().contains("SCRAM-SHA-256$"));
    let path = directory.path().join("users.txt");
    for (mode, warnings) in [(0o644, 1), (0o640, 0)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let config = Config::load(&directory.path().join("proxy.toml")).unwrap();
        assert_eq!(config.warnings.len(), warnings, "{mode:o}");
    }
}

#[test]
fn t34_a_bad_line_of_a_file_of_verifiers_is_told_by_its_number_alone() {
    let users = format!("\"alice\" \"{VERIFIER}\"\n\"bob\" \"hunter2\"\n");
    let text = with("auth = \"scram\"\nverifiers = \"users.txt\"");
    let directory = directory(&[("users.txt", &users), ("proxy.toml", &text)]);
    let errors = Config::load(&directory.path().join("proxy.toml")).unwrap_err();
    assert_eq!(errors.problems().len(), 1);
    let shown = errors.to_string();
    assert!(
        shown.contains("users.txt, line 2: not a SCRAM-SHA-256 verifier"),
        "{shown}"
    );
    assert!(
        !shown.contains("hunter2") && !shown.contains("W22Z"),
        "{shown}"
    );
}
