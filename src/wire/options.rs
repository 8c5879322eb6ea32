//! The StartupMessage's `options`: a server command line, read by PostgreSQL's own rules.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

/// The switches of `postgres` that take a value (`process_postgres_switches`, PostgreSQL 18): what
/// follows them is theirs, however much it looks like a switch.
const SWITCHES_WITH_VALUE: &[u8] = b"BCDNSWcdfhkprtv-";

/// The value that a setting gets by `-c name=value`, `-cname=value` or `--name=value`; the last
/// one counts. A setting named without a value has the empty one.
pub(super) fn setting(options: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut found = None;
    let mut arguments = split(options).into_iter();
    while let Some(argument) = arguments.next() {
        let Some(switches) = argument.strip_prefix(b"-") else {
            continue;
        };
        if switches == b"-" {
            break;
        }
        let mut cluster = switches.iter();
        let Some(switch) = cluster.find(|switch| SWITCHES_WITH_VALUE.contains(switch)) else {
            continue;
        };
        let value = match cluster.as_slice() {
            [] => arguments.next().unwrap_or_default(),
            attached => attached.to_vec(),
        };
        if b"c-".contains(switch) {
            found = assigned(&value, name).or(found);
        }
    }
    found
}

/// What `name=value` gives to `name`; setting names are compared without case.
fn assigned(assignment: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut parts = assignment.splitn(2, |byte| *byte == b'=');
    let is_it = parts.next()?.eq_ignore_ascii_case(name.as_bytes());
    is_it.then(|| parts.next().unwrap_or_default().to_vec())
}

/// Splits at white space, where a backslash takes the next byte as it is (`pg_split_opts`).
fn split(options: &[u8]) -> Vec<Vec<u8>> {
    let mut arguments = Vec::new();
    let mut argument: Option<Vec<u8>> = None;
    let mut bytes = options.iter().copied();
    while let Some(byte) = bytes.next() {
        if is_space(byte) {
            arguments.extend(argument.take());
            continue;
        }
        let taken = if byte == b'\\' {
            bytes.next()
        } else {
            Some(byte)
        };
        argument.get_or_insert_default().extend(taken);
    }
    arguments.extend(argument);
    arguments
}

/// C's `isspace`, which unlike Rust's counts the vertical tab.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn project(options: &str) -> Option<String> {
        let value = setting(options.as_bytes(), "portcullis.project")?;
        Some(String::from_utf8(value).unwrap())
    }

    #[test]
    fn a_setting_is_found_in_every_spelling_that_postgresql_takes() {
        for options in [
            "-c portcullis.project=acme",
            "-cportcullis.project=acme",
            "--portcullis.project=acme",
            "\t -c\n  portcullis.project=acme\x0b",
            "-c search_path=a,b -c portcullis.project=acme -c work_mem=1MB",
            "-c Portcullis.Project=acme",
            "-ec portcullis.project=acme",
            "-e -c portcullis.project=other --portcullis.project=acme",
            "-c portcullis.project=ac\\me",
            "stray -c portcullis.project=acme",
        ] {
            assert_eq!(project(options).as_deref(), Some("acme"), "{options:?}");
        }
    }

    #[test]
    fn what_only_looks_like_the_setting_is_not_taken() {
        for options in [
            "",
            "-",
            "-c",
            "portcullis.project=acme",
            "-c other=portcullis.project=acme",
            "-d -c portcullis.project=acme",
            "-- -c portcullis.project=acme",
            "-c\\ portcullis.project=acme",
            "-c search_path=a\\ -cportcullis.project=acme",
            "-c portcullis.projects=acme",
        ] {
            assert_eq!(project(options), None, "{options:?}");
        }
        assert_eq!(project("-c portcullis.project").as_deref(), Some(""));
        assert_eq!(project("-c portcullis.project=a=b").as_deref(), Some("a=b"));
        assert_eq!(
            project("-c portcullis.project=a\\ b").as_deref(),
            Some("a b")
        );
    }

    /// `pg_split_opts`, statement by statement.
    fn split_as_postgresql(options: &[u8]) -> Vec<Vec<u8>> {
        let (mut at, mut arguments) = (0, Vec::new());
        while at < options.len() {
            while at < options.len() && is_space(options[at]) {
                at += 1;
            }
            if at == options.len() {
                break;
            }
            let (mut argument, mut escaped) = (Vec::new(), false);
            while at < options.len() && (escaped || !is_space(options[at])) {
                if !escaped && options[at] == b'\\' {
                    escaped = true;
                } else {
                    escaped = false;
                    argument.push(options[at]);
                }
                at += 1;
            }
            arguments.push(argument);
        }
        arguments
    }

    proptest! {
        #[test]
        fn options_are_split_as_postgresql_splits_them(options in r"[ \t\\ac=-]{0,30}") {
            prop_assert_eq!(split(options.as_bytes()), split_as_postgresql(options.as_bytes()));
        }

        #[test]
        fn any_options_are_survived(options in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _found = setting(&options, "portcullis.project");
        }

        #[test]
        fn an_escaped_value_comes_back(value in r"[a-z \\=-]{0,20}") {
            let escaped: String = value.chars().flat_map(|c| ['\\', c]).collect();
            let options = format!("-e -c portcullis.project={escaped}");
            prop_assert_eq!(project(&options), Some(value));
        }
    }
}
