//! Which state of a list is meant.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};

use super::rules::show_rule;
use crate::gate::rule::Rule;

/// A project's rules, told apart from any other state of them: the first 8 bytes of the SHA-256 of
/// the rules as they are shown. It follows from the rules alone, so whoever reads the same list,
/// the process in force or a command that edits the file, finds the same revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// The revision of rules in the order of writing.
    #[must_use]
    pub fn of<'r>(rules: impl Iterator<Item = &'r Rule>) -> Self {
        let mut hash = Context::new(&SHA256);
        for rule in rules {
            hash.update(format!("{} {}\n", rule.verdict, show_rule(rule)).as_bytes());
        }
        Self(
            hash.finish()
                .as_ref()
                .first_chunk()
                .copied()
                .map_or(0, u64::from_be_bytes),
        )
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Revision {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let read = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
        read.map(Self).ok_or(InvalidRevision)
    }
}

/// The text is not a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a revision is 16 hexadecimal digits")]
pub struct InvalidRevision;
