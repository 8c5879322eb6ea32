//! The drain: nobody is let in any more, the sessions get time to end, and then they are ended (T32).

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Order;
use crate::connection::Gate;
use crate::revocation;

/// How long the cut sessions have to send their last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Returns once every session has ended, at the latest shortly after `limit`, or after another
/// order to stop.
pub(super) async fn drain(gate: &Gate, limit: Duration, orders: &mut mpsc::Receiver<Order>) {
    gate.draining.store(true, Ordering::Relaxed);
    tracing::info!(sessions = gate.sessions.len(), ?limit, "draining");
    let told_again = async {
        while let Some(order) = orders.recv().await {
            if order == Order::Stop {
                return;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        _ = timeout(limit, gate.sessions.emptied()) => {}
        () = told_again => {}
    }
    let cut = gate.sessions.cut(|_| Some(revocation::drained()));
    if cut > 0 {
        tracing::info!(sessions = cut, "ending the sessions that are left");
        if timeout(LAST_WORDS, gate.sessions.emptied()).await.is_err() {
            tracing::warn!(
                sessions = gate.sessions.len(),
                "sessions did not end in time"
            );
        }
    }
    tracing::info!("stopped");
}
