//! What is damaged, missing or half written.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use rcgen::KeyPair;

use super::*;

#[test]
fn a_ca_whose_key_is_missing_is_never_replaced() {
    let fixture = Fixture::new();
    fixture.load().unwrap();
    fs::remove_file(fixture.file("ca.key")).unwrap();
    let refusal = fixture.refusal();
    assert!(
        refusal.contains("ca.key is missing") && refusal.contains("restore"),
        "{refusal}"
    );
}

#[test]
fn t34_a_ca_key_that_is_damaged_is_never_replaced_nor_quoted() {
    let fixture = Fixture::new();
    fixture.load().unwrap();
    let pem = String::from_utf8(fixture.bytes("ca.key")).unwrap();
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256)
        .unwrap()
        .serialize_pem();
    for damaged in ["", "secret", &pem[..90], &pem.replace("MIG", "M-G"), &rsa] {
        fs::write(fixture.file("ca.key"), damaged).unwrap();
        let refusal = fixture.refusal();
        assert!(
            refusal.contains("damaged") && refusal.contains("Restore"),
            "{refusal}"
        );
        assert!(
            !refusal.contains("secret") && !refusal.contains("M-G"),
            "{refusal}"
        );
    }
}

#[test]
fn the_key_of_another_ca_is_refused() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    fixture.load().unwrap();
    other.load().unwrap();
    fs::copy(other.file("ca.key"), fixture.file("ca.key")).unwrap();
    assert!(fixture.refusal().contains("the key of another certificate"));
}

#[test]
fn a_damaged_ca_certificate_is_an_error_that_says_what_to_do() {
    let fixture = Fixture::new();
    let identity = fixture.load().unwrap();
    let ca = fixture.bytes("ca.crt");
    let twice = [ca.clone(), ca].concat();
    for damaged in [
        &b""[..],
        b"\xff\xfe",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n",
        &twice,
    ] {
        fs::write(fixture.file("ca.crt"), damaged).unwrap();
        assert!(fixture.refusal().contains("ca.crt is no certificate"));
    }
    // And what it says to do works: clients that hold the old certificate still verify.
    fs::remove_file(fixture.file("ca.crt")).unwrap();
    let again = fixture.load().unwrap();
    assert_ne!(again.chain()[1], identity.chain()[1]);
    verify(&again.chain()[..1], &identity.chain()[1], fixture.now).unwrap();
    verify(&identity.chain()[..1], &again.chain()[1], fixture.now).unwrap();
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let fixture = Fixture::new();
    fixture.load().unwrap();
    for name in ["ca.key", "server.key"] {
        let key = fixture.file(name);
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        let refusal = fixture.refusal();
        assert!(refusal.contains("(mode 0644)"), "{refusal}");
        assert!(
            refusal.contains(&format!("chmod 600 '{}'", key.display())),
            "{refusal}"
        );
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        fixture.load().unwrap();
    }
}

/// Every state that a crash can leave: the files are written one by one in this order, each as a
/// whole, and one may lie there unfinished.
#[test]
fn a_crash_at_any_point_leaves_what_the_next_start_can_use() {
    let whole = Fixture::new();
    let identity = whole.load().unwrap();
    let order = ["ca.key", "ca.crt", "server.key", "server.crt"];
    for written in 0..=order.len() {
        let crashed = Fixture::new();
        fs::create_dir(&crashed.store.folder).unwrap();
        for file in &order[..written] {
            fs::copy(whole.file(file), crashed.file(file)).unwrap();
        }
        fs::write(crashed.file(".unfinished-x7"), "half a key").unwrap();
        let recovered = crashed.load().unwrap();
        assert_eq!(
            crashed.names(),
            ["ca.crt", "ca.key", "server.crt", "server.key"]
        );
        if written > 0 {
            assert_eq!(crashed.bytes("ca.key"), whole.bytes("ca.key"));
        }
        if written > 1 {
            verify(&recovered.chain()[..1], &identity.chain()[1], crashed.now).unwrap();
        }
        assert_eq!(crashed.load().unwrap().leaf_der(), recovered.leaf_der());
    }
}

#[test]
fn a_file_in_the_directorys_place_is_an_error_that_names_it() {
    let fixture = Fixture::new();
    fs::write(fixture.directory.path().join("file"), "").unwrap();
    let error = Keystore::open(fixture.directory.path().join("file"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("/file"), "{error}");
}
