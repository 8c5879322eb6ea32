//! What is stored of a password (RFC 5803), as PostgreSQL keeps it in `pg_authid`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::keys::{self, Key, NoRandomness, PasswordKeys};
use super::prepare::prepare;

/// The length of a salt that is made here, in bytes; PostgreSQL's.
const DEFAULT_SALT_LENGTH: usize = 16;

/// The longest salt that is read, in bytes; PostgreSQL's own are 16.
const MAX_SALT_LENGTH: usize = 256;

/// The longest verifier that is read, in bytes: more than the longest salt needs.
const MAX_TEXT_LENGTH: usize = 512;

/// What PostgreSQL keeps instead of a password:
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
///
/// Who reads it can guess passwords, and can pose as the server, but can't log in.
#[derive(Clone)]
pub struct Verifier {
    salt: Salt,
    iterations: Iterations,
    stored_key: Key,
    server_key: Key,
    /// False for a mock: no proof is ever good.
    is_genuine: bool,
}

/// An iteration count: 1 to 2147483647, as PostgreSQL's `scram_iterations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Iterations(NonZeroU32);

/// A salt: 1 to 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salt(Box<[u8]>);

/// What mock verifiers are made of, so that users that exist and users that don't can't be told
/// apart (T20, T29).
///
/// A name's mock is always the same. So that it is the same on every instance and after a restart too,
/// as a real one is, make the secret [from](Self::from_seed) something that all of them hold.
pub struct MockSecret {
    key: Key,
    iterations: Iterations,
}

/// Why a text is no verifier. Shows nothing of the text (T34).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// An MD5 hash, by which SCRAM can't be done.
    #[error(
        "the verifier is an MD5 hash: set the password again with password_encryption = 'scram-sha-256'"
    )]
    Md5,
    /// Something else, maybe a password.
    #[error("not a SCRAM-SHA-256 verifier")]
    Scheme,
    /// Fields that are missing.
    #[error("not of the form SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>")]
    Layout,
    /// An iteration count out of its range.
    #[error("the iteration count of the SCRAM-SHA-256 verifier is not from 1 to 2147483647")]
    Iterations,
    /// A salt that is not base64, or of another length than allowed.
    #[error("the salt of the SCRAM-SHA-256 verifier is not base64 of 1 to 256 bytes")]
    Salt,
    /// A StoredKey that is not base64 of 32 bytes.
    #[error("the StoredKey of the SCRAM-SHA-256 verifier is not base64 of 32 bytes")]
    StoredKey,
    /// A ServerKey that is not base64 of 32 bytes.
    #[error("the ServerKey of the SCRAM-SHA-256 verifier is not base64 of 32 bytes")]
    ServerKey,
}

impl Verifier {
    /// Reads what PostgreSQL keeps in `pg_authid.rolpassword`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &[u8]) -> Result<Self, VerifierError> {
        if is_md5(text) {
            return Err(VerifierError::Md5);
        }
        let Some(fields) = text.strip_prefix(b"SCRAM-SHA-256$") else {
            return Err(VerifierError::Scheme);
        };
        let [iterations, salt, stored_key, server_key] =
            split(fields).ok_or(VerifierError::Layout)?;
        Ok(Self {
            iterations: Iterations::parse(iterations).ok_or(VerifierError::Iterations)?,
            salt: Salt::parse(salt).ok_or(VerifierError::Salt)?,
            stored_key: Key::parse(stored_key).ok_or(VerifierError::StoredKey)?,
            server_key: Key::parse(server_key).ok_or(VerifierError::ServerKey)?,
            is_genuine: true,
        })
    }

    /// Makes the verifier of a password, as PostgreSQL does. Takes the processor's time in proportion
    /// to the iterations: 4096 are about a millisecond.
    #[must_use]
    pub fn from_password(password: &[u8], salt: Salt, iterations: Iterations) -> Self {
        let keys = PasswordKeys::derive(&prepare(password), &salt, iterations);
        Self {
            salt,
            iterations,
            stored_key: keys.client_key.stored_key(),
            server_key: keys.server_key,
            is_genuine: true,
        }
    }

    /// The mock verifier of a user that doesn't exist, or that has none that can be used. It is
    /// like a real one in all that can be seen from outside, but no proof is ever good.
    #[must_use]
    pub fn mock(user: &[u8], secret: &MockSecret) -> Self {
        let salt = secret.derive(b"salt", user);
        Self {
            salt: Salt(
                salt.as_bytes()
                    .iter()
                    .copied()
                    .take(DEFAULT_SALT_LENGTH)
                    .collect(),
            ),
            iterations: secret.iterations,
            stored_key: secret.derive(b"StoredKey", user),
            server_key: secret.derive(b"ServerKey", user),
            is_genuine: false,
        }
    }

    /// What was found, else the user's mock. The mock is made either way, so that the time tells
    /// nothing.
    #[must_use]
    pub fn or_mock(found: Option<Arc<Self>>, user: &[u8], secret: &MockSecret) -> Arc<Self> {
        let mock = Arc::new(Self::mock(user, secret));
        found.unwrap_or(mock)
    }

    /// The text that PostgreSQL keeps, and that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let stored_key = Zeroizing::new(self.stored_key.encode());
        let server_key = Zeroizing::new(self.server_key.encode());
        let (iterations, salt) = (self.iterations, self.salt.encode());
        Zeroizing::new(format!(
            "SCRAM-SHA-256${iterations}:{salt}${}:{}",
            *stored_key, *server_key
        ))
    }

    /// The salt.
    #[must_use]
    pub const fn salt(&self) -> &Salt {
        &self.salt
    }

    /// The iteration count.
    #[must_use]
    pub const fn iterations(&self) -> Iterations {
        self.iterations
    }

    #[cfg(test)]
    pub(super) fn into_mock(self) -> Self {
        Self {
            is_genuine: false,
            ..self
        }
    }

    pub(super) const fn stored_key(&self) -> &Key {
        &self.stored_key
    }

    pub(super) const fn server_key(&self) -> &Key {
        &self.server_key
    }

    pub(super) const fn is_genuine(&self) -> bool {
        self.is_genuine
    }
}

impl fmt::Debug for Verifier {
    /// Shows nothing of it (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl MockSecret {
    /// A new one, for this process only.
    ///
    /// `iterations` is what the real verifiers have, which PostgreSQL's `scram_iterations` sets; 4096
    /// by default. A mock of another count gives itself away.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random(iterations: Iterations) -> Result<Self, NoRandomness> {
        let key = Key::random()?;
        Ok(Self { key, iterations })
    }

    /// One made of a secret that outlives the process, such as a project's private key.
    #[must_use]
    pub fn from_seed(seed: &[u8], iterations: Iterations) -> Self {
        let key = Key::hmac(seed, b"portcullis mock verifier");
        Self { key, iterations }
    }

    fn derive(&self, what: &[u8], user: &[u8]) -> Key {
        self.key.sign(&[what, b":", user].concat())
    }
}

impl fmt::Debug for MockSecret {
    /// Shows nothing of it (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MockSecret(..)")
    }
}

impl Iterations {
    /// PostgreSQL's own default: 4096.
    pub const DEFAULT: Self = Self(NonZeroU32::new(4096).expect("4096 is not zero"));

    /// None if the count is out of range.
    #[must_use]
    pub fn new(count: u32) -> Option<Self> {
        let count = NonZeroU32::new(count)?;
        i32::try_from(count.get()).is_ok().then_some(Self(count))
    }

    /// Reads `posit-number` of RFC 5802 section 7: digits, the first of them no zero.
    pub(super) fn parse(digits: &[u8]) -> Option<Self> {
        let is_number = digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'0');
        let digits = std::str::from_utf8(digits).ok()?;
        Self::new(digits.parse().ok().filter(|_| is_number)?)
    }

    /// The count.
    #[must_use]
    pub const fn count(self) -> NonZeroU32 {
        self.0
    }
}

impl fmt::Display for Iterations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Salt {
    /// None if there are too few bytes, or too many.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=MAX_SALT_LENGTH)
            .contains(&bytes.len())
            .then(|| Self(bytes.into()))
    }

    /// A new one of 16 bytes, as PostgreSQL makes them.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut salt = [0; DEFAULT_SALT_LENGTH];
        rand::fill(&mut salt).map_err(|_| NoRandomness)?;
        Ok(Self(salt.into()))
    }

    pub(super) fn parse(base64: &[u8]) -> Option<Self> {
        Self::new(&keys::decode(base64)?)
    }

    pub(super) fn encode(&self) -> String {
        keys::encode(&self.0)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Splits `<iterations>:<salt>$<StoredKey>:<ServerKey>`.
fn split(fields: &[u8]) -> Option<[&[u8]; 4]> {
    if fields.len() > MAX_TEXT_LENGTH {
        return None;
    }
    let (parameters, keys) = split_once(fields, b'$')?;
    let (iterations, salt) = split_once(parameters, b':')?;
    let (stored_key, server_key) = split_once(keys, b':')?;
    Some([iterations, salt, stored_key, server_key])
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = text.splitn(2, |byte| *byte == separator);
    Some((parts.next()?, parts.next()?))
}

/// PostgreSQL's rule: `md5` and 32 hexadecimal digits in lower case.
fn is_md5(text: &[u8]) -> bool {
    text.strip_prefix(b"md5").is_some_and(|hash| {
        hash.len() == 32
            && hash
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests;
