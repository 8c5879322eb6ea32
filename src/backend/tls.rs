//! TLS towards a backend.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustls::ClientConfig;

use super::InvalidBackend;

/// How much a backend must prove, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// Plaintext.
    Disable,
    /// Encrypted, with no proof of who it is.
    Require,
    /// A chain to a known root.
    VerifyCa,
    /// A chain to a known root, for the host that was dialled.
    VerifyFull,
}

impl FromStr for SslMode {
    type Err = InvalidSslMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}

/// Not an sslmode that the gate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sslmode is disable, require, verify-ca or verify-full")]
pub struct InvalidSslMode;

/// What TLS towards a backend must be, built once from `sslmode` and `sslrootcert`.
#[derive(Debug, Clone)]
pub enum BackendTls {
    /// Plaintext.
    Disable,
    /// Encrypted, unverified.
    Require(Arc<ClientConfig>),
    /// Chain verified.
    VerifyCa(Arc<ClientConfig>),
    /// Chain and host verified.
    VerifyFull(Arc<ClientConfig>),
}

impl BackendTls {
    /// Builds it from `sslmode` and `sslrootcert` (a PEM bundle).
    ///
    /// # Errors
    /// [`InvalidBackend`] naming the file.
    pub fn load(mode: SslMode, root_file: Option<&Path>) -> Result<Self, InvalidBackend> {
        todo!()
    }
}
