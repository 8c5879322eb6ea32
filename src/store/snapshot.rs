//! [`Builder`]: a configuration becomes [`Projects`], all or nothing (T31).

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::ServerConfig;

use crate::backend::{Backend, BackendTls, InvalidBackend};
use crate::config::{BackendSpec, Config, ProjectSpec};
use crate::gate::allow_list::{AllowList, UnknownTag};
use crate::gate::deny_list::DenyList;
use crate::gate::rule::TagName;
use crate::id::ProjectName;
use crate::metrics::Metrics;
use crate::pki::{Identity, Keystore, PkiError, TlsPolicy, server_config};
use crate::project::{Common, Policy, Project, Projects, RefusalStyle};

/// Makes snapshots. Blocks on files and makes certificates: not for the workers' threads.
#[derive(Debug, Clone)]
pub struct Builder {
    keystore: Keystore,
    metrics: Metrics,
}

impl Builder {
    /// A builder that keeps the projects' CAs in `keystore`.
    #[must_use]
    pub const fn new(keystore: Keystore, metrics: Metrics) -> Self {
        Self { keystore, metrics }
    }

    /// Makes every project of `config`. What is counted by rule goes on from `previous`.
    ///
    /// # Errors
    /// Everything that is wrong with any project.
    pub fn build(
        &self,
        config: &Config,
        previous: Option<&Projects>,
    ) -> Result<Projects, BuildErrors> {
        let mut errors = Vec::new();
        let mut projects = Vec::with_capacity(config.projects.len());
        for spec in config.projects.values() {
            match self.project(spec, config, previous) {
                Ok(project) => projects.push(Arc::new(project)),
                Err(error) => errors.push(BuildError {
                    project: Some(spec.name.clone()),
                    error,
                }),
            }
        }
        let common = self.common(config).map_err(|error| BuildError {
            project: None,
            error,
        });
        match common {
            Ok(common) if errors.is_empty() => Ok(Projects::new(
                projects,
                config.default_project.as_ref(),
                common,
            )),
            common => {
                errors.extend(common.err());
                Err(BuildErrors(errors))
            }
        }
    }

    fn common(&self, config: &Config) -> Result<Common, Cause> {
        Ok(Common {
            deny: DenyList::compile(&config.deny),
            tags: config.tags.clone(),
            login_timeout: config.login_timeout,
            refusal: RefusalStyle::Explain,
            stranger_tls: self.stranger_tls(config)?,
        })
    }

    /// A certificate of nobody's: who names no project of ours can finish TLS with it, and read why
    /// that was in vain (T13).
    fn stranger_tls(&self, config: &Config) -> Result<Arc<ServerConfig>, Cause> {
        let identity = Identity::throwaway(Timestamp::now())?;
        Ok(server_config(
            &identity,
            &TlsPolicy {
                min_version: config.tls_min_version,
            },
        ))
    }

    fn project(
        &self,
        spec: &ProjectSpec,
        config: &Config,
        previous: Option<&Projects>,
    ) -> Result<Project, Cause> {
        let previous = previous.and_then(|projects| projects.by_name(&spec.name));
        let identity = self.identity(spec)?;
        let rules = spec
            .rules
            .iter()
            .map(|written| written.rule.clone())
            .collect();
        let allow = AllowList::compile(rules, |tag: &TagName| config.tags.get(tag).cloned())?;
        if let Some(previous) = previous {
            allow.carry_hits_from(&previous.allow);
        }
        let metrics = self.metrics.project(&spec.name);
        metrics.certificate_expires(identity.not_after().into());
        Ok(Project {
            name: spec.name.clone(),
            hosts: spec.hosts.clone(),
            allow,
            policy: Policy {
                observe: spec.observe,
                on_revoke: spec.on_revoke,
                refusal: spec.refusal,
            },
            backend: Arc::new(backend(&spec.backend)?),
            tls: server_config(
                &identity,
                &TlsPolicy {
                    min_version: config.tls_min_version,
                },
            ),
            identity,
            max_sessions: spec.max_sessions,
            metrics,
        })
    }

    fn identity(&self, spec: &ProjectSpec) -> Result<Identity, PkiError> {
        let now = Timestamp::now();
        match &spec.certificate {
            Some(own) => Identity::from_files(&own.chain, &own.key, &spec.hosts, now),
            None => self
                .keystore
                .project(&spec.name)
                .load_or_create(&spec.hosts, now),
        }
    }
}

fn backend(spec: &BackendSpec) -> Result<Backend, InvalidBackend> {
    let tls = BackendTls::load(spec.sslmode, spec.sslrootcert.as_deref())?;
    Backend::new(spec.addr.clone(), &tls, spec.connect_timeout)
}

/// Everything that is wrong with a configuration's projects.
#[derive(Debug)]
pub struct BuildErrors(Vec<BuildError>);

#[derive(Debug)]
struct BuildError {
    project: Option<ProjectName>,
    error: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Certificate(#[from] PkiError),
    #[error(transparent)]
    Backend(#[from] InvalidBackend),
    #[error(transparent)]
    Rules(#[from] UnknownTag),
}

impl fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, BuildError { project, error }) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if let Some(project) = project {
                write!(f, "project {project}: ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildErrors {}
