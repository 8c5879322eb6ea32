use std::fs;
use std::sync::Arc;

use jiff::SignedDuration;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::*;
use crate::pki::server::provider;
use crate::pki::testing::{Fixture, MONTH};
use crate::pki::{ClientName, Handout, Step};

impl Fixture {
    /// Whether the gate would let a client in by this certificate.
    fn admits(&self, handout: &Handout) -> bool {
        let roots = self.store.client_roots(self.now).unwrap();
        let mut store = RootCertStore::empty();
        for root in roots.certificates {
            store.add(root).unwrap();
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::new(provider()))
                .with_crls(roots.crls)
                .build()
                .unwrap();
        let der = CertificateDer::from_pem_slice(handout.certificate_pem.as_bytes()).unwrap();
        verifier
            .verify_client_cert(&der, &[], UnixTime::now())
            .is_ok()
    }

    fn revoke(&self, handout: &Handout) -> Revocation {
        self.store.revoke(&handout.record.serial, self.now).unwrap()
    }
}

#[test]
fn who_is_revoked_is_refused_and_nobody_else() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.issue("alice"), fixture.issue("bob"));
    assert!(fixture.admits(&alice) && fixture.admits(&bob));
    assert_eq!(fixture.revoke(&alice), Revocation::Done);
    assert!(!fixture.admits(&alice) && fixture.admits(&bob));
    assert_eq!(fixture.revoke(&alice), Revocation::Already);
}

#[test]
fn a_serial_number_that_was_never_issued_is_an_error_and_revokes_nothing() {
    let fixture = Fixture::new();
    fixture.issue("alice");
    let before = fixture.store.revocation_lists().unwrap();
    let error = fixture.store.revoke(&"0102".parse().unwrap(), fixture.now);
    assert!(error.unwrap_err().to_string().contains("0102"));
    assert_eq!(fixture.store.revocation_lists().unwrap(), before);
}

#[test]
fn a_revocation_holds_through_a_whole_rotation_and_new_certificates_count() {
    let fixture = Fixture::new();
    let (alice, bob) = (fixture.issue("alice"), fixture.issue("bob"));
    fixture.revoke(&alice);
    for (step, cas, bob_is_in) in [
        (Step::Announce, 2, true),
        (Step::Switch, 2, true),
        (Step::Undo, 2, true),
        (Step::Switch, 2, true),
        (Step::Retire, 1, false),
    ] {
        fixture.store.rotate(step, fixture.now).unwrap();
        assert_eq!(fixture.store.revocation_lists().unwrap().len(), cas);
        assert!(!fixture.admits(&alice), "{step:?}");
        assert_eq!(fixture.admits(&bob), bob_is_in, "{step:?}");
        let carol = fixture.issue("carol");
        assert!(fixture.admits(&carol), "{step:?}");
        fixture.revoke(&carol);
        assert!(!fixture.admits(&carol), "{step:?}");
    }
}

#[test]
fn the_list_that_is_served_is_that_of_the_ca_that_signs() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.revocation_list_der().unwrap(), None);
    fixture.issue("alice");
    for step in [Step::Announce, Step::Switch, Step::Undo, Step::Switch] {
        fixture.store.rotate(step, fixture.now).unwrap();
        let signing = fixture.store.authorities().unwrap().unwrap().signing;
        let first = fixture.store.revocation_lists().unwrap().remove(0);
        assert!(first.is_by(&signing), "{step:?}");
        assert_eq!(
            fixture.store.revocation_list_der().unwrap(),
            Some(first.der)
        );
    }
}

#[test]
fn a_list_is_signed_anew_before_its_time_is_over_with_a_higher_number() {
    let mut fixture = Fixture::new();
    let alice = fixture.issue("alice");
    fixture.revoke(&alice);
    let first = fixture.store.revocation_lists().unwrap().remove(0);
    fixture.now = first.renew_at() - SignedDuration::from_secs(1);
    assert!(!fixture.store.renew_crls(fixture.now).unwrap());
    fixture.now = first.renew_at();
    assert!(fixture.now < first.next_update());
    assert!(fixture.store.renew_crls(fixture.now).unwrap());
    let second = fixture.store.revocation_lists().unwrap().remove(0);
    assert!(second.number > first.number && second.next_update() > first.next_update());
    assert_eq!(second.revoked, first.revoked);
}

#[test]
fn t25_a_damaged_list_lets_nobody_in_and_is_named() {
    let fixture = Fixture::new();
    fixture.issue("alice");
    let whole = fs::read_to_string(fixture.store.crl_file()).unwrap();
    for damaged in ["", "no list", &whole[..200], &whole.replacen("MI", "AA", 1)] {
        fs::write(fixture.store.crl_file(), damaged).unwrap();
        let error = fixture.store.client_roots(fixture.now).unwrap_err();
        assert!(error.to_string().contains("ca.crl"), "{error}");
    }
}

#[test]
fn t25_a_list_that_is_lost_lets_nobody_in_and_is_not_begun_anew() {
    let fixture = Fixture::new();
    assert!(fixture.store.revocation_lists().unwrap().is_empty());
    fixture.issue("alice");
    fs::remove_file(fixture.store.crl_file()).unwrap();
    let error = fixture.store.client_roots(fixture.now).unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
    let name: ClientName = "bob".parse().unwrap();
    let issued = fixture.store.issue_to_client(&name, MONTH, fixture.now);
    assert!(matches!(
        issued.unwrap_err(),
        PkiError::RevocationListMissing { .. }
    ));
    assert!(!fixture.store.crl_file().exists());
}
