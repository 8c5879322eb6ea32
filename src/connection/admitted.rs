//! [`Admitted`]: server_name or the listener names a project whose rules admit the client; or no
//! project is named yet, and the StartupMessage still may.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use rustls::ServerConfig;

use super::facts::Facts;
use super::greeted::Greeted;
use super::refused::{Channel, Refused};
use crate::address::{ClientAddr, HostName};
use crate::gate::limits::{Limits, SessionSlot};
use crate::project::{Project, Projects, RefusalStyle};
use crate::refusal::{Refusal, Requested};
use crate::tls::ClientHello;

/// A connection that may go on with TLS.
pub(super) struct Admitted {
    pub(super) hello: ClientHello,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) standing: Standing,
}

/// Whether a project has admitted the client yet.
pub(super) enum Standing {
    /// It has.
    Admitted(Admission),
    /// No server_name was sent: the StartupMessage may name a project, else the default one decides.
    Unnamed,
    /// The server_name is not ours: the StartupMessage may still name a project.
    Unknown(HostName),
}

/// Proof that a project's rules admit the client, and its place among the sessions.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) project: Arc<Project>,
    /// Held until the session has ended.
    pub(super) _slot: SessionSlot,
}

/// Who decides on admission: the rules and limits in force at this moment.
pub(super) struct Admissions<'a> {
    /// The projects.
    pub projects: &'a Projects,
    /// The limits.
    pub limits: &'a Arc<Limits>,
    /// Whether the process is about to stop.
    pub draining: bool,
}

impl Greeted {
    /// Decides on the client where the ClientHello or the listener says for which project.
    ///
    /// # Errors
    /// The rules or a limit are against it.
    pub(super) fn admit(self, by: &Admissions<'_>, facts: &mut Facts) -> Result<Admitted, Refused> {
        let Self {
            hello,
            pinned,
            over,
        } = self;
        let server_name = facts.server_name.as_ref();
        let named = server_name.and_then(|name| by.projects.by_server_name(name));
        let pinned = pinned.as_ref().and_then(|name| by.projects.by_name(name));
        let project = named.or(pinned);
        let tls = project.map_or_else(|| by.projects.tls_without_project(), |known| &known.tls);
        let tls = Arc::clone(tls);
        if let Some(over) = over {
            // That this may be explained was settled at accept.
            let channel = Channel::Hello(Box::new(hello), tls);
            return Err(Refused::new(Refusal::TooMany(over), channel));
        }
        match by.stand(named, pinned, facts) {
            Ok(standing) => Ok(Admitted {
                hello,
                tls,
                standing,
            }),
            Err(refusal) if by.explain(project, facts.client) => {
                Err(Refused::new(refusal, Channel::Hello(Box::new(hello), tls)))
            }
            Err(refusal) => Err(Refused::new(refusal, Channel::Closed)),
        }
    }
}

impl Admissions<'_> {
    fn stand(
        &self,
        named: Option<&Arc<Project>>,
        pinned: Option<&Arc<Project>>,
        facts: &mut Facts,
    ) -> Result<Standing, Refusal> {
        match (named, pinned) {
            (Some(named), Some(pinned)) if named.name != pinned.name => {
                // Decided on first, so that who is denied learns nothing of other projects (T29).
                self.decide(
                    pinned,
                    facts.server_name.clone().map(Requested::Host),
                    facts,
                )?;
                Err(Refusal::ProjectConflict)
            }
            (Some(project), _) | (None, Some(project)) => {
                let requested = facts.server_name.clone().map(Requested::Host);
                self.admit(project, requested, facts)
                    .map(Standing::Admitted)
            }
            (None, None) => match facts.server_name.clone() {
                None => Ok(Standing::Unnamed),
                // Who asks for an unknown project pays for the explanation where who is denied by
                // a known one does, so that running out of it tells nothing (T29).
                Some(host) if self.explain(None, facts.client) => Ok(Standing::Unknown(host)),
                Some(host) => Err(unknown(host.into(), facts)),
            },
        }
    }

    /// Admits the client to `project`, which it `requested` in these words.
    ///
    /// # Errors
    /// The rules or a limit are against it, or the process is about to stop.
    pub(super) fn admit(
        &self,
        project: &Arc<Project>,
        requested: Option<Requested>,
        facts: &mut Facts,
    ) -> Result<Admission, Refusal> {
        self.decide(project, requested, facts)?;
        if self.draining {
            return Err(Refusal::Draining);
        }
        let slot = self
            .limits
            .session(&project.name, project.max_sessions, facts.client)
            .map_err(Refusal::TooMany)?;
        Ok(Admission {
            project: Arc::clone(project),
            _slot: slot,
        })
    }

    /// Decides by the rules of `project`.
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

    /// Whether a refusal by `project`, or by none, is to be explained to the client: if so, one
    /// explanation of its budget is spent.
    fn explain(&self, project: Option<&Arc<Project>>, client: ClientAddr) -> bool {
        match self.style(project) {
            RefusalStyle::Explain => self.limits.may_explain(client, Instant::now()),
            RefusalStyle::Drop => false,
        }
    }

    /// How a refusal by `project`, or by none, is seen.
    pub(super) fn style(&self, project: Option<&Arc<Project>>) -> RefusalStyle {
        match project {
            Some(project) => project.policy.refusal,
            None => self.projects.common().refusal,
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
