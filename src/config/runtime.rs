//! `[runtime]`: what the process takes of the machine.

use std::num::NonZero;
use std::thread::available_parallelism;

use super::section::Section;
use super::value::At;

/// The most certificates that can be kept in memory: some 10 KB each.
const MOST_CERTIFICATES: u32 = 1_000_000;

/// The most threads that can be asked for, and the most handshakes at once.
const MOST_THREADS: u32 = 1024;

/// What the process takes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeSpec {
    /// Threads that carry sessions, 1 to 1024; none for one to each processor.
    pub workers: Option<u32>,
    /// Handshakes that are computed at once, 1 to 1024; none for as many as there are workers.
    pub handshakes: Option<u32>,
    /// Projects whose certificate is kept in memory, 1 to 1,000,000.
    pub certificates: u32,
}

impl RuntimeSpec {
    /// Threads that carry sessions.
    #[must_use]
    pub fn workers(&self) -> usize {
        let processors = || available_parallelism().map_or(1, NonZero::get);
        self.workers.map_or_else(processors, number)
    }

    /// Handshakes that are computed at once.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.handshakes.map_or_else(|| self.workers(), number)
    }

    /// Projects whose certificate is kept in memory.
    #[must_use]
    pub fn certificates(&self) -> usize {
        number(self.certificates)
    }
}

fn number(written: u32) -> usize {
    usize::try_from(written).unwrap_or(usize::MAX)
}

pub(super) fn read(section: &mut Section<'_, '_>) -> RuntimeSpec {
    RuntimeSpec {
        workers: threads(section, "workers"),
        handshakes: threads(section, "handshakes"),
        certificates: section.or_within("certificates", 10_000, &(1..=MOST_CERTIFICATES)),
    }
}

fn threads(section: &mut Section<'_, '_>, name: &str) -> Option<u32> {
    let At { value, spot } = section.optional::<At<u32>>(name)?;
    if let Some(spot) = spot.filter(|_| !(1..=MOST_THREADS).contains(&value)) {
        let message = format!("{value} is not within 1 to {MOST_THREADS}");
        section.reader.refuse(&spot, message);
    }
    Some(value)
}
