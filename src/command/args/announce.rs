//! `announce` and `notices` on the command line.

use clap::{Args, Subcommand};

use super::values::{Dur, LevelArg, Require, WaitArg};
use crate::{
    chat::{message::AnnouncementId, names::RoomName},
    command::time::Moment,
};

#[derive(Debug, Args)]
pub(in crate::command) struct AnnounceArgs {
    /// Text of the announcement; without it, or with -, read from standard input
    pub(in crate::command) text: Vec<String>,
    /// Set the severity
    #[arg(long, value_enum, default_value = "notice")]
    pub(in crate::command) level: LevelArg,
    /// Announce only to members of ROOM
    #[arg(long, value_name = "ROOM")]
    pub(in crate::command) to: Option<RoomName>,
    /// Stop showing the announcement after DUR
    #[arg(long, value_name = "DUR")]
    pub(in crate::command) expires: Option<Dur>,
    /// Also show the announcement to later members, until it expires or is canceled
    #[arg(long)]
    pub(in crate::command) retain: bool,
    /// Publish at TIME: 18:00 (today), or a date with a time
    #[arg(
        long,
        value_name = "TIME",
        conflicts_with_all = ["within", "require", "require_users", "wait"]
    )]
    pub(in crate::command) at: Option<Moment>,
    /// Publish after DUR
    #[arg(
        long = "in",
        value_name = "DUR",
        conflicts_with_all = ["at", "require", "require_users", "wait"]
    )]
    pub(in crate::command) within: Option<Dur>,
    /// Ask members to acknowledge the announcement (`moot notices ack`)
    #[arg(long)]
    pub(in crate::command) ack: bool,
    /// Wait until sessions have the announcement (reached), or people acknowledge it (acked)
    #[arg(long, value_enum, default_value = "reached")]
    pub(in crate::command) wait: WaitArg,
    /// Exit with code 6 if no member is present, or fewer than N sessions (or not all) are reached
    /// (with --wait acked: acknowledged)
    #[arg(long, value_name = "N|all")]
    pub(in crate::command) require: Option<Require>,
    /// Like --require, but count users; a user is reached if all their sessions are
    #[arg(long, value_name = "N|all")]
    pub(in crate::command) require_users: Option<Require>,
    /// Print how many members would be reached, and announce nothing
    #[arg(long)]
    pub(in crate::command) dry_run: bool,
}

/// Subcommands of `notices`.
#[derive(Debug, Subcommand)]
pub(in crate::command) enum NoticeVerb {
    /// List scheduled and published announcements, newest first
    List,
    /// Show an announcement with its receipt
    Show {
        /// Id of the announcement: !3, or !+482915 while it is scheduled (the ! is optional)
        id: AnnouncementId,
    },
    /// Acknowledge announcements for all your sessions, whatever their labels
    Ack {
        /// Ids of the announcements, such as !3
        #[arg(required = true, value_name = "ID")]
        ids: Vec<AnnouncementId>,
    },
    /// Cancel your announcement (operators: any)
    Cancel {
        /// Id of the announcement, such as !3
        id: AnnouncementId,
    },
}
