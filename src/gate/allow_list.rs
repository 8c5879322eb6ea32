//! A project's list, compiled: who may come in, by which rule, and until when.

mod explain;
mod hits;
mod prefixes;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{Context, SHA256};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;

pub(super) use self::hits::Counter;
use self::prefixes::Prefixes;
use super::network::Network;
use super::rule::{Author, Note, Rule, RuleId, Source, TagName, Verdict};
use super::set::{NetworkSet, half};
use crate::address::ClientAddr;

pub use self::explain::{Explanation, Shadow, Shadowed};
pub use self::hits::Hits;

/// An immutable snapshot of a project's rules, with the tags they name.
///
/// The longest prefix that holds the address decides, over all rules and all networks of all tags;
/// between equals `deny` wins. A range competes by the prefixes that make it up, `anywhere` by the
/// shortest prefix there is. Rules that have expired are as if absent, from that moment on and
/// without compiling again. Nobody is let in by an empty list, or where nothing matches (T25).
///
/// A decision looks through the few prefixes of a short list, or is one lookup in the trie of a long
/// one, and one in that of each tag; it never waits for anything.
#[derive(Debug)]
pub struct AllowList {
    rules: Box<[Rule]>,
    /// Of a long list.
    prefixes: Option<Box<Prefixes>>,
    tagged: Box<[Tagged]>,
    /// One for each rule, once one of them has decided.
    counters: OnceLock<Box<[Counter]>>,
    revision: Revision,
}

/// A list of no more prefixes is looked through, as most projects' are. That takes up to a tenth of a
/// microsecond more than a trie would, and saves its memory (`cargo bench --bench allow_list`).
const FEW: usize = 4;

/// A rule that matches, its place, and the length of its prefix.
type Matching<'a> = (u32, &'a Rule, u8);

/// A rule about a tag.
#[derive(Debug)]
struct Tagged {
    /// The place of the rule.
    rule: u32,
    set: Arc<NetworkSet>,
}

impl AllowList {
    /// Compiles a list. `tags` says which networks a tag holds.
    ///
    /// # Errors
    /// Every rule that names an unknown tag, or repeats an id.
    pub fn compile(
        rules: Vec<Rule>,
        tags: impl Fn(&TagName) -> Option<Arc<NetworkSet>>,
    ) -> Result<Self, Vec<InvalidRule>> {
        let mut invalid = repeated_ids(&rules);
        let mut tagged = Vec::new();
        for (place, rule) in (0..).zip(&rules) {
            let Source::Tag(tag) = &rule.source else {
                continue;
            };
            match tags(tag) {
                Some(set) => tagged.push(Tagged { rule: place, set }),
                None => invalid.push(InvalidRule::UnknownTag {
                    place: place as usize,
                    tag: tag.clone(),
                }),
            }
        }
        if !invalid.is_empty() {
            return Err(invalid);
        }
        let number = rules.iter().flat_map(|rule| blocks(&rule.source)).count();
        Ok(Self {
            prefixes: (number > FEW).then(|| Prefixes::compile(&rules).into()),
            counters: OnceLock::new(),
            revision: Revision::of(&rules, &tagged),
            tagged: tagged.into(),
            rules: rules.into(),
        })
    }

    /// Whether the address may come in at `now`, and by which rule. Counts nothing: see
    /// [`count`](Self::count).
    #[must_use]
    pub fn decide(&self, addr: ClientAddr, now: Timestamp) -> Decision<'_> {
        let mut best = self.own_match(addr, now);
        for Tagged { rule: place, set } in &self.tagged {
            let Some(length) = set.longest_match(addr) else {
                continue;
            };
            let Some(rule) = self.rules.get(*place as usize) else {
                continue;
            };
            let is_better = |(_, best, best_length): (_, &Rule, _)| {
                (length, rule.verdict) > (best_length, best.verdict)
            };
            if rule.is_in_force(now) && best.is_none_or(is_better) {
                best = Some((*place, rule, length));
            }
        }
        let Some((place, rule, length)) = best else {
            return Decision { matched: None };
        };
        let prefix = Network::covering(addr.ip(), length);
        Decision {
            matched: Some(Match {
                rule,
                prefix,
                place,
            }),
        }
    }

    /// The longest match among the list's own prefixes.
    fn own_match(&self, addr: ClientAddr, now: Timestamp) -> Option<Matching<'_>> {
        if let Some(prefixes) = &self.prefixes {
            return prefixes.find(&self.rules, addr, now);
        }
        let in_force = (0..).zip(&self.rules);
        let in_force = in_force.filter(|(_, rule)| rule.is_in_force(now));
        let matching = in_force.filter_map(|(place, rule): (u32, _)| {
            let length = length_of_match(&rule.source, addr)?;
            Some((place, rule, length))
        });
        matching.max_by_key(|(place, rule, length)| (*length, rank(rule), Reverse(*place)))
    }

    /// The next moment at which a rule expires, so that sessions it let in have to be decided anew.
    #[must_use]
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.rules
            .iter()
            .filter_map(Rule::expires)
            .filter(|expires| *expires > now)
            .min()
    }

    /// The rules, in the order in which they were written.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Changes whenever a rule or the content of a tag does, and only then.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// Bytes on the heap, without the tags' sets, which are shared.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        let prefixes = self.prefixes.as_ref();
        prefixes.map_or(0, |prefixes| prefixes.heap_size())
            + size_of_val(&*self.rules)
            + self.rules.iter().map(Rule::heap_size).sum::<usize>()
            + size_of_val(&*self.tagged)
            + self
                .counters
                .get()
                .map_or(0, |counters| size_of_val(&**counters))
    }
}

fn repeated_ids(rules: &[Rule]) -> Vec<InvalidRule> {
    let mut first_places = HashMap::new();
    let mut repeated = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let first = *first_places.entry(&rule.id).or_insert(place);
        if first != place {
            repeated.push(InvalidRule::RepeatedId {
                place,
                first,
                id: rule.id.clone(),
            });
        }
    }
    repeated
}

/// The greatest of those with equal prefixes decides: `deny`, and then what stays longest.
fn rank(rule: &Rule) -> (Verdict, Timestamp) {
    (rule.verdict, rule.expires().unwrap_or(Timestamp::MAX))
}

/// The length of the prefix that a source itself names and that holds the address, in bits.
fn length_of_match(source: &Source, addr: ClientAddr) -> Option<u8> {
    match source {
        Source::Network(network) => network.length_of_match(addr.ip()),
        Source::Anywhere => Some(0),
        Source::Nowhere | Source::Tag(_) | Source::Endpoint(_) => None,
    }
}

/// The prefixes that a source itself names.
fn blocks(source: &Source) -> impl Iterator<Item = IpNet> {
    const EVERYTHING: [IpNet; 2] = [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    ];
    let (network, everything) = match source {
        Source::Network(network) => (Some(*network), None),
        Source::Anywhere => (None, Some(EVERYTHING)),
        Source::Nowhere | Source::Tag(_) | Source::Endpoint(_) => (None, None),
    };
    let named = network.into_iter().flat_map(Network::blocks);
    named.chain(everything.into_iter().flatten())
}

/// Why a rule can't be in a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// The tag is not defined.
    #[error("there is no tag `{tag}`; define it under [tags]")]
    UnknownTag {
        /// The rule's place in the list, from 0.
        place: usize,
        /// The tag's name.
        tag: TagName,
    },
    /// An earlier rule has the same id: the same verdict on the same source, if ids are derived.
    #[error("the rule {id} is there already; leave out one of the two, or give them ids")]
    RepeatedId {
        /// The rule's place in the list, from 0.
        place: usize,
        /// The place of the earlier one.
        first: usize,
        /// The id.
        id: RuleId,
    },
}

/// What a list says of an address.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    matched: Option<Match<'a>>,
}

/// The rule that decides.
#[derive(Debug, Clone, Copy)]
pub struct Match<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its prefix, or its tag's, that holds the address.
    pub prefix: Network,
    place: u32,
}

impl<'a> Decision<'a> {
    /// The verdict: `deny` where nothing matches (T25).
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.matched
            .map_or(Verdict::Deny, |matched| matched.rule.verdict)
    }

    /// Whether the address may come in.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdict() == Verdict::Allow
    }

    /// The rule that decided; none if no rule matches.
    #[must_use]
    pub const fn matched(&self) -> Option<Match<'a>> {
        self.matched
    }
}

/// Names the content of a list.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision([u8; 8]);

impl Revision {
    /// From SHA-256, over every field of every rule and what its tag holds.
    fn of(rules: &[Rule], tagged: &[Tagged]) -> Self {
        let mut context = Context::new(&SHA256);
        let mut add = |field: &str| {
            context.update(&field.len().to_be_bytes());
            context.update(field.as_bytes());
        };
        for rule in rules {
            add(&rule.id.to_string());
            add(&rule.verdict.to_string());
            add(&rule.source.to_string());
            add(rule.note().map_or("", Note::as_str));
            let expires = rule.expires().map(|expires| expires.to_string());
            add(&expires.unwrap_or_default());
            add(rule.author().map_or("", Author::as_str));
        }
        for Tagged { set, .. } in tagged {
            context.update(&set.digest());
        }
        Self(half(&context).first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
