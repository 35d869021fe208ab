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

#[derive(Debug, Args)]
pub(in crate::command) struct AskArgs {
    /// Target of the job: ROOM, @USER or @USER/LABEL
    pub(in crate::command) target: Target,
    /// Text of the job; without it, or with -, read from standard input
    pub(in crate::command) text: Vec<String>,
    /// Exit after N replies
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(in crate::command) replies: u64,
}

#[derive(Debug, Args)]
pub(in crate::command) struct AnswerArgs {
    /// Room to take jobs from
    pub(in crate::command) room: RoomName,
    #[command(flatten)]
    pub(in crate::command) exec: ExecArgs,
    /// Join queue NAME; each job goes to one worker
    #[arg(long, value_name = "NAME", value_parser = str::parse::<Label>)]
    pub(in crate::command) queue: Option<Label>,
    /// Exit after N jobs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::command) count: Option<u64>,
    /// Have the server send TEXT to the room if this session dies without leaving
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(in crate::command) will: Option<Text>,
    /// Show this session as KIND
    #[arg(long, value_enum)]
    pub(in crate::command) kind: Option<KindArg>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct WaitArgs {
    /// Target to wait for: ROOM, @USER, or @ for messages to you
    #[arg(value_name = "TARGET", required_unless_present_any = ["gone", "here"])]
    pub(in crate::command) target: Option<ListenTarget>,
    /// Wait for a message whose text matches REGEX
    #[arg(long = "match", value_name = "REGEX")]
    pub(in crate::command) matches: Option<Regex>,
    /// Wait for the result of your `run` with TITLE (or that of --from @USER), and exit with
    /// its code
    #[arg(
        long,
        value_name = "TITLE",
        requires = "target",
        conflicts_with_all = ["matches", "count", "gone", "here"]
    )]
    pub(in crate::command) run: Option<String>,
    /// Wait for a message from @USER
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(in crate::command) from: Option<UserName>,
    /// Exit after N such messages
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(in crate::command) count: u64,
    /// Include messages since TIME, or after message ID
    #[arg(long, value_name = "TIME|ID")]
    pub(in crate::command) since: Option<When>,
    /// Print only the texts, unchanged
    #[arg(long, conflicts_with = "json")]
    pub(in crate::command) raw: bool,
    /// Wait until no session of @USER (or @USER/LABEL) is a member (of TARGET, if given)
    #[arg(
        long,
        value_name = "@USER[/LABEL]",
        conflicts_with_all = ["matches", "from", "count", "since", "raw", "here"]
    )]
    pub(in crate::command) gone: Option<Somebody>,
    /// Wait until a session of @USER (or @USER/LABEL) is a member (of TARGET, if given)
    #[arg(
        long,
        value_name = "@USER[/LABEL]",
        conflicts_with_all = ["matches", "from", "count", "since", "raw"]
    )]
    pub(in crate::command) here: Option<Somebody>,
}
