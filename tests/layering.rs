//! Holds the imports to the floors: each module names only modules below its own floor or beside
//! it, with no circle anywhere, and each dependency is known to the modules that it belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first.
const FLOORS: [&[&str]; 7] = [
    &["address", "gate", "id", "relay", "stamp", "tls", "wire"],
    &["auth", "backend", "pki", "refusal"],
    &[
        "cancel",
        "metrics",
        "project",
        "revocation",
        "served",
        "sessions",
    ],
    &["connection"],
    &["config", "store"],
    &["admin"],
    &["cli", "main", "proxy"],
];

/// Dependencies that only these modules may name.
const CONFINED: [(&str, &[&str]); 16] = [
    ("annotate_snippets", &["config", "store"]),
    ("axum", &["admin"]),
    ("clap", &["cli"]),
    ("http_body_util", &["cli"]),
    ("hyper", &["cli"]),
    ("notify", &["store"]),
    ("pgwire", &["wire"]),
    ("prometheus", &["metrics"]),
    ("rcgen", &["pki"]),
    ("rustls::unbuffered", &["tls"]),
    ("toml", &["config", "store"]),
    ("toml_edit", &["config", "store"]),
    ("tracing", &["cli", "connection", "proxy"]),
    ("tracing_subscriber", &["cli"]),
    ("webpki", &["pki"]),
    ("x509_parser", &["pki"]),
];

/// What parsers and rules must do without: a clock, a socket, a runtime.
const SANS_IO: [(&str, &[&str]); 2] = [
    (
        "wire",
        &[
            "tokio::",
            "std::net::Tcp",
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
        ],
    ),
    (
        "gate",
        &[
            "tokio::",
            "std::net::Tcp",
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
        ],
    ),
];

#[test]
fn every_module_names_only_modules_below_or_beside_it_and_in_no_circle() {
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        let floor = floor_of(&source.module).unwrap_or_else(|| {
            panic!("{} has no floor: give it one here", source.path.display());
        });
        for other in source.crate_modules() {
            let other_floor = floor_of(&other).unwrap_or_else(|| {
                panic!(
                    "{} names {other}, which has no floor",
                    source.path.display()
                );
            });
            assert!(
                other_floor <= floor,
                "{} names {other}, above it",
                source.path.display()
            );
            if other != source.module {
                named
                    .entry(source.module.clone())
                    .or_default()
                    .insert(other);
            }
        }
    }
    assert!(
        named.len() > 10,
        "the scan found too little to be true: {named:?}"
    );
    for module in named.keys() {
        assert!(
            !reaches(&named, module, module),
            "{module} is part of a circle"
        );
    }
}

#[test]
fn each_dependency_is_known_only_where_it_belongs() {
    let mut seen = BTreeSet::new();
    for source in sources() {
        for (dependency, homes) in CONFINED {
            if source.names(&format!("{dependency}::")) {
                seen.insert(dependency);
                let is_home = homes.contains(&source.module.as_str());
                assert!(is_home, "{} names {dependency}", source.path.display());
            }
        }
    }
    let unseen: Vec<_> = CONFINED
        .iter()
        .filter(|(name, _)| !seen.contains(name))
        .collect();
    assert!(unseen.is_empty(), "nobody names these any more: {unseen:?}");
}

#[test]
fn parsers_and_rules_know_no_clock_and_no_socket() {
    for (module, forbidden) in SANS_IO {
        let files: Vec<_> = sources()
            .into_iter()
            .filter(|source| source.module == module)
            .collect();
        assert!(files.len() > 2, "{module} has gone");
        for source in files {
            for word in forbidden {
                assert!(
                    !source.names(word),
                    "{} names {word}",
                    source.path.display()
                );
            }
        }
    }
}

struct Source {
    path: PathBuf,
    module: String,
    /// The code without comments and without its tests.
    code: String,
}

impl Source {
    fn crate_modules(&self) -> BTreeSet<String> {
        let name = |rest: &str| {
            rest.chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect::<String>()
        };
        let after: Vec<&str> = self.code.split("crate::").skip(1).collect();
        after
            .into_iter()
            .map(name)
            .filter(|name| !name.is_empty())
            .collect()
    }

    /// Whether the code names `word`, not merely as the end of a longer name.
    fn names(&self, word: &str) -> bool {
        self.code.match_indices(word).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        })
    }
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn reaches(named: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut pending = vec![from];
    while let Some(module) = pending.pop() {
        for next in named.get(module).into_iter().flatten() {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                pending.push(next);
            }
        }
    }
    false
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).expect("the sources") {
            let path = entry.expect("the sources").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.extend(read(&root, path));
            }
        }
    }
    sources
}

/// The code of a file: not of `lib.rs`, which only declares the modules, and not of tests, which may
/// name whatever they need.
fn read(root: &Path, path: PathBuf) -> Option<Source> {
    let relative = path.strip_prefix(root).expect("a path below src");
    let is_test = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    let module = relative
        .iter()
        .next()?
        .to_str()?
        .trim_end_matches(".rs")
        .to_owned();
    if module == "lib" || relative.iter().any(is_test) {
        return None;
    }
    let text = fs::read_to_string(&path).expect("a source");
    let code = text.split("#[cfg(test)]").next()?;
    let uncommented = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    Some(Source {
        module,
        code: uncommented.collect::<Vec<_>>().join("\n"),
        path,
    })
}
