//! The lock-out guard: what has to be said twice.

use std::env;
use std::net::IpAddr;

use jiff::Timestamp;

use super::Failure;
use crate::address::ClientAddr;
use crate::config::{Config, ProjectSpec};
use crate::gate::allow_list::AllowList;
use crate::gate::rule::{Source, Verdict};
use crate::store::snapshot::allow_list;

/// The address that a change is made from: as told, or as the SSH server tells.
pub(super) fn origin(told: Option<IpAddr>) -> Option<ClientAddr> {
    let of_ssh = || {
        let told = env::var("SSH_CONNECTION").or_else(|_| env::var("SSH_CLIENT"));
        told.ok()?.split_whitespace().next()?.parse().ok()
    };
    told.or_else(of_ssh).map(ClientAddr::from)
}

/// Why a change from `before` to `after` may not be meant; empty if nothing speaks against it.
pub(super) fn objections(
    before: (&ProjectSpec, &Config),
    after: (&ProjectSpec, &Config),
    origin: Option<ClientAddr>,
) -> Result<Vec<String>, Failure> {
    let (old, new) = (compile(before)?, compile(after)?);
    let now = Timestamp::now();
    let mut objections = Vec::new();
    if lets_anybody_in(&old, before.1, now) && !lets_anybody_in(&new, after.1, now) {
        objections.push(format!(
            "it leaves nobody who may come in to {}",
            after.0.name
        ));
    }
    if let Some(client) = origin
        && old.decide(client, now).is_allowed()
        && !new.decide(client, now).is_allowed()
    {
        let ip = client.ip();
        objections.push(format!("it shuts out {ip}, the address that you come from"));
    }
    Ok(objections)
}

fn compile((spec, config): (&ProjectSpec, &Config)) -> Result<AllowList, Failure> {
    allow_list(spec, config).map_err(|invalid| {
        let invalid: Vec<_> = invalid.iter().map(ToString::to_string).collect();
        Failure::usage(invalid.join("\n"))
    })
}

fn lets_anybody_in(list: &AllowList, config: &Config, now: Timestamp) -> bool {
    let in_force = list.rules().iter().filter(|rule| rule.is_in_force(now));
    let mut allowing = in_force.filter(|rule| rule.verdict == Verdict::Allow);
    allowing.any(|rule| match &rule.source {
        Source::Network(_) | Source::Anywhere | Source::Endpoint(_) => true,
        Source::Tag(tag) => config
            .tags
            .get(tag)
            .is_some_and(|networks| !networks.is_empty()),
        Source::Nowhere => false,
    })
}
