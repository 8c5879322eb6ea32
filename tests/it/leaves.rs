//! Certificates, and other secrets, made on first use, kept for some projects only, and followed on the disk.

use std::fs;

use jiff::Timestamp;
use portcullis::pki::Keystore;

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, directory_of, text};
use crate::support::message::alice;
use crate::support::raw::{Secured, TlsClient};

/// Of a user whose password is "pencil".
const USERS: &str = "\"alice\" \"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\"\n";

/// More projects than certificates are kept of, so that each is made on first use.
fn cramped(backend: &FakeBackend) -> Settings {
    let projects = ["acme", "globex"].map(|name| Project::new(name, &backend.url()));
    Settings::new(&projects).table("\n[runtime]\ncertificates = 1\n")
}

/// A client of `project` as it is before anybody has its CA.
fn trusting_anybody(gate: &Gate, project: &str) -> Secured {
    let tls = TlsClient::trusting_anybody(&format!("{project}.localhost"));
    Secured::connect(gate.addr(), &tls)
}

#[test]
fn t13_of_more_projects_than_are_kept_each_is_served_by_its_own_leaf_whoever_came_before() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::with(&cramped(&backend));
    assert!(!gate.file("acme", "ca.crt").exists(), "nobody came yet");
    for project in ["acme", "globex"] {
        trusting_anybody(&gate, project).login(&alice());
    }
    let mut live = gate.connect("acme");
    live.login(&alice());
    for project in ["globex", "acme", "globex"] {
        gate.connect(project).login(&alice());
    }
    live.is_alive();
}

#[test]
fn t7_a_project_that_cant_get_its_certificate_says_so_inside_tls_and_the_others_go_on() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::with(&cramped(&backend));
    fs::create_dir_all(gate.file("acme", "")).unwrap();
    fs::write(gate.file("acme", "ca.key"), "no key").unwrap();
    let refusal = trusting_anybody(&gate, "acme").refused(&alice());
    refusal.assert_fatal("57P03");
    assert!(refusal.message().contains("no certificate"), "{refusal:?}");
    let line = gate.log().wait("the refusal", |line| {
        text(line, "reason") == "no_certificate"
    });
    assert!(text(&line, "why").contains("ca.key"), "{line}");
    trusting_anybody(&gate, "globex").login(&alice());
}

#[test]
fn t29_without_the_seed_of_its_mocks_a_project_checks_nobodys_password_and_says_so() {
    let backend = FakeBackend::welcoming();
    let acme = Project::new("acme", &backend.url())
        .text("auth", "scram")
        .text("verifiers", "users.txt");
    let projects = [acme, Project::new("globex", &backend.url())];
    let settings = Settings::new(&projects).table("\n[runtime]\ncertificates = 1\n");
    let gate = Gate::within(directory_of(&[("users.txt", USERS)]), &settings);
    // A file that can't be read, nor made.
    fs::create_dir_all(gate.file("acme", "scram.seed")).unwrap();
    let refusal = trusting_anybody(&gate, "acme").refused(&alice());
    refusal.assert_fatal("58000");
    assert!(
        refusal.message().contains("password can't be checked"),
        "{refusal:?}"
    );
    let line = gate
        .log()
        .wait("the refusal", |line| text(line, "reason") == "no_verifier");
    assert!(text(&line, "why").contains("scram.seed"), "{line}");
    trusting_anybody(&gate, "globex").login(&alice());
}

#[test]
fn a_leaf_that_another_process_has_renewed_is_shown_without_a_reload() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let mut before = gate.connect("acme");
    before.login(&alice());
    fs::remove_file(gate.file("acme", "server.crt")).unwrap();
    // Another process with the same keystore finds no leaf, and issues one.
    let keystore = Keystore::open(gate.directory().join("certs")).unwrap();
    let other = keystore.project(&"acme".parse().unwrap());
    let hosts = ["acme.localhost".parse().unwrap()];
    other.load_or_create(&hosts, Timestamp::now()).unwrap();
    gate.log().wait("another certificate", |line| {
        text(line, "message").contains("another certificate")
    });
    let mut after = gate.connect("acme");
    after.login(&alice());
    assert_ne!(after.chain()[0], before.chain()[0]);
}
