//! Reads a TOML document key by key: each key is read, defaulted, checked and recorded by one call,
//! and nothing stops at the first error.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::compiled::{CompiledSets, Digest};
use super::effective::Effective;
use super::files::{SourceFile, read_text};
use super::problem::{Document, Place, Problem};
use super::section::Section;
use super::value::Value;
use crate::gate::set::NetworkSet;

/// What reading has found so far.
pub(super) struct Reader<'t> {
    document: Document<'t>,
    directory: PathBuf,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Files of single projects that can't be used: see [`Config::vanished`](super::Config::vanished).
    pub(super) vanished: Vec<Problem>,
    pub(super) files: Vec<SourceFile>,
    pub(super) effective: Effective,
    /// Whether `effective` and `asked` are wanted: it takes longer than all the rest.
    pub(super) is_recording: bool,
    /// The sets of the configuration before.
    pub(super) known: CompiledSets,
    /// The sets of this one.
    pub(super) compiled: CompiledSets,
    /// Every key that was asked for, with `*` for a name of the user's own choice.
    pub(super) asked: BTreeSet<String>,
}

impl<'t> Reader<'t> {
    /// A reader of `document`, whose relative paths start at `directory`.
    pub(super) fn new(document: Document<'t>, directory: &Path) -> Self {
        Self {
            document,
            directory: directory.to_path_buf(),
            problems: Vec::new(),
            warnings: Vec::new(),
            vanished: Vec::new(),
            files: Vec::new(),
            effective: Effective::default(),
            is_recording: true,
            known: CompiledSets::default(),
            compiled: CompiledSets::default(),
            asked: BTreeSet::new(),
        }
    }

    /// The file that is read, as it was named.
    pub(super) const fn file(&self) -> &Arc<Path> {
        self.document.file()
    }

    /// What is read.
    pub(super) const fn text(&self) -> &'t str {
        self.document.text()
    }

    /// Reads the top of the document.
    pub(super) fn root<T>(
        &mut self,
        table: &Spanned<DeTable<'t>>,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> T {
        let spot = Spot {
            key: String::new(),
            pattern: String::new(),
            span: table.span(),
        };
        let record = Some(self.effective.open(String::new()));
        Section::new(self, Some(table.get_ref()), spot, record).read(read)
    }

    /// A problem that its caller has yet to describe.
    pub(super) fn problem(&self, spot: &Spot) -> Problem {
        Problem::at(&self.document, &spot.span, &spot.key)
    }

    /// Notes what is wrong at a spot.
    pub(super) fn refuse(&mut self, spot: &Spot, message: impl Display) {
        let problem = self.problem(spot).saying(message.to_string());
        self.problems.push(problem);
    }

    /// Notes what is not TOML.
    pub(super) fn refuse_syntax(&mut self, span: &Range<usize>, message: &str) {
        self.problems
            .push(Problem::at(&self.document, span, "").saying(message));
    }

    /// Notes what is wrong at a spot, and what would put it right.
    pub(super) fn refuse_with(&mut self, spot: &Spot, message: impl Display, help: &str) {
        let problem = self
            .problem(spot)
            .saying(message.to_string())
            .with_help(help);
        self.problems.push(problem);
    }

    /// Notes what is wrong at a spot because of what stands at another one, which is shown as well.
    pub(super) fn refuse_beside(
        &mut self,
        spot: &Spot,
        (message, first): (impl Display, &Spot),
        help: &str,
    ) {
        let problem = self
            .problem(spot)
            .saying(message.to_string())
            .because_of(&self.document, &first.span)
            .with_help(help);
        self.problems.push(problem);
    }

    /// Notes a file, named at a spot, that can't be used and that its project may go on without.
    pub(super) fn vanish(&mut self, spot: &Spot, message: impl Display) {
        let problem = self.problem(spot).saying(message.to_string());
        self.vanished.push(problem);
    }

    /// Notes what is right and yet worth knowing.
    pub(super) fn warn(&mut self, spot: &Spot, message: impl Display, help: &str) {
        let problem = self
            .problem(spot)
            .saying(message.to_string())
            .with_help(help);
        self.warnings.push(problem);
    }

    /// Where a spot is, for people.
    pub(super) fn place(&self, spot: &Spot) -> Place {
        self.document.place(spot.span.start)
    }

    /// A path as the configuration means it: relative to the file in which it stands.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// Reads a file that the configuration names.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn read_file(&mut self, path: &Path, limit: u64) -> std::io::Result<String> {
        self.files.push(SourceFile::look(path));
        read_text(path, limit)
    }

    /// The compiled set of a list, if this configuration or the one before has it.
    pub(super) fn known_set(&mut self, digest: Digest) -> Option<Arc<NetworkSet>> {
        let known = self.compiled.get(digest).or_else(|| self.known.get(digest));
        let known = Arc::clone(known?);
        self.compiled.insert(digest, &known);
        Some(known)
    }
}

/// A key with its value's position: what an error or a warning is about.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    /// The full path, such as `project.acme.allow[2]`.
    pub(super) key: String,
    /// The same with `*` for names of the user's own choice.
    pub(super) pattern: String,
    pub(super) span: Range<usize>,
}

impl Spot {
    pub(super) fn child(&self, name: &str, pattern: &str, span: Range<usize>) -> Self {
        let join = |path: &str, name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let shown = toml_edit::Key::new(name).to_string();
        Self {
            key: join(&self.key, &shown),
            pattern: join(&self.pattern, pattern),
            span,
        }
    }

    pub(super) fn element(&self, index: usize, span: Range<usize>) -> Self {
        Self {
            key: format!("{}[{index}]", self.key),
            pattern: self.pattern.clone(),
            span,
        }
    }
}

/// A value together with its spot, being read.
pub(super) struct Item<'r, 't> {
    pub(super) reader: &'r mut Reader<'t>,
    pub(super) value: &'r DeValue<'t>,
    pub(super) spot: Spot,
}

impl<'t> Item<'_, 't> {
    /// Refuses the value, so that `return item.refuse(..)` reads as what it does.
    pub(super) fn refuse<T>(&mut self, message: impl Display) -> Option<T> {
        self.reader.refuse(&self.spot, message);
        None
    }

    /// Refuses a value of the wrong type.
    pub(super) fn refuse_type<T>(&mut self, expected: &str) -> Option<T> {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.refuse(format!("expected {expected}, found {found}"))
    }

    /// The value as text.
    pub(super) fn text(&mut self, expected: &str) -> Option<String> {
        match self.value.as_str() {
            Some(text) => Some(text.to_owned()),
            None => self.refuse_type(expected),
        }
    }

    /// Reads each element of an array; none if any of them is refused.
    pub(super) fn elements<T: Value>(&mut self) -> Option<Vec<T>> {
        let DeValue::Array(array) = self.value else {
            return self.refuse_type("an array");
        };
        let mut all = Some(Vec::with_capacity(array.len()));
        for (index, element) in array.iter().enumerate() {
            let spot = self.spot.element(index, element.span());
            let read = T::read(&mut Item {
                reader: self.reader,
                value: element.get_ref(),
                spot,
            });
            all = all.zip(read).map(|(mut all, one)| {
                all.push(one);
                all
            });
        }
        all
    }

    /// Reads a table that stands as a value.
    pub(super) fn table<T>(
        &mut self,
        expected: &str,
        read: impl FnOnce(&mut Section<'_, 't>) -> Option<T>,
    ) -> Option<T> {
        let DeValue::Table(table) = self.value else {
            return self.refuse_type(expected);
        };
        Section::new(self.reader, Some(table), self.spot.clone(), None).read(read)
    }
}
