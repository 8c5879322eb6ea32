//! Notices that a file has changed: written to, replaced, deleted, come back, behind a link or not.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::SourceFile;

/// How long there must be no event before a change counts as complete.
const QUIET: Duration = Duration::from_millis(100);
/// How long events can put off that moment.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often the files are looked at without any event: what the system doesn't tell of (a network
/// file system, the far end of a link, a directory that wasn't there) is found so.
const PERIOD: Duration = Duration::from_millis(500);
/// Looking takes at most one part in so many of the time.
const SHARE: u32 = 20;

/// Waits for changes of a set of files. The system tells of most of them at once; a look every half
/// second finds the others.
#[derive(Debug)]
pub struct Watch {
    files: Arc<[SourceFile]>,
    told: Arc<Told>,
    watcher: Option<RecommendedWatcher>,
    /// The directories that the system watches for us.
    directories: BTreeSet<PathBuf>,
    next_look: Instant,
    period: Duration,
}

/// What the system has told.
#[derive(Debug, Default)]
struct Told {
    something: Notify,
    /// That one of the files themselves was written to: it may look the same as before.
    written: AtomicBool,
    paths: Mutex<HashSet<PathBuf>>,
}

impl Watch {
    /// Begins to watch the files that a configuration was read from, or that its errors looked at.
    #[must_use]
    pub fn new(files: &[SourceFile]) -> Self {
        Self::with_period(files, PERIOD)
    }

    fn with_period(files: &[SourceFile], period: Duration) -> Self {
        let told = Arc::new(Told::default());
        let ears = Arc::clone(&told);
        let watcher = notify::recommended_watcher(move |event| ears.hear(event)).ok();
        let next_look = Instant::now();
        let directories = BTreeSet::new();
        let mut watch = Self {
            files: Arc::new([]),
            told,
            watcher,
            directories,
            next_look,
            period,
        };
        watch.follow(files);
        watch
    }

    /// Watches these files from now on: those of the configuration that was loaded last. What has
    /// changed since they were read counts as a change.
    pub fn follow(&mut self, files: &[SourceFile]) {
        self.files = files.into();
        let paths = files.iter().map(|file| file.path().to_path_buf()).collect();
        *self
            .told
            .paths
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = paths;
        if let Some(watcher) = &mut self.watcher {
            for directory in std::mem::take(&mut self.directories) {
                // The directory may be gone, and the watch with it: all the better.
                drop(watcher.unwatch(&directory));
            }
        }
        self.arm();
        self.next_look = Instant::now();
    }

    /// Waits until a file has changed and then been left alone for a moment. Dropping the future
    /// loses nothing.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                () = self.told.something.notified() => self.settle().await,
                () = sleep_until(self.next_look) => self.arm(),
            }
            if self.look().await {
                return;
            }
        }
    }

    /// Asks the system to tell of every directory that it isn't telling of yet. It can't of one
    /// that isn't there.
    fn arm(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for directory in self.files.iter().filter_map(|file| file.path().parent()) {
            let directory = if directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                directory
            };
            if !self.directories.contains(directory)
                && watcher
                    .watch(directory, RecursiveMode::NonRecursive)
                    .is_ok()
            {
                self.directories.insert(directory.to_path_buf());
            }
        }
    }

    async fn settle(&self) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let quiet = patience.min(Instant::now() + QUIET);
            if timeout_at(quiet, self.told.something.notified())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    async fn look(&mut self) -> bool {
        let files = Arc::clone(&self.files);
        let started = Instant::now();
        let looked = tokio::task::spawn_blocking(move || {
            let has_changed = files.iter().any(SourceFile::has_changed);
            has_changed.then(|| {
                files
                    .iter()
                    .map(|file| SourceFile::look(file.path()))
                    .collect()
            })
        });
        let changed: Option<Arc<[SourceFile]>> = looked.await.unwrap_or_default();
        let ended = Instant::now();
        self.next_look = ended + self.period.max((ended - started) * SHARE);
        let is_written = self.told.written.swap(false, Ordering::AcqRel);
        let has_changed = changed.is_some();
        self.files = changed.unwrap_or_else(|| Arc::clone(&self.files));
        has_changed || is_written
    }
}

impl Told {
    fn hear(&self, event: notify::Result<notify::Event>) {
        // An error means that events were lost: a reason to look.
        let (kind, paths) = event.map_or_else(
            |_| (EventKind::Any, Vec::new()),
            |event| (event.kind, event.paths),
        );
        if kind.is_access() {
            return;
        }
        let watched = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.iter().any(|path| watched.contains(path)) {
            self.written.store(true, Ordering::Release);
        }
        self.something.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// As long as a test waits for what must come.
    const PATIENT: Duration = Duration::from_secs(20);
    /// A period after which no test is still running.
    const NEVER: Duration = Duration::from_secs(3600);

    async fn assert_changes(watch: &mut Watch) {
        tokio::time::timeout(PATIENT, watch.changed())
            .await
            .expect("a change was not seen");
    }

    fn look(paths: &[&Path]) -> Vec<SourceFile> {
        paths.iter().map(|path| SourceFile::look(path)).collect()
    }

    /// A directory with one file in it.
    fn one_file() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        fs::write(&path, "a").unwrap();
        (directory, path)
    }

    /// A watch that has looked once, so that only the system can tell it anything more.
    async fn listening(paths: &[&Path]) -> Watch {
        let mut watch = Watch::with_period(&look(paths), NEVER);
        assert!(!watch.look().await);
        watch
    }

    /// A watch that the system tells nothing.
    fn looking(paths: &[&Path]) -> Watch {
        let mut watch = Watch::with_period(&look(paths), Duration::from_millis(10));
        watch.watcher = None;
        watch
    }

    #[tokio::test]
    async fn a_write_a_rename_a_deletion_and_a_return_are_told_by_the_system() {
        let (directory, path) = one_file();
        let mut watch = listening(&[&path]).await;
        fs::write(&path, "b").unwrap();
        assert_changes(&mut watch).await;
        let other = directory.path().join("other");
        fs::write(&other, "c").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_changes(&mut watch).await;
        fs::remove_file(&path).unwrap();
        assert_changes(&mut watch).await;
        fs::write(&path, "d").unwrap();
        assert_changes(&mut watch).await;
    }

    #[tokio::test]
    async fn every_kind_of_change_is_found_by_looking_alone() {
        let (directory, path) = one_file();
        let late = directory.path().join("not/yet/there.txt");
        let mut watch = looking(&[&path, &late]);
        fs::write(&path, "bb").unwrap();
        assert_changes(&mut watch).await;
        fs::create_dir_all(late.parent().unwrap()).unwrap();
        fs::write(&late, "c").unwrap();
        assert_changes(&mut watch).await;
        fs::remove_file(&path).unwrap();
        assert_changes(&mut watch).await;
    }

    #[tokio::test]
    async fn a_mounted_config_map_is_followed_through_its_links() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (version, text) in [("..1", "a"), ("..2", "b")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("proxy.toml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/proxy.toml", at("proxy.toml")).unwrap();
        let mut watch = listening(&[&at("proxy.toml")]).await;
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_changes(&mut watch).await;
    }

    #[tokio::test]
    async fn a_directory_that_comes_later_is_watched_from_then_on() {
        let (directory, path) = one_file();
        let late = directory.path().join("late/feed.txt");
        let mut watch = Watch::with_period(&look(&[&path, &late]), Duration::from_millis(10));
        assert_eq!(watch.directories.len(), 1);
        fs::create_dir(late.parent().unwrap()).unwrap();
        fs::write(&late, "a").unwrap();
        assert_changes(&mut watch).await;
        watch.follow(&look(&[&path, &late]));
        assert_eq!(watch.directories.len(), 2);
    }

    #[tokio::test]
    async fn what_changed_between_reading_and_following_is_a_change() {
        let (_directory, path) = one_file();
        let read = look(&[&path]);
        fs::write(&path, "bb").unwrap();
        let mut watch = Watch::with_period(&read, NEVER);
        assert_changes(&mut watch).await;
        assert!(!watch.look().await);
    }

    #[tokio::test]
    async fn a_file_that_nobody_named_is_no_change() {
        let (directory, path) = one_file();
        let mut watch = listening(&[&path]).await;
        fs::write(directory.path().join("other"), "x").unwrap();
        tokio::time::timeout(PATIENT, watch.told.something.notified())
            .await
            .unwrap();
        assert!(!watch.look().await);
        fs::read(&path).unwrap();
        assert!(!watch.look().await);
    }

    #[tokio::test]
    async fn a_change_is_told_once() {
        let (_directory, path) = one_file();
        let mut watch = looking(&[&path]);
        fs::write(&path, "bb").unwrap();
        assert_changes(&mut watch).await;
        assert!(!watch.look().await);
    }

    #[tokio::test]
    async fn a_relative_path_is_watched_in_the_working_directory() {
        let watch = Watch::with_period(&look(&[Path::new("a-file-that-is-not-there")]), NEVER);
        assert!(watch.directories.contains(Path::new(".")));
    }
}
