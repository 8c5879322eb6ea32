//! [`Tidings`]: what the system tells of directories full of files, by their names.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::stamp::Identity;

/// How long there must be no event before a change counts as complete.
const QUIET: Duration = Duration::from_millis(100);
/// How long events can put off that moment.
const PATIENCE: Duration = Duration::from_millis(400);

/// Hears which files of some directories have changed. One watch serves a directory, however many
/// files are in it.
#[derive(Debug)]
pub struct Tidings {
    heard: Arc<Heard>,
    watcher: Option<RecommendedWatcher>,
    /// Those that the system watches for us.
    directories: HashMap<PathBuf, Identity>,
}

#[derive(Debug, Default)]
struct Heard {
    something: Notify,
    news: Mutex<News>,
}

/// What was heard.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct News {
    /// The files that were written to, came or went.
    pub files: BTreeSet<PathBuf>,
    /// Whether there was more than could be told: a reason to look at them all.
    pub is_incomplete: bool,
}

impl Tidings {
    /// Of no directory yet.
    #[must_use]
    pub fn new() -> Self {
        let heard = Arc::new(Heard::default());
        let ears = Arc::clone(&heard);
        Self {
            watcher: notify::recommended_watcher(move |event| ears.hear(event)).ok(),
            heard,
            directories: HashMap::new(),
        }
    }

    /// As where the system tells nothing.
    #[cfg(test)]
    pub(super) fn deaf() -> Self {
        Self {
            watcher: None,
            ..Self::new()
        }
    }

    /// Those that it listens to.
    #[cfg(test)]
    pub(super) fn directories(&self) -> impl Iterator<Item = &std::path::Path> {
        self.directories.keys().map(PathBuf::as_path)
    }

    /// Listens to these directories from now on. One that isn't there can't be watched, and one that
    /// another has taken the place of isn't any more: it is asked for again next time.
    pub fn follow(&mut self, directories: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        self.directories.retain(|directory, identity| {
            let stays = directories.contains(directory) && Identity::of(directory) == *identity;
            if !stays {
                // The directory may be gone, and the watch with it: all the better.
                drop(watcher.unwatch(directory));
            }
            stays
        });
        for directory in directories {
            let identity = Identity::of(directory);
            let mode = RecursiveMode::NonRecursive;
            if !self.directories.contains_key(directory) && watcher.watch(directory, mode).is_ok() {
                self.directories.insert(directory.clone(), identity);
            }
        }
    }

    /// Waits until something has changed and then been left alone for a moment. Dropping the future
    /// loses nothing.
    pub async fn news(&self) -> News {
        while *self.heard.news() == News::default() {
            self.heard.something.notified().await;
        }
        let patience = Instant::now() + PATIENCE;
        loop {
            let quiet = patience.min(Instant::now() + QUIET);
            let more = timeout_at(quiet, self.heard.something.notified()).await;
            if more.is_err() {
                return std::mem::take(&mut *self.heard.news());
            }
        }
    }
}

impl Default for Tidings {
    fn default() -> Self {
        Self::new()
    }
}

impl Heard {
    fn hear(&self, event: notify::Result<notify::Event>) {
        {
            let mut news = self.news();
            match event {
                Ok(event) if event.kind.is_access() => return,
                Ok(event) => {
                    news.is_incomplete |= event.need_rescan();
                    news.files.extend(event.paths);
                }
                Err(_) => news.is_incomplete = true,
            }
        }
        self.something.notify_one();
    }

    fn news(&self) -> std::sync::MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn news(tidings: &Tidings) -> News {
        let patient = Duration::from_secs(20);
        tokio::time::timeout(patient, tidings.news())
            .await
            .expect("nothing was heard")
    }

    #[tokio::test]
    async fn files_that_come_change_and_go_are_told_by_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| directory.path().join(name));
        fs::write(&a, "a").unwrap();
        fs::write(&c, "c").unwrap();
        let mut tidings = Tidings::new();
        tidings.follow(&BTreeSet::from([directory.path().to_path_buf()]));
        fs::write(&a, "aa").unwrap();
        fs::rename(&c, &b).unwrap();
        let mut heard = BTreeSet::new();
        while heard.len() < 3 {
            heard.append(&mut news(&tidings).await.files);
        }
        assert_eq!(heard, BTreeSet::from([a.clone(), b, c]));
        fs::remove_file(&a).unwrap();
        assert!(news(&tidings).await.files.contains(&a));
    }

    #[tokio::test]
    async fn a_directory_that_takes_the_place_of_another_is_listened_to_in_its_stead() {
        let directory = tempfile::tempdir().unwrap();
        let there = directory.path().join("there");
        let wanted = BTreeSet::from([there.clone()]);
        let mut tidings = Tidings::new();
        for name in ["a", "b"] {
            fs::create_dir(&there).unwrap();
            tidings.follow(&wanted);
            fs::write(there.join(name), "x").unwrap();
            while !news(&tidings).await.files.contains(&there.join(name)) {}
            fs::rename(&there, directory.path().join(format!("was-{name}"))).unwrap();
        }
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut tidings = Tidings::new();
        tidings.follow(&BTreeSet::from([directory.path().to_path_buf()]));
        let file = directory.path().join("a");
        fs::write(&file, "a").unwrap();
        let never = tokio::time::timeout(Duration::ZERO, tidings.news()).await;
        assert!(never.is_err());
        let other = directory.path().join("b");
        fs::write(&other, "b").unwrap();
        assert!(news(&tidings).await.files.contains(&file));
    }
}
