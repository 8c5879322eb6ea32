//! `portcullis ca revoke`: a certificate that counts no more.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use super::super::rules::Failure;
use super::{Place, shown};
use crate::id::ProjectName;
use crate::pki::{Revocation, Serial};

/// What `revoke` takes.
#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The project
    project: ProjectName,
    /// The certificate's serial number, as `ca show` lists it
    serial: Serial,
}

pub(super) fn revoke(config: &Path, args: &RevokeArgs) -> Result<(), Failure> {
    let Place { spec, store } = Place::open(config, &args.project)?;
    let records = store.records().map_err(Failure::refused)?;
    let revoked = store.revoke(&args.serial, Timestamp::now());
    let word = match revoked.map_err(Failure::refused)? {
        Revocation::Done => "is revoked",
        Revocation::Already => "was revoked before",
    };
    let whose = records.iter().find(|record| record.serial == args.serial);
    let whose = whose.map_or_else(String::new, |record| {
        format!(" of the {} {}", record.kind, record.name)
    });
    println!(
        "{}: the certificate {}{whose} {word}",
        spec.name, args.serial
    );
    println!(
        "The gate knows within a second. Servers that check clients themselves (ssl_crl_file) need the \
         new {}",
        shown(&store.crl_file())
    );
    Ok(())
}
