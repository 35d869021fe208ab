//! Effects that the model asks of its caller, and the purposes of requests.

use super::room::Loading;
use crate::{
    chat::{
        message::{Message, StreamName},
        names::{RoomName, Target, UserName},
        request::{Follow, Request},
        text::Text,
    },
    tui::slash::CommandPurpose,
};

/// Work for the caller.
#[derive(Debug)]
pub(in crate::tui) enum Effect {
    /// Sends a text; its acknowledgment comes with this token.
    Say {
        token: u64,
        to: Target,
        reply_to: Option<u64>,
        text: Text,
    },
    /// Sends a request to the server.
    Ask(Request, PendingRequest),
    /// Subscribes to one more stream.
    Follow(Follow),
    /// Leaves a room permanently.
    Part(RoomName),
    /// Looks into the presence table for the state of the server and the members of a room.
    Look(Option<RoomName>),
    Bell,
    /// Shows a message on the desktop.
    Notify(Box<Message>),
    /// Shows a text in the pager.
    Page(String),
    /// Opens a text in the editor, which ends with [`Model::edited`].
    Edit {
        room: StreamName,
        text: String,
    },
    /// Copies a text to the terminal's clipboard.
    Copy(String),
    /// Takes the wheel and the pointer, or leaves them to the terminal.
    Mouse(bool),
    /// Redraws every cell of the terminal.
    Redraw,
    Suspend,
    /// Saves the drafts ([`Model::kept`]).
    Keep,
    /// Ends the screen: by Ctrl-C, or deliberately.
    Leave {
        interrupted: bool,
    },
}

/// Request that waits for its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) enum PendingRequest {
    /// A chat command; as it was typed, if it was.
    Command(Option<TypedCommand>, CommandPurpose),
    /// A list for the screen itself, which is not printed.
    Lookup(CommandPurpose),
    /// A sign that the user is active; the time until its reply is the lag.
    Sign,
    /// A read mark; a lost one is sent again after [`PendingRequest::Marks`].
    Read,
    /// A page of read marks; the number of those before it.
    Marks(u32),
    Page(PageAsked),
    Hits {
        room: StreamName,
        query: String,
    },
    /// Opens the conversation with a user.
    Open(UserName),
    /// Opens the conversation for one text, by its token, to one label of the user.
    OpenFor(UserName, u64),
    Notice(u64),
}

/// A chat command that waits for its reply; it returns to the input if it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct TypedCommand {
    pub(in crate::tui) line: String,
    /// Room that was shown.
    pub(in crate::tui) room: Option<StreamName>,
}

/// A span of messages that is requested part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct PageAsked {
    pub(in crate::tui) room: StreamName,
    pub(in crate::tui) loading: Loading,
    /// First sequence number of the span; the last one follows.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Messages of earlier parts.
    pub(super) got: Vec<Message>,
}
