//! The lock-out guard: what has to be said twice.

use std::env;
use std::net::IpAddr;

use jiff::Timestamp;

use super::Failure;
use crate::address::ClientAddr;
use crate::config::{Config, ProjectSpec};
use crate::gate::allow_list::{AllowList, InvalidRule};
use crate::gate::deny_list::DenyList;
use crate::gate::rule::{Source, Verdict};
use crate::store::snapshot::{allow_list, deny_list};

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
        objections.push(shuts_out(client));
    }
    Ok(objections)
}

/// The same of a change of the process-wide deny list.
pub(super) fn objections_to_deny(
    before: &Config,
    after: &Config,
    origin: Option<ClientAddr>,
) -> Result<Vec<String>, Failure> {
    let now = Timestamp::now();
    let mut objections = Vec::new();
    let whole = closed_on_whole(after, now);
    if let Some(family) = whole.filter(|_| closed_on_whole(before, now).is_none()) {
        objections.push(format!("it closes on everybody in {family}"));
    }
    let (old, new) = (compile_deny(before)?, compile_deny(after)?);
    if let Some(client) = origin
        && !old.contains(client, now)
        && new.contains(client, now)
    {
        objections.push(shuts_out(client));
    }
    Ok(objections)
}

fn shuts_out(client: ClientAddr) -> String {
    let ip = client.ip();
    format!("it shuts out {ip}, the address that you come from")
}

/// A rule of the deny list that holds every address of a family.
fn closed_on_whole(config: &Config, now: Timestamp) -> Option<&Source> {
    let rules = config.deny.rules.iter().map(|written| &written.rule);
    let mut rules = rules.filter(|rule| rule.is_in_force(now));
    let whole = rules.find(|rule| match &rule.source {
        Source::Network(network) => network.blocks().any(|block| block.prefix_len() == 0),
        Source::Anywhere => true,
        Source::Nowhere | Source::Tag(_) | Source::Endpoint(_) => false,
    });
    whole.map(|rule| &rule.source)
}

fn compile((spec, config): (&ProjectSpec, &Config)) -> Result<AllowList, Failure> {
    allow_list(spec, config).map_err(invalid)
}

/// The process-wide deny list as it is written.
pub(in crate::cli) fn compile_deny(config: &Config) -> Result<DenyList, Failure> {
    deny_list(config).map_err(invalid)
}

pub(super) fn invalid(rules: Vec<InvalidRule>) -> Failure {
    let invalid: Vec<_> = rules.iter().map(ToString::to_string).collect();
    Failure::usage(invalid.join("\n"))
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
