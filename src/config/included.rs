//! What stands in included files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::effective::Effective;
use super::files::{SourceFile, read_text};
use super::include::Include;
use super::problem::{ConfigErrors, Document, Place, Problem};
use super::project::{ProjectSpec, Projects, watch_keystore};
use super::reader::Reader;
use super::{Config, MAX_FILE};
use crate::address::{Host, HostName};
use crate::id::ProjectName;

/// What one included file says.
#[derive(Debug, Clone)]
pub struct Included {
    /// Its path: the very one by which its places are told, for there may be a hundred thousand.
    pub file: Arc<Path>,
    /// Its projects.
    pub projects: Vec<ProjectSpec>,
    /// The file, then all that it names.
    pub files: Vec<SourceFile>,
    /// What an operator should know about it.
    pub warnings: Vec<Problem>,
    /// Certificates that can't be read: see [`Config::vanished`].
    pub vanished: Vec<Problem>,
    effective: Effective,
}

/// Whose every name is, so far: of projects and of hosts.
#[derive(Debug, Default)]
pub struct Claims {
    names: HashMap<ProjectName, Place>,
    hosts: HashMap<HostName, (ProjectName, Place)>,
}

impl Claims {
    /// Claims the names of a project.
    ///
    /// # Errors
    /// Those that another project has, in this file or in another.
    pub fn claim(&mut self, spec: &ProjectSpec) -> Result<(), Vec<Problem>> {
        let mut taken = Vec::new();
        if let Some(place) = self.names.insert(spec.name.clone(), spec.place.clone()) {
            taken.push(spec.taken(&place));
        }
        for host in spec.host_names() {
            let here = (spec.name.clone(), spec.place.clone());
            if let Some((other, place)) = self.hosts.insert(host.clone(), here)
                && other != spec.name
            {
                taken.push(spec.host_taken(host, &other, &place));
            }
        }
        if taken.is_empty() { Ok(()) } else { Err(taken) }
    }
}

impl ProjectSpec {
    /// The names by which it is told apart from others; an address never comes as server_name.
    pub fn host_names(&self) -> impl Iterator<Item = &HostName> {
        self.hosts.iter().filter_map(|host| match host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        })
    }

    /// That there is such a project already, at that place.
    #[must_use]
    pub fn taken(&self, place: &Place) -> Problem {
        let name = &self.name;
        let message = format!("there is a project {name} already, at {place}");
        Problem::of_project(self, message)
    }

    /// That there is another such project, or one with the same host, nobody knows where.
    #[must_use]
    pub fn taken_by(&self, other: &ProjectName) -> Problem {
        Problem::of_project(self, format!("the project {other} has that name or host"))
    }

    /// That one of its hosts is another project's.
    #[must_use]
    pub fn host_taken(&self, host: &HostName, other: &ProjectName, place: &Place) -> Problem {
        Problem::of_project(self, format!("{host} is taken by {other}, at {place}"))
    }
}

impl Config {
    /// Reads an included file, by itself, without noting how it would be shown: whether its names are
    /// another file's is seen by [`Claims`].
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read_included(&self, path: &Path) -> Result<Included, ConfigErrors> {
        self.read_file(path, false)
    }

    fn read_file(&self, path: &Path, is_recording: bool) -> Result<Included, ConfigErrors> {
        let file = SourceFile::look(path);
        // Reading a pipe would wait for its writer, and with it every change of anything.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            let why = "it is not a regular file";
            return Err(super::load::unreadable(path, &why, vec![file]));
        }
        match read_text(path, MAX_FILE) {
            Ok(text) => {
                let mut reader = reader(file.shared_path(), &text);
                reader.files.push(file);
                reader.is_recording = is_recording;
                self.read_by(reader)
            }
            Err(error) => Err(super::load::unreadable(path, &error, vec![file])),
        }
    }

    /// Reads what an included file is to hold.
    fn read_by(&self, mut reader: Reader<'_>) -> Result<Included, ConfigErrors> {
        let (table, syntax) = DeTable::parse_recoverable(reader.text());
        for error in syntax {
            reader.refuse_syntax(&error.span().unwrap_or_default(), error.message());
        }
        let mut shared = Projects::new(self.inherited());
        let projects = reader.root(&table, |root| {
            root.each_named("project", |name, section| shared.read(name, section))
        });
        let projects: Option<Vec<_>> = projects.into_iter().collect();
        for spec in projects.iter().flatten() {
            watch_keystore(&mut reader, &self.certs, spec);
        }
        // A file that an editor has emptied and not yet written must not pass for the wish to remove
        // its projects (T25).
        if projects.as_ref().is_some_and(Vec::is_empty) && reader.problems.is_empty() {
            let why = "no project is defined in it; to remove its projects, delete the file";
            let path = Arc::clone(reader.file());
            return Err(super::load::unreadable(&path, &why, reader.files));
        }
        match projects {
            Some(projects) if reader.problems.is_empty() => Ok(Included {
                file: Arc::clone(reader.file()),
                projects,
                files: reader.files,
                warnings: reader.warnings,
                vanished: reader.vanished,
                effective: reader.effective,
            }),
            Some(_) | None => Err(ConfigErrors::new(reader.problems, reader.files)),
        }
    }

    /// The files that are included now.
    ///
    /// # Errors
    /// A directory that can't be read.
    pub fn included_files(&self) -> Result<Vec<PathBuf>, ConfigErrors> {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for include in &self.include {
            match include.files() {
                Ok(found) => files.extend(found),
                Err(error) => problems.push(include.unreadable(&error)),
            }
        }
        if problems.is_empty() {
            files.sort_unstable();
            files.dedup();
            return Ok(files);
        }
        Err(ConfigErrors::new(problems, self.watched()))
    }

    /// The files that this configuration was read from, and the directories of those that it
    /// includes: one that comes or goes changes its directory.
    #[must_use]
    pub fn watched(&self) -> Vec<SourceFile> {
        let directories = self.include.iter().map(Include::directory);
        let directories = directories.map(SourceFile::look);
        self.files.iter().cloned().chain(directories).collect()
    }

    /// The configuration without its projects, and these.
    #[must_use]
    pub fn split(mut self) -> (Self, Vec<ProjectSpec>) {
        let projects = std::mem::take(&mut self.projects);
        self.effective = Effective::default();
        (self, projects.into_values().collect())
    }

    /// Whether projects in files of their own are the same by this configuration as by the other one.
    #[must_use]
    pub fn includes_the_same(&self, other: &Self) -> bool {
        let pairs = self.include.iter().zip(&other.include);
        self.include.len() == other.include.len()
            && pairs.into_iter().all(|(one, other)| one.is_same(other))
            && self.inherited().is_same(&other.inherited())
    }

    /// Whether it includes the same as `include` does, wherever that is written.
    #[must_use]
    pub fn includes(&self, include: &Include) -> bool {
        self.include.iter().any(|one| one.is_same(include))
    }

    /// That nothing defines a project. A directory that isn't mounted yet looks like this, and a file
    /// that an editor has emptied, which must not pass for the wish to shut everybody out (T25).
    #[must_use]
    pub fn without_any_project(&self) -> Problem {
        let file = self.files.first();
        let file = file.map(|file| format!("{}: ", file.path().display()));
        let what = "no project is defined; add one as [project.NAME]";
        Problem::of_file(file.unwrap_or_default() + what)
    }

    /// The configuration with all the projects that it includes.
    pub(super) fn with_included(mut self) -> Result<Self, ConfigErrors> {
        if self.include.is_empty() {
            return Ok(self);
        }
        self.files = self.watched();
        // All that is included is shown, and read again it must not be included twice.
        self.effective.replace("include", "[]");
        let (mut claims, mut problems) = (Claims::default(), Vec::new());
        for spec in self.projects.values() {
            problems.extend(claims.claim(spec).err().into_iter().flatten());
        }
        for path in self.included_files()? {
            match self.read_file(&path, true) {
                Ok(included) => {
                    let claimed = self.take_up(included, &mut claims);
                    problems.extend(claimed.err().into_iter().flatten());
                }
                Err(errors) => {
                    self.files.extend_from_slice(errors.files());
                    problems.extend_from_slice(errors.problems());
                }
            }
        }
        if problems.is_empty() {
            problems = self.unknown(|name| self.projects.contains_key(name));
        }
        if problems.is_empty() && self.projects.is_empty() {
            problems.push(self.without_any_project());
        }
        if problems.is_empty() {
            return Ok(self);
        }
        Err(ConfigErrors::new(problems, self.files))
    }

    fn take_up(&mut self, included: Included, claims: &mut Claims) -> Result<(), Vec<Problem>> {
        self.files.extend(included.files);
        let taken = included
            .projects
            .iter()
            .filter_map(|spec| claims.claim(spec).err());
        let taken: Vec<_> = taken.flatten().collect();
        if !taken.is_empty() {
            return Err(taken);
        }
        self.warnings.extend(included.warnings);
        self.vanished.extend(included.vanished);
        self.effective.extend(included.effective);
        let projects = included.projects.into_iter();
        self.projects
            .extend(projects.map(|spec| (spec.name.clone(), spec)));
        Ok(())
    }

    /// What is wrong with the projects that listeners and `default_project` name, if these are all
    /// there are.
    #[must_use]
    pub fn unknown(&self, is_known: impl Fn(&ProjectName) -> bool) -> Vec<Problem> {
        let named = self.named.iter().filter(|(name, _)| !is_known(name));
        named.map(|(_, problem)| problem.clone()).collect()
    }

    /// Reads a file, and of what it includes no more than is needed to know `project`.
    ///
    /// # Errors
    /// Everything that is wrong with what is read.
    pub fn load_for(path: &Path, project: &ProjectName) -> Result<Self, ConfigErrors> {
        let main = Self::load_main(path)?;
        match main.file_of(project)? {
            Some(file) => {
                let included = main.read_file(&file, true)?;
                main.with_file(included)
            }
            None if main.include.is_empty() || main.projects.contains_key(project) => Ok(main),
            // Nobody knows it: then all that there is must be told.
            None => main.with_included(),
        }
    }

    /// The configuration with the projects of an included file, if this is what it holds.
    pub(crate) fn with_text(&self, file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let included = self.read_by(reader(file.into(), text))?;
        self.clone().with_file(included)
    }

    fn with_file(mut self, included: Included) -> Result<Self, ConfigErrors> {
        let mut claims = Claims::default();
        let files = included.files.clone();
        let main = self
            .projects
            .values()
            .filter_map(|spec| claims.claim(spec).err());
        let mut problems: Vec<_> = main.flatten().collect();
        problems.extend(
            self.take_up(included, &mut claims)
                .err()
                .into_iter()
                .flatten(),
        );
        if problems.is_empty() {
            return Ok(self);
        }
        Err(ConfigErrors::new(problems, files))
    }

    /// The included file in which a project stands, if it stands in one.
    ///
    /// # Errors
    /// A directory or a file that can't be read.
    pub(crate) fn file_of(&self, project: &ProjectName) -> Result<Option<PathBuf>, ConfigErrors> {
        if self.include.is_empty() || self.projects.contains_key(project) {
            return Ok(None);
        }
        let likely = self.include.iter().map(|include| include.likely(project));
        let likely = likely.filter(|path| self.include.iter().any(|include| include.holds(path)));
        for path in likely.chain(self.included_files()?) {
            // What isn't there by now, or isn't text, defines nothing.
            let Ok(text) = read_text(&path, MAX_FILE) else {
                continue;
            };
            if text.contains(project.as_str()) && defines(&text, project) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

/// A reader of a text as what an included file is to hold.
fn reader(file: Arc<Path>, text: &str) -> Reader<'_> {
    let directory = file.parent().unwrap_or(&file).to_path_buf();
    Reader::new(Document::new(file, text), &directory)
}

/// Whether a text has the table of a project.
fn defines(text: &str, project: &ProjectName) -> bool {
    let (table, _) = DeTable::parse_recoverable(text);
    let projects = table.get_ref().get("project");
    projects.is_some_and(|projects| projects.get_ref().get(project.as_str()).is_some())
}

#[cfg(test)]
mod tests;
