//! What a project demands of its clients' certificates, and the verdict on one: is it to be trusted,
//! and may who has it be the user that StartupMessage names?
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod mint;
mod user_map;

use std::sync::Arc;

use jiff::Timestamp;

use crate::pki::{ClientName, ClientTrust, Distrust, Shown, TrustedClient};

pub use mint::{MintError, Minter};
pub use user_map::{InvalidUserMap, UserMap};

/// PostgreSQL cuts the name of a user to this length, in bytes: a longer one would be compared as
/// another name than it logs in by.
const LONGEST_USER: usize = ClientName::MAX_LENGTH;

/// What a project demands of its clients' certificates.
#[derive(Debug, Clone)]
pub enum ClientCertificates {
    /// None is asked for.
    Off,
    /// Who shows one must show one that is trusted.
    Optional(Arc<ClientTrust>),
    /// Everybody must show one that is trusted.
    Required(Box<Demand>),
}

/// What everybody's certificate must be.
#[derive(Debug, Clone)]
pub struct Demand {
    /// By whom it must be.
    pub trust: Arc<ClientTrust>,
    /// Who its holder may be.
    pub naming: Naming,
}

/// Who a client with a trusted certificate may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// Any user: the certificate lets in, and says no more.
    Any,
    /// Whom the certificate names.
    Named(NameKind, UserMap),
}

/// Which of a certificate's names count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// The subject's one common name.
    CommonName,
    /// Each subject alternative name that is a text: DNS names, e-mail addresses, URIs.
    AlternativeName,
}

/// What a client's certificate has been found to prove: nothing, if nothing was demanded. Only
/// [`ClientCertificates::judge`] makes one that proves anything.
#[derive(Debug, Clone, Default)]
pub struct Identification(Option<Arc<Holder>>);

/// Who has shown a trusted certificate.
#[derive(Debug)]
struct Holder {
    identity: TrustedClient,
    user: Box<[u8]>,
    is_named: bool,
}

/// A user whom the client's certificate names. Only an [`Identification`] gives one out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProvenUser<'a>(&'a str);

/// What came of a client's certificate, in a word for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificateResult {
    /// It lets the client in.
    Accepted,
    /// None was shown, and none is needed.
    Absent,
    /// None was shown, and one is needed.
    Missing,
    /// It is by no CA that is trusted.
    UnknownCa,
    /// It is not valid now.
    Expired,
    /// It is revoked.
    Revoked,
    /// It can't be used, or can't be decided on.
    Unfit,
    /// It is another user's.
    OtherUser,
}

impl CertificateResult {
    /// Every word.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Absent,
        Self::Missing,
        Self::UnknownCa,
        Self::Expired,
        Self::Revoked,
        Self::Unfit,
        Self::OtherUser,
    ];

    /// The value of the label `result` in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Absent => "absent",
            Self::Missing => "missing",
            Self::UnknownCa => "unknown_ca",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unfit => "unfit",
            Self::OtherUser => "other_user",
        }
    }
}

/// Why a client's certificate does not let it in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// It has shown none.
    #[error("connections to this project need a client certificate, and none was shown")]
    Missing,
    /// The one that it has shown is not trusted.
    #[error("{why}")]
    Distrusted {
        /// Why.
        why: Distrust,
        /// What the certificate claims, or what it was found to say: for the operator.
        certificate: String,
    },
    /// The one that it has shown is not this user's.
    #[error("the client certificate of {subject} is not one of user \"{user}\"")]
    OtherUser {
        /// The certificate's subject.
        subject: Box<str>,
        /// The user that StartupMessage names, printable and of bounded length.
        user: Box<str>,
    },
}

impl CertificateRefused {
    /// The word for it.
    #[must_use]
    pub const fn result(&self) -> CertificateResult {
        match self {
            Self::Missing => CertificateResult::Missing,
            Self::OtherUser { .. } => CertificateResult::OtherUser,
            Self::Distrusted { why, .. } => match why {
                Distrust::UnknownAuthority => CertificateResult::UnknownCa,
                Distrust::Expired { .. } | Distrust::NotYetValid { .. } => {
                    CertificateResult::Expired
                }
                Distrust::Revoked { .. } => CertificateResult::Revoked,
                Distrust::WrongPurpose
                | Distrust::OldVersion
                | Distrust::StaleRevocations
                | Distrust::NoRevocations
                | Distrust::Unfit(_) => CertificateResult::Unfit,
            },
        }
    }
}

impl ClientCertificates {
    /// Whose certificates are asked for; none if none are.
    #[must_use]
    pub const fn trust(&self) -> Option<&Arc<ClientTrust>> {
        match self {
            Self::Off => None,
            Self::Optional(trust) => Some(trust),
            Self::Required(demand) => Some(&demand.trust),
        }
    }

    /// Decides on a client that has shown this in TLS and wants to be `user`.
    ///
    /// # Errors
    /// It may not come in.
    pub fn judge(
        &self,
        shown: Option<Shown<'_>>,
        user: &[u8],
        now: Timestamp,
    ) -> Result<Identification, CertificateRefused> {
        let (trust, naming, shown) = match (self, shown) {
            // What one shows at a door that doesn't ask for it (that of another project) says nothing.
            (Self::Off, _) | (Self::Optional(_), None) => return Ok(Identification(None)),
            (Self::Required(..), None) => return Err(CertificateRefused::Missing),
            (Self::Optional(trust), Some(shown)) => (trust, &Naming::Any, shown),
            (Self::Required(demand), Some(shown)) => (&demand.trust, &demand.naming, shown),
        };
        let identity = trust.verify(shown, now);
        let identity = identity.map_err(|why| CertificateRefused::Distrusted {
            why,
            certificate: shown.claim(),
        })?;
        naming.admit(&identity, user)?;
        Ok(Identification(Some(Arc::new(Holder {
            identity,
            user: user.into(),
            is_named: matches!(naming, Naming::Named(..)),
        }))))
    }

    /// Decides again on a client that was let in once, perhaps by other demands (T27).
    ///
    /// # Errors
    /// It may not go on.
    pub fn judge_again(&self, who: &Identification) -> Result<(), CertificateRefused> {
        let (trust, naming, holder) = match (self, &who.0) {
            (Self::Off, _) | (Self::Optional(_), None) => return Ok(()),
            (Self::Required(..), None) => return Err(CertificateRefused::Missing),
            (Self::Optional(trust), Some(holder)) => (trust, &Naming::Any, holder),
            (Self::Required(demand), Some(holder)) => (&demand.trust, &demand.naming, holder),
        };
        let verified = trust.verify_again(&holder.identity);
        verified.map_err(|why| CertificateRefused::Distrusted {
            why,
            certificate: holder.identity.to_string(),
        })?;
        naming.admit(&holder.identity, &holder.user)
    }
}

impl Naming {
    fn admit(&self, identity: &TrustedClient, user: &[u8]) -> Result<(), CertificateRefused> {
        let is_admitted = match self {
            Self::Any => true,
            Self::Named(kind, map) => {
                user.len() <= LONGEST_USER && kind.of(identity).any(|name| map.allows(name, user))
            }
        };
        if is_admitted {
            return Ok(());
        }
        Err(CertificateRefused::OtherUser {
            subject: identity.subject().into(),
            user: shown_user(user),
        })
    }
}

impl NameKind {
    fn of(self, identity: &TrustedClient) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::CommonName => Box::new(identity.common_name().into_iter()),
            Self::AlternativeName => Box::new(identity.alternative_names()),
        }
    }
}

/// A user's name as the client's own reader and the log can take it: it may be any bytes (T11).
fn shown_user(user: &[u8]) -> Box<str> {
    let kept = user.get(..LONGEST_USER).unwrap_or(user);
    let text = String::from_utf8_lossy(kept);
    let printable = text.chars().map(|c| if c.is_control() { '?' } else { c });
    printable.collect::<String>().into()
}

impl Identification {
    /// The certificate; none if the client came in without one.
    #[must_use]
    pub fn certificate(&self) -> Option<&TrustedClient> {
        self.0.as_ref().map(|holder| &holder.identity)
    }

    /// The word for it.
    #[must_use]
    pub const fn result(&self) -> CertificateResult {
        match self.0 {
            Some(_) => CertificateResult::Accepted,
            None => CertificateResult::Absent,
        }
    }

    /// The user, if the certificate names it.
    #[must_use]
    pub fn proven_user(&self) -> Option<ProvenUser<'_>> {
        let holder = self.0.as_ref().filter(|holder| holder.is_named)?;
        std::str::from_utf8(&holder.user).ok().map(ProvenUser)
    }
}

impl<'a> ProvenUser<'a> {
    /// The user's name.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests;
