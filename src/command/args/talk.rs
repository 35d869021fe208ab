//! `join`, `send` and `listen` on the command line.

use std::path::PathBuf;

use clap::Args;
use regex::Regex;

use super::{
    exec::ExecArgs,
    values::{Dur, KindArg, LevelArg, ListenTarget, text, user},
};
use crate::{
    chat::{
        message::MessageId,
        names::{RoomName, Target, UserName},
        text::Text,
    },
    command::time::When,
};

#[derive(Debug, Args)]
pub(in crate::command) struct JoinArgs {
    /// Rooms to join; the first one is shown, or gets the input lines
    #[arg(value_name = "ROOM")]
    pub(in crate::command) rooms: Vec<RoomName>,
    /// Show the last N messages first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(in crate::command) last: u64,
    /// Only read; send nothing
    #[arg(long)]
    pub(in crate::command) read_only: bool,
    /// Have the server send TEXT to these rooms if this session dies without leaving
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(in crate::command) will: Option<Text>,
    /// Show this session as KIND; by default person on a terminal, else script
    #[arg(long, value_enum)]
    pub(in crate::command) kind: Option<KindArg>,
    /// Read screen settings from FILE, not from screen.toml in the configuration directory
    #[arg(long, value_name = "FILE")]
    pub(in crate::command) settings: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct SendArgs {
    /// Target of the message: ROOM, @USER or @USER/LABEL
    pub(in crate::command) target: Target,
    /// Text of the message; without it, or with -, read from standard input
    pub(in crate::command) text: Vec<String>,
    /// Send each line of standard input as a message, as it arrives
    #[arg(long)]
    pub(in crate::command) lines: bool,
    /// With --lines: exit with code 3 when the server ends
    #[arg(long, requires = "lines")]
    pub(in crate::command) no_reconnect: bool,
    /// Exit with code 6 if TARGET has fewer than N other sessions
    #[arg(long, value_name = "N")]
    pub(in crate::command) require: Option<u32>,
    /// Reply to message ID
    #[arg(long, value_name = "ID")]
    pub(in crate::command) reply_to: Option<MessageId>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ListenArgs {
    /// Targets to listen to: ROOM, @USER, or @ for messages to you
    #[arg(required_unless_present = "announcements", value_name = "TARGET")]
    pub(in crate::command) targets: Vec<ListenTarget>,
    /// Print only announcements (to all members, and to the named rooms)
    #[arg(long, conflicts_with_all = ["mentions", "last", "since"])]
    pub(in crate::command) announcements: bool,
    /// Print only announcements of LEVEL and above
    #[arg(long, value_enum, value_name = "LEVEL", requires = "announcements")]
    pub(in crate::command) level: Option<LevelArg>,
    /// Exit after N messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::command) count: Option<u64>,
    /// Exit after DUR with no message: code 0 if any came before, else 1
    #[arg(long, value_name = "DUR")]
    pub(in crate::command) idle: Option<Dur>,
    /// Print the last N messages first
    #[arg(long, value_name = "N")]
    pub(in crate::command) last: Option<u64>,
    /// First print messages since TIME, or after message ID
    #[arg(long, value_name = "TIME|ID", conflicts_with = "last")]
    pub(in crate::command) since: Option<When>,
    /// Print only messages that mention you or are sent to you
    #[arg(long)]
    pub(in crate::command) mentions: bool,
    /// Print only messages whose text matches REGEX
    #[arg(long = "match", value_name = "REGEX")]
    pub(in crate::command) matches: Option<Regex>,
    /// Title of the run whose result is printed (`wait --run`).
    #[arg(skip)]
    pub(in crate::command) run: Option<String>,
    /// Print only messages from @USER
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(in crate::command) from: Option<UserName>,
    /// Also show each message as a desktop notification (notify-send, or the system's own)
    #[arg(long)]
    pub(in crate::command) notify: bool,
    /// Print only the texts, unchanged
    #[arg(long, conflicts_with = "json")]
    pub(in crate::command) raw: bool,
    #[command(flatten)]
    pub(in crate::command) exec: ExecArgs,
    /// Also run CMD for messages of users of linked hosts (ann@db1)
    #[arg(long, requires = "exec")]
    pub(in crate::command) remote: bool,
    /// Exit with code 1 when the --exec program fails
    #[arg(long, requires = "exec")]
    pub(in crate::command) fail_fast: bool,
    /// Exit with code 3 when the server ends
    #[arg(long)]
    pub(in crate::command) no_reconnect: bool,
    /// Have the server send TEXT to its rooms if this session dies without leaving
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(in crate::command) will: Option<Text>,
    /// Show this session as KIND
    #[arg(long, value_enum)]
    pub(in crate::command) kind: Option<KindArg>,
}

/// Text of `away`.
#[derive(Debug, Args)]
pub(in crate::command) struct Words {
    /// Status text to show
    pub(in crate::command) text: Vec<String>,
}
