//! What the gate shows to clients.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::PkiError;
use crate::address::Host;

/// A certificate chain with its private key: what the gate shows to clients in one project's name.
/// Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    hosts: Arc<[Host]>,
    not_after: Timestamp,
    renew_at: Option<Timestamp>,
    ca_bundle_pem: Option<Arc<str>>,
}

impl Identity {
    /// Reads a chain and key of the user's own, and checks them.
    ///
    /// # Errors
    /// A file that can't be read or that isn't PEM, a key that isn't the leaf's, ..
    pub fn from_files(
        chain: &Path,
        key: &Path,
        hosts: &[Host],
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        todo!()
    }

    /// A self-signed leaf in memory.
    pub fn throwaway(now: Timestamp) -> Result<Self, PkiError> {
        todo!()
    }

    /// The chain as sent, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The leaf, DER.
    #[must_use]
    pub fn leaf_der(&self) -> &CertificateDer<'static> {
        todo!()
    }

    /// Chain and signing key as rustls takes them.
    #[must_use]
    pub const fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The names that the leaf was issued for, or was checked to cover.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// When the leaf expires.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// When the keystore would issue the next leaf: none if the leaf is not the gate's to renew.
    #[must_use]
    pub const fn renew_at(&self) -> Option<Timestamp> {
        self.renew_at
    }

    /// What clients take as `sslrootcert`, PEM; none for a chain that some other CA signed.
    #[must_use]
    pub fn ca_bundle_pem(&self) -> Option<&str> {
        self.ca_bundle_pem.as_deref()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("hosts", &self.hosts)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
