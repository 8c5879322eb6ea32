//! [`Routed`]: the backend is connected, over TLS if the project demands it, and has the
//! StartupMessage as it came (T11).

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use super::admitted::Admission;
use super::facts::Facts;
use super::identified::Identified;
use super::refused::{Channel, Refused};
use crate::auth::certificate::{CertificateRefused, Identification};
use crate::auth::passthrough::{ChannelBinding, Passthrough};
use crate::auth::query::AuthQuery;
use crate::auth::scram::{ChannelBindingOffer, ScramServer};
use crate::auth::terminated::{BackendLeg, Demand, Terminated};
use crate::backend::{ClientIdentity, Connected, Hello, Live, Reached};
use crate::pki::tls_server_end_point;
use crate::project::{Auth, Project};
use crate::refusal::{Refusal, Trouble};
use crate::relay::{BackendStream, ClientStream};
use crate::wire::startup::StartupMessage;

/// A connection with both legs.
pub(super) struct Routed {
    pub(super) client: ClientStream,
    pub(super) backend: BackendStream,
    /// What the backend has answered so far.
    pub(super) heard: BytesMut,
    pub(super) admission: Admission,
    pub(super) proving: Proving,
    /// Where the backend was reached.
    pub(super) reached: Reached,
    /// The session's place in the count of that address.
    pub(super) live: Live,
    /// What the client's certificate has proved.
    pub(super) who: Identification,
}

/// To whom the client proves who it is.
pub(super) enum Proving {
    /// To the backend.
    ToBackend(Passthrough),
    /// To the gate, which goes on from there.
    ToUs(Box<Terminated>, Option<Arc<AuthQuery>>),
}

impl Identified {
    /// Connects the project's backend and forwards the StartupMessage to it.
    ///
    /// # Errors
    /// No address of the backend can be reached, or none as safely as the project demands.
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
            who,
        } = self;
        let refuse = |client: ClientStream, refusal: Refusal| {
            Refused::new(refusal, Channel::Secured(Box::new(client)))
        };
        let backend = &admission.project.backend;
        if let [lone] = backend.endpoints() {
            facts.backend = Some(lone.addr().clone());
        }
        let begun = Instant::now();
        let minted = match mint(&admission.project.auth, &who) {
            Ok(minted) => minted,
            Err(refusal) => return Err(refuse(client, refusal)),
        };
        let hello = Hello {
            startup: startup.raw(),
            identity: minted.as_ref(),
        };
        let connected = match backend.connect(hello, deadline).await {
            Ok(connected) => connected,
            Err(error) => return Err(refuse(client, Refusal::from_unavailable(&error))),
        };
        facts.connect = Some(begun.elapsed());
        facts.backend = Some(connected.reached.addr().clone());
        facts.passed_over = connected.passed_over();
        let leaf = served.identity.leaf_der();
        let proving = match prove(&admission.project, (&startup, leaf), &connected).await {
            Ok(proving) => proving,
            Err(refusal) => return Err(refuse(client, refusal)),
        };
        Ok(Routed {
            client,
            backend: connected.stream,
            heard: connected.heard,
            admission,
            proving,
            reached: connected.reached,
            live: connected.live,
            who,
        })
    }
}

/// The certificate by which the gate logs in to the backend in the client's name, where it does so.
fn mint(auth: &Auth, who: &Identification) -> Result<Option<ClientIdentity>, Refusal> {
    let minter = match auth {
        Auth::Certificate(minter) => minter,
        Auth::Passthrough | Auth::Scram(_) | Auth::Query(_) | Auth::Password => return Ok(None),
    };
    let user = who.proven_user();
    let user = user.ok_or(Refusal::ClientCertificate(CertificateRefused::Missing))?;
    let minted = minter.mint(user, Timestamp::now());
    minted
        .map(Some)
        .map_err(|error| Refusal::NoCertificate(Trouble::new(error)))
}

/// Settles how the login is to go, by the project's wish and by the leaves that both legs show.
///
/// # Errors
/// The project's verifiers can't be had.
async fn prove(
    project: &Project,
    (startup, served): (&StartupMessage, &CertificateDer<'_>),
    connected: &Connected,
) -> Result<Proving, Refusal> {
    // Without a user's name the backend refuses whatever else is said.
    let user = startup.user().unwrap_or_default();
    let demand = match &project.auth {
        Auth::Passthrough => {
            let binding = channel_binding(served, connected);
            return Ok(Proving::ToBackend(Passthrough::new(binding)));
        }
        Auth::Scram(verifiers) => {
            let verifier = verifiers.of(user).await;
            let verifier = verifier.map_err(|why| Refusal::NoVerifier(Trouble::new(why)))?;
            Demand::Scram(ScramServer::new(verifier, offer(served)))
        }
        Auth::Query(_) => Demand::Sought(offer(served)),
        Auth::Password => Demand::Password,
        Auth::Certificate(_) => return Ok(Proving::ToBackend(Passthrough::certified())),
    };
    let query = match &project.auth {
        Auth::Query(query) => Some(Arc::clone(query)),
        Auth::Passthrough | Auth::Scram(_) | Auth::Password | Auth::Certificate(_) => None,
    };
    let leg = BackendLeg::new(
        connected.leaf_der.as_deref(),
        connected.reached.endpoint.is_trusted(),
        connected.reached.is_vouched_for(),
    );
    let login = Box::new(Terminated::new(user, demand, leg));
    Ok(Proving::ToUs(login, query))
}

/// What a client's login can be bound to.
fn offer(served: &CertificateDer<'_>) -> ChannelBindingOffer {
    tls_server_end_point(served).map_or(
        ChannelBindingOffer::None,
        ChannelBindingOffer::TlsServerEndPoint,
    )
}

/// A client binds to the leaf that it was shown. The backend checks that against its own (RFC 5929
/// section 4), so the two must be one and the same, or the backend must have no TLS at all.
fn channel_binding(served: &CertificateDer<'_>, connected: &Connected) -> ChannelBinding {
    match &connected.leaf_der {
        None => ChannelBinding::Holds,
        Some(leaf) if leaf == served => ChannelBinding::Holds,
        Some(_) => ChannelBinding::Broken,
    }
}
