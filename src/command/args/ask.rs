//! `ask`, `answer` and `wait`: requests, replies, and waiting for what comes.

use clap::Args;
use regex::Regex;

use super::{
    exec::ExecArgs,
    values::{KindArg, ListenTarget, Somebody, text, user},
};
use crate::{
    chat::{
        names::{Label, RoomName, Target, UserName},
        text::Text,
    },
    command::time::When,
};

/// `ask`
#[derive(Debug, Args)]
pub(in crate::command) struct AskArgs {
    /// ROOM, @USER or @USER/LABEL
    pub(in crate::command) target: Target,
    /// The request; none, or -, for standard input
    pub(in crate::command) text: Vec<String>,
    /// Wait for so many replies
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::command) replies: u64,
}

/// `answer`
#[derive(Debug, Args)]
pub(in crate::command) struct AnswerArgs {
    /// Whose requests
    pub(in crate::command) room: RoomName,
    #[command(flatten)]
    pub(in crate::command) exec: ExecArgs,
    /// One of the answerers of this name takes each request
    #[arg(long, value_name = "NAME", value_parser = str::parse::<Label>)]
    pub(in crate::command) queue: Option<Label>,
    /// End after so many requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::command) count: Option<u64>,
    /// What the server says there for this session, if it dies without leaving
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(in crate::command) will: Option<Text>,
    /// What this session is
    #[arg(long, value_enum)]
    pub(in crate::command) kind: Option<KindArg>,
}

/// `wait`
#[derive(Debug, Args)]
pub(in crate::command) struct WaitArgs {
    /// ROOM, @USER, or @ alone for what is said to you
    #[arg(value_name = "TARGET", required_unless_present_any = ["gone", "here"])]
    pub(in crate::command) target: Option<ListenTarget>,
    /// A message whose text matches
    #[arg(long = "match", value_name = "REGEX")]
    pub(in crate::command) matches: Option<Regex>,
    /// The result of the `run` with this title; ends with its exit code. Of your own user, unless --from names another
    #[arg(long, value_name = "TITLE", requires = "target", conflicts_with_all = ["matches", "count", "gone", "here"])]
    pub(in crate::command) run: Option<String>,
    /// A message of this user
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(in crate::command) from: Option<UserName>,
    /// So many of them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::command) count: u64,
    /// Also what was said since then: a time, a duration ago, or after a message id
    #[arg(long, value_name = "TIME|ID")]
    pub(in crate::command) since: Option<When>,
    /// Only the texts, unchanged
    #[arg(long, conflicts_with = "json")]
    pub(in crate::command) raw: bool,
    /// Until no process of this user (or of this label) is here any more; with a room: is there
    #[arg(long, value_name = "@USER[/LABEL]", conflicts_with_all = ["matches", "from", "count", "since", "raw", "here"])]
    pub(in crate::command) gone: Option<Somebody>,
    /// Until this user (with this label) is here; with a room: is there
    #[arg(long, value_name = "@USER[/LABEL]", conflicts_with_all = ["matches", "from", "count", "since", "raw"])]
    pub(in crate::command) here: Option<Somebody>,
}
