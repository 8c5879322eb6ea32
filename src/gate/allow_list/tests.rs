//! What a compiled list decides, explains and takes.

mod random;

use std::net::IpAddr;

use super::super::rule::Remarks;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn addr(text: &str) -> ClientAddr {
    text.parse::<IpAddr>().unwrap().into()
}

/// `allow SOURCE` or `deny SOURCE`, and perhaps ` until SECOND`.
fn rule(text: &str) -> Rule {
    let mut words = text.split(' ');
    let verdict = words.next().unwrap().parse().unwrap();
    let rule = Rule::new(verdict, words.next().unwrap().parse().unwrap());
    until(rule, words.nth(1).map(|second| second.parse().unwrap()))
}

fn until(rule: Rule, second: Option<i64>) -> Rule {
    rule.with(Remarks {
        expires: second.map(at),
        ..Remarks::default()
    })
}

fn office(tag: &TagName) -> Option<Arc<NetworkSet>> {
    let networks = match tag.as_str() {
        "office" => "203.0.113.0/24\n203.0.113.7\n2001:db8::/32",
        "empty" => "",
        _ => return None,
    };
    Some(Arc::new(NetworkSet::parse_file(networks).unwrap()))
}

fn list(rules: &[&str]) -> AllowList {
    AllowList::compile(rules.iter().map(|text| rule(text)).collect(), office).unwrap()
}

fn decides(list: &AllowList, ip: &str, second: i64) -> (Verdict, String) {
    let decision = list.decide(addr(ip), at(second));
    let source = |matched: Match<'_>| format!("{} ({})", matched.rule.source, matched.prefix);
    (
        decision.verdict(),
        decision.matched().map(source).unwrap_or_default(),
    )
}

#[test]
fn t25_an_empty_list_lets_nobody_in() {
    for rules in [
        &[][..],
        &["allow nowhere"],
        &["allow endpoint:vpce-1"],
        &["allow tag:empty"],
    ] {
        let list = list(rules);
        for ip in ["127.0.0.1", "0.0.0.0", "::1", "::", "203.0.113.7"] {
            assert_eq!(
                decides(&list, ip, 0),
                (Verdict::Deny, String::new()),
                "{ip} by {rules:?}"
            );
        }
    }
}

#[test]
fn the_longest_prefix_decides_and_deny_wins_between_equals() {
    use Verdict::{Allow, Deny};
    let list = list(&[
        "allow anywhere",
        "deny 10.0.0.0/8",
        "allow 10.1.0.0/16",
        "deny 10.1.0.0/16",
        "allow 10.1.2.0/24",
        "deny 10.1.2.4-10.1.2.6",
        "deny 2001:db8::/32",
        "allow 2001:db8::1",
    ]);
    for (ip, verdict, by) in [
        ("192.0.2.1", Allow, "anywhere (0.0.0.0/0)"),
        ("2001:db9::1", Allow, "anywhere (::/0)"),
        ("10.2.0.1", Deny, "10.0.0.0/8 (10.0.0.0/8)"),
        ("10.1.0.1", Deny, "10.1.0.0/16 (10.1.0.0/16)"),
        ("10.1.2.3", Allow, "10.1.2.0/24 (10.1.2.0/24)"),
        ("10.1.2.5", Deny, "10.1.2.4-10.1.2.6 (10.1.2.4/31)"),
        ("10.1.2.6", Deny, "10.1.2.4-10.1.2.6 (10.1.2.6)"),
        ("10.1.2.7", Allow, "10.1.2.0/24 (10.1.2.0/24)"),
        ("2001:db8::1", Allow, "2001:db8::1 (2001:db8::1)"),
        ("2001:db8::2", Deny, "2001:db8::/32 (2001:db8::/32)"),
        ("::ffff:10.1.2.3", Allow, "10.1.2.0/24 (10.1.2.0/24)"),
    ] {
        assert_eq!(decides(&list, ip, 0), (verdict, by.into()), "{ip}");
    }
}

#[test]
fn a_tag_competes_by_each_of_its_networks() {
    use Verdict::{Allow, Deny};
    let list = list(&[
        "allow tag:office",
        "deny 203.0.113.0/28",
        "deny 203.0.113.0/24",
        "deny tag:empty",
    ]);
    assert_eq!(
        decides(&list, "203.0.113.7", 0),
        (Allow, "tag:office (203.0.113.7)".into())
    );
    assert_eq!(
        decides(&list, "203.0.113.8", 0),
        (Deny, "203.0.113.0/28 (203.0.113.0/28)".into())
    );
    assert_eq!(
        decides(&list, "203.0.113.99", 0),
        (Deny, "203.0.113.0/24 (203.0.113.0/24)".into())
    );
    assert_eq!(
        decides(&list, "2001:db8::1", 0),
        (Allow, "tag:office (2001:db8::/32)".into())
    );
}

#[test]
fn an_expired_rule_is_as_if_absent_without_compiling_again() {
    use Verdict::{Allow, Deny};
    let list = list(&[
        "allow 10.0.0.0/8",
        "deny 10.0.0.0/16 until 30",
        "allow 10.0.0.0/16 until 20",
        "deny 10.0.0.0/24 until 10",
        "allow 192.0.2.1 until 10",
        "deny tag:office until 10",
        "allow 203.0.113.0/24",
    ]);
    for (second, by) in [
        (9, "10.0.0.0/24"),
        (10, "10.0.0.0/16"),
        (29, "10.0.0.0/16"),
        (30, "10.0.0.0/8"),
    ] {
        let verdict = if second < 30 { Deny } else { Allow };
        assert_eq!(
            decides(&list, "10.0.0.1", second),
            (verdict, format!("{by} ({by})")),
            "{second}"
        );
    }
    assert_eq!(decides(&list, "192.0.2.1", 9).0, Allow);
    assert_eq!(decides(&list, "192.0.2.1", 10), (Deny, String::new()));
    assert_eq!(decides(&list, "203.0.113.1", 9).0, Deny);
    assert_eq!(decides(&list, "203.0.113.1", 10).0, Allow);
    let expiries: Vec<_> =
        std::iter::successors(list.next_expiry(at(0)), |after| list.next_expiry(*after)).collect();
    assert_eq!(expiries, [at(10), at(20), at(30)]);
}

#[test]
fn an_unknown_tag_and_a_repeated_rule_are_refused_together() {
    let rules = vec![
        rule("allow tag:office"),
        rule("allow tag:attic"),
        rule("allow tag:office"),
    ];
    let told = AllowList::compile(rules, office).unwrap_err();
    assert!(
        matches!(
            told[..],
            [
                InvalidRule::RepeatedId {
                    place: 2,
                    first: 0,
                    ..
                },
                InvalidRule::UnknownTag { place: 1, .. },
            ]
        ),
        "{told:?}"
    );
    assert_eq!(
        told[1].to_string(),
        "there is no tag `attic`; define it under [tags]"
    );
}

#[test]
fn the_revision_is_that_of_the_content() {
    let rules = &["allow 10.0.0.0/8", "deny tag:office"];
    let revision = list(rules).revision();
    assert_eq!(list(rules).revision(), revision);
    assert_eq!(revision.to_string().len(), 16);
    let mut noted: Vec<_> = rules.iter().map(|text| rule(text)).collect();
    noted[0] = noted[0].clone().with(Remarks {
        note: Some("new".parse().unwrap()),
        ..Remarks::default()
    });
    assert_ne!(
        AllowList::compile(noted, office).unwrap().revision(),
        revision
    );
    let fuller = |_: &TagName| Some(Arc::new(NetworkSet::parse_file("10.0.0.1").unwrap()));
    let rules = rules.iter().map(|text| rule(text)).collect();
    assert_ne!(
        AllowList::compile(rules, fuller).unwrap().revision(),
        revision
    );
    assert_ne!(
        list(&["allow 10.0.0.0/8"]).revision(),
        list(&["deny 10.0.0.0/8"]).revision()
    );
}

#[test]
fn hits_are_counted_for_the_deciding_rule_and_carried_over() {
    let before = list(&["allow 10.0.0.0/8", "deny 10.1.0.0/16", "allow tag:office"]);
    for (ip, second) in [
        ("10.0.0.1", 5),
        ("10.0.0.2", 3),
        ("203.0.113.7", 7),
        ("192.0.2.1", 8),
    ] {
        before.count(&before.decide(addr(ip), at(second)), at(second));
    }
    let hits = |list: &AllowList| {
        list.hits()
            .map(|(_, hits)| (hits.count, hits.last))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        hits(&before),
        [(2, Some(at(5))), (0, None), (1, Some(at(7)))]
    );
    let after = list(&["deny anywhere", "allow tag:office", "allow 10.0.0.0/8"]);
    after.carry_hits_from(&before);
    assert_eq!(
        hits(&after),
        [(0, None), (1, Some(at(7))), (2, Some(at(5)))]
    );
}

#[test]
fn an_explanation_names_the_decider_and_what_it_shadows() {
    let list = list(&[
        "allow anywhere",
        "allow 203.0.113.0/24",
        "deny tag:office",
        "deny 203.0.113.0/25 until 10",
        "allow 198.51.100.0/24",
        "allow nowhere",
    ]);
    let explained = list.explain(addr("203.0.113.9"), at(10));
    assert_eq!(
        explained
            .decision
            .matched()
            .unwrap()
            .rule
            .source
            .to_string(),
        "tag:office"
    );
    let shadowed: Vec<_> = explained
        .shadowed
        .iter()
        .map(|s| (s.rule.source.to_string(), s.by))
        .collect();
    assert_eq!(
        shadowed,
        [
            ("203.0.113.0/25".into(), Shadow::Expired),
            ("203.0.113.0/24".into(), Shadow::Deny),
            ("anywhere".into(), Shadow::LongerPrefix),
        ]
    );
}

#[test]
fn two_rules_take_no_more_than_300_bytes_until_one_of_them_decides() {
    let list = list(&["allow 203.0.113.0/24", "allow tag:office"]);
    let bytes = || size_of_val(&list) + list.heap_size();
    let unused = bytes();
    assert!(unused <= 300, "{unused} bytes");
    assert_eq!(
        list.hits().map(|(_, hits)| hits.count).collect::<Vec<_>>(),
        [0, 0]
    );
    list.count(&list.decide(addr("203.0.113.9"), at(1)), at(1));
    assert!(bytes() > unused);
    assert_eq!(
        list.hits().map(|(_, hits)| hits.count).collect::<Vec<_>>(),
        [1, 0]
    );
}

#[test]
fn a_hundred_thousand_projects_with_ten_rules_each_fit_in_200_megabytes() {
    let rules = |count: u8| {
        (0..count)
            .map(|n| rule(&format!("allow 198.51.{n}.0/24")))
            .collect()
    };
    let bytes = |count| {
        let list = AllowList::compile(rules(count), office).unwrap();
        size_of_val(&list) + list.heap_size()
    };
    let (one, ten, twenty) = (bytes(1), bytes(10), bytes(20));
    assert!(
        one <= 400 && ten <= 2_000 && twenty <= 3_800,
        "{one}, {ten}, {twenty} bytes"
    );
}
