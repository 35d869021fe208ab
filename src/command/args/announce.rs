//! `announce` and `notices` on the command line.

use clap::{Args, Subcommand};

use super::values::{Dur, LevelArg, Require, WaitArg};
use crate::{
    chat::{message::NoticeId, names::RoomName},
    command::time::Moment,
};

/// `announce`
#[derive(Debug, Args)]
pub(in crate::command) struct AnnounceArgs {
    /// The announcement; none, or -, for standard input
    pub(in crate::command) text: Vec<String>,
    /// How much it weighs
    #[arg(long, value_enum, default_value = "notice")]
    pub(in crate::command) level: LevelArg,
    /// Only to those in this room
    #[arg(long, value_name = "ROOM")]
    pub(in crate::command) to: Option<RoomName>,
    /// Good for so long; then nobody is shown it any more
    #[arg(long, value_name = "DUR")]
    pub(in crate::command) expires: Option<Dur>,
    /// Shown to those who come later, until it expires or is cancelled
    #[arg(long)]
    pub(in crate::command) retain: bool,
    /// Not before then: today at that time, or with a date
    #[arg(long, value_name = "TIME", conflicts_with_all = ["within", "require", "require_users", "wait"])]
    pub(in crate::command) at: Option<Moment>,
    /// Not before so long from now
    #[arg(long = "in", value_name = "DUR", conflicts_with_all = ["at", "require", "require_users", "wait"])]
    pub(in crate::command) within: Option<Dur>,
    /// Asks people to acknowledge it (`moot notices ack`)
    #[arg(long)]
    pub(in crate::command) ack: bool,
    /// What to wait for: that processes have it, or that people said so
    #[arg(long, value_enum, default_value = "reached")]
    pub(in crate::command) wait: WaitArg,
    /// Exit code 6 if fewer sessions (as --wait names) have it or acknowledged it, or if no member is here
    #[arg(long, value_name = "N|all")]
    pub(in crate::command) require: Option<Require>,
    /// The same, counting users: one user with three sessions is one, reached when each of them is
    #[arg(long, value_name = "N|all")]
    pub(in crate::command) require_users: Option<Require>,
    /// Only say whom it would reach
    #[arg(long)]
    pub(in crate::command) dry_run: bool,
}

/// `notices …`
#[derive(Debug, Subcommand)]
pub(in crate::command) enum NoticeVerb {
    /// Those that wait, and those that were made, the newest first
    List,
    /// One of them, with its receipt
    Show {
        /// !3, or !+482915 while it waits (the ! may be left out)
        id: NoticeId,
    },
    /// Say that you have seen it: for all your sessions, whatever their labels
    Ack {
        /// Which
        #[arg(required = true, value_name = "ID")]
        ids: Vec<NoticeId>,
    },
    /// Take it back: your own, or as an operator
    Cancel {
        /// Which
        id: NoticeId,
    },
}
