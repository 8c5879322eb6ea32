//! How every change is made: looked at, asked about, written, and waited for.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::{Failure, find, guard, load_of, revision_in_force, rules_of};
use super::{Change, How};
use crate::address::ClientAddr;
use crate::admin::control::{Cuts, Proposal, ProposedRule};
use crate::cli::control::{RunningGate, Unanswered};
use crate::config::{Config, Revision, RuleSpec};
use crate::store::edit::{self, EditError, Owner, Target};

/// How often a change is tried again when others change the same rules.
const ATTEMPTS: usize = 100;

/// How long a running gate may take to have a change in force before that is said.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

/// Makes a change: looks at what it comes to, asks whether it is meant, writes it, and waits until
/// the running gate has it in force. `change` says what it is for the rules as they are found.
pub(in crate::cli::rules) fn make(
    path: &Path,
    owner: Owner<'_>,
    (how, origin): (&How, Option<IpAddr>),
    change: impl Fn(&[RuleSpec]) -> Result<Change, Failure>,
) -> Result<ExitCode, Failure> {
    for _ in 0..ATTEMPTS {
        let found = load_of(path, owner)?;
        let rules = rules_of(&found, owner)?;
        let revision = edit::revision(rules);
        let change = change(rules)?;
        let target = Target {
            owner,
            expected: Some(how.if_revision.unwrap_or(revision)),
            known: &found.compiled(),
        };
        let planned = match edit::preview(path, &target, change.as_edit()) {
            Err(EditError::Revision { .. }) if how.if_revision.is_none() => continue,
            planned => planned.map_err(failure)?,
        };
        if planned.diff.is_empty() {
            println!("nothing to change: {owner} is like that, at revision {revision}");
            return Ok(ExitCode::SUCCESS);
        }
        let client = guard::origin(origin);
        let objections = objections(owner, (&found, &planned.after), client)?;
        let cuts = cuts(&found, owner, rules_of(&planned.after, owner)?);
        warn_of_more(&found, &planned.after);
        if how.dry_run {
            print!("{}", planned.diff);
            return Ok(dry_run(owner, &cuts, &objections));
        }
        if !objections.is_empty() && !how.force {
            let why = objections.join("\n       and ");
            return Err(Failure::refused(format!(
                "{why}; if that is meant, say --force\n{}",
                cuts_words(owner, &cuts)
            )));
        }
        match edit::apply(path, &target, change.as_edit()) {
            Err(EditError::Revision { .. }) if how.if_revision.is_none() => {}
            Err(EditError::Raced) => {}
            Err(error) => return Err(failure(error)),
            Ok(done) => {
                print!("{}", done.diff);
                eprintln!("{}", cuts_words(owner, &cuts));
                eprintln!("{}", await_force(&done.after, owner, done.after_revision));
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

fn objections(
    owner: Owner<'_>,
    (before, after): (&Config, &Config),
    client: Option<ClientAddr>,
) -> Result<Vec<String>, Failure> {
    match owner {
        Owner::Process => guard::objections_to_deny(before, after, client),
        Owner::Project(project) => {
            let old = (find(before, project)?, before);
            guard::objections(old, (find(after, project)?, after), client)
        }
    }
}

/// How many live sessions the running gate would cut if these were its rules.
fn cuts(config: &Config, owner: Owner<'_>, after: &[RuleSpec]) -> Result<Cuts, Unanswered> {
    let rules = after.iter();
    let rules = rules.map(|written| ProposedRule::from(&written.rule));
    let proposal = Proposal {
        rules: rules.collect(),
    };
    let path = match owner {
        Owner::Process => "/v1/deny/cuts".to_owned(),
        Owner::Project(project) => format!("/v1/projects/{project}/cuts"),
    };
    RunningGate::of(config)?.post(&path, &proposal)
}

fn cuts_words(owner: Owner<'_>, cuts: &Result<Cuts, Unanswered>) -> String {
    let whose = match owner {
        Owner::Process => String::new(),
        Owner::Project(project) => format!(" of {project}"),
    };
    match cuts {
        Ok(Cuts { sessions, cut }) => {
            format!("this cuts {cut} of {sessions} live sessions{whose}")
        }
        Err(why) => format!("{why}: how many live sessions this cuts is unknown"),
    }
}

fn dry_run(owner: Owner<'_>, cuts: &Result<Cuts, Unanswered>, objections: &[String]) -> ExitCode {
    eprintln!("{}", cuts_words(owner, cuts));
    for objection in objections {
        eprintln!("{objection}: without --force it will be refused");
    }
    eprintln!("nothing was changed");
    ExitCode::SUCCESS
}

/// Waits until the running gate has a revision in force; what came of it.
fn await_force(config: &Config, owner: Owner<'_>, revision: Revision) -> String {
    let deadline = Instant::now() + IN_FORCE_WITHIN;
    loop {
        match revision_in_force(config, owner) {
            Ok(running) if running == revision.to_string() => {
                return format!("{owner} is at revision {revision}, in force");
            }
            Err(why @ (Unanswered::Off | Unanswered::Absent(_))) => {
                return format!("{owner} is at revision {revision}; {why}");
            }
            Ok(_) | Err(_) if Instant::now() > deadline => {
                return format!(
                    "{owner} is at revision {revision}, but the running gate does not have it in \
                     force: its log says why"
                );
            }
            Ok(_) | Err(_) => sleep(Duration::from_millis(20)),
        }
    }
}
