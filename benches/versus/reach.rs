//! What Portcullis sets out to reach, held against the run.

use std::fmt::Write as _;

use crate::case::Case;
use crate::conductor::Results;
use crate::contestants::Standing;
use crate::job::Direction::{Download, Upload};
use crate::process::Fault;
use crate::report::told;

/// What a goal is relative to.
#[derive(Clone, Copy, Debug)]
enum Against {
    /// At most this many times the best TLS peer's.
    Best(f64),
    /// At most this many times the raw TCP copy's.
    Raw(f64),
    /// At most this much more than the raw TCP copy's.
    RawAnd(f64),
    /// At most this.
    Itself(f64),
}

struct Goal {
    standing: Standing,
    key: &'static str,
    against: Against,
}

fn goals(case: Case) -> Vec<Goal> {
    let ours = |key, against| Goal {
        standing: Standing::Ours,
        key,
        against,
    };
    let both_legs = |key, most| Goal {
        standing: Standing::BothLegs,
        ..ours(key, Against::Itself(most))
    };
    match case {
        Case::Login(_) => vec![ours("cpu_us", Against::Best(0.65))],
        Case::Bulk(Download, _) => vec![
            ours("cpu_s_per_gb", Against::Best(0.5)),
            ours("cpu_s_per_gb", Against::Raw(1.25)),
        ],
        Case::Bulk(Upload, _) => vec![
            ours("cpu_s_per_gb", Against::Best(0.75)),
            ours("cpu_s_per_gb", Against::Raw(1.35)),
        ],
        Case::Query(1) => Vec::new(),
        Case::Query(_) => vec![ours("cpu_us", Against::Best(0.85))],
        Case::OneCpu => vec![ours("p50_us", Against::RawAnd(5.0))],
        Case::Memory { .. } => vec![
            ours("kib_5000", Against::Itself(6.0)),
            ours("kib_most", Against::Itself(6.0)),
            both_legs("kib_5000", 10.0),
            both_legs("kib_most", 10.0),
            ours("left_percent", Against::Itself(10.0)),
        ],
        Case::Storm { .. } => vec![ours("p99_growth", Against::Itself(2.0))],
    }
}

/// The table of goals, if anybody is held to them.
pub(crate) fn write(out: &mut String, results: &Results) -> Result<(), Fault> {
    if !results
        .rows
        .iter()
        .any(|row| row.standing == Standing::Ours)
    {
        return Ok(());
    }
    writeln!(out, "\n## Reach\n\n| | goal | here | |\n|---|---|---:|---|")?;
    for (at, case) in results.cases.iter().enumerate() {
        for goal in goals(*case) {
            line(out, results, (at, *case, &goal))?;
        }
    }
    Ok(())
}

fn line(
    out: &mut String,
    results: &Results,
    (at, case, goal): (usize, Case, &Goal),
) -> Result<(), Fault> {
    let Some(row) = results
        .rows
        .iter()
        .find(|row| row.standing == goal.standing && row.readings.contains_key(&at))
    else {
        return Ok(());
    };
    let sticks = results.yardsticks(at, goal.key);
    let held = |stick: Option<_>, against| results.held((row, stick?), (at, goal.key), against);
    let (here, limit, words) = match goal.against {
        Against::Best(limit) => (
            held(sticks.best_peer, |own, best| own / best),
            limit,
            "× best TLS peer",
        ),
        Against::Raw(limit) => (
            held(sticks.raw, |own, raw| own / raw),
            limit,
            "× raw TCP copy",
        ),
        Against::RawAnd(limit) => (
            held(sticks.raw, |own, raw| own - raw),
            limit,
            "more than the raw TCP copy",
        ),
        Against::Itself(limit) => (results.spread(row, at, goal.key), limit, ""),
    };
    if here.is_none() && matches!(goal.against, Against::Itself(_)) {
        // Fewer sessions than the goal is about.
        return Ok(());
    }
    let label = label(case, goal.key);
    let verdict = match here {
        Some(here) if here.high <= limit => "reached",
        Some(here) if here.median <= limit => "reached by the median",
        Some(_) => "**not reached**",
        None => "nothing to compare with",
    };
    let here = here.map_or_else(String::new, told);
    let subject = match goal.standing {
        Standing::BothLegs => format!("{}, TLS on both legs", case.title()),
        Standing::Ours
        | Standing::Uncapped
        | Standing::Earlier
        | Standing::Peer
        | Standing::PlainPeer
        | Standing::Floor
        | Standing::Server => case.title(),
    };
    writeln!(
        out,
        "| {subject}: {label} | ≤ {limit} {words} | {here} | {verdict} |"
    )?;
    Ok(())
}

fn label(case: Case, key: &str) -> &'static str {
    let mut quantities = case.quantities().iter();
    quantities
        .find(|quantity| quantity.key == key)
        .map_or("", |quantity| quantity.label)
}
