//! Holds the README's tables to the code. `UPDATE_README=1 cargo test --test readme` writes them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use portcullis::metrics::SERIES;
use portcullis::refusal::Reason;

#[test]
fn the_readme_lists_every_refusal_with_its_sqlstate() {
    let row = |text: &mut String, reason: &Reason| {
        let sqlstate = reason.sqlstate().unwrap_or("-");
        let (label, summary) = (reason.label(), reason.summary());
        writeln!(text, "| `{label}` | {sqlstate} | {summary} |").expect("a String takes any text");
    };
    let mut table = String::new();
    Reason::ALL
        .iter()
        .for_each(|reason| row(&mut table, reason));
    hold(
        "| reason | SQLSTATE | what happened |\n|---|---|---|\n",
        &table,
    );
}

#[test]
fn the_readme_lists_every_series() {
    let mut table = String::new();
    for series in SERIES {
        let (name, labels, help) = (series.name, series.labels.join(", "), series.help);
        writeln!(table, "| `{name}` | {labels} | {help} |").expect("a String takes any text");
    }
    hold(
        "| series | labels | what it tells |\n|---|---|---|\n",
        &table,
    );
}

#[test]
fn the_readme_tells_what_versus_measured_last() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks/versus.md");
    let told = fs::read_to_string(path).expect("docs/benchmarks/versus.md");
    let lines = told.split_inclusive('\n');
    let table = lines
        .skip_while(|line| !line.starts_with("| beside others |"))
        .take_while(|line| line.starts_with('|'));
    let table: String = table.collect();
    assert!(!table.is_empty(), "versus.md has no table of the whole run");
    hold("<!-- docs/benchmarks/versus.md -->\n\n", &table);
}

/// Holds the table behind `head` to `table`.
fn hold(head: &str, table: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).expect("README.md");
    let (before, behind) = readme.split_once(head).expect("the table's head");
    let length: usize = behind
        .split_inclusive('\n')
        .take_while(|line| line.starts_with('|'))
        .map(str::len)
        .sum();
    let (is, rest) = behind.split_at(length);
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&path, format!("{before}{head}{table}{rest}")).expect("README.md");
        return;
    }
    assert_eq!(
        is, table,
        "UPDATE_README=1 cargo test --test readme -- --test-threads 1"
    );
}
