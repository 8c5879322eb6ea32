//! A [`FakeBackend`](super::fake_backend::FakeBackend) that speaks TLS.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::authority::Leaf;
use super::fake_backend::Peer;
use super::message::ssl_request;

/// The gate, as a backend sees it inside TLS.
pub(crate) type SecuredPeer = StreamOwned<ServerConnection, TcpStream>;

/// The chain of a leaf, DER.
pub(crate) fn chain(leaf: &Leaf) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(leaf.chain.as_bytes())
        .map(Result::unwrap)
        .collect()
}

/// Answers SSLRequest; what is said from then on is inside TLS, with this leaf.
pub(crate) fn secured(mut peer: Peer, leaf: &Leaf) -> SecuredPeer {
    assert_eq!(peer.packet(), ssl_request());
    peer.send(b"S");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain(leaf), key)
        .unwrap();
    let connection = ServerConnection::new(Arc::new(config)).unwrap();
    StreamOwned::new(connection, peer.stream)
}
