//! How every change is made: looked at, asked about, written, and waited for.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::{Failure, find, guard, in_force, load};
use super::{Change, How};
use crate::admin::control::{Cuts, Proposal, ProposedRule};
use crate::cli::control::{RunningGate, Unanswered};
use crate::config::{Config, ProjectSpec, Revision};
use crate::id::ProjectName;
use crate::store::edit::{self, EditError, Target};

/// How often a change is tried again when others change the same rules.
const ATTEMPTS: usize = 100;

/// How long a running gate may take to have a change in force before that is said.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

/// Makes a change: looks at what it comes to, asks whether it is meant, writes it, and waits until
/// the running gate has it in force. `change` says what it is for the rules as they are found.
pub(in crate::cli::rules) fn make(
    path: &Path,
    project: &ProjectName,
    (how, origin): (&How, Option<IpAddr>),
    change: impl Fn(&ProjectSpec) -> Result<Change, Failure>,
) -> Result<ExitCode, Failure> {
    for _ in 0..ATTEMPTS {
        let found = load(path)?;
        let spec = find(&found, project)?;
        let revision = spec.revision();
        let change = change(spec)?;
        let expected = Some(how.if_revision.unwrap_or(revision));
        let target = Target { project, expected };
        let planned = match edit::preview(path, &target, change.as_edit()) {
            Err(EditError::Revision { .. }) if how.if_revision.is_none() => continue,
            planned => planned.map_err(failure)?,
        };
        if planned.diff.is_empty() {
            println!("nothing to change: {project} is like that, at revision {revision}");
            return Ok(ExitCode::SUCCESS);
        }
        let after = find(&planned.after, project)?;
        let client = guard::origin(origin);
        let objections = guard::objections((spec, &found), (after, &planned.after), client)?;
        let cuts = cuts(&found, after);
        warn_of_more(&found, &planned.after);
        if how.dry_run {
            print!("{}", planned.diff);
            return Ok(dry_run(project, &cuts, &objections));
        }
        if !objections.is_empty() && !how.force {
            let why = objections.join("\n       and ");
            return Err(Failure::refused(format!(
                "{why}; if that is meant, say --force\n{}",
                cuts_words(project, &cuts)
            )));
        }
        match edit::apply(path, &target, change.as_edit()) {
            Err(EditError::Revision { .. }) if how.if_revision.is_none() => {}
            Err(EditError::Raced) => {}
            Err(error) => return Err(failure(error)),
            Ok(done) => {
                print!("{}", done.diff);
                eprintln!("{}", cuts_words(project, &cuts));
                eprintln!("{}", await_force(&done.after, project, done.after_revision));
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    Err(Failure::refused(
        "others change the same rules all the time; try again",
    ))
}

/// Says what is to be known of the rules that wasn't before, such as that they let in the whole Internet.
fn warn_of_more(before: &Config, after: &Config) {
    let is_new = |message| before.warnings.iter().all(|old| old.message() != message);
    for warning in &after.warnings {
        if is_new(warning.message()) {
            eprintln!("warning: {}", warning.message());
        }
    }
}

fn failure(error: EditError) -> Failure {
    match error {
        EditError::NoProject(_)
        | EditError::NoRule(..)
        | EditError::Before(_)
        | EditError::After(_) => Failure::usage(error),
        EditError::File { .. }
        | EditError::Revision { .. }
        | EditError::Form
        | EditError::Raced => Failure::refused(error),
    }
}

/// How many live sessions the running gate would cut if these were its rules.
fn cuts(config: &Config, after: &ProjectSpec) -> Result<Cuts, Unanswered> {
    let rules = after
        .rules
        .iter()
        .map(|written| ProposedRule::from(&written.rule))
        .collect();
    let path = format!("/v1/projects/{}/cuts", after.name);
    RunningGate::of(config)?.post(&path, &Proposal { rules })
}

fn cuts_words(project: &ProjectName, cuts: &Result<Cuts, Unanswered>) -> String {
    match cuts {
        Ok(Cuts { sessions, cut }) => {
            format!("this cuts {cut} of {sessions} live sessions of {project}")
        }
        Err(why) => format!("{why}: how many live sessions this cuts is unknown"),
    }
}

fn dry_run(
    project: &ProjectName,
    cuts: &Result<Cuts, Unanswered>,
    objections: &[String],
) -> ExitCode {
    eprintln!("{}", cuts_words(project, cuts));
    for objection in objections {
        eprintln!("{objection}: without --force it will be refused");
    }
    eprintln!("nothing was changed");
    ExitCode::SUCCESS
}

/// Waits until the running gate has a revision in force; what came of it.
fn await_force(config: &Config, project: &ProjectName, revision: Revision) -> String {
    let deadline = Instant::now() + IN_FORCE_WITHIN;
    loop {
        match in_force(config, project) {
            Ok(running) if running.revision == revision.to_string() => {
                return format!("{project} is at revision {revision}, in force");
            }
            Err(why @ (Unanswered::Off | Unanswered::Absent(_))) => {
                return format!("{project} is at revision {revision}; {why}");
            }
            Ok(_) | Err(_) if Instant::now() > deadline => {
                return format!(
                    "{project} is at revision {revision}, but the running gate does not have it in \
                     force: its log says why"
                );
            }
            Ok(_) | Err(_) => sleep(Duration::from_millis(20)),
        }
    }
}
