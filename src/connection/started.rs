//! [`Started`]: the StartupMessage is read, and a project has admitted the client.

use super::admitted::{Admission, Admissions, Standing, unknown};
use super::cancelled::{Cancel, Waiting};
use super::facts::Facts;
use super::greeted::read_startup_packet;
use super::refused::{Channel, Refused};
use super::secured::Secured;
use crate::id::ProjectName;
use crate::project::RefusalStyle;
use crate::refusal::{Refusal, Requested};
use crate::relay::ClientStream;
use crate::wire::ProtocolViolation;
use crate::wire::startup::{StartupMessage, StartupPacket};

/// A connection that knows where it is going.
pub(super) struct Started {
    pub(super) client: ClientStream,
    pub(super) admission: Admission,
    pub(super) startup: StartupMessage,
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
            }))),
            Err(refusal) => {
                let project = facts
                    .project
                    .as_ref()
                    .and_then(|name| by.projects.by_name(name));
                let channel = match by.style(project) {
                    RefusalStyle::Explain => Channel::Secured(Box::new(client)),
                    RefusalStyle::Drop => Channel::Closed,
                };
                Err(Refused::new(refusal, channel))
            }
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
        let option = startup
            .portcullis_project()
            .map_err(Refusal::ProtocolViolation)?;
        match (standing, option) {
            (Standing::Admitted(admission), Some(name)) if admission.project.name != name => {
                Err(Refusal::ProjectConflict)
            }
            (Standing::Admitted(admission), _) => Ok(admission),
            (Standing::Unnamed | Standing::Unknown(_), Some(name)) => self.admit_by(&name, facts),
            (Standing::Unknown(host), None) => Err(unknown(host.into(), facts)),
            (Standing::Unnamed, None) => {
                let project = self.projects.default_project().ok_or(Refusal::NoProject)?;
                self.admit(project, None, facts)
            }
        }
    }

    fn admit_by(&self, name: &ProjectName, facts: &mut Facts) -> Result<Admission, Refusal> {
        let requested = Requested::Project(name.clone());
        match self.projects.by_name(name) {
            Some(project) => self.admit(project, Some(requested), facts),
            None => Err(unknown(requested, facts)),
        }
    }
}
