//! The spine: the life of a connection, a line a stage.
//!
//! Each stage is a type named after the last fact that was proved, in a file of its own, and only
//! the step that proved the fact can make it. A step ends with the next stage or with `Refused`.
//! Stages return facts; this file alone logs and counts them.

mod accepted;
mod admitted;
mod authenticated;
mod cancelled;
mod facts;
mod greeted;
mod handshakes;
mod identified;
mod refused;
mod report;
mod routed;
mod secured;
mod started;
mod throttle;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::time::{Instant, timeout, timeout_at};

use crate::auth::proof::Proofs;
use crate::cancel::{CancelGuard, CancelKeys};
use crate::gate::limits::Limits;
use crate::metrics::Metrics;
use crate::project::Projects;
use crate::refusal::Refusal;
use crate::revocation;
use crate::sessions::{Open, Sessions};

use accepted::Accepted;
use admitted::Admissions;
use authenticated::Authenticated;
use facts::Facts;
use greeted::Greeting;
use refused::Refused;
use started::Start;

pub use accepted::Incoming;
pub use handshakes::Handshakes;
pub use throttle::Throttle;

/// How long a client may take from accept to its ClientHello. Shorter than the whole login's time:
/// who says nothing costs nothing, and must not hold a place for long that others wait for.
const GREETING: Duration = Duration::from_secs(5);

/// What all connections of a process share.
#[derive(Debug)]
pub struct Gate {
    /// The projects, replaced whole by a reload.
    pub projects: ArcSwap<Projects>,
    /// How many may come at once.
    pub limits: Arc<Limits>,
    /// How many handshakes are computed at once.
    pub handshakes: Handshakes,
    /// How many long proofs are computed at once.
    pub proofs: Proofs,
    /// The live sessions.
    pub sessions: Sessions,
    /// The connections that are open, logins included.
    pub open: Open,
    /// The live sessions' cancel keys.
    pub cancel_keys: CancelKeys,
    /// Every series.
    pub metrics: Metrics,
    /// How many lines the log takes of those whom nobody let in.
    pub throttle: Throttle,
    /// Whether the process is about to stop: no new session is let in.
    pub draining: AtomicBool,
}

/// Carries one connection from accept to its end.
pub async fn serve(gate: Arc<Gate>, incoming: Incoming) {
    let _open = gate.open.enter();
    let mut facts = Facts::new(incoming.client);
    let projects = gate.projects.load_full();
    gate.metrics.accepted();
    // Boxed, so that what only a login needs is given back before the session begins.
    let login = Box::pin(login(&gate, &projects, incoming, &mut facts));
    match login.await {
        Ok(Login::Session(authenticated)) => {
            // A session may last for weeks; the snapshot that let it in need not.
            drop(projects);
            session(&gate, authenticated, &facts).await;
        }
        Ok(Login::Cancel) => report::cancelled(&gate.metrics, &facts),
        Err(refusal) => report::refused(&gate, &projects, &refusal, &facts),
    }
}

/// What a login leads to.
enum Login {
    Session(Box<Authenticated>),
    Cancel,
}

/// The login, and the answer to a client whose login ends early.
async fn login(
    gate: &Gate,
    projects: &Projects,
    incoming: Incoming,
    facts: &mut Facts,
) -> Result<Login, Refusal> {
    let deadline = Instant::now() + projects.common().login_timeout;
    // Held until this function ends: an answer is work too.
    let (accepted, _slot) = Accepted::new(incoming, projects, &gate.limits, facts)?;
    let stages = stages(gate, projects, (accepted, deadline), facts);
    match timeout_at(deadline, stages).await {
        Ok(Ok(login)) => Ok(login),
        Ok(Err(refused)) => Err(refused.answer().await),
        Err(_) => Err(Refusal::LoginTimedOut),
    }
}

/// The life of a connection up to the relay. All of it has to happen before the deadline (T6).
async fn stages(
    gate: &Gate,
    projects: &Projects,
    (accepted, deadline): (Accepted, Instant),
    facts: &mut Facts,
) -> Result<Login, Refused> {
    let by = Admissions {
        projects,
        limits: &gate.limits,
        draining: &gate.draining,
    };

    let greeting = timeout(GREETING, accepted.greet(facts)).await;
    let greeted = match greeting.unwrap_or_else(|_| Err(Refused::unheard()))? {
        Greeting::Hello(greeted) => greeted,
        Greeting::Cancel(cancel) => {
            return cancel
                .forward(&gate.cancel_keys, &by, facts)
                .await
                .map(|()| Login::Cancel);
        }
    };
    let admitted = greeted.admit(&by, facts).await?;
    let secured = admitted.secure(&gate.handshakes, facts).await?;
    let started = match secured.start(&by, facts).await? {
        Start::Session(started) => started,
        Start::Cancel(cancel) => {
            return cancel
                .forward(&gate.cancel_keys, &by, facts)
                .await
                .map(|()| Login::Cancel);
        }
    };
    let identified = started.identify(&by, facts)?;
    let routed = identified.route(deadline, facts).await?;
    let authenticated = routed
        .authenticate(deadline, &gate.cancel_keys, &gate.proofs)
        .await?;
    Ok(Login::Session(Box::new(authenticated)))
}

/// The session, until either side ends it or the gate does.
async fn session(gate: &Gate, authenticated: Box<Authenticated>, facts: &Facts) {
    let project = &authenticated.admission.project;
    let cancel = authenticated.cancel.as_ref().map(CancelGuard::canceller);
    let who = authenticated.who.clone();
    let sessions = &gate.sessions;
    let live = sessions.register(facts.client, project.name.clone(), (cancel, who));
    // From now on a change of the rules finds this session. One that came during the login did
    // not, so it is measured once more against what is in force by now (T27).
    revocation::review(live.session(), &gate.projects.load(), Timestamp::now());
    let opened = Instant::now();
    let control = &live.session().control;
    let open = report::opened(
        &gate.metrics,
        project.metrics(&gate.metrics),
        facts,
        control,
    );
    let (relay, held) = authenticated.into_relay(Arc::clone(control));
    let closed = relay.await;
    drop((held, open));
    report::closed(facts, &closed, opened.elapsed());
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size_of_future<A, B, F>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connections_task_keeps_no_room_for_what_only_the_login_needs() {
        // The legs lie in a box of their own, at 1.3 KB; what is left is what is known of the
        // session. It would be several times as much with a leg in each function on the way.
        assert!(size_of_future(serve) <= 768, "{}", size_of_future(serve));
    }
}
