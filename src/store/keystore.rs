//! The keystore of a configuration, with what seals its keys.

use std::env::{self, VarError};

use zeroize::Zeroizing;

use crate::config::Config;
use crate::pki::{KeyRing, Keystore, PkiError};

/// The environment variable that can hold the key-encryption keys.
pub const VARIABLE: &str = "PORTCULLIS_KEY_ENCRYPTION_KEY";

/// Opens the keystore of a configuration. Its keys are sealed if key-encryption keys are given.
///
/// # Errors
/// A directory that can't be made; the errors of [`ring`].
pub fn open(config: &Config) -> Result<Keystore, PkiError> {
    let keystore = Keystore::open(config.certs.clone())?;
    Ok(keystore.sealed_by(ring(config)?))
}

/// The key-encryption keys that are given: by `[keys] encryption_key_file` or by the environment
/// variable [`VARIABLE`].
///
/// # Errors
/// Both are given; what is given can't be read, or is no such key.
pub fn ring(config: &Config) -> Result<Option<KeyRing>, PkiError> {
    let file = config.encryption_key_file.as_deref();
    let text = match env::var(VARIABLE) {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(VarError::NotPresent) => None,
        // Not text, so no key; it is reported as that.
        Err(VarError::NotUnicode(_)) => Some(Zeroizing::default()),
    };
    match (file, text) {
        (None, None) => Ok(None),
        (Some(path), None) => KeyRing::read(path).map(Some),
        (None, Some(text)) => KeyRing::parse(&text, VARIABLE).map(Some),
        (Some(_), Some(_)) => Err(PkiError::KeyRingTwice),
    }
}
