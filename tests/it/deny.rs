//! The process-wide deny list, as a client and an operator meet it (T27).

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Ran, Settings, directory_of, edited, text};
use crate::support::message::{alice, ssl_request};
use crate::support::raw::Raw;

fn acme(backend: &FakeBackend) -> Project {
    Project::new("acme", &backend.url())
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

fn proxy_toml(gate: &Gate) -> String {
    fs::read_to_string(gate.directory().join("proxy.toml")).unwrap()
}

fn deny(backend: &FakeBackend, lines: &str) -> Settings {
    Settings::new(&[acme(backend)]).top(lines)
}

#[test]
fn the_process_wide_deny_list_takes_rules_and_files_and_says_which_entry_it_was() {
    let backend = FakeBackend::untouchable();
    let directory = directory_of(&[(
        "feed.txt",
        "# a feed\n192.0.2.0/24 ; SBL1\n127.0.0.0/8\n127.0.0.0/30\n",
    )]);
    let gate = Gate::within(
        directory,
        &deny(&backend, "deny = [{ file = \"feed.txt\" }]"),
    );
    for _ in 0..2 {
        assert_eq!(Raw::connect(gate.addr()).until_closed(), b"");
    }
    let tested = gate.rules(&["test", "acme", "127.0.0.1"]);
    assert_eq!(tested.code, 1, "{tested:?}");
    for said in [
        "denied: 127.0.0.1",
        "deny list, before a byte is read: 127.0.0.0/30, at feed.txt:4",
        "hits of all of this file: 2, the last at",
        "were it not there: allow 127.0.0.1",
    ] {
        assert!(tested.out.contains(said), "{said}: {tested:?}");
    }
    let rule = "deny = [\n  \"tag:bad\",\n  { source = \"127.0.0.1\", note = \"a guest\", id = \"guest\" },\n]";
    let before = gate.log().len();
    gate.rewrite(&deny(&backend, rule).table("[tags]\nbad = [\"192.0.2.0/24\"]\n"));
    gate.log().wait_after(before, "reloaded", |line| {
        text(line, "message") == "configuration reloaded"
    });
    assert_eq!(Raw::connect(gate.addr()).until_closed(), b"");
    let refused = gate
        .log()
        .wait_after(before, "a refusal", |line| line["reason"] == "deny_listed");
    assert_eq!(refused["rule"], "127.0.0.1");
    let tested = json(&gate.rules(&["test", "acme", "127.0.0.1", "--json"]));
    let entry = &tested["deny_listed"];
    assert_eq!(
        (&entry["id"], &entry["note"], &entry["hits"]),
        (&"guest".into(), &"a guest".into(), &1.into())
    );
    let line = entry["written"]
        .as_str()
        .unwrap()
        .strip_prefix("proxy.toml:")
        .unwrap();
    let line: usize = line.parse().unwrap();
    assert!(
        proxy_toml(&gate)
            .lines()
            .nth(line - 1)
            .unwrap()
            .contains("guest"),
        "{tested}"
    );
    let tested = gate.rules(&["test", "acme", "192.0.2.7"]);
    assert!(
        tested.out.contains("read: tag:bad, at proxy.toml:"),
        "{tested:?}"
    );
}

#[test]
fn an_entry_of_the_deny_list_that_expires_turns_nobody_away_without_a_reload() {
    let backend = FakeBackend::welcoming();
    // To the millisecond, as it is written below.
    let soon = jiff::Timestamp::now().as_millisecond() + 2_000;
    let soon = jiff::Timestamp::from_millisecond(soon).unwrap();
    let entry = format!("deny = [{{ source = \"127.0.0.1\", expires = {soon:.3} }}]");
    let gate = Gate::with(&deny(&backend, &entry));
    assert_eq!(Raw::connect(gate.addr()).until_closed(), b"");
    // It is asked again and again: each answer comes by itself, so nothing here waits for a time.
    let comes_in = || {
        let mut raw = Raw::connect(gate.addr());
        raw.send(&ssl_request());
        std::io::Read::read(&mut raw.stream, &mut [0]).is_ok_and(|read| read == 1)
    };
    while !comes_in() {
        assert!(jiff::Timestamp::now() < soon + jiff::SignedDuration::from_secs(30));
    }
    assert!(jiff::Timestamp::now() >= soon);
    gate.connect("acme").login(&alice());
}

#[test]
fn a_deny_file_of_a_million_networks_loads_reloads_and_turns_away() {
    let backend = FakeBackend::welcoming();
    let mut feed = String::new();
    for n in 0..1_000_000_u32 {
        // An odd multiplier visits every address once; 127.0.0.0/8 stays out of it.
        let ip = std::net::Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b1));
        if !ip.is_loopback() {
            writeln!(feed, "{ip}").unwrap();
        }
    }
    let directory = directory_of(&[("feed.txt", &feed)]);
    let gate = Gate::within(
        directory,
        &deny(&backend, "deny = [{ file = \"feed.txt\" }]"),
    );
    let mut session = gate.connect("acme");
    session.login(&alice());
    session.is_alive();
    feed.push_str("127.0.0.1\n");
    fs::write(gate.directory().join("feed.txt"), &feed).unwrap();
    session.message().error().assert_fatal("57P01");
    assert_eq!(Raw::connect(gate.addr()).until_closed(), b"");
    let tested = gate.rules(&["test", "acme", "127.0.0.1"]);
    let line = format!("at feed.txt:{}", feed.lines().count());
    assert!(tested.out.contains(&line), "{tested:?}");
}

#[test]
fn deny_add_closes_on_an_address_and_its_live_sessions_and_remove_lets_it_in_again() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::with(&deny(
        &backend,
        "# who is bad\ndeny = [\"192.0.2.0/24\"] # scanners",
    ));
    let before = proxy_toml(&gate);
    let mut session = gate.connect("acme");
    session.login(&alice());
    let dry = gate.deny(&["add", "127.0.0.1", "--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(dry.err.contains("cuts 1 of 1 live sessions\n"), "{dry:?}");
    assert_eq!(proxy_toml(&gate), before);
    session.is_alive();
    let note = ["--note", "a guest", "--expires", "8h", "--author", "ann"];
    let added = gate.deny(&[&["add", "127.0.0.1"], &note[..]].concat());
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.err.contains("deny list is at revision"), "{added:?}");
    assert!(added.err.ends_with(", in force\n"), "{added:?}");
    session.message().error().assert_fatal("57P01");
    assert_eq!(Raw::connect(gate.addr()).until_closed(), b"");
    // Neither the project nor the rest of the line has changed.
    let written = proxy_toml(&gate);
    assert!(
        written.contains("# who is bad\ndeny = [\"192.0.2.0/24\", {"),
        "{written}"
    );
    assert!(written.contains("\"ann\" }] # scanners\n"), "{written}");
    let removed = gate.deny(&["remove", "127.0.0.1"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert_eq!(proxy_toml(&gate), before);
    gate.connect("acme").login(&alice());
}

#[test]
fn deny_list_shows_rules_and_files_with_their_hits_and_deny_test_the_entry_that_decides() {
    let backend = FakeBackend::welcoming();
    let directory = directory_of(&[("feed.txt", "192.0.2.0/24\n198.51.100.0/24\n")]);
    let entries = "deny = [{ file = \"feed.txt\" }, { source = \"127.0.0.1\", note = \"me\" }]";
    let gate = Gate::within(directory, &deny(&backend, entries));
    for _ in 0..2 {
        assert_eq!(Raw::connect(gate.addr()).until_closed(), b"");
    }
    let listed = json(&gate.deny(&["list", "--json"]));
    assert_eq!(listed["revision"], listed["revision_in_force"]);
    let (rule, file) = (&listed["rules"][0], &listed["files"][0]);
    assert_eq!(
        (&rule["source"], &rule["note"]),
        (&"127.0.0.1".into(), &"me".into())
    );
    assert_eq!(rule["hits"], 2);
    assert!(rule["last_hit"].is_string(), "{listed}");
    assert_eq!(
        (&file["file"], &file["networks"]),
        (&"feed.txt".into(), &2.into())
    );
    assert_eq!(file["hits"], 0);
    let table = gate.deny(&["list"]);
    for said in [
        "SOURCE",
        "NETWORKS",
        "the process-wide deny list: revision ",
        ", in force",
    ] {
        assert!(table.out.contains(said), "{said}: {table:?}");
    }
    for (address, said) in [
        ("127.0.0.1", "read: 127.0.0.1, at proxy.toml:"),
        ("::ffff:192.0.2.7", "read: 192.0.2.0/24, at feed.txt:1\n"),
    ] {
        let tested = gate.deny(&["test", address]);
        assert_eq!(tested.code, 1, "{tested:?}");
        assert!(tested.out.starts_with("denied: "), "{tested:?}");
        assert!(tested.out.contains(said), "{said}: {tested:?}");
    }
    let tested = gate.deny(&["test", "203.0.113.7"]);
    assert_eq!(tested.code, 0, "{tested:?}");
    assert!(
        tested.out.starts_with("not denied: 203.0.113.7 "),
        "{tested:?}"
    );
    // What stands in a file is no rule to remove.
    let gone = gate.deny(&["remove", "192.0.2.0/24"]);
    assert_eq!(gone.code, 64, "{gone:?}");
    assert!(
        gone.err.contains("deny list has no rule for 192.0.2.0/24"),
        "{gone:?}"
    );
}

#[test]
fn a_deny_that_shuts_out_whoever_makes_it_or_everybody_needs_force() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::with(&deny(&backend, ""));
    let before = proxy_toml(&gate);
    for (change, why) in [
        (
            &["add", "203.0.113.0/24", "--from", "203.0.113.9"][..],
            "shuts out 203.0.113.9",
        ),
        (&["add", "0.0.0.0/0"], "closes on everybody in 0.0.0.0/0"),
    ] {
        let refused = gate.deny(change);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.err.contains(why), "{refused:?}");
        assert!(refused.err.contains("--force"), "{refused:?}");
    }
    for wrong in ["anywhere", "endpoint:vpce-1", "tag:unknown"] {
        assert_eq!(gate.deny(&["add", wrong]).code, 64, "{wrong}");
    }
    assert_eq!(proxy_toml(&gate), before);
    let forced = gate.deny(&["add", "203.0.113.0/24", "--from", "203.0.113.9", "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
}

#[test]
fn without_a_running_gate_the_deny_list_is_what_the_file_says() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::with(&deny(&backend, "deny = [\"127.0.0.0/8\"]"));
    let directory = gate.stopped();
    fs::remove_file(directory.path().join("certs/control.sock")).ok();
    let run = |arguments: &[&str]| edited("deny", directory.path(), arguments, None);
    let tested = run(&["test", "127.0.0.1"]);
    assert_eq!(tested.code, 1, "{tested:?}");
    assert!(tested.out.contains("no gate answers"), "{tested:?}");
    assert!(run(&["list"]).out.contains("so hits are unknown"));
    let removed = run(&["remove", "127.0.0.0/8"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert!(removed.err.contains("no gate answers"), "{removed:?}");
    assert_eq!(run(&["test", "127.0.0.1"]).code, 0);
}
