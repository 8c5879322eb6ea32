//! The `proxy.toml` in the root states every key with its default.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use toml::de::DeTable;

use super::problem::Document;
use super::reader::Reader;
use super::{Config, read_root};

const SHIPPED: &str = include_str!("../../proxy.toml");

/// What no default can be given for: the least that a project must say.
const REQUIRED: &str = r#"
[project.acme]
hosts = ["localhost", "127.0.0.1"]
allow = ["127.0.0.1", "::1"]
backend = "postgres://127.0.0.1:5432"
"#;

/// A line that would be a key or a header if it weren't a comment.
fn is_commented_key(line: &str) -> bool {
    let Some(text) = line.strip_prefix("# ") else {
        return false;
    };
    let key = text.split_once(" = ").map_or("", |(key, _)| key);
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c == '_' || c.is_ascii_lowercase());
    is_word(key) || text.starts_with("[[")
}

fn uncommented() -> String {
    let lines = SHIPPED.lines().map(|line| match line.strip_prefix("# ") {
        Some(key) if is_commented_key(line) => key,
        Some(_) | None => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// A directory with the files that the uncommented keys name, and this `proxy.toml`.
fn directory(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in [
        "office.txt",
        "backend-ca.crt",
        "acme.crt",
        "acme.key",
        "gate.crt",
        "gate.key",
        "users.txt",
        "kek.txt",
        "clients-ca.crt",
        "clients.crl",
        "auth.password",
    ] {
        let path = directory.path().join(name);
        fs::write(&path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(directory.path().join("proxy.toml"), text).unwrap();
    directory
}

fn keys(text: &str) -> BTreeSet<String> {
    let table = DeTable::parse(text).unwrap();
    let mut reader = Reader::new(Document::new(Path::new("proxy.toml"), text), Path::new(""));
    reader.root(&table, read_root);
    reader.asked
}

/// Every key in the file, uncommented, with `*` for names of the user's own choice.
fn stated(text: &str) -> BTreeSet<String> {
    let document = toml_edit::Document::parse(text).unwrap();
    let mut keys = BTreeSet::new();
    collect(document.as_item(), "", &mut keys);
    keys
}

fn collect(item: &toml_edit::Item, path: &str, keys: &mut BTreeSet<String>) {
    let values = item
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_inline_table());
    let values = values.map(|table| table as &dyn toml_edit::TableLike);
    let headed = item.as_array_of_tables().into_iter().flatten();
    let headed = headed.map(|table| table as &dyn toml_edit::TableLike);
    for table in item.as_table_like().into_iter().chain(values).chain(headed) {
        for (key, item) in table.iter() {
            let is_named = matches!(path, "project" | "tags" | "project.*.user_map");
            let name = if is_named { "*" } else { key };
            let path = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            };
            collect(item, &path, keys);
            keys.insert(path);
        }
    }
}

#[test]
fn the_shipped_file_states_the_defaults() {
    let directory = directory(SHIPPED);
    let path = directory.path().join("proxy.toml");
    let shipped = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    fs::write(&path, REQUIRED).unwrap();
    let default = Config::load(&path).unwrap();
    assert_eq!(shipped.effective_toml(), default.effective_toml());
    assert!(shipped.warnings.is_empty());
}

#[test]
fn every_commented_key_of_the_shipped_file_can_be_uncommented() {
    let found = SHIPPED
        .lines()
        .filter(|line| is_commented_key(line))
        .count();
    assert_eq!(found, 28);
    // The keys that others rule out as they stand.
    let text = uncommented()
        .replace("sslmode = \"disable\"", "sslmode = \"verify-full\"")
        .replace("auth = \"passthrough\"", "auth = \"scram\"")
        .replace(
            "client_certificate = \"off\"",
            "client_certificate = \"required\"",
        )
        .replace("verifiers = \"users.txt\"\n", "");
    let directory = directory(&text);
    let config = Config::load(&directory.path().join("proxy.toml"));
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    let project = &config.projects[&"acme".parse().unwrap()];
    assert!(project.certificate.is_some() && project.backend.sslrootcert.is_some());
    assert_eq!(project.max_sessions, config.limits.sessions_per_project);
    assert_eq!(config.listeners.len(), 2);
}

#[test]
fn the_shipped_file_has_every_key_that_is_read_and_no_other() {
    // Tables as values are the other form of a list's element: put in force, so that they are asked
    // for and counted.
    let table = "{ source = \"203.0.113.5\", note = \"Ann at home\", author = \"ann\", id = \"ann\", \
                 expires = 2027-01-31T18:00:00Z }";
    assert!(SHIPPED.contains(table));
    let feed = "[\"198.51.100.0/24\", \"tag:office\", { file = \"feed.txt\" }]";
    assert!(SHIPPED.contains(feed));
    let text = uncommented()
        .replacen("deny = []", &format!("deny = {feed}"), 1)
        .replace("deny = []", &format!("deny = [{table}]"))
        .replace(
            "allow = [\"127.0.0.1\", \"::1\"]",
            &format!("allow = [{table}]"),
        );
    assert_eq!(stated(&text), keys(&text));
}

#[test]
fn the_documentation_names_every_key() {
    let documentation = include_str!("../../docs/configuration.md");
    let mut found = 0;
    for key in keys(&uncommented())
        .iter()
        .filter(|key| !key.ends_with('*'))
    {
        let name = key.rsplit('.').next().unwrap_or(key);
        let forms = [
            format!("`{name}`"),
            format!("[{name}]"),
            format!("[{name}."),
        ];
        let is_there = forms.iter().any(|form| documentation.contains(form));
        assert!(is_there, "{key} is not documented");
        found += 1;
    }
    assert!(found > 40, "{found}");
}
