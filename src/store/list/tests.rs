//! Every byte that isn't the change's stays.

use proptest::prelude::*;
use toml_edit::{Document, Value};

use super::*;

fn find(text: &str) -> List {
    let document = Document::parse(text).unwrap();
    let array = document["allow"].as_array().unwrap();
    let elements = array
        .iter()
        .map(|value| Value::span(value).unwrap())
        .collect();
    List {
        whole: array.span().unwrap(),
        elements,
    }
}

fn read(text: &str) -> Vec<String> {
    let document = Document::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let array = document["allow"].as_array().unwrap();
    array
        .iter()
        .map(|value| value.as_str().unwrap().to_owned())
        .collect()
}

fn without(text: &str, gone: &[&str]) -> String {
    let fates: Vec<_> = read(text)
        .iter()
        .map(|one| {
            if gone.contains(&one.as_str()) {
                Fate::Remove
            } else {
                Fate::Keep
            }
        })
        .collect();
    change(text, &find(text), &fates)
}

fn with(text: &str, added: &[&str]) -> String {
    let added: Vec<_> = added.iter().map(|one| format!("\"{one}\"")).collect();
    append(text, &find(text), &added)
}

#[test]
fn a_list_on_one_line_stays_on_one_line() {
    for (before, after) in [
        (
            "allow = [\"a\"] # c\n",
            "allow = [\"a\", \"x\", \"y\"] # c\n",
        ),
        ("allow = [ \"a\", ]", "allow = [ \"a\", \"x\", \"y\", ]"),
        ("allow = [] # c", "allow = [\"x\", \"y\"] # c"),
    ] {
        assert_eq!(with(before, &["x", "y"]), after);
    }
    for (gone, after) in [
        (&["a"][..], "allow = [\"b\", \"c\"] # c"),
        (&["b"], "allow = [\"a\", \"c\"] # c"),
        (&["c"], "allow = [\"a\", \"b\"] # c"),
        (&["b", "c"], "allow = [\"a\"] # c"),
        (&["a", "c"], "allow = [\"b\"] # c"),
        (&["a", "b", "c"], "allow = [] # c"),
    ] {
        assert_eq!(without("allow = [\"a\", \"b\", \"c\"] # c", gone), after);
    }
}

#[test]
fn a_list_over_several_lines_gets_and_loses_whole_lines() {
    let text = "allow = [\n  # office\n  \"a\", # ann\n  \"b\"  # bob\n  # end\n]\n";
    assert_eq!(
        with(text, &["x", "y"]),
        "allow = [\n  # office\n  \"a\", # ann\n  \"b\",  # bob\n  \"x\",\n  \"y\"\n  # end\n]\n"
    );
    assert_eq!(
        without(text, &["a"]),
        "allow = [\n  # office\n  \"b\"  # bob\n  # end\n]\n"
    );
    assert_eq!(
        without(text, &["b"]),
        "allow = [\n  # office\n  \"a\", # ann\n  # end\n]\n"
    );
    let closed = "allow = [\r\n\t\"a\",\r\n]\r\n";
    assert_eq!(
        with(closed, &["x"]),
        "allow = [\r\n\t\"a\",\r\n\t\"x\",\r\n]\r\n"
    );
    assert_eq!(without(closed, &["a"]), "allow = [\r\n]\r\n");
    assert_eq!(
        with("  allow = [\n  ]", &["x", "y"]),
        "  allow = [\n      \"x\",\n      \"y\",\n  ]"
    );
    assert_eq!(
        with("allow = [\"a\",\n]", &["x"]),
        "allow = [\"a\",\n    \"x\",\n]"
    );
}

#[test]
fn a_comment_between_an_element_and_its_comma_stays() {
    let text = "allow = [\"a\" # one\n , \"b\", # two\n \"c\"]";
    assert_eq!(
        without(text, &["a"]),
        "allow = [ # one\n  \"b\", # two\n \"c\"]"
    );
    assert_eq!(
        without(text, &["c"]),
        "allow = [\"a\" # one\n , \"b\", # two\n ]"
    );
}

#[test]
fn a_comment_goes_with_what_it_is_about_and_no_other_does() {
    for (text, gone, after) in [
        // At the end of its line, whatever else the line is part of.
        (
            "allow = [\"a\", # ann\n  \"b\"]",
            &["a"][..],
            "allow = [\n  \"b\"]",
        ),
        (
            "allow = [\n  \"a\", \"b\", # two\n  \"c\",\n]",
            &["a", "b"],
            "allow = [\n  \"c\",\n]",
        ),
        (
            "allow = [\n  \"a\", \"b\", # two\n  \"c\",\n]",
            &["a"],
            "allow = [\n  \"b\", # two\n  \"c\",\n]",
        ),
        // Right above it, for it alone.
        (
            "allow = [\n  \"a\", # ann\n  # bob\n  # too\n  \"b\",\n]",
            &["b"],
            "allow = [\n  \"a\", # ann\n]",
        ),
        (
            "allow = [\n  # ann\n  \"a\",\n\n  # bob\n  \"b\",\n]",
            &["a"],
            "allow = [\n\n  # bob\n  \"b\",\n]",
        ),
        // Right above a group, of which one stays or none.
        (
            "allow = [\n  # us\n  \"a\",\n  \"b\",\n]",
            &["a"],
            "allow = [\n  # us\n  \"b\",\n]",
        ),
        (
            "allow = [\n  # us\n  \"a\",\n  \"b\",\n]",
            &["b"],
            "allow = [\n  # us\n  \"a\",\n]",
        ),
        (
            "allow = [\n  # us\n  \"a\",\n  \"b\",\n]",
            &["a", "b"],
            "allow = [\n]",
        ),
        // Not right above, not about it, or an element put aside.
        (
            "allow = [\n  # us\n\n  \"a\",\n]",
            &["a"],
            "allow = [\n  # us\n\n]",
        ),
        (
            "allow = [ # us\n  \"a\",\n  # end\n]",
            &["a"],
            "allow = [ # us\n  # end\n]",
        ),
        (
            "allow = [\n  # \"x\",\n  # ann\n  \"a\",\n]",
            &["a"],
            "allow = [\n  # \"x\",\n]",
        ),
    ] {
        assert_eq!(without(text, gone), after, "{text}");
    }
}

#[test]
fn an_element_in_another_ones_place_loses_the_comment_at_its_end() {
    let text = "allow = [\n  # us\n  \"a\", # ann\n  \"b\",\n]";
    let fates = [Fate::Swap("\"x\"".into()), Fate::Keep];
    assert_eq!(
        change(text, &find(text), &fates),
        "allow = [\n  # us\n  \"x\",\n  \"b\",\n]"
    );
}

#[test]
fn an_element_is_replaced_where_it_stands() {
    let text = "allow = [\n  \"a\", # ann\n  \"b\",\n]";
    let fates = [Fate::Set("\"x\"".into()), Fate::Keep];
    assert_eq!(
        change(text, &find(text), &fates),
        "allow = [\n  \"x\", # ann\n  \"b\",\n]"
    );
}

/// White space and comments as people write them between the parts of a list.
fn gap() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        4 => Just(" ".to_owned()),
        4 => Just("\n    ".to_owned()),
        2 => Just(" # it, \"is\" [so]\n\t".to_owned()),
        1 => Just("\r\n".to_owned()),
        1 => Just("\n  # one\n\n  # two\n  ".to_owned()),
    ]
}

/// A list of `names` laid out at random, with a line before it and one behind it.
fn list(names: Vec<String>) -> impl Strategy<Value = String> {
    let gaps = proptest::collection::vec(gap(), names.len() * 2 + 1);
    (gaps, any::<bool>()).prop_map(move |(gaps, has_comma)| {
        let mut gaps = gaps.into_iter();
        let mut text = "# before\n  allow = [".to_owned();
        for (index, name) in names.iter().enumerate() {
            let comma = if index + 1 < names.len() || has_comma {
                ","
            } else {
                ""
            };
            text += &format!(
                "{}\"{name}\"{}{comma}",
                gaps.next().unwrap(),
                gaps.next().unwrap()
            );
        }
        text + &gaps.next().unwrap() + "] # behind\nother = [ 1,2 ] # kept"
    })
}

fn names(prefix: char, most: usize) -> impl Strategy<Value = Vec<String>> {
    (0..=most).prop_map(move |count| (0..count).map(|n| format!("{prefix}{n}")).collect())
}

proptest! {
    #[test]
    fn any_layout_is_read_back_as_what_was_asked_for(
        (text, fates) in names('a', 5).prop_flat_map(|names| {
            let fates = proptest::collection::vec(0..4_u8, names.len());
            (list(names), fates)
        }),
        added in names('b', 3),
    ) {
        let before = read(&text);
        let fates: Vec<_> = fates.iter().map(|fate| match fate {
            0 => Fate::Keep,
            1 => Fate::Remove,
            2 => Fate::Swap("\"set\"".into()),
            _ => Fate::Set("\"set\"".into()),
        }).collect();
        let mut wanted: Vec<_> = before.iter().zip(&fates).filter_map(|(name, fate)| match fate {
            Fate::Keep => Some(name.clone()),
            Fate::Set(_) | Fate::Swap(_) => Some("set".into()),
            Fate::Remove => None,
        }).collect();
        let changed = change(&text, &find(&text), &fates);
        prop_assert_eq!(&read(&changed), &wanted);
        let added: Vec<_> = added;
        let quoted: Vec<_> = added.iter().map(|one| format!("\"{one}\"")).collect();
        let grown = if added.is_empty() { changed } else { append(&changed, &find(&changed), &quoted) };
        wanted.extend(added);
        prop_assert_eq!(read(&grown), wanted);
        prop_assert!(grown.starts_with("# before\n  allow = ["));
        prop_assert!(grown.ends_with("] # behind\nother = [ 1,2 ] # kept"));
    }

    #[test]
    fn what_grows_and_shrinks_back_keeps_every_other_byte(
        text in (1..5_usize).prop_flat_map(|count| list((0..count).map(|n| format!("a{n}")).collect())),
    ) {
        let grown = with(&text, &["x"]);
        // Nothing of the old text is lost: it is what is left of the new one without the addition.
        let mut rest = grown.chars();
        for expected in text.chars() {
            prop_assert!(rest.any(|found| found == expected), "{expected:?} is lost from {grown}");
        }
        let comments = |text: &str| text.matches('#').count();
        prop_assert_eq!(comments(&without(&grown, &["x"])), comments(&text));
    }
}
