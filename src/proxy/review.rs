//! The review: whenever what is in force changes, or a rule expires, every live session is measured
//! against it (T27).
//!
//! A task of its own, so that a session whose rule expires doesn't wait for a reload that is under
//! way, nor for one that failed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::endings::Endings;
use crate::connection::Gate;
use crate::project::Projects;
use crate::revocation;

/// The longest time between two looks at the clock: it may be set, and the machine may sleep.
const LOOK: Duration = Duration::from_millis(250);

/// Sessions that are cut at one go. Ending one costs some 50 microseconds: thousands of them at once
/// would keep the others from their turn for as long as that takes.
const BATCH: usize = 8;

/// Tells the reviewer that a snapshot was put in force.
#[derive(Debug, Clone, Default)]
pub(super) struct Changed(Arc<Notify>);

impl Changed {
    pub(super) fn tell(&self) {
        self.0.notify_one();
    }
}

/// Reviews the live sessions for as long as the task lives.
pub(super) async fn review_loop(gate: Arc<Gate>, changed: Changed) {
    let mut reviewed = Timestamp::now();
    let mut endings = Endings::default();
    loop {
        let expiry = next_expiry(&gate.projects.load(), reviewed);
        tokio::select! {
            () = changed.0.notified() => {}
            () = sleep_until(expiry) => {}
        }
        // What expires while this goes on has its turn next.
        reviewed = Timestamp::now();
        let cut = review(&gate, &mut endings).await;
        if cut > 0 {
            tracing::info!(sessions = cut, "cut sessions that are no longer allowed");
        }
    }
}

/// The first moment after `since` at which a rule of any project expires.
fn next_expiry(projects: &Projects, since: Timestamp) -> Option<Timestamp> {
    let expiries = projects
        .index()
        .expiring()
        .filter_map(|project| project.allow.next_expiry(since));
    expiries.min()
}

/// Waits until the clock on the wall says so.
async fn sleep_until(moment: Option<Timestamp>) {
    let Some(moment) = moment else {
        return std::future::pending().await;
    };
    loop {
        let left = Timestamp::now().duration_until(moment);
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => sleep(left.min(LOOK)).await,
            Ok(_) | Err(_) => return,
        }
    }
}

/// Measures every live session against what is in force. Returns how many may not go on.
async fn review(gate: &Gate, endings: &mut Endings) -> usize {
    let mut cut = 0;
    let projects = gate.projects.load_full();
    for batch in gate.sessions.all().chunks(BATCH) {
        let now = Timestamp::now();
        let before = cut;
        // Who was cut before may still be reading why.
        for session in batch.iter().filter(|session| !session.control.is_cut()) {
            if let Some(verdict) = revocation::verdict(session, &projects, now) {
                endings.end(session, verdict, &projects);
                cut += 1;
            }
        }
        if cut > before {
            // Behind those who were cut, and those who have something to carry meanwhile.
            yield_now().await;
        }
    }
    cut
}
