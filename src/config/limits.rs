//! `[limits]`: how much of the gate anybody may take.

use super::section::Section;

pub use crate::gate::limits::LimitsSpec;

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
