//! Lists by themselves, compiled: to decide by them with or without a gate.

use std::sync::Arc;

use crate::config::{Config, DenySpec, NetworkFile, ProjectSpec};
use crate::gate::allow_list::{AllowList, InvalidRule};
use crate::gate::deny_list::DenyList;
use crate::gate::rule::TagName;
use crate::gate::set::NetworkSet;

/// A project's rules by themselves, compiled: to decide by them without a gate.
///
/// # Errors
/// Every rule that can't be in a list.
pub fn allow_list(spec: &ProjectSpec, config: &Config) -> Result<AllowList, Vec<InvalidRule>> {
    let rules = spec.rules.iter().map(|written| written.rule.clone());
    AllowList::compile(rules.collect(), |tag| config.tags.get(tag).cloned())
}

/// The process-wide deny list by itself, compiled.
///
/// # Errors
/// Every rule that can't be in a list.
pub fn deny_list(config: &Config) -> Result<DenyList, Vec<InvalidRule>> {
    deny(&config.deny, |tag| config.tags.get(tag).cloned())
}

pub(super) fn deny(
    spec: &DenySpec,
    tags: impl Fn(&TagName) -> Option<Arc<NetworkSet>>,
) -> Result<DenyList, Vec<InvalidRule>> {
    let rules = spec.rules.iter().map(|written| written.rule.clone());
    let files = spec.files.iter().map(|NetworkFile { path, networks }| {
        let name = path.display().to_string().into();
        (name, Arc::clone(networks))
    });
    Ok(DenyList::new(
        AllowList::compile(rules.collect(), tags)?,
        files,
    ))
}
