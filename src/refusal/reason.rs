//! The table of reasons: SQLSTATE, label, fault, and what to tell the client.

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client's: it did, or is, what isn't allowed.
    Client,
    /// The backend's.
    Backend,
    /// The gate's, or its configuration's.
    Gate,
}

/// A refusal without the particulars of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the same as the variants of Refusal")]
pub enum Reason {
    Probe,
    DenyListed,
    PlaintextRefused,
    UnencryptedData,
    DirectTlsWithoutAlpn,
    TlsFailed,
    AddressDenied,
    UnknownProject,
    NoProject,
    ProjectConflict,
    NoCertificate,
    TooMany,
    ClientCertificateMissing,
    ClientCertificateDistrusted,
    ClientCertificateOfOther,
    BackendDown,
    BackendTls,
    BackendLost,
    BackendViolation,
    RefusedByBackend,
    ScramNeedsSameLeaf,
    WrongPassword,
    ChannelBinding,
    SaslViolation,
    StaleVerifier,
    UnusableVerifier,
    NoVerifier,
    BackendUnproved,
    BackendUnanswerable,
    ProtocolViolation,
    UnsupportedProtocol,
    LoginTimedOut,
    Draining,
    ClientGone,
    UnknownCancelKey,
}

impl Reason {
    /// Every reason, in the order in which a login meets them.
    pub const ALL: [Self; 35] = [
        Self::Probe,
        Self::DenyListed,
        Self::PlaintextRefused,
        Self::UnencryptedData,
        Self::DirectTlsWithoutAlpn,
        Self::TlsFailed,
        Self::AddressDenied,
        Self::UnknownProject,
        Self::NoProject,
        Self::ProjectConflict,
        Self::NoCertificate,
        Self::TooMany,
        Self::ClientCertificateMissing,
        Self::ClientCertificateDistrusted,
        Self::ClientCertificateOfOther,
        Self::BackendDown,
        Self::BackendTls,
        Self::BackendLost,
        Self::BackendViolation,
        Self::RefusedByBackend,
        Self::ScramNeedsSameLeaf,
        Self::WrongPassword,
        Self::ChannelBinding,
        Self::SaslViolation,
        Self::StaleVerifier,
        Self::UnusableVerifier,
        Self::NoVerifier,
        Self::BackendUnproved,
        Self::BackendUnanswerable,
        Self::ProtocolViolation,
        Self::UnsupportedProtocol,
        Self::LoginTimedOut,
        Self::Draining,
        Self::ClientGone,
        Self::UnknownCancelKey,
    ];

    /// By which a client library decides what to do (T22); none where the gate says nothing,
    /// because it can't be read, would be misread, or must not be said.
    #[must_use]
    pub const fn sqlstate(self) -> Option<&'static str> {
        match self {
            // invalid_authorization_specification: libpq does not go on to its next host
            Self::PlaintextRefused
            | Self::AddressDenied
            | Self::UnknownProject
            | Self::NoProject
            | Self::ProjectConflict
            | Self::ClientCertificateMissing
            | Self::ClientCertificateDistrusted
            | Self::ClientCertificateOfOther
            | Self::ScramNeedsSameLeaf
            | Self::ChannelBinding
            | Self::BackendUnanswerable => Some("28000"),
            // invalid_password
            Self::WrongPassword | Self::StaleVerifier | Self::UnusableVerifier => Some("28P01"),
            // system_error
            Self::NoVerifier => Some("58000"),
            // too_many_connections
            Self::TooMany => Some("53300"),
            // cannot_connect_now: libpq goes on to its next host
            Self::NoCertificate | Self::BackendDown | Self::BackendLost | Self::Draining => {
                Some("57P03")
            }
            // sqlclient_unable_to_establish_sqlconnection
            Self::BackendTls | Self::BackendUnproved => Some("08001"),
            // protocol_violation
            Self::BackendViolation | Self::SaslViolation | Self::ProtocolViolation => Some("08P01"),
            // feature_not_supported, as PostgreSQL says to an unknown major version
            Self::UnsupportedProtocol => Some("0A000"),
            // query_canceled, as PostgreSQL says at authentication_timeout
            Self::LoginTimedOut => Some("57014"),
            Self::Probe
            | Self::DenyListed
            | Self::UnencryptedData
            | Self::DirectTlsWithoutAlpn
            | Self::TlsFailed
            | Self::RefusedByBackend
            | Self::ClientGone
            | Self::UnknownCancelKey => None,
        }
    }

    /// The value of the label `reason` in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::DenyListed => "deny_listed",
            Self::PlaintextRefused => "plaintext_refused",
            Self::UnencryptedData => "unencrypted_data",
            Self::DirectTlsWithoutAlpn => "direct_tls_without_alpn",
            Self::TlsFailed => "tls_failed",
            Self::AddressDenied => "address_denied",
            Self::UnknownProject => "unknown_project",
            Self::NoProject => "no_project",
            Self::ProjectConflict => "project_conflict",
            Self::NoCertificate => "no_certificate",
            Self::TooMany => "too_many",
            Self::ClientCertificateMissing => "client_certificate_missing",
            Self::ClientCertificateDistrusted => "client_certificate_distrusted",
            Self::ClientCertificateOfOther => "client_certificate_of_other",
            Self::BackendDown => "backend_down",
            Self::BackendTls => "backend_tls",
            Self::BackendLost => "backend_lost",
            Self::BackendViolation => "backend_violation",
            Self::RefusedByBackend => "refused_by_backend",
            Self::ScramNeedsSameLeaf => "scram_needs_same_leaf",
            Self::WrongPassword => "wrong_password",
            Self::ChannelBinding => "channel_binding",
            Self::SaslViolation => "sasl_violation",
            Self::StaleVerifier => "stale_verifier",
            Self::UnusableVerifier => "unusable_verifier",
            Self::NoVerifier => "no_verifier",
            Self::BackendUnproved => "backend_unproved",
            Self::BackendUnanswerable => "backend_unanswerable",
            Self::ProtocolViolation => "protocol_violation",
            Self::UnsupportedProtocol => "unsupported_protocol",
            Self::LoginTimedOut => "login_timed_out",
            Self::Draining => "draining",
            Self::ClientGone => "client_gone",
            Self::UnknownCancelKey => "unknown_cancel_key",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match self {
            Self::Probe
            | Self::DenyListed
            | Self::PlaintextRefused
            | Self::UnencryptedData
            | Self::DirectTlsWithoutAlpn
            | Self::TlsFailed
            | Self::AddressDenied
            | Self::UnknownProject
            | Self::NoProject
            | Self::ProjectConflict
            | Self::TooMany
            | Self::ClientCertificateMissing
            | Self::ClientCertificateDistrusted
            | Self::ClientCertificateOfOther
            | Self::RefusedByBackend
            | Self::WrongPassword
            | Self::ChannelBinding
            | Self::SaslViolation
            | Self::ProtocolViolation
            | Self::UnsupportedProtocol
            | Self::LoginTimedOut
            | Self::ClientGone
            | Self::UnknownCancelKey => Fault::Client,
            Self::BackendDown
            | Self::BackendTls
            | Self::BackendLost
            | Self::BackendViolation
            | Self::BackendUnproved => Fault::Backend,
            Self::NoCertificate
            | Self::ScramNeedsSameLeaf
            | Self::StaleVerifier
            | Self::UnusableVerifier
            | Self::NoVerifier
            | Self::BackendUnanswerable
            | Self::Draining => Fault::Gate,
        }
    }

    /// What happened, where there are no particulars.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Probe => "the client left without a word",
            Self::DenyListed => "the client's address is on the process-wide deny list",
            Self::PlaintextRefused => "this server requires TLS",
            Self::UnencryptedData => "received unencrypted data after SSLRequest",
            Self::DirectTlsWithoutAlpn => "direct TLS without ALPN \"postgresql\"",
            Self::TlsFailed => "the TLS handshake failed",
            Self::AddressDenied => "the client's address is not allowed to the project",
            Self::UnknownProject => "no such project",
            Self::NoProject => "the connection names no project",
            Self::ProjectConflict => "the connection names two different projects",
            Self::NoCertificate => "the gate has no certificate for this project",
            Self::TooMany => "too many connections",
            Self::ClientCertificateMissing => {
                "the project needs a client certificate, and none was shown"
            }
            Self::ClientCertificateDistrusted => "the client certificate is not trusted",
            Self::ClientCertificateOfOther => "the client certificate is not this user's",
            Self::BackendDown => "the database server can't be reached",
            Self::BackendTls => "the database server can't be trusted",
            Self::BackendLost => "the database server closed the connection",
            Self::BackendViolation => "the database server broke the protocol",
            Self::RefusedByBackend => "the database server refused the login",
            Self::ScramNeedsSameLeaf => {
                "SCRAM can't be bound to this TLS connection: the database server has another certificate than the gate"
            }
            Self::WrongPassword => "password authentication failed",
            Self::ChannelBinding => "SCRAM channel binding failed",
            Self::SaslViolation => "the client broke SCRAM",
            Self::StaleVerifier => "the gate's verifier is not the database server's",
            Self::UnusableVerifier => "the database server has no SCRAM verifier of the user",
            Self::NoVerifier => "the user's verifier can't be had",
            Self::BackendUnproved => "the database server did not prove who it is",
            Self::BackendUnanswerable => "the database server asks for what the gate can't give",
            Self::ProtocolViolation => "the client broke the protocol",
            Self::UnsupportedProtocol => "the client speaks another protocol than 3",
            Self::LoginTimedOut => "canceling authentication due to timeout",
            Self::Draining => "the gate is shutting down",
            Self::ClientGone => "the client went away",
            Self::UnknownCancelKey => "no session has this cancel key",
        }
    }

    /// What to do about it, said to the client.
    #[must_use]
    pub const fn hint(self) -> Option<&'static str> {
        match self {
            Self::PlaintextRefused => Some(
                "Set sslmode=require in the connection string; or better sslmode=verify-full, with sslrootcert naming the project's ca.crt.",
            ),
            // One hint for both, so that neither tells whether the project exists (T29).
            Self::AddressDenied | Self::UnknownProject => Some(
                "Check the host name in the connection string. If it is right, ask whoever runs the gate to add your address to the project's allow list.",
            ),
            Self::NoProject => Some(
                "Connect to the project's host name with sslmode=require or stronger (and sslsni not 0), so that TLS carries it as server_name; or set options='-c portcullis.project=NAME'.",
            ),
            Self::ProjectConflict => Some(
                "Take portcullis.project out of \"options\", or connect to the host name of the project that it names.",
            ),
            Self::TooMany => Some("Close connections that are not in use, or try again later."),
            Self::ClientCertificateMissing => Some(
                "Set sslcert and sslkey in the connection string, and connect to the project's host name. Whoever runs the gate issues certificates: portcullis ca issue.",
            ),
            Self::ClientCertificateDistrusted => Some(
                "Set sslcert and sslkey to a certificate that is good; whoever runs the gate issues them: portcullis ca issue. Where none is needed, sslcertmode=disable shows none.",
            ),
            Self::ClientCertificateOfOther => Some(
                "Log in as the user that the certificate names, or ask whoever runs the gate to let it be this one in the project's user_map.",
            ),
            Self::BackendDown | Self::BackendLost | Self::Draining => Some("Try again later."),
            Self::NoCertificate
            | Self::BackendTls
            | Self::BackendViolation
            | Self::BackendUnproved
            | Self::NoVerifier => Some("Give the reference to whoever runs the gate."),
            Self::ScramNeedsSameLeaf => Some(
                "Either set auth = \"scram\" for this project; or give the database server the gate's own server.crt and server.key of this project; or let the gate reach it without TLS on a trusted path (a Unix socket, or sslmode = \"disable\"); or set channel_binding=disable in the connection string.",
            ),
            Self::ChannelBinding => Some(
                "Something between you and the gate may be ending TLS. If nothing should be, somebody else is.",
            ),
            Self::StaleVerifier => Some(
                "The password was changed on the database server. Ask whoever runs the gate to update the project's verifiers.",
            ),
            Self::BackendUnanswerable => Some(
                "On the database server set password_encryption = 'scram-sha-256', set the user's password again, and use scram-sha-256 in pg_hba.conf; or change the project's auth.",
            ),
            Self::Probe
            | Self::DenyListed
            | Self::UnencryptedData
            | Self::DirectTlsWithoutAlpn
            | Self::TlsFailed
            | Self::RefusedByBackend
            | Self::WrongPassword
            | Self::UnusableVerifier
            | Self::SaslViolation
            | Self::ProtocolViolation
            | Self::UnsupportedProtocol
            | Self::LoginTimedOut
            | Self::ClientGone
            | Self::UnknownCancelKey => None,
        }
    }
}
