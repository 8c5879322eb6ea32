//! [`Prefixes`]: the prefixes of a long list, by which a rule is found in one lookup.

use std::cmp::Reverse;

use ipnet::IpNet;
use jiff::Timestamp;

use super::super::rule::Rule;
use super::super::trie::PrefixTrie;
use super::{Matching, blocks, rank};
use crate::address::ClientAddr;

/// All prefixes of all rules of a list.
#[derive(Debug)]
pub(super) struct Prefixes {
    /// Gives places in `entries`.
    trie: PrefixTrie,
    entries: Box<[Entry]>,
}

/// A prefix of a rule.
#[derive(Debug)]
struct Entry {
    /// The place of the rule.
    rule: u32,
    /// Who decides if this rule has expired: the next of the same prefix, or else the first of the
    /// longest prefix around it. [`NO_ENTRY`] if there is none.
    next: u32,
    length: u8,
}

const NO_ENTRY: u32 = u32::MAX;

impl Prefixes {
    pub(super) fn compile(rules: &[Rule]) -> Self {
        let (prefixes, entries) = entries(rules);
        Self {
            trie: PrefixTrie::compile(prefixes.into_iter().zip(0..)),
            entries: entries.into(),
        }
    }

    /// The longest match among them. `rules` are those that they were compiled from.
    pub(super) fn find<'r>(
        &self,
        rules: &'r [Rule],
        addr: ClientAddr,
        now: Timestamp,
    ) -> Option<Matching<'r>> {
        let mut at = self.trie.find(addr.ip())?;
        loop {
            let entry = self.entries.get(at as usize)?;
            let rule = rules.get(entry.rule as usize)?;
            if rule.is_in_force(now) {
                return Some((entry.rule, rule, entry.length));
            }
            at = entry.next;
        }
    }

    /// Bytes, on the heap or not.
    pub(super) fn heap_size(&self) -> usize {
        size_of_val(self) + self.trie.heap_size() + size_of_val(&*self.entries)
    }
}

/// The prefixes in the trie's order (a prefix before those within it), and for each the entry it
/// stands for. Of equal prefixes the one to prefer comes first.
fn entries(rules: &[Rule]) -> (Vec<IpNet>, Vec<Entry>) {
    let mut prefixes: Vec<(IpNet, &Rule, u32)> = Vec::new();
    for (place, rule) in (0..).zip(rules) {
        prefixes.extend(blocks(&rule.source).map(|block| (block, rule, place)));
    }
    prefixes.sort_by_key(|(prefix, rule, _)| (*prefix, Reverse(rank(rule))));
    let mut entries: Vec<Entry> = Vec::with_capacity(prefixes.len());
    let mut open: Vec<(IpNet, u32)> = Vec::new();
    for (at, (prefix, _, rule)) in (0..).zip(&prefixes) {
        while open
            .pop_if(|(around, _)| !around.contains(prefix))
            .is_some()
        {}
        let next = match (open.last(), entries.last_mut()) {
            (Some((same, _)), Some(previous)) if same == prefix => {
                std::mem::replace(&mut previous.next, at)
            }
            (Some((_, around)), _) => *around,
            (None, _) => NO_ENTRY,
        };
        if open.last().is_none_or(|(around, _)| around != prefix) {
            open.push((*prefix, at));
        }
        entries.push(Entry {
            rule: *rule,
            next,
            length: prefix.prefix_len(),
        });
    }
    (
        prefixes.into_iter().map(|(prefix, ..)| prefix).collect(),
        entries,
    )
}
