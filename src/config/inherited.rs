//! [`Inherited`]: what a project has of the configuration around it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Config;
use super::networks::Networks;
use crate::gate::rule::TagName;
use crate::pki::MinVersion;
use crate::relay::TcpTuning;

/// All that means anything to a project of the configuration that it stands in, or is included by.
/// Projects are read and made by nothing else of it: while this is the same, so are they.
#[derive(Debug, Clone, Copy)]
pub struct Inherited<'c> {
    /// What their rules may name.
    pub tags: &'c BTreeMap<TagName, Networks>,
    /// The directory of their CAs.
    pub certs: &'c Path,
    /// The oldest TLS version that their clients may use.
    pub tls_min_version: MinVersion,
    /// When a backend that has vanished is found out, where a project says nothing else.
    pub tcp: TcpTuning,
    /// Sessions at once, where a project says nothing else.
    pub max_sessions: u32,
}

impl Inherited<'_> {
    /// Whether both are the same. Tags are if one was not compiled again for the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let mut tags = self.tags.iter().zip(other.tags);
        self.tags.len() == other.tags.len()
            && tags.all(|(one, other)| one.0 == other.0 && Arc::ptr_eq(one.1, other.1))
            && self.certs == other.certs
            && self.tls_min_version == other.tls_min_version
            && self.tcp == other.tcp
            && self.max_sessions == other.max_sessions
    }
}

impl Config {
    /// What its projects inherit.
    #[must_use]
    pub fn inherited(&self) -> Inherited<'_> {
        Inherited {
            tags: &self.tags,
            certs: &self.certs,
            tls_min_version: self.tls_min_version,
            tcp: self.tcp,
            max_sessions: self.limits.sessions_per_project,
        }
    }
}
