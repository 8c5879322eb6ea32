//! What costs less than any gate can: a raw TCP copy, and a server that answers by itself.

use super::{Contestant, Stage};
use crate::backend;
use crate::certs;
use crate::job::Tls;
use crate::process::{Fault, Running, role};

/// No TLS anywhere.
pub(super) fn raw(stage: &Stage) -> Result<Contestant, Fault> {
    copy(stage, Tls::Never, "no TLS")
}

/// TLS between the client and the backend: what a session costs them without a gate between.
pub(super) fn raw_tls(stage: &Stage) -> Result<Contestant, Fault> {
    copy(stage, Tls::Negotiated, "TLS passes through to the backend")
}

fn copy(stage: &Stage, tls: Tls, tells: &str) -> Result<Contestant, Fault> {
    let setup = serde_json::to_string(&stage.backend)?;
    let mut command = role(stage.proxy_core, "relay", &setup)?;
    let (running, address) = Running::role(&mut command, stage.file("raw.log"))?;
    Ok(Contestant {
        running,
        target: stage.target(address, tls),
        version: "of this benchmark".to_owned(),
        settings: format!("a TCP copy, one thread, 64 KiB at a time, {tells}"),
    })
}

/// The fake backend itself, in the proxy's place.
pub(super) fn rustls(stage: &Stage) -> Result<Contestant, Fault> {
    let setup = backend::Setup {
        certificate: stage.leaf.certificate.clone(),
        key: stage.leaf.key.clone(),
    };
    let setup = serde_json::to_string(&setup)?;
    let mut command = role(stage.proxy_core, "backend", &setup)?;
    let (running, address) = Running::role(&mut command, stage.file("rustls.log"))?;
    Ok(Contestant {
        running,
        target: stage.target(address, Tls::Negotiated),
        version: "of this benchmark".to_owned(),
        settings: format!(
            "the fake backend on the proxy's core, no proxy; {}",
            certs::TERMS
        ),
    })
}
