//! What is wrong with a configuration, shown where it is written.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::files::SourceFile;
use super::project::ProjectSpec;

/// Where something is written: a file, and a line and a column in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    file: Arc<Path>,
    line: usize,
    column: usize,
}

impl Place {
    /// The file, as it was named.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The line, from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for Place {
    /// `proxy.toml:12`, as `rules list` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A text under its name, in which byte offsets are found as lines and columns.
#[derive(Debug, Clone)]
pub(super) struct Document<'t> {
    file: Arc<Path>,
    text: &'t str,
    /// The offset at which each line begins.
    lines: Arc<[usize]>,
}

impl<'t> Document<'t> {
    pub(super) fn new(file: impl Into<Arc<Path>>, text: &'t str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0)
            .chain(starts.map(|(at, _)| at + 1))
            .collect();
        Self {
            file: file.into(),
            text,
            lines,
        }
    }

    pub(super) const fn file(&self) -> &Arc<Path> {
        &self.file
    }

    pub(super) const fn text(&self) -> &'t str {
        self.text
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let (index, start) = self.line_of(offset);
        let before = self.text.get(start..offset).unwrap_or_default();
        Place {
            file: self.file.clone(),
            line: index + 1,
            column: before.chars().count() + 1,
        }
    }

    /// The index and the offset of the line in which `offset` lies.
    fn line_of(&self, offset: usize) -> (usize, usize) {
        let index = self
            .lines
            .partition_point(|start| *start <= offset)
            .saturating_sub(1);
        (index, self.lines.get(index).copied().unwrap_or_default())
    }

    /// The first line of `span`, with the part of `span` that lies in it.
    fn excerpt(&self, span: &Range<usize>) -> Excerpt {
        let (_, start) = self.line_of(span.start);
        let rest = self.text.get(start..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        let from = (span.start - start).min(line.len());
        let to = span.end.saturating_sub(start).clamp(from, line.len());
        Excerpt {
            line: without_passwords(line),
            span: from..to,
        }
    }
}

#[derive(Debug, Clone)]
struct Excerpt {
    line: String,
    span: Range<usize>,
}

/// The line with user and password in a URL replaced by as many asterisks: what an error shows
/// ends up in a log (T34).
fn without_passwords(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, url)) = rest.split_once("://") {
        let (url, after) = url.split_at(url.find(['"', '\'']).unwrap_or(url.len()));
        shown.extend([before, "://"]);
        match url.rsplit_once('@') {
            Some((user, host)) => shown.extend([&"*".repeat(user.len()), "@", host]),
            None => shown.push_str(url),
        }
        rest = after;
    }
    shown + rest
}

/// One thing that is wrong, or that somebody should know.
#[derive(Debug, Clone)]
pub struct Problem {
    key: String,
    message: String,
    help: Option<String>,
    place: Option<Place>,
    excerpt: Option<Excerpt>,
    /// What it collides with.
    first: Option<(Place, Excerpt)>,
}

impl Problem {
    /// A problem that no place in a file shows, such as a file that can't be read.
    pub(super) fn of_file(message: String) -> Self {
        Self {
            key: String::new(),
            message,
            help: None,
            place: None,
            excerpt: None,
            first: None,
        }
    }

    /// A problem with a project as a whole, where its table begins.
    pub(super) fn of_project(project: &ProjectSpec, message: String) -> Self {
        Self {
            key: format!("project.{}", project.name),
            place: Some(project.place.clone()),
            ..Self::of_file(message)
        }
    }

    /// A problem with what is written at `span`, which is the value of `key`.
    pub(super) fn at(document: &Document<'_>, span: &Range<usize>, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            message: String::new(),
            help: None,
            place: Some(document.place(span.start)),
            excerpt: Some(document.excerpt(span)),
            first: None,
        }
    }

    pub(super) fn saying(self, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..self
        }
    }

    /// Shows what is written at `first`, too: the problem is that both are there.
    pub(super) fn because_of(self, document: &Document<'_>, first: &Range<usize>) -> Self {
        Self {
            first: Some((document.place(first.start), document.excerpt(first))),
            ..self
        }
    }

    pub(super) fn with_help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// The key's full path, such as `project.acme.allow[2]`; empty if no key is at fault.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, in one sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would put it right.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Where it is written.
    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    fn title(&self) -> String {
        if self.key.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.key, self.message)
        }
    }

    /// The problem with its line and a caret, with no line end behind it.
    fn render(&self, level: Level<'_>, renderer: &Renderer) -> String {
        let here = self.place.iter().zip(&self.excerpt);
        let here = here.map(|(place, excerpt)| (place, excerpt, AnnotationKind::Primary, None));
        let first = self.first.iter().map(|(place, excerpt)| {
            let label = Some("the first of the two");
            (place, excerpt, AnnotationKind::Context, label)
        });
        let shown = here
            .chain(first)
            .map(|shown| (shown.0.file.display().to_string(), shown));
        let shown: Vec<_> = shown.collect();
        let snippets = shown.iter().map(|(path, (place, excerpt, kind, label))| {
            let annotation = kind.span(excerpt.span.clone()).label(*label);
            Snippet::source(excerpt.line.as_str())
                .line_start(place.line)
                .path(path.as_str())
                .annotation(annotation)
        });
        // Without a line to show, the place is told in words.
        let title = match (&self.place, &self.excerpt) {
            (Some(place), None) => format!("{place}: {}", self.title()),
            (_, _) => self.title(),
        };
        let mut group = level.primary_title(title).elements(snippets);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Problem {
    /// One line: `proxy.toml:12:5: project.acme.allow[2]: what is wrong (what would put it right)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}:{}: ", place.column)?;
        }
        f.write_str(&self.title())?;
        if let Some((first, _)) = &self.first {
            write!(f, ", at {first}")?;
        }
        self.help
            .as_ref()
            .map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

/// Whether a rendering is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Plain text, for files and logs.
    Plain,
    /// With ANSI colours, for a terminal.
    Coloured,
}

impl Style {
    const fn renderer(self) -> Renderer {
        match self {
            Self::Plain => Renderer::plain(),
            Self::Coloured => Renderer::styled(),
        }
    }
}

/// Things that an operator should know about a configuration that is nevertheless in force, with
/// their lines and carets.
#[must_use]
pub fn render_warnings(warnings: &[Problem], style: Style) -> String {
    render_all(warnings, &Level::WARNING, style)
}

fn render_all(problems: &[Problem], level: &Level<'_>, style: Style) -> String {
    let renderer = style.renderer();
    let one = |problem: &Problem| problem.render(level.clone(), &renderer) + "\n";
    problems.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Everything that is wrong with a configuration, in the order of the file: at least one problem.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
    files: Vec<SourceFile>,
}

impl ConfigErrors {
    pub(crate) fn new(mut problems: Vec<Problem>, files: Vec<SourceFile>) -> Self {
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        Self { problems, files }
    }

    /// The problems, at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The files that were looked at, missing ones too: when one of them changes, loading again
    /// may succeed.
    #[must_use]
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Every problem with its line and a caret, then how many there are.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let all = render_all(&self.problems, &Level::ERROR, style);
        let count = match self.problems.len() {
            1 => "1 error".to_owned(),
            more => format!("{more} errors"),
        };
        format!("{all}\n{count}\n")
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl Error for ConfigErrors {}
