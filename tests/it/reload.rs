//! proxy.toml changes under a running gate (T25, T27, T31).

use std::fs;

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, text};
use crate::support::message::alice;
use crate::support::raw::Secured;

fn acme(backend: &FakeBackend) -> Project {
    Project::new("acme", &backend.url())
}

/// Rewrites proxy.toml, and waits until the gate says that it took it.
fn reload(gate: &Gate, projects: &[Project]) {
    let before = gate.log().len();
    gate.rewrite(&Settings::new(projects));
    gate.log()
        .wait_after(before, "configuration reloaded", |line| {
            text(line, "message") == "configuration reloaded"
        });
}

/// Rewrites proxy.toml, and waits until the gate says that it didn't take it.
fn reload_in_vain(gate: &Gate, toml: &str) -> serde_json::Value {
    let before = gate.log().len();
    gate.rewrite_text(toml);
    gate.log()
        .wait_after(before, "configuration not reloaded", |line| {
            text(line, "message") == "configuration not reloaded"
        })
}

#[test]
fn a_rule_that_is_written_is_in_force() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend).allow(&["nowhere"])]);
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
    reload(&gate, &[acme(&backend)]);
    gate.connect("acme").login(&alice());
    reload(&gate, &[acme(&backend).allow(&["192.0.2.0/24"])]);
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
}

#[test]
fn sighup_reloads_too() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let before = gate.log().len();
    gate.signal("HUP");
    gate.log()
        .wait_after(before, "an answer to SIGHUP", |line| {
            line.to_string().contains("reload")
        });
    gate.connect("acme").login(&alice());
}

#[test]
fn t31_a_configuration_with_an_error_changes_nothing_and_says_where_it_is() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let good = fs::read_to_string(gate.directory().join("proxy.toml")).unwrap();
    let bad = [
        good.replace("127.0.0.1\"]\nbackend", "127.0.0.1/8\"]\nbackend"),
        good.replace("backend =", "bakend ="),
        good.replace("allow = [\"127.0.0.1\"]", "allow = []"),
        good.replace("allow = [\"127.0.0.1\"]", ""),
        good.replace("[project.acme]", "[project.acme"),
        String::new(),
    ];
    for toml in bad {
        assert_ne!(toml, good);
        let line = reload_in_vain(&gate, &toml);
        assert_eq!(text(&line, "level"), "ERROR", "{line}");
        let mut client = gate.connect("acme");
        client.login(&alice());
        client.is_alive();
    }
}

#[test]
fn t31_a_configuration_that_went_away_changes_nothing() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let before = gate.log().len();
    fs::remove_file(gate.directory().join("proxy.toml")).unwrap();
    gate.signal("HUP");
    gate.log()
        .wait_after(before, "an error", |line| text(line, "level") == "ERROR");
    gate.connect("acme").login(&alice());
}

#[test]
fn t31_after_an_error_the_next_good_configuration_is_taken() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    reload_in_vain(&gate, "what?");
    reload(&gate, &[acme(&backend).allow(&["nowhere"])]);
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
}

#[test]
fn a_reload_drops_no_session_that_is_still_allowed() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let mut client = gate.connect("acme");
    client.login(&alice());
    // A wider list, another host, and a project more.
    let wider = acme(&backend)
        .allow(&["127.0.0.0/8"])
        .hosts(&["acme.localhost", "a.localhost"]);
    reload(&gate, &[wider, Project::new("globex", &backend.url())]);
    client.is_alive();
    gate.connect("globex").login(&alice());
    client.is_alive();
}

#[test]
fn a_new_host_gets_a_leaf_at_once_from_the_same_ca() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let ca = fs::read(gate.file("acme", "ca.crt")).unwrap();
    reload(
        &gate,
        &[acme(&backend).hosts(&["acme.localhost", "db.acme.localhost"])],
    );
    assert_eq!(fs::read(gate.file("acme", "ca.crt")).unwrap(), ca);
    let file = gate.file("acme", "ca.crt");
    let tls = crate::support::raw::TlsClient::new(&file, "db.acme.localhost");
    Secured::connect(gate.addr(), &tls).login(&alice());
}

#[test]
fn t27_a_session_that_is_no_longer_allowed_is_cut_and_told_so() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let mut client = gate.connect("acme");
    client.login(&alice());
    client.is_alive();
    reload(&gate, &[acme(&backend).allow(&["nowhere"])]);
    client.message().error().assert_fatal("57P01");
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn t27_the_sessions_of_a_project_that_is_removed_are_cut() {
    let backend = FakeBackend::welcoming();
    let globex = Project::new("globex", &backend.url());
    let gate = Gate::start(&[acme(&backend), globex.clone()]);
    let mut gone = gate.connect("acme");
    let mut kept = gate.connect("globex");
    gone.login(&alice());
    kept.login(&alice());
    reload(&gate, &[globex]);
    gone.message().error().assert_fatal("57P01");
    kept.is_alive();
}

#[test]
fn t27_on_revoke_keep_lets_sessions_stay_and_nobody_in() {
    let backend = FakeBackend::welcoming();
    let keeping = acme(&backend).text("on_revoke", "keep");
    let gate = Gate::start(std::slice::from_ref(&keeping));
    let mut client = gate.connect("acme");
    client.login(&alice());
    reload(&gate, &[keeping.allow(&["nowhere"])]);
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
    client.is_alive();
}

#[test]
fn t32_sigterm_drains_and_ends_with_exit_code_0() {
    let backend = FakeBackend::welcoming();
    let mut gate = Gate::start(&[acme(&backend)]);
    let mut client = gate.connect("acme");
    client.login(&alice());
    gate.signal("TERM");
    gate.log()
        .wait("draining", |line| line.to_string().contains("drain"));
    // Who is in may finish.
    client.is_alive();
    client.finish();
    client.rest().unwrap();
    assert!(gate.ended().success());
}

#[test]
fn t32_a_drain_is_bounded() {
    let backend = FakeBackend::welcoming();
    let settings = Settings::new(&[acme(&backend)]).top("drain_timeout = \"0s\"");
    let mut gate = Gate::with(&settings);
    let mut client = gate.connect("acme");
    client.login(&alice());
    gate.signal("TERM");
    assert!(gate.ended().success());
    client.message().error().assert_fatal("57P01");
}

#[test]
fn t31_certificates_that_vanish_keep_no_change_from_other_projects() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let theirs = [
        ("ca.crt", "root.crt"),
        ("server.crt", "own.crt"),
        ("server.key", "own.key"),
    ];
    for (from, to) in theirs {
        fs::copy(gate.file("acme", from), gate.directory().join(to)).unwrap();
    }
    let initech = Project::new("initech", &backend.url());
    let own = acme(&backend)
        .text("certificate", "own.crt")
        .text("key", "own.key");
    let verified = Project::new("globex", &backend.url())
        .text("sslmode", "verify-full")
        .text("sslrootcert", "root.crt");
    let projects = [own, verified, initech];
    reload(&gate, &projects);
    let mut client = gate.connect("initech");
    client.login(&alice());
    let before = gate.log().len();
    for (_, name) in theirs {
        fs::remove_file(gate.directory().join(name)).unwrap();
    }
    let [own, verified, initech] = projects;
    gate.rewrite(&Settings::new(&[
        own,
        verified,
        initech.allow(&["nowhere"]),
    ]));
    client.message().error().assert_fatal("57P01");
    // Both go on with what they had, and say so.
    for name in ["root.crt", "own.crt", "own.key"] {
        gate.log().wait_after(before, name, |line| {
            let message = text(line, "message");
            message.contains(name) && message.contains("goes on with what was read")
        });
    }
    gate.connect("acme").login(&alice());
    // A gate that starts has nothing to go on with.
    let started = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("check")
        .current_dir(gate.directory())
        .output()
        .unwrap();
    assert!(!started.status.success());
    let said = String::from_utf8_lossy(&started.stderr);
    for name in ["root.crt", "own.crt", "own.key"] {
        assert!(said.contains(name), "{said}");
    }
}
