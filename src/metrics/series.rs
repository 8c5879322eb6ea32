//! Every series: its name, its labels, what it tells.

/// One series: what is exported under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

const fn series(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Series {
    Series { name, labels, help }
}

pub(super) const ACCEPTED: Series = series(
    "portcullis_connections_accepted_total",
    &[],
    "Connections accepted, whatever became of them.",
);
pub(super) const REFUSALS: Series = series(
    "portcullis_refusals_total",
    &["project", "reason"],
    "Logins that ended before the relay began; project is empty where none was known.",
);
pub(super) const CLIENT_CERTIFICATES: Series = series(
    "portcullis_client_certificates_total",
    &["project", "result"],
    "Logins to projects that ask for a client certificate; result is accepted, absent, missing, unknown_ca, expired, revoked, unfit or other_user.",
);
pub(super) const SESSIONS: Series =
    series("portcullis_sessions", &["project"], "Sessions open now.");
pub(super) const SESSIONS_TOTAL: Series = series(
    "portcullis_sessions_total",
    &["project"],
    "Sessions opened: logins that succeeded.",
);
pub(super) const OBSERVED: Series = series(
    "portcullis_observed_total",
    &["project"],
    "Sessions opened that the project's rules would have denied, had it not observed.",
);
pub(super) const BYTES: Series = series(
    "portcullis_bytes_total",
    &["project", "direction"],
    "Bytes relayed, after TLS; direction is to_backend or to_client.",
);
pub(super) const HANDSHAKE: Series = series(
    "portcullis_handshake_seconds",
    &[],
    "Time of TLS handshakes with clients that succeeded.",
);
pub(super) const LOGIN: Series = series(
    "portcullis_login_seconds",
    &[],
    "Time from accept to the backend's first ReadyForQuery.",
);
pub(super) const BACKEND_CONNECT: Series = series(
    "portcullis_backend_connect_seconds",
    &[],
    "Time to connect a backend, its TLS included.",
);
pub(super) const CANCELS: Series = series(
    "portcullis_cancels_total",
    &["result"],
    "Cancel requests; result is forwarded, unknown_key, denied or failed.",
);
pub(super) const CERTIFICATE_EXPIRY: Series = series(
    "portcullis_certificate_expiry_seconds",
    &["project"],
    "Time until the project's certificate expires; negative afterwards.",
);
pub(super) const RELOADS: Series = series(
    "portcullis_config_reloads_total",
    &["result"],
    "Reloads of the configuration; result is ok or error.",
);
pub(super) const LAST_RELOAD: Series = series(
    "portcullis_config_last_reload_successful",
    &[],
    "Whether the last reload of the configuration succeeded: 1 or 0.",
);
pub(super) const BUILD: Series = series(
    "portcullis_build_info",
    &["version"],
    "Always 1; the label tells the version.",
);

/// Every series that there is.
pub const SERIES: [Series; 15] = [
    ACCEPTED,
    REFUSALS,
    CLIENT_CERTIFICATES,
    SESSIONS,
    SESSIONS_TOTAL,
    OBSERVED,
    BYTES,
    HANDSHAKE,
    LOGIN,
    BACKEND_CONNECT,
    CANCELS,
    CERTIFICATE_EXPIRY,
    RELOADS,
    LAST_RELOAD,
    BUILD,
];
