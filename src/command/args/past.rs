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

/// `history`
#[derive(Debug, Args)]
pub(in crate::command) struct HistoryArgs {
    /// ROOM or @USER
    pub(in crate::command) target: Target,
    /// Only the last so many
    #[arg(long, value_name = "N")]
    pub(in crate::command) last: Option<u64>,
    /// Only since then: a time, a duration ago, or after a message id
    #[arg(long, value_name = "TIME|ID")]
    pub(in crate::command) since: Option<When>,
    /// Only until then
    #[arg(long, value_name = "TIME")]
    pub(in crate::command) until: Option<Moment>,
    /// Only before this message
    #[arg(long, value_name = "ID")]
    pub(in crate::command) before: Option<MessageId>,
}

/// `search`
#[derive(Debug, Args)]
pub(in crate::command) struct SearchArgs {
    /// Words; each has to occur
    #[arg(required = true)]
    pub(in crate::command) text: Vec<String>,
    /// Only in this room
    #[arg(long, value_name = "ROOM")]
    pub(in crate::command) room: Option<RoomName>,
    /// Only what this user said
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(in crate::command) from: Option<UserName>,
    /// Only since then: a time, a duration ago, or after a message id
    #[arg(long, value_name = "TIME|ID")]
    pub(in crate::command) since: Option<When>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(in crate::command) last: u64,
}

/// `read`
#[derive(Debug, Args)]
pub(in crate::command) struct ReadArgs {
    /// Rooms and @users; none: everything that you follow, and what was said to you
    #[arg(value_name = "TARGET")]
    pub(in crate::command) targets: Vec<Target>,
    /// Leave it unread
    #[arg(long)]
    pub(in crate::command) peek: bool,
}
