//! `[limits]`: how much of the gate anybody may take.

use super::section::Section;

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

/// The most that any limit can be set to.
const MOST: u32 = 1_000_000;

pub(super) fn read(section: &mut Section<'_, '_>) -> LimitsSpec {
    let mut limit = |name, default| section.or_within(name, default, &(1..=MOST));
    LimitsSpec {
        sessions: limit("sessions", 10_000),
        sessions_per_project: limit("sessions_per_project", 1_000),
        sessions_per_source: limit("sessions_per_source", 500),
        logins: limit("logins", 1_000),
        logins_per_source: limit("logins_per_source", 100),
        connections_per_second_per_source: limit("connections_per_second_per_source", 50),
        connection_burst_per_source: limit("connection_burst_per_source", 200),
        cancels_per_second_per_source: limit("cancels_per_second_per_source", 20),
        refusals_explained_per_minute_per_source: section.or_within(
            "refusals_explained_per_minute_per_source",
            10,
            &(0..=MOST),
        ),
    }
}
