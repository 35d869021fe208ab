//! Effects that the model asks of its caller, and the purposes of requests.

use super::room::Loading;
use crate::{
    chat::{
        message::{Message, StreamName},
        names::{RoomName, UserName},
        request::{Follow, Request},
    },
    client::Address,
    tui::slash::CommandPurpose,
};

/// What the caller is to do.
#[derive(Debug)]
pub(in crate::tui) enum Effect {
    /// Says something; whether it stands is told with this token.
    Say {
        token: u64,
        to: Address,
        reply_to: Option<u64>,
        text: String,
    },
    /// Asks the server.
    Ask(Request, PendingRequest),
    /// Listens to one more room.
    Follow(Follow),
    /// Leaves a room for good.
    Part(RoomName),
    /// Looks into the presence table for how the server does, and for who is in a room.
    Look(Option<RoomName>),
    Bell,
    /// Shows a message on the desktop.
    Notify(Box<Message>),
    /// Shows a text in the pager.
    Page(String),
    /// Has a text changed in the editor; the answer is [`Model::edited`].
    Edit {
        room: StreamName,
        text: String,
    },
    /// Hands a text to the terminal's clipboard.
    Copy(String),
    /// The wheel and the pointer: ours, or the terminal's own.
    Mouse(bool),
    /// Draws everything anew.
    Redraw,
    Suspend,
    /// Keeps the drafts ([`Model::kept`]).
    Keep,
    /// The end: by Ctrl-C, or as one leaves.
    Leave {
        interrupted: bool,
    },
}

/// What an answer of the server is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) enum PendingRequest {
    /// A chat command; as it was typed, if it was.
    Command(Option<TypedCommand>, CommandPurpose),
    /// A list for the screen itself: nothing is said of it.
    Lookup(CommandPurpose),
    /// That somebody is there; how long the answer takes is the lag.
    Sign,
    /// It is told what is read; if that does not come through, it is told again ([`PendingRequest::Marks`]).
    Read,
    /// How many were received before.
    Marks(u32),
    Page(PageAsked),
    Hits {
        room: StreamName,
        query: String,
    },
    /// The conversation with a user.
    Open(UserName),
    /// The same for one text, which is for one label of the user.
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

/// A span of messages that is asked for, a part after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct PageAsked {
    pub(in crate::tui) room: StreamName,
    pub(in crate::tui) loading: Loading,
    /// The first and the last number that are wanted.
    pub(super) first: u64,
    pub(super) last: u64,
    /// What came already.
    pub(super) got: Vec<Message>,
}
