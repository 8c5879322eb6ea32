//! [`Builder`]: a configuration becomes [`Projects`], all or nothing (T31).

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::auth::verifiers::Verifiers;
use crate::backend::{Backend, BackendTls, InvalidBackend};
use crate::config::{AuthSpec, BackendSpec, Config, ProjectSpec};
use crate::gate::allow_list::{AllowList, InvalidRule};
use crate::gate::deny_list::DenyList;
use crate::gate::network::Network;
use crate::gate::set::NetworkSet;
use crate::id::ProjectName;
use crate::metrics::Metrics;
use crate::pki::{Identity, Keystore, PkiError, TlsPolicy, scram_seed, server_config};
use crate::project::{Auth, Common, Policy, Project, Projects, RefusalStyle, Tags};

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
        let tags = config
            .tags
            .iter()
            .map(|(tag, list)| (tag.clone(), networks(list)))
            .collect();
        for spec in config.projects.values() {
            match self.project(spec, (config, &tags), previous) {
                Ok(project) => projects.push(Arc::new(project)),
                Err(error) => errors.push(BuildError {
                    project: Some(spec.name.clone()),
                    error,
                }),
            }
        }
        let common = self.common(config, tags).map_err(|error| BuildError {
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

    fn common(&self, config: &Config, tags: Tags) -> Result<Common, Cause> {
        let stranger = Identity::throwaway(Timestamp::now())?;
        Ok(Common {
            deny: DenyList::new([("deny".into(), networks(&config.deny))]),
            tags,
            login_timeout: config.login_timeout,
            drain_timeout: config.drain_timeout,
            // A name that is dropped must not differ from one that doesn't exist (T29).
            refusal: if config
                .projects
                .values()
                .any(|spec| spec.refusal == RefusalStyle::Drop)
            {
                RefusalStyle::Drop
            } else {
                RefusalStyle::Explain
            },
            // A certificate of nobody's: who names no project of ours can finish TLS with it, and
            // read why that was in vain (T13).
            stranger_tls: server_config(
                &stranger,
                &TlsPolicy {
                    min_version: config.tls_min_version,
                },
            ),
            stranger_identity: stranger,
        })
    }

    fn project(
        &self,
        spec: &ProjectSpec,
        (config, tags): (&Config, &Tags),
        previous: Option<&Projects>,
    ) -> Result<Project, Cause> {
        let previous = previous.and_then(|projects| projects.by_name(&spec.name));
        let identity = self.identity(spec)?;
        let rules = spec
            .rules
            .iter()
            .map(|written| written.rule.clone())
            .collect();
        let allow =
            AllowList::compile(rules, |tag| tags.get(tag).cloned()).map_err(Cause::Rules)?;
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
            auth: self.auth(spec)?,
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

    fn auth(&self, spec: &ProjectSpec) -> Result<Auth, PkiError> {
        match &spec.auth {
            AuthSpec::Passthrough => Ok(Auth::Passthrough),
            AuthSpec::Password => Ok(Auth::Password),
            AuthSpec::Scram(list) => {
                let seed = scram_seed(&self.keystore.project(&spec.name))?;
                Ok(Auth::Scram(Verifiers::new(Arc::clone(list), &seed)))
            }
        }
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

/// The tags, compiled once for all the projects that name them.
/// A project's rules by themselves, compiled: to decide by them without a gate.
///
/// # Errors
/// Every rule that can't be in a list.
pub fn allow_list(spec: &ProjectSpec, config: &Config) -> Result<AllowList, Vec<InvalidRule>> {
    let rules = spec.rules.iter().map(|written| written.rule.clone());
    AllowList::compile(rules.collect(), |tag| {
        config.tags.get(tag).map(|list| networks(list))
    })
}

fn networks(list: &[Network]) -> Arc<NetworkSet> {
    Arc::new(NetworkSet::new(list.iter().copied()))
}

fn joined(rules: &[InvalidRule]) -> String {
    rules
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
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
    #[error("{}", joined(.0))]
    Rules(Vec<InvalidRule>),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::address::HostName;

    fn build(directory: &Path, toml: &str) -> Result<Projects, BuildErrors> {
        let config = Config::parse(toml, &directory.join("proxy.toml")).unwrap();
        let keystore = Keystore::open(directory.join("certs")).unwrap();
        Builder::new(keystore, Metrics::new()).build(&config, None)
    }

    fn project(name: &str, hosts: &str) -> String {
        format!(
            "[project.{name}]\nhosts = [{hosts}]\nallow = [\"nowhere\"]\nbackend = \"/run/pg\"\n"
        )
    }

    fn served(projects: &Projects, server_name: &str) -> Option<String> {
        let server_name: HostName = server_name.parse().unwrap();
        projects
            .by_server_name(&server_name)
            .map(|project| project.name.to_string())
    }

    #[test]
    fn t13_an_exact_name_goes_before_a_wildcard_which_covers_one_label() {
        let directory = tempfile::tempdir().unwrap();
        let (acme, any) = ("\"acme.example.com\"", "\"*.example.com\"");
        let toml = project("acme", acme) + &project("any", any);
        let projects = build(directory.path(), &toml).unwrap();
        assert_eq!(
            served(&projects, "ACME.example.com.").as_deref(),
            Some("acme")
        );
        assert_eq!(
            served(&projects, "globex.example.com").as_deref(),
            Some("any")
        );
        assert_eq!(served(&projects, "a.b.example.com"), None);
        assert_eq!(served(&projects, "example.com"), None);
    }

    #[test]
    fn only_a_project_that_stands_alone_or_is_named_serves_who_names_none() {
        let directory = tempfile::tempdir().unwrap();
        let default = |toml: &str| {
            let projects = build(directory.path(), toml).unwrap();
            projects
                .default_project()
                .map(|project| project.name.to_string())
        };
        let (acme, globex) = (
            project("acme", "\"a.example\""),
            project("globex", "\"g.example\""),
        );
        assert_eq!(default(&acme).as_deref(), Some("acme"));
        assert_eq!(default(&format!("{acme}{globex}")), None);
        let named = format!("default_project = \"globex\"\n{acme}{globex}");
        assert_eq!(default(&named).as_deref(), Some("globex"));
    }

    #[test]
    fn t31_every_project_that_is_wrong_is_named_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let toml = project("acme", "\"a.example\"") + &project("globex", "\"g.example\"");
        build(directory.path(), &toml).unwrap();
        for project in ["acme", "globex"] {
            std::fs::write(
                directory.path().join("certs").join(project).join("ca.key"),
                "x",
            )
            .unwrap();
        }
        let errors = build(directory.path(), &toml).unwrap_err().to_string();
        assert!(
            errors.contains("project acme: ") && errors.contains("project globex: "),
            "{errors}"
        );
    }
}
