//! The lists: rules of a project, named sets under `[tags]`, the process-wide `deny`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use toml::de::DeValue;

use super::problem::{Document, Place, Problem};
use super::reader::{Item, Spot};
use super::section::{Section, nearest};
use super::value::{Value, quoted, show_path};
use crate::gate::network::Network;
use crate::gate::rule::{Rule, RuleId, Source, TagName, Verdict};

/// The largest file of networks that is read, in bytes: some ten million lines.
const MAX_FILE: u64 = 256 * 1024 * 1024;
/// How many bad lines of one file are shown; a file of another kind has nothing else.
const SHOWN_LINES: usize = 10;

/// A rule and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// The rule.
    pub rule: Rule,
    /// Where.
    pub place: Place,
}

/// Networks under one name, or under none: the process-wide `deny`.
pub type Networks = Arc<[Network]>;

/// `allow` or `deny` of a project: rules of one verdict.
#[derive(Default)]
pub(super) struct RuleList<const DENY: bool>(Vec<Written<DENY>>);

impl<const DENY: bool> RuleList<DENY> {
    const VERDICT: Verdict = if DENY { Verdict::Deny } else { Verdict::Allow };

    /// The rules, in the order of writing.
    pub(super) fn into_specs(self) -> impl Iterator<Item = RuleSpec> {
        self.0.into_iter().map(|written| written.spec)
    }
}

impl<const DENY: bool> Value for RuleList<DENY> {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let rules: Vec<Written<DENY>> = item.elements()?;
        if rules.is_empty() && !DENY {
            let help = "write [\"nowhere\"] if that is meant";
            item.reader
                .refuse_with(&item.spot, "an empty list lets nobody in", help);
            return None;
        }
        let mut nowhere = rules
            .iter()
            .filter(|one| one.spec.rule.source == Source::Nowhere);
        if let Some(one) = nowhere.next().filter(|_| rules.len() > 1) {
            item.reader
                .refuse(&one.spot, "\"nowhere\" stands alone or not at all");
        }
        refuse_repeated_ids(item, &rules);
        Some(Self(rules))
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

fn refuse_repeated_ids<const DENY: bool>(item: &mut Item<'_, '_>, rules: &[Written<DENY>]) {
    let mut first = BTreeMap::new();
    for Written {
        spec: RuleSpec { rule, place },
        spot,
    } in rules
    {
        let Some(place) = first.insert(&rule.id, place) else {
            continue;
        };
        if rule.id.is_derived() {
            let message = format!("{} is in this list already, at {place}", rule.source);
            item.reader
                .warn(spot, message, "one of the two has no effect");
        } else {
            item.reader.refuse(
                spot,
                format!("the id {} is taken by the rule at {place}", rule.id),
            );
        }
    }
}

/// A rule in the form in which it is written: a source as a string, or a table.
struct Written<const DENY: bool> {
    spec: RuleSpec,
    spot: Spot,
}

impl<const DENY: bool> Value for Written<DENY> {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let verdict = RuleList::<DENY>::VERDICT;
        let rule = match item.value {
            DeValue::String(text) => match text.parse() {
                Ok(source) => Rule::new(verdict, source),
                Err(error) => return item.refuse(error),
            },
            DeValue::Table(_) => item.table("a table", |section| read_table(section, verdict))?,
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                return item.refuse_type("a source such as \"203.0.113.0/24\", or a table of one");
            }
        };
        warn_about(item, &rule);
        let place = item.reader.place(&item.spot);
        Some(Self {
            spec: RuleSpec { rule, place },
            spot: item.spot.clone(),
        })
    }

    fn show(&self) -> String {
        show_rule(&self.spec.rule)
    }
}

fn read_table(section: &mut Section<'_, '_>, verdict: Verdict) -> Option<Rule> {
    let source = section.required(
        "source",
        "whom the rule is about: source = \"203.0.113.0/24\"",
    );
    let note = section.optional("note");
    let expires = section.optional("expires");
    let author = section.optional("author");
    let id: Option<RuleId> = section.optional("id");
    let rule = Rule::new(verdict, source?);
    Some(Rule {
        id: id.unwrap_or(rule.id),
        note,
        expires,
        author,
        ..rule
    })
}

fn warn_about(item: &mut Item<'_, '_>, rule: &Rule) {
    let covers_a_family = match &rule.source {
        Source::Anywhere => true,
        Source::Network(network) => network.blocks().any(|block| block.prefix_len() == 0),
        Source::Nowhere | Source::Tag(_) | Source::Endpoint(_) => false,
    };
    if covers_a_family && rule.verdict == Verdict::Allow {
        item.reader.warn(
            &item.spot,
            format!("{} lets in the whole Internet", rule.source),
            "name the networks that clients come from, if they can be named",
        );
    }
    if !rule.is_in_force(Timestamp::now()) {
        let message = format!("the rule for {} has expired and has no effect", rule.source);
        item.reader.warn(&item.spot, message, "remove it");
    }
}

/// A rule as a list element: a string if it is nothing but a source.
pub(crate) fn show_rule(rule: &Rule) -> String {
    let mut keys = Vec::new();
    let mut key = |name: &str, value: Option<String>| {
        keys.extend(value.map(|value| format!("{name} = {value}")));
    };
    key("note", rule.note.as_ref().map(Value::show));
    key("expires", rule.expires.as_ref().map(Value::show));
    key("author", rule.author.as_ref().map(Value::show));
    key(
        "id",
        Some(&rule.id)
            .filter(|id| !id.is_derived())
            .map(Value::show),
    );
    let source = rule.source.show();
    if keys.is_empty() {
        source
    } else {
        format!("{{ source = {source}, {} }}", keys.join(", "))
    }
}

/// RFC 3339, as a TOML date or as a string.
impl Value for Timestamp {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        const EXPECTED: &str = "a moment with its offset, such as 2027-01-31T18:00:00Z (RFC 3339)";
        let text = match item.value {
            DeValue::Datetime(moment) => moment.to_string(),
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return item.refuse_type(EXPECTED),
        };
        text.parse()
            .ok()
            .or_else(|| item.refuse(format!("expected {EXPECTED}")))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Reads `[tags]`.
pub(super) fn read_tags(section: &mut Section<'_, '_>) -> BTreeMap<TagName, Networks> {
    let mut tags = BTreeMap::new();
    for (name, spot, networks) in section.each_value::<NetworkList>() {
        match name.parse() {
            Ok(name) => {
                tags.insert(name, networks.collect());
            }
            Err(error) => section.reader.refuse(&spot, error),
        }
    }
    tags
}

/// Refuses rules for tags that `[tags]` doesn't name: such a rule would silently match nobody.
pub(super) fn refuse_unknown_tags(
    section: &mut Section<'_, '_>,
    list: &str,
    tags: &BTreeMap<TagName, Networks>,
    rules: &[RuleSpec],
) {
    for (index, RuleSpec { rule, .. }) in rules.iter().enumerate() {
        let Source::Tag(name) = &rule.source else {
            continue;
        };
        if tags.contains_key(name) {
            continue;
        }
        let known: Vec<_> = tags.keys().map(ToString::to_string).collect();
        let help = nearest(name.as_str(), &known).map_or_else(
            || format!("define it: [tags] {name} = [\"203.0.113.0/24\"]"),
            |near| format!("did you mean \"tag:{near}\"?"),
        );
        let spot = section.element(list, index);
        section
            .reader
            .refuse_with(&spot, format!("there is no tag {name}"), &help);
    }
}

/// Networks as they are written: an array of networks and files, or one file.
#[derive(Default)]
pub(super) struct NetworkList(Vec<Part>);

impl NetworkList {
    /// All networks, in the order of writing.
    pub(super) fn collect(self) -> Networks {
        let all = self.0.into_iter().flat_map(|part| match part {
            Part::One(network) => vec![network],
            Part::File { networks, .. } => networks,
        });
        all.collect()
    }
}

impl Value for NetworkList {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        match item.value {
            DeValue::Array(_) => item.elements().map(Self),
            DeValue::Table(_) => Part::read(item).map(|part| Self(vec![part])),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                item.refuse_type("an array of networks, or { file = \"networks.txt\" }")
            }
        }
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

enum Part {
    One(Network),
    File {
        path: PathBuf,
        networks: Vec<Network>,
    },
}

impl Value for Part {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        const EXPECTED: &str =
            "a network such as \"203.0.113.0/24\", or { file = \"networks.txt\" }";
        if let Some(text) = item.value.as_str() {
            return text
                .parse()
                .map_or_else(|error| item.refuse(error), |one| Some(Self::One(one)));
        }
        let path: PathBuf = item.table(EXPECTED, |section| {
            section.required("file", "file = \"networks.txt\"")
        })?;
        let networks = read_network_file(item, &path)?;
        Some(Self::File { path, networks })
    }

    fn show(&self) -> String {
        match self {
            Self::One(network) => quoted(&network.to_string()),
            Self::File { path, .. } => format!("{{ file = {} }}", show_path(path)),
        }
    }
}

/// Reads a file of one network per line; `#` begins a comment, and blank lines mean nothing.
fn read_network_file(item: &mut Item<'_, '_>, path: &Path) -> Option<Vec<Network>> {
    let text = match item.reader.read_file(path, MAX_FILE) {
        Ok(text) => text,
        Err(error) => return item.refuse(format!("{}: {error}", path.display())),
    };
    if text.contains("-----BEGIN ") {
        // What is wrong is shown with the line it is on, and a key must not be shown (T34).
        return item.refuse(format!("{} is PEM, not a list of networks", path.display()));
    }
    let mut networks = Vec::new();
    let mut bad = Vec::new();
    for line in text.lines() {
        let written = line.split('#').next().unwrap_or_default().trim();
        match written.parse() {
            Ok(network) => networks.push(network),
            Err(_) if written.is_empty() => {}
            Err(error) => bad.push((written, error)),
        }
    }
    if bad.is_empty() {
        return Some(networks);
    }
    let document = Document::new(path, &text);
    for (written, error) in bad.iter().take(SHOWN_LINES) {
        let start = written.as_ptr().addr() - text.as_ptr().addr();
        let span = start..start + written.len();
        let problem = Problem::at(&document, &span, &item.spot.key).saying(error.to_string());
        item.reader.problems.push(problem);
    }
    match bad.len().saturating_sub(SHOWN_LINES) {
        0 => None,
        more => item.refuse(format!("{} has {more} more bad lines", path.display())),
    }
}
