//! `bench` on the command line.

use std::{str::FromStr, time::Duration};

use clap::Args;

use super::values::{Dur, OnOff};
use crate::{
    chat::names::RoomName,
    limits::{BENCH_MEMBERS_MAX, BENCH_SENDERS_MAX, TEXT_BYTES_MAX},
};

#[derive(Debug, Args)]
pub(in crate::command) struct BenchArgs {
    /// Listen with N sessions
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_MEMBERS_MAX))
    )]
    pub(in crate::command) members: u32,
    /// Send from N sessions
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(BENCH_SENDERS_MAX))
    )]
    pub(in crate::command) senders: u32,
    /// Send texts of BYTES bytes, at least 32
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = bench_size)]
    pub(in crate::command) size: usize,
    /// Send RATE messages per second in total; max: without a limit
    #[arg(long, value_name = "RATE", default_value = "max")]
    pub(in crate::command) rate: BenchRate,
    /// Use a room with history (on) or without history (off)
    #[arg(long, value_name = "on|off", value_enum, default_value = "off")]
    room_history: OnOff,
    /// Measure for DUR
    #[arg(long = "for", value_name = "DUR", default_value = "5s")]
    duration: Dur,
    /// Run each member in its own process, instead of all in a few threads
    #[arg(long)]
    pub(in crate::command) processes: bool,
    /// Run as one member in ROOM, for --processes
    #[arg(long, value_name = "ROOM", hide = true)]
    pub(in crate::command) as_member: Option<RoomName>,
}

impl BenchArgs {
    pub(in crate::command) fn room_history(&self) -> bool {
        matches!(self.room_history, OnOff::On)
    }

    pub(in crate::command) fn duration(&self) -> Duration {
        self.duration.into()
    }
}

fn bench_size(text: &str) -> Result<usize, String> {
    let size: usize = text.parse().map_err(|_| "expected a number of bytes".to_owned())?;
    if (32..=TEXT_BYTES_MAX).contains(&size) {
        return Ok(size);
    }
    Err(format!("expected 32 (the size of the time stamp) to {TEXT_BYTES_MAX} bytes"))
}

/// Rate of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum BenchRate {
    Max,
    PerSecond(u64),
}

impl FromStr for BenchRate {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("max", _) => Ok(Self::Max),
            (_, Ok(rate @ 1..=10_000_000)) => Ok(Self::PerSecond(rate)),
            _ => Err("expected a number of messages per second (1 to 10000000), or max"),
        }
    }
}
