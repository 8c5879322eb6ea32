//! [`Builder`]: a configuration becomes [`Projects`], all or nothing (T31).
//!
//! What is configured must be right, or nothing changes. A certificate that was right and isn't any
//! more (expired, unreadable, not to be renewed on a full disk) is another matter: its project goes
//! on with what it had, and is warned about, so that one project can't keep changes from the others.

mod lists;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::backend::{BackendError, backend};
use super::clients::client_certificates;
use crate::auth::certificate::{ClientCertificates, Minter};
use crate::auth::query::AuthQuery;
use crate::auth::userlist::Userlist;
use crate::auth::verifiers::Verifiers;
use crate::backend::Backend;
use crate::config::{AuthSpec, Config, OwnCertificate, ProjectSpec, QuerySpec, VerifierFile};
use crate::gate::allow_list::{AllowList, InvalidRule};
use crate::gate::deny_list::DenyList;
use crate::id::ProjectName;
use crate::metrics::Metrics;
use crate::pki::{Identity, PkiError, TlsPolicy, scram_seed};
use crate::project::{Auth, Common, Policy, Project, Projects, RefusalStyle, Tags};
use crate::served::{Certificates, LeafSource, Recipe, Served, Serving};

use self::lists::deny;

pub use self::lists::{allow_list, deny_list};

/// A CA that ends sooner is warned about: the least time in which clients get another. Ninety days.
const CA_WARNING: SignedDuration = SignedDuration::from_hours(90 * 24);

/// So many projects get their certificates at the start, so that what is wrong with one shows at
/// once. Of more, each gets its own on first use.
const ALL_AT_ONCE: usize = 1000;

/// How a time is written for people.
const DATE: &str = "%-d %B %Y, %H:%M UTC";

/// Makes snapshots. Blocks on files and makes certificates: not for the workers' threads.
#[derive(Debug, Clone)]
pub struct Builder {
    certificates: Arc<Certificates>,
    metrics: Metrics,
}

/// What is in force while something new is built: where a file has vanished, it goes on from there.
#[derive(Debug, Clone, Copy)]
pub struct Previous<'a> {
    /// What it was built from.
    pub config: &'a Config,
    /// The snapshot.
    pub projects: &'a Projects,
}

impl Builder {
    /// A builder of projects whose certificates are kept in memory by `certificates`.
    #[must_use]
    pub const fn new(certificates: Arc<Certificates>, metrics: Metrics) -> Self {
        Self {
            certificates,
            metrics,
        }
    }

    /// Makes every project of `config`. What is counted by rule goes on from `previous`, and so does
    /// a certificate that can't be had again.
    ///
    /// # Errors
    /// Everything that is wrong with any project.
    pub fn build(
        &self,
        config: &Config,
        previous: Option<Previous<'_>>,
    ) -> Result<Built, BuildErrors> {
        self.build_at(Timestamp::now(), config, previous)
    }

    fn build_at(
        &self,
        now: Timestamp,
        config: &Config,
        previous: Option<Previous<'_>>,
    ) -> Result<Built, BuildErrors> {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        let mut projects = Vec::with_capacity(config.projects.len());
        let tags = config.tags.clone();
        let all_at_once = config.projects.len() <= ALL_AT_ONCE.min(config.runtime.certificates());
        for spec in config.projects.values() {
            let old = previous.and_then(|previous| previous.projects.by_name(&spec.name));
            let parts = self.parts(spec, (config, previous), (now, all_at_once));
            let made = parts.and_then(|(parts, texts)| {
                let project = self.project(spec, parts, (&tags, old))?;
                Ok((project, texts))
            });
            match made {
                Ok((project, texts)) => {
                    projects.push(Arc::new(project));
                    warnings.extend(texts.into_iter().map(|text| BuildWarning {
                        project: spec.name.clone(),
                        text,
                    }));
                }
                Err(error) => errors.push(BuildError {
                    project: Some(spec.name.clone()),
                    error,
                }),
            }
        }
        let before = previous.map(|previous| &previous.projects.common().deny);
        let common = self
            .common(config, tags, before)
            .map_err(|error| BuildError {
                project: None,
                error,
            });
        match common {
            Ok(common) if errors.is_empty() => {
                let projects = Projects::new(projects, config.default_project.as_ref(), common);
                self.tell_expiries(&projects);
                Ok(Built { projects, warnings })
            }
            common => {
                errors.extend(common.err());
                Err(BuildErrors(errors))
            }
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

    fn common(
        &self,
        config: &Config,
        tags: Tags,
        before: Option<&DenyList>,
    ) -> Result<Common, Cause> {
        let deny = deny(&config.deny, |tag| tags.get(tag).cloned()).map_err(Cause::Rules)?;
        if let Some(before) = before {
            deny.carry_hits_from(before);
        }
        let stranger = Identity::throwaway(Timestamp::now())?;
        Ok(Common {
            deny,
            tags,
            login_timeout: config.login_timeout,
            tcp: config.tcp,
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
            stranger: Arc::new(Served::new(
                stranger,
                &policy(config, &ClientCertificates::Off),
            )),
        })
    }

    /// What a project is made of, and what is to be said of that: `now`, its certificate too, if that
    /// is to be had already.
    fn parts(
        &self,
        spec: &ProjectSpec,
        (config, previous): (&Config, Option<Previous<'_>>),
        (now, all_at_once): (Timestamp, bool),
    ) -> Result<(Parts, Vec<String>), Cause> {
        let before = previous.and_then(|previous| previous.config.projects.get(&spec.name));
        let is_same = before.is_some_and(|before| before.backend == spec.backend);
        let previous = previous.and_then(|previous| previous.projects.by_name(&spec.name));
        let previous = previous.map(AsRef::as_ref);
        let keystore = self.certificates.keystore().project(&spec.name);
        let clients = previous.map(|project| &project.clients);
        let demanded = &spec.client_certificate;
        let (clients, of_clients) = client_certificates(demanded, clients, (&keystore, now))?;
        let serving = self.serving(spec, (policy(config, &clients), previous));
        let of_leaf = if all_at_once {
            serve(&serving, previous, now)?
        } else {
            None
        };
        let old = previous.map(|old| (&old.backend, is_same));
        let (backend, of_backend) = backend(spec, &keystore, old)?;
        let texts = of_leaf.into_iter().chain(of_backend).chain(of_clients);
        let parts = Parts {
            serving,
            backend,
            clients,
            has_same_backend: is_same,
        };
        Ok((parts, texts.collect()))
    }

    fn project(
        &self,
        spec: &ProjectSpec,
        parts: Parts,
        (tags, previous): (&Tags, Option<&Arc<Project>>),
    ) -> Result<Project, Cause> {
        let Parts {
            serving,
            backend,
            clients,
            has_same_backend,
        } = parts;
        let auth_before = previous.map(|project| &project.auth);
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
        Ok(Project {
            name: spec.name.clone(),
            hosts: Arc::clone(&serving.recipe().hosts),
            allow,
            policy: Policy {
                observe: spec.observe,
                on_revoke: spec.on_revoke,
                refusal: spec.refusal,
            },
            backend,
            auth: self.auth(spec, (auth_before, has_same_backend))?,
            clients,
            serving,
            max_sessions: spec.max_sessions,
            metrics: self.metrics.project(&spec.name),
        })
    }

    /// What is known of verifiers goes on from `previous`: those that the backend was asked for, if it is
    /// the same, for what one server has answered must not count for another; and those of a file that
    /// can't be used any more.
    fn auth(
        &self,
        spec: &ProjectSpec,
        (previous, has_same_backend): (Option<&Auth>, bool),
    ) -> Result<Auth, Cause> {
        match (&spec.auth, previous) {
            (AuthSpec::Query(spec), Some(Auth::Query(query)))
                if has_same_backend && asks_as_before(query, spec) =>
            {
                Ok(Auth::Query(Arc::clone(query)))
            }
            (
                AuthSpec::Query(QuerySpec {
                    lost: Some(path), ..
                }),
                _,
            ) => Err(Cause::Lost(path.clone())),
            (AuthSpec::Query(QuerySpec { account, .. }), _) => {
                let seed = scram_seed(&self.certificates.keystore().project(&spec.name))?;
                Ok(Auth::Query(Arc::new(AuthQuery::new(account.clone(), seed))))
            }
            (AuthSpec::Passthrough, _) => Ok(Auth::Passthrough),
            (AuthSpec::Password, _) => Ok(Auth::Password),
            (AuthSpec::Certificate, _) => {
                let store = self.certificates.keystore().project(&spec.name);
                let issuer = store.client_issuer(Timestamp::now())?;
                Ok(Auth::Certificate(Minter::new(issuer)))
            }
            (AuthSpec::Scram(VerifierFile { path, list }), previous) => {
                let list = list.as_ref().or_else(|| list_before(previous, path));
                let list = list.ok_or_else(|| Cause::Lost(path.clone()))?;
                let seed = scram_seed(&self.certificates.keystore().project(&spec.name))?;
                let verifiers = Verifiers::new(path.clone(), Arc::clone(list), &seed);
                Ok(Auth::Scram(verifiers))
            }
        }
    }

    /// What a project shows: what its previous snapshot did, if nothing that it is made of has changed.
    fn serving(
        &self,
        spec: &ProjectSpec,
        (policy, previous): (TlsPolicy, Option<&Project>),
    ) -> Arc<Serving> {
        let recipe = Recipe {
            project: spec.name.clone(),
            hosts: spec.hosts.as_slice().into(),
            source: match &spec.certificate {
                Some(OwnCertificate { chain, key }) => LeafSource::Files {
                    chain: chain.clone(),
                    key: key.clone(),
                },
                None => LeafSource::Keystore,
            },
            policy,
        };
        let before = previous.map(|project| &project.serving);
        match before.filter(|before| *before.recipe() == recipe) {
            Some(before) => Arc::clone(before),
            None => Arc::new(Serving::new(recipe, &self.certificates)),
        }
    }
}

/// Whether nothing has changed of how the backend is asked; a password that is lost is no change.
fn asks_as_before(query: &AuthQuery, spec: &QuerySpec) -> bool {
    match &spec.lost {
        None => query.is_by(&spec.account),
        Some(_) => query.is_by_other_password(&spec.account),
    }
}

/// What a file of verifiers held when it was last used.
fn list_before<'p>(previous: Option<&'p Auth>, file: &Path) -> Option<&'p Arc<Userlist>> {
    match previous? {
        Auth::Scram(verifiers) => verifiers.list_of(file),
        Auth::Passthrough | Auth::Query(_) | Auth::Password | Auth::Certificate(_) => None,
    }
}

fn policy(config: &Config, clients: &ClientCertificates) -> TlsPolicy {
    TlsPolicy {
        min_version: config.tls_min_version,
        client_cas: clients.trust().map(|trust| trust.names()),
    }
}

/// What a project is made of that takes files.
struct Parts {
    serving: Arc<Serving>,
    backend: Arc<Backend>,
    clients: ClientCertificates,
    /// Whether the backend is configured as it was before.
    has_same_backend: bool,
}

/// Makes a project's certificate, or looks whether it is still what it should be. Returns what is to
/// be said of it.
fn serve(
    serving: &Arc<Serving>,
    previous: Option<&Project>,
    now: Timestamp,
) -> Result<Option<String>, PkiError> {
    let before = previous.map(|project| &*project.serving);
    let served = serving.refresh(now, before)?;
    let trouble = serving.trouble().map(String::from);
    Ok(trouble.or_else(|| soon_without_ca(&served.identity, now)))
}

/// What to say if the CA that issued it ends before long.
fn soon_without_ca(identity: &Identity, now: Timestamp) -> Option<String> {
    let end = identity.ca_not_after()?;
    (now.duration_until(end) < CA_WARNING).then(|| {
        format!(
            "its CA, and all certificates by it, end on {}. Begin with another one in time: \
             portcullis ca rotate, with --announce first",
            end.strftime(DATE)
        )
    })
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

fn joined(rules: &[InvalidRule]) -> String {
    rules
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
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
    Backend(#[from] BackendError),
    #[error("{}", joined(.0))]
    Rules(Vec<InvalidRule>),
    #[error(
        "{} can't be used, and there is nothing from before to go on with", .0.display()
    )]
    Lost(PathBuf),
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
mod tests;
