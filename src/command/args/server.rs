//! `serve`, `status` and `doctor` on the command line.

use clap::{Args, ValueEnum};

use super::values::{Dur, OnOff};

/// `status`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 healthy, 1 degraded (says what), 3 no server.\n\nExamples:\n  moot status --json | jq .sessions\n  moot status --metrics > /var/lib/prometheus/node-exporter/moot.prom"
)]
pub(in crate::command) struct StatusArgs {
    /// Show it again every second, until Ctrl-C, also while there is no server
    #[arg(long)]
    pub(in crate::command) watch: bool,
    /// As text for Prometheus (a textfile collector, an exporter)
    #[arg(long, conflicts_with_all = ["watch", "audit", "json"])]
    pub(in crate::command) metrics: bool,
    /// What operators did (for operators)
    #[arg(long, conflicts_with = "watch")]
    pub(in crate::command) audit: bool,
}

/// `doctor`
#[derive(Debug, Args)]
#[command(
    after_help = "It starts no server and disturbs none. Exit codes: 0 no problem is left, 1 some are.\n\nExamples:\n  moot doctor\n  moot doctor --fix       removes what dead servers left, closes what is too open\n  moot doctor --json | jq 'select(.state == \"problem\")'"
)]
pub(in crate::command) struct DoctorArgs {
    /// Do what is safe to do: remove what dead servers left, take back too open permissions
    #[arg(long)]
    pub(in crate::command) fix: bool,
}

/// `serve`
#[derive(Debug, Args)]
pub(in crate::command) struct ServeArgs {
    /// A server for the whole host: admits everybody, or those that the configuration names
    #[arg(long)]
    pub(in crate::command) system: bool,
    /// End after so long without sessions
    #[arg(long, value_name = "DUR")]
    pub(in crate::command) idle_exit: Option<Dur>,
    /// auto: use multicast on the loopback interface where it is safe; off: sessions only
    #[arg(long, value_enum)]
    pub(in crate::command) broadcast: Option<Broadcast>,
    /// on: what is said is kept on disk; off: in memory only
    #[arg(long, value_enum)]
    pub(in crate::command) history: Option<OnOff>,
    /// Check the configuration and end
    #[arg(long)]
    pub(in crate::command) check: bool,
    /// In the background, for the automatic start
    #[arg(long, hide = true)]
    pub(in crate::command) detached: bool,
}

/// Use of the broadcast channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum Broadcast {
    Auto,
    Off,
}
