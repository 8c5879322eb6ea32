//! Every way in which both legs and a login can meet, and what comes of it. `docs/authentication.md`
//! shows this list, and a test holds it to it.

use std::fmt::Write as _;

/// How the gate reaches the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    Plaintext,
    Socket,
    SharedLeaf,
    OtherLeaf,
}

/// A project's `auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    Passthrough,
    Scram,
    /// `"scram"` with `auth_query`.
    Query,
    Password,
    Certificate,
}

/// The client's `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    Disable,
    Prefer,
    Require,
}

/// What comes of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The client is in.
    Works,
    /// The client reads this.
    Fails(&'static str),
    /// The configuration is refused, with this.
    NoConfiguration(&'static str),
}

pub(super) const LEGS: [Leg; 4] = [Leg::Plaintext, Leg::Socket, Leg::SharedLeaf, Leg::OtherLeaf];
pub(super) const AUTHS: [Auth; 5] = [
    Auth::Passthrough,
    Auth::Scram,
    Auth::Query,
    Auth::Password,
    Auth::Certificate,
];
pub(super) const BINDINGS: [Binding; 3] = [Binding::Disable, Binding::Prefer, Binding::Require];

/// libpq's, when the list of mechanisms has no PLUS.
const NOT_OFFERED: &str = "channel binding is required, but server did not offer an authentication \
                           method that supports channel binding";
/// libpq's, when the password itself is asked for.
const NOT_SUPPORTED: &str =
    "channel binding required but not supported by server's authentication request";
/// The gate's.
const OTHER_CERTIFICATE: &str = "SCRAM can't be bound to this TLS connection: the database server \
                                 has another certificate than the gate";
/// libpq's, when it is asked for no proof.
const NOT_BOUND: &str =
    "channel binding required, but server authenticated client without channel binding";
/// tokio-postgres's, in place of each of libpq's.
const NOT_USED: &str = "server did not use channel binding";
/// The configuration's.
const UNVERIFIED: &str = "auth = \"certificate\" needs TLS to the server, verified";
/// The configuration's.
const IN_CLEAR: &str = "auth = \"password\" would carry passwords over TCP without TLS";

/// What comes of a login with libpq.
pub(super) const fn outcome(leg: Leg, auth: Auth, binding: Binding) -> Outcome {
    match (auth, leg, binding) {
        (Auth::Password, Leg::Plaintext, _) => Outcome::NoConfiguration(IN_CLEAR),
        (Auth::Certificate, Leg::Plaintext | Leg::Socket, _) => {
            Outcome::NoConfiguration(UNVERIFIED)
        }
        (Auth::Certificate, _, Binding::Require) => Outcome::Fails(NOT_BOUND),
        (Auth::Password, _, Binding::Require) => Outcome::Fails(NOT_SUPPORTED),
        (Auth::Passthrough, Leg::Plaintext | Leg::Socket, Binding::Require) => {
            Outcome::Fails(NOT_OFFERED)
        }
        (Auth::Passthrough, Leg::OtherLeaf, Binding::Prefer | Binding::Require) => {
            Outcome::Fails(OTHER_CERTIFICATE)
        }
        (Auth::Password | Auth::Certificate, _, Binding::Disable | Binding::Prefer)
        | (Auth::Passthrough, Leg::OtherLeaf, Binding::Disable)
        | (Auth::Passthrough, Leg::Plaintext | Leg::Socket, Binding::Disable | Binding::Prefer)
        | (Auth::Passthrough, Leg::SharedLeaf, _)
        | (Auth::Scram | Auth::Query, _, _) => Outcome::Works,
    }
}

impl Outcome {
    /// The same where the client is tokio-postgres: what a client itself objects to is in its own words.
    pub(super) fn with_tokio_postgres(self) -> Self {
        match self {
            Self::Fails(NOT_OFFERED | NOT_SUPPORTED | NOT_BOUND) => Self::Fails(NOT_USED),
            Self::Works | Self::Fails(_) | Self::NoConfiguration(_) => self,
        }
    }
}

impl Leg {
    pub(super) const fn shown(self) -> &'static str {
        match self {
            Self::Plaintext => "TCP without TLS",
            Self::Socket => "Unix socket",
            Self::SharedLeaf => "TLS, the gate's own leaf",
            Self::OtherLeaf => "TLS, another leaf",
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Socket => "socket",
            Self::SharedLeaf => "shared",
            Self::OtherLeaf => "other",
        }
    }
}

impl Auth {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Scram | Self::Query => "scram",
            Self::Password => "password",
            Self::Certificate => "certificate",
        }
    }

    /// A part of a project's name.
    pub(super) const fn slug(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Passthrough | Self::Scram | Self::Password | Self::Certificate => self.word(),
        }
    }

    /// The database whose line in pg_hba.conf asks for what this mode has. The clients' scripts know
    /// it by the project's name.
    pub(super) const fn database(self) -> &'static str {
        match self {
            Self::Certificate => "certified",
            Self::Passthrough | Self::Scram | Self::Query | Self::Password => "app",
        }
    }

    const fn shown(self) -> &'static str {
        match self {
            Self::Passthrough => "`\"passthrough\"`",
            Self::Scram => "`\"scram\"`, `verifiers`",
            Self::Query => "`\"scram\"`, `auth_query`",
            Self::Password => "`\"password\"`",
            Self::Certificate => "`\"certificate\"`",
        }
    }
}

impl Binding {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
        }
    }
}

/// The list as the documentation shows it.
fn table() -> String {
    let notes = [
        NOT_OFFERED,
        NOT_SUPPORTED,
        OTHER_CERTIFICATE,
        IN_CLEAR,
        NOT_BOUND,
        UNVERIFIED,
    ];
    let note = |text| notes.iter().position(|note| *note == text).unwrap() + 1;
    let mut table = "| leg to the backend | `auth` | `disable` | `prefer` | `require` |\n\
                     |---|---|---|---|---|\n"
        .to_owned();
    for leg in LEGS {
        for auth in AUTHS {
            let cells = BINDINGS.map(|binding| match outcome(leg, auth, binding) {
                Outcome::Works => "works".to_owned(),
                Outcome::Fails(text) => format!("fails ({})", note(text)),
                Outcome::NoConfiguration(text) => format!("not configurable ({})", note(text)),
            });
            let (leg, auth) = (leg.shown(), auth.shown());
            writeln!(table, "| {leg} | {auth} | {} |", cells.join(" | ")).unwrap();
        }
    }
    table.push('\n');
    for (number, text) in (1..).zip(notes) {
        writeln!(table, "{number}. `{text}`").unwrap();
    }
    table
}

#[test]
fn the_documentation_shows_what_the_tests_hold_to_be_true() {
    let documentation = include_str!("../../../docs/authentication.md");
    let table = table();
    assert!(documentation.contains(&table), "expected:\n{table}");
}
