//! A configuration, read from a file or a text.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::compiled::CompiledSets;
use super::files::{SourceFile, read_text};
use super::problem::{ConfigErrors, Document, Problem};
use super::quick::QuickSpec;
use super::reader::Reader;
use super::{Config, MAX_FILE, read_root};

impl Config {
    /// Reads a file and all that it names, the projects included.
    ///
    /// # Errors
    /// Everything that is wrong, and the files which may put it right when they change.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_main(path)?.with_included()?.whole()
    }

    /// Reads a file and all that it names, without the projects that it includes. That a certificate
    /// has [`vanished`](Self::vanished) is no error yet.
    ///
    /// # Errors
    /// Everything else that is wrong, and the files which may put it right when they change.
    pub fn load_main(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_main_again(path, CompiledSets::default())
    }

    /// The same in a gate that has read it before: what was [`compiled`](Self::compiled) is not compiled
    /// again.
    ///
    /// # Errors
    /// As there.
    pub fn load_main_again(path: &Path, known: CompiledSets) -> Result<Self, ConfigErrors> {
        let file = SourceFile::look(&absolute(path)?);
        let text = read_text(file.path(), MAX_FILE)
            .map_err(|error| unreadable(path, &error, vec![file.clone()]))?;
        let directory = file
            .path()
            .parent()
            .map_or_else(PathBuf::new, Path::to_path_buf);
        let before = Before {
            files: vec![file],
            known,
        };
        let config = read(Document::new(path, &text), &directory, before)?;
        if config.projects.is_empty() && config.include.is_empty() {
            let problem = config.without_any_project();
            return Err(ConfigErrors::new(vec![problem], config.files));
        }
        Ok(config)
    }

    /// Reads a text as what the file `path` is to hold, as [`Self::load_main`] would.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn load_text(
        path: &Path,
        text: &str,
        known: CompiledSets,
    ) -> Result<Self, ConfigErrors> {
        let absolute = absolute(path)?;
        let before = Before {
            files: Vec::new(),
            known,
        };
        read(
            Document::new(path, text),
            absolute.parent().unwrap_or(&absolute),
            before,
        )
    }

    /// Reads a text as if it stood in the file `origin`, whose directory relative paths start at.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, ConfigErrors> {
        let directory = origin.parent().unwrap_or(origin);
        read(Document::new(origin, text), directory, Before::default())?.whole()
    }

    /// The configuration, if nothing has vanished.
    fn whole(self) -> Result<Self, ConfigErrors> {
        if self.vanished.is_empty() {
            Ok(self)
        } else {
            Err(ConfigErrors::new(self.vanished, self.files))
        }
    }

    /// A configuration of one project, from the command line.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn quick(spec: &QuickSpec) -> Result<Self, ConfigErrors> {
        let text = spec.to_toml();
        read(
            Document::new(Path::new("the command line"), &text),
            Path::new(""),
            Before::default(),
        )?
        .whole()
    }
}

/// The path from the root on, so that what is resolved by it holds wherever it is read again.
fn absolute(path: &Path) -> Result<PathBuf, ConfigErrors> {
    let absolute = std::path::absolute(path).map_err(|error| unreadable(path, &error, vec![]))?;
    match absolute.to_str() {
        Some(_) => Ok(absolute),
        None => Err(unreadable(path, &"the path is not UTF-8", vec![])),
    }
}

pub(super) fn unreadable(
    path: &Path,
    why: &dyn std::fmt::Display,
    files: Vec<SourceFile>,
) -> ConfigErrors {
    let message = format!("{}: {why}", path.display());
    ConfigErrors::new(vec![Problem::of_file(message)], files)
}

/// What there is before a document is read.
#[derive(Default)]
struct Before {
    /// The files that were looked at: its own.
    files: Vec<SourceFile>,
    /// What was compiled for the one before it.
    known: CompiledSets,
}

fn read(document: Document<'_>, directory: &Path, before: Before) -> Result<Config, ConfigErrors> {
    let (table, syntax) = DeTable::parse_recoverable(document.text());
    let mut reader = Reader::new(document, directory);
    (reader.files, reader.known) = (before.files, before.known);
    // After a syntax error the rest of the table is a guess, and so would be what is wrong with it;
    // a key that is there twice leaves no doubt about the others.
    let is_whole = syntax
        .iter()
        .all(|error| error.message() == "duplicate key");
    for error in syntax {
        let span = error.span().unwrap_or_default();
        reader.refuse_syntax(&span, error.message());
    }
    let config = if is_whole {
        reader.root(&table, read_root)
    } else {
        None
    };
    let Reader {
        mut problems,
        warnings,
        vanished,
        files,
        effective,
        compiled,
        ..
    } = reader;
    match config {
        Some(config) if problems.is_empty() => Ok(Config {
            warnings,
            vanished,
            files,
            effective,
            compiled,
            ..config
        }),
        Some(_) | None => {
            problems.extend(vanished);
            Err(ConfigErrors::new(problems, files))
        }
    }
}
