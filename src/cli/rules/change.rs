//! `portcullis rules add`, `remove` and `replace`, and of these what `portcullis deny` has, too.

mod make;

use std::collections::HashSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::Failure;
use crate::config::{Revision, RuleSpec};
use crate::gate::rule::{self, Author, Note, Rule, RuleId, Source, Verdict};
use crate::id::ProjectName;
use crate::store::edit::{Edit, Owner, Selector};

pub(super) use make::make;

/// How a change is made.
#[derive(Debug, Args)]
pub(in crate::cli) struct How {
    /// Show what would change, and how many live sessions that would cut; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Make the change even if it shuts you out, or leaves nobody who may come in
    #[arg(long)]
    force: bool,
    /// Change the rules only if they are at this revision
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<Revision>,
}

/// Where a change is made from.
#[derive(Debug, Args)]
pub(in crate::cli) struct Origin {
    /// The address that you come from, if SSH_CONNECTION doesn't say it
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
}

/// What is said of a rule beside whom it is about.
#[derive(Debug, Args)]
pub(in crate::cli) struct Remarks {
    /// Why, in at most 1024 characters
    #[arg(long, value_name = "TEXT")]
    note: Option<Note>,
    /// Until when: a moment (RFC 3339), or a time from now such as 8h or 7d
    #[arg(long, value_name = "WHEN")]
    expires: Option<Expiry>,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    author: Option<Author>,
}

impl Remarks {
    fn on(&self, verdict: Verdict, source: Source) -> Rule {
        Rule::new(verdict, source).with(rule::Remarks {
            note: self.note.clone(),
            expires: self.expires.map(|expiry| expiry.0),
            author: self.author.clone(),
        })
    }
}

/// What `add` takes.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The project
    project: ProjectName,
    /// An address, a CIDR block, a range a-b, anywhere, tag:NAME or endpoint:ID
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<Source>,
    /// Shut them out rather than let them in
    #[arg(long)]
    deny: bool,
    #[command(flatten)]
    remarks: Remarks,
    #[command(flatten)]
    origin: Origin,
    #[command(flatten)]
    how: How,
}

/// What `remove` takes.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The project
    project: ProjectName,
    /// A rule's source, or its id
    #[arg(value_name = "SOURCE|ID", required = true)]
    rules: Vec<String>,
    /// Only from the deny list
    #[arg(long)]
    deny: bool,
    #[command(flatten)]
    origin: Origin,
    #[command(flatten)]
    how: How,
}

/// What `replace` takes.
#[derive(Debug, Args)]
pub(super) struct ReplaceArgs {
    /// The project
    project: ProjectName,
    /// What the list is to consist of
    #[arg(value_name = "SOURCE", required_unless_present = "file")]
    sources: Vec<Source>,
    /// A file of sources, one per line; `#` begins a comment
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The deny list rather than the allow list
    #[arg(long)]
    deny: bool,
    #[command(flatten)]
    origin: Origin,
    #[command(flatten)]
    how: How,
}

/// When a rule expires.
#[derive(Debug, Clone, Copy)]
struct Expiry(Timestamp);

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let now = Timestamp::now();
        let later = || {
            let span: Span = text.parse().ok()?;
            now.to_zoned(TimeZone::UTC).checked_add(span).ok()
        };
        let moment = text.parse().ok().or_else(|| {
            let later = later()?.timestamp();
            Timestamp::from_second(later.as_second()).ok()
        });
        match moment {
            Some(moment) if moment > now => Ok(Self(moment)),
            Some(moment) => Err(format!("{moment} is past")),
            None => Err(
                "neither a moment such as 2027-01-31T18:00:00Z nor a time such as 8h".to_owned(),
            ),
        }
    }
}

/// A change of rules.
#[derive(Debug)]
pub(super) enum Change {
    Add(Vec<Rule>),
    Remove(Vec<Selector>),
    Replace(Verdict, Vec<Rule>),
}

impl Change {
    fn as_edit(&self) -> Edit<'_> {
        match self {
            Self::Add(rules) => Edit::Add(rules),
            Self::Remove(selectors) => Edit::Remove(selectors),
            Self::Replace(verdict, rules) => Edit::Replace(*verdict, rules),
        }
    }
}

const fn verdict(deny: bool) -> Verdict {
    if deny { Verdict::Deny } else { Verdict::Allow }
}

pub(super) fn add(path: &Path, args: AddArgs) -> Result<ExitCode, Failure> {
    let verdict = verdict(args.deny);
    if args.sources.contains(&Source::Nowhere) {
        let project = &args.project;
        return Err(Failure::usage(format!(
            "nowhere stands alone: portcullis rules replace {project} nowhere --force"
        )));
    }
    let (owner, from) = (Owner::Project(&args.project), (&args.how, args.origin.from));
    let sources = args.sources.into_iter();
    let wanted = sources.map(|source| args.remarks.on(verdict, source));
    let wanted: Vec<_> = wanted.collect();
    make(path, owner, from, |rules| {
        Ok(Change::Add(merged(rules, &wanted)))
    })
}

/// Adds to the process-wide deny list.
pub(in crate::cli) fn add_to_deny(
    path: &Path,
    sources: Vec<Source>,
    remarks: &Remarks,
    (how, origin): (&How, &Origin),
) -> Result<ExitCode, Failure> {
    let wanted = sources.into_iter();
    let wanted: Vec<_> = wanted
        .map(|source| remarks.on(Verdict::Deny, source))
        .collect();
    make(path, Owner::Process, (how, origin.from), |rules| {
        Ok(Change::Add(merged(rules, &wanted)))
    })
}

/// The rules, each source once, each with what the one of the same source has and it says nothing of. An
/// expiry that is past is not kept: the rule is meant to count.
pub(super) fn merged(rules: &[RuleSpec], wanted: &[Rule]) -> Vec<Rule> {
    let now = Timestamp::now();
    let merge = |wanted: &Rule| {
        let is_same = |rule: &&Rule| rule.verdict == wanted.verdict && rule.source == wanted.source;
        let there = rules.iter().map(|written| &written.rule).find(is_same);
        let Some(there) = there else {
            return wanted.clone();
        };
        let kept = there.expires().filter(|_| there.is_in_force(now));
        let remarks = rule::Remarks {
            note: wanted.note().or_else(|| there.note()).cloned(),
            expires: wanted.expires().or(kept),
            author: wanted.author().or_else(|| there.author()).cloned(),
        };
        let mut merged = wanted.clone().with(remarks);
        merged.id = there.id.clone();
        merged
    };
    let mut seen = HashSet::new();
    let first = wanted.iter().filter(|rule| seen.insert(&rule.source));
    first.map(merge).collect()
}

pub(super) fn remove(path: &Path, args: &RemoveArgs) -> Result<ExitCode, Failure> {
    let only = args.deny.then_some(Verdict::Deny);
    let owner = Owner::Project(&args.project);
    let texts = (&*args.rules, only);
    remove_of(path, owner, (&args.how, &args.origin), texts)
}

/// Takes rules away, which are named by source or by id; `only` those of a verdict.
pub(in crate::cli) fn remove_of(
    path: &Path,
    owner: Owner<'_>,
    (how, origin): (&How, &Origin),
    (texts, only): (&[String], Option<Verdict>),
) -> Result<ExitCode, Failure> {
    make(path, owner, (how, origin.from), |rules| {
        let rules = rules.iter().map(|written| &written.rule);
        let rules = rules.filter(|rule| only.is_none_or(|only| rule.verdict == only));
        let rules: Vec<_> = rules.collect();
        let selectors = texts.iter().map(|text| select(owner, &rules, text));
        selectors.collect::<Result<_, _>>().map(Change::Remove)
    })
}

/// The rule that a text names: by its id, else by its source.
fn select(owner: Owner<'_>, rules: &[&Rule], text: &str) -> Result<Selector, Failure> {
    if let Ok(id) = text.parse::<RuleId>()
        && rules.iter().any(|rule| rule.id == id)
    {
        return Ok(Selector::Id(id));
    }
    let source: Source = text.parse().map_err(|why| {
        Failure::usage(format!(
            "{owner} has no rule with the id {text}; as a source, {why}"
        ))
    })?;
    let of_source = rules.iter().filter(|rule| rule.source == source);
    let mut verdicts: Vec<_> = of_source.map(|rule| rule.verdict).collect();
    verdicts.dedup();
    match verdicts.as_slice() {
        [one] => Ok(Selector::Source(*one, source)),
        [] => Err(Failure::usage(format!("{owner} has no rule for {source}"))),
        _ => Err(Failure::usage(format!(
            "{owner} both allows and denies {source}: name the rule by its id, or say --deny"
        ))),
    }
}

pub(super) fn replace(path: &Path, args: ReplaceArgs) -> Result<ExitCode, Failure> {
    let verdict = verdict(args.deny);
    let mut sources = args.sources;
    if let Some(file) = &args.file {
        sources.extend(read_sources(file)?);
    }
    if sources.is_empty() && verdict == Verdict::Allow {
        return Err(Failure::usage("an empty allow list is written as: nowhere"));
    }
    let wanted: Vec<_> = sources
        .into_iter()
        .map(|source| Rule::new(verdict, source))
        .collect();
    let (owner, from) = (Owner::Project(&args.project), (&args.how, args.origin.from));
    make(path, owner, from, |rules| {
        Ok(Change::Replace(verdict, merged(rules, &wanted)))
    })
}

fn read_sources(file: &Path) -> Result<Vec<Source>, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    let (mut sources, mut bad) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        match line.split('#').next().unwrap_or_default().trim() {
            "" => {}
            written => match written.parse() {
                Ok(source) => sources.push(source),
                Err(error) => bad.push(format!("{}:{number}: {error}", file.display())),
            },
        }
    }
    if bad.is_empty() {
        Ok(sources)
    } else {
        Err(Failure::usage(bad.join("\n")))
    }
}
