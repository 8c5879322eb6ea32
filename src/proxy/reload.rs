//! Reload: a whole new snapshot beside the old one, checked, and swapped in at once; on any error
//! the old one stays (T31).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::{Config, SourceFile};
use crate::connection::Gate;
use crate::project::Projects;
use crate::revocation;
use crate::store::snapshot::{BuildWarning, Builder, Built};
use crate::store::watch::Watch;

/// The longest time between two looks at the clock, so that a leaf is renewed even if the machine
/// was asleep when it was due.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long to wait before a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file, which is watched.
    File(PathBuf),
    /// The command line: it can't change.
    CommandLine,
}

/// Keeps the projects in force true to the configuration and the clock.
pub(super) struct Reloader {
    gate: Arc<Gate>,
    config: Config,
    origin: Origin,
    builder: Builder,
    watch: Option<Watch>,
    retry: bool,
}

impl Reloader {
    pub(super) fn new(gate: Arc<Gate>, config: Config, origin: Origin, builder: Builder) -> Self {
        let watch = match &origin {
            Origin::File(_) => Some(Watch::new(&config.files)),
            Origin::CommandLine => None,
        };
        Self {
            gate,
            config,
            origin,
            builder,
            watch,
            retry: false,
        }
    }

    /// Waits for the next thing that changes what is in force, and puts the change in force: a file
    /// was written, a rule expires, a leaf is due for renewal.
    ///
    /// Dropping the future loses nothing: what it waited for is waited for again.
    pub(super) async fn next_change(&mut self) {
        let due = self.due(&self.gate.projects.load());
        let changed = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => self.reload("the file changed").await,
            () = tokio::time::sleep(due) => self.clock().await,
        }
    }

    /// Reads the configuration again and puts it in force; if anything is wrong with it, says so and
    /// changes nothing.
    pub(super) async fn reload(&mut self, because: &str) {
        let Origin::File(path) = self.origin.clone() else {
            tracing::info!("nothing to reload: this gate was started without a configuration file");
            return;
        };
        // Reading files and making certificates blocks, and the workers have sessions to carry.
        let loaded = tokio::task::spawn_blocking(move || Config::load(&path)).await;
        let config = match loaded {
            Ok(Ok(config)) => config,
            Ok(Err(errors)) => {
                // Among them may be one that wasn't there, and that puts it right by coming.
                self.follow(errors.files());
                return self.failed(because, &errors.to_string());
            }
            Err(panic) => return self.failed(because, &panic.to_string()),
        };
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        self.follow(&config.files);
        warn_of_restart(&self.config, &config);
        self.config = config;
        self.rebuild(because).await;
    }

    fn follow(&mut self, files: &[SourceFile]) {
        if let Some(watch) = &mut self.watch {
            watch.follow(files);
        }
    }

    /// Renews what is due by the clock, and measures the live sessions against it.
    async fn clock(&mut self) {
        let renewal_due = |projects: &Projects| {
            let now = Timestamp::now();
            projects
                .iter()
                .any(|project| project.identity.renew_at().is_some_and(|at| at <= now))
        };
        if renewal_due(&self.gate.projects.load()) {
            self.rebuild("a certificate is due for renewal").await;
        } else {
            let projects = self.gate.projects.load_full();
            report_cut(revocation::review_all(&self.gate.sessions, &projects));
        }
    }

    async fn rebuild(&mut self, because: &str) {
        let builder = self.builder.clone();
        let config = self.config.clone();
        let previous = self.gate.projects.load_full();
        let built =
            tokio::task::spawn_blocking(move || builder.build(&config, Some(&previous))).await;
        match built {
            Ok(Ok(Built { projects, warnings })) => {
                report_trouble(&warnings);
                self.put_in_force(projects, because);
            }
            Ok(Err(errors)) => self.failed(because, &errors.to_string()),
            Err(panic) => self.failed(because, &panic.to_string()),
        }
    }

    fn put_in_force(&mut self, projects: Projects, because: &str) {
        self.retry = false;
        self.gate.limits.set(self.config.limits);
        self.gate.projects.store(Arc::new(projects));
        self.gate.metrics.reloaded(true);
        let projects = self.gate.projects.load_full();
        tracing::info!(
            because,
            projects = projects.iter().count(),
            "configuration reloaded"
        );
        report_cut(revocation::review_all(&self.gate.sessions, &projects));
    }

    fn failed(&mut self, because: &str, error: &str) {
        self.retry = true;
        self.gate.metrics.reloaded(false);
        tracing::error!(because, error, "configuration not reloaded");
    }

    /// The time until a rule expires or a leaf is due for renewal.
    fn due(&self, projects: &Projects) -> Duration {
        let now = Timestamp::now();
        let expiries = projects
            .iter()
            .filter_map(|project| project.allow.next_expiry(now));
        let renewals = projects
            .iter()
            .filter_map(|project| project.identity.renew_at());
        let next = expiries.chain(renewals).min();
        let wait = next.map_or(LONGEST_WAIT, |next| {
            now.duration_until(next)
                .try_into()
                .unwrap_or(Duration::ZERO)
                .min(LONGEST_WAIT)
        });
        if self.retry { wait.max(RETRY) } else { wait }
    }
}

/// Says which changes wait for a restart.
fn warn_of_restart(before: &Config, after: &Config) {
    for (key, changed) in [
        ("listen", before.listeners != after.listeners),
        ("certs", before.certs != after.certs),
        ("admin.listen", before.admin != after.admin),
        ("log", before.log != after.log),
    ] {
        if changed {
            tracing::warn!(key, "this change takes effect when the gate is restarted");
        }
    }
}

/// Says what is wrong although the snapshot is good.
pub(super) fn report_trouble(warnings: &[BuildWarning]) {
    for BuildWarning { project, text } in warnings {
        tracing::error!(%project, "{text}");
    }
}

fn report_cut(sessions: usize) {
    if sessions > 0 {
        tracing::info!(sessions, "cut sessions that are no longer allowed");
    }
}
