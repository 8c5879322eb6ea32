//! [`Builder`]: a configuration becomes [`Projects`], all or nothing (T31).
//!
//! What is configured must be right, or nothing changes. A certificate that was right and isn't any
//! more (expired, unreadable, not to be renewed on a full disk) is another matter: its project goes
//! on with what it had, and is warned about, so that one project can't keep changes from the others.

mod draft;
mod error;
mod lists;
mod maker;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::backend::SharedTls;

use self::error::Cause;
use self::lists::deny;
use crate::auth::certificate::ClientCertificates;
use crate::config::Config;
use crate::gate::deny_list::DenyList;
use crate::id::ProjectName;
use crate::metrics::Metrics;
use crate::pki::{Identity, MinVersion, TlsPolicy};
use crate::project::{Common, Projects};
use crate::served::{Certificates, Served, Serving};

pub use self::error::{BuildError, BuildErrors};
pub use self::lists::{allow_list, deny_list};

pub(super) use self::draft::Draft;
pub(super) use self::maker::{MadeProject, Maker};

/// So many projects get their certificates at the start, so that what is wrong with one shows at
/// once. Of more, each gets its own on first use.
const ALL_AT_ONCE: usize = 1000;

/// Makes snapshots. Blocks on files and makes certificates: not for the workers' threads.
#[derive(Debug, Clone)]
pub struct Builder {
    certificates: Arc<Certificates>,
    metrics: Metrics,
    backend_tls: Arc<SharedTls>,
}

impl Builder {
    /// A builder of projects whose certificates are kept in memory by `certificates`.
    #[must_use]
    pub fn new(certificates: Arc<Certificates>, metrics: Metrics) -> Self {
        Self {
            certificates,
            metrics,
            backend_tls: Arc::default(),
        }
    }

    /// A snapshot of `config`, with none of its `count` projects yet. What is counted by rule goes on
    /// from `previous`, and so does a certificate that can't be had again.
    pub(super) fn draft<'b>(
        &'b self,
        config: &'b Config,
        previous: Option<&'b Projects>,
        count: usize,
    ) -> Draft<'b> {
        self.backend_tls.tidy();
        Draft::new(config, self.maker(config, previous, count))
    }

    /// A snapshot of what is in force, for as much to be changed as differs by `config`. What projects
    /// inherit of it must be the same.
    pub(super) fn redraft<'b>(&'b self, config: &'b Config, projects: &'b Projects) -> Draft<'b> {
        Draft::new(config, self.maker_again(config, projects)).with(projects.index().clone())
    }

    /// Makes projects to be added to what is in force, by the configuration that is.
    pub(super) fn maker_again<'b>(
        &'b self,
        config: &'b Config,
        projects: &'b Projects,
    ) -> Maker<'b> {
        self.maker(config, Some(projects), projects.index().len())
    }

    fn maker<'b>(
        &'b self,
        config: &'b Config,
        previous: Option<&'b Projects>,
        count: usize,
    ) -> Maker<'b> {
        Maker {
            builder: self,
            inherited: config.inherited(),
            previous,
            now: Timestamp::now(),
            all_at_once: count <= ALL_AT_ONCE.min(config.runtime.certificates()),
        }
    }

    /// Keeps the certificates of at most so many projects in memory from now on.
    pub fn keep_certificates(&self, most: usize) {
        self.certificates.set_most(most);
    }

    /// Tells the metrics when the certificates end that are in memory.
    pub fn tell_expiries(&self, projects: &Projects) {
        let in_force = |serving: &Arc<Serving>| {
            let project = projects.by_name(&serving.recipe().project);
            project.is_some_and(|project| Arc::ptr_eq(&project.serving, serving))
        };
        let in_memory = self.certificates.in_memory();
        let expiries = in_memory.iter().filter(|serving| in_force(serving));
        let expiries = expiries.filter_map(|serving| {
            let expiry = serving.in_memory()?.identity.not_after();
            Some((serving.recipe().project.clone(), expiry.into()))
        });
        self.metrics.certificates_expire(expiries.collect());
    }

    fn common(&self, config: &Config, before: Option<&DenyList>) -> Result<Common, Cause> {
        let deny = deny(&config.deny, |tag| config.tags.get(tag).cloned());
        let deny = deny.map_err(Cause::Rules)?;
        if let Some(before) = before {
            deny.carry_hits_from(before);
        }
        let stranger = Identity::throwaway(Timestamp::now())?;
        let policy = policy(config.tls_min_version, &ClientCertificates::Off);
        Ok(Common {
            deny,
            tags: config.tags.clone(),
            login_timeout: config.login_timeout,
            tcp: config.tcp,
            drain_timeout: config.drain_timeout,
            stranger: Arc::new(Served::new(stranger, &policy)),
        })
    }
}

fn policy(min_version: MinVersion, clients: &ClientCertificates) -> TlsPolicy {
    TlsPolicy {
        min_version,
        client_cas: clients.trust().map(|trust| trust.names()),
    }
}

/// A snapshot, and what should be looked after although it is good.
#[derive(Debug)]
pub struct Built {
    /// The snapshot.
    pub projects: Projects,
    /// What is wrong, and keeps nothing from being used.
    pub warnings: Vec<BuildWarning>,
}

/// Trouble of one project that keeps nothing from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildWarning {
    /// Whose it is.
    pub project: ProjectName,
    /// What is wrong and what to do, for the operator.
    pub text: String,
}

impl fmt::Display for BuildWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "project {}: {}", self.project, self.text)
    }
}

#[cfg(test)]
mod tests;
