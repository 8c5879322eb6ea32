//! What a backend says of the client certificate that it was shown.

use std::io;

use rustls::{AlertDescription, Error};

/// The alert by which a backend refuses the certificate that it was shown (RFC 8446 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateAlert {
    /// Nobody whom it trusts has signed it.
    UnknownCa,
    /// A CA that it trusts has the name of the one that signed it, and another key.
    BadSignature,
    /// It is over.
    Expired,
    /// It is revoked.
    Revoked,
    /// There is none, and there must be.
    Required,
    /// Something else is wrong with it: the alert's name.
    Other(&'static str),
}

impl CertificateAlert {
    /// The alert that ended a connection; none if it was ended otherwise. In TLS 1.3 it comes after the
    /// handshake, in place of the first answer.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum; the other alerts say nothing of a certificate"
    )]
    pub fn of(error: &io::Error) -> Option<Self> {
        use AlertDescription as A;
        let Some(Error::AlertReceived(alert)) = error.get_ref()?.downcast_ref() else {
            return None;
        };
        match alert {
            A::UnknownCA => Some(Self::UnknownCa),
            // OpenSSL's word for it: what else a server has to decrypt there, it has by then.
            A::DecryptError => Some(Self::BadSignature),
            A::CertificateExpired => Some(Self::Expired),
            A::CertificateRevoked => Some(Self::Revoked),
            A::CertificateRequired => Some(Self::Required),
            A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateUnknown
            | A::AccessDenied => alert.as_str().map(Self::Other),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownCa => "UnknownCA",
            Self::BadSignature => "DecryptError",
            Self::Expired => "CertificateExpired",
            Self::Revoked => "CertificateRevoked",
            Self::Required => "CertificateRequired",
            Self::Other(name) => name,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::UnknownCa => {
                "In the database server's postgresql.conf, ssl_ca_file must name a file with the CA of the gate's certificate (sslcert; for auth = \"certificate\" the project's ca.crt, and of two CAs in it both), and ssl_crl_file, if it is set, one with a list of that CA."
            }
            Self::BadSignature => {
                "The CA in the database server's ssl_ca_file has the name of the one that signed the gate's certificate (sslcert), and another key: give the server that CA's certificate."
            }
            Self::Expired => {
                "The gate's certificate (sslcert) is over, or a list in the database server's ssl_crl_file is, or the server's clock is wrong."
            }
            Self::Revoked => {
                "The database server's ssl_crl_file has the gate's certificate in it: give the project another one (sslcert, sslkey)."
            }
            Self::Required => {
                "The database server lets nobody in without a client certificate: give the project one (sslcert, sslkey)."
            }
            Self::Other(_) => {
                "What is wrong with the gate's certificate (sslcert) is told by the database server's log."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(alert: AlertDescription) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(alert))
    }

    #[test]
    fn an_alert_about_a_certificate_is_told_by_its_name_and_any_other_is_none() {
        use AlertDescription as A;
        for alert in [
            A::UnknownCA,
            A::DecryptError,
            A::CertificateExpired,
            A::CertificateRevoked,
            A::CertificateRequired,
            A::BadCertificate,
            A::UnsupportedCertificate,
            A::CertificateUnknown,
            A::AccessDenied,
        ] {
            let told = CertificateAlert::of(&received(alert)).unwrap();
            assert_eq!(Some(told.name()), alert.as_str());
            assert!(told.advice().contains("server"), "{told:?}");
        }
        for other in [A::HandshakeFailure, A::InternalError, A::Unknown(200)] {
            assert_eq!(CertificateAlert::of(&received(other)), None);
        }
        let reset = io::ErrorKind::ConnectionReset;
        assert_eq!(CertificateAlert::of(&reset.into()), None);
    }
}
