//! The command line.

pub mod ca;
pub mod check;
pub mod conninfo;
mod control;
pub mod demo;
pub mod deny;
mod descriptors;
mod log;
pub mod rules;
pub mod run;

use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigErrors, Style, render_warnings};

/// EX_USAGE of sysexits.h: the command line or the configuration is wrong.
pub const EXIT_USAGE: u8 = 64;

/// The configuration that is read when none is named.
pub const DEFAULT_CONFIG: &str = "proxy.toml";

/// The gate in front of PostgreSQL.
///
/// Clients point their connection strings at it. It speaks TLS with a certificate of the project's
/// own CA, lets in only the addresses that the project's rules admit, and forwards to the project's
/// PostgreSQL server, byte for byte.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

const EXAMPLES: &str = "\
Examples:
  portcullis demo
      See it work: a throwaway PostgreSQL, two projects, ready-made psql commands.
  portcullis run --listen 127.0.0.1:6432 --backend postgres://127.0.0.1:5432 --allow 127.0.0.1
      One project for a server on this machine, without a configuration file.
  portcullis run --config /etc/portcullis/proxy.toml
      What a service runs.
  portcullis check && portcullis conninfo acme
      Is the configuration right? What does a client of \"acme\" type?";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate (this is also what happens without a command)
    Run(run::RunArgs),
    /// Read the configuration, and print every key that is in effect or every error
    Check(check::CheckArgs),
    /// Print how a client connects to a project, ready to paste
    Conninfo(conninfo::ConninfoArgs),
    /// Show, test and change who may come in to a project
    Rules(rules::RulesArgs),
    /// Show, test and change who is closed on whatever the projects say
    Deny(deny::DenyArgs),
    /// Look at a project's CA, issue and revoke certificates, rotate it
    Ca(ca::CaArgs),
    /// Show the gate at work in front of a throwaway PostgreSQL server
    Demo(demo::DemoArgs),
}

/// Runs what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too.
            let code = if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
            drop(error.print());
            return code;
        }
    };
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::main(args),
        Command::Check(args) => check::main(&args),
        Command::Conninfo(args) => conninfo::main(&args),
        Command::Rules(args) => rules::main(args),
        Command::Deny(args) => deny::main(args),
        Command::Ca(args) => ca::main(args),
        Command::Demo(args) => demo::main(&args),
    }
}

/// Which configuration a family of commands is about; to be said before or behind any of them.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file [default: proxy.toml]
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "PORTCULLIS_CONFIG",
        global = true
    )]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn path(&self) -> PathBuf {
        config_path(self.config.as_ref())
    }
}

fn config_path(given: Option<&PathBuf>) -> PathBuf {
    given.map_or_else(|| DEFAULT_CONFIG.into(), Clone::clone)
}

/// Reads a configuration, and shows whatever is to be said of it; none if it can't be used.
fn load(path: &Path) -> Option<Config> {
    shown(Config::load(path))
}

fn shown(config: Result<Config, ConfigErrors>) -> Option<Config> {
    match config {
        Ok(config) => {
            eprint!("{}", render_warnings(&config.warnings, style()));
            Some(config)
        }
        Err(errors) => {
            show_errors(&errors);
            None
        }
    }
}

fn show_errors(errors: &ConfigErrors) {
    eprintln!("{}", errors.render(style()));
}

fn style() -> Style {
    if stderr().is_terminal() {
        Style::Coloured
    } else {
        Style::Plain
    }
}
