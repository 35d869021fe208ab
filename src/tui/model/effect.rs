//! Effects that the model asks of its caller, and the purposes of requests.

use super::room::{Loading, Present};
use crate::chat::{
    message::{Message, StreamName},
    names::{RoomName, Target, UserName},
    reply::RoomInfo,
    request::{Follow, Request},
    text::Text,
};

/// What the caller is to do.
#[derive(Debug)]
pub(in crate::tui) enum Effect {
    /// Says something; whether it stands is told with this token.
    Say {
        token: u64,
        to: Target,
        reply_to: Option<u64>,
        text: Text,
    },
    /// Asks the server.
    Ask(Request, Asked),
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
pub(in crate::tui) enum Asked {
    /// Only a refusal is to be told.
    Nothing,
    /// What is told once it is done.
    Done(String),
    /// For a command, which comes back to where it was typed if it is refused.
    Typed(String, Option<StreamName>, Box<Asked>),
    /// That somebody is there; how long the answer takes is the lag.
    Sign,
    /// It is told what is read; if that does not come through, it is told again ([`Asked::Marks`]).
    Read,
    Rooms(Vec<RoomInfo>),
    /// All rooms, to be listed in the room that is shown.
    ListRooms(Vec<RoomInfo>),
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
    /// Members of a private room.
    Members(RoomName, Vec<Present>),
    /// Members of a room, to be listed in the room that is shown.
    ListMembers(RoomName, Vec<Present>),
    Notice(u64),
    Acknowledge(u64),
    Announced,
    /// A topic was set: others are told by an event.
    Topic(RoomName, String),
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
