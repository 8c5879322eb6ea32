//! [`Troubles`]: what of the configuration is not in force, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::Problem;
use crate::stamp::Stamp;
use crate::store::catalogue::Refused;

/// What becomes of a project whose file has vanished.
pub(super) const GOES_ON: &str = "the project goes on with what was read from there before";

/// So many files are told of by name; of more, how many they are.
const TOLD: usize = 20;

/// What of the configuration is not in force, and why.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles {
    /// What is wrong with the whole.
    pub(super) main: Option<String>,
    /// What is wrong with directories of included files.
    pub(super) lost: Vec<String>,
    /// The included files that are wrong.
    pub(super) files: BTreeMap<PathBuf, Refused>,
    /// What could not be read again, although the change was put in force.
    pub(super) vanished: Vec<Problem>,
}

impl Troubles {
    /// Whether all is in force; what has vanished is, as it was.
    pub(super) fn is_none(&self) -> bool {
        self.main.is_none() && self.lost.is_empty() && self.files.is_empty()
    }

    /// Forgets what has vanished for these files of the configuration: they were read again.
    pub(super) fn forget_vanished(&mut self, is_read: impl Fn(&Path) -> bool) {
        self.vanished.retain(|problem| {
            let place = problem.place();
            place.is_some_and(|place| !is_read(place.file()))
        });
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A line of each, for whoever asks whether the gate is ready.
    pub(super) fn notes(&self) -> Vec<String> {
        let first = |why: &str| why.lines().next().unwrap_or_default().to_owned();
        let whole = self.main.iter().chain(&self.lost).map(|why| first(why));
        let files = self.files.values().take(TOLD).map(|refused| {
            let path = refused.path.display();
            format!("{path}: {}", first(&refused.why))
        });
        let lines = whole.chain(files);
        let lines = lines.map(|line| format!("configuration not reloaded: {line}"));
        let more = self.files.len().saturating_sub(TOLD);
        let more = (more > 0).then(|| format!("and {more} files more, see the log"));
        let vanished = self.vanished.iter().take(TOLD);
        let vanished = vanished.map(|problem| format!("{problem}; {GOES_ON}"));
        lines.chain(more).chain(vanished).collect()
    }

    /// Of these files that were found changed, those that were not tried yet as they are; and those
    /// that were, and have changed since. Blocks on the file system.
    pub(super) fn without_tried(&self, changed: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        let mut changed = changed;
        for (path, refused) in &self.files {
            if Stamp::of(path) == refused.stamp {
                changed.remove(path);
            } else {
                changed.insert(path.clone());
            }
        }
        changed
    }

    /// The files that another file stands in the way of: a change of that one may put them right.
    pub(super) fn taken(&self) -> impl Iterator<Item = PathBuf> {
        let taken = self.files.values().filter(|refused| refused.is_taken);
        taken.map(|refused| refused.path.clone())
    }

    /// Forgets what was wrong with these files, for they are tried again; returns it.
    pub(super) fn tried(&mut self, again: &BTreeSet<PathBuf>) -> Vec<Refused> {
        let before = again.iter();
        before.filter_map(|path| self.files.remove(path)).collect()
    }
}
