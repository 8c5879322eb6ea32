//! Rules and their words.

use super::*;

fn source(text: &str) -> Source {
    text.parse().unwrap()
}

#[test]
fn a_source_is_shown_as_a_text_that_parses_back() {
    for text in [
        "anywhere",
        "nowhere",
        "tag:office_2",
        "endpoint:vpce-0123456789abcdef0",
        "203.0.113.9",
        "203.0.113.0/24",
        "10.0.0.1-10.0.0.9",
        "2001:db8::/32",
    ] {
        assert_eq!(source(text).to_string(), text);
    }
}

#[test]
fn what_is_not_a_source_is_told_what_to_write() {
    for (text, told) in [
        ("*", "write anywhere"),
        ("any", "write anywhere"),
        ("none", "write nowhere"),
        ("Anywhere", "not an IP address"),
        ("", "an address is missing"),
        ("tag:", "1 to 63 of a-z"),
        ("tag:Office", "1 to 63 of a-z"),
        ("endpoint:", "1 to 255"),
        ("endpoint:a b", "1 to 255"),
        ("10.0.0.5/8", "10.0.0.0/8"),
    ] {
        let error = text.parse::<Source>().unwrap_err().to_string();
        assert!(error.contains(told), "{text:?}: {error}");
    }
}

#[test]
fn a_derived_id_depends_on_verdict_and_canonical_source_alone() {
    let rule = Rule::new(Verdict::Allow, source("203.0.113.9/32"));
    assert_eq!(
        rule.id,
        RuleId::derived(Verdict::Allow, &source("::ffff:203.0.113.9"))
    );
    assert_ne!(
        rule.id,
        RuleId::derived(Verdict::Deny, &source("203.0.113.9"))
    );
    assert_ne!(
        rule.id,
        RuleId::derived(Verdict::Allow, &source("203.0.113.8"))
    );
    // Written down because people note ids: a change of the derivation would orphan them.
    assert_eq!(rule.id.to_string(), "e385c3e0b9");
    assert_eq!(rule.id.to_string().parse::<RuleId>().unwrap(), rule.id);
}

#[test]
fn a_given_id_is_kept_as_it_is() {
    for good in [
        "office",
        "Office-1",
        "a.b_c",
        "0123456789",
        "deadbeef00",
        "0123456789a",
    ] {
        assert_eq!(good.parse::<RuleId>().unwrap().to_string(), good);
    }
    for bad in ["", "a b", "a/b", "ä", &"a".repeat(64)] {
        assert!(bad.parse::<RuleId>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_note_is_at_most_1024_characters_on_one_line() {
    assert!("ä".repeat(1024).parse::<Note>().is_ok());
    for bad in [
        String::new(),
        "ä".repeat(1025),
        "a\nb".into(),
        "a\u{1b}[2Jb".into(),
    ] {
        assert!(bad.parse::<Note>().is_err());
    }
}

#[test]
fn a_rule_is_in_force_until_the_moment_it_expires() {
    let moment: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let rule = Rule::new(Verdict::Allow, Source::Anywhere);
    assert!(rule.is_in_force(Timestamp::MAX));
    let rule = rule.with(Remarks {
        expires: Some(moment),
        ..Remarks::default()
    });
    assert!(rule.is_in_force(moment - jiff::SignedDuration::from_nanos(1)));
    assert!(!rule.is_in_force(moment));
}
