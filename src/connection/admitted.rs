//! [`Admitted`]: server_name or the listener names a project whose rules admit the client; or no
//! project is named yet, and the StartupMessage still may.
//!
//! A client that is to be refused goes on as well if it is to read why: through TLS, where it can be
//! told so (T7), and up to the StartupMessage, so that who is denied by a project and who asks for
//! one that doesn't exist go the same way, in the same time (T29).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::Timestamp;

use super::facts::Facts;
use super::greeted::Greeted;
use super::refused::{Channel, Refused};
use crate::address::ClientAddr;
use crate::gate::limits::{Limits, SessionSlot};
use crate::id::ProjectName;
use crate::project::{Project, Projects, RefusalStyle};
use crate::refusal::{Refusal, Requested, Trouble};
use crate::served::Served;
use crate::tls::ClientHello;

/// A connection that may go on with TLS.
pub(super) struct Admitted {
    pub(super) hello: ClientHello,
    /// The TLS server that the client meets, and its leaf: what the client binds its login to.
    pub(super) served: Arc<Served>,
    pub(super) standing: Standing,
}

/// Where the client stands with the project that it has named so far.
pub(super) enum Standing {
    /// The project's rules admit it.
    Admitted(Arc<Project>),
    /// It has named none: the StartupMessage may, else the default project decides.
    Unnamed,
    /// Not by this server_name; but the StartupMessage may name another project.
    NotHere(Refusal),
    /// In no way.
    Refused(Refusal),
}

/// Proof that a project's rules admit the client, and its place among the sessions.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) project: Arc<Project>,
    /// Held until the session has ended.
    pub(super) _slot: SessionSlot,
}

/// Who decides on admission: the rules and limits in force.
pub(super) struct Admissions<'a> {
    /// The projects.
    pub(super) projects: &'a Projects,
    /// The limits.
    pub(super) limits: &'a Arc<Limits>,
    /// Whether the process is about to stop.
    pub(super) draining: &'a AtomicBool,
}

impl Greeted {
    /// Decides on the client where the ClientHello or the listener says for which project.
    ///
    /// # Errors
    /// The rules or a limit are against it, and it is not to be told.
    pub(super) async fn admit(
        self,
        by: &Admissions<'_>,
        facts: &mut Facts,
    ) -> Result<Admitted, Refused> {
        let Self {
            hello,
            pinned,
            over,
        } = self;
        let server_name = facts.server_name.as_ref();
        let named = server_name.and_then(|name| by.projects.by_server_name(name));
        let project = named.or_else(|| by.projects.by_name(pinned.as_ref()?));
        let standing = match (over, pinned) {
            (Some(over), _) => Standing::Refused(Refusal::TooMany(over)),
            (None, Some(pinned)) => by.stand_at(&pinned, named, facts),
            (None, None) => by.stand(named, facts),
        };
        match standing {
            Standing::NotHere(refusal) | Standing::Refused(refusal)
                if !by.tells(project, facts.client) =>
            {
                Err(Refused::new(refusal, Channel::Closed))
            }
            standing @ (Standing::Admitted(_)
            | Standing::Unnamed
            | Standing::NotHere(_)
            | Standing::Refused(_)) => {
                let (served, standing) = by.serve(project, standing).await;
                Ok(Admitted {
                    hello,
                    served,
                    standing,
                })
            }
        }
    }
}

impl Admissions<'_> {
    /// What is shown to a client who names `project`, or none: then it is the default project's. If
    /// a certificate can't be had, a stranger's takes its place, in which the client reads why it is
    /// refused (T7).
    async fn serve(
        &self,
        project: Option<&Arc<Project>>,
        standing: Standing,
    ) -> (Arc<Served>, Standing) {
        let stranger = || Arc::clone(&self.projects.common().stranger);
        let Some(project) = project.or_else(|| self.projects.default_project()) else {
            return (stranger(), standing);
        };
        match (project.serving.served().await, standing) {
            (Ok(served), standing) => (served, standing),
            (Err(why), Standing::Admitted(_) | Standing::Unnamed) => {
                let refusal = Refusal::NoCertificate(Trouble::new(why));
                (stranger(), Standing::Refused(refusal))
            }
            (Err(_), standing @ (Standing::NotHere(_) | Standing::Refused(_))) => {
                (stranger(), standing)
            }
        }
    }

    /// Where the client stands by its server_name.
    fn stand(&self, named: Option<&Arc<Project>>, facts: &mut Facts) -> Standing {
        match (named, facts.server_name.clone()) {
            (None, None) => Standing::Unnamed,
            (None, Some(host)) => Standing::NotHere(unknown(host.into(), facts)),
            (Some(project), host) => match self.decide(project, host.map(Requested::Host), facts) {
                Ok(()) => Standing::Admitted(Arc::clone(project)),
                Err(refusal) => Standing::NotHere(refusal),
            },
        }
    }

    /// Where the client stands at a listener that serves one project.
    fn stand_at(
        &self,
        pinned: &ProjectName,
        named: Option<&Arc<Project>>,
        facts: &mut Facts,
    ) -> Standing {
        let requested = facts.server_name.clone().map(Requested::Host);
        let Some(project) = self.projects.by_name(pinned) else {
            // It has been removed, which opens the way to no other.
            let requested = requested.unwrap_or_else(|| pinned.clone().into());
            return Standing::Refused(unknown(requested, facts));
        };
        match self.decide(project, requested, facts) {
            Err(refusal) => Standing::Refused(refusal),
            // Said only to whom the listener's project admits, lest others learn of the name (T29).
            Ok(()) if named.is_some_and(|named| named.name != *pinned) => {
                Standing::Refused(Refusal::ProjectConflict)
            }
            Ok(()) => Standing::Admitted(Arc::clone(project)),
        }
    }

    /// Decides by the rules of `project`, which the client `requested` in these words.
    ///
    /// # Errors
    /// They are against the client.
    pub(super) fn decide(
        &self,
        project: &Project,
        requested: Option<Requested>,
        facts: &mut Facts,
    ) -> Result<(), Refusal> {
        facts.project = Some(project.name.clone());
        let now = Timestamp::now();
        let decision = project.allow.decide(facts.client, now);
        project.allow.count(&decision, now);
        facts.rule = decision
            .matched()
            .map(|matched| matched.rule.source.clone());
        let is_denied = !decision.is_allowed();
        facts.observed = is_denied && project.policy.observe;
        if is_denied && !project.policy.observe {
            let project = requested.unwrap_or_else(|| project.name.clone().into());
            return Err(Refusal::AddressDenied {
                address: facts.client,
                project,
            });
        }
        Ok(())
    }

    /// Takes a place among the sessions of `project`, whose rules admit the client.
    ///
    /// # Errors
    /// There is none left, or the process is about to stop.
    pub(super) fn enter(
        &self,
        project: Arc<Project>,
        client: ClientAddr,
    ) -> Result<Admission, Refusal> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Refusal::Draining);
        }
        let slot = self
            .limits
            .session(&project.name, project.max_sessions, client)
            .map_err(Refusal::TooMany)?;
        Ok(Admission {
            project,
            _slot: slot,
        })
    }

    /// Whether a client that `project`, or none, refuses is to go on to where it can be told why.
    fn tells(&self, project: Option<&Arc<Project>>, client: ClientAddr) -> bool {
        match self.style(project) {
            RefusalStyle::Explain => self.limits.may_explain(client, Instant::now()),
            RefusalStyle::Drop => false,
        }
    }

    /// How a refusal by `project`, or by none, is seen.
    pub(super) fn style(&self, project: Option<&Arc<Project>>) -> RefusalStyle {
        match project {
            Some(project) => project.policy.refusal,
            None => self.projects.refusal(),
        }
    }
}

/// The refusal of whoever asks for a project that doesn't exist: in the same words as that of who is
/// denied by one that does (T29).
pub(super) fn unknown(project: Requested, facts: &Facts) -> Refusal {
    Refusal::UnknownProject {
        address: facts.client,
        project,
    }
}
