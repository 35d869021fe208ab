//! `history`, `search` and `read` on the command line.

use clap::Args;

use super::values::user;
use crate::{
    chat::{
        message::MessageId,
        names::{RoomName, Target, UserName},
    },
    command::time::{Moment, When},
};

#[derive(Debug, Args)]
pub(in crate::command) struct HistoryArgs {
    /// Room or conversation to print: ROOM or @USER
    pub(in crate::command) target: Target,
    /// Print only the last N messages
    #[arg(long, value_name = "N")]
    pub(in crate::command) last: Option<u64>,
    /// Print only messages since TIME, or after message ID
    #[arg(long, value_name = "TIME|ID")]
    pub(in crate::command) since: Option<When>,
    /// Print only messages until TIME
    #[arg(long, value_name = "TIME")]
    pub(in crate::command) until: Option<Moment>,
    /// Print only messages before message ID
    #[arg(long, value_name = "ID")]
    pub(in crate::command) before: Option<MessageId>,
}

#[derive(Debug, Args)]
pub(in crate::command) struct SearchArgs {
    /// Words to search for; each must occur
    #[arg(required = true)]
    pub(in crate::command) text: Vec<String>,
    /// Search only in ROOM
    #[arg(long, value_name = "ROOM")]
    pub(in crate::command) room: Option<RoomName>,
    /// Search only messages from @USER
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(in crate::command) from: Option<UserName>,
    /// Search only messages since TIME, or after message ID
    #[arg(long, value_name = "TIME|ID")]
    pub(in crate::command) since: Option<When>,
    /// Print the newest N matches
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(in crate::command) last: u64,
}

#[derive(Debug, Args)]
pub(in crate::command) struct ReadArgs {
    /// Rooms and conversations to read: ROOM or @USER; by default, all that you follow
    #[arg(value_name = "TARGET")]
    pub(in crate::command) targets: Vec<Target>,
    /// Leave the messages unread
    #[arg(long)]
    pub(in crate::command) peek: bool,
}
