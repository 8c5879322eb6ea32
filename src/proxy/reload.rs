//! Reload: what has changed is read and made beside what is in force, checked, and swapped in at once;
//! on any error the old stays (T31).
//!
//! A change of `proxy.toml` is taken up whole or not at all. Included files are taken up each by
//! itself: what is wrong with one leaves its projects as they are.

mod restart;
mod troubles;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::review::Changed;
use crate::admin::Readiness;
use crate::config::{Config, Problem, SourceFile};
use crate::connection::Gate;
use crate::store::catalogue::{Catalogue, LoadError, Looked, Made, Updated};
use crate::store::snapshot::{BuildWarning, Builder};
use crate::store::tidings::{News, Tidings};
use crate::store::watch::Watch;
use restart::warn_of_restart;
use troubles::{GOES_ON, Troubles};

/// Why something is read again, in most cases.
const CHANGED: &str = "the file changed";

/// How often included files are looked at although the system has told nothing of them.
const PERIOD: Duration = Duration::from_millis(500);

/// Looking takes at most one part in so many of the time.
const SHARE: u32 = 40;

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file, which is watched.
    File(PathBuf),
    /// The command line: it can't change.
    CommandLine,
}

/// How much is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Everything.
    Whole,
    /// `proxy.toml`, and of what it includes as much as means something else by it.
    Main,
}

/// Keeps the projects in force true to the configuration.
pub(super) struct Reloader {
    gate: Arc<Gate>,
    /// What is in force was made of it.
    catalogue: Catalogue,
    origin: Origin,
    builder: Builder,
    /// Of `proxy.toml`, and the files that it names.
    watch: Option<Watch>,
    /// Of the files that it includes.
    tidings: Tidings,
    next_look: Instant,
    troubles: Troubles,
    changed: Changed,
}

impl Reloader {
    /// Keeps what is in force, which was made of `catalogue` by `builder`; `changed` is told of each
    /// change.
    pub(super) fn new(
        gate: Arc<Gate>,
        (catalogue, origin): (Catalogue, Origin),
        builder: Builder,
        changed: Changed,
    ) -> Self {
        let watch = match &origin {
            Origin::File(_) => Some(Watch::new(&catalogue.main().files)),
            Origin::CommandLine => None,
        };
        let mut reloader = Self {
            gate,
            catalogue,
            origin,
            builder,
            watch,
            tidings: Tidings::new(),
            next_look: Instant::now(),
            troubles: Troubles::default(),
            changed,
        };
        reloader.listen();
        reloader
    }

    /// Puts every change in force, for as long as the task lives. Trouble with one is told by
    /// `readiness`, too: sessions are served as before, but not as they are meant to be (T31).
    pub(super) async fn run(
        mut self,
        mut asked: mpsc::Receiver<()>,
        readiness: watch::Sender<Readiness>,
    ) {
        loop {
            let includes = !self.catalogue.main().include.is_empty();
            // Only waiting is given up for the other branches, never a change half made.
            tokio::select! {
                Some(()) = asked.recv() => self.reload("SIGHUP", Extent::Whole).await,
                () = changed_on_disk(&mut self.watch) => self.reload(CHANGED, Extent::Main).await,
                news = self.tidings.news(), if includes => self.hear(news).await,
                () = sleep_until(self.next_look), if includes => self.look().await,
            }
            let notes = self.troubles.notes();
            readiness.send_if_modified(|readiness| {
                let has_changed = readiness.notes != notes;
                readiness.notes = notes;
                has_changed
            });
        }
    }

    /// Reads the configuration again and puts it in force; if anything is wrong with it, says so and
    /// changes nothing.
    async fn reload(&mut self, because: &str, extent: Extent) {
        let Origin::File(path) = self.origin.clone() else {
            tracing::info!("nothing to reload: this gate was started without a configuration file");
            return;
        };
        let (catalogue, builder) = (self.catalogue.clone(), self.builder.clone());
        let previous = self.gate.projects.load_full();
        // Reading files and making certificates blocks, and the workers have sessions to carry.
        let loaded = spawn_blocking(move || {
            let known = catalogue.main().compiled();
            let main = Config::load_main_again(&path, known)?;
            match extent {
                Extent::Whole => catalogue.again(main, &builder, &previous),
                Extent::Main => catalogue.with_main(main, &builder, &previous),
            }
        });
        match loaded.await {
            Ok(Ok(made)) => {
                let main = made.catalogue.main();
                warn_of_restart(self.catalogue.main(), main);
                warn_of_read(&main.warnings, &[]);
                self.follow(&main.files.clone());
                self.troubles.main = None;
                let include = main.include.clone();
                let is_included = |path: &Path| include.iter().any(|one| one.holds(path));
                self.troubles.forget_vanished(|path| !is_included(path));
                self.put_in_force(made, because);
            }
            Ok(Err(error)) => {
                if let LoadError::Config(errors) = &error {
                    // Among them may be one that wasn't there, and that puts it right by coming.
                    self.follow(errors.files());
                }
                self.failed(because, &error.to_string());
            }
            Err(panic) => self.failed(because, &panic.to_string()),
        }
    }

    /// Takes up what the system tells of included files.
    async fn hear(&mut self, news: News) {
        let catalogue = self.catalogue.clone();
        let concerned = spawn_blocking(move || {
            let files = (!news.is_incomplete).then_some(news.files)?;
            catalogue.concerned(&files)
        });
        match concerned.await.unwrap_or_default() {
            Some(changed) => self.update(changed, CHANGED).await,
            None => self.look().await,
        }
    }

    /// Looks at every included file, which finds what the system doesn't tell of.
    async fn look(&mut self) {
        let begun = Instant::now();
        let (catalogue, troubles) = (self.catalogue.clone(), self.troubles.clone());
        let looked = spawn_blocking(move || {
            let Looked { changed, lost } = catalogue.look();
            (troubles.without_tried(changed), lost)
        });
        let (changed, lost) = looked.await.unwrap_or_default();
        self.next_look = Instant::now() + PERIOD.max(begun.elapsed() * SHARE);
        self.listen();
        self.lose(&lost, CHANGED);
        self.update(changed, CHANGED).await;
    }

    /// Puts changes of included files in force, each by itself.
    async fn update(&mut self, mut changed: BTreeSet<PathBuf>, because: &str) {
        if changed.is_empty() {
            return;
        }
        if self.troubles.main.is_some() {
            // What these files were changed for, perhaps.
            self.reload(because, Extent::Main).await;
        }
        changed.extend(self.troubles.taken());
        let (catalogue, builder) = (self.catalogue.clone(), self.builder.clone());
        let previous = self.gate.projects.load_full();
        let wanted = changed.clone();
        let updated = spawn_blocking(move || catalogue.update(&wanted, &builder, &previous));
        match updated.await {
            Ok(Updated {
                made,
                refused,
                lost,
            }) => {
                let before = self.troubles.tried(&changed);
                self.troubles.forget_vanished(|path| changed.contains(path));
                if let Some(made) = made {
                    self.put_in_force(*made, because);
                }
                for refused in refused {
                    if !before.contains(&refused) {
                        self.say_failed(because, &refused.why);
                    }
                    self.troubles.files.insert(refused.path.clone(), refused);
                }
                self.lose(&lost, because);
                self.gate.metrics.all_in_force(self.troubles.is_none());
            }
            Err(panic) => self.failed(because, &panic.to_string()),
        }
    }

    /// Notes of what nothing can be said, and says so once.
    fn lose(&mut self, lost: &[Problem], because: &str) {
        let lost: Vec<_> = lost.iter().map(ToString::to_string).collect();
        for why in lost.iter().filter(|why| !self.troubles.lost.contains(why)) {
            self.say_failed(because, why);
        }
        if self.troubles.lost != lost {
            self.troubles.lost = lost;
            self.gate.metrics.all_in_force(self.troubles.is_none());
        }
    }

    fn follow(&mut self, files: &[SourceFile]) {
        if let Some(watch) = &mut self.watch {
            watch.follow(files);
        }
    }

    /// Listens to the directories of included files.
    fn listen(&mut self) {
        self.tidings.follow(&self.catalogue.directories());
    }

    fn put_in_force(&mut self, made: Made, because: &str) {
        warn_of_read(&made.warnings, &made.vanished);
        report_trouble(&made.troubles);
        if made.is_whole {
            self.troubles.clear();
        }
        self.troubles.vanished.extend(made.vanished);
        self.catalogue = made.catalogue;
        self.listen();
        let main = self.catalogue.main();
        self.gate.limits.set(main.limits);
        self.builder.keep_certificates(main.runtime.certificates());
        let count = made.projects.index().len();
        self.gate.projects.store(Arc::new(made.projects));
        self.gate.metrics.reloaded(true);
        self.gate.metrics.all_in_force(self.troubles.is_none());
        tracing::info!(because, projects = count, "configuration reloaded");
        self.changed.tell();
    }

    fn failed(&mut self, because: &str, error: &str) {
        self.troubles.main = Some(error.to_owned());
        self.say_failed(because, error);
    }

    fn say_failed(&self, because: &str, error: &str) {
        self.gate.metrics.reloaded(false);
        tracing::error!(because, error, "configuration not reloaded");
    }
}

async fn changed_on_disk(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Says what an operator should know about what was read.
pub(super) fn warn_of_read(warnings: &[Problem], vanished: &[Problem]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    for vanished in vanished {
        tracing::warn!("{vanished}; {GOES_ON}");
    }
}

/// Says what is wrong although the snapshot is good.
pub(super) fn report_trouble(warnings: &[BuildWarning]) {
    for BuildWarning { project, text } in warnings {
        tracing::error!(%project, "{text}");
    }
}
