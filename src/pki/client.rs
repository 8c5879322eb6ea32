//! Certificates for clients: of the gate, and of a backend that the gate logs in to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::issue::{self, Ca};
use super::{PkiError, Serial};

/// The name in a client's certificate, which PostgreSQL compares with the user's: 1 to 63 bytes of
/// UTF-8 (a longer one is no user's), with no control character among them. It is the subject's
/// common name, and the certificate has no other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientName(Box<str>);

impl ClientName {
    /// The longest name, in bytes: NAMEDATALEN - 1.
    pub const MAX_LENGTH: usize = 63;

    /// The name of a user as StartupMessage states it; none if no certificate can state it.
    #[must_use]
    pub fn of_user(user: &[u8]) -> Option<Self> {
        std::str::from_utf8(user).ok()?.parse().ok()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientName {
    type Err = InvalidClientName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidClientName)
        }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The text can't be a user's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user's name is 1 to 63 bytes, with no control character among them")]
pub struct InvalidClientName;

/// Whom a project trusts for its clients' certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientRoots {
    /// The CAs: one, and two while one takes over from the other.
    pub certificates: Vec<CertificateDer<'static>>,
    /// What they have revoked: a list for each CA, or none at all while nothing was ever revoked.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

/// Signs certificates by which the gate logs in for clients, by a project's CA and in memory: no file is
/// read or written. Their organizational unit is `portcullis gate`, which tells them from those that are
/// handed out to clients ([`issue_to_client`](super::ProjectKeystore::issue_to_client)). Cheap to clone. It signs by the CA that signed when it was made, so one that is kept is made anew when the
/// project's certificates change.
#[derive(Clone)]
pub struct ClientIssuer(Arc<Ca>);

impl ClientIssuer {
    pub(super) fn new(ca: Ca) -> Self {
        Self(Arc::new(ca))
    }

    /// A certificate for `name` with a new key, valid from an hour ago until `life` from now, though
    /// no longer than its CA. Takes some tens of microseconds of CPU.
    ///
    /// # Errors
    /// [`PkiError::Issue`], which only lack of memory or randomness explains.
    pub fn issue(
        &self,
        name: &ClientName,
        life: SignedDuration,
        now: Timestamp,
    ) -> Result<ClientCertificate, PkiError> {
        let issued = issue::gates(&self.0, name, life, now)?;
        Ok(ClientCertificate {
            key: issue::private_key(&issued.key),
            serial: issued.serial,
            not_after: issued.not_after,
            certificate: issued.certificate.into(),
        })
    }

    /// Whether both sign by the same CA.
    #[must_use]
    pub fn is_by_ca_of(&self, other: &Self) -> bool {
        self.0.certificate == other.0.certificate
    }

    /// When the CA ends, and with it whatever it signs.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }
}

impl fmt::Debug for ClientIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIssuer").finish_non_exhaustive()
    }
}

/// A client's certificate with its key.
pub struct ClientCertificate {
    certificate: CertificateDer<'static>,
    key: Zeroizing<PrivateKeyDer<'static>>,
    serial: Serial,
    not_after: Timestamp,
}

impl ClientCertificate {
    /// The certificate, DER. No chain goes with it: its CA is one that the other end trusts.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its key, PKCS #8.
    #[must_use]
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    /// Its serial number, by which it is revoked.
    #[must_use]
    pub const fn serial(&self) -> &Serial {
        &self.serial
    }

    /// When it ends.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Chain and signing key as rustls takes them.
    ///
    /// # Errors
    /// [`PkiError::Issue`], which only lack of memory explains.
    pub fn certified_key(&self) -> Result<CertifiedKey, PkiError> {
        let key = any_supported_type(&self.key)?;
        Ok(CertifiedKey::new(vec![self.certificate.clone()], key))
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
