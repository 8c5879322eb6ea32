//! Why an identity could not be had.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::{Serial, sealed};
use crate::address::Host;

/// Why an identity could not be had. Each text names the file and what to do about it; none holds
/// any key material (T34).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done: a verb.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// Somebody else is at work in the project's folder, and does not come to an end.
    #[error(
        "{} has been locked by another process for {} seconds: another gate that writes to the same \
         directory, or a program of the same account that hangs; `lslocks` names it",
        path.display(),
        patience.as_secs()
    )]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// A file that is far too large to be a key or a chain.
    #[error("{} is larger than {limit} bytes: not a key, not a certificate chain", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Others could have read the private key.
    #[error(
        "the private key {} can be read or changed by others (mode {mode:04o}); run: chmod 600 '{}'",
        path.display(),
        path.display()
    )]
    KeyExposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No private key in the file, or a damaged one.
    #[error(
        "{} holds no usable private key: expected one unencrypted PEM block PRIVATE KEY, EC PRIVATE \
         KEY or RSA PRIVATE KEY",
        path.display()
    )]
    BadKey {
        /// The key's file.
        path: PathBuf,
    },
    /// A key-encryption key that isn't one.
    #[error(
        "{origin} holds no key-encryption keys: {what}. Each is 32 bytes in base64, as `openssl rand \
         -base64 32` prints them"
    )]
    BadKeyRing {
        /// Whence they are.
        origin: String,
        /// What is wrong with them.
        what: String,
    },
    /// Two places that give key-encryption keys.
    #[error(
        "key-encryption keys are given twice, by [keys] encryption_key_file and by the environment \
         variable PORTCULLIS_KEY_ENCRYPTION_KEY: keep one of them"
    )]
    KeyRingTwice,
    /// A sealed key, and not the key that opens it.
    #[error("{} is sealed by the key-encryption key {by}, {}", path.display(), sealed::ways(known))]
    Sealed {
        /// The sealed file.
        path: PathBuf,
        /// The id of the key that sealed it.
        by: String,
        /// The ids of the keys that are given.
        known: Vec<String>,
    },
    /// A sealed key that was changed, or that isn't whole.
    #[error("{} is sealed, and damaged: restore it from your copy", path.display())]
    SealDamaged {
        /// The sealed file.
        path: PathBuf,
    },
    /// No certificate in the file, or a damaged one.
    #[error("{} is no certificate chain: {what}", path.display())]
    BadCertificate {
        /// The chain's file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The CA's certificate is there, and its key isn't.
    #[error(
        "the CA's key {} is missing while its certificate is there: restore it from your copy. To \
         begin anew with another CA, which every client must then be given, move {} away",
        key.display(),
        certificate.display()
    )]
    CaKeyMissing {
        /// Where the key should be.
        key: PathBuf,
        /// The certificate that is there.
        certificate: PathBuf,
    },
    /// The CA's key can't be used, or is not its certificate's.
    #[error(
        "the CA's key {} does not fit its certificate: {what}. Restore both from your copy. To begin \
         anew with another CA, which every client must then be given, move both away",
        key.display()
    )]
    CaKeyUnfit {
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The CA can sign nothing now.
    #[error(
        "the CA in {} is valid from {} to {} only: take up another one with `portcullis ca rotate`, \
         which every client must then be given",
        certificate.display(),
        Date(*not_before),
        Date(*not_after)
    )]
    CaNotValid {
        /// The certificate's file.
        certificate: PathBuf,
        /// When it began.
        not_before: Timestamp,
        /// When it ends.
        not_after: Timestamp,
    },
    /// A step of a rotation that can't be taken from where it stands.
    #[error("{0}")]
    WrongStep(&'static str),
    /// A serial number of no certificate that was issued here.
    #[error(
        "no certificate with the serial number {0} was recorded here; `portcullis ca show` lists those \
         that were"
    )]
    UnknownSerial(Serial),
    /// No signing request, or a damaged one.
    #[error("the certificate signing request can't be used: {0}")]
    BadRequest(String),
    /// A revocation list that can't be read.
    #[error(
        "{} is damaged: restore it from your copy. With this file and 'issued' moved away, nothing counts \
         as revoked any more",
        path.display()
    )]
    BadRevocationList {
        /// The file.
        path: PathBuf,
    },
    /// A revocation list that must have been there.
    #[error(
        "{} is missing although certificates were issued, and with it what was revoked: restore it from \
         your copy. With 'issued' moved away, too, nothing counts as revoked any more",
        path.display()
    )]
    RevocationListMissing {
        /// The file.
        path: PathBuf,
    },
    /// The key is not the leaf's.
    #[error(
        "the key {} is not that of the first certificate in {}: the leaf comes first",
        key.display(),
        chain.display()
    )]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The chain's file.
        chain: PathBuf,
    },
    /// A certificate of the chain is over, or has not begun.
    #[error(
        "certificate {position} in {}, {subject}, is valid from {} to {} only",
        chain.display(),
        Date(*not_before),
        Date(*not_after)
    )]
    NotValid {
        /// The chain's file.
        chain: PathBuf,
        /// Which certificate, counted from 1.
        position: usize,
        /// Whose it is.
        subject: String,
        /// When it begins.
        not_before: Timestamp,
        /// When it ends.
        not_after: Timestamp,
    },
    /// The chain's certificates don't follow one another.
    #[error("certificate {position} in {} did not sign the one before it: {what}", chain.display())]
    ChainOrder {
        /// The chain's file.
        chain: PathBuf,
        /// Which certificate, counted from 1.
        position: usize,
        /// What is wrong.
        what: String,
    },
    /// The leaf does not name the host.
    #[error(
        "the certificate in {} does not cover {host}: its subject alternative names are {}",
        chain.display(),
        List(names)
    )]
    HostNotCovered {
        /// The chain's file.
        chain: PathBuf,
        /// The host.
        host: Host,
        /// What the leaf covers.
        names: Vec<String>,
    },
    /// A leaf without a tls-server-end-point hash.
    #[error(
        "the certificate in {} is signed with, or for, Ed25519 or Ed448: channel binding is not \
         defined for it (RFC 5929), so clients fail; use ECDSA P-256 or RSA",
        chain.display()
    )]
    NoChannelBinding {
        /// The chain's file.
        chain: PathBuf,
    },
    /// No list of revoked certificates in the file, or a damaged one.
    #[error("{} is no list of revoked certificates: {what}", path.display())]
    BadRevocations {
        /// The list's file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Client certificates are to be trusted, and nobody's are.
    #[error("there is no CA that client certificates could be from")]
    NoClientCa,
    /// A project that is reached under no name.
    #[error("a project needs at least one host to issue a certificate for")]
    NoHosts,
    /// The cryptographic library refused, which only lack of memory or of randomness explains.
    #[error("cannot issue a certificate: {0}")]
    Issue(String),
}

impl PkiError {
    /// Names the file and the attempt that an I/O error belongs to.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        Self::Issue(error.to_string())
    }
}

impl From<rustls::Error> for PkiError {
    fn from(error: rustls::Error) -> Self {
        Self::Issue(error.to_string())
    }
}

/// A time as people write it, in UTC.
struct Date(Timestamp);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%-d %B %Y, %H:%M UTC"))
    }
}

struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("none")
        } else {
            f.write_str(&self.0.join(", "))
        }
    }
}
