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
        label: "CPU s per GB to clients",
        case: |case| case == Case::Bulk(Download, 1),
        key: "cpu_s_per_gb",
    },
    Column {
        label: "CPU s per GB from clients",
        case: |case| case == Case::Bulk(Upload, 1),
        key: "cpu_s_per_gb",
    },
    Column {
        label: "CPU µs per SELECT 1",
        case: |case| case == Case::Query(16),
        key: "cpu_us",
    },
    Column {
        label: "p50 µs of SELECT 1, all on one core",
        case: |case| case == Case::OneCpu,
        key: "p50_us",
    },
    Column {
        label: "KiB per idle session",
        case: |case| matches!(case, Case::Memory { .. }),
        key: "kib_most",
    },
    Column {
        label: "p99 µs of SELECT 1 in a storm of logins",
        case: |case| matches!(case, Case::Storm { .. }),
        key: "storm_p99_us",
    },
];

/// The table. Its head begins as [`HEAD`] says, by which the README's copy is found.
pub(crate) fn write(out: &mut String, results: &Results) -> Result<(), Fault> {
    let columns: Vec<(usize, &Column)> =
        COLUMNS.iter().filter_map(|it| it.among(results)).collect();
    write!(out, "{HEAD}")?;
    for (_, column) in &columns {
        write!(out, " {} |", column.label)?;
    }
    writeln!(out, "\n|---|{}", "---:|".repeat(columns.len()))?;
    for row in &results.rows {
        if !row.readings.is_empty() {
            line(out, (results, row), &columns)?;
        }
    }
    Ok(())
}

impl Column {
    /// Which case it tells, if that was measured.
    fn among(&self, results: &Results) -> Option<(usize, &Self)> {
        let case = results.cases.iter().position(|case| (self.case)(*case));
        Some((case?, self))
    }
}

const HEAD: &str = "| beside others |";

fn line(
    out: &mut String,
    (results, row): (&Results, &Row),
    columns: &[(usize, &Column)],
) -> Result<(), Fault> {
    write!(out, "| {} |", emphasised(row))?;
    for (case, column) in columns {
        let spread = results.spread(row, *case, column.key);
        let cell = spread.map_or_else(String::new, |spread| short(spread.median));
        write!(out, " {cell} |")?;
    }
    writeln!(out)?;
    Ok(())
}
