//! `portcullis ca export`: what is handed out.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::rules::Failure;
use super::Place;
use crate::id::ProjectName;

/// What `export` takes.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The project
    project: ProjectName,
    /// The revocation lists, PEM, as a server takes them as ssl_crl_file
    #[arg(long)]
    crl: bool,
    /// Write to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn export(config: &Path, args: &ExportArgs) -> Result<(), Failure> {
    let place = Place::open(config, &args.project)?;
    let (file, missing) = if args.crl {
        let hint = "there is none yet: it comes with the first certificate that is issued";
        (place.store.crl_file(), hint)
    } else {
        let hint = "there is no CA yet: it is made when the gate first starts";
        (place.store.ca_certificate(), hint)
    };
    if !file.exists() {
        return Err(Failure::refused(missing));
    }
    let text = fs::read_to_string(&file)
        .map_err(|error| Failure::refused(format!("cannot read {}: {error}", file.display())))?;
    match &args.out {
        None => print!("{text}"),
        Some(out) => fs::write(out, text).map_err(|error| {
            Failure::refused(format!("cannot write {}: {error}", out.display()))
        })?,
    }
    Ok(())
}
