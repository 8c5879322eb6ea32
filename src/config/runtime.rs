//! `[runtime]`: what the process takes of the machine.

use super::section::Section;

/// The most certificates that can be kept in memory: some 10 KB each.
const MOST_CERTIFICATES: u32 = 1_000_000;

/// What the process takes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeSpec {
    /// Projects whose certificate is kept in memory, 1 to 1,000,000.
    pub certificates: u32,
}

impl RuntimeSpec {
    /// Projects whose certificate is kept in memory.
    #[must_use]
    pub fn certificates(&self) -> usize {
        usize::try_from(self.certificates).unwrap_or(usize::MAX)
    }
}

pub(super) fn read(section: &mut Section<'_, '_>) -> RuntimeSpec {
    RuntimeSpec {
        certificates: section.or_within("certificates", 10_000, &(1..=MOST_CERTIFICATES)),
    }
}
