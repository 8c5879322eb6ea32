//! Reload: a whole new snapshot beside the old one, checked, and swapped in at once; on any error
//! the old one stays (T31).

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::review::Changed;
use crate::admin::Readiness;
use crate::config::{Config, SourceFile};
use crate::connection::Gate;
use crate::project::Projects;
use crate::store::snapshot::{BuildWarning, Builder, Built, Previous};
use crate::store::watch::Watch;

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file, which is watched.
    File(PathBuf),
    /// The command line: it can't change.
    CommandLine,
}

/// Keeps the projects in force true to the configuration.
pub(super) struct Reloader {
    gate: Arc<Gate>,
    /// The configuration that was put in force last.
    config: Config,
    origin: Origin,
    builder: Builder,
    watch: Option<Watch>,
    /// What is wrong with the last change that was asked for.
    trouble: Option<String>,
    /// What could not be read again, although the change was put in force.
    vanished: Vec<String>,
    changed: Changed,
}

impl Reloader {
    /// Keeps what is in force, which was made of `config` by `builder`; `changed` is told of each
    /// change.
    pub(super) fn new(
        gate: Arc<Gate>,
        (config, origin): (Config, Origin),
        builder: Builder,
        changed: Changed,
    ) -> Self {
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
            trouble: None,
            vanished: Vec::new(),
            changed,
        }
    }

    /// Puts every change in force, for as long as the task lives. Trouble with one is told by
    /// `readiness`, too: sessions are served as before, but not as they are meant to be (T31).
    pub(super) async fn run(
        mut self,
        mut asked: mpsc::Receiver<()>,
        readiness: watch::Sender<Readiness>,
    ) {
        loop {
            // Only waiting is given up for the other branch, never a change half made.
            tokio::select! {
                Some(()) = asked.recv() => self.reload("SIGHUP").await,
                () = self.changed_on_disk() => self.reload("the file changed").await,
            }
            let notes = self.trouble.iter().chain(&self.vanished);
            let notes = notes.cloned().collect();
            readiness.send_modify(|readiness| readiness.notes = notes);
        }
    }

    async fn changed_on_disk(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
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
        let known = self.config.compiled();
        let loaded = tokio::task::spawn_blocking(move || Config::load_again(&path, known)).await;
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
        self.vanished = vanished(&config);
        for vanished in &self.vanished {
            tracing::warn!("{vanished}");
        }
        self.follow(&config.files);
        warn_of_restart(&self.config, &config);
        self.rebuild(config, because).await;
    }

    fn follow(&mut self, files: &[SourceFile]) {
        if let Some(watch) = &mut self.watch {
            watch.follow(files);
        }
    }

    async fn rebuild(&mut self, config: Config, because: &str) {
        let builder = self.builder.clone();
        let wanted = config.clone();
        let projects = self.gate.projects.load_full();
        let before = self.config.clone();
        let built = tokio::task::spawn_blocking(move || {
            let (config, projects) = (&before, &*projects);
            builder.build(&wanted, Some(Previous { config, projects }))
        });
        let built = built.await;
        match built {
            Ok(Ok(Built { projects, warnings })) => {
                report_trouble(&warnings);
                self.put_in_force(config, projects, because);
            }
            Ok(Err(errors)) => self.failed(because, &errors.to_string()),
            Err(panic) => self.failed(because, &panic.to_string()),
        }
    }

    fn put_in_force(&mut self, config: Config, projects: Projects, because: &str) {
        self.trouble = None;
        self.config = config;
        self.gate.limits.set(self.config.limits);
        self.builder
            .keep_certificates(self.config.runtime.certificates());
        self.gate.projects.store(Arc::new(projects));
        self.gate.metrics.reloaded(true);
        let projects = self.gate.projects.load_full();
        tracing::info!(
            because,
            projects = projects.iter().count(),
            "configuration reloaded"
        );
        self.changed.tell();
    }

    fn failed(&mut self, because: &str, error: &str) {
        let first = error.lines().next().unwrap_or_default();
        self.trouble = Some(format!("configuration not reloaded: {first}"));
        self.gate.metrics.reloaded(false);
        tracing::error!(because, error, "configuration not reloaded");
    }
}

/// What projects must do without, and what they go on with.
fn vanished(config: &Config) -> Vec<String> {
    let vanished = config.vanished.iter();
    let text = |one| format!("{one}; the project goes on with what was read from there before");
    vanished.map(text).collect()
}

/// Says which changes wait for a restart.
fn warn_of_restart(before: &Config, after: &Config) {
    for (key, changed) in [
        ("listen", before.listeners != after.listeners),
        ("certs", before.certs != after.certs),
        (
            "keys.encryption_key_file",
            before.encryption_key_file != after.encryption_key_file,
        ),
        ("admin.listen", before.admin != after.admin),
        ("admin.socket", before.control != after.control),
        ("log", before.log != after.log),
        (
            "runtime.workers",
            before.runtime.workers != after.runtime.workers,
        ),
        (
            "runtime.handshakes",
            before.runtime.handshakes != after.runtime.handshakes,
        ),
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
