//! `portcullis deny`: who is closed on before a byte is read, asked and changed.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::ConfigFile;
use super::control::{RunningGate, Unanswered, shown};
use super::rules::change::{How, Origin, Remarks, add_to_deny, remove_of};
use super::rules::decide::{OnDenyList, deny_list_words, on_deny_list};
use super::rules::list::{Row, column, layout, rows, table};
use super::rules::{Failure, deny_in_force, load_main};
use crate::address::ClientAddr;
use crate::admin::control::{DenyDecision, DenyInForce, FileHits};
use crate::config::{Config, DenySpec, NetworkFile};
use crate::gate::rule::Source;
use crate::store::edit::{Owner, revision};

/// What `deny` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DenyArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    config: ConfigFile,
}

const EXAMPLES: &str = "\
Examples:
  portcullis deny list
  portcullis deny test 203.0.113.9
  portcullis deny add 203.0.113.0/24 --note \"scanners\" --expires 7d
  portcullis deny remove 203.0.113.0/24

The list goes before every project's rules. A change is in force within a second, on live sessions too.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the rules and files of the list, and how many each turned away
    List(ListArgs),
    /// Close on more sources
    Add(AddArgs),
    /// Take rules off the list, by source or by id
    Remove(RemoveArgs),
    /// Say whether an address is on the list, and by which entry: exit code 0 if it isn't, 1 if it is
    Test(TestArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// An address, a CIDR block, a range a-b or tag:NAME
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<Source>,
    #[command(flatten)]
    remarks: Remarks,
    #[command(flatten)]
    origin: Origin,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// A rule's source, or its id
    #[arg(value_name = "SOURCE|ID", required = true)]
    rules: Vec<String>,
    #[command(flatten)]
    origin: Origin,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct TestArgs {
    /// The address that a client would come from
    address: IpAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: DenyArgs) -> ExitCode {
    let path = args.config.path();
    let done = match args.command {
        Command::List(args) => list(&path, &args),
        Command::Add(AddArgs {
            sources,
            remarks,
            origin,
            how,
        }) => add_to_deny(&path, sources, &remarks, (&how, &origin)),
        Command::Remove(RemoveArgs { rules, origin, how }) => {
            remove_of(&path, Owner::Process, (&how, &origin), (&rules, None))
        }
        Command::Test(args) => test(&path, &args),
    };
    done.unwrap_or_else(Failure::report)
}

/// The list, as it is printed.
#[derive(Debug, Serialize)]
struct Listed {
    /// Of the rules as they are written.
    revision: String,
    /// Of the rules that the running gate has in force; none if no gate answers.
    revision_in_force: Option<String>,
    rules: Vec<Row>,
    files: Vec<FileRow>,
}

#[derive(Debug, Serialize)]
struct FileRow {
    file: String,
    networks: usize,
    /// None if no gate has it in force.
    hits: Option<u64>,
    last_hit: Option<String>,
}

fn list(path: &Path, args: &ListArgs) -> Result<ExitCode, Failure> {
    let config = load_main(path)?;
    let running = deny_in_force(&config);
    let listed = Listed::new(&config.deny, running.as_ref().ok());
    if args.json {
        let json = serde_json::to_string_pretty(&listed).map_err(Failure::refused)?;
        println!("{json}");
    } else {
        print!("{}", listed.words(running.err()));
    }
    Ok(ExitCode::SUCCESS)
}

impl Listed {
    fn new(spec: &DenySpec, running: Option<&DenyInForce>) -> Self {
        let hits = running.map_or(&[][..], |running| &running.rules);
        let in_force = running.map_or(&[][..], |running| &running.files);
        let files = spec.files.iter();
        Self {
            revision: revision(&spec.rules).to_string(),
            revision_in_force: running.map(|running| running.revision.clone()),
            rules: rows(&spec.rules, hits),
            files: files.map(|file| FileRow::new(file, in_force)).collect(),
        }
    }

    fn words(&self, unanswered: Option<Unanswered>) -> String {
        let mut text = String::new();
        if !self.rules.is_empty() {
            text += &table(&self.rules);
        }
        if !self.files.is_empty() {
            text += &files_table(&self.files);
        }
        let (owner, revision) = (Owner::Process, &self.revision);
        let state = match (&self.revision_in_force, unanswered) {
            (Some(in_force), _) if in_force == revision => "in force".to_owned(),
            (Some(in_force), _) => {
                format!("not in force: the running gate has revision {in_force}; its log says why")
            }
            (None, Some(why)) => format!("{why}, so hits are unknown"),
            (None, None) => "hits are unknown".to_owned(),
        };
        text + &format!("{owner}: revision {revision}, {state}\n")
    }
}

impl FileRow {
    fn new(file: &NetworkFile, in_force: &[FileHits]) -> Self {
        let name = file.path.display().to_string();
        let hits = in_force.iter().find(|hits| hits.file == name);
        Self {
            file: shown(&file.path).display().to_string(),
            networks: file.networks.len(),
            hits: hits.map(|hits| hits.hits),
            last_hit: hits.and_then(|hits| hits.last_hit.clone()),
        }
    }
}

fn files_table(files: &[FileRow]) -> String {
    let hits = |row: &FileRow| row.hits.map(|hits| hits.to_string());
    layout(&[
        column("FILE", files, |row| row.file.clone()),
        column("NETWORKS", files, |row| row.networks.to_string()),
        column("HITS", files, |row| hits(row).unwrap_or_default()),
        column("LAST HIT", files, |row| {
            row.last_hit.clone().unwrap_or_default()
        }),
    ])
}

/// Whether an address is on the list.
#[derive(Debug, Serialize)]
struct Answer {
    address: String,
    /// The entry that holds it, as the file says.
    deny_listed: Option<OnDenyList>,
    /// Whether the running gate closes on it; none if no gate answers.
    deny_listed_in_force: Option<bool>,
}

fn test(path: &Path, args: &TestArgs) -> Result<ExitCode, Failure> {
    let config = load_main(path)?;
    let client = ClientAddr::from(args.address);
    let running = decision_in_force(&config, client);
    let in_force = running.as_ref().ok();
    let entry = in_force.and_then(|decision| decision.deny_listed.as_ref());
    let answer = Answer {
        address: client.ip().to_string(),
        deny_listed: on_deny_list(&config, client, entry)?,
        deny_listed_in_force: in_force.map(|decision| decision.deny_listed.is_some()),
    };
    if args.json {
        let json = serde_json::to_string_pretty(&answer).map_err(Failure::refused)?;
        println!("{json}");
    } else {
        print!("{}", answer.words(running.err()));
    }
    Ok(if answer.is_denied() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn decision_in_force(config: &Config, client: ClientAddr) -> Result<DenyDecision, Unanswered> {
    let path = format!("/v1/deny/decision?address={}", client.ip());
    RunningGate::of(config)?.get(&path)
}

impl Answer {
    /// Whether it is closed on now.
    fn is_denied(&self) -> bool {
        self.deny_listed_in_force
            .unwrap_or_else(|| self.deny_listed.is_some())
    }

    fn words(&self, unanswered: Option<Unanswered>) -> String {
        let address = &self.address;
        let mut lines = vec![if self.is_denied() {
            format!("denied: {address} is on the list, whatever the projects say")
        } else {
            format!("not denied: {address} is not on the list; the projects' rules decide")
        }];
        if self.is_denied() == self.deny_listed.is_some() {
            let entry = self.deny_listed.iter();
            lines.extend(entry.flat_map(|entry| deny_list_words(entry, unanswered.is_none())));
        } else {
            let what = "the file says otherwise, and the running gate doesn't have it in force: its log \
                        says why";
            lines.push(format!("  {what}"));
        }
        lines.extend(unanswered.map(|why| format!("  {why}: this is what the file says")));
        lines.join("\n") + "\n"
    }
}
