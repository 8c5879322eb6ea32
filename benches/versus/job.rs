//! What the conductor asks of a load process, and what comes back. Both travel as one line of JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One measurement of one contestant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) target: Target,
    /// The process whose cost is measured, its descendants included.
    pub(crate) proxy: u32,
    /// The process behind the proxy.
    pub(crate) backend: u32,
    /// Those of the proxy and of the load.
    pub(crate) cores: [usize; 2],
    /// Whether all of it runs before every ordinary process.
    pub(crate) realtime: bool,
    pub(crate) work: Work,
}

/// Where a client connects, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Tls,
    pub(crate) dialect: Dialect,
}

/// How a client comes to speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tls {
    /// Not at all.
    Never,
    /// By SSLRequest.
    Negotiated,
    /// From the first byte, ALPN `postgresql`.
    Direct,
}

/// Who answers behind the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Dialect {
    /// The backend of this program, at memory speed.
    Fake,
    /// A real PostgreSQL.
    Postgres,
}

/// Which way the bulk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Direction {
    Download,
    Upload,
}

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Nothing: a login, a query and some MiB each way, compared byte by byte.
    Check { bytes: u64 },
    /// Logins one after another by each client: TCP, TLS, SCRAM, SELECT 1, close.
    Login { clients: usize, seconds: f64 },
    /// `bytes` in all, shared by the connections.
    Bulk {
        direction: Direction,
        connections: usize,
        bytes: u64,
    },
    /// SELECT 1 one after another by each client.
    Query { clients: usize, seconds: f64 },
    /// Sessions opened up to each step in turn, then all closed.
    Memory { steps: Vec<usize>, closed: f64 },
    /// Paced SELECT 1 on a few sessions, calm and beside logins in turns.
    Storm(Turns),
    /// The storms themselves, as long and as often as its input says.
    Logins { rate: f64 },
}

/// Windows of calm and of storm.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Turns {
    /// Logins per second in a storm.
    pub(crate) rate: f64,
    /// Of a window.
    pub(crate) seconds: f64,
    /// One calm and one storm each: so many are told of.
    pub(crate) pairs: u32,
    /// So many are tried at most, where the machine spoils some.
    pub(crate) tries: u32,
}

impl Work {
    /// Past this the job is given up.
    pub(crate) fn limit(&self) -> Duration {
        let expected = match self {
            Self::Check { .. } | Self::Bulk { .. } => 0.0,
            Self::Login { seconds, .. } | Self::Query { seconds, .. } => *seconds,
            Self::Storm(turns) => 2.0 * turns.seconds * f64::from(turns.tries),
            // It ends when nobody asks any more.
            Self::Logins { .. } => 3_600.0,
            // A core that is mostly stolen still does fifty logins a second.
            Self::Memory { steps, closed } => steps
                .last()
                .and_then(|sessions| u32::try_from(*sessions).ok())
                .map_or(*closed, |sessions| *closed + f64::from(sessions) / 50.0),
        };
        Duration::from_secs_f64(2.0 * expected + 30.0)
    }
}

/// Named quantities, each in the unit its name ends with.
pub(crate) type Reading = BTreeMap<String, f64>;

/// A reading of the given pairs.
pub(crate) fn reading<const N: usize>(pairs: [(&str, f64); N]) -> Reading {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}
