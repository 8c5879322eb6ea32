//! How much of the gate anybody may take: sessions, logins in progress, new connections,
//! CancelRequests, and explanations of a refusal.
//!
//! What is held for a while is counted, and the count is a guard that gives itself back when
//! dropped: [`LoginSlot`], [`SessionSlot`]. What happens at once has a rate. Whoever asks is a
//! source: an IPv4 address, or an IPv6 /64, for a single host can use all of a /64. The address is
//! always the client's own (T28).
//!
//! One mutex guards it all, held for a handful of hash-table steps and never across anything that
//! waits. So every limit that applies is looked at before any is taken, and a refusal takes nothing.
//!
//! Memory is bounded. Counts exist for live guards only, and [`LimitsSpec`] bounds these; rates
//! remember a fixed number of sources, see `limits/rate.rs`.

mod counts;
mod rate;
mod source;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::address::ClientAddr;
use crate::id::ProjectName;
use counts::Counts;
use rate::{Clock, MINUTE, Rate, Rates, SECOND};
use source::Source;

/// Connections over a limit that are on their way to being told so, at once: of the process, and of
/// one source. They hold none of the places that there are too few of, and each costs a TLS handshake,
/// so that a flood must not be able to have many.
const TELLING: u32 = 64;
const TELLING_PER_SOURCE: u32 = 4;

/// The limits in force. A source is an IPv4 address or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsSpec {
    /// Sessions of the process, 1 to 1,000,000.
    pub sessions: u32,
    /// Sessions of one project, 1 to 1,000,000, where the project says nothing else.
    pub sessions_per_project: u32,
    /// Sessions of one source, 1 to 1,000,000.
    pub sessions_per_source: u32,
    /// Connections of the process that have not finished logging in, 1 to 1,000,000.
    pub logins: u32,
    /// Connections of one source that have not finished logging in, 1 to 1,000,000.
    pub logins_per_source: u32,
    /// New connections of one source per second in the long run, 1 to 1,000,000.
    pub connections_per_second_per_source: u32,
    /// New connections of one source at once, 1 to 1,000,000.
    pub connection_burst_per_source: u32,
    /// CancelRequests of one source per second, 1 to 1,000,000.
    pub cancels_per_second_per_source: u32,
    /// Refusals of one source per minute that are explained inside TLS, 0 to 1,000,000; any more
    /// are a close before TLS.
    pub refusals_explained_per_minute_per_source: u32,
}

impl LimitsSpec {
    const fn connections(&self) -> Rate {
        Rate::new(
            self.connections_per_second_per_source,
            SECOND,
            self.connection_burst_per_source,
        )
    }

    const fn cancels(&self) -> Rate {
        let most = self.cancels_per_second_per_source;
        Rate::new(most, SECOND, most)
    }

    const fn explanations(&self) -> Rate {
        let most = self.refusals_explained_per_minute_per_source;
        Rate::new(most, MINUTE, most)
    }
}

/// The limit that is in the way, and its value. `Display` is what the client reads inside FATAL
/// 53300 (T22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverLimit {
    /// The sessions of the process.
    #[error("too many connections (at most {0})")]
    Sessions(u32),
    /// The sessions of the project.
    #[error("too many connections to this project (at most {0})")]
    SessionsOfProject(u32),
    /// The sessions of the source.
    #[error("too many connections from your address (at most {0})")]
    SessionsOfSource(u32),
    /// The logins in progress of the process.
    #[error("too many connections are logging in (at most {0} at a time)")]
    Logins(u32),
    /// The logins in progress of the source.
    #[error("too many connections from your address are logging in (at most {0} at a time)")]
    LoginsOfSource(u32),
    /// The new connections of the source per second.
    #[error("too many new connections from your address (at most {0} per second)")]
    Connections(u32),
    /// The CancelRequests of the source per second.
    #[error("too many cancel requests from your address (at most {0} per second)")]
    Cancels(u32),
}

/// What has been taken, and how much there is.
///
/// The time is an argument everywhere; one that lies before an earlier call's counts as that.
pub struct Limits {
    state: Mutex<State>,
}

struct State {
    spec: LimitsSpec,
    clock: Clock,
    logins: Counts<Source>,
    telling: Counts<Source>,
    sessions: Counts<Source>,
    sessions_of_projects: Counts<ProjectName>,
    connections: Rates,
    cancels: Rates,
    explanations: Rates,
}

impl Limits {
    /// Nothing is taken yet.
    #[must_use]
    pub fn new(spec: LimitsSpec) -> Self {
        let state = State {
            spec,
            clock: Clock::default(),
            logins: Counts::default(),
            telling: Counts::default(),
            sessions: Counts::default(),
            sessions_of_projects: Counts::default(),
            connections: Rates::new(spec.connections()),
            cancels: Rates::new(spec.cancels()),
            explanations: Rates::new(spec.explanations()),
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Puts other limits in force at once. Slots that are held stay held and count, even where they
    /// are now more than the limit: then none is given until enough have come back. A rate that
    /// changes starts with nobody in debt.
    pub fn set(&self, spec: LimitsSpec) {
        let mut state = self.lock();
        state.connections.set(spec.connections());
        state.cancels.set(spec.cancels());
        state.explanations.set(spec.explanations());
        state.spec = spec;
    }

    /// Takes the place of a new connection until it has logged in.
    ///
    /// # Errors
    /// [`OverLimit::LoginsOfSource`], [`OverLimit::Logins`] or [`OverLimit::Connections`]; then
    /// nothing is taken, and the connection doesn't count towards the rate.
    pub fn login(
        self: &Arc<Self>,
        client: ClientAddr,
        now: Instant,
    ) -> Result<LoginSlot, OverLimit> {
        let source = Source::from(client);
        let mut state = self.lock();
        state.take_login(source, now)?;
        Ok(self.slot(source, Place::Login))
    }

    /// Takes a place for a connection that [`Self::login`] has refused, to be told why; none if its
    /// source is due no explanation, or if too many are being told already.
    pub fn telling(self: &Arc<Self>, client: ClientAddr, now: Instant) -> Option<LoginSlot> {
        let source = Source::from(client);
        let mut state = self.lock();
        let now = state.clock.read(now);
        let has_room =
            state.telling.total() < TELLING && state.telling.of(&source) < TELLING_PER_SOURCE;
        if !has_room || !state.explanations.can_spend(source, now) {
            return None;
        }
        state.telling.take(&source);
        Some(self.slot(source, Place::Telling))
    }

    fn slot(self: &Arc<Self>, source: Source, place: Place) -> LoginSlot {
        LoginSlot {
            limits: Arc::clone(self),
            source,
            place,
        }
    }

    /// Takes the place of a session of `project`, which may have `most` of them.
    ///
    /// # Errors
    /// [`OverLimit::SessionsOfSource`], [`OverLimit::SessionsOfProject`] or
    /// [`OverLimit::Sessions`]; then nothing is taken.
    pub fn session(
        self: &Arc<Self>,
        project: &ProjectName,
        most: u32,
        client: ClientAddr,
    ) -> Result<SessionSlot, OverLimit> {
        let source = Source::from(client);
        let mut state = self.lock();
        state.take_session(project, most, source)?;
        Ok(SessionSlot {
            limits: Arc::clone(self),
            project: project.clone(),
            source,
        })
    }

    /// Whether a refusal of the client may be explained to it. The explanation is spent when it is
    /// given: [`Self::explained`].
    #[must_use]
    pub fn may_explain(&self, client: ClientAddr, now: Instant) -> bool {
        let mut state = self.lock();
        let now = state.clock.read(now);
        state.explanations.can_spend(client.into(), now)
    }

    /// Spends one of the explanations of the client's source, which come back evenly over a minute.
    /// False if there was none left, as when several were found due at the same time.
    pub fn explained(&self, client: ClientAddr, now: Instant) -> bool {
        let mut state = self.lock();
        let now = state.clock.read(now);
        state.explanations.spend(client.into(), now)
    }

    /// Spends one of the CancelRequests of the client's source.
    ///
    /// # Errors
    /// [`OverLimit::Cancels`].
    pub fn cancel(&self, client: ClientAddr, now: Instant) -> Result<(), OverLimit> {
        let mut state = self.lock();
        let now = state.clock.read(now);
        if state.cancels.spend(client.into(), now) {
            return Ok(());
        }
        Err(OverLimit::Cancels(state.spec.cancels_per_second_per_source))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No step below leaves a state half changed, so one after a panic is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The limit that the client can do most about is named first.
    fn take_login(&mut self, source: Source, now: Instant) -> Result<(), OverLimit> {
        let spec = self.spec;
        if self.logins.of(&source) >= spec.logins_per_source {
            return Err(OverLimit::LoginsOfSource(spec.logins_per_source));
        }
        if self.logins.total() >= spec.logins {
            return Err(OverLimit::Logins(spec.logins));
        }
        let now = self.clock.read(now);
        // Last, for what a rate has spent can't be given back.
        if !self.connections.spend(source, now) {
            return Err(OverLimit::Connections(
                spec.connections_per_second_per_source,
            ));
        }
        self.logins.take(&source);
        Ok(())
    }

    fn take_session(
        &mut self,
        project: &ProjectName,
        most: u32,
        source: Source,
    ) -> Result<(), OverLimit> {
        let spec = self.spec;
        if self.sessions.of(&source) >= spec.sessions_per_source {
            return Err(OverLimit::SessionsOfSource(spec.sessions_per_source));
        }
        if self.sessions_of_projects.of(project) >= most {
            return Err(OverLimit::SessionsOfProject(most));
        }
        if self.sessions.total() >= spec.sessions {
            return Err(OverLimit::Sessions(spec.sessions));
        }
        self.sessions.take(&source);
        self.sessions_of_projects.take(project);
        Ok(())
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The tables are large, and a guard's `Debug` must never wait for the lock.
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

/// The place of a connection that logs in, or that is told why it can't, given back when dropped.
#[derive(Debug)]
#[must_use = "dropping the slot gives it back"]
pub struct LoginSlot {
    limits: Arc<Limits>,
    source: Source,
    place: Place,
}

/// Which of the counts a [`LoginSlot`] is of.
#[derive(Debug, Clone, Copy)]
enum Place {
    Login,
    Telling,
}

impl Drop for LoginSlot {
    fn drop(&mut self) {
        let mut state = self.limits.lock();
        match self.place {
            Place::Login => state.logins.give_back(&self.source),
            Place::Telling => state.telling.give_back(&self.source),
        }
    }
}

/// The place of a session, given back when dropped.
#[derive(Debug)]
#[must_use = "dropping the slot gives it back"]
pub struct SessionSlot {
    limits: Arc<Limits>,
    project: ProjectName,
    source: Source,
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        let mut state = self.limits.lock();
        state.sessions.give_back(&self.source);
        state.sessions_of_projects.give_back(&self.project);
    }
}
