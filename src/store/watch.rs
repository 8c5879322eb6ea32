//! Notices that a file has changed: written to, replaced, deleted, come back, behind a link or not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::tidings::{News, Tidings};
use crate::config::SourceFile;

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
    tidings: Tidings,
    /// Whether there is a reason to look.
    is_due: bool,
    /// That one of the files themselves was written to: it may look the same as before.
    is_written: bool,
    next_look: Instant,
    period: Duration,
}

impl Watch {
    /// Begins to watch the files that a configuration was read from, or that its errors looked at.
    #[must_use]
    pub fn new(files: &[SourceFile]) -> Self {
        Self::with_period(files, PERIOD)
    }

    fn with_period(files: &[SourceFile], period: Duration) -> Self {
        let mut watch = Self {
            files: Arc::new([]),
            tidings: Tidings::new(),
            is_due: false,
            is_written: false,
            next_look: Instant::now(),
            period,
        };
        watch.follow(files);
        watch
    }

    /// Watches these files from now on: those of the configuration that was loaded last. What has
    /// changed since they were read counts as a change.
    pub fn follow(&mut self, files: &[SourceFile]) {
        self.files = files.into();
        self.arm();
        self.next_look = Instant::now();
    }

    /// Waits until a file has changed and then been left alone for a moment. Dropping the future
    /// loses nothing.
    pub async fn changed(&mut self) {
        loop {
            if !self.is_due {
                tokio::select! {
                    news = self.tidings.news() => self.hear(&news),
                    () = sleep_until(self.next_look) => self.arm(),
                }
                self.is_due = true;
            }
            if self.look().await {
                return;
            }
        }
    }

    /// Asks the system to tell of every directory that it isn't telling of yet. It can't of one
    /// that isn't there.
    fn arm(&mut self) {
        let directories = self.files.iter().filter_map(|file| file.path().parent());
        let directories = directories.map(|directory| {
            if directory.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                directory.to_path_buf()
            }
        });
        self.tidings.follow(&directories.collect());
    }

    fn hear(&mut self, news: &News) {
        let is_named = |file: &SourceFile| news.files.contains(file.path());
        self.is_written |= self.files.iter().any(is_named);
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
        self.is_due = false;
        let is_written = std::mem::take(&mut self.is_written);
        let has_changed = changed.is_some();
        self.files = changed.unwrap_or_else(|| Arc::clone(&self.files));
        has_changed || is_written
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

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
        watch.tidings = Tidings::deaf();
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
        assert_eq!(watch.tidings.directories().count(), 1);
        fs::create_dir(late.parent().unwrap()).unwrap();
        fs::write(&late, "a").unwrap();
        assert_changes(&mut watch).await;
        watch.follow(&look(&[&path, &late]));
        assert_eq!(watch.tidings.directories().count(), 2);
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
        tokio::time::timeout(PATIENT, watch.tidings.news())
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
        assert!(
            watch
                .tidings
                .directories()
                .any(|directory| directory == Path::new("."))
        );
    }
}
