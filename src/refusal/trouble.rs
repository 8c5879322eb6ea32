//! [`Trouble`]: what the client reads a reference of, and the operator the details.

use std::fmt;

/// Trouble with a backend, or of the gate's own. Its details are the operator's; the client reads a reference by which
/// the operator finds them in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub(super) reference: u32,
    pub(super) detail: String,
}

impl Trouble {
    /// Trouble with a reference of its own.
    #[must_use]
    pub fn new(detail: impl fmt::Display) -> Self {
        let mut reference = [0; 4];
        // Should there be no randomness, every reference is 0: less help, but no harm.
        let _filled = aws_lc_rs::rand::fill(&mut reference);
        Self {
            reference: u32::from_be_bytes(reference),
            detail: detail.to_string(),
        }
    }

    /// What happened, for the operator.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// The reference, as the client reads it.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(reference {:08x})", self.reference)
    }
}
