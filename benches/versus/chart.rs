//! The run as pictures: rows of bars, one panel per variant of a case, whiskers for the spread.

use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::case::Case;
use crate::certs;
use crate::conductor::{Results, Row};
use crate::contestants::Standing;
use crate::job::Direction;
use crate::process::Fault;
use crate::stats::{Spread, short};

const WIDTH: i32 = 1120;
const NAMES: i32 = 160;
const HEAD: i32 = 108;
const BAR: i32 = 26;
const FOOT: i32 = 16;
/// Right of the longest bar there is room for its figure.
const FIGURE: i32 = 56;

const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT: RGBColor = RGBColor(110, 119, 129);
const LINE: RGBColor = RGBColor(216, 222, 228);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One picture: which quantity of which cases.
struct Chart {
    name: &'static str,
    title: &'static str,
    /// As the load names it, and what its panels are headed with besides the case.
    keys: &'static [(&'static str, &'static str)],
    panel: fn(Case) -> Option<String>,
}

const CHARTS: [Chart; 8] = [
    Chart {
        name: "login-cpu",
        title: "Login: CPU µs of the proxy (less is better)",
        keys: &[("cpu_us", "")],
        panel: login,
    },
    Chart {
        name: "login-rate",
        title: "Logins per second on one core (more is better)",
        keys: &[("per_second", "")],
        panel: login,
    },
    Chart {
        name: "bulk-cpu",
        title: "Bulk: CPU seconds of the proxy per GB (less is better)",
        keys: &[("cpu_s_per_gb", "")],
        panel: bulk,
    },
    Chart {
        name: "bulk-rate",
        title: "Bulk: MB/s through one core (more is better)",
        keys: &[("mb_per_second", "")],
        panel: bulk,
    },
    Chart {
        name: "query-cpu",
        title: "SELECT 1: CPU µs of the proxy per query (less is better)",
        keys: &[("cpu_us", "")],
        panel: query,
    },
    Chart {
        name: "query-latency",
        title: "SELECT 1, all on one core: p50 in µs (less is better)",
        keys: &[("p50_us", "")],
        panel: one_cpu,
    },
    Chart {
        name: "memory",
        title: "Memory per idle session: KiB of PSS (less is better)",
        keys: &[("kib_most", "")],
        panel: memory,
    },
    Chart {
        name: "storm",
        title: "SELECT 1 while others log in: p99 in µs (less is better)",
        keys: &[("calm_p99_us", "calm"), ("storm_p99_us", "in the storm")],
        panel: storm,
    },
];

fn login(case: Case) -> Option<String> {
    matches!(case, Case::Login(_)).then(|| behind_comma(case))
}

fn bulk(case: Case) -> Option<String> {
    match case {
        Case::Bulk(Direction::Download, count) => Some(format!("down, {count} conn.")),
        Case::Bulk(Direction::Upload, count) => Some(format!("up, {count} conn.")),
        Case::Login(_)
        | Case::Query(_)
        | Case::OneCpu
        | Case::Memory { .. }
        | Case::Storm { .. } => None,
    }
}

fn query(case: Case) -> Option<String> {
    matches!(case, Case::Query(_)).then(|| behind_comma(case))
}

fn one_cpu(case: Case) -> Option<String> {
    (case == Case::OneCpu).then(|| "1 client".to_owned())
}

fn memory(case: Case) -> Option<String> {
    matches!(case, Case::Memory { .. }).then(|| behind_comma(case))
}

fn storm(case: Case) -> Option<String> {
    matches!(case, Case::Storm { .. }).then(|| "8 live sessions,".to_owned())
}

fn behind_comma(case: Case) -> String {
    let title = case.title();
    title
        .rsplit_once(", ")
        .map_or_else(|| title.clone(), |(_, rest)| rest.to_owned())
}

/// Draws what there are figures for, as SVG into `dir`; the names without their extension.
pub(crate) fn draw(results: &Results, dir: &Path) -> Result<Vec<String>, Fault> {
    let mut drawn = Vec::new();
    for chart in &CHARTS {
        if chart.draw(results, dir)? {
            drawn.push(chart.name.to_owned());
        }
    }
    Ok(drawn)
}

struct Panel {
    title: String,
    bars: Vec<Option<Spread>>,
}

impl Chart {
    fn draw(&self, results: &Results, dir: &Path) -> Result<bool, Fault> {
        let cases: Vec<(usize, String)> = results
            .cases
            .iter()
            .enumerate()
            .filter_map(|(at, case)| Some((at, (self.panel)(*case)?)))
            .collect();
        let rows: Vec<&Row> = results
            .rows
            .iter()
            .filter(|row| cases.iter().any(|(at, _)| row.readings.contains_key(at)))
            .collect();
        if rows.is_empty() {
            return Ok(false);
        }
        let panels = cases.iter().flat_map(|(at, title)| {
            let rows = &rows;
            self.keys.iter().map(move |(key, head)| {
                let bars = rows.iter().map(|row| results.spread(row, *at, key));
                Panel {
                    title: format!("{title} {head}"),
                    bars: bars.collect(),
                }
            })
        });
        let panels: Vec<Panel> = panels.collect();
        let height = HEAD + BAR * whole(rows.len()) + FOOT;
        let path = dir.join(format!("{}.svg", self.name));
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::new(&path, size).into_drawing_area();
        area.fill(&WHITE)?;
        text(&area, self.title, (16, 26), (20, INK, HPos::Left))?;
        let told = format!(
            "{}. Bars: median; whiskers: the middle half of the windows of {} round(s). Orange: peers (pale: without TLS). Grey: floors; \
             one with a gap goes on.",
            certs::TERMS,
            results.rounds
        );
        text(&area, &told, (16, 50), (12, FAINT, HPos::Left))?;
        names(&area, &rows)?;
        draw_panels(&area, &rows, &panels)?;
        area.present()?;
        Ok(true)
    }
}

fn names(area: &Area<'_>, rows: &[&Row]) -> Result<(), Fault> {
    for (at, row) in rows.iter().enumerate() {
        let ink = if row.standing == Standing::Ours {
            INK
        } else {
            FAINT
        };
        let place = (NAMES - 10, middle(at));
        text(area, &row.name, place, (13, ink, HPos::Right))?;
    }
    Ok(())
}

/// One scale for all panels.
fn draw_panels(area: &Area<'_>, rows: &[&Row], panels: &[Panel]) -> Result<(), Fault> {
    // A whole server's cost would leave the others a few pixels: its bar ends at the edge.
    let bars = panels.iter().flat_map(|panel| rows.iter().zip(&panel.bars));
    let most = bars
        .filter(|(row, _)| row.standing != Standing::Server)
        .filter_map(|(_, bar)| Some(bar.as_ref()?.high))
        .fold(f64::MIN_POSITIVE, f64::max);
    let width = (WIDTH - NAMES - 10) / whole(panels.len());
    for (at, panel) in panels.iter().enumerate() {
        let left = NAMES + width * whole(at);
        let scale = f64::from(width - FIGURE) / most;
        text(
            area,
            &panel.title,
            (left, HEAD - 18),
            (14, FAINT, HPos::Left),
        )?;
        let bottom = middle(rows.len() - 1) + BAR / 2;
        let axis = vec![(left, HEAD - 4), (left, bottom)];
        area.draw(&PathElement::new(axis, LINE))?;
        for (at, (row, bar)) in rows.iter().zip(&panel.bars).enumerate() {
            if let Some(spread) = bar {
                let look = (scale, most, colour(row.standing));
                draw_bar(area, (left, middle(at)), *spread, look)?;
            }
        }
    }
    Ok(())
}

fn draw_bar(
    area: &Area<'_>,
    (left, y): (i32, i32),
    spread: Spread,
    (scale, most, colour): (f64, f64, RGBColor),
) -> Result<(), Fault> {
    let at = |value: f64| left + pixels(value.min(most) * scale);
    let end = at(spread.median);
    let corners = [(left, y - 8), (end, y + 8)];
    area.draw(&Rectangle::new(corners, colour.filled()))?;
    if spread.median > most {
        let gap = [(end - 16, y - 8), (end - 12, y + 8)];
        area.draw(&Rectangle::new(gap, WHITE.filled()))?;
    }
    let mut figure = end;
    if spread.low < spread.high {
        let (from, to) = (at(spread.low), at(spread.high));
        figure = figure.max(to);
        for line in [
            [(from, y), (to, y)],
            [(from, y - 4), (from, y + 4)],
            [(to, y - 4), (to, y + 4)],
        ] {
            area.draw(&PathElement::new(line.to_vec(), INK.stroke_width(1)))?;
        }
    }
    text(
        area,
        &short(spread.median),
        (figure + 6, y),
        (12, INK, HPos::Left),
    )
}

fn colour(standing: Standing) -> RGBColor {
    match standing {
        Standing::Ours => RGBColor(9, 105, 218),
        Standing::BothLegs | Standing::Uncapped | Standing::Earlier => RGBColor(128, 180, 240),
        Standing::Peer => RGBColor(232, 159, 80),
        Standing::PlainPeer => RGBColor(243, 210, 170),
        Standing::Floor | Standing::Server => RGBColor(200, 207, 214),
    }
}

fn text(
    area: &Area<'_>,
    words: &str,
    place: (i32, i32),
    (size, ink, side): (i32, RGBColor, HPos),
) -> Result<(), Fault> {
    let style = ("sans-serif", size)
        .into_text_style(area)
        .color(&ink)
        .pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(words.to_owned(), place, style))?;
    Ok(())
}

fn middle(row: usize) -> i32 {
    HEAD + BAR * whole(row) + BAR / 2
}

fn whole(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "a picture's width at most")]
fn pixels(length: f64) -> i32 {
    length.round() as i32
}
