//! The same TLS for every measure.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// TLS 1.3, AES-128, records of at most 8 KiB to the client, as the gate's.
pub(crate) fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let leaf: CertificateDer<'static> = params.self_signed(&key).expect("a leaf").into();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(leaf.clone()).expect("a root");
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let (provider, versions) = (Arc::new(provider), &[&rustls::version::TLS13]);
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let server = server.with_protocol_versions(versions).expect("a version");
    let server = server.with_no_client_auth();
    let mut server = server.with_single_cert(vec![leaf], key).expect("a leaf");
    // rustls counts a record's header in.
    server.max_fragment_size = Some(8192 + 5);
    server.send_tls13_tickets = 0;
    let client = ClientConfig::builder_with_provider(provider);
    let client = client.with_protocol_versions(versions).expect("a version");
    let client = client.with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}
