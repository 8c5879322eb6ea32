//! [`Routed`]: the backend is connected, over TLS if the project demands it, and has the
//! StartupMessage as it came (T11).

use std::time::Instant;

use rustls::pki_types::CertificateDer;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout_at;

use super::admitted::Admission;
use super::facts::Facts;
use super::refused::{Channel, Refused};
use super::started::Started;
use crate::auth::passthrough::{ChannelBinding, Passthrough};
use crate::auth::scram::{ChannelBindingOffer, ClientBinding, ScramServer};
use crate::auth::terminated::{BackendLeg, Demand, Terminated};
use crate::backend::{BackendConnection, BackendPeer};
use crate::pki::tls_server_end_point;
use crate::project::{Auth, Project};
use crate::refusal::{Refusal, Trouble};
use crate::relay::{BackendStream, ClientStream};
use crate::wire::startup::StartupMessage;

/// A connection with both legs.
pub(super) struct Routed {
    pub(super) client: ClientStream,
    pub(super) backend: BackendStream,
    pub(super) admission: Admission,
    pub(super) proving: Proving,
    /// Where the backend was reached.
    pub(super) peer: BackendPeer,
}

/// To whom the client proves who it is.
pub(super) enum Proving {
    /// To the backend.
    ToBackend(Passthrough),
    /// To the gate, which goes on from there.
    ToUs(Box<Terminated>),
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
            served,
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
        let proving = prove(
            &admission.project,
            (&startup, served.identity.leaf_der()),
            &connection,
        );
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
                proving,
                peer,
            }),
            Err(error) => Err(refuse(client, Refusal::BackendLost(Trouble::new(error)))),
        }
    }
}

/// Settles how the login is to go, by the project's wish and by the leaves that both legs show.
fn prove(
    project: &Project,
    (startup, served): (&StartupMessage, &CertificateDer<'_>),
    connection: &BackendConnection,
) -> Proving {
    // Without a user's name the backend refuses whatever else is said.
    let user = startup.user().unwrap_or_default();
    let demand = match &project.auth {
        Auth::Passthrough => {
            return Proving::ToBackend(Passthrough::new(channel_binding(served, connection)));
        }
        Auth::Scram(verifiers) => {
            let offer = tls_server_end_point(served).map_or(
                ChannelBindingOffer::None,
                ChannelBindingOffer::TlsServerEndPoint,
            );
            Demand::Scram(ScramServer::new(verifiers.of(user), offer))
        }
        Auth::Password => Demand::Password,
    };
    let leg = BackendLeg {
        binding: backend_binding(connection),
        is_trusted: project.backend.is_trusted(),
    };
    Proving::ToUs(Box::new(Terminated::new(user, demand, leg)))
}

/// What our own login to the backend can be bound to.
fn backend_binding(connection: &BackendConnection) -> ClientBinding {
    match &connection.leaf_der {
        None => ClientBinding::NoTls,
        Some(leaf) => tls_server_end_point(leaf)
            .map_or(ClientBinding::Unsupported, ClientBinding::TlsServerEndPoint),
    }
}

/// A client binds to the leaf that it was shown. The backend checks that against its own (RFC 5929
/// section 4), so the two must be one and the same, or the backend must have no TLS at all.
fn channel_binding(served: &CertificateDer<'_>, connection: &BackendConnection) -> ChannelBinding {
    match &connection.leaf_der {
        None => ChannelBinding::Holds,
        Some(leaf) if leaf == served => ChannelBinding::Holds,
        Some(_) => ChannelBinding::Broken,
    }
}
