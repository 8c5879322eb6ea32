//! [`Distrust`]: why a client certificate is not trusted.

use jiff::Timestamp;
use rustls::pki_types::UnixTime;

/// Why a client certificate is not trusted. The text is for its owner: it tells nothing of the
/// project's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// None of the project's CAs has signed it, or a certificate on the way to one is missing.
    #[error("the client certificate is not signed by a CA that is trusted here")]
    UnknownAuthority,
    /// It is over, or one on the way to the CA is.
    #[error("the client certificate expired on {}", date(*.not_after))]
    Expired {
        /// When it ended.
        not_after: Timestamp,
    },
    /// It has not begun yet.
    #[error("the client certificate is valid from {} on only", date(*.not_before))]
    NotYetValid {
        /// When it begins.
        not_before: Timestamp,
    },
    /// Its CA has revoked it.
    #[error("the client certificate with serial number {serial} is revoked")]
    Revoked {
        /// Its serial number, as [`Serial`](crate::pki::Serial) is written.
        serial: Box<str>,
    },
    /// Its extended key usage names other purposes (RFC 5280 section 4.2.1.12).
    #[error(
        "the client certificate is not made for clients: its extended key usage lacks clientAuth"
    )]
    WrongPurpose,
    /// X.509 version 1 or 2, which say neither what a certificate is for nor whether it is a CA's.
    #[error(
        "the client certificate is of an old X.509 version: issue it as version 3 (openssl x509 -req \
         -extfile ..)"
    )]
    OldVersion,
    /// The list that would say whether it is revoked is out of date.
    #[error("the list of revoked certificates of its CA is out of date")]
    StaleRevocations,
    /// There are lists of revoked certificates of CAs in files, and none by its CA, or by one on the way
    /// there.
    #[error("there is no list of revoked certificates of its CA")]
    NoRevocations,
    /// It is damaged, or breaks a rule of X.509.
    #[error("the client certificate can't be used: {0}")]
    Unfit(Box<str>),
}

impl Distrust {
    /// It is a certificate to webpki, and none to the parser that reads its names.
    pub(super) fn unreadable() -> Self {
        Self::Unfit("its names can't be read".into())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum; the others are told apart by nobody"
    )]
    pub(super) fn from_webpki(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            // By another CA of the same name, such as the one before this.
            E::UnknownIssuer | E::InvalidSignatureForPublicKey => Self::UnknownAuthority,
            E::CertExpired { not_after, .. } => Self::Expired {
                not_after: timestamp(not_after),
            },
            E::CertNotValidYet { not_before, .. } => Self::NotYetValid {
                not_before: timestamp(not_before),
            },
            E::RequiredEkuNotFoundContext(_) => Self::WrongPurpose,
            E::UnsupportedCertVersion => Self::OldVersion,
            other => Self::Unfit(other.to_string().into()),
        }
    }
}

fn timestamp(at: UnixTime) -> Timestamp {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn date(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%-d %B %Y, %H:%M UTC")
}
