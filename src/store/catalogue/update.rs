//! Some included files, read again.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::snapshot::{BuildError, BuildWarning, Builder, Maker};
use super::{Catalogue, Entry, Made};
use crate::config::{ConfigErrors, Included, Place, Problem, ProjectSpec};
use crate::id::ProjectName;
use crate::project::{Index, Project, Projects};
use crate::stamp::{Identity, Stamp};

/// What a change of some included files comes to.
#[derive(Debug)]
pub struct Updated {
    /// The snapshot, and all about it; none if nothing is to be changed.
    pub made: Option<Box<Made>>,
    /// The files whose projects stay as they are.
    pub refused: Vec<Refused>,
    /// Why nothing can be said of others.
    pub lost: Vec<Problem>,
}

/// An included file that could not be put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its path.
    pub path: PathBuf,
    /// What it looked like.
    pub stamp: Stamp,
    /// What is wrong with it.
    pub why: String,
    /// Whether it is what another file says, so that a change of that one may put it right.
    pub is_taken: bool,
}

/// An included file as it is now.
struct Change {
    path: PathBuf,
    stamp: Stamp,
    /// None if it is gone.
    read: Option<Read>,
}

struct Read {
    included: Included,
    made: Vec<Arc<Project>>,
    troubles: Vec<BuildWarning>,
}

impl Catalogue {
    /// What is in force with these included files as they are now: changed, come or gone. Each file by
    /// itself: what is wrong with one leaves its projects as they are and keeps no other from being
    /// used. Blocks on the file system.
    #[must_use]
    pub fn update(
        &self,
        changed: &BTreeSet<PathBuf>,
        builder: &Builder,
        previous: &Projects,
    ) -> Updated {
        let maker = builder.maker_again(&self.main, previous);
        let lost = self.lost();
        let (mut changes, mut refused) = (Vec::new(), Vec::new());
        for path in changed {
            let stamp = Stamp::of(path);
            match self.read(path, &maker) {
                Ok(None) if lost.iter().any(|(include, _)| include.holds(path)) => {}
                Ok(read) => changes.push(Change {
                    path: path.clone(),
                    stamp,
                    read,
                }),
                Err(why) => refused.push(Refused::new((path, stamp), &why)),
            }
        }
        let changes = self.without_orphans(changes, &mut refused);
        let mut updating = Updating {
            catalogue: self.seen_again(),
            index: previous.index().clone(),
            made: Collected::default(),
            refused,
        };
        let taken_out: Vec<_> = changes
            .iter()
            .map(|change| updating.take_out(&change.path))
            .collect();
        let mut is_changed = false;
        for (change, before) in changes.into_iter().zip(taken_out) {
            is_changed |= updating.put_in(change, before);
        }
        let lost = lost.into_iter().map(|(_, problem)| problem).collect();
        updating.finish(is_changed, (previous, lost))
    }

    /// Reads an included file and makes its projects; none if it is gone.
    fn read(&self, path: &Path, maker: &Maker<'_>) -> Result<Option<Read>, ReadError> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(_) | Err(_) => {}
        }
        let mut included = self.main.read_included(path)?;
        if self.files.get(path).is_none() && !included.vanished.is_empty() {
            // There is nothing from before to go on with.
            let vanished = std::mem::take(&mut included.vanished);
            return Err(ConfigErrors::new(vanished, Vec::new()).into());
        }
        let (mut made, mut troubles) = (Vec::new(), Vec::new());
        for spec in &included.projects {
            let (project, warnings) = maker.make(spec)?;
            made.push(project);
            troubles.extend(warnings);
        }
        Ok(Some(Read {
            included,
            made,
            troubles,
        }))
    }

    /// Those of the changes that remove no project which the configuration names.
    fn without_orphans(&self, changes: Vec<Change>, refused: &mut Vec<Refused>) -> Vec<Change> {
        let there = changes.iter().filter_map(|change| change.read.as_ref());
        let there = there.flat_map(|read| &read.included.projects);
        let there: BTreeSet<_> = there.map(|spec| spec.name.clone()).collect();
        let mut kept = Vec::new();
        for change in changes {
            let entry = self.files.get(change.path.as_path());
            let before = entry.map_or(&[][..], |entry| &entry.projects);
            let is_gone = |name: &ProjectName| before.contains(name) && !there.contains(name);
            let missing = self.main.unknown(|name| !is_gone(name));
            if missing.is_empty() {
                kept.push(change);
            } else {
                let why = ConfigErrors::new(missing, Vec::new());
                refused.push(Refused::new((&change.path, change.stamp), &why));
            }
        }
        kept
    }

    /// The same, with the directories that are there now.
    fn seen_again(&self) -> Self {
        let seen = self.includes().map(|(include, before)| {
            let is_lost = include.lost(before).is_some();
            if is_lost {
                before
            } else {
                Identity::of(include.directory())
            }
        });
        Self {
            directories: seen.collect(),
            ..self.clone()
        }
    }

    /// Where a project stands. Reads its file again: who asks has found two of them.
    fn place_of(&self, name: &ProjectName) -> Option<Place> {
        let own = self.own.iter().find(|(own, _)| own == name);
        if let Some((_, place)) = own {
            return Some(place.clone());
        }
        let mut files = self.files.iter();
        let (path, _) = files.find(|(_, entry)| entry.projects.contains(name))?;
        let included = self.main.read_included(path).ok()?;
        let spec = included
            .projects
            .into_iter()
            .find(|spec| spec.name == *name)?;
        Some(spec.place)
    }

    /// That a project has a name or a host that is `other`'s.
    fn taken(&self, spec: &ProjectSpec, other: &Project) -> Problem {
        match self.place_of(&other.name) {
            None => spec.taken_by(&other.name),
            Some(place) if spec.name == other.name => spec.taken(&place),
            Some(place) => {
                let host = spec
                    .host_names()
                    .find(|host| other.host_names().any(|its| its == *host));
                host.map_or_else(
                    || spec.taken_by(&other.name),
                    |host| spec.host_taken(host, &other.name, &place),
                )
            }
        }
    }
}

/// A snapshot that is being changed.
struct Updating {
    catalogue: Catalogue,
    index: Index,
    made: Collected,
    refused: Vec<Refused>,
}

/// What is to be said of what was read.
#[derive(Default)]
struct Collected {
    troubles: Vec<BuildWarning>,
    warnings: Vec<Problem>,
    vanished: Vec<Problem>,
}

/// What stood in a file before.
type Before = Option<(Entry, Vec<Arc<Project>>)>;

impl Updating {
    fn take_out(&mut self, path: &Path) -> Before {
        let entry = self.catalogue.remove(path)?;
        let projects = entry.projects.iter();
        let projects = projects
            .filter_map(|name| self.index.remove(name))
            .collect();
        Some((entry, projects))
    }

    /// Puts in force what stands in a file now; false if that can't be, and it is as before.
    fn put_in(&mut self, change: Change, before: Before) -> bool {
        let Change { path, stamp, read } = change;
        let Some(mut read) = read else {
            return true;
        };
        if let Err(problem) = self.add(&read) {
            let why = ConfigErrors::new(vec![*problem], Vec::new());
            self.refused.push(Refused {
                is_taken: true,
                ..Refused::new((&path, stamp), &why)
            });
            self.put_back(&path, before);
            return false;
        }
        self.made.troubles.append(&mut read.troubles);
        self.made.warnings.append(&mut read.included.warnings);
        self.made.vanished.append(&mut read.included.vanished);
        self.catalogue
            .insert(path.as_path().into(), Entry::new(stamp, read.included));
        true
    }

    /// Adds all projects of a file, or none.
    fn add(&mut self, read: &Read) -> Result<(), Box<Problem>> {
        for (place, (project, spec)) in read.made.iter().zip(&read.included.projects).enumerate() {
            if let Err(other) = self.index.add(project) {
                for added in read.made.iter().take(place) {
                    self.index.remove(&added.name);
                }
                return Err(self.catalogue.taken(spec, &other).into());
            }
        }
        Ok(())
    }

    fn put_back(&mut self, path: &Path, before: Before) {
        let Some((entry, projects)) = before else {
            return;
        };
        // What another file has taken over meanwhile is that one's now.
        let there = projects.into_iter();
        let there = there.filter(|project| self.index.add(project).is_ok());
        let projects = there.map(|project| project.name.clone()).collect();
        self.catalogue
            .insert(path.into(), Entry { projects, ..entry });
    }

    fn finish(self, is_changed: bool, (previous, lost): (&Projects, Vec<Problem>)) -> Updated {
        let Self {
            catalogue,
            index,
            made,
            refused,
        } = self;
        let made = is_changed.then(|| {
            let default = catalogue.main.default_project.as_ref();
            Box::new(Made {
                projects: Projects::new(index, default, Arc::clone(previous.common())),
                catalogue: catalogue.clone(),
                is_whole: false,
                troubles: made.troubles,
                warnings: made.warnings,
                vanished: made.vanished,
            })
        });
        Updated {
            made,
            refused,
            lost,
        }
    }
}

impl Refused {
    fn new((path, stamp): (&Path, Stamp), why: &impl fmt::Display) -> Self {
        Self {
            path: path.to_path_buf(),
            stamp,
            why: why.to_string(),
            is_taken: false,
        }
    }
}

/// Why an included file can't be put in force.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Build(#[from] BuildError),
}
