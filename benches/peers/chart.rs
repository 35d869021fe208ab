//! The figures as a picture: for each number of members a group of bars, a colour a system.

use std::fmt::Write;

use super::{
    sample::{Cell, Report, median},
    tables::short,
};

/// Distinct for most eyes, on white and on black.
const COLOURS: [&str; 6] = ["#e4572e", "#f2a541", "#b5651d", "#4c8bf5", "#2fa87a", "#9a6fd0"];

const BAR: f64 = 34.0;
const GAP: f64 = 4.0;
const GROUP_GAP: f64 = 36.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 84.0;
const PLOT: f64 = 300.0;
const BOTTOM: f64 = 50.0;

const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}\
.ground{fill:#ffffff}.value{stroke:#ffffff;stroke-width:3px;paint-order:stroke}\
.line{stroke:#d0d7de;stroke-width:1}.small{font-size:11px}\
.faint{fill:#59636e}.title{font-size:15px;font-weight:600}.usual{font-size:13px}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ground{fill:#0d1117}.value{stroke:#0d1117}\
.line{stroke:#30363d}.faint{fill:#9198a1}}";

/// Messages a second of the smallest size, on a logarithmic scale.
pub fn draw(report: &Report) -> Option<String> {
    let size = report.cells(false).first()?.size;
    let cells: Vec<_> = report.cells(false).into_iter().filter(|cell| cell.size == size).collect();
    let systems: Vec<&str> = report.systems.iter().map(|system| system.name.as_str()).collect();
    let speed = |system: &str, cell: Cell| {
        median(&report.figures(system, cell, |measured| Some(measured.messages_per_s)))
    };
    let all: Vec<f64> = (cells.iter())
        .flat_map(|cell| systems.iter().filter_map(|system| speed(system, *cell)))
        .filter(|figure| *figure > 0.0)
        .collect();
    let scale = Scale::over(&all)?;
    let group = systems.len() as f64 * (BAR + GAP) - GAP;
    let right = LEFT + cells.len() as f64 * (group + GROUP_GAP);
    let mut svg = Svg::new(right.max(480.0) + 16.0, TOP + PLOT + BOTTOM);
    svg.text(LEFT, 26.0, "title", &format!("Messages a second, {size} bytes, without loss"));
    svg.legend(&systems);
    svg.grid(&scale, right);
    for (index, cell) in cells.iter().enumerate() {
        let start = LEFT + GROUP_GAP / 2.0 + index as f64 * (group + GROUP_GAP);
        for (place, system) in systems.iter().enumerate() {
            let Some(figure) = speed(system, *cell).filter(|figure| *figure > 0.0) else {
                continue;
            };
            svg.bar(start + place as f64 * (BAR + GAP), &scale, figure, colour(place));
        }
        let label = match cell.members {
            1 => "1 receiver".into(),
            members => format!("{members} receivers"),
        };
        svg.middle(start + group / 2.0, TOP + PLOT + 22.0, "usual", &label);
    }
    let note = "Logarithmic scale: a line is ten times the one below it.";
    svg.text(LEFT, TOP + PLOT + 42.0, "small faint", note);
    Some(svg.finished())
}

fn colour(place: usize) -> &'static str {
    COLOURS[place % COLOURS.len()]
}

/// From a power of ten to a power of ten.
struct Scale {
    lowest: i32,
    highest: i32,
}

impl Scale {
    fn over(figures: &[f64]) -> Option<Self> {
        let least = figures.iter().copied().reduce(f64::min)?;
        let most = figures.iter().copied().reduce(f64::max)?;
        let (lowest, highest) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        Some(Self { lowest, highest: highest.max(lowest + 1) })
    }

    fn y(&self, figure: f64) -> f64 {
        let part =
            (figure.log10() - f64::from(self.lowest)) / f64::from(self.highest - self.lowest);
        TOP + PLOT * (1.0 - part)
    }
}

struct Svg {
    text: String,
}

impl Svg {
    fn new(width: f64, height: f64) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\">\n\
             <title>Messages a second of each system, by number of receivers</title>\n\
             <style>{STYLE}</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n"
        );
        Self { text }
    }

    fn finished(mut self) -> String {
        self.text += "</svg>\n";
        self.text
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "{element}");
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.add(format_args!("<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{text}</text>"));
    }

    fn middle(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\"");
        self.add(format_args!("<text {place} class=\"{class}\">{text}</text>"));
    }

    fn legend(&mut self, systems: &[&str]) {
        let mut x = LEFT;
        for (place, system) in systems.iter().enumerate() {
            let fill = colour(place);
            let place = format!("x=\"{x}\" y=\"42\" width=\"12\" height=\"12\" rx=\"2\"");
            self.add(format_args!("<rect {place} fill=\"{fill}\"/>"));
            self.text(x + 18.0, 53.0, "usual", system);
            x += 40.0 + 7.5 * system.len() as f64;
        }
    }

    fn grid(&mut self, scale: &Scale, right: f64) {
        for power in scale.lowest..=scale.highest {
            let figure = 10f64.powi(power);
            let y = scale.y(figure);
            let ends = format!("x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"");
            self.add(format_args!("<line class=\"line\" {ends}/>"));
            let label = match power {
                ..3 => format!("{figure:.0}"),
                3..6 => format!("{:.0} k", figure / 1e3),
                _ => format!("{:.0} M", figure / 1e6),
            };
            let place = format!("x=\"{}\" y=\"{:.1}\" text-anchor=\"end\"", LEFT - 8.0, y + 4.0);
            self.add(format_args!("<text {place} class=\"small faint\">{label}</text>"));
        }
    }

    fn bar(&mut self, x: f64, scale: &Scale, figure: f64, fill: &str) {
        // The smallest is seen, too.
        let y = scale.y(figure).min(TOP + PLOT - 2.0);
        let height = TOP + PLOT - y;
        let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{BAR}\" height=\"{height:.1}\"");
        self.add(format_args!("<rect {place} rx=\"2\" fill=\"{fill}\"/>"));
        // With a rim in the ground's colour, since lines of the scale pass behind it.
        self.middle(x + BAR / 2.0, y - 5.0, "small value", &short(figure));
    }
}
