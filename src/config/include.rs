//! `include`: projects in files of their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::problem::{Place, Problem};
use super::reader::Item;
use super::value::{Value, quoted};
use crate::id::ProjectName;
use crate::stamp::Identity;

/// How the name of an included file ends. Nothing else that lies beside it (a lock, what an editor
/// leaves) ends so.
const ENDING: &str = ".toml";

/// Files of one directory: all whose names begin and end so, but for those that begin with a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Include {
    directory: PathBuf,
    start: String,
    /// What follows the `*`; none where there is no `*`, and `start` is the whole name.
    end: Option<String>,
    place: Place,
}

impl Include {
    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it includes the file of that path.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        path.parent() == Some(&self.directory) && name.is_some_and(|name| self.holds_name(name))
    }

    fn holds_name(&self, name: &str) -> bool {
        match &self.end {
            None => name == self.start,
            Some(end) => {
                let rest = name.strip_prefix(&self.start);
                let is_hidden = name.starts_with('.') && !self.start.starts_with('.');
                rest.is_some_and(|rest| rest.ends_with(end.as_str())) && !is_hidden
            }
        }
    }

    /// The files that there are, in no order.
    ///
    /// # Errors
    /// The directory can't be read; the file is not there, if it can be one only.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(|name| self.holds_name(name)) {
                files.push(self.directory.join(name));
            }
        }
        if files.is_empty() && self.end.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(files)
    }

    /// Whether both include the same, wherever they are written.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let of = |include: &Self| {
            let Self {
                directory,
                start,
                end,
                place: _,
            } = include.clone();
            (directory, start, end)
        };
        of(self) == of(other)
    }

    /// Why its files can't be said to have been removed although they are not there, if that is so:
    /// its directory is gone, or there is another one by now, with nothing in it, as when a file
    /// system is not mounted any more (T25). `before` is the directory that they were read from.
    #[must_use]
    pub fn lost(&self, before: Identity) -> Option<Problem> {
        let now = Identity::of(&self.directory);
        if self.end.is_some() && now.is_there() && now == before {
            return None;
        }
        let problem = match self.files() {
            Err(error) => self.unreadable(&error),
            Ok(files) if files.is_empty() && now != before => {
                let directory = self.directory.display();
                let place = &self.place;
                let what = "another directory is there by now, without any project";
                Problem::of_file(format!("{directory}: {what}; see {place}"))
            }
            Ok(_) => return None,
        };
        let help = "its projects stay as they are; to remove them, take it out of \"include\"";
        Some(problem.with_help(help))
    }

    /// The file in which a project stands if its file is named after it.
    pub(super) fn likely(&self, project: &ProjectName) -> PathBuf {
        self.directory.join(format!("{project}{ENDING}"))
    }

    /// That its directory, or the file if it is one, can't be read.
    pub(super) fn unreadable(&self, error: &io::Error) -> Problem {
        let directory = self.directory.display();
        Problem::of_file(format!("{directory}: {error}; see {}", self.place))
    }
}

impl Value for Include {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        const EXPECTED: &str = "files such as \"projects.d/*.toml\"";
        let text = item.text(EXPECTED)?;
        let path = item.reader.resolve(&text);
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(directory), Some(name)) = (path.parent(), name) else {
            return item.refuse(format!("{} is not {EXPECTED}", quoted(&text)));
        };
        let (start, end) = match name.split_once('*') {
            Some((start, end)) => (start, Some(end.to_owned())),
            None => (name, None),
        };
        if directory
            .to_str()
            .is_none_or(|directory| directory.contains('*'))
            || end.as_ref().is_some_and(|end| end.contains('*'))
        {
            return item.refuse("\"*\" stands once, in the file's name");
        }
        if !name.ends_with(ENDING) {
            return item.refuse(format!("the name of an included file ends in {ENDING}"));
        }
        Some(Self {
            directory: directory.to_path_buf(),
            start: start.to_owned(),
            end,
            place: item.reader.place(&item.spot),
        })
    }

    fn show(&self) -> String {
        let star = self.end.as_ref().map(|end| format!("*{end}"));
        let name = format!("{}{}", self.start, star.unwrap_or_default());
        super::value::show_path(&self.directory.join(name))
    }
}
