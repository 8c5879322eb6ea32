//! Who is turned away before a byte is read, whichever project they want.

use std::sync::Arc;

use jiff::Timestamp;

use super::allow_list::{AllowList, Counter, Decision, Hits};
use super::network::Network;
use super::rule::{Rule, Source};
use super::set::NetworkSet;
use crate::address::ClientAddr;

/// The process-wide deny list: rules that are written one by one, and files of networks such as threat
/// feeds of a million entries, which are no rules each but one set with one count.
///
/// Each file is compiled and shared by itself, so that one feed can be replaced without the others.
#[derive(Debug, Default)]
pub struct DenyList {
    /// Rules that deny; none if none is written.
    rules: Option<AllowList>,
    files: Box<[File]>,
}

/// A file of networks.
#[derive(Debug)]
struct File {
    name: Box<str>,
    set: Arc<NetworkSet>,
    counter: Counter,
}

/// Why an address is turned away.
#[derive(Debug, Clone, Copy)]
pub enum Denied<'a> {
    /// By a rule.
    Rule {
        /// The rule.
        rule: &'a Rule,
        /// Its hits.
        hits: Hits,
    },
    /// By a file.
    File {
        /// The file's name.
        name: &'a str,
        /// The longest prefix there that holds the address.
        prefix: Network,
        /// The hits of all of the file.
        hits: Hits,
    },
}

impl Denied<'_> {
    /// Whom the rule, or the entry of the file, is about.
    #[must_use]
    pub fn source(&self) -> Source {
        match self {
            Self::Rule { rule, .. } => rule.source.clone(),
            Self::File { prefix, .. } => Source::Network(*prefix),
        }
    }
}

impl DenyList {
    /// A list of `rules`, of which those that deny count, and of files under their names.
    #[must_use]
    pub fn new(
        rules: AllowList,
        files: impl IntoIterator<Item = (Box<str>, Arc<NetworkSet>)>,
    ) -> Self {
        let file = |(name, set)| File {
            name,
            set,
            counter: Counter::default(),
        };
        Self {
            rules: Some(rules).filter(|rules| !rules.rules().is_empty()),
            files: files.into_iter().map(file).collect(),
        }
    }

    /// Whether the address is turned away at `now`.
    #[must_use]
    pub fn contains(&self, addr: ClientAddr, now: Timestamp) -> bool {
        self.by_rule(addr, now).is_some() || self.by_file(addr).is_some()
    }

    /// Why the address is turned away, if it is: the rule, else the first file that holds it.
    #[must_use]
    pub fn find(&self, addr: ClientAddr, now: Timestamp) -> Option<Denied<'_>> {
        let by_rule = self.by_rule(addr, now).and_then(|(rules, decision)| {
            let rule = decision.matched()?.rule;
            let hits = rules.hits().find(|(other, _)| other.id == rule.id)?.1;
            Some(Denied::Rule { rule, hits })
        });
        let by_file = || {
            let (file, length) = self.by_file(addr)?;
            Some(Denied::File {
                name: &file.name,
                prefix: Network::covering(addr.ip(), length),
                hits: file.counter.read(),
            })
        };
        by_rule.or_else(by_file)
    }

    /// As [`Self::find`], for a connection that is now turned away: it is counted.
    #[must_use]
    pub fn turn_away(&self, addr: ClientAddr, now: Timestamp) -> Option<Source> {
        if let Some((rules, decision)) = self.by_rule(addr, now) {
            rules.count(&decision, now);
            return decision.matched().map(|by| by.rule.source.clone());
        }
        let (file, length) = self.by_file(addr)?;
        file.counter.hit(now);
        Some(Source::Network(Network::covering(addr.ip(), length)))
    }

    fn by_rule(&self, addr: ClientAddr, now: Timestamp) -> Option<(&AllowList, Decision<'_>)> {
        let rules = self.rules.as_ref()?;
        let decision = rules.decide(addr, now);
        let denies = decision.matched().is_some() && !decision.is_allowed();
        denies.then_some((rules, decision))
    }

    fn by_file(&self, addr: ClientAddr) -> Option<(&File, u8)> {
        let held = |file: &'_ File| file.set.longest_match(addr);
        self.files
            .iter()
            .find_map(|file| held(file).map(|length| (file, length)))
    }

    /// The rules with their hits, in the order in which they were written.
    pub fn rules(&self) -> impl Iterator<Item = (&Rule, Hits)> {
        self.rules.iter().flat_map(AllowList::hits)
    }

    /// The files with how many networks each lists, and their hits.
    pub fn files(&self) -> impl Iterator<Item = (&str, usize, Hits)> {
        let files = self.files.iter();
        files.map(|file| (&*file.name, file.set.len(), file.counter.read()))
    }

    /// Goes on counting where the list before this one stands.
    pub fn carry_hits_from(&self, before: &Self) {
        if let (Some(rules), Some(before)) = (&self.rules, &before.rules) {
            rules.carry_hits_from(before);
        }
        for file in &self.files {
            if let Some(old) = before.files.iter().find(|old| old.name == file.name) {
                file.counter.add(&old.counter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use jiff::SignedDuration;

    use super::*;
    use crate::gate::rule::{Remarks, Verdict};

    fn addr(text: &str) -> ClientAddr {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn file(name: &str, text: &str) -> (Box<str>, Arc<NetworkSet>) {
        (name.into(), Arc::new(NetworkSet::parse_file(text).unwrap()))
    }

    fn rules(rules: &[(&str, Option<Timestamp>)]) -> AllowList {
        let rule = |(source, expires): &(&str, Option<Timestamp>)| {
            Rule::new(Verdict::Deny, source.parse().unwrap()).with(Remarks {
                expires: *expires,
                ..Remarks::default()
            })
        };
        AllowList::compile(rules.iter().map(rule).collect(), |_| None).unwrap()
    }

    fn who(list: &DenyList, text: &str, now: Timestamp) -> Option<(String, u64)> {
        list.find(addr(text), now).map(|denied| match denied {
            Denied::Rule { rule, hits } => (rule.source.to_string(), hits.count),
            Denied::File { name, prefix, hits } => (format!("{name} {prefix}"), hits.count),
        })
    }

    #[test]
    fn who_denies_is_told_and_counted_by_rule_and_by_file() {
        let now = Timestamp::now();
        let make = || {
            let drop = file("drop.txt", "203.0.113.0/24\n203.0.113.128/25");
            let files = [file("none.txt", ""), drop, file("v6.txt", "2001:db8::/32")];
            DenyList::new(rules(&[("203.0.113.7", None)]), files)
        };
        let list = make();
        let in_file = "::ffff:203.0.113.200";
        assert_eq!(list.turn_away(addr("198.51.100.1"), now), None);
        for (one, by) in [
            ("203.0.113.7", "203.0.113.7"),
            (in_file, "203.0.113.128/25"),
        ] {
            assert_eq!(list.turn_away(addr(one), now).unwrap().to_string(), by);
            assert!(list.contains(addr(one), now));
        }
        let after = make();
        after.carry_hits_from(&list);
        let told = |text| who(&after, text, now).unwrap();
        assert_eq!(told("203.0.113.7"), ("203.0.113.7".to_owned(), 1));
        assert_eq!(told(in_file), ("drop.txt 203.0.113.128/25".to_owned(), 1));
        assert_eq!(told("2001:db8::1"), ("v6.txt 2001:db8::/32".to_owned(), 0));
        let files: Vec<_> = after.files().map(|(name, len, _)| (name, len)).collect();
        assert_eq!(files, [("none.txt", 0), ("drop.txt", 2), ("v6.txt", 1)]);
        assert_eq!(after.rules().next().unwrap().1.count, 1);
    }

    #[test]
    fn a_rule_that_expires_turns_nobody_away_from_then_on() {
        let now = Timestamp::now();
        let later = now + SignedDuration::from_secs(1);
        let list = DenyList::new(rules(&[("203.0.113.0/24", Some(later))]), []);
        assert!(list.contains(addr("203.0.113.7"), now));
        assert!(!list.contains(addr("203.0.113.7"), later));
        assert_eq!(who(&list, "203.0.113.7", later), None);
    }

    #[test]
    fn an_empty_deny_list_denies_nobody() {
        let list = DenyList::new(rules(&[]), [file("none.txt", "# nothing")]);
        assert!(!list.contains(addr("127.0.0.1"), Timestamp::now()));
    }
}
