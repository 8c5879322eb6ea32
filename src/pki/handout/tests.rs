use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::*;
use crate::pki::certificate::{Facts, verify};
use crate::pki::testing::{Fixture, MONTH, hosts};

fn facts(pem: &str) -> Facts {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    Facts::read(&der).unwrap()
}

fn server_at(host: &str, directory: &Path) -> Sharer {
    let (host, directory) = (host.parse().unwrap(), directory.to_owned());
    Sharer { host, directory }
}

#[test]
fn what_is_issued_is_recorded_before_it_is_handed_out() {
    let fixture = Fixture::new();
    let alice = "alice".parse().unwrap();
    let one = fixture.store.issue_to_client(&alice, MONTH, fixture.now);
    let two =
        fixture
            .store
            .issue_to_backend(&hosts(&["db1.internal", "10.0.0.5"]), MONTH, fixture.now);
    let (one, two) = (one.unwrap(), two.unwrap());
    let records = fixture.store.records().unwrap();
    assert_eq!(records.len(), 2);
    for (record, handout, name) in [
        (&records[0], &one, "alice"),
        (&records[1], &two, "db1.internal 10.0.0.5"),
    ] {
        assert_eq!(record.serial, handout.record.serial);
        assert_eq!(record.name, name);
        let facts = facts(&handout.certificate_pem);
        assert_eq!(facts.serial.as_ref(), Some(&record.serial));
        assert_eq!(facts.not_after.as_second(), record.not_after.as_second());
    }
    assert!(one.key_pem.is_some_and(|key| key.contains("PRIVATE KEY")));
}

#[test]
fn a_backends_certificate_verifies_by_the_bundle_and_names_its_hosts() {
    let fixture = Fixture::new();
    let named = hosts(&["db1.internal", "10.0.0.5"]);
    let handout = fixture.store.issue_to_backend(&named, MONTH, fixture.now);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(handout.unwrap().certificate_pem.as_bytes())
        .map(Result::unwrap)
        .collect();
    let root = CertificateDer::from_pem_slice(fixture.read("ca.crt").as_bytes()).unwrap();
    verify(&chain[..1], &root, fixture.now).unwrap();
    assert_eq!(Facts::read(&chain[0]).unwrap().hosts, named);
}

#[test]
fn of_a_signing_request_only_the_key_is_taken() {
    let fixture = Fixture::new();
    let key = KeyPair::generate().unwrap();
    let mut asks = CertificateParams::new(["db.example.com".to_owned()]).unwrap();
    // What the gate's own certificates have, and no other.
    let unit = rcgen::DnType::OrganizationalUnitName;
    asks.distinguished_name.push(unit, "portcullis gate");
    asks.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let request = asks.serialize_request(&key).unwrap().pem().unwrap();
    let name = "alice".parse().unwrap();
    let issue = |request: &str| {
        fixture
            .store
            .issue_for_request(&name, (request, MONTH), fixture.now)
    };
    let handout = issue(&request).unwrap();
    assert!(handout.key_pem.is_none());
    let facts = facts(&handout.certificate_pem);
    assert_eq!((facts.subject.as_str(), facts.hosts.len()), ("CN=alice", 0));
    assert_eq!(facts.public_key, issue::public_key(&key));

    let damaged = request.replacen("MI", "MA", 1);
    for bad in ["", "no request", &damaged] {
        let error = issue(bad).unwrap_err().to_string();
        assert!(error.contains("signing request"), "{error}");
    }
    assert_eq!(fixture.store.records().unwrap().len(), 1);
}

#[test]
fn a_server_that_shares_the_leaf_is_given_each_one_before_the_gate_shows_it() {
    let fixture = Fixture::new();
    let ours = hosts(&["acme.example.com"]);
    let first = fixture.store.load_or_create(&ours, fixture.now).unwrap();
    let directory = fixture.directory.path().join("server");
    fs::create_dir(&directory).unwrap();
    let sharer = server_at("db1.internal", &directory);
    fixture
        .store
        .share_with(sharer, &ours, fixture.now)
        .unwrap();
    let theirs = || fs::read_to_string(directory.join("server.crt")).unwrap();
    let second = fixture.store.load_or_create(&ours, fixture.now).unwrap();
    assert_ne!(
        second.leaf_der(),
        first.leaf_der(),
        "it names the server now"
    );
    assert_eq!(theirs(), fixture.read("server.crt"));
    assert_eq!(
        facts(&theirs()).hosts,
        hosts(&["acme.example.com", "db1.internal"])
    );
    let mode = fs::metadata(directory.join("server.key"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    fixture.store.renew_leaf(&ours, fixture.now).unwrap();
    assert_eq!(theirs(), fixture.read("server.crt"));
    // One that can't be given it from the start is not remembered.
    let nowhere = server_at("db2.internal", &fixture.directory.path().join("nowhere"));
    let before = fixture.store.sharers().unwrap();
    let error = fixture.store.share_with(nowhere, &ours, fixture.now);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("nowhere/server.key")
    );
    assert_eq!(fixture.store.sharers().unwrap(), before);
    // One that can't be given it keeps the gate from showing it.
    fs::remove_dir_all(&directory).unwrap();
    let before = fixture.read("server.crt");
    let error = fixture.store.renew_leaf(&ours, fixture.now).unwrap_err();
    assert!(error.to_string().contains("server/server.key"), "{error}");
    assert_eq!(fixture.read("server.crt"), before);
}

#[test]
fn where_one_server_can_t_have_the_leaf_none_of_those_that_share_it_gets_another() {
    let fixture = Fixture::new();
    let ours = hosts(&["acme.example.com"]);
    let directories = ["one", "two"].map(|name| fixture.directory.path().join(name));
    for (directory, host) in directories.iter().zip(["db1.internal", "db2.internal"]) {
        fs::create_dir(directory).unwrap();
        let sharer = server_at(host, directory);
        let shared = fixture.store.share_with(sharer, &ours, fixture.now);
        shared.unwrap();
    }
    fs::remove_dir_all(&directories[1]).unwrap();
    fixture.store.renew_leaf(&ours, fixture.now).unwrap_err();
    let left = fs::read_dir(&directories[0]).unwrap().count();
    assert_eq!(left, 2, "nothing unfinished is left there");
    let theirs = fs::read_to_string(directories[0].join("server.crt")).unwrap();
    assert_eq!(theirs, fixture.read("server.crt"));
}

/// Who owns the directory may put there what it likes, and must gain nothing by it.
#[test]
fn a_link_in_the_place_of_a_servers_key_leads_the_gate_nowhere() {
    let fixture = Fixture::new();
    let ours = hosts(&["acme.example.com"]);
    let directory = fixture.directory.path().join("server");
    fs::create_dir(&directory).unwrap();
    let victim = fixture.directory.path().join("victim");
    fs::write(&victim, "as it was").unwrap();
    std::os::unix::fs::symlink(&victim, directory.join("server.key")).unwrap();
    let sharer = server_at("db1.internal", &directory);
    fixture
        .store
        .share_with(sharer, &ours, fixture.now)
        .unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
    let key = fs::symlink_metadata(directory.join("server.key")).unwrap();
    assert!(key.is_file());
}
