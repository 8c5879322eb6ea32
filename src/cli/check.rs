//! `portcullis check`: is the configuration right, and what does it come to?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_USAGE, config_path, load};

/// What `check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration file [default: proxy.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print only errors and warnings
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn main(args: &CheckArgs) -> ExitCode {
    let Some(config) = load(&config_path(args.config.as_ref())) else {
        return ExitCode::from(EXIT_USAGE);
    };
    if !args.quiet {
        print!("{}", config.effective_toml());
    }
    ExitCode::SUCCESS
}
