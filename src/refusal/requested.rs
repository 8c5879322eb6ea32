//! [`Requested`]: what a client asked for.

use std::fmt;

use crate::address::HostName;
use crate::id::ProjectName;

/// What a client asked for, in its own words: what these words led to is not the client's to
/// learn (T29).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// By server_name.
    Host(HostName),
    /// By `options`, or because the listener leads there.
    Project(ProjectName),
}

impl From<HostName> for Requested {
    fn from(host: HostName) -> Self {
        Self::Host(host)
    }
}

impl From<ProjectName> for Requested {
    fn from(project: ProjectName) -> Self {
        Self::Project(project)
    }
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => fmt::Display::fmt(host, f),
            Self::Project(project) => fmt::Display::fmt(project, f),
        }
    }
}
