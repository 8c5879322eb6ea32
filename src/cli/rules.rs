//! `portcullis rules`: who may come in, asked and changed.

pub(super) mod change;
pub(super) mod decide;
pub(super) mod guard;
mod import;
pub(super) mod list;
mod providers;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::control::{RunningGate, Unanswered};
use super::{ConfigFile, EXIT_USAGE};
use crate::admin::control::{DenyInForce, RulesInForce};
use crate::config::{Config, ConfigErrors, ProjectSpec, RuleSpec, Style};
use crate::id::ProjectName;
use crate::store::edit::Owner;

/// What `rules` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RulesArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    config: ConfigFile,
}

/// How many projects are named to whom asks for one that isn't there.
const SHOWN_PROJECTS: usize = 20;

const EXAMPLES: &str = "\
Examples:
  portcullis rules list acme
  portcullis rules test acme 203.0.113.9
  portcullis rules add acme 203.0.113.9 --note \"Ann at home\" --expires 8h
  portcullis rules remove acme 203.0.113.9
  portcullis rules replace acme --file office.txt --dry-run
  portcullis rules import acme --from digitalocean firewall.json

A change is written to the configuration file, and a running gate has it in force within a second.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a project's rules, where each is written and how often it decided
    List(list::ListArgs),
    /// Let in (or, with --deny, shut out) more sources
    Add(change::AddArgs),
    /// Take rules away, by source or by id
    Remove(change::RemoveArgs),
    /// Make a whole list consist of these sources; the rules that stay keep their notes
    Replace(change::ReplaceArgs),
    /// Say whether an address may come in, and by which rule: exit code 0 if it may, 1 if not
    Test(decide::TestArgs),
    /// Add the rules of a managed provider's allow list
    Import(import::ImportArgs),
}

pub(super) fn main(args: RulesArgs) -> ExitCode {
    let path = args.config.path();
    let done = match args.command {
        Command::List(args) => list::list(&path, &args),
        Command::Add(args) => change::add(&path, args),
        Command::Remove(args) => change::remove(&path, &args),
        Command::Replace(args) => change::replace(&path, args),
        Command::Test(args) => decide::test(&path, &args),
        Command::Import(args) => import::import(&path, &args),
    };
    done.unwrap_or_else(Failure::report)
}

/// Why a command did not do what it was to do.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// What was asked for, or the configuration, is wrong.
    pub(super) fn usage(message: impl ToString) -> Self {
        Self {
            message: message.to_string(),
            code: EXIT_USAGE,
        }
    }

    /// It could not, or should not, be done.
    pub(super) fn refused(message: impl ToString) -> Self {
        Self {
            message: message.to_string(),
            code: 1,
        }
    }

    /// Says it, and with which code the program ends.
    pub(super) fn report(self) -> ExitCode {
        // What is wrong with a file says so by itself.
        let message = self.message.strip_prefix("error: ");
        eprintln!("error: {}", message.unwrap_or(&self.message));
        ExitCode::from(self.code)
    }
}

/// Reads as much of the configuration as is needed to know a project.
pub(super) fn load(path: &Path, project: &ProjectName) -> Result<Config, Failure> {
    Config::load_for(path, project).map_err(wrong)
}

/// Reads the configuration without the projects that it includes.
pub(super) fn load_main(path: &Path) -> Result<Config, Failure> {
    Config::load_main(path).map_err(wrong)
}

fn wrong(errors: ConfigErrors) -> Failure {
    Failure::usage(errors.render(Style::Plain).trim_end())
}

pub(super) fn find<'c>(
    config: &'c Config,
    project: &ProjectName,
) -> Result<&'c ProjectSpec, Failure> {
    config.projects.get(project).ok_or_else(|| {
        let known = config.projects.keys().map(ProjectName::as_str);
        let known: Vec<_> = known.take(SHOWN_PROJECTS).collect();
        Failure::usage(format!(
            "there is no project {project}; there is {}",
            known.join(", ")
        ))
    })
}

/// Reads as much of the configuration as is needed to know whose rules are meant.
fn load_of(path: &Path, owner: Owner<'_>) -> Result<Config, Failure> {
    match owner {
        Owner::Process => load_main(path),
        Owner::Project(project) => load(path, project),
    }
}

/// Whose rules are meant, as they are written.
fn rules_of<'c>(config: &'c Config, owner: Owner<'_>) -> Result<&'c [RuleSpec], Failure> {
    match owner {
        Owner::Process => Ok(&config.deny.rules),
        Owner::Project(project) => find(config, project).map(|spec| &*spec.rules),
    }
}

/// The rules that the running gate has in force.
fn in_force(config: &Config, project: &ProjectName) -> Result<RulesInForce, Unanswered> {
    RunningGate::of(config)?.get(&format!("/v1/projects/{project}/rules"))
}

/// The process-wide deny list that the running gate has in force.
pub(super) fn deny_in_force(config: &Config) -> Result<DenyInForce, Unanswered> {
    RunningGate::of(config)?.get("/v1/deny")
}

/// The revision that the running gate has in force.
fn revision_in_force(config: &Config, owner: Owner<'_>) -> Result<String, Unanswered> {
    match owner {
        Owner::Process => deny_in_force(config).map(|list| list.revision),
        Owner::Project(project) => in_force(config, project).map(|rules| rules.revision),
    }
}
