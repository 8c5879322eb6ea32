//! [`Cancel`]: a CancelRequest instead of a session. It is routed by its key alone, decided on by
//! the rules of the project whose session it would cancel, and never answered (T9).

use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::admitted::Admissions;
use super::facts::Facts;
use super::refused::{Channel, Refused};
use crate::cancel::CancelKeys;
use crate::refusal::Refusal;
use crate::relay::ClientStream;
use crate::wire::startup::CancelRequest;

/// A CancelRequest, and the client that waits for it to be carried out.
pub(super) struct Cancel {
    request: CancelRequest,
    waiting: Waiting,
}

/// The client's connection. It is closed only once the backend has closed its own, for libpq takes
/// the close as word that the signal was sent; sooner, and a late cancel hits the next statement.
pub(super) enum Waiting {
    /// In clear.
    Clear(TcpStream),
    /// Inside TLS.
    Secured(Box<ClientStream>),
}

impl Cancel {
    pub(super) const fn new(request: CancelRequest, waiting: Waiting) -> Self {
        Self { request, waiting }
    }

    /// Carries the request to the backend of the session whose key it bears.
    ///
    /// # Errors
    /// No live session has that key, or the client may not cancel it, or the backend can't be
    /// reached.
    pub(super) async fn forward(
        self,
        keys: &CancelKeys,
        by: &Admissions<'_>,
        facts: &mut Facts,
    ) -> Result<(), Refused> {
        let Self { request, waiting } = self;
        let outcome = carry(&request, keys, by, facts).await;
        waiting.close().await;
        outcome.map_err(|refusal| Refused::new(refusal, Channel::Closed))
    }
}

async fn carry(
    request: &CancelRequest,
    keys: &CancelKeys,
    by: &Admissions<'_>,
    facts: &mut Facts,
) -> Result<(), Refusal> {
    facts.is_cancel = true;
    by.limits
        .cancel(facts.client, Instant::now())
        .map_err(Refusal::TooMany)?;
    let target = keys.find(request).ok_or(Refusal::UnknownCancelKey)?;
    let project = by
        .projects
        .by_name(&target.project)
        .ok_or(Refusal::UnknownCancelKey)?;
    by.decide(project, None, facts)?;
    facts.backend = Some(target.reached.addr().clone());
    let carried = target.by(&project.backend).carry(request).await;
    carried.map_err(|error| Refusal::from_dial(&error))
}

impl Waiting {
    async fn close(self) {
        // The client may be gone already, which is as well.
        match self {
            Self::Clear(mut socket) => drop(socket.shutdown().await),
            Self::Secured(mut client) => drop(client.shutdown().await),
        }
    }
}
