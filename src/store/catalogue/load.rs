//! All of it, read at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::snapshot::{Builder, Built, Draft, MadeProject, Maker};
use super::parallel::in_parallel;
use super::{Catalogue, Entry, LoadError, Made};
use crate::config::{
    Claims, Config, ConfigErrors, Included, Place, Problem, ProjectSpec, SourceFile,
};
use crate::id::ProjectName;
use crate::project::{Projects, Sharded};
use crate::stamp::{Identity, Stamp};

impl Catalogue {
    /// Reads all that `main` includes, and makes every project. What is in force is carried on from
    /// `previous`; without it everything must be there. Blocks on the file system.
    ///
    /// # Errors
    /// Everything that is wrong in any file; else everything that is wrong with any project.
    pub fn load(
        main: Config,
        builder: &Builder,
        previous: Option<&Projects>,
    ) -> Result<Made, LoadError> {
        let (main, own) = main.split();
        let (mut catalogue, paths) = Self::of(main, &own)?;
        let main = Arc::clone(&catalogue.main);
        let count = own.len() + paths.len();
        let mut reading = Reading::new(builder.draft(&main, previous, count));
        let maker = reading.draft.maker();
        reading.take_up(own.iter().map(|spec| (spec, maker.make(spec))));
        let read = |path: &PathBuf| Read::new(path, &main, &maker);
        in_parallel(&paths, read, |read| match read {
            Ok(read) => catalogue.insert(Arc::clone(&read.included.file), reading.entry(read)),
            Err(errors) => reading.refuse(&errors),
        });
        reading.finish(catalogue, previous.is_none())
    }

    /// What is in force with `main` in place of the configuration itself. Included files are read again
    /// only if their projects mean something else by it. Blocks on the file system.
    ///
    /// # Errors
    /// As [`Self::again`].
    pub fn with_main(
        &self,
        main: Config,
        builder: &Builder,
        previous: &Projects,
    ) -> Result<Made, LoadError> {
        if main.include.is_empty() || !main.includes_the_same(&self.main) {
            return self.again(main, builder, previous);
        }
        let whole = main.clone();
        let (main, own) = main.split();
        let mut draft = builder.redraft(&main, previous);
        for (name, _) in &*self.own {
            draft.remove(name);
        }
        for spec in &own {
            if draft.add(spec).is_err() {
                // Whose the name is stands in a file that was not read: it tells both.
                return self.again(whole, builder, previous);
            }
        }
        let vanished = main.vanished.clone();
        let Built { projects, warnings } = finish(draft, &main)?;
        Ok(Made {
            catalogue: Self {
                own: own.iter().map(place).collect(),
                main: Arc::new(main),
                ..self.clone()
            },
            projects,
            is_whole: false,
            troubles: warnings,
            warnings: Vec::new(),
            vanished,
        })
    }

    /// All of it, read again.
    ///
    /// # Errors
    /// As [`Self::load`]; and where the directory of included files is gone.
    pub fn again(
        &self,
        main: Config,
        builder: &Builder,
        previous: &Projects,
    ) -> Result<Made, LoadError> {
        let lost = self.lost().into_iter();
        let still = lost.filter(|(include, _)| main.includes(include));
        let lost: Vec<_> = still.map(|(_, problem)| problem).collect();
        if lost.is_empty() {
            return Self::load(main, builder, Some(previous));
        }
        Err(ConfigErrors::new(lost, main.watched()).into())
    }

    /// A catalogue of no file yet, and the files that are to be in it.
    fn of(main: Config, own: &[ProjectSpec]) -> Result<(Self, Vec<PathBuf>), LoadError> {
        let include = main.include.iter();
        let directories = include.map(|include| Identity::of(include.directory()));
        let directories = directories.collect();
        let paths = main.included_files()?;
        let catalogue = Self {
            directories,
            own: own.iter().map(place).collect(),
            files: Sharded::default(),
            named: Sharded::default(),
            watched: Sharded::default(),
            main: Arc::new(main),
        };
        Ok((catalogue, paths))
    }
}

/// An included file as it was read, and its projects.
struct Read {
    stamp: Stamp,
    included: Included,
    made: Vec<MadeProject>,
}

impl Read {
    fn new(path: &Path, main: &Config, maker: &Maker<'_>) -> Result<Self, ConfigErrors> {
        let stamp = Stamp::of(path);
        let included = main.read_included(path)?;
        Ok(Self {
            stamp,
            made: included
                .projects
                .iter()
                .map(|spec| maker.make(spec))
                .collect(),
            included,
        })
    }
}

fn place(spec: &ProjectSpec) -> (ProjectName, Place) {
    (spec.name.clone(), spec.place.clone())
}

/// Everything being read.
struct Reading<'b> {
    draft: Draft<'b>,
    claims: Claims,
    problems: Vec<Problem>,
    /// Those by which what is wrong may be put right.
    files: Vec<SourceFile>,
    warnings: Vec<Problem>,
    vanished: Vec<Problem>,
}

impl<'b> Reading<'b> {
    fn new(draft: Draft<'b>) -> Self {
        Self {
            draft,
            claims: Claims::default(),
            problems: Vec::new(),
            files: Vec::new(),
            warnings: Vec::new(),
            vanished: Vec::new(),
        }
    }

    fn take_up<'s>(&mut self, projects: impl Iterator<Item = (&'s ProjectSpec, MadeProject)>) {
        for (spec, made) in projects {
            let taken = match self.claims.claim(spec) {
                Ok(()) => self.draft.put(made).err(),
                Err(taken) => {
                    self.problems.extend(taken);
                    continue;
                }
            };
            let taken = taken.map(|other| spec.taken_by(&other.name));
            self.problems.extend(taken);
        }
    }

    fn refuse(&mut self, errors: &ConfigErrors) {
        self.problems.extend_from_slice(errors.problems());
        self.files.extend_from_slice(errors.files());
    }

    fn entry(&mut self, read: Read) -> Entry {
        let Read {
            stamp,
            mut included,
            made,
        } = read;
        self.take_up(included.projects.iter().zip(made));
        self.warnings.append(&mut included.warnings);
        self.vanished.append(&mut included.vanished);
        Entry::new(stamp, included)
    }

    fn finish(mut self, catalogue: Catalogue, is_start: bool) -> Result<Made, LoadError> {
        let main = Arc::clone(&catalogue.main);
        self.vanished.extend_from_slice(&main.vanished);
        if is_start {
            self.problems.append(&mut self.vanished);
        }
        if self.problems.is_empty() && self.draft.is_empty() {
            self.problems.push(main.without_any_project());
        }
        if !self.problems.is_empty() {
            self.files.extend(main.watched());
            return Err(ConfigErrors::new(self.problems, self.files).into());
        }
        let Built { projects, warnings } = finish(self.draft, &main)?;
        Ok(Made {
            projects,
            is_whole: true,
            troubles: warnings,
            warnings: self.warnings,
            vanished: self.vanished,
            catalogue,
        })
    }
}

fn finish(draft: Draft<'_>, main: &Config) -> Result<Built, LoadError> {
    let missing = main.unknown(|name| draft.is_wrong() || draft.has(name));
    if !missing.is_empty() {
        return Err(ConfigErrors::new(missing, main.watched()).into());
    }
    Ok(draft.finish()?)
}
