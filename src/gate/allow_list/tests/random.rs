//! Random lists: against one that looks at every rule, and short ones against their own trie.

use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What the list should say, by looking at every rule.
fn scan(rules: &[Rule], ip: ClientAddr, now: Timestamp) -> Verdict {
    let holds = |block: &IpNet| block.contains(&ip.ip());
    let matching = rules
        .iter()
        .filter(|rule| rule.is_in_force(now))
        .flat_map(|rule| {
            let tag = match &rule.source {
                Source::Tag(tag) => office(tag).and_then(|set| set.longest_match(ip)),
                Source::Network(_) | Source::Anywhere | Source::Nowhere | Source::Endpoint(_) => {
                    None
                }
            };
            let own = blocks(&rule.source)
                .filter(holds)
                .map(|block| block.prefix_len());
            own.chain(tag).map(|length| (length, rule.verdict))
        });
    matching.max().map_or(Verdict::Deny, |(_, verdict)| verdict)
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let network = (0..4_u32, 22..=32_u8).prop_map(|(low, length)| {
        let ip = Ipv4Addr::from(0xcb00_7100 + low);
        Source::Network(IpNet::V4(Ipv4Net::new_assert(ip, length)).into())
    });
    let v6 = (0..4_u128, 120..=128_u8).prop_map(|(low, length)| {
        let ip = Ipv6Addr::from((0x2001_0db8 << 96) + low);
        Source::Network(IpNet::V6(Ipv6Net::new_assert(ip, length)).into())
    });
    let range = (0..8_u32, 0..8_u32).prop_map(|(first, more)| {
        let ip = |low| IpAddr::from(Ipv4Addr::from(0xcb00_7100 + low));
        Source::Network(Network::range(ip(first), ip(first + more)).unwrap())
    });
    let word = prop_oneof![
        Just("anywhere"),
        Just("nowhere"),
        Just("tag:office"),
        Just("tag:empty"),
        Just("endpoint:x"),
    ];
    let word = word.prop_map(|word| word.parse().unwrap());
    let verdict = prop_oneof![Just(Verdict::Allow), Just(Verdict::Deny)];
    let source = prop_oneof![3 => network, 2 => v6, 2 => range, 1 => word];
    (verdict, source, proptest::option::of(0..4_i64))
        .prop_map(|(verdict, source, expires)| until(Rule::new(verdict, source), expires))
}

proptest! {
    #[test]
    fn a_short_list_names_the_rule_that_its_trie_would(mut rules in vec(any_rule(), 0..5)) {
        for (number, rule) in rules.iter_mut().enumerate() {
            rule.id = format!("rule-{number}").parse().unwrap();
        }
        let list = AllowList::compile(rules.clone(), office).unwrap();
        let trie = Prefixes::compile(&rules);
        for (second, low) in (0..5).flat_map(|second| (0..18_u32).map(move |low| (second, low))) {
            for ip in [
                IpAddr::from(Ipv4Addr::from(0xcb00_7100 + low - 1)),
                IpAddr::from(Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(low))),
            ] {
                let named = |matching: Option<Matching<'_>>| {
                    matching.map(|(place, _, length)| (place, length))
                };
                let found = named(list.own_match(ip.into(), at(second)));
                let by_trie = named(trie.find(&rules, ip.into(), at(second)));
                prop_assert_eq!(found, by_trie, "{} at {}", ip, second);
            }
        }
    }

    #[test]
    fn every_decision_is_the_linear_scan_s_at_every_time(mut rules in vec(any_rule(), 0..12)) {
        for (number, rule) in rules.iter_mut().enumerate() {
            rule.id = format!("rule-{number}").parse().unwrap();
        }
        let list = AllowList::compile(rules.clone(), office).unwrap();
        for second in 0..5 {
            for low in 0..18_u32 {
                let now = at(second) - SignedDuration::from_nanos(i64::from(low % 2));
                for ip in [
                    IpAddr::from(Ipv4Addr::from(0xcb00_7100 + low - 1)),
                    IpAddr::from(Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(low))),
                ] {
                    let decision = list.decide(ip.into(), now);
                    prop_assert_eq!(decision.verdict(), scan(&rules, ip.into(), now), "{} {}", ip, now);
                    let explained = list.explain(ip.into(), now);
                    for shadowed in explained.shadowed {
                        prop_assert!(shadowed.prefix.contains(ip));
                        if shadowed.by == Shadow::Deny {
                            prop_assert_eq!(decision.verdict(), Verdict::Deny);
                        }
                    }
                    if let Some(matched) = decision.matched() {
                        prop_assert!(matched.prefix.contains(ip) && matched.rule.is_in_force(now));
                    }
                }
            }
        }
    }
}
