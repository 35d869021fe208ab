//! `serve`, `status` and `doctor` on the command line.

use clap::{Args, ValueEnum};

use super::values::{Dur, OnOff};

#[derive(Debug, Args)]
pub(in crate::command) struct StatusArgs {
    /// Print again every second until Ctrl-C, even while no server runs
    #[arg(long)]
    pub(in crate::command) watch: bool,
    /// Print metrics for Prometheus (textfile collector, exporter)
    #[arg(long, conflicts_with_all = ["watch", "audit", "json"])]
    pub(in crate::command) metrics: bool,
    /// Print the actions of operators (operators only)
    #[arg(long, conflicts_with = "watch")]
    pub(in crate::command) audit: bool,
}

#[derive(Debug, Args)]
pub(in crate::command) struct DoctorArgs {
    /// Remove files of dead servers and tighten permissions
    #[arg(long)]
    pub(in crate::command) fix: bool,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ServeArgs {
    /// Serve all users of this host, or those that the configuration admits
    #[arg(long)]
    pub(in crate::command) system: bool,
    /// Exit after DUR without sessions
    #[arg(long, value_name = "DUR")]
    pub(in crate::command) idle_exit: Option<Dur>,
    /// Use multicast on the loopback interface where it is safe (auto), or only sessions (off)
    #[arg(long, value_enum)]
    pub(in crate::command) broadcast: Option<Broadcast>,
    /// Store messages on disk (on) or keep them in memory only (off)
    #[arg(long, value_enum)]
    pub(in crate::command) history: Option<OnOff>,
    /// Check the configuration and exit
    #[arg(long)]
    pub(in crate::command) check: bool,
    /// Run in the background, for the automatic start
    #[arg(long, hide = true)]
    pub(in crate::command) detached: bool,
}

/// Use of the broadcast channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::command) enum Broadcast {
    Auto,
    Off,
}
