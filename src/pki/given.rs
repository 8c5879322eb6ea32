//! A client certificate of the user's own, for the gate to show to a backend.

use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{PkiError, files};

/// Reads a chain, leaf first, and the leaf's key, both PEM. Blocks on the file system.
///
/// # Errors
/// A file that can't be read or is damaged, or a key that others can read.
pub fn read_client_certificate(
    chain: &Path,
    key: &Path,
) -> Result<
    (
        Vec<CertificateDer<'static>>,
        Zeroizing<PrivateKeyDer<'static>>,
    ),
    PkiError,
> {
    Ok((files::read_chain(chain)?, files::read_key(key)?))
}

/// Checks that a file can be read by its owner alone, as a secret must be: PostgreSQL's own rule
/// for `ssl_key_file`. Blocks on the file system.
///
/// # Errors
/// It can't be looked at, or others can read it.
pub fn check_secret(path: &Path) -> Result<(), PkiError> {
    files::check_secret(path)
}
