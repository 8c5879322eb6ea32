//! `portcullis rules list`: every rule, where it is written, and how often it decided.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Failure, find, in_force, load};
use crate::admin::control::{RuleHits, RulesInForce};
use crate::cli::control::Unanswered;
use crate::config::{ProjectSpec, RuleSpec};
use crate::id::ProjectName;

/// What `list` takes.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The project
    project: ProjectName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A project's rules, as they are printed.
#[derive(Debug, Serialize)]
struct Listed {
    project: String,
    /// Of the rules as they are written.
    revision: String,
    /// Of the rules that the running gate has in force; none if no gate answers.
    revision_in_force: Option<String>,
    /// None if no gate answers.
    live_sessions: Option<usize>,
    rules: Vec<Row>,
}

/// A rule, as it is printed.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Row {
    id: String,
    verdict: String,
    source: String,
    /// None if no gate has it in force.
    hits: Option<u64>,
    last_hit: Option<String>,
    expires: Option<String>,
    expired: bool,
    note: Option<String>,
    author: Option<String>,
    file: String,
    line: usize,
}

pub(super) fn list(path: &Path, args: &ListArgs) -> Result<ExitCode, Failure> {
    let config = load(path, &args.project)?;
    let spec = find(&config, &args.project)?;
    let running = in_force(&config, &args.project);
    let listed = listed(spec, running.as_ref().ok());
    if args.json {
        let json = serde_json::to_string_pretty(&listed).map_err(Failure::refused)?;
        println!("{json}");
    } else {
        print!("{}", table(&listed.rules));
        println!("{}", summary(&listed, running.err()));
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(spec: &ProjectSpec, running: Option<&RulesInForce>) -> Listed {
    let hits = running.map_or(&[][..], |running| &running.rules);
    Listed {
        project: spec.name.to_string(),
        revision: spec.revision().to_string(),
        revision_in_force: running.map(|running| running.revision.clone()),
        live_sessions: running.map(|running| running.sessions),
        rules: rows(&spec.rules, hits),
    }
}

/// The rules as they are written, each with the hits that the running gate has of it.
pub(in crate::cli) fn rows(rules: &[RuleSpec], hits: &[RuleHits]) -> Vec<Row> {
    let now = Timestamp::now();
    let hits = hits.iter().map(|hits| (hits.id.as_str(), hits)).collect();
    let rows = rules.iter().map(|written| row(written, &hits, now));
    rows.collect()
}

fn row(written: &RuleSpec, hits: &HashMap<&str, &RuleHits>, now: Timestamp) -> Row {
    let RuleSpec { rule, place } = written;
    let (id, verdict) = (rule.id.to_string(), rule.verdict.to_string());
    let hits = hits.get(id.as_str());
    Row {
        hits: hits.map(|hits| hits.hits),
        last_hit: hits.and_then(|hits| hits.last_hit.clone()),
        source: rule.source.to_string(),
        expires: rule.expires().map(|expires| expires.to_string()),
        expired: !rule.is_in_force(now),
        note: rule.note().map(ToString::to_string),
        author: rule.author().map(ToString::to_string),
        file: place.file().display().to_string(),
        line: place.line(),
        id,
        verdict,
    }
}

fn summary(listed: &Listed, unanswered: Option<Unanswered>) -> String {
    let Listed {
        project, revision, ..
    } = listed;
    match (&listed.revision_in_force, unanswered) {
        (Some(in_force), _) if in_force == revision => {
            let sessions = listed.live_sessions.unwrap_or_default();
            format!("{project}: revision {revision}, in force; {sessions} live sessions")
        }
        (Some(in_force), _) => format!(
            "{project}: revision {revision}, not in force: the running gate has revision \
             {in_force}; its log says why"
        ),
        (None, Some(why)) => format!("{project}: revision {revision}; {why}, so hits are unknown"),
        (None, None) => format!("{project}: revision {revision}"),
    }
}

/// The rules as a table.
pub(in crate::cli) fn table(rows: &[Row]) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    layout(&[
        column("ID", rows, |row| row.id.clone()),
        column("VERDICT", rows, |row| row.verdict.clone()),
        column("SOURCE", rows, |row| row.source.clone()),
        column("HITS", rows, |row| {
            row.hits.map(|hits| hits.to_string()).unwrap_or_default()
        }),
        column("LAST HIT", rows, |row| text(&row.last_hit)),
        column("EXPIRES", rows, |row| {
            let mark = if row.expired { " (expired)" } else { "" };
            text(&row.expires) + mark
        }),
        column("WRITTEN", rows, |row| format!("{}:{}", row.file, row.line)),
        column("AUTHOR", rows, |row| text(&row.author)),
        column("NOTE", rows, |row| text(&row.note)),
    ])
}

/// A column: its head, and a cell of each row.
pub(in crate::cli) fn column<R>(
    head: &str,
    rows: &[R],
    cell: impl Fn(&R) -> String,
) -> Vec<String> {
    let head = std::iter::once(head.to_owned());
    head.chain(rows.iter().map(cell)).collect()
}

/// Columns as wide as they need to be; those with nothing in them are left out.
pub(in crate::cli) fn layout(columns: &[Vec<String>]) -> String {
    let is_used = |column: &&Vec<String>| column.iter().skip(1).any(|cell| !cell.is_empty());
    let lines = columns.first().map_or(0, Vec::len);
    let used: Vec<_> = columns.iter().filter(is_used).collect();
    let width = |column: &[String]| column.iter().map(|cell| cell.chars().count()).max();
    let line = |index: usize| {
        let cells = used.iter().map(|column| {
            let width = width(column).unwrap_or_default();
            format!("{:width$}", column.get(index).map_or("", String::as_str))
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    (0..lines).map(line).collect()
}
