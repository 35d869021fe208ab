//! `who` and `room` on the command line.

use clap::{Args, Subcommand};

use super::values::{Somebody, user};
use crate::chat::names::{RoomName, UserName};

#[derive(Debug, Args)]
pub(in crate::command) struct WhoArgs {
    /// Room whose members to list
    pub(in crate::command) room: Option<RoomName>,
    /// Include visitors (send, status, …)
    #[arg(long)]
    pub(in crate::command) all: bool,
    /// Print the list again when it changes
    #[arg(long)]
    pub(in crate::command) watch: bool,
    /// Print only the number of sessions
    #[arg(long)]
    pub(in crate::command) count: bool,
    /// List only sessions of @USER
    #[arg(long, value_name = "@USER", value_parser = user)]
    pub(in crate::command) user: Option<UserName>,
}

/// Subcommands of `room`.
#[derive(Debug, Subcommand)]
pub(in crate::command) enum RoomVerb {
    /// Create a room
    Create {
        /// Name of the room
        room: RoomName,
        /// Keep messages in memory only
        #[arg(long)]
        no_history: bool,
        /// Admit invited users only; for all others the room does not exist
        #[arg(long)]
        private: bool,
        /// Let only you and the operators of the room send messages
        #[arg(long)]
        read_only: bool,
    },
    /// Invite a user (grants access to a private room)
    Invite(RoomUser),
    /// Remove a user's sessions from a room (if private, the invitation too)
    Kick {
        /// Name of the room
        room: RoomName,
        /// User to remove: @USER or @USER/LABEL
        #[arg(value_name = "@USER")]
        who: Somebody,
    },
    /// Ban a user from a room
    Ban(RoomUser),
    /// Lift a user's ban from a room
    Unban(RoomUser),
    /// Mute a user in a room
    Mute(RoomUser),
    /// Unmute a user in a room
    Unmute(RoomUser),
    /// Make a user an operator of a room
    Op(RoomUser),
    /// Revoke a user's operator role in a room
    Deop(RoomUser),
    /// Set the topic of a room; without a text, show it
    Topic {
        /// Name of the room
        room: RoomName,
        /// Text of the topic
        text: Vec<String>,
        /// Remove the topic
        #[arg(long, conflicts_with = "text")]
        clear: bool,
    },
    /// Delete a room with all its messages
    Delete {
        /// Name of the room
        room: RoomName,
    },
    /// Stop following a room
    Leave {
        /// Name of the room
        room: RoomName,
    },
}

/// Room and user of a command of moderation.
#[derive(Debug, Args)]
pub(in crate::command) struct RoomUser {
    /// Name of the room
    pub(in crate::command) room: RoomName,
    /// Name of the user: @USER
    #[arg(value_name = "@USER", value_parser = user)]
    pub(in crate::command) user: UserName,
}
