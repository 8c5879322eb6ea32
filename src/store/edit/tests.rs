//! Rules added, removed and replaced in real files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;
use crate::gate::rule::Remarks;

const TEXT: &str = r#"# The gate of the shop.
default_project = "acme"   # everybody

[project.acme]
hosts = ["acme.example.com"]
backend = "postgres://127.0.0.1:5432"
# who may come in
allow = [
    "203.0.113.5",     # ann
    # the office
    "198.51.100.0/24",
]

[project.beta]
hosts = ["beta.example.com"]
allow = [ "10.0.0.0/8" ] # inside
backend = "/run/postgresql"
"#;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.toml");
    fs::write(&path, text).unwrap();
    (directory, path)
}

fn allow(source: &str) -> Rule {
    Rule::new(Verdict::Allow, source.parse().unwrap())
}

fn deny(source: &str) -> Rule {
    Rule::new(Verdict::Deny, source.parse().unwrap())
}

fn source(verdict: Verdict, source: &str) -> Selector {
    Selector::Source(verdict, source.parse().unwrap())
}

fn on<T>(project: &str, use_it: impl FnOnce(&Target<'_>) -> T) -> T {
    use_it(&Target {
        owner: Owner::Project(&project.parse().unwrap()),
        expected: None,
        known: &CompiledSets::default(),
    })
}

/// The text after one edit of a project's rules.
fn edited(text: &str, project: &str, edit: Edit<'_>) -> Result<String, EditError> {
    let (_directory, path) = file(text);
    let change = on(project, |target| apply(&path, target, edit));
    let left = fs::read_to_string(&path).unwrap();
    if change.is_err() {
        assert_eq!(left, text, "a failed edit changed the file");
    }
    change.map(|_| left)
}

#[test]
fn a_rule_is_added_on_a_line_of_its_own_and_nothing_else_moves() {
    let rule = allow("192.0.2.1").with(Remarks {
        note: Some("the lab, \"2\"".parse().unwrap()),
        ..Remarks::default()
    });
    let after = edited(TEXT, "acme", Edit::Add(&[rule])).unwrap();
    let line = "    { source = \"192.0.2.1\", note = 'the lab, \"2\"' },\n";
    assert_eq!(after, TEXT.replace("/24\",\n", &format!("/24\",\n{line}")));
    let after = edited(TEXT, "beta", Edit::Add(&[allow("::1"), allow("::2")])).unwrap();
    assert_eq!(
        after,
        TEXT.replace("\"10.0.0.0/8\" ]", "\"10.0.0.0/8\", \"::1\", \"::2\" ]")
    );
}

#[test]
fn a_rule_that_is_there_is_changed_in_its_place() {
    let rule = allow("203.0.113.5").with(Remarks {
        author: Some("bob".parse().unwrap()),
        ..Remarks::default()
    });
    let after = edited(TEXT, "acme", Edit::Add(&[rule])).unwrap();
    let changed = "{ source = \"203.0.113.5\", author = \"bob\" },     # ann";
    assert_eq!(after, TEXT.replace("\"203.0.113.5\",     # ann", changed));
    assert_eq!(
        edited(TEXT, "acme", Edit::Add(&[allow("203.0.113.5/32")])).unwrap(),
        TEXT
    );
}

#[test]
fn a_first_deny_rule_brings_its_key() {
    let after = edited(TEXT, "beta", Edit::Add(&[deny("10.9.0.0/16")])).unwrap();
    let line = "] # inside\ndeny = [\"10.9.0.0/16\"]\n";
    assert_eq!(after, TEXT.replace("] # inside\n", line));
    let after = edited(
        &after,
        "beta",
        Edit::Remove(&[source(Verdict::Deny, "10.9.0.0/16")]),
    );
    assert_eq!(
        after.unwrap(),
        TEXT.replace("] # inside\n", "] # inside\ndeny = []\n")
    );
}

#[test]
fn every_form_of_a_project_is_edited_or_refused_and_never_damaged() {
    let rest = "backend = \"/tmp\"";
    for (before, after) in [
        (
            "project.a = { hosts = [\"h.x\"], allow = [\"::1\"], backend = \"/tmp\" }",
            "project.a = { hosts = [\"h.x\"], allow = [\"::1\"], deny = [\"::2\"], backend = \"/tmp\" }",
        ),
        (
            "[project]\na.hosts = [\"h.x\"]\n a.allow = [\"::1\"] # c\na.backend = \"/tmp\"",
            "[project]\na.hosts = [\"h.x\"]\n a.allow = [\"::1\"] # c\n a.deny = [\"::2\"]\n\
             a.backend = \"/tmp\"",
        ),
        (
            "[project.\"a\"]\r\nallow = [\"::1\"]\r\nhosts = [\"h.x\"]\r\nbackend = \"/tmp\"",
            "[project.\"a\"]\r\nallow = [\"::1\"]\r\ndeny = [\"::2\"]\r\nhosts = [\"h.x\"]\r\n\
             backend = \"/tmp\"",
        ),
    ] {
        assert_eq!(
            edited(before, "a", Edit::Add(&[deny("::2")])).unwrap(),
            after
        );
    }
    let tables =
        format!("[project.a]\nhosts = [\"h.x\"]\n{rest}\n[[project.a.allow]]\nsource = \"::1\"");
    assert!(matches!(
        edited(&tables, "a", Edit::Add(&[allow("::2")])),
        Err(EditError::Form)
    ));
}

#[test]
fn t25_the_last_rule_leaves_nowhere_behind_and_nowhere_gives_way() {
    let closed = edited(
        TEXT,
        "beta",
        Edit::Remove(&[source(Verdict::Allow, "10.0.0.0/8")]),
    )
    .unwrap();
    assert_eq!(closed, TEXT.replace("10.0.0.0/8", "nowhere"));
    let open = edited(&closed, "beta", Edit::Add(&[allow("10.0.0.0/8")])).unwrap();
    assert_eq!(open, TEXT);
    assert_eq!(
        edited(TEXT, "beta", Edit::Replace(Verdict::Allow, &[])).unwrap(),
        closed
    );
    let nowhere = edited(TEXT, "beta", Edit::Add(&[allow("nowhere")]));
    assert!(matches!(nowhere, Err(EditError::After(_))));
}

#[test]
fn replacing_keeps_what_stays_and_its_comments() {
    let wanted = [allow("192.0.2.7"), allow("198.51.100.0/24")];
    let after = edited(TEXT, "acme", Edit::Replace(Verdict::Allow, &wanted)).unwrap();
    let expected = TEXT
        .replace("    \"203.0.113.5\",     # ann\n", "")
        .replace("/24\",\n", "/24\",\n    \"192.0.2.7\",\n");
    assert_eq!(after, expected);
}

/// The text after one edit of the process-wide deny list.
fn denied(text: &str, edit: Edit<'_>) -> Result<String, EditError> {
    let (directory, path) = file(text);
    fs::write(directory.path().join("feed.txt"), "192.0.2.1\n").unwrap();
    let target = Target {
        owner: Owner::Process,
        expected: None,
        known: &CompiledSets::default(),
    };
    let change = apply(&path, &target, edit);
    let left = fs::read_to_string(&path).unwrap();
    change.map(|_| left)
}

#[test]
fn the_process_wide_deny_list_is_edited_around_the_files_that_it_names() {
    let list =
        "deny = [\n  # feeds\n  { file = \"feed.txt\" }, # daily\n  \"10.0.0.0/8\", # lab\n]\n";
    let text = format!("{list}{TEXT}");
    let grown = denied(&text, Edit::Add(&[deny("192.0.2.7")])).unwrap();
    let line = "\"10.0.0.0/8\", # lab\n  \"192.0.2.7\",\n";
    assert_eq!(grown, text.replace("\"10.0.0.0/8\", # lab\n", line));
    let all = ["10.0.0.0/8", "192.0.2.7"].map(|one| source(Verdict::Deny, one));
    let left = denied(&grown, Edit::Remove(&all)).unwrap();
    assert_eq!(left, text.replace("  \"10.0.0.0/8\", # lab\n", ""));
    let gone = denied(&left, Edit::Remove(&all));
    let why = gone.unwrap_err().to_string();
    assert!(
        why.starts_with("the process-wide deny list has no rule"),
        "{why}"
    );
}

#[test]
fn a_first_entry_of_the_process_wide_deny_list_brings_its_key() {
    let after = denied(TEXT, Edit::Add(&[deny("192.0.2.7")])).unwrap();
    let key = "# everybody\n";
    assert_eq!(
        after,
        TEXT.replace(key, &format!("{key}deny = [\"192.0.2.7\"]\n"))
    );
    let project = &TEXT[TEXT.find("[project.acme]").unwrap()..];
    let after = denied(project, Edit::Add(&[deny("192.0.2.7")])).unwrap();
    assert_eq!(after, format!("deny = [\"192.0.2.7\"]\n\n{project}"));
    // A form that is read and can't be edited, and an entry that can't be one.
    let one_file = format!("deny = {{ file = \"feed.txt\" }}\n{TEXT}");
    let form = denied(&one_file, Edit::Add(&[deny("192.0.2.7")]));
    assert!(matches!(form, Err(EditError::Form)));
    let anywhere = denied(TEXT, Edit::Add(&[deny("anywhere")]));
    assert!(matches!(anywhere, Err(EditError::After(_))));
}

#[test]
fn what_is_not_there_is_not_removed() {
    let by_id = Selector::Id(allow("203.0.113.5").id);
    let after = edited(TEXT, "acme", Edit::Remove(&[by_id])).unwrap();
    assert_eq!(after, TEXT.replace("    \"203.0.113.5\",     # ann\n", ""));
    let gone = edited(
        TEXT,
        "acme",
        Edit::Remove(&[source(Verdict::Deny, "203.0.113.5")]),
    );
    assert!(matches!(gone, Err(EditError::NoRule(..))));
    let project = edited(TEXT, "gamma", Edit::Add(&[]));
    assert!(matches!(project, Err(EditError::NoProject(_))));
}

#[test]
fn a_file_that_would_be_wrong_is_never_written() {
    let tag = edited(TEXT, "acme", Edit::Add(&[allow("tag:office")]));
    assert!(matches!(tag, Err(EditError::After(_))));
    let broken = edited(
        &TEXT.replace("hosts", "host"),
        "acme",
        Edit::Add(&[allow("::1")]),
    );
    assert!(matches!(broken, Err(EditError::Before(_))));
}

#[test]
fn an_edit_for_another_revision_is_refused() {
    let (_directory, path) = file(TEXT);
    let project = "acme".parse().unwrap();
    let known = CompiledSets::default();
    let target = Target {
        owner: Owner::Project(&project),
        expected: None,
        known: &known,
    };
    let change = preview(&path, &target, Edit::Add(&[allow("::1")])).unwrap();
    assert_eq!(change.diff, "+    \"::1\",\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    let target = Target {
        expected: Some(change.before_revision),
        ..target
    };
    let applied = apply(&path, &target, Edit::Add(&[allow("::1")])).unwrap();
    assert_eq!(applied.after_revision, change.after_revision);
    let late = apply(&path, &target, Edit::Add(&[allow("::2")]));
    assert!(matches!(late, Err(EditError::Revision { .. })));
    assert_eq!(
        Config::load(&path).unwrap().projects[&project].revision(),
        applied.after_revision
    );
}

#[test]
fn mode_and_link_are_kept_and_nothing_is_left_beside() {
    let (directory, path) = file(TEXT);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let link = directory.path().join("link.toml");
    std::os::unix::fs::symlink("proxy.toml", &link).unwrap();
    on("acme", |target| {
        apply(&link, target, Edit::Add(&[allow("::1")]))
    })
    .unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&path).unwrap().contains("::1"));
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o640
    );
    let mut names: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["link.toml", "proxy.toml", "proxy.toml.lock"]);
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let (_directory, path) = file(TEXT);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for n in 0..10 {
                    let rule = allow(&format!("192.0.{writer}.{n}"));
                    on("acme", |target| apply(path, target, Edit::Add(&[rule]))).unwrap();
                }
            });
        }
    });
    let config = Config::load(&path).unwrap();
    assert_eq!(config.projects[&"acme".parse().unwrap()].rules.len(), 42);
    let left = fs::read_to_string(&path).unwrap();
    for line in TEXT.lines() {
        assert!(left.lines().any(|other| other == line), "{line:?} is lost");
    }
}
