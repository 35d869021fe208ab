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

/// `join`
#[derive(Debug, Args)]
pub(in crate::command) struct JoinArgs {
    /// Rooms to be in; the first one is shown, or is where lines go
    #[arg(value_name = "ROOM")]
    pub(in crate::command) rooms: Vec<RoomName>,
    /// Show so many messages of before
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(in crate::command) last: u64,
    /// Only look: nothing is said
    #[arg(long)]
    pub(in crate::command) read_only: bool,
    /// What the server says in these rooms for this session, if it dies without leaving
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(in crate::command) will: Option<Text>,
    /// What this session is: person on a terminal, else script
    #[arg(long, value_enum)]
    pub(in crate::command) kind: Option<KindArg>,
    /// Settings of the screen, in place of screen.toml in the configuration directory
    #[arg(long, value_name = "FILE")]
    pub(in crate::command) settings: Option<PathBuf>,
}

/// `send`
#[derive(Debug, Args)]
pub(in crate::command) struct SendArgs {
    /// ROOM, @USER or @USER/LABEL
    pub(in crate::command) target: Target,
    /// The message; none, or -, for standard input
    pub(in crate::command) text: Vec<String>,
    /// One message a line of standard input, as it comes
    #[arg(long)]
    pub(in crate::command) lines: bool,
    /// With --lines: end with exit code 3 when the server ends
    #[arg(long, requires = "lines")]
    pub(in crate::command) no_reconnect: bool,
    /// Exit code 6 if fewer than N other sessions are there
    #[arg(long, value_name = "N")]
    pub(in crate::command) require: Option<u32>,
    /// Id of the message that this replies to
    #[arg(long, value_name = "ID")]
    pub(in crate::command) reply_to: Option<MessageId>,
}

/// `listen`
#[derive(Debug, Args)]
pub(in crate::command) struct ListenArgs {
    /// ROOM, @USER, or @ alone for what is said to you
    #[arg(required_unless_present = "announcements", value_name = "TARGET")]
    pub(in crate::command) targets: Vec<ListenTarget>,
    /// Only announcements: those for everybody, and those for the rooms that are named
    #[arg(long, conflicts_with_all = ["mentions", "last", "since"])]
    pub(in crate::command) announcements: bool,
    /// Only announcements of this level and above
    #[arg(long, value_enum, value_name = "LEVEL", requires = "announcements")]
    pub(in crate::command) level: Option<LevelArg>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::command) count: Option<u64>,
    /// End after so long without a message: 0 if any came, else 1
    #[arg(long, value_name = "DUR")]
    pub(in crate::command) idle: Option<Dur>,
    /// First show so many messages of before
    #[arg(long, value_name = "N")]
    pub(in crate::command) last: Option<u64>,
    /// First show what was said since then: a time, a duration ago, or after a message id
    #[arg(long, value_name = "TIME|ID", conflicts_with = "last")]
    pub(in crate::command) since: Option<When>,
    /// Only what mentions you, and what is said to you
    #[arg(long)]
    pub(in crate::command) mentions: bool,
    /// Only messages whose text matches
    #[arg(long = "match", value_name = "REGEX")]
    pub(in crate::command) matches: Option<Regex>,
    /// Only the result of the run with this title (`wait --run`)
    #[arg(skip)]
    pub(in crate::command) run: Option<String>,
    /// Only what this user says
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(in crate::command) from: Option<UserName>,
    /// Also show each as a desktop notification (notify-send, or what the system has)
    #[arg(long)]
    pub(in crate::command) notify: bool,
    /// Only the texts, unchanged
    #[arg(long, conflicts_with = "json")]
    pub(in crate::command) raw: bool,
    #[command(flatten)]
    pub(in crate::command) exec: ExecArgs,
    /// End with exit code 1 once the program of --exec fails
    #[arg(long, requires = "exec")]
    pub(in crate::command) fail_fast: bool,
    /// End with exit code 3 when the server ends
    #[arg(long)]
    pub(in crate::command) no_reconnect: bool,
    /// What the server says there for this session, if it dies without leaving
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(in crate::command) will: Option<Text>,
    /// What this session is
    #[arg(long, value_enum)]
    pub(in crate::command) kind: Option<KindArg>,
}

/// Some words.
#[derive(Debug, Args)]
pub(in crate::command) struct Words {
    /// What to show
    pub(in crate::command) text: Vec<String>,
}
