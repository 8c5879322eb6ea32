//! The process-wide `deny`: rules, and files of networks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::de::DeValue;

use super::networks::{Networks, read_file};
use super::reader::Item;
use super::rules::{RuleSpec, Written, refuse_repeated, refuse_unknown_tags};
use super::section::Section;
use super::value::{Value, show_path};
use crate::gate::rule::{Source, TagName};

/// Who is closed on at accept, whatever the projects say.
#[derive(Debug, Clone, Default)]
pub struct DenySpec {
    /// What is written one by one: networks and tags.
    pub rules: Vec<RuleSpec>,
    /// Files of networks.
    pub files: Vec<NetworkFile>,
}

/// A file of networks, compiled.
#[derive(Debug, Clone)]
pub struct NetworkFile {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub networks: Networks,
}

/// The list as it is written: an array, or one file.
#[derive(Default)]
pub(super) struct DenyValue(Vec<Entry>);

enum Entry {
    Rule(Written<true>),
    File(NetworkFile),
}

impl DenyValue {
    /// The rules, each with its place in the list.
    fn rules(&self) -> impl Iterator<Item = (usize, &RuleSpec)> {
        self.0.iter().enumerate().filter_map(|(at, one)| match one {
            Entry::Rule(written) => Some((at, &written.spec)),
            Entry::File(_) => None,
        })
    }

    /// The list, once it is known which tags there are.
    pub(super) fn into_spec(
        self,
        root: &mut Section<'_, '_>,
        tags: &BTreeMap<TagName, Networks>,
    ) -> DenySpec {
        refuse_unknown_tags(root, "deny", tags, self.rules());
        refuse_repeated(root, self.rules().map(|rule| ("deny", rule)));
        let mut spec = DenySpec::default();
        for entry in self.0 {
            match entry {
                Entry::Rule(written) => spec.rules.push(written.spec),
                Entry::File(file) => spec.files.push(file),
            }
        }
        spec
    }
}

impl Value for DenyValue {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        match item.value {
            DeValue::Table(_) => Entry::read(item).map(|entry| Self(vec![entry])),
            DeValue::Array(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => item.elements().map(Self),
        }
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Value for Entry {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let names_file = |value: &DeValue<'_>| value.get("file").is_some();
        if names_file(item.value) {
            let (path, networks) = read_file(item)?;
            return Some(Self::File(NetworkFile { path, networks }));
        }
        let written = Written::<true>::read(item)?;
        let why = match &written.spec.rule.source {
            Source::Network(_) | Source::Tag(_) => return Some(Self::Rule(written)),
            Source::Anywhere => {
                "\"anywhere\" would close on everybody, whatever the projects say; deny it in a project"
            }
            Source::Nowhere => "\"nowhere\" denies nobody: write deny = []",
            Source::Endpoint(_) => {
                "an endpoint isn't known before a byte is read: deny it in a project"
            }
        };
        item.refuse(why)
    }

    fn show(&self) -> String {
        match self {
            Self::Rule(written) => written.show(),
            Self::File(NetworkFile { path, .. }) => format!("{{ file = {} }}", show_path(path)),
        }
    }
}
