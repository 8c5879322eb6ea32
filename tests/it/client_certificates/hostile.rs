//! Clients that show what is no certificate, or not theirs.

use rustls::AlertDescription;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{VERSIONS, acme, gate};
use crate::support::client_ca::{ClientCa, Showing};
use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, text};
use crate::support::raw::Secured;

/// That a client which shows this `chain`, and has the `key`, gets an alert, and the log says why.
#[track_caller]
fn is_alerted(gate: &Gate, chain: &[CertificateDer<'static>], key: &str) {
    for version in VERSIONS {
        let before = gate.log().len();
        let tls = gate.tls("acme").at_version(version);
        let tls = tls.showing(Showing::chain(chain.to_vec(), key));
        let mut client = Secured::connect(gate.addr(), &tls);
        // In TLS 1.3 the client's handshake is done before the server has read its certificate.
        let error = match client.handshake() {
            Ok(()) => client.rest().expect_err("an alert"),
            Err(error) => error,
        };
        let alert = error.get_ref().and_then(|inner| inner.downcast_ref());
        let is_alert = matches!(
            alert,
            Some(rustls::Error::AlertReceived(
                AlertDescription::BadCertificate
                    | AlertDescription::AccessDenied
                    | AlertDescription::DecodeError
                    | AlertDescription::DecryptError
                    | AlertDescription::IllegalParameter
                    | AlertDescription::CertificateUnknown
            ))
        );
        assert!(is_alert, "{version:?}: {error}");
        let refused = gate.log().wait_after(before, "login refused", |line| {
            text(line, "reason") == "tls_failed"
        });
        assert!(!text(&refused, "why").is_empty());
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[test]
fn a_certificate_that_is_none_or_whose_key_the_client_lacks_ends_in_an_alert() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::untouchable();
    let gate = gate(&ca, &[acme(&backend, "optional")]);
    let leaf = ca.leaf("alice");
    let good = der(&leaf.chain);
    let truncated = good[..good.len() / 2].to_vec();
    for garbage in [vec![0; 100], vec![0xff; 3], truncated] {
        is_alerted(&gate, &[garbage.into()], &leaf.key);
    }
    // Alice's certificate, and somebody else's key.
    is_alerted(&gate, &[good], &ca.leaf("mallory").key);
}

#[test]
fn a_chain_of_many_certificates_or_of_many_bytes_ends_in_an_alert() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::untouchable();
    let gate = gate(&ca, &[acme(&backend, "optional")]);
    let leaf = ca.leaf("alice");
    let good = der(&leaf.chain);
    let many = vec![good.clone(); 11];
    is_alerted(&gate, &many, &leaf.key);
    let large = [good, vec![0x30; 40_000].into()];
    is_alerted(&gate, &large, &leaf.key);
}

#[test]
fn a_chain_with_garbage_behind_a_good_certificate_is_judged_by_the_certificate() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::welcoming();
    let gate = gate(&ca, &[acme(&backend, "required")]);
    let leaf = ca.leaf("alice");
    let chain = vec![der(&leaf.chain), vec![0x30; 1000].into()];
    let tls = gate.tls("acme").showing(Showing::chain(chain, &leaf.key));
    let mut client = Secured::connect(gate.addr(), &tls);
    client.login(&crate::support::message::alice());
    client.is_alive();
}
