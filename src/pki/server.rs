//! The TLS server that clients of one project meet.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::trust::Asking;
use super::{CaNames, Identity};

/// The most plaintext that one TLS record carries towards a client, in bytes: libpq reads into a
/// buffer of this size and, when asynchronous, waits on the socket for what is left in OpenSSL (T12).
pub const MAX_RECORD_PLAINTEXT: usize = 8 * 1024;

/// PostgreSQL's ALPN protocol name, the only one that the gate speaks.
const ALPN_POSTGRESQL: &[u8] = b"postgresql";

/// rustls counts a record's header into `max_fragment_size`; RFC 8446 section 5.1.
const RECORD_HEADER: usize = 5;

/// What the gate demands of a client's TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsPolicy {
    /// The oldest TLS version that is spoken.
    pub min_version: MinVersion,
    /// The names of the CAs one of which is to have signed the client's certificate. None if no
    /// certificate is asked for. A client that shows one proves in TLS that it has the key and no
    /// more; whether it is trusted is for [`ClientTrust::verify`](super::ClientTrust::verify) to say.
    pub client_cas: Option<CaNames>,
}

/// The oldest TLS version that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MinVersion {
    /// TLS 1.2 and TLS 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl MinVersion {
    fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&version::TLS13, &version::TLS12],
            Self::Tls13 => vec![&version::TLS13],
        }
    }
}

/// Builds the TLS server of one project, to be shared by its connections.
///
/// Nothing is ever resumed: no tickets, no session cache, no early data. So nothing can be carried
/// from one project into another (T14), and libpq, which resumes nothing, loses nothing.
#[must_use]
pub fn server_config(identity: &Identity, policy: &TlsPolicy) -> Arc<ServerConfig> {
    let clients: Arc<dyn ClientCertVerifier> = match &policy.client_cas {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(names) => Arc::new(Asking::for_one_of(names)),
    };
    let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(identity.certified_key())));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&policy.min_version.versions())
        .expect("the provider has a cipher suite for every version that a policy can name")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![ALPN_POSTGRESQL.to_vec()];
    config.ignore_client_order = true;
    config.max_fragment_size = Some(MAX_RECORD_PLAINTEXT + RECORD_HEADER);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// The cryptography of the client side: hybrid post-quantum key exchange first, and AES-128-GCM
/// first, which costs less than AES-256-GCM and a seventh of ChaCha20-Poly1305.
pub(super) fn provider() -> CryptoProvider {
    use aws_lc_rs::cipher_suite as suite;
    use aws_lc_rs::kx_group as group;
    CryptoProvider {
        kx_groups: vec![
            group::X25519MLKEM768,
            group::X25519,
            group::SECP256R1,
            group::SECP384R1,
        ],
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}

#[cfg(test)]
mod tests;
