//! Live sessions when what is demanded of certificates changes (T27).

use std::fs;

use super::{REVOKED, acme, connect, gate, revoked};
use crate::support::client_ca::{ClientCa, ClientLeaf};
use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, text};
use crate::support::message::alice;
use crate::support::raw::Secured;

fn session(gate: &Gate, leaf: Option<&ClientLeaf>) -> Secured {
    let mut client = connect(gate, gate.tls("acme"), leaf);
    client.login(&alice());
    client.is_alive();
    client
}

#[track_caller]
fn is_cut(mut client: Secured, words: &str) {
    let fatal = client.message().error();
    fatal.assert_fatal("57P01");
    assert!(fatal.message().contains(words), "{fatal:?}");
    assert_eq!(client.rest().unwrap(), b"");
}

/// Replaces a file of the gate's, by rename.
fn replace(gate: &Gate, name: &str, contents: &str) {
    let new = gate.directory().join("new");
    fs::write(&new, contents).unwrap();
    fs::rename(new, gate.directory().join(name)).unwrap();
}

/// Waits for the reload that `change` leads to.
fn reloaded(gate: &Gate, change: impl FnOnce()) {
    let before = gate.log().len();
    change();
    gate.log()
        .wait_after(before, "configuration reloaded", |line| {
            text(line, "message") == "configuration reloaded"
        });
}

fn rewritten(gate: &Gate, project: Project) {
    reloaded(gate, || gate.rewrite(&Settings::new(&[project])));
}

#[test]
fn t27_a_revoked_certificates_session_is_cut_and_named_and_the_others_stay() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::welcoming();
    let gate = gate(&ca, &[acme(&backend, "required")]);
    replace(&gate, "clients.crl", &ca.crl(&[]));
    let mut other = session(&gate, Some(&ca.leaf("alice")));
    // Until the list without it is in force.
    let was_let_in = (0..1000).find_map(|_| {
        let mut client = connect(&gate, gate.tls("acme"), Some(&revoked(&ca)));
        client.send(&alice());
        (client.message().tag != b'E').then_some(client)
    });
    let mut client = was_let_in.expect("the new list is in force");
    while client.message().tag != b'Z' {}
    replace(&gate, "clients.crl", &ca.crl(&[REVOKED]));
    is_cut(client, "serial number 4711 is revoked");
    other.is_alive();
}

#[test]
fn t27_portcullis_ca_revoke_cuts_the_sessions_of_that_certificate_and_the_others_stay() {
    let backend = FakeBackend::welcoming();
    let project = Project::new("acme", &backend.url()).text("client_certificate", "required");
    let gate = Gate::start(&[project]);
    let issued = |name: &str| {
        // Who logs in is alice in these tests; each certificate has a folder of its own.
        let out = gate.directory().join(name);
        fs::create_dir(&out).unwrap();
        let ran = gate.ca(&["issue", "acme", "--client", "alice", "--out", name]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let read = |file| fs::read_to_string(out.join(file)).unwrap();
        ClientLeaf {
            chain: read("alice.crt"),
            key: read("alice.key"),
        }
    };
    let (lost, kept) = (issued("lost"), issued("kept"));
    let client = session(&gate, Some(&lost));
    let mut other = session(&gate, Some(&kept));
    let shown = gate.ca(&["show", "acme", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    let serial = shown["issued"][0]["serial"].as_str().unwrap();
    let ran = gate.ca(&["revoke", "acme", serial]);
    assert_eq!(ran.code, 0, "{ran:?}");
    is_cut(client, "is revoked");
    other.is_alive();
}

#[test]
fn t27_a_ca_that_is_trusted_no_longer_cuts_and_its_renewal_does_not() {
    let (ca, other) = (ClientCa::new("clients"), ClientCa::new("others"));
    let backend = FakeBackend::welcoming();
    let gate = gate(&ca, &[acme(&backend, "required")]);
    let mut client = session(&gate, Some(&ca.leaf("alice")));
    let both = format!("{}{}", ca.pem(), other.pem());
    reloaded(&gate, || replace(&gate, "clients-ca.crt", &both));
    client.is_alive();
    replace(&gate, "clients-ca.crt", other.pem());
    is_cut(client, "not signed by a CA that is trusted");
}

#[test]
fn t27_sessions_without_a_certificate_are_cut_when_one_is_required() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::welcoming();
    let gate = gate(&ca, &[acme(&backend, "optional")]);
    let mut with = session(&gate, Some(&ca.leaf("alice")));
    let without = session(&gate, None);
    rewritten(&gate, acme(&backend, "required"));
    is_cut(without, "need a client certificate");
    with.is_alive();
    rewritten(
        &gate,
        acme(&backend, "required").set("user_map", "{ alice = \"bob\" }"),
    );
    is_cut(with, "CN=alice is not one of user \"alice\"");
}

#[test]
fn t27_on_revoke_keeps_sessions_whose_certificate_is_revoked_until_it_says_cut() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::welcoming();
    let keeping = acme(&backend, "optional").text("on_revoke", "keep");
    let gate = gate(&ca, std::slice::from_ref(&keeping));
    let mut client = session(&gate, None);
    let required = keeping.text("client_certificate", "required");
    rewritten(&gate, required.clone());
    client.is_alive();
    rewritten(&gate, required.text("on_revoke", "cut"));
    is_cut(client, "need a client certificate");
}

#[test]
fn t25_a_list_that_is_damaged_by_a_change_leaves_the_one_before_in_force() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::welcoming();
    let gate = gate(&ca, &[acme(&backend, "required")]);
    let mut client = session(&gate, Some(&ca.leaf("alice")));
    reloaded(&gate, || replace(&gate, "clients.crl", "what?"));
    let said = gate.log().raw();
    assert!(
        said.contains("client certificates are still judged as before"),
        "{said}"
    );
    client.is_alive();
    let fatal = connect(&gate, gate.tls("acme"), Some(&revoked(&ca))).refused(&alice());
    assert!(fatal.message().contains("is revoked"), "{fatal:?}");
}
