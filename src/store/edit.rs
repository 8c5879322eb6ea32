//! The rules of a project, or of the process-wide deny list, changed where they stand, in `proxy.toml` or
//! a file that it includes, comments and order kept.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::replace::Lock;
use super::rewrite::NewList;
use crate::config::{CompiledSets, Config, ConfigErrors, Revision, RuleSpec};
use crate::gate::rule::{Rule, RuleId, Source, Verdict};
use crate::id::ProjectName;

/// Whose rules are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'e> {
    /// The process: its deny list.
    Process,
    /// A project: its allow and its deny.
    Project(&'e ProjectName),
}

impl Owner<'_> {
    /// Its rules in a configuration, in the order of writing; none if there is no such project.
    #[must_use]
    pub fn rules<'c>(&self, config: &'c Config) -> Option<&'c [RuleSpec]> {
        match self {
            Self::Process => Some(&config.deny.rules),
            Self::Project(name) => config.projects.get(*name).map(|spec| &*spec.rules),
        }
    }

    const fn verdicts(self) -> &'static [Verdict] {
        match self {
            Self::Process => &[Verdict::Deny],
            Self::Project(_) => &[Verdict::Allow, Verdict::Deny],
        }
    }
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("the process-wide deny list"),
            Self::Project(name) => fmt::Display::fmt(name, f),
        }
    }
}

/// The revision of rules as they are written.
#[must_use]
pub fn revision(rules: &[RuleSpec]) -> Revision {
    Revision::of(rules.iter().map(|written| &written.rule))
}

/// Whose rules are changed, and in which state they must be.
#[derive(Debug, Clone, Copy)]
pub struct Target<'e> {
    /// Whose.
    pub owner: Owner<'e>,
    /// If given, nothing is changed unless the rules are at this revision.
    pub expected: Option<Revision>,
    /// What need not be compiled again to read the file.
    pub known: &'e CompiledSets,
}

/// A change of rules.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'e> {
    /// Adds rules at the end of their verdict's list. A rule with the id, or else the source, of
    /// one that is there takes its place.
    Add(&'e [Rule]),
    /// Removes rules. Where the last allow rule goes, `nowhere` takes its place.
    Remove(&'e [Selector]),
    /// Makes the list of one verdict consist of these rules; those that stay, stay where they are.
    Replace(Verdict, &'e [Rule]),
}

/// Names a rule that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By its id, given or derived.
    Id(RuleId),
    /// By its list and source.
    Source(Verdict, Source),
}

impl Selector {
    pub(super) fn selects(&self, rule: &Rule) -> bool {
        match self {
            Self::Id(id) => rule.id == *id,
            Self::Source(verdict, source) => rule.verdict == *verdict && rule.source == *source,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "with id {id}"),
            Self::Source(verdict, source) => write!(f, "to {verdict} {source}"),
        }
    }
}

/// What an edit comes to.
#[derive(Debug, Clone)]
pub struct Change {
    /// The configuration before.
    pub before: Config,
    /// The configuration after.
    pub after: Config,
    /// The rules before.
    pub before_revision: Revision,
    /// The rules after; equal to the one before if nothing had to change.
    pub after_revision: Revision,
    /// The lines that differ, each behind `-` or `+`.
    pub diff: String,
    text: String,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file can't be read, locked or replaced.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file is in error as it is.
    #[error("the file is in error before any change:\n{0}")]
    Before(Box<ConfigErrors>),
    /// It would be in error afterwards.
    #[error("the change would make the file wrong:\n{0}")]
    After(Box<ConfigErrors>),
    /// There is no such project.
    #[error("there is no project {0}")]
    NoProject(ProjectName),
    /// There is no such rule.
    #[error("{0} has no rule {1}")]
    NoRule(String, Selector),
    /// The rules are not in the state that the change was made for.
    #[error("the rules are at revision {found}, not {expected}: somebody changed them")]
    Revision {
        /// The state that was meant.
        expected: Revision,
        /// The state that was found.
        found: Revision,
    },
    /// The list is written in a form that can be read and not edited.
    #[error("the list is written in a form that can't be changed in place; edit the file by hand")]
    Form,
    /// Somebody saved the file while it was being changed.
    #[error("the file was changed by somebody else at the same time; try again")]
    Raced,
}

/// Says what an edit would come to, and leaves the file alone.
///
/// # Errors
/// As for [`apply`].
pub fn preview(path: &Path, target: &Target<'_>, edit: Edit<'_>) -> Result<Change, EditError> {
    let kept = Kept::find(path, target)?;
    let file = kept.file(path);
    let text = std::fs::read_to_string(file).map_err(|source| file_error(file, source))?;
    plan(path, (&kept, &text), target, edit)
}

/// Changes the file in which the rules stand: under a lock, checked as a whole before it is put in place, by one rename.
///
/// # Errors
/// Whatever the reason, the file is as it was.
pub fn apply(path: &Path, target: &Target<'_>, edit: Edit<'_>) -> Result<Change, EditError> {
    let kept = Kept::find(path, target)?;
    let file = kept.file(path);
    let lock = Lock::take(file).map_err(|source| file_error(file, source))?;
    let text = lock.read().map_err(|source| file_error(file, source))?;
    let change = plan(path, (&kept, &text), target, edit)?;
    if change.text != text {
        // An editor takes no lock: this leaves it the moment between here and the rename.
        if lock.read().map_err(|source| file_error(file, source))? != text {
            return Err(EditError::Raced);
        }
        lock.replace(&change.text)
            .map_err(|source| file_error(file, source))?;
    }
    Ok(change)
}

/// Where rules are kept.
enum Kept {
    /// In the file itself, or nowhere.
    Here(CompiledSets),
    /// In a file that it includes.
    Included { main: Box<Config>, file: PathBuf },
}

impl Kept {
    fn find(path: &Path, target: &Target<'_>) -> Result<Self, EditError> {
        let wrong = |errors: ConfigErrors| EditError::Before(errors.into());
        let main = Config::load_main_again(path, target.known.clone()).map_err(wrong)?;
        let file = match target.owner {
            Owner::Process => None,
            Owner::Project(name) => main.file_of(name).map_err(wrong)?,
        };
        Ok(match file {
            None => Self::Here(main.compiled()),
            Some(file) => Self::Included {
                main: main.into(),
                file,
            },
        })
    }

    fn file<'k>(&'k self, path: &'k Path) -> &'k Path {
        match self {
            Self::Here(_) => path,
            Self::Included { file, .. } => file,
        }
    }

    /// The configuration, as far as it is about the rules, if this is what its file holds.
    fn load_text(&self, path: &Path, text: &str) -> Result<Config, ConfigErrors> {
        match self {
            Self::Here(known) => Config::load_text(path, text, known.clone()),
            Self::Included { main, file } => main.with_text(file, text),
        }
    }
}

fn file_error(path: &Path, source: io::Error) -> EditError {
    EditError::File {
        path: path.display().to_string(),
        source,
    }
}

fn plan(
    path: &Path,
    (kept, text): (&Kept, &str),
    target: &Target<'_>,
    edit: Edit<'_>,
) -> Result<Change, EditError> {
    let before = kept.load_text(path, text);
    let before = before.map_err(|error| EditError::Before(error.into()))?;
    let specs = find(&before, target.owner)?;
    let before_revision = revision(specs);
    if let Some(expected) = target
        .expected
        .filter(|expected| *expected != before_revision)
    {
        return Err(EditError::Revision {
            expected,
            found: before_revision,
        });
    }
    let mut edited = text.to_owned();
    let mut wanted = Vec::new();
    for verdict in target.owner.verdicts() {
        let rules = specs.iter().map(|spec| &spec.rule);
        let rules: Vec<_> = rules.filter(|rule| rule.verdict == *verdict).collect();
        let list = NewList::of(&rules, *verdict, edit);
        edited = list
            .write(&edited, target.owner, *verdict)
            .ok_or(EditError::Form)?;
        wanted.extend(list.into_rules());
    }
    if let Edit::Remove(selectors) = edit {
        refuse_missing((target.owner, specs), selectors)?;
    }
    let after = kept.load_text(path, &edited);
    let after = after.map_err(|error| EditError::After(error.into()))?;
    let found = find(&after, target.owner)?;
    if !found.iter().map(|spec| &spec.rule).eq(wanted.iter()) {
        return Err(EditError::Form);
    }
    let after_revision = revision(found);
    let diff = diff(text, &edited);
    Ok(Change {
        before_revision,
        after_revision,
        diff,
        text: edited,
        before,
        after,
    })
}

fn find<'c>(config: &'c Config, owner: Owner<'_>) -> Result<&'c [RuleSpec], EditError> {
    let missing = || match owner {
        Owner::Process => EditError::Form,
        Owner::Project(name) => EditError::NoProject(name.clone()),
    };
    owner.rules(config).ok_or_else(missing)
}

fn refuse_missing(
    (owner, specs): (Owner<'_>, &[RuleSpec]),
    selectors: &[Selector],
) -> Result<(), EditError> {
    let is_there = |selector: &&Selector| specs.iter().any(|spec| selector.selects(&spec.rule));
    match selectors.iter().find(|selector| !is_there(selector)) {
        Some(selector) => Err(EditError::NoRule(owner.to_string(), selector.clone())),
        None => Ok(()),
    }
}

/// The lines that differ, from the first to the last of them.
fn diff(before: &str, after: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let same_start = old
        .iter()
        .zip(&new)
        .take_while(|(old, new)| old == new)
        .count();
    let (old, new) = (&old[same_start..], &new[same_start..]);
    let same_end = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(|(old, new)| old == new);
    let same_end = same_end.count();
    let gone = old[..old.len() - same_end]
        .iter()
        .map(|line| format!("-{line}\n"));
    let come = new[..new.len() - same_end]
        .iter()
        .map(|line| format!("+{line}\n"));
    gone.chain(come).collect()
}

#[cfg(test)]
mod tests;
