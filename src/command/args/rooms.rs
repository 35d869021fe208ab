//! `who` and `room` on the command line.

use clap::{Args, Subcommand};

use super::values::{Somebody, user};
use crate::chat::names::{RoomName, UserName};

/// `who`
#[derive(Debug, Args)]
pub(in crate::command) struct WhoArgs {
    /// Only those in this room
    pub(in crate::command) room: Option<RoomName>,
    /// Passing sessions as well
    #[arg(long)]
    pub(in crate::command) all: bool,
    /// Show it again whenever it changes
    #[arg(long)]
    pub(in crate::command) watch: bool,
    /// Only how many
    #[arg(long)]
    pub(in crate::command) count: bool,
    /// Only this user's sessions
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(in crate::command) user: Option<UserName>,
}

/// `room …`
#[derive(Debug, Subcommand)]
pub(in crate::command) enum RoomVerb {
    /// Make a room
    Create {
        /// Its name
        room: RoomName,
        /// Keep its messages in memory only
        #[arg(long)]
        no_history: bool,
        /// Only for those who are invited; for all others it does not exist
        #[arg(long)]
        private: bool,
        /// Only you and its operators say something there
        #[arg(long)]
        read_only: bool,
    },
    /// Let a user into a private room, or tell him of any other
    Invite(RoomUser),
    /// Take a user's sessions out of a room (from a private one the invitation, too)
    Kick {
        /// Which room
        room: RoomName,
        /// @USER or @USER/LABEL
        #[arg(value_name = "@USER")]
        who: Somebody,
    },
    /// Take a user out of a room, for good
    Ban(RoomUser),
    /// End a ban
    Unban(RoomUser),
    /// Let a user say nothing more in a room
    Mute(RoomUser),
    /// Let him speak again
    Unmute(RoomUser),
    /// Make a user operator of a room
    Op(RoomUser),
    /// End that
    Deop(RoomUser),
    /// Set the topic; without words, show it
    Topic {
        /// Which room
        room: RoomName,
        /// The topic
        text: Vec<String>,
        /// Remove the topic
        #[arg(long, conflicts_with = "text")]
        clear: bool,
    },
    /// Delete a room with all that was said in it
    Delete {
        /// Which room
        room: RoomName,
    },
    /// Follow a room no more
    Leave {
        /// Which room
        room: RoomName,
    },
}

/// A user and a room.
#[derive(Debug, Args)]
pub(in crate::command) struct RoomUser {
    /// Which room
    pub(in crate::command) room: RoomName,
    /// Whom
    #[arg(value_name = "@USER", value_parser = user)]
    pub(in crate::command) user: UserName,
}
