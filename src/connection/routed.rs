//! [`Routed`]: the backend is connected, over TLS if the project demands it, and has the
//! StartupMessage as it came (T11).

use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout_at;

use super::admitted::Admission;
use super::facts::Facts;
use super::refused::{Channel, Refused};
use super::started::Started;
use crate::auth::passthrough::ChannelBinding;
use crate::backend::{BackendConnection, BackendPeer};
use crate::refusal::{Refusal, Trouble};
use crate::relay::{BackendStream, ClientStream};

/// A connection with both legs.
pub(super) struct Routed {
    pub(super) client: ClientStream,
    pub(super) backend: BackendStream,
    pub(super) admission: Admission,
    pub(super) binding: ChannelBinding,
    /// Where the backend was reached.
    pub(super) peer: BackendPeer,
}

impl Started {
    /// Dials the project's backend and forwards the StartupMessage.
    ///
    /// # Errors
    /// The backend can't be reached, or not as safely as the project demands.
    pub(super) async fn route(
        self,
        deadline: tokio::time::Instant,
        facts: &mut Facts,
    ) -> Result<Routed, Refused> {
        let Self {
            client,
            admission,
            startup,
        } = self;
        let refuse = |client: ClientStream, refusal: Refusal| {
            Refused::new(refusal, Channel::Secured(Box::new(client)))
        };
        facts.backend = Some(admission.project.backend.addr().clone());
        let begun = Instant::now();
        let connection = match timeout_at(deadline, admission.project.backend.dial()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(refuse(client, Refusal::from_dial(&error))),
            Err(_) => return Err(refuse(client, Refusal::LoginTimedOut)),
        };
        facts.connect = Some(begun.elapsed());
        let binding = channel_binding(&admission, &connection);
        let BackendConnection {
            stream: mut backend,
            peer,
            ..
        } = connection;
        let sent = async {
            backend.write_all(startup.raw()).await?;
            backend.flush().await
        };
        match sent.await {
            Ok(()) => Ok(Routed {
                client,
                backend,
                admission,
                binding,
                peer,
            }),
            Err(error) => Err(refuse(client, Refusal::BackendLost(Trouble::new(error)))),
        }
    }
}

/// A client binds to the leaf that we show. The backend checks that against its own (RFC 5929
/// section 4), so the two must be one and the same, or the backend must have no TLS at all.
fn channel_binding(admission: &Admission, connection: &BackendConnection) -> ChannelBinding {
    match &connection.leaf_der {
        None => ChannelBinding::Holds,
        Some(leaf) if leaf == admission.project.identity.leaf_der() => ChannelBinding::Holds,
        Some(_) => ChannelBinding::Broken,
    }
}
