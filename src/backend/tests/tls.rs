//! What a backend has to prove by its certificate.

use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::*;
use crate::pki::testing::{pem, version1_leaf};

#[tokio::test]
async fn verify_full_takes_a_certificate_of_the_ca_for_the_host_that_is_dialled() {
    let pki = Pki::new(&["localhost", "127.0.0.1"]);
    for (host, server_name) in [("127.0.0.1", "none"), ("localhost", "localhost")] {
        let (dialled, asked) = dial(&pki.identity, host, &pki.tls(SslMode::VerifyFull)).await;
        let connection = dialled.unwrap();
        assert_eq!(asked.as_deref(), Some(server_name));
        assert_eq!(connection.leaf_der.as_ref(), Some(pki.identity.leaf_der()));
        assert!(connection.peer.to_string().starts_with("127.0.0.1:"));
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_taken_by_verify_ca_and_refused_by_verify_full() {
    let pki = Pki::new(&["db.example.com"]);
    dial(&pki.identity, "127.0.0.1", &pki.tls(SslMode::VerifyCa))
        .await
        .0
        .unwrap();
    let (dialled, _) = dial(&pki.identity, "127.0.0.1", &pki.tls(SslMode::VerifyFull)).await;
    let error = dialled.unwrap_err();
    assert!(
        error.is_tls() && error.to_string().contains("not valid for name"),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_unless_nothing_is_verified() {
    let (pki, other) = (Pki::new(&["127.0.0.1"]), Pki::new(&["127.0.0.1"]));
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        let error = dial(&pki.identity, "127.0.0.1", &other.tls(mode))
            .await
            .0
            .unwrap_err();
        assert!(error.is_tls(), "{error}");
    }
    dial(&pki.identity, "127.0.0.1", &other.tls(SslMode::Require))
        .await
        .0
        .unwrap();
}

#[tokio::test]
async fn a_self_signed_leaf_is_taken_by_require_and_where_it_stands_in_the_root_file_itself() {
    let identity = Identity::throwaway(Timestamp::now()).unwrap();
    let require = BackendTls::new(SslMode::Require, None).unwrap();
    dial(&identity, "127.0.0.1", &require).await.0.unwrap();

    let other = Pki::new(&["127.0.0.1"]);
    assert!(
        dial(&identity, "127.0.0.1", &other.tls(SslMode::VerifyCa))
            .await
            .0
            .is_err()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), pem("CERTIFICATE", identity.leaf_der())).unwrap();
    let roots = TrustedRoots::from_file(file.path()).unwrap();
    let verify_ca = BackendTls::new(SslMode::VerifyCa, Some(&roots)).unwrap();
    dial(&identity, "127.0.0.1", &verify_ca).await.0.unwrap();
    let verify_full = BackendTls::new(SslMode::VerifyFull, Some(&roots)).unwrap();
    assert!(dial(&identity, "127.0.0.1", &verify_full).await.0.is_err());
}

#[tokio::test]
async fn t19_a_leaf_without_its_key_is_refused_even_where_nothing_is_verified() {
    let (pki, thief) = (Pki::new(&["127.0.0.1"]), Pki::new(&["127.0.0.1"]));
    let key = Arc::clone(&thief.identity.certified_key().key);
    let stolen = CertifiedKey::new(pki.identity.chain().to_vec(), key);
    let mut config = (*server_config(&thief.identity, &TlsPolicy::default())).clone();
    config.cert_resolver = Arc::new(SingleCertAndKey::from(stolen));
    for mode in MODES {
        let (listener, address) = listen().await;
        let server = serve(listener, Arc::new(config.clone()));
        let error = backend(&format!("postgres://{address}"), &pki.tls(mode))
            .dial(None)
            .await;
        let error = error.unwrap_err();
        assert!(
            error.is_tls() && error.to_string().contains("BadSignature"),
            "{error}"
        );
        assert_eq!(server.await.unwrap(), None);
    }
}

/// PostgreSQL's documentation makes such a leaf, and libpq takes it.
#[tokio::test]
async fn a_leaf_of_x509_version_1_is_taken_by_require_with_its_key_only() {
    let pki = Pki::new(&["127.0.0.1"]);
    let (leaf, key) = version1_leaf();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let other_key = Arc::clone(&pki.identity.certified_key().key);
    for (key, mode, complaint) in [
        (&key, SslMode::Require, None),
        (&other_key, SslMode::Require, Some("BadSignature")),
        (&key, SslMode::VerifyFull, Some("X.509 version 3")),
    ] {
        let mut config = (*server_config(&pki.identity, &TlsPolicy::default())).clone();
        let certified = CertifiedKey::new(vec![leaf.clone()], Arc::clone(key));
        config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        let (listener, address) = listen().await;
        let server = serve(listener, Arc::new(config));
        let dialled = backend(&format!("postgres://{address}"), &pki.tls(mode))
            .dial(None)
            .await;
        match (dialled, complaint) {
            (Ok(mut connection), None) => {
                echo(&mut connection.stream).await;
                assert_eq!(connection.leaf_der, Some(leaf.clone()));
            }
            (Err(error), Some(complaint)) => {
                assert!(error.to_string().contains(complaint), "{error}")
            }
            (dialled, complaint) => panic!("{dialled:?} where {complaint:?} was expected"),
        }
        server.await.unwrap();
    }
}
