//! [`Started`]: the StartupMessage is read, and a project has admitted the client.

use std::sync::Arc;
use std::time::Instant;

use super::admitted::{Admission, Admissions, Standing, unknown};
use super::cancelled::{Cancel, Waiting};
use super::facts::Facts;
use super::greeted::read_startup_packet;
use super::refused::{Channel, Refused};
use super::secured::Secured;
use crate::id::ProjectName;
use crate::project::{Project, RefusalStyle};
use crate::refusal::{Refusal, Requested};
use crate::relay::ClientStream;
use crate::served::Served;
use crate::wire::ProtocolViolation;
use crate::wire::startup::{StartupMessage, StartupPacket};

/// A connection that knows where it is going.
pub(super) struct Started {
    pub(super) client: ClientStream,
    pub(super) admission: Admission,
    pub(super) startup: StartupMessage,
    /// What the client was shown.
    pub(super) served: Arc<Served>,
}

/// What the client sent as its first packet inside TLS.
pub(super) enum Start {
    /// A StartupMessage.
    Session(Box<Started>),
    /// A CancelRequest, as libpq from 17 on sends it (T9).
    Cancel(Cancel),
}

impl Secured {
    /// Reads the first packet inside TLS, and admits the client if that had to wait for it.
    ///
    /// # Errors
    /// The packet is malformed, or names no project that admits the client.
    pub(super) async fn start(
        self,
        by: &Admissions<'_>,
        facts: &mut Facts,
    ) -> Result<Start, Refused> {
        let Self {
            mut client,
            served,
            standing,
        } = self;
        let startup = match read_startup_packet(&mut client).await {
            Ok(StartupPacket::Startup(startup)) => startup,
            Ok(StartupPacket::Cancel(request)) => {
                let waiting = Waiting::Secured(Box::new(client));
                return Ok(Start::Cancel(Cancel::new(request, waiting)));
            }
            Ok(StartupPacket::SslRequest | StartupPacket::GssEncRequest) => {
                let refusal =
                    Refusal::ProtocolViolation(ProtocolViolation::RepeatedEncryptionRequest);
                return Err(Refused::new(refusal, Channel::Secured(Box::new(client))));
            }
            Err(refusal) => {
                return Err(Refused::new(refusal, Channel::Secured(Box::new(client))));
            }
        };
        facts.name_session(&startup);
        match by.settle(standing, &startup, facts) {
            Ok(admission) => Ok(Start::Session(Box::new(Started {
                client,
                admission,
                startup,
                served,
            }))),
            Err(refusal) => Err(Refused::new(refusal, by.channel(client, facts))),
        }
    }
}

impl Admissions<'_> {
    /// Settles for which project the client has come, now that all is known that could name one.
    fn settle(
        &self,
        standing: Standing,
        startup: &StartupMessage,
        facts: &mut Facts,
    ) -> Result<Admission, Refusal> {
        let option = startup.portcullis_project();
        let option = option.map_err(Refusal::ProtocolViolation)?;
        let project = match (standing, option) {
            (Standing::Refused(refusal), _) | (Standing::NotHere(refusal), None) => {
                return Err(refusal);
            }
            (Standing::Admitted(project), Some(name)) if project.name != name => {
                return Err(Refusal::ProjectConflict);
            }
            (Standing::Admitted(project), _) => project,
            (Standing::Unnamed | Standing::NotHere(_), Some(name)) => {
                self.admit_by(&name, facts)?
            }
            (Standing::Unnamed, None) => {
                let project = self.projects.default_project().ok_or(Refusal::NoProject)?;
                self.decide(project, None, facts)?;
                Arc::clone(project)
            }
        };
        self.enter(project, facts.client)
    }

    /// The project that the StartupMessage names, if it admits the client. A refusal names what the
    /// client named first, so that it doesn't tell whether that exists (T29).
    fn admit_by(&self, name: &ProjectName, facts: &mut Facts) -> Result<Arc<Project>, Refusal> {
        let host = facts.server_name.clone().map(Requested::Host);
        let requested = host.unwrap_or_else(|| name.clone().into());
        let Some(project) = self.projects.by_name(name) else {
            return Err(unknown(requested, facts));
        };
        self.decide(project, Some(requested), facts)?;
        Ok(Arc::clone(project))
    }

    /// The way on which a client inside TLS is told of a refusal, if it is to be told.
    pub(super) fn channel(&self, client: ClientStream, facts: &Facts) -> Channel {
        let name = facts.project.as_ref();
        let project = name.and_then(|name| self.projects.by_name(name));
        match self.style(project) {
            RefusalStyle::Explain => {
                // Paid for here, at the end, where it is sure to be given.
                self.limits.explained(facts.client, Instant::now());
                Channel::Secured(Box::new(client))
            }
            RefusalStyle::Drop => Channel::Closed,
        }
    }
}
