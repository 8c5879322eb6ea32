//! [`Maker`]: a project as it is kept becomes a [`Project`].

use std::path::Path;
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};

use super::super::backend::backend;
use super::super::clients::client_certificates;
use super::error::{BuildError, Cause};
use super::{BuildWarning, Builder, policy};
use crate::auth::certificate::{ClientCertificates, Minter};
use crate::auth::query::AuthQuery;
use crate::auth::seed::Seed;
use crate::auth::userlist::Userlist;
use crate::auth::verifiers::Verifiers;
use crate::backend::Backend;
use crate::config::{AuthSpec, Inherited, OwnCertificate, ProjectSpec, QuerySpec, VerifierFile};
use crate::gate::allow_list::AllowList;
use crate::pki::{Identity, PkiError, TlsPolicy};
use crate::project::{Auth, Mark, Policy, Project, Projects};
use crate::served::{LeafFiles, LeafSource, Recipe, Serving};

/// A CA that ends sooner is warned about: the least time in which clients get another. Ninety days.
const CA_WARNING: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How a time is written for people.
const DATE: &str = "%-d %B %Y, %H:%M UTC";

/// Makes projects, each by itself.
#[derive(Clone, Copy)]
pub(in crate::store) struct Maker<'b> {
    pub(super) builder: &'b Builder,
    pub(super) inherited: Inherited<'b>,
    /// What is in force: where a file has vanished, it goes on from there.
    pub(super) previous: Option<&'b Projects>,
    pub(super) now: Timestamp,
    /// Whether each project gets its certificate, and its series, at once.
    pub(super) all_at_once: bool,
}

/// A project, and what is to be said of it; or what is wrong with it.
pub(in crate::store) type MadeProject = Result<(Arc<Project>, Vec<BuildWarning>), BuildError>;

impl Maker<'_> {
    /// Makes a project. What is counted by rule goes on from the one in force, and so does a
    /// certificate that can't be had again.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::store) fn make(&self, spec: &ProjectSpec) -> MadeProject {
        let previous = self.previous.and_then(|all| all.by_name(&spec.name));
        let made = self.parts(spec, previous.map(AsRef::as_ref));
        let made = made.and_then(|(parts, texts)| {
            let project = self.project(spec, parts, previous)?;
            Ok((project, texts))
        });
        match made {
            Ok((project, texts)) => {
                if self.all_at_once {
                    // Few enough for each to be seen at zero before its first client comes.
                    project.metrics(&self.builder.metrics);
                }
                let warning = |text| BuildWarning {
                    project: spec.name.clone(),
                    text,
                };
                let warnings = texts.into_iter().map(warning);
                Ok((Arc::new(project), warnings.collect()))
            }
            Err(error) => Err(BuildError {
                project: Some(spec.name.clone()),
                error,
            }),
        }
    }

    /// What a project is made of, and what is to be said of that; its certificate too, if that is to
    /// be had already.
    fn parts(
        &self,
        spec: &ProjectSpec,
        previous: Option<&Project>,
    ) -> Result<(Parts, Vec<String>), Cause> {
        let backend_mark = Mark::of(&spec.backend);
        let is_same = previous.is_some_and(|before| before.backend_mark == backend_mark);
        let keystore = self.builder.certificates.keystore().project(&spec.name);
        let clients = previous.map(|project| &project.clients);
        let demanded = &spec.client_certificate;
        let (clients, of_clients) = client_certificates(demanded, clients, (&keystore, self.now))?;
        let policy = policy(self.inherited.tls_min_version, &clients);
        let serving = self.serving(spec, (policy, previous));
        let of_leaf = if self.all_at_once {
            serve(&serving, previous, self.now)?
        } else {
            None
        };
        let old = previous.map(|old| (&old.backend, is_same));
        let (backend, of_backend) = backend(spec, (&keystore, &self.builder.backend_tls), old)?;
        let texts = of_leaf.into_iter().chain(of_backend).chain(of_clients);
        let parts = Parts {
            serving,
            backend,
            clients,
            backend_mark,
        };
        Ok((parts, texts.collect()))
    }

    fn project(
        &self,
        spec: &ProjectSpec,
        parts: Parts,
        previous: Option<&Arc<Project>>,
    ) -> Result<Project, Cause> {
        let Parts {
            serving,
            backend,
            clients,
            backend_mark,
        } = parts;
        let auth_before = previous.map(|project| &project.auth);
        let is_same = previous.is_some_and(|before| before.backend_mark == backend_mark);
        let rules = spec.rules.iter();
        let rules = rules.map(|written| written.rule.clone()).collect();
        let tags = |tag: &_| self.inherited.tags.get(tag).cloned();
        let allow = AllowList::compile(rules, tags).map_err(Cause::Rules)?;
        if let Some(previous) = previous {
            allow.carry_hits_from(&previous.allow);
        }
        Ok(Project {
            name: spec.name.clone(),
            allow,
            policy: Policy {
                observe: spec.observe,
                on_revoke: spec.on_revoke,
                refusal: spec.refusal,
            },
            backend,
            backend_mark,
            auth: self.auth(spec, (auth_before, is_same))?,
            clients,
            serving,
            max_sessions: spec.max_sessions,
            metrics: previous.map_or_else(OnceLock::new, |before| before.metrics.clone()),
        })
    }

    /// What is known of verifiers goes on from `previous`: those that the backend was asked for, if it is
    /// the same, for what one server has answered must not count for another; and those of a file that
    /// can't be used any more. So do the certificates that were made for users, while the same CA signs.
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
                let seed = self.seed(spec)?;
                Ok(Auth::Query(Arc::new(AuthQuery::new(account.clone(), seed))))
            }
            (AuthSpec::Passthrough, _) => Ok(Auth::Passthrough),
            (AuthSpec::Password, _) => Ok(Auth::Password),
            (AuthSpec::Certificate, _) => {
                let store = self.builder.certificates.keystore().project(&spec.name);
                let issuer = store.client_issuer(Timestamp::now())?;
                if let Some(Auth::Certificate(minter)) = previous
                    && minter.is_by(&issuer)
                {
                    return Ok(Auth::Certificate(Arc::clone(minter)));
                }
                Ok(Auth::Certificate(Arc::new(Minter::new(issuer))))
            }
            (AuthSpec::Scram(VerifierFile { path, list }), previous) => {
                let list = list.as_ref().or_else(|| list_before(previous, path));
                let list = list.ok_or_else(|| Cause::Lost(path.clone()))?;
                let verifiers = Verifiers::new(path.clone(), Arc::clone(list), self.seed(spec)?);
                Ok(Auth::Scram(verifiers.into()))
            }
        }
    }

    /// What a project's mocks are made of: to be had on first use, as its certificate is.
    fn seed(&self, spec: &ProjectSpec) -> Result<Seed, PkiError> {
        let seed = Seed::of(self.builder.certificates.keystore().project(&spec.name));
        if self.all_at_once {
            seed.read()?;
        }
        Ok(seed)
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
                Some(OwnCertificate { chain, key }) => LeafSource::Files(Box::new(LeafFiles {
                    chain: chain.clone(),
                    key: key.clone(),
                })),
                None => LeafSource::Keystore,
            },
            policy,
        };
        let before = previous.map(|project| &project.serving);
        match before.filter(|before| *before.recipe() == recipe) {
            Some(before) => Arc::clone(before),
            None => Arc::new(Serving::new(recipe, &self.builder.certificates)),
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

/// What a project is made of that takes files.
struct Parts {
    serving: Arc<Serving>,
    backend: Arc<Backend>,
    clients: ClientCertificates,
    backend_mark: Mark,
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
