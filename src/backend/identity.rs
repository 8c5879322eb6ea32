//! What the gate shows of itself to a backend that asks for a client certificate.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// A client certificate towards a backend, with its key: the project's own, or one that is made for
/// one user. Cheap to clone.
#[derive(Clone)]
pub struct ClientIdentity(Arc<CertifiedKey>);

/// Why a certificate and a key are no identity.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the client certificate towards the backend can't be used: {0}")]
pub struct InvalidIdentity(rustls::Error);

impl ClientIdentity {
    /// Takes up a chain, leaf first, and the leaf's key.
    ///
    /// # Errors
    /// An empty chain, a key of a kind that isn't known, or one that is not the leaf's.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Self, InvalidIdentity> {
        let key = any_supported_type(key).map_err(InvalidIdentity)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(InvalidIdentity)?;
        Ok(Self(Arc::new(certified)))
    }

    /// The leaf.
    #[cfg(test)]
    pub(crate) fn leaf_der(&self) -> &CertificateDer<'static> {
        &self.0.cert[0]
    }

    /// The same TLS, with this identity to show.
    pub(super) fn shown_by(&self, config: &ClientConfig) -> Arc<ClientConfig> {
        let mut config = config.clone();
        let certified = Arc::clone(&self.0);
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        Arc::new(config)
    }
}

impl fmt::Debug for ClientIdentity {
    /// Shows no key (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}
