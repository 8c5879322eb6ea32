//! The run in one table: a row for each contestant, a figure for each kind of work.

use std::fmt::Write as _;

use crate::case::Case;
use crate::conductor::{Results, Row};
use crate::job::Direction::{Download, Upload};
use crate::process::Fault;
use crate::report::emphasised;
use crate::stats::short;

struct Column {
    label: &'static str,
    case: fn(Case) -> bool,
    key: &'static str,
}

const COLUMNS: [Column; 7] = [
    Column {
        label: "CPU µs per login",
        case: |case| case == Case::Login(16),
        key: "cpu_us",
    },
    Column {
        label: "CPU s per GB down",
        case: |case| case == Case::Bulk(Download, 1),
        key: "cpu_s_per_gb",
    },
    Column {
        label: "CPU s per GB up",
        case: |case| case == Case::Bulk(Upload, 1),
        key: "cpu_s_per_gb",
    },
    Column {
        label: "CPU µs per SELECT 1",
        case: |case| case == Case::Query(16),
        key: "cpu_us",
    },
    Column {
        label: "µs of a SELECT 1, all on one core",
        case: |case| case == Case::OneCpu,
        key: "p50_us",
    },
    Column {
        label: "KiB per idle session",
        case: |case| matches!(case, Case::Memory { .. }),
        key: "kib_most",
    },
    Column {
        label: "µs of one in a storm of logins, p99",
        case: |case| matches!(case, Case::Storm { .. }),
        key: "storm_p99_us",
    },
];

/// The table. Its head begins as [`HEAD`] says, by which the README's copy is found.
pub(crate) fn write(out: &mut String, results: &Results) -> Result<(), Fault> {
    write!(out, "{HEAD}")?;
    for column in &COLUMNS {
        write!(out, " {} |", column.label)?;
    }
    writeln!(out, "\n|---|{}", "---:|".repeat(COLUMNS.len()))?;
    for row in &results.rows {
        if !row.readings.is_empty() {
            line(out, results, row)?;
        }
    }
    Ok(())
}

const HEAD: &str = "| beside others |";

fn line(out: &mut String, results: &Results, row: &Row) -> Result<(), Fault> {
    write!(out, "| {} |", emphasised(row))?;
    for column in &COLUMNS {
        let case = results.cases.iter().position(|case| (column.case)(*case));
        let spread = case.and_then(|case| results.spread(row, case, column.key));
        let cell = spread.map_or_else(String::new, |spread| short(spread.median));
        write!(out, " {cell} |")?;
    }
    writeln!(out)?;
    Ok(())
}
