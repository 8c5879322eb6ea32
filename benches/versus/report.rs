//! The run as Markdown.

use std::cmp::Ordering::Equal;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::case::{Case, Quantity};
use crate::certs;
use crate::conductor::{Results, Row};
use crate::contestants::Standing;
use crate::process::Fault;
use crate::reach;
use crate::stats::{Spread, short};
use crate::summary;

/// Whom the ratios of a case are taken to.
pub(crate) struct Yardsticks<'r> {
    pub(crate) raw: Option<&'r Row>,
    /// By its median.
    pub(crate) best_peer: Option<&'r Row>,
}

impl Results {
    /// What a contestant showed in a case.
    pub(crate) fn spread(&self, row: &Row, case: usize, key: &str) -> Option<Spread> {
        Spread::of(&values(row, case, key))
    }

    /// What a contestant showed, held against what a yardstick did in the same pass: what a neighbour of
    /// the machine does to one, it likely does to both.
    pub(crate) fn held(
        &self,
        (row, stick): (&Row, &Row),
        (case, key): (usize, &str),
        against: fn(f64, f64) -> f64,
    ) -> Option<Spread> {
        let (own, others) = (values(row, case, key), values(stick, case, key));
        if own.len() != others.len() {
            // One has failed in some pass, and nobody knows in which.
            let (own, other) = (Spread::of(&own)?.median, Spread::of(&others)?.median);
            return Spread::of(&[against(own, other)]);
        }
        let pairs = own.into_iter().zip(others);
        let held: Vec<f64> = pairs.map(|(own, other)| against(own, other)).collect();
        Spread::of(&held)
    }

    pub(crate) fn yardsticks(&self, case: usize, key: &str) -> Yardsticks<'_> {
        let median = |row: &Row| Some(self.spread(row, case, key)?.median);
        let has_it = |row: &&Row| median(row).is_some();
        let mut peers = self.rows.iter().filter(has_it);
        Yardsticks {
            raw: peers.clone().find(|row| row.name == "raw"),
            best_peer: peers
                .by_ref()
                .filter(|row| row.standing == Standing::Peer)
                .min_by(|one, other| median(one).partial_cmp(&median(other)).unwrap_or(Equal)),
        }
    }
}

fn values(row: &Row, case: usize, key: &str) -> Vec<f64> {
    let readings = row.readings.get(&case).into_iter().flatten();
    let values = readings.filter_map(|reading| reading.get(key).copied());
    values.collect()
}

/// Writes `versus.md` and `versus.json` into `dir`, which is there.
pub(crate) fn write(results: &Results, dir: &Path, charts: &[String]) -> Result<String, Fault> {
    let text = markdown(results, charts)?;
    fs::write(dir.join("versus.md"), &text)?;
    fs::write(
        dir.join("versus.json"),
        serde_json::to_string_pretty(&raw(results))?,
    )?;
    Ok(text)
}

/// Every reading, by contestant and case.
fn raw(results: &Results) -> BTreeMap<&str, BTreeMap<String, serde_json::Value>> {
    let row = |row: &Row| {
        let readings = row.readings.iter().filter_map(|(case, readings)| {
            let title = results.cases.get(*case)?.title();
            Some((title, serde_json::json!(readings)))
        });
        readings.collect()
    };
    let rows = results.rows.iter();
    rows.map(|each| (&*each.name, row(each))).collect()
}

fn markdown(results: &Results, charts: &[String]) -> Result<String, Fault> {
    let mut out = String::from("# Portcullis beside others\n\n");
    let command: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    writeln!(out, "Made by `benches/versus/run {}`.\n", command.join(" "))?;
    writeln!(out, "- Machine: {}", results.machine)?;
    writeln!(out, "- Backend: {}", results.backend)?;
    writeln!(out, "- For all: {}", certs::TERMS)?;
    writeln!(
        out,
        "- Medians (and the middle half) of the windows of {} round(s); memory is measured once. {} s in all.\n",
        results.rounds, results.seconds
    )?;
    summary::write(&mut out, results)?;
    writeln!(out)?;
    charts
        .iter()
        .try_for_each(|chart| writeln!(out, "![{chart}]({chart}.svg)"))?;
    for (at, case) in results.cases.iter().enumerate() {
        table(&mut out, results, (at, *case))?;
    }
    // The goals are about what the proxy does, not about what a server of milliseconds leaves of it.
    if !results.real {
        reach::write(&mut out, results)?;
    }
    contestants(&mut out, results)?;
    Ok(out)
}

fn table(out: &mut String, results: &Results, (at, case): (usize, Case)) -> Result<(), Fault> {
    write!(out, "\n## {}\n\n| |", case.title())?;
    let quantities = case.quantities();
    for quantity in quantities {
        write!(out, " {} |", quantity.label)?;
        if quantity.main {
            write!(out, " × raw | × best TLS peer |")?;
        }
    }
    let columns = quantities.len() + 2;
    writeln!(out, "\n|---|{}", "---:|".repeat(columns))?;
    for row in results
        .rows
        .iter()
        .filter(|row| row.readings.contains_key(&at))
    {
        write!(out, "| {} |", emphasised(row))?;
        for quantity in quantities {
            cells(out, results, (row, at, quantity))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn cells(
    out: &mut String,
    results: &Results,
    (row, case, quantity): (&Row, usize, &Quantity),
) -> Result<(), Fault> {
    let spread = results.spread(row, case, quantity.key);
    write!(out, " {} |", spread.map_or_else(String::new, told))?;
    if quantity.main {
        let sticks = results.yardsticks(case, quantity.key);
        for stick in [sticks.raw, sticks.best_peer] {
            let ratio = stick
                .and_then(|stick| results.held((row, stick), (case, quantity.key), |a, b| a / b));
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.median));
            write!(out, " {ratio} |")?;
        }
    }
    Ok(())
}

pub(crate) fn told(spread: Spread) -> String {
    if spread.low < spread.high {
        let (low, high) = (short(spread.low), short(spread.high));
        format!("{} ({low}..{high})", short(spread.median))
    } else {
        short(spread.median)
    }
}

pub(crate) fn emphasised(row: &Row) -> String {
    match row.standing {
        Standing::Ours => format!("**{}**", row.name),
        Standing::BothLegs | Standing::Uncapped | Standing::Earlier | Standing::Peer => {
            row.name.clone()
        }
        Standing::PlainPeer => format!("{} (no TLS)", row.name),
        Standing::Floor | Standing::Server => format!("*{}*", row.name),
    }
}

fn contestants(out: &mut String, results: &Results) -> Result<(), Fault> {
    writeln!(
        out,
        "\n## Contestants\n\n| | version | settings |\n|---|---|---|"
    )?;
    for row in &results.rows {
        let cells = [&row.version, &row.settings].map(|cell| cell.replace('|', "/"));
        writeln!(out, "| {} | {} |", emphasised(row), cells.join(" | "))?;
    }
    faults(out, results)
}

/// What was tried in vain, and how often.
fn faults(out: &mut String, results: &Results) -> Result<(), Fault> {
    let mut told: BTreeMap<&str, BTreeMap<&str, u32>> = BTreeMap::new();
    for row in &results.rows {
        for fault in &row.faults {
            let times = told.entry(fault).or_default().entry(&row.name).or_default();
            *times += 1;
        }
    }
    if !told.is_empty() {
        writeln!(out, "\n## What could not be measured\n")?;
    }
    for (fault, rows) in told {
        let rows = rows.into_iter().map(|(name, times)| match times {
            1 => name.to_owned(),
            more => format!("{name} ({more} times)"),
        });
        let rows: Vec<String> = rows.collect();
        writeln!(out, "- {fault}: {}", rows.join(", "))?;
    }
    Ok(())
}
