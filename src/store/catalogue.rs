//! [`Catalogue`]: what the projects in force were read from, so that a change reads no more than the
//! files that changed.

mod load;
mod parallel;
mod update;

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::snapshot::{BuildErrors, BuildWarning};
use crate::config::{Config, ConfigErrors, Include, Included, Place, Problem, SourceFile};
use crate::id::ProjectName;
use crate::project::{Projects, Sharded};
use crate::stamp::{Identity, Stamp};

pub use self::update::{Refused, Updated};

/// Of more files that projects name, the system is not asked to tell: what it can watch is bounded,
/// and not ours alone. They are looked at.
const MOST_NAMED: usize = 1000;

/// A configuration, and the files with projects that it includes; without the projects themselves,
/// which are made and then forgotten. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalogue {
    main: Arc<Config>,
    /// The directory of each of the main file's includes when it was read last.
    directories: Arc<[Identity]>,
    /// The projects of the main file itself, and where they stand.
    own: Arc<[(ProjectName, Place)]>,
    files: Sharded<Arc<Path>, Entry>,
    /// All that included ones name, and how many name the very same.
    named: Sharded<Named, u32>,
    /// The files in it, and how often each is.
    watched: Sharded<Arc<Path>, u32>,
}

/// The files that an included one names, as they were when it was read. Many name the same.
type Named = Arc<[SourceFile]>;

/// An included file.
#[derive(Debug, Clone)]
struct Entry {
    stamp: Stamp,
    projects: Box<[ProjectName]>,
    named: Named,
}

/// What a change comes to.
#[derive(Debug)]
pub struct Made {
    /// What it was read from.
    pub catalogue: Catalogue,
    /// The snapshot.
    pub projects: Projects,
    /// Whether every included file was read.
    pub is_whole: bool,
    /// What is wrong with projects, and keeps nothing from being used.
    pub troubles: Vec<BuildWarning>,
    /// What an operator should know about the included files that were read.
    pub warnings: Vec<Problem>,
    /// Files that are missing, and that the projects in force go on without.
    pub vanished: Vec<Problem>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// What is written is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What is written can't be made.
    #[error(transparent)]
    Build(#[from] BuildErrors),
}

/// What a look at the included files has found.
#[derive(Debug, Default)]
pub struct Looked {
    /// Those that look different, came or went since they were read, and those that name a file of
    /// which that is so.
    pub changed: BTreeSet<PathBuf>,
    /// Why nothing can be said of others.
    pub lost: Vec<Problem>,
}

impl Catalogue {
    /// The configuration itself, without any project.
    #[must_use]
    pub const fn main(&self) -> &Arc<Config> {
        &self.main
    }

    /// Looks at every included file. Blocks on the file system.
    #[must_use]
    pub fn look(&self) -> Looked {
        let mut looked = Looked::default();
        let mut there = Vec::new();
        for (include, before) in self.includes() {
            match (include.lost(before), include.files()) {
                (None, Ok(files)) => {
                    let come = files.into_iter();
                    let come = come.filter(|path| self.files.get(path.as_path()).is_none());
                    looked.changed.extend(come);
                    there.push(include);
                }
                (Some(problem), _) => looked.lost.push(problem),
                // It went between two looks at it; the next will tell.
                (None, Err(_)) => {}
            }
        }
        let known = self.files.iter();
        // Of a directory that is gone nothing can be said: its projects stay (T25).
        let known = known.filter(|(path, _)| there.iter().any(|include| include.holds(path)));
        let changed = known.filter(|(path, entry)| entry.has_changed(path));
        let changed = changed.map(|(path, _)| path.to_path_buf());
        looked.changed.extend(changed);
        looked
    }

    /// The included files among these paths, and those that name one of them; none if it takes a look
    /// at all of them to tell.
    #[must_use]
    pub fn concerned(&self, paths: &BTreeSet<PathBuf>) -> Option<BTreeSet<PathBuf>> {
        let include = &self.main.include;
        let is_included = |path: &PathBuf| include.iter().any(|one| one.holds(path));
        let (mut concerned, others): (BTreeSet<_>, BTreeSet<_>) =
            paths.iter().cloned().partition(is_included);
        // Such as a link to the directory in which the files are, by which a volume of Kubernetes
        // changes them all at once.
        let is_about_all = |path: &PathBuf| {
            let within = |one: &Include| path.parent() == Some(one.directory());
            include.iter().any(|one| one.directory() == path)
                || include.iter().any(within) && path.is_dir()
        };
        if others.iter().any(is_about_all) {
            return None;
        }
        let named = others
            .iter()
            .filter(|path| self.watched.get(path.as_path()).is_some());
        let named: BTreeSet<_> = named.collect();
        if !named.is_empty() {
            let naming = self.files.iter().filter(|(_, entry)| {
                let mut of_entry = entry.named.iter();
                of_entry.any(|file| named.iter().any(|path| path.as_path() == file.path()))
            });
            concerned.extend(naming.map(|(path, _)| path.to_path_buf()));
        }
        Some(concerned)
    }

    /// The directories in which a change may concern included files: as many as the system can be asked
    /// to tell of.
    #[must_use]
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        let include = self.main.include.iter();
        let include = include.map(|include| include.directory().to_path_buf());
        let most = usize::from(self.watched.len() <= MOST_NAMED) * MOST_NAMED;
        let named = self.watched.keys().take(most);
        let named = named.filter_map(|path| Some(path.parent()?.to_path_buf()));
        include.chain(named).collect()
    }

    fn includes(&self) -> impl Iterator<Item = (&Include, Identity)> {
        let directories = self.directories.iter().copied();
        self.main.include.iter().zip(directories)
    }

    /// What is included of directories that are gone, with what is to be said of it (T25).
    fn lost(&self) -> Vec<(&Include, Problem)> {
        let lost = self.includes();
        lost.filter_map(|(include, before)| Some((include, include.lost(before)?)))
            .collect()
    }

    fn insert(&mut self, path: Arc<Path>, entry: Entry) {
        let named = self.shared(entry.named);
        one_more(&mut self.named, Arc::clone(&named));
        self.files.insert(path, Entry { named, ..entry });
    }

    /// The very list that others have too, if there is one; if not, its files count from now on.
    fn shared(&mut self, named: Named) -> Named {
        if let Some(known) = self.named.key(&named) {
            return Arc::clone(known);
        }
        let shared = named.iter().map(|file| {
            let known = self.watched.key(file.path()).cloned();
            let path = known.unwrap_or_else(|| file.path().into());
            one_more(&mut self.watched, Arc::clone(&path));
            file.clone().sharing(&path)
        });
        shared.collect()
    }

    fn remove(&mut self, path: &Path) -> Option<Entry> {
        let entry = self.files.remove(path)?;
        if one_less(&mut self.named, &*entry.named) {
            for file in &*entry.named {
                one_less(&mut self.watched, file.path());
            }
        }
        Some(entry)
    }
}

fn one_more<K: Hash + Eq + Clone>(counts: &mut Sharded<K, u32>, key: K) {
    let others = counts.get(&key).copied().unwrap_or_default();
    counts.insert(key, others + 1);
}

/// Says whether it was the last.
fn one_less<K, Q>(counts: &mut Sharded<K, u32>, key: &Q) -> bool
where
    K: Hash + Eq + Clone + Borrow<Q> + for<'q> From<&'q Q>,
    Q: Hash + Eq + ?Sized,
{
    match counts.get(key).copied().unwrap_or_default() {
        0 | 1 => counts.remove(key).is_some(),
        more => counts.insert(key.into(), more - 1).is_none(),
    }
}

impl Entry {
    fn new(stamp: Stamp, included: Included) -> Self {
        let projects = included.projects.into_iter().map(|spec| spec.name);
        Self {
            stamp,
            projects: projects.collect(),
            // The first is the file itself.
            named: included.files.into_iter().skip(1).collect(),
        }
    }

    fn has_changed(&self, path: &Path) -> bool {
        Stamp::of(path) != self.stamp || self.named.iter().any(SourceFile::has_changed)
    }
}

#[cfg(test)]
mod tests;
