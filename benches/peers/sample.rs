//! What is to be measured, what was, and how it is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One run: so many members hear messages of one size, at a rate or as fast as it goes.
#[derive(Clone, Debug)]
pub struct Run {
    pub members: usize,
    pub size: usize,
    pub rate: Option<u32>,
    pub length: Duration,
    pub own_threads: bool,
    /// Messages on their way, instead of what is best for each peer.
    pub window: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub messages_per_s: f64,
    pub deliveries: u64,
    pub lost: u64,
    pub disordered: u64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub server_cpu_us_per_delivery: Option<f64>,
    pub server_memory_per_member_bytes: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub system: String,
    pub round: u32,
    pub members: usize,
    pub size: usize,
    pub rate: Option<u32>,
    pub own_threads: bool,
    #[serde(flatten)]
    pub measured: Measured,
}

/// A system as it was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Described {
    pub name: String,
    pub version: String,
    pub settings: Vec<String>,
}

/// All that a later drawing needs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub machine: String,
    pub systems: Vec<Described>,
    pub samples: Vec<Sample>,
}

/// What one table row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub members: usize,
    pub size: usize,
    pub rate: Option<u32>,
}

impl Report {
    /// The rows, at a rate or as fast as it goes, in order.
    pub fn cells(&self, at_rate: bool) -> Vec<Cell> {
        let of = |s: &Sample| Cell { members: s.members, size: s.size, rate: s.rate };
        let mut cells: Vec<_> = self.samples.iter().map(of).collect();
        cells.retain(|cell| cell.rate.is_some() == at_rate);
        cells.sort_by_key(|cell| (cell.size, cell.members, cell.rate));
        cells.dedup();
        cells
    }

    pub fn of(&self, system: &str, cell: Cell) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |s| {
            s.system == system
                && (s.members, s.size, s.rate) == (cell.members, cell.size, cell.rate)
        })
    }

    /// One figure of all rounds, sorted.
    pub fn figures(
        &self,
        system: &str,
        cell: Cell,
        figure: impl Fn(&Measured) -> Option<f64>,
    ) -> Vec<f64> {
        let mut figures: Vec<_> =
            self.of(system, cell).filter_map(|sample| figure(&sample.measured)).collect();
        figures.sort_by(f64::total_cmp);
        figures
    }

    /// Of each round the figure of one system by that of another: machines change from round to
    /// round, both systems alike. The median of that.
    pub fn ratio(
        &self,
        (ours, theirs): (&str, &str),
        cell: Cell,
        figure: impl Fn(&Measured) -> Option<f64>,
    ) -> Option<f64> {
        let of_round = |system, round| {
            let sample = self.of(system, cell).find(|sample| sample.round == round)?;
            figure(&sample.measured).filter(|figure| *figure > 0.0)
        };
        let mut ratios: Vec<_> = (self.of(ours, cell).map(|sample| sample.round))
            .filter_map(|round| Some(of_round(ours, round)? / of_round(theirs, round)?))
            .collect();
        ratios.sort_by(f64::total_cmp);
        median(&ratios)
    }
}

/// Of sorted figures.
pub fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

pub fn quantile(samples: &mut [u64], part: f64) -> u64 {
    let index = ((samples.len() as f64 * part) as usize).min(samples.len() - 1);
    *samples.select_nth_unstable(index).1
}
