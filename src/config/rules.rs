//! Rules as they are written, and the named sets under `[tags]`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use toml::de::DeValue;

use super::networks::{NetworkList, Networks};
use super::problem::Place;
use super::reader::{Item, Spot};
use super::section::{Section, nearest};
use super::value::Value;
use crate::gate::rule::{Remarks, Rule, RuleId, Source, TagName, Verdict};

/// A rule and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// The rule.
    pub rule: Rule,
    /// Where.
    pub place: Place,
}

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
        Some(Self(rules))
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// Refuses rules that repeat another's id, each with the first of the two: `rules` are the rules of the
/// lists that decide together, with the key and the place of each.
pub(super) fn refuse_repeated<'r>(
    section: &mut Section<'_, '_>,
    rules: impl Iterator<Item = (&'static str, (usize, &'r RuleSpec))>,
) {
    let mut first: BTreeMap<&RuleId, Spot> = BTreeMap::new();
    for (list, (index, RuleSpec { rule, .. })) in rules {
        let spot = section.element(list, index);
        let Some(first) = first.get(&rule.id) else {
            first.insert(&rule.id, spot);
            continue;
        };
        let (message, help) = if rule.id.is_derived() {
            let message = format!("{} is in this list already", rule.source);
            (message, "leave out one of the two")
        } else {
            let message = format!("the id {} is another rule's already", rule.id);
            (message, "give each rule an id of its own, or none")
        };
        section.reader.refuse_beside(&spot, (message, first), help);
    }
}

/// A rule in the form in which it is written: a source as a string, or a table.
pub(super) struct Written<const DENY: bool> {
    pub(super) spec: RuleSpec,
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
    let mut rule = Rule::new(verdict, source?).with(Remarks {
        note,
        expires,
        author,
    });
    if let Some(id) = id {
        rule.id = id;
    }
    Some(rule)
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
    key("note", rule.note().map(Value::show));
    key("expires", rule.expires().as_ref().map(Value::show));
    key("author", rule.author().map(Value::show));
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
                tags.insert(name, networks.into_networks());
            }
            Err(error) => section.reader.refuse(&spot, error),
        }
    }
    tags
}

/// Refuses rules for tags that `[tags]` doesn't name: such a rule would silently match nobody.
pub(super) fn refuse_unknown_tags<'r>(
    section: &mut Section<'_, '_>,
    list: &str,
    tags: &BTreeMap<TagName, Networks>,
    rules: impl Iterator<Item = (usize, &'r RuleSpec)>,
) {
    for (index, RuleSpec { rule, .. }) in rules {
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
