//! Private keys at rest: sealed, where a key-encryption key is given.
//!
//! A sealed file is one PEM block `PORTCULLIS SEALED KEY`, of these bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the version: 1 |
//! | 8 | the id of the key-encryption key: the beginning of the SHA-256 of `portcullis key id 1` and the key |
//! | 12 + 48 | the file's own data key, AES-256-GCM by the key-encryption key: nonce, then ciphertext and tag |
//! | 12 + n + 16 | the file's contents, AES-256-GCM by the data key: nonce, then ciphertext and tag |
//!
//! Both are bound to the nine bytes at the front and to what they are (`data key`, `contents`). They are
//! not bound to the file's name, so that a file can be renamed; whether a key is the one that belongs
//! there is seen by its certificate.

use std::fmt;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::issue::pem_block;
use super::{PkiError, ProjectKeystore, files};

const LABEL: &str = "PORTCULLIS SEALED KEY";
const BEGIN: &str = "-----BEGIN PORTCULLIS SEALED KEY-----";
const END: &str = "-----END PORTCULLIS SEALED KEY-----";

const VERSION: u8 = 1;
/// Version and id.
const HEAD: usize = 1 + KekId::LENGTH;
const TAG: usize = 16;
/// AES-256.
const KEY: usize = 32;
const WRAPPED: usize = NONCE_LEN + KEY + TAG;

/// Key-encryption keys: the first one seals, and each of them opens what it sealed. They are erased
/// from memory when they go.
pub struct KeyRing {
    /// At least one.
    keys: Vec<KeyEncryptionKey>,
}

impl KeyRing {
    /// Reads the keys of a text, such as an environment variable's: each 32 bytes in base64 (as
    /// `openssl rand -base64 32` prints) or in hexadecimal, between white space. From `#` to the end
    /// of the line is a comment. `origin` says in errors whence the text is.
    ///
    /// # Errors
    /// No key, or something else than a key, which is not quoted (T34).
    pub fn parse(text: &str, origin: &str) -> Result<Self, PkiError> {
        let bad = |what: String| PkiError::BadKeyRing {
            origin: origin.to_owned(),
            what,
        };
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default();
            for word in line.split_whitespace() {
                let key = KeyEncryptionKey::parse(word);
                keys.push(key.ok_or_else(|| bad(format!("line {number} holds no such key")))?);
            }
        }
        if keys.is_empty() {
            return Err(bad("there is none in it".to_owned()));
        }
        Ok(Self { keys })
    }

    /// Reads the keys of a file, if only its owner can.
    ///
    /// # Errors
    /// Those of [`Self::parse`]; a file that can't be read, or that others can read.
    pub fn read(path: &Path) -> Result<Self, PkiError> {
        let origin = path.display().to_string();
        let contents = files::read_secret(path)?;
        let text = std::str::from_utf8(&contents).map_err(|_| PkiError::BadKeyRing {
            origin: origin.clone(),
            what: "it is no text".to_owned(),
        })?;
        Self::parse(text, &origin)
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn sealing_id(&self) -> String {
        self.first()
            .map(|key| key.id.to_string())
            .unwrap_or_default()
    }

    fn first(&self) -> Option<&KeyEncryptionKey> {
        self.keys.first()
    }

    /// Seals the contents of a file by the first key.
    pub(super) fn seal(&self, contents: &[u8]) -> Result<String, PkiError> {
        let refused = |_| PkiError::Issue("a key could not be sealed".to_owned());
        let kek = self
            .first()
            .ok_or_else(|| PkiError::Issue("no key to seal by".to_owned()))?;
        let mut data_key = Zeroizing::new([0; KEY]);
        rand::fill(data_key.as_mut_slice()).map_err(refused)?;
        let mut sealed = vec![VERSION];
        sealed.extend(kek.id.0);
        let head = sealed.clone();
        let wrapped = encrypt(&kek.key, &head, (Part::DataKey, data_key.as_slice()));
        sealed.extend(wrapped.map_err(refused)?);
        let body = encrypt(&data_key, &head, (Part::Contents, contents));
        sealed.extend(body.map_err(refused)?);
        Ok(pem_block(LABEL, &sealed))
    }

    /// Opens what was sealed, by whichever key did.
    fn open(&self, envelope: &Envelope) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let kek = self.keys.iter().find(|key| key.id == envelope.kek);
        let kek = kek.ok_or(Unopened::OtherKey)?;
        let damaged = |_| Unopened::Damaged;
        let bytes = envelope.bytes.as_slice();
        let (head, rest) = bytes.split_at_checked(HEAD).ok_or(Unopened::Damaged)?;
        let (wrapped, body) = rest.split_at_checked(WRAPPED).ok_or(Unopened::Damaged)?;
        let data_key =
            decrypt(kek.key.as_slice(), head, (Part::DataKey, wrapped)).map_err(damaged)?;
        decrypt(&data_key, head, (Part::Contents, body)).map_err(damaged)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| key.id))
            .finish()
    }
}

struct KeyEncryptionKey {
    id: KekId,
    key: Zeroizing<[u8; KEY]>,
}

impl KeyEncryptionKey {
    fn parse(text: &str) -> Option<Self> {
        let mut key = Zeroizing::new([0; KEY]);
        let is_hex = text.len() == 2 * KEY;
        if is_hex {
            let (pairs, _) = text.as_bytes().as_chunks::<2>();
            for (byte, pair) in key.iter_mut().zip(pairs) {
                *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
            }
        } else {
            let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
            key.copy_from_slice(bytes.first_chunk::<KEY>().filter(|_| bytes.len() == KEY)?);
        }
        let id = KekId::of(&key);
        Some(Self { id, key })
    }
}

/// Which key sealed: nothing about the key can be learnt from it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct KekId([u8; Self::LENGTH]);

impl KekId {
    const LENGTH: usize = 8;

    fn of(key: &[u8; KEY]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"portcullis key id 1");
        context.update(key);
        let digest = context.finish();
        let mut id = [0; Self::LENGTH];
        id.iter_mut()
            .zip(digest.as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(id)
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

enum Unopened {
    OtherKey,
    Damaged,
}

/// A sealed file's bytes.
struct Envelope {
    kek: KekId,
    bytes: Vec<u8>,
}

impl Envelope {
    /// Whether a file is sealed at all.
    fn is_one(contents: &[u8]) -> bool {
        contents.trim_ascii_start().starts_with(BEGIN.as_bytes())
    }

    fn read(contents: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(contents).ok()?.trim();
        let base64: String = text
            .strip_prefix(BEGIN)?
            .strip_suffix(END)?
            .split_whitespace()
            .collect();
        let bytes = STANDARD.decode(base64).ok()?;
        let kek = match bytes.split_first()? {
            (&VERSION, rest) => KekId(*rest.first_chunk()?),
            _ => return None,
        };
        Some(Self { kek, bytes })
    }
}

#[derive(Clone, Copy)]
enum Part {
    DataKey,
    Contents,
}

impl Part {
    fn bound_to(self, head: &[u8]) -> Aad<Vec<u8>> {
        let label: &[u8] = match self {
            Self::DataKey => b"data key",
            Self::Contents => b"contents",
        };
        Aad::from([head, label].concat())
    }
}

fn encrypt(
    key: &[u8; KEY],
    head: &[u8],
    (part, plain): (Part, &[u8]),
) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key)?;
    // Room for the tag from the start: a buffer that grows leaves a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(plain.len().saturating_add(TAG)));
    text.extend_from_slice(plain);
    let nonce = key.seal_in_place_append_tag(part.bound_to(head), &mut *text)?;
    Ok([nonce.as_ref().as_slice(), text.as_slice()].concat())
}

fn decrypt(
    key: &[u8],
    head: &[u8],
    (part, sealed): (Part, &[u8]),
) -> Result<Zeroizing<Vec<u8>>, aws_lc_rs::error::Unspecified> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key)?;
    let (nonce, text) = sealed
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(aws_lc_rs::error::Unspecified)?;
    let mut text = Zeroizing::new(text.to_vec());
    let length = key
        .open_in_place(Nonce::from(nonce), part.bound_to(head), &mut text)?
        .len();
    text.truncate(length);
    Ok(text)
}

/// How a private file is kept, and how it is to be kept from now on.
pub(super) struct Private {
    /// What is in it, unsealed.
    pub(super) contents: Zeroizing<Vec<u8>>,
    /// Whether it is as it would be written now: sealed by the first key, or plain without keys.
    pub(super) is_as_wanted: bool,
}

/// Reads a private file, if only its owner can, and unseals it if it is sealed.
pub(super) fn read(path: &Path, ring: Option<&KeyRing>) -> Result<Private, PkiError> {
    let contents = files::read_secret(path)?;
    if !Envelope::is_one(&contents) {
        let is_as_wanted = ring.is_none();
        return Ok(Private {
            contents,
            is_as_wanted,
        });
    }
    let bad = || PkiError::SealDamaged {
        path: path.to_owned(),
    };
    let envelope = Envelope::read(&contents).ok_or_else(bad)?;
    let unopened = |known: Vec<String>| PkiError::Sealed {
        path: path.to_owned(),
        by: envelope.kek.to_string(),
        known,
    };
    let ring = ring.ok_or_else(|| unopened(Vec::new()))?;
    let contents = ring.open(&envelope).map_err(|error| match error {
        Unopened::OtherKey => unopened(ring.keys.iter().map(|key| key.id.to_string()).collect()),
        Unopened::Damaged => bad(),
    })?;
    let is_as_wanted = ring.first().is_some_and(|first| first.id == envelope.kek);
    Ok(Private {
        contents,
        is_as_wanted,
    })
}

impl ProjectKeystore {
    /// Whether a private file of the folder is kept sealed.
    pub(super) fn is_sealed(&self, file: &str) -> Result<bool, PkiError> {
        let contents = files::if_there(files::read_secret(&self.file(file)))?;
        Ok(contents.is_some_and(|contents| Envelope::is_one(&contents)))
    }
}

/// The contents of a private file as it is to be written.
pub(super) fn to_write(
    contents: &[u8],
    ring: Option<&KeyRing>,
) -> Result<Zeroizing<String>, PkiError> {
    let text = match ring {
        Some(ring) => ring.seal(contents)?,
        None => String::from_utf8_lossy(contents).into_owned(),
    };
    Ok(Zeroizing::new(text))
}

/// Where a key can be given, for errors.
pub(super) fn ways(known: &[String]) -> String {
    let given = if known.is_empty() {
        "and no key-encryption key is given".to_owned()
    } else {
        format!("and only {} is given", known.join(", "))
    };
    format!(
        "{given}: name a file that holds it as [keys] encryption_key_file, or put it into the \
         environment variable PORTCULLIS_KEY_ENCRYPTION_KEY"
    )
}

#[cfg(test)]
mod tests;
