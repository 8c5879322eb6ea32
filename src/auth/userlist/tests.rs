use proptest::prelude::*;

use super::*;
use crate::auth::scram::{Iterations, Salt};

const SECRET: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

fn problems(file: &str) -> Vec<(usize, LineProblem)> {
    let errors = Userlist::parse(file.as_bytes()).unwrap_err();
    errors
        .iter()
        .map(|error| (error.line, error.problem))
        .collect()
}

#[test]
fn each_line_is_a_user_and_a_verifier() {
    let file = format!(
        "\"alice\" \"{SECRET}\"\n\t\"bob\"\t\t\"{SECRET}\"  \r\n\"caf\u{e9} \"\"x\"\"\" \"{SECRET}\""
    );
    let list = Userlist::parse(file.as_bytes()).unwrap();
    assert_eq!(list.len(), 3);
    for user in ["alice", "bob", "caf\u{e9} \"x\""] {
        assert_eq!(*list.get(user.as_bytes()).unwrap().to_text(), SECRET);
    }
    assert!(list.get(b"Alice").is_none() && list.get(b"").is_none());
}

#[test]
fn blank_lines_and_comments_say_nothing() {
    let file = format!("; a comment\n\n  # another \"x\" \"y\"\n \t\r\n\"alice\" \"{SECRET}\"\n");
    assert_eq!(Userlist::parse(file.as_bytes()).unwrap().len(), 1);
    assert!(Userlist::parse(b"").unwrap().is_empty());
}

#[test]
fn t25_every_bad_line_is_told_with_its_number_and_none_is_used() {
    let file = format!(
        "\"alice\" \"{SECRET}\"\nbob \"x\"\n\n\"carol\"\n\"dave\" \"{SECRET}\n\"\" \"{SECRET}\"\n\
         \"erin\" \"{SECRET}\" # no\n\"frank\" \"hunter2\"\n\"alice\" \"{SECRET}\"\n\"grace\" hunter2\n\
         \"heidi\" \"md50123456789abcdef0123456789abcdef\"\n\"i\0\" \"{SECRET}\"\n"
    );
    assert_eq!(
        problems(&file),
        [
            (2, LineProblem::Layout),
            (4, LineProblem::Layout),
            (5, LineProblem::UnclosedQuote),
            (6, LineProblem::UserName),
            (7, LineProblem::TrailingText),
            (8, LineProblem::Verifier(VerifierError::Scheme)),
            (9, LineProblem::Duplicate { first_line: 1 }),
            (10, LineProblem::Layout),
            (11, LineProblem::Verifier(VerifierError::Md5)),
            (12, LineProblem::UserName),
        ]
    );
}

#[test]
fn t34_no_error_and_no_list_shows_a_secret() {
    let file =
        format!("\"alice\" \"hunter2\"\n\"bob\" \"hunter2\nhunter2\n\"c\" \"{SECRET}\" hunter2\n");
    let errors = Userlist::parse(file.as_bytes()).unwrap_err();
    assert_eq!(errors.len(), 4);
    for error in errors {
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("W22Z"),
            "{shown}"
        );
    }
    let list = Userlist::parse(format!("\"alice\" \"{SECRET}\"").as_bytes()).unwrap();
    assert_eq!(format!("{list:?}"), "Userlist { users: 1, .. }");
}

#[test]
fn an_error_reads_as_a_sentence_with_its_line() {
    let errors = Userlist::parse(b"\n\"alice\" \"hunter2\"").unwrap_err();
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["line 2: not a SCRAM-SHA-256 verifier"]);
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut quoted = b"\"".to_vec();
    for byte in text {
        quoted.push(*byte);
        if *byte == b'"' {
            quoted.push(*byte);
        }
    }
    quoted.push(b'"');
    quoted
}

proptest! {
    #[test]
    fn any_file_is_survived(file in "[\"a;# \n\\x00]{0,60}") {
        let lines = file.lines().count();
        if let Err(errors) = Userlist::parse(file.as_bytes()) {
            prop_assert!(errors.len() <= lines);
        }
    }

    #[test]
    fn every_name_that_is_quoted_is_found(names in proptest::collection::hash_set(
        proptest::collection::vec(any::<u8>().prop_filter("a line", |b| ![0, b'\n'].contains(b)), 1..20), 0..6,
    )) {
        let salt = Salt::new(b"salt").unwrap();
        let verifier = Verifier::from_password(b"x", salt, Iterations::new(1).unwrap());
        let file: Vec<u8> = names
            .iter()
            .flat_map(|name| [quoted(name), b" ".to_vec(), quoted(verifier.to_text().as_bytes()), b"\n".to_vec()].concat())
            .collect();
        let list = Userlist::parse(&file).unwrap();
        prop_assert_eq!(list.len(), names.len());
        prop_assert!(names.iter().all(|name| list.get(name).is_some()));
    }
}
