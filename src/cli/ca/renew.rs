//! `portcullis ca renew`: the next leaf, now.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use super::super::rules::Failure;
use super::{Place, day};
use crate::id::ProjectName;

/// What `renew` takes.
#[derive(Debug, Args)]
pub(super) struct RenewArgs {
    /// The project
    project: ProjectName,
}

pub(super) fn renew(config: &Path, args: &RenewArgs) -> Result<(), Failure> {
    let Place { spec, store } = Place::open(config, &args.project)?;
    if let Some(own) = &spec.certificate {
        return Err(Failure::refused(format!(
            "{} shows a certificate of its own, {}: renew it where it comes from, and the gate takes it \
             up when the file changes",
            spec.name,
            own.chain.display()
        )));
    }
    let leaf = store.renew_leaf(&spec.hosts, Timestamp::now());
    let end = leaf.map_err(Failure::refused)?.not_after();
    println!("{}: a new leaf, valid to {}", spec.name, day(end));
    Ok(())
}
