//! Why an address may or may not come in, for people who ask.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::super::network::Network;
use super::super::rule::{Rule, Source, Verdict};
use super::{AllowList, Decision, length_of_match};
use crate::address::ClientAddr;

/// A decision, and all that could have decided otherwise.
#[derive(Debug)]
pub struct Explanation<'a> {
    /// What [`AllowList::decide`] says.
    pub decision: Decision<'a>,
    /// The other rules that match, the closest first.
    pub shadowed: Vec<Shadowed<'a>>,
}

/// A rule that matches and does not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadowed<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its longest prefix, or its tag's, that holds the address.
    pub prefix: Network,
    /// Why it does not decide.
    pub by: Shadow,
}

/// Why a rule that matches does not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shadow {
    /// It has expired.
    Expired,
    /// The deciding prefix is longer.
    LongerPrefix,
    /// The deciding prefix is as long, and denies.
    Deny,
    /// The deciding rule says the same about the same prefix.
    Same,
}

impl AllowList {
    /// Explains the decision on an address. Looks at every rule, so it is for people, not for the
    /// path of a connection.
    #[must_use]
    pub fn explain(&self, addr: ClientAddr, now: Timestamp) -> Explanation<'_> {
        let decision = self.decide(addr, now);
        let deciding = decision
            .matched
            .map(|matched| (matched.place, matched.prefix, matched.rule));
        let mut matching: Vec<_> = (0..)
            .zip(&self.rules)
            .filter(|(place, _)| deciding.is_none_or(|(deciding, ..)| deciding != *place))
            .filter_map(|(place, rule)| Some((self.longest_match(place, rule, addr)?, rule)))
            .collect();
        matching.sort_by_key(|(length, rule)| Reverse((*length, rule.verdict)));
        let shadowed = |(length, rule): (u8, &'_ Rule)| {
            let prefix = Network::covering(addr.ip(), length);
            let by = match deciding {
                _ if !rule.is_in_force(now) => Shadow::Expired,
                Some((_, decider, _)) if decider != prefix => Shadow::LongerPrefix,
                Some((.., by)) if by.verdict == rule.verdict => Shadow::Same,
                Some(_) | None => Shadow::Deny,
            };
            (prefix, by)
        };
        let shadowed = matching.into_iter().map(|(length, rule)| {
            let (prefix, by) = shadowed((length, rule));
            Shadowed { rule, prefix, by }
        });
        Explanation {
            decision,
            shadowed: shadowed.collect(),
        }
    }

    /// The longest prefix of one rule that holds the address, in bits.
    fn longest_match(&self, place: u32, rule: &Rule, addr: ClientAddr) -> Option<u8> {
        match &rule.source {
            Source::Network(_) | Source::Anywhere | Source::Nowhere | Source::Endpoint(_) => {
                length_of_match(&rule.source, addr)
            }
            Source::Tag(_) => {
                let tagged = self.tagged.iter().find(|tagged| tagged.rule == place)?;
                tagged.set.longest_match(addr)
            }
        }
    }
}

impl Explanation<'_> {
    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.decision.verdict()
    }
}
