//! The figures as text: a row a cell, a column a system, and how ours compares.

use super::{
    sample::{Cell, Measured, Report, median},
    systems::{MOOT, is_moot},
};

type Figure = fn(&Measured) -> Option<f64>;

const SPEED: Figure = |measured| Some(measured.messages_per_s);
const CPU: Figure = |measured| measured.server_cpu_us_per_delivery;
const MEMORY: Figure = |measured| measured.server_memory_per_member_bytes;
const P50: Figure = |measured| measured.p50_us;
const P99: Figure = |measured| measured.p99_us;

pub fn all(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let fast = report.cells(false);
    let paced = report.cells(true);
    let title = "messages/s at full speed, without loss: median (least..most)";
    lines.extend(table(report, title, &fast, &speed, &|names, cell| {
        report.ratio(names, cell, SPEED).map(times)
    }));
    let rates: Vec<_> = paced.iter().filter_map(|cell| cell.rate).collect();
    let rate = rates.first().copied().unwrap_or_default();
    let title = format!("latency at {rate} messages/s, µs: p50 / p99 of all deliveries");
    lines.extend(table(report, &title, &paced, &latency, &|names, cell| {
        let (p50, p99) = (report.ratio(names, cell, P50)?, report.ratio(names, cell, P99)?);
        Some(format!("{p50:.2} / {p99:.2}"))
    }));
    let title = "the server's own processor time a delivery at full speed, µs";
    lines.extend(table(report, title, &fast, &cpu, &|names, cell| {
        report.ratio(names, cell, CPU).map(part)
    }));
    // The growth of a few clients is lost in what a server has anyway.
    let many: Vec<_> = fast.iter().copied().filter(|cell| cell.members >= 100).collect();
    let title = "the server's memory an idle client, KiB";
    lines.extend(table(report, title, &many, &memory, &|names, cell| {
        report.ratio(names, cell, MEMORY).map(|ratio| format!("{ratio:.2}"))
    }));
    lines
}

type Text<'a> = &'a dyn Fn(&Report, &str, Cell) -> Option<String>;
type Compared<'a> = &'a dyn Fn((&str, &str), Cell) -> Option<String>;

fn table(
    report: &Report,
    title: &str,
    cells: &[Cell],
    text: Text<'_>,
    compared: Compared<'_>,
) -> Vec<String> {
    let systems: Vec<&str> = report.systems.iter().map(|system| system.name.as_str()).collect();
    let ours = systems.contains(&MOOT);
    let peers: Vec<&str> = systems.iter().copied().filter(|name| ours && !is_moot(name)).collect();
    let mut head = vec!["members".to_owned(), "size".to_owned()];
    head.extend(systems.iter().map(|name| (*name).to_owned()));
    head.extend(peers.iter().map(|name| format!("{MOOT}/{name}")));
    let mut rows = vec![head];
    for cell in cells {
        let mut row = vec![cell.members.to_string(), cell.size.to_string()];
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        row.extend(systems.iter().map(|name| or_none(text(report, name, *cell))));
        row.extend(peers.iter().map(|name| or_none(compared((MOOT, name), *cell))));
        rows.push(row);
    }
    if cells.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), title.to_owned()];
    lines.extend(aligned(&rows));
    lines
}

fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..rows[0].len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(text, width)| format!("{text:>width$}"));
        padded.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect()
}

fn speed(report: &Report, system: &str, cell: Cell) -> Option<String> {
    let figures = report.figures(system, cell, SPEED);
    let (middle, least, most) = (median(&figures)?, *figures.first()?, *figures.last()?);
    let mark = if faults(report, system, cell) > 0 { "!" } else { "" };
    if figures.len() == 1 {
        return Some(format!("{}{mark}", short(middle)));
    }
    Some(format!("{} ({}..{}){mark}", short(middle), short(least), short(most)))
}

fn latency(report: &Report, system: &str, cell: Cell) -> Option<String> {
    let (p50, p99) = (report.figures(system, cell, P50), report.figures(system, cell, P99));
    let reached = median(&report.figures(system, cell, SPEED))?;
    // What cannot keep the pace has a queue, not a latency.
    let rate = f64::from(cell.rate.unwrap_or_default());
    if reached < 0.95 * rate {
        return Some(format!("only {}/s", short(reached)));
    }
    let mark = if faults(report, system, cell) > 0 { "!" } else { "" };
    Some(format!("{:.0} / {:.0}{mark}", median(&p50)?, median(&p99)?))
}

fn cpu(report: &Report, system: &str, cell: Cell) -> Option<String> {
    Some(format!("{:.3}", median(&report.figures(system, cell, CPU))?))
}

fn memory(report: &Report, system: &str, cell: Cell) -> Option<String> {
    Some(format!("{:.1}", median(&report.figures(system, cell, MEMORY))? / 1024.0))
}

/// What was lost or came in disorder, in all rounds.
pub fn faults(report: &Report, system: &str, cell: Cell) -> u64 {
    report.of(system, cell).map(|s| s.measured.lost + s.measured.disordered).sum()
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2} ×") } else { format!("{ratio:.0} ×") }
}

/// Of costs, where less is better.
fn part(ratio: f64) -> String {
    if ratio < 0.95 { format!("1/{:.1}", 1.0 / ratio) } else { times(ratio) }
}

/// Three digits and a unit.
pub fn short(figure: f64) -> String {
    let (figure, unit) = match figure {
        f if f >= 999_500.0 => (f / 1e6, "M"),
        f if f >= 999.5 => (f / 1e3, "k"),
        f => (f, ""),
    };
    match figure {
        f if f >= 99.95 || unit.is_empty() => format!("{f:.0}{unit}"),
        f if f >= 9.995 => format!("{f:.1}{unit}"),
        f => format!("{f:.2}{unit}"),
    }
}
