//! `portcullis rules` beside a running gate, and rules as a client meets them (T23-T26, T28).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use serde_json::Value;

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Ran, Settings, rules, text};
use crate::support::message::alice;
use crate::support::raw::Raw;

fn acme(backend: &FakeBackend) -> Project {
    Project::new("acme", &backend.url())
}

fn proxy_toml(gate: &Gate) -> String {
    fs::read_to_string(gate.directory().join("proxy.toml")).unwrap()
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn an_added_rule_is_in_force_when_the_command_ends_and_a_removed_one_is_not() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend).allow(&["192.0.2.0/24"])]);
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
    let added = gate.rules(&["add", "acme", "127.0.0.1", "--note", "here"]);
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.err.contains("in force"), "{added:?}");
    gate.connect("acme").login(&alice());
    let removed = gate.rules(&["remove", "acme", "127.0.0.1"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
}

#[test]
fn list_shows_every_rule_with_its_hits_and_the_line_it_is_written_on() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend).allow(&["127.0.0.1", "192.0.2.0/24"])]);
    for _ in 0..3 {
        gate.connect("acme").login(&alice());
    }
    let listed = json(&gate.rules(&["list", "acme", "--json"]));
    let rule = &listed["rules"][0];
    assert_eq!(rule["source"], "127.0.0.1");
    assert_eq!(rule["hits"], 3);
    assert!(rule["last_hit"].is_string(), "{listed}");
    assert_eq!(listed["rules"][1]["hits"], 0);
    assert_eq!(listed["revision"], listed["revision_in_force"]);
    let line = usize::try_from(rule["line"].as_u64().unwrap()).unwrap();
    let written = proxy_toml(&gate).lines().nth(line - 1).unwrap().to_owned();
    assert!(written.starts_with("allow = "), "{written}");
    let table = gate.rules(&["list", "acme"]);
    assert!(table.out.contains("proxy.toml:"), "{table:?}");
    assert!(table.out.contains("in force"), "{table:?}");
}

#[test]
fn hits_go_on_counting_over_a_change() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    gate.connect("acme").login(&alice());
    assert_eq!(gate.rules(&["add", "acme", "192.0.2.1"]).code, 0);
    gate.connect("acme").login(&alice());
    let listed = json(&gate.rules(&["list", "acme", "--json"]));
    assert_eq!(listed["rules"][0]["hits"], 2, "{listed}");
}

#[test]
fn test_says_whether_an_address_may_come_in_by_which_rule_and_where_it_is_written() {
    let backend = FakeBackend::welcoming();
    let project = acme(&backend)
        .allow(&["127.0.0.1", "192.0.2.0/24"])
        .text_list("deny", &["192.0.2.7"]);
    let gate = Gate::start(&[project]);
    gate.connect("acme").login(&alice());
    let allowed = gate.rules(&["test", "acme", "127.0.0.1"]);
    assert_eq!(allowed.code, 0, "{allowed:?}");
    assert!(
        allowed.out.starts_with("allowed: 127.0.0.1 "),
        "{allowed:?}"
    );
    assert!(allowed.out.contains("hits: 1"), "{allowed:?}");
    let denied = gate.rules(&["test", "acme", "192.0.2.7"]);
    assert_eq!(denied.code, 1, "{denied:?}");
    assert!(denied.out.contains("by deny 192.0.2.7 "), "{denied:?}");
    assert!(denied.out.contains("proxy.toml:"), "{denied:?}");
    assert!(
        denied.out.contains("not by allow 192.0.2.0/24 "),
        "{denied:?}"
    );
    let nobody = gate.rules(&["test", "acme", "198.51.100.1"]);
    assert_eq!(nobody.code, 1, "{nobody:?}");
    assert!(nobody.out.contains("no rule matches"), "{nobody:?}");
    for wrong in [
        ["test", "acme", "198.51.100"],
        ["test", "globex", "198.51.100.1"],
    ] {
        assert_eq!(gate.rules(&wrong).code, 64);
    }
}

#[test]
fn t23_an_ipv4_mapped_address_is_tested_as_ipv4() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    assert_eq!(gate.rules(&["test", "acme", "::ffff:127.0.0.1"]).code, 0);
}

#[test]
fn without_a_running_gate_the_file_alone_answers_and_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let toml = "[project.acme]\nhosts = [\"a.localhost\"]\nallow = [\"192.0.2.1\"]\nbackend = \"postgres://127.0.0.1\"\n";
    fs::write(directory.path().join("proxy.toml"), toml).unwrap();
    let run = |arguments: &[&str]| rules(directory.path(), arguments, None);
    let listed = run(&["list", "acme"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(
        listed.out.contains("no gate answers at certs/control.sock"),
        "{listed:?}"
    );
    let tested = run(&["test", "acme", "192.0.2.1"]);
    assert_eq!(tested.code, 0, "{tested:?}");
    assert!(tested.out.contains("no gate answers"), "{tested:?}");
    let added = run(&["add", "acme", "192.0.2.2"]);
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.err.contains("no gate answers"), "{added:?}");
}

#[test]
fn a_change_that_shuts_out_whoever_makes_it_needs_force() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend).allow(&["127.0.0.1", "203.0.113.9"])]);
    let before = proxy_toml(&gate);
    let refused = gate.rules_from("203.0.113.9", &["remove", "acme", "203.0.113.9"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused
            .err
            .contains("203.0.113.9, the address that you come from"),
        "{refused:?}"
    );
    let told = ["remove", "acme", "203.0.113.9", "--from", "203.0.113.9"];
    assert_eq!(gate.rules(&told).code, 1);
    assert_eq!(proxy_toml(&gate), before);
    assert_eq!(
        gate.rules_from("203.0.113.9", &["remove", "acme", "127.0.0.1"])
            .code,
        0
    );
    let forced = ["replace", "acme", "192.0.2.1", "--force"];
    assert_eq!(gate.rules_from("203.0.113.9", &forced).code, 0);
}

#[test]
fn a_change_that_leaves_nobody_needs_force() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let before = proxy_toml(&gate);
    for change in [
        ["remove", "acme", "127.0.0.1"],
        ["replace", "acme", "nowhere"],
    ] {
        let refused = gate.rules(&change);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.err.contains("nobody"), "{refused:?}");
    }
    assert_eq!(proxy_toml(&gate), before);
    let forced = gate.rules(&["remove", "acme", "127.0.0.1", "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
}

#[test]
fn a_dry_run_shows_the_diff_and_the_sessions_it_would_cut_and_changes_nothing() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend), Project::new("globex", &backend.url())]);
    let before = proxy_toml(&gate);
    let mut clients: Vec<_> = (0..2).map(|_| gate.connect("acme")).collect();
    clients
        .iter_mut()
        .for_each(|client| drop(client.login(&alice())));
    let mut other = gate.connect("globex");
    other.login(&alice());
    let dry = gate.rules(&["replace", "acme", "192.0.2.1", "--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(dry.out.contains("-allow = [\"127.0.0.1\"]"), "{dry:?}");
    assert!(dry.out.contains("+allow = [\"192.0.2.1\"]"), "{dry:?}");
    assert!(
        dry.err.contains("cuts 2 of 2 live sessions of acme"),
        "{dry:?}"
    );
    let harmless = gate.rules(&["add", "acme", "192.0.2.1", "--dry-run"]);
    assert!(
        harmless.err.contains("cuts 0 of 2 live sessions"),
        "{harmless:?}"
    );
    assert_eq!(proxy_toml(&gate), before);
    clients.iter_mut().for_each(|client| client.is_alive());
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    thread::scope(|scope| {
        for host in 1..=6 {
            let gate = &gate;
            scope.spawn(move || {
                let added = gate.rules(&["add", "acme", &format!("192.0.2.{host}")]);
                assert_eq!(added.code, 0, "{added:?}");
            });
        }
    });
    let listed = json(&gate.rules(&["list", "acme", "--json"]));
    assert_eq!(listed["rules"].as_array().unwrap().len(), 7, "{listed}");
}

#[test]
fn a_change_for_another_revision_is_refused() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let revision = json(&gate.rules(&["list", "acme", "--json"]))["revision"].clone();
    let add = |source: &str| {
        gate.rules(&[
            "add",
            "acme",
            source,
            "--if-revision",
            revision.as_str().unwrap(),
        ])
    };
    assert_eq!(add("192.0.2.1").code, 0);
    let late = add("192.0.2.2");
    assert_eq!(late.code, 1, "{late:?}");
    assert!(late.err.contains("somebody changed them"), "{late:?}");
}

#[test]
fn t26_host_bits_are_refused_with_both_readings() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let wrong = gate.rules(&["add", "acme", "10.0.0.5/8"]);
    assert_eq!(wrong.code, 64, "{wrong:?}");
    assert!(
        wrong.err.contains("10.0.0.5/32") && wrong.err.contains("10.0.0.0/8"),
        "{wrong:?}"
    );
}

#[test]
fn an_import_carries_notes_over_and_names_what_it_skips() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let json_file = r#"{"rules": [
        {"uuid": "u", "type": "ip_addr", "value": "192.0.2.7", "description": "Ann at home"},
        {"uuid": "v", "type": "droplet", "value": "163973392"}]}"#;
    fs::write(gate.directory().join("do.json"), json_file).unwrap();
    let imported = gate.rules(&["import", "acme", "--from", "digitalocean", "do.json"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert!(imported.err.contains("droplet 163973392"), "{imported:?}");
    let listed = json(&gate.rules(&["list", "acme", "--json"]));
    assert_eq!(listed["rules"][1]["source"], "192.0.2.7");
    assert_eq!(listed["rules"][1]["note"], "Ann at home");
}

#[test]
fn t25_an_import_with_a_bad_entry_changes_nothing_and_names_every_bad_one() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let before = proxy_toml(&gate);
    let file = r#"{"config": {"dbAllowedCidrs": ["128.12.1.1/16", "192.0.2.0/24", "x"]}}"#;
    fs::write(gate.directory().join("s.json"), file).unwrap();
    let refused = gate.rules(&["import", "acme", "--from", "supabase", "s.json"]);
    assert_eq!(refused.code, 64, "{refused:?}");
    for told in [
        "config.dbAllowedCidrs[0]: 128.12.1.1/16",
        "128.12.0.0/16",
        "config.dbAllowedCidrs[2]",
    ] {
        assert!(refused.err.contains(told), "{told}: {refused:?}");
    }
    assert_eq!(proxy_toml(&gate), before);
}

#[test]
fn t25_an_import_of_an_empty_list_opens_and_closes_nothing() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let before = proxy_toml(&gate);
    let file = r#"{"project": {"settings": {"allowed_ips": {"ips": []}}}}"#;
    fs::write(gate.directory().join("n.json"), file).unwrap();
    let refused = gate.rules(&[
        "import",
        "acme",
        "--from",
        "neon",
        "n.json",
        "--replace",
        "--force",
    ]);
    assert_eq!(refused.code, 64, "{refused:?}");
    assert_eq!(proxy_toml(&gate), before);
}

#[test]
fn the_control_socket_is_its_owners_alone_and_goes_with_the_gate() {
    let backend = FakeBackend::welcoming();
    let settings = Settings::new(&[acme(&backend)]).top("drain_timeout = \"0s\"");
    let mut gate = Gate::with(&settings);
    let socket = gate.directory().join("certs/control.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    gate.signal("TERM");
    assert!(gate.ended().success());
    assert!(!socket.exists());
}

#[test]
fn observe_lets_in_whom_the_rules_deny_and_logs_them_as_such() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend).allow(&["nowhere"]).set("observe", "true")]);
    gate.connect("acme").login(&alice());
    let opened = gate.log().wait("session opened", |line| {
        text(line, "message") == "session opened"
    });
    assert_eq!(text(&opened, "observed"), "true", "{opened}");
    let tested = gate.rules(&["test", "acme", "127.0.0.1"]);
    assert_eq!(tested.code, 1, "{tested:?}");
    assert!(tested.out.contains("observes"), "{tested:?}");
}

#[test]
fn refusal_drop_closes_before_tls() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&[acme(&backend).allow(&["nowhere"]).text("refusal", "drop")]);
    let mut client = Raw::connect(gate.addr())
        .ask_for_tls()
        .begin_tls(&gate.tls("acme"));
    client.handshake().expect_err("a close");
}

#[test]
fn t28_the_rule_and_the_log_are_about_the_clients_own_address() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend).allow(&["127.0.0.0/30"])]);
    gate.connect("acme").login(&alice());
    let opened = gate.log().wait("session opened", |line| {
        text(line, "message") == "session opened"
    });
    assert!(
        text(&opened, "client").starts_with("127.0.0.1:"),
        "{opened}"
    );
    assert_eq!(text(&opened, "rule"), "127.0.0.0/30");
}

/// Loopback is on the feed: nobody here reaches as much as an answer to SSLRequest.
#[test]
fn a_deny_file_of_a_million_lines_is_applied_at_accept_and_reloaded() {
    let backend = FakeBackend::welcoming();
    let directory = tempfile::tempdir().unwrap();
    let feed: String = (0..1_000_000_u32)
        .map(|n| format!("{}\n", std::net::Ipv4Addr::from_bits(0x0A00_0000 + n * 3)))
        .collect();
    fs::write(directory.path().join("feed.txt"), &feed).unwrap();
    let settings = Settings::new(&[acme(&backend)]).top("deny = [{ file = \"feed.txt\" }]");
    let gate = Gate::within(directory, &settings);
    gate.connect("acme").login(&alice());
    let before = gate.log().len();
    fs::write(gate.directory().join("new.txt"), feed + "127.0.0.1\n").unwrap();
    fs::rename(
        gate.directory().join("new.txt"),
        gate.directory().join("feed.txt"),
    )
    .unwrap();
    gate.log()
        .wait_after(before, "configuration reloaded", |line| {
            text(line, "message") == "configuration reloaded"
        });
    let mut denied = Raw::connect(gate.addr());
    denied.send(&crate::support::message::ssl_request());
    assert_eq!(denied.until_closed(), b"");
    let tested = gate.rules(&["test", "acme", "127.0.0.1"]);
    assert_eq!(tested.code, 1, "{tested:?}");
    assert!(tested.out.contains("process-wide deny list"), "{tested:?}");
}

#[test]
fn letting_in_the_whole_internet_is_warned_about_and_a_broken_file_is_one_error() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let added = gate.rules(&["add", "acme", "anywhere", "--dry-run"]);
    assert!(
        added
            .err
            .contains("warning: anywhere lets in the whole Internet"),
        "{added:?}"
    );
    let other = gate.rules(&["add", "acme", "192.0.2.1", "--dry-run"]);
    assert!(!other.err.contains("warning"), "{other:?}");
    gate.rewrite_text("what = 1\n");
    let broken = gate.rules(&["list", "acme"]);
    assert_eq!(broken.code, 64, "{broken:?}");
    assert!(
        broken.err.starts_with("error: ") && !broken.err.contains("error: error"),
        "{broken:?}"
    );
}
