//! `portcullis rules import`: the allow list of a managed provider, as its API returns it.

use std::fs;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use jiff::Timestamp;

use super::Failure;
use super::change::{Change, How, make, merged};
use super::providers::{Entry, Listed, Provider};
use crate::gate::network::Network;
use crate::gate::rule::{Note, Remarks, Rule, Source, Verdict};
use crate::id::ProjectName;
use crate::store::edit::Owner;

/// What `import` takes.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The project
    project: ProjectName,
    /// Whose JSON it is
    #[arg(long = "from", value_enum, value_name = "PROVIDER")]
    provider: Provider,
    /// The JSON; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Make the allow list consist of these rules, rather than add them
    #[arg(long)]
    replace: bool,
    /// The address that you come from, if SSH_CONNECTION doesn't say it
    #[arg(long, value_name = "ADDRESS")]
    from_address: Option<IpAddr>,
    #[command(flatten)]
    how: How,
}

pub(super) fn import(path: &Path, args: &ImportArgs) -> Result<ExitCode, Failure> {
    let named = |why: &dyn std::fmt::Display| format!("{}: {why}", args.file.display());
    let text = read(&args.file).map_err(|error| Failure::usage(named(&error)))?;
    let json = serde_json::from_str(&text).map_err(|error| Failure::usage(named(&error)))?;
    let Listed {
        entries,
        mut skipped,
    } = args
        .provider
        .read(&json)
        .map_err(|why| Failure::usage(named(&why)))?;
    let (mut rules, mut bad) = (Vec::new(), Vec::new());
    for entry in entries {
        match rule(&entry) {
            Ok(rule) if !rule.is_in_force(Timestamp::now()) => {
                skipped.push(format!("{}: {} has expired", entry.at, entry.source));
            }
            Ok(rule) if rules.iter().any(|other: &Rule| other.source == rule.source) => {
                skipped.push(format!("{}: {} is there already", entry.at, entry.source));
            }
            Ok(rule) => rules.push(rule),
            Err(why) => bad.push(format!("{}: {why}", entry.at)),
        }
    }
    if !bad.is_empty() {
        return Err(Failure::usage(named(&format!(
            "nothing was imported\n{}",
            bad.join("\n")
        ))));
    }
    skipped.iter().for_each(|what| eprintln!("skipped {what}"));
    if rules.is_empty() {
        let why = "it lists no address; say what is meant: portcullis rules replace";
        return Err(Failure::usage(named(&format!(
            "{why} {} nowhere, or anywhere",
            args.project
        ))));
    }
    let (owner, from) = (
        Owner::Project(&args.project),
        (&args.how, args.from_address),
    );
    make(path, owner, from, |there| {
        let rules = merged(there, &rules);
        Ok(if args.replace {
            Change::Replace(Verdict::Allow, rules)
        } else {
            Change::Add(rules)
        })
    })
}

fn read(file: &Path) -> io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(file)
}

fn rule(entry: &Entry) -> Result<Rule, String> {
    let network: Network = parse(entry.source.trim())?;
    let note = entry.note.as_deref().map(str::trim);
    let note = note.filter(|note| !note.is_empty());
    let expires = entry.expires.as_deref();
    let remarks = Remarks {
        note: note.map(parse::<Note>).transpose()?,
        expires: expires.map(parse::<Timestamp>).transpose()?,
        author: None,
    };
    Ok(Rule::new(Verdict::Allow, Source::Network(network)).with(remarks))
}

fn parse<T: FromStr<Err: ToString>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|why: T::Err| why.to_string())
}
