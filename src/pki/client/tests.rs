use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::*;
use crate::pki::Keystore;
use crate::pki::server::provider;

const MINUTES: SignedDuration = SignedDuration::from_mins(10);

fn verifier(roots: &ClientRoots) -> Arc<dyn ClientCertVerifier> {
    let mut store = RootCertStore::empty();
    for root in &roots.certificates {
        store.add(root.clone()).unwrap();
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::new(provider()))
        .with_crls(roots.crls.clone())
        .build()
        .unwrap()
}

fn name(text: &str) -> ClientName {
    text.parse().unwrap()
}

#[test]
fn a_certificate_names_its_user_and_is_verified_by_the_projects_roots_alone() {
    let directory = tempfile::tempdir().unwrap();
    let keystore = Keystore::open(directory.path().to_owned()).unwrap();
    let (acme, globex) = ("acme".parse().unwrap(), "globex".parse().unwrap());
    let (acme, globex) = (keystore.project(&acme), keystore.project(&globex));
    let now = Timestamp::now();
    let issuer = acme.client_issuer(now).unwrap();
    let alice = issuer.issue(&name("alice"), MINUTES, now).unwrap();
    alice.certified_key().unwrap().keys_match().unwrap();

    let (_, parsed) = X509Certificate::from_der(alice.certificate()).unwrap();
    assert_eq!(parsed.subject().to_string(), "CN=alice, OU=portcullis gate");
    assert_eq!(
        Serial::from_der_integer(parsed.raw_serial()).as_ref(),
        Some(alice.serial())
    );
    assert_eq!(
        parsed.validity().not_after.timestamp(),
        (now + MINUTES).as_second()
    );

    let verdict = |store: &crate::pki::ProjectKeystore| {
        let verifier = verifier(&store.client_roots(now).unwrap());
        verifier.verify_client_cert(alice.certificate(), &[], UnixTime::now())
    };
    verdict(&acme).unwrap();
    verdict(&globex).unwrap_err();
}

#[test]
fn a_client_certificate_does_not_outlive_its_ca_and_is_no_servers() {
    let directory = tempfile::tempdir().unwrap();
    let keystore = Keystore::open(directory.path().to_owned()).unwrap();
    let store = keystore.project(&"acme".parse().unwrap());
    let now = Timestamp::now();
    let issuer = store.client_issuer(now).unwrap();
    let century = SignedDuration::from_hours(100 * 366 * 24);
    let alice = issuer.issue(&name("alice"), century, now).unwrap();
    assert_eq!(alice.not_after(), issuer.not_after());

    let (_, parsed) = X509Certificate::from_der(alice.certificate()).unwrap();
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    assert!(!parsed.is_ca());
}

#[test]
fn a_user_whose_name_no_certificate_can_state_has_none() {
    for good in ["alice", "Al Ice", "übung", "a.b@c", &"a".repeat(63)] {
        assert_eq!(ClientName::of_user(good.as_bytes()), Some(name(good)));
    }
    for bad in [&b""[..], b"a\0b", b"a\nb", b"\xff", &[b'a'; 64]] {
        assert_eq!(ClientName::of_user(bad), None, "{bad:?}");
    }
}
