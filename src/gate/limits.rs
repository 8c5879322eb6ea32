//! How many, how fast: each limit a guard that is given back by drop.
//!
//! A limit is checked where its work begins and held as long as that lasts. Values are read anew for
//! every guard, so a reload counts at once; guards that are out stay valid, and after a limit has
//! been lowered nobody new comes in until enough of them have been given back.

mod count;
mod rate;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use self::count::{Counts, Held};
use self::rate::RateLimiter;
use crate::address::ClientAddr;
use crate::id::ProjectName;

/// Whom a limit counts as one: an IPv4 address, or an IPv6 /64, which is what one subscriber gets at
/// least (RFC 6177 section 2) and can change its address within at will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

impl From<ClientAddr> for Origin {
    fn from(addr: ClientAddr) -> Self {
        match addr.ip() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6((u128::from(ip) >> 64) as u64),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(ip) => fmt::Display::fmt(ip, f),
            Self::V6(first) => write!(f, "{}/64", Ipv6Addr::from(u128::from(*first) << 64)),
        }
    }
}

/// So many at once, or so many in a period; zero is "none at all", for those who want that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitValues {
    /// Sessions in the process.
    pub sessions: u32,
    /// Sessions of a project that sets no limit of its own.
    pub sessions_per_project: u32,
    /// Sessions of a source.
    pub sessions_per_source: u32,
    /// Connections in the process that have not come as far as ReadyForQuery.
    pub logins: u32,
    /// The same, of a source.
    pub logins_per_source: u32,
    /// New connections of a source.
    pub connections_per_source: Rate,
    /// CancelRequests of a source.
    pub cancels_per_source: Rate,
    /// Refusals that are explained inside TLS to a source; further ones are a close before TLS.
    pub explanations_per_source: Rate,
}

impl Default for LimitValues {
    /// What a provider would choose who knows nothing of its clients: an application server with a
    /// large pool, or an office behind one address, never notices.
    fn default() -> Self {
        Self {
            sessions: 10_000,
            sessions_per_project: 1_000,
            sessions_per_source: 1_000,
            logins: 1_000,
            logins_per_source: 200,
            connections_per_source: Rate::per_second(100),
            cancels_per_source: Rate::per_second(10),
            explanations_per_source: Rate::per_minute(10),
        }
    }
}

/// So many in a period: all at once if need be, and then as evenly as they are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    period: Duration,
}

impl Rate {
    /// This many a second.
    #[must_use]
    pub const fn per_second(count: u32) -> Self {
        Self {
            count,
            period: Duration::from_secs(1),
        }
    }

    /// This many a minute.
    #[must_use]
    pub const fn per_minute(count: u32) -> Self {
        Self {
            count,
            period: Duration::from_secs(60),
        }
    }

    /// The time that pays for one, and for all that may come at once, in nanoseconds; none if none
    /// may come.
    fn costs(self) -> Option<(u64, u64)> {
        let count = NonZeroU32::new(self.count)?;
        let period = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        Some((period / u64::from(count.get()), period))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.period == Duration::from_secs(1) {
            "second"
        } else {
            "minute"
        };
        write!(f, "{} a {unit}", self.count)
    }
}

/// Which limit says no, and its value. The text is for the operator: a client is told with as much
/// tact as the refusal deems right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverLimit {
    /// [`LimitValues::sessions`].
    #[error("more than {0} sessions")]
    Sessions(u32),
    /// [`LimitValues::sessions_per_project`], or the project's own.
    #[error("more than {0} sessions of the project")]
    SessionsPerProject(u32),
    /// [`LimitValues::sessions_per_source`].
    #[error("more than {0} sessions from one source")]
    SessionsPerSource(u32),
    /// [`LimitValues::logins`].
    #[error("more than {0} logins in progress")]
    Logins(u32),
    /// [`LimitValues::logins_per_source`].
    #[error("more than {0} logins in progress from one source")]
    LoginsPerSource(u32),
    /// [`LimitValues::connections_per_source`].
    #[error("more new connections than {0} from one source")]
    ConnectionsPerSource(Rate),
    /// [`LimitValues::cancels_per_source`].
    #[error("more CancelRequests than {0} from one source")]
    CancelsPerSource(Rate),
}

/// The limits of a process. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Limits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    values: RwLock<LimitValues>,
    sessions: Arc<Counts<()>>,
    sessions_per_project: Arc<Counts<ProjectName>>,
    sessions_per_source: Arc<Counts<Origin>>,
    logins: Arc<Counts<()>>,
    logins_per_source: Arc<Counts<Origin>>,
    connections: RateLimiter,
    cancels: RateLimiter,
    explanations: RateLimiter,
}

/// A login in progress. Drop it when the session begins or the connection ends.
#[derive(Debug)]
#[must_use = "the slot is given back when this is dropped"]
pub struct LoginSlot {
    _process: Held<()>,
    _source: Held<Origin>,
}

/// A session. Drop it when the session has ended.
#[derive(Debug)]
#[must_use = "the slot is given back when this is dropped"]
pub struct SessionSlot {
    _process: Held<()>,
    _project: Held<ProjectName>,
    _source: Held<Origin>,
}

impl Limits {
    /// Limits with nothing counted. `epoch` is any moment before the first use: now.
    #[must_use]
    pub fn new(values: LimitValues, epoch: Instant) -> Self {
        Self(Arc::new(Shared {
            values: RwLock::new(values),
            sessions: Arc::default(),
            sessions_per_project: Arc::default(),
            sessions_per_source: Arc::default(),
            logins: Arc::default(),
            logins_per_source: Arc::default(),
            connections: RateLimiter::new(epoch),
            cancels: RateLimiter::new(epoch),
            explanations: RateLimiter::new(epoch),
        }))
    }

    /// Replaces the values; what is held stays held.
    pub fn set(&self, values: LimitValues) {
        *self
            .0
            .values
            .write()
            .unwrap_or_else(PoisonError::into_inner) = values;
    }

    /// The values in force.
    #[must_use]
    pub fn values(&self) -> LimitValues {
        *self.0.values.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection, at accept: its rate, and a slot for its login.
    ///
    /// # Errors
    /// The first limit that is exceeded. A connection that is refused is counted in the rate only if
    /// the rate granted it.
    pub fn login(&self, origin: Origin, now: Instant) -> Result<LoginSlot, OverLimit> {
        let values = self.values();
        let rate = values.connections_per_source;
        if !self.0.connections.take(origin, rate, now) {
            return Err(OverLimit::ConnectionsPerSource(rate));
        }
        let process = Counts::take(&self.0.logins, (), values.logins);
        let process = process.ok_or(OverLimit::Logins(values.logins))?;
        let limit = values.logins_per_source;
        let source = Counts::take(&self.0.logins_per_source, origin, limit);
        let source = source.ok_or(OverLimit::LoginsPerSource(limit))?;
        Ok(LoginSlot {
            _process: process,
            _source: source,
        })
    }

    /// A session of a project, once it is admitted. `project_limit` is the project's own limit, if
    /// it sets one.
    ///
    /// # Errors
    /// The first limit that is exceeded.
    pub fn session(
        &self,
        origin: Origin,
        project: &ProjectName,
        project_limit: Option<u32>,
    ) -> Result<SessionSlot, OverLimit> {
        let values = self.values();
        let process = Counts::take(&self.0.sessions, (), values.sessions);
        let process = process.ok_or(OverLimit::Sessions(values.sessions))?;
        let limit = project_limit.unwrap_or(values.sessions_per_project);
        let project = Counts::take(&self.0.sessions_per_project, project.clone(), limit);
        let project = project.ok_or(OverLimit::SessionsPerProject(limit))?;
        let limit = values.sessions_per_source;
        let source = Counts::take(&self.0.sessions_per_source, origin, limit);
        let source = source.ok_or(OverLimit::SessionsPerSource(limit))?;
        Ok(SessionSlot {
            _process: process,
            _project: project,
            _source: source,
        })
    }

    /// A CancelRequest.
    ///
    /// # Errors
    /// The source has sent too many of late.
    pub fn cancel(&self, origin: Origin, now: Instant) -> Result<(), OverLimit> {
        let rate = self.values().cancels_per_source;
        let is_granted = self.0.cancels.take(origin, rate, now);
        is_granted
            .then_some(())
            .ok_or(OverLimit::CancelsPerSource(rate))
    }

    /// Whether a refusal may be explained to this source, which costs a TLS handshake.
    #[must_use]
    pub fn may_explain(&self, origin: Origin, now: Instant) -> bool {
        self.0
            .explanations
            .take(origin, self.values().explanations_per_source, now)
    }

    /// Sessions in the process.
    #[must_use]
    pub fn sessions(&self) -> u32 {
        self.0.sessions.held(&())
    }

    /// Sessions of a project.
    #[must_use]
    pub fn sessions_of(&self, project: &ProjectName) -> u32 {
        self.0.sessions_per_project.held(project)
    }

    /// Logins in progress in the process.
    #[must_use]
    pub fn logins(&self) -> u32 {
        self.0.logins.held(&())
    }
}

#[cfg(test)]
mod tests;
