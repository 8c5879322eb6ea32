//! Keeps what projects show true to the clock and to the disk: leaves that are due are renewed, and
//! those that somebody has replaced are taken up.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::admin::Readiness;
use crate::connection::Gate;
use crate::pki::Sharer;
use crate::served::{Certificates, Looked};
use crate::store::snapshot::Builder;

/// How often all that is in memory is looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// Looking takes at most one part in so many of the time.
const SHARE: u32 = 20;

/// Looks after the leaves in memory.
pub(super) struct Keeper {
    gate: Arc<Gate>,
    certificates: Arc<Certificates>,
    builder: Builder,
}

impl Keeper {
    /// For the projects in force in `gate`, which `builder` made with `certificates`.
    pub(super) fn new(gate: &Arc<Gate>, certificates: Arc<Certificates>, builder: Builder) -> Self {
        Self {
            gate: Arc::clone(gate),
            certificates,
            builder,
        }
    }

    /// Goes on for as long as the task lives.
    pub(super) async fn run(self, readiness: watch::Sender<Readiness>) {
        let mut next = Instant::now();
        loop {
            sleep_until(next).await;
            let begun = Instant::now();
            self.look().await;
            self.tell(&readiness);
            next = Instant::now() + PERIOD.max(begun.elapsed() * SHARE);
        }
    }

    /// A leaf that could not be renewed is no reason to send clients elsewhere, but one to look.
    fn tell(&self, readiness: &watch::Sender<Readiness>) {
        let in_memory = self.certificates.in_memory();
        let mut troubles: Vec<String> = in_memory
            .iter()
            .filter_map(|serving| {
                let trouble = serving.trouble()?;
                Some(format!("project {}: {trouble}", serving.recipe().project))
            })
            .collect();
        troubles.sort_unstable();
        readiness.send_if_modified(|readiness| {
            let has_changed = readiness.certificates != troubles;
            readiness.certificates = troubles;
            has_changed
        });
    }

    /// Reading files and signing blocks, and the workers have sessions to carry.
    async fn look(&self) {
        let (certificates, builder) = (Arc::clone(&self.certificates), self.builder.clone());
        let gate = Arc::clone(&self.gate);
        let looked = spawn_blocking(move || {
            let looked = certificates.look(Timestamp::now());
            builder.tell_expiries(&gate.projects.load());
            looked
        });
        let looked = looked.await;
        looked.unwrap_or_default().into_iter().for_each(report);
    }
}

fn report(looked: Looked) {
    let Looked {
        project,
        result,
        sharers,
    } = looked;
    match result {
        Ok(served) => {
            let valid_to = served.identity.not_after();
            if sharers.is_empty() {
                tracing::info!(%project, %valid_to, "another certificate is shown from now on");
                return;
            }
            let servers = named(&sharers);
            tracing::warn!(%project, %valid_to, servers,
                "another certificate is shown from now on, and the servers that share it must reload: \
                 select pg_reload_conf(). Until then logins that bind SCRAM to it are refused");
        }
        Err(why) => tracing::error!(%project, "{why}"),
    }
}

/// Servers that share a leaf, for the log.
pub(super) fn named(sharers: &[Sharer]) -> String {
    let named: Vec<_> = sharers.iter().map(ToString::to_string).collect();
    named.join("; ")
}
