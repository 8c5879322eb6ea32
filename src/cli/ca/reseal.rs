//! `portcullis ca reseal`: every private key, sealed by the first key-encryption key.

use std::path::Path;

use clap::Args;

use super::super::rules::{Failure, load_main};
use crate::id::ProjectName;
use crate::store::keystore;

/// What `reseal` takes.
#[derive(Debug, Args)]
pub(super) struct ResealArgs {
    /// The project; all, if none is named
    project: Option<ProjectName>,
}

pub(super) fn reseal(config: &Path, args: &ResealArgs) -> Result<(), Failure> {
    let config = load_main(config)?;
    let ring = keystore::ring(&config).map_err(Failure::refused)?;
    let Some(ring) = ring else {
        return Err(Failure::usage(
            "no key-encryption key is given: name a file that holds one as [keys] \
             encryption_key_file, or put it into the environment variable \
             PORTCULLIS_KEY_ENCRYPTION_KEY. `openssl rand -base64 32` makes one",
        ));
    };
    let id = ring.sealing_id();
    let keystore = keystore::open(&config).map_err(Failure::refused)?;
    let projects = match &args.project {
        Some(project) => vec![project.clone()],
        None => keystore.projects().map_err(Failure::refused)?,
    };
    let (mut files, mut failed) = (0, Vec::new());
    for project in &projects {
        match keystore.project(project).reseal() {
            Ok(count) => files += count,
            Err(error) => failed.push(format!("{project}: {error}")),
        }
    }
    println!(
        "{files} files sealed by the key {id}; what else there is was sealed by it before. {} projects",
        projects.len()
    );
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::refused(failed.join("\n")))
    }
}
