//! Names that identify things: a project, a connection.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A project's name: one DNS label, so that it can stand in a host name, a file name and a metric
/// label as it is (1 to 63 of `a-z`, `0-9` and `-`, with no `-` at either end; RFC 1035 section 2.3.1).
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectName(Arc<str>);

impl ProjectName {
    /// The longest name, in bytes.
    pub const MAX_LENGTH: usize = 63;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectName {
    type Err = InvalidProjectName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        if fits && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-') {
            Ok(Self(text.into()))
        } else {
            Err(InvalidProjectName)
        }
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The text is not a project name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a project's name is 1 to 63 of a-z, 0-9 and '-', with no '-' at either end")]
pub struct InvalidProjectName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_name_is_one_dns_label() {
        for good in ["a", "acme", "acme-2", "0", &"a".repeat(63)] {
            assert_eq!(good.parse::<ProjectName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "Acme",
            "a.b",
            "a/b",
            "..",
            "a b",
            "ä",
            &"a".repeat(64),
        ] {
            assert_eq!(
                bad.parse::<ProjectName>(),
                Err(InvalidProjectName),
                "{bad:?}"
            );
        }
    }
}
