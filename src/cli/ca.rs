//! `portcullis ca`: a project's own CA, looked at, rotated, and put to use.

mod export;
mod issue;
mod renew;
mod reseal;
mod revoke;
mod rotate;
mod show;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::ConfigFile;
use super::rules::{Failure, find, load};
use crate::config::ProjectSpec;
use crate::id::ProjectName;
use crate::pki::ProjectKeystore;
use crate::store::keystore;

/// How a day is written for people.
const DAY: &str = "%-d %B %Y";

/// What `ca` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CaArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    config: ConfigFile,
}

const EXAMPLES: &str = "\
Examples:
  portcullis ca show acme
  portcullis ca issue acme --client alice --days 30
  portcullis ca issue acme --backend db1.internal --out /etc/postgresql/tls
  portcullis ca revoke acme 4C0E36F1D5A2B8E9A1537F6C2B90D417
  portcullis ca rotate acme --announce

A running gate takes up every change within a second, and drops no connection for it.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the CA, the leaf, what was issued, and what is due next
    Show(show::ShowArgs),
    /// Issue a certificate to a client or to a server behind the gate
    Issue(issue::IssueArgs),
    /// Issue the gate's own leaf anew, now
    Renew(renew::RenewArgs),
    /// Have another CA take over, in three steps that can be days apart
    Rotate(rotate::RotateArgs),
    /// Revoke a certificate that was issued, by its serial number
    Revoke(revoke::RevokeArgs),
    /// Print what clients take as sslrootcert, or the revocation lists
    Export(export::ExportArgs),
    /// Seal every private key by the first key-encryption key
    Reseal(reseal::ResealArgs),
}

pub(super) fn main(args: CaArgs) -> ExitCode {
    let path = args.config.path();
    let done = match args.command {
        Command::Show(args) => show::show(&path, &args),
        Command::Issue(args) => issue::issue(&path, &args),
        Command::Renew(args) => renew::renew(&path, &args),
        Command::Rotate(args) => rotate::rotate(&path, &args),
        Command::Revoke(args) => revoke::revoke(&path, &args),
        Command::Export(args) => export::export(&path, &args),
        Command::Reseal(args) => reseal::reseal(&path, &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// A project with its folder of the keystore.
struct Place {
    spec: ProjectSpec,
    store: ProjectKeystore,
}

impl Place {
    fn open(config: &Path, project: &ProjectName) -> Result<Self, Failure> {
        let config = load(config, project)?;
        let spec = find(&config, project)?.clone();
        let keystore = keystore::open(&config).map_err(Failure::refused)?;
        let store = keystore.project(project);
        Ok(Self { spec, store })
    }
}

/// A path as people write it: from the working directory if it lies there.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    relative
        .unwrap_or_else(|| path.to_path_buf())
        .display()
        .to_string()
}

fn day(at: Timestamp) -> String {
    at.strftime(DAY).to_string()
}

/// How far away a time is, for people.
fn in_days(now: Timestamp, at: Timestamp) -> String {
    let days = now.duration_until(at).as_hours() / 24;
    match days {
        ..0 => "over".to_owned(),
        0 => "today".to_owned(),
        1 => "in 1 day".to_owned(),
        days => format!("in {days} days"),
    }
}

/// Refuses files that are there already: what is handed out must not take the place of a key that
/// somebody uses.
fn refuse_present(files: &[&Path]) -> Result<(), Failure> {
    match files.iter().find(|file| file.exists()) {
        None => Ok(()),
        Some(file) => Err(Failure::refused(format!(
            "{} is there already: move it away, or choose another directory by --out",
            file.display()
        ))),
    }
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, contents: &str, mode: u32) -> Result<(), Failure> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let written = file.and_then(|mut file| {
        file.write_all(contents.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| Failure::refused(format!("cannot write {}: {error}", path.display())))
}
