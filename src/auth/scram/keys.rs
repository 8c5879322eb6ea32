//! The keys of SCRAM-SHA-256 (RFC 5802 section 3), by the names that they have there.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Iterations, Salt, Verifier};

/// SHA-256's length, and so each key's, in bytes.
const KEY_LENGTH: usize = 32;

/// A nonce before it is made printable, in bytes; PostgreSQL's.
const RAW_NONCE_LENGTH: usize = 18;

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct NoRandomness;

/// The client's secret: who holds it can log in as its user for as long as the password stays.
#[derive(Clone)]
pub struct ClientKey(Key);

/// A ClientKey that a client's proof revealed, with the verifier that the proof was checked by.
///
/// Nothing else makes them, so whoever holds them has seen that user prove the password.
#[derive(Clone)]
pub struct ProvenKeys {
    client_key: ClientKey,
    verifier: Arc<Verifier>,
}

/// Any key, signature or proof of SCRAM-SHA-256.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Key([u8; KEY_LENGTH]);

/// The two keys that a password becomes.
pub(super) struct PasswordKeys {
    pub(super) client_key: ClientKey,
    pub(super) server_key: Key,
}

impl ClientKey {
    /// ClientProof and ClientSignature make ClientKey, and ClientKey and ClientSignature make
    /// ClientProof.
    pub(super) fn from_proof(proof: &Key, signature: &Key) -> Self {
        Self(proof.xor(signature))
    }

    pub(super) fn proof(&self, signature: &Key) -> Key {
        self.0.xor(signature)
    }

    pub(super) fn stored_key(&self) -> Key {
        self.0.hash()
    }
}

impl fmt::Debug for ClientKey {
    /// Shows nothing of it (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

impl ProvenKeys {
    pub(super) const fn new(client_key: ClientKey, verifier: Arc<Verifier>) -> Self {
        Self {
            client_key,
            verifier,
        }
    }

    /// The key that the proof revealed.
    #[must_use]
    pub const fn client_key(&self) -> &ClientKey {
        &self.client_key
    }

    /// What the proof was checked by.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

impl fmt::Debug for ProvenKeys {
    /// Shows nothing of them (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProvenKeys(..)")
    }
}

impl Key {
    pub(super) fn random() -> Result<Self, NoRandomness> {
        let mut key = Self([0; KEY_LENGTH]);
        rand::fill(&mut key.0).map_err(|_| NoRandomness)?;
        Ok(key)
    }

    /// HMAC-SHA-256.
    pub(super) fn hmac(key: &[u8], data: &[u8]) -> Self {
        let mut tag = Self([0; KEY_LENGTH]);
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign_to_buffer(&key, data, &mut tag.0).expect("a tag's length is a key's length");
        tag
    }

    /// SHA-256.
    pub(super) fn hash(&self) -> Self {
        let mut hash = Self([0; KEY_LENGTH]);
        hash.0
            .copy_from_slice(digest::digest(&digest::SHA256, &self.0).as_ref());
        hash
    }

    /// The signature of an AuthMessage by this key.
    pub(super) fn sign(&self, auth_message: &[u8]) -> Self {
        Self::hmac(&self.0, auth_message)
    }

    fn xor(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (byte, mask) in both.0.iter_mut().zip(other.0) {
            *byte ^= mask;
        }
        both
    }

    /// Whether they are equal, in a time that does not tell where they differ.
    pub(super) fn equals(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }

    pub(super) fn parse(base64: &[u8]) -> Option<Self> {
        // One byte more than a key, since 44 characters can be 33 bytes.
        let mut decoded = Zeroizing::new([0; KEY_LENGTH + 1]);
        let length = STANDARD.decode_slice(base64, decoded.as_mut_slice()).ok()?;
        let (key, _) = decoded.split_first_chunk()?;
        (length == KEY_LENGTH).then(|| Self(*key))
    }

    pub(super) fn encode(&self) -> String {
        encode(&self.0)
    }

    pub(super) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PasswordKeys {
    /// Derives the keys. Takes the processor's time in proportion to the iterations: 4096 are
    /// about a millisecond.
    pub(super) fn derive(prepared_password: &[u8], salt: &Salt, iterations: Iterations) -> Self {
        let mut salted_password = Zeroizing::new([0; KEY_LENGTH]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations.count(),
            salt.as_bytes(),
            prepared_password,
            salted_password.as_mut_slice(),
        );
        Self {
            client_key: ClientKey(Key::hmac(salted_password.as_slice(), b"Client Key")),
            server_key: Key::hmac(salted_password.as_slice(), b"Server Key"),
        }
    }
}

/// Whether they are equal, in a time that tells nothing but whether their lengths are.
pub(super) fn equal(left: &[u8], right: &[u8]) -> bool {
    verify_slices_are_equal(left, right).is_ok()
}

/// Base64 with padding (RFC 4648 section 4).
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads base64 with its padding and with no bit too many.
pub(super) fn decode(base64: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(base64).ok()
}

/// A new nonce: 24 printable characters.
pub(super) fn nonce() -> Result<String, NoRandomness> {
    let mut raw = [0; RAW_NONCE_LENGTH];
    rand::fill(&mut raw).map_err(|_| NoRandomness)?;
    Ok(encode(&raw))
}
