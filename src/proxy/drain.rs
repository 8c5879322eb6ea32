//! The drain: nobody is let in any more, who is in gets time to end, and then is ended (T32).

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::Order;
use super::endings::Endings;
use crate::connection::Gate;
use crate::revocation;

/// How long the cut sessions have to send their last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Returns once every connection has ended, at the latest shortly after the drain's time is over, or
/// after another order to stop. What the rules say of live sessions holds until then.
pub(super) async fn drain(gate: &Gate, orders: &mut mpsc::Receiver<Order>) {
    gate.draining.store(true, Ordering::Relaxed);
    let limit = gate.projects.load().common().drain_timeout;
    tracing::info!(sessions = gate.sessions.len(), ?limit, "draining");
    tokio::select! {
        () = gate.open.emptied() => {}
        () = time_is_over(gate) => {}
        () = told_again(orders) => {}
    }
    let left = gate.sessions.all();
    if !left.is_empty() {
        tracing::info!(sessions = left.len(), "ending the sessions that are left");
    }
    let mut endings = Endings::default();
    let projects = gate.projects.load_full();
    for session in left {
        endings.end(&session, revocation::drained(), &projects);
    }
    let ended = async { tokio::join!(gate.open.emptied(), endings.done()) };
    if timeout(LAST_WORDS, ended).await.is_err() {
        tracing::warn!(
            connections = gate.open.count(),
            "connections did not end in time"
        );
    }
    tracing::info!("stopped");
}

/// The drain's time, which a reload may change meanwhile.
async fn time_is_over(gate: &Gate) {
    let began = Instant::now();
    loop {
        let over = began + gate.projects.load().common().drain_timeout;
        if over <= Instant::now() {
            return;
        }
        sleep_until(over).await;
    }
}

async fn told_again(orders: &mut mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        if order == Order::Stop {
            return;
        }
    }
    // Nobody can tell any more.
    std::future::pending().await
}
