//! Frames between a server and its sessions beside requests, replies and events.

use super::{
    member::Kind,
    names::{Label, RoomName},
};
use crate::chat::{
    event::Event,
    refusal::Refusal,
    reply::Reply,
    stream_id::{RoomId, StreamId},
    text::TextRef,
};

/// The stream of announcements is there from the start.
pub const ANNOUNCEMENTS: StreamId = StreamId(0);

/// Statement of a session about itself when it begins; all else comes from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Label that it wants to have beside its user.
    pub label: Option<Label>,
    /// Kind of process that it says it is.
    pub kind: Kind,
    /// The client instance: the same over reconnects, so that a submit is stored once.
    pub instance: [u8; 16],
    /// Its submits in earlier sessions.
    pub earlier: EarlierSubmits,
}

impl Hello {
    /// The first session of a client instance.
    #[must_use]
    pub fn new(label: Option<Label>, kind: Kind, instance: [u8; 16]) -> Self {
        Self { label, kind, instance, earlier: EarlierSubmits::default() }
    }
}

/// The submits of a client instance in its earlier sessions, as the client states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EarlierSubmits {
    /// Highest counter; 0 if there was none.
    pub highest: u64,
    /// Wall clock when the oldest open one was first submitted, microseconds since 1970; 0 if
    /// unknown.
    pub since_us: i64,
}

/// Destination of submits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Destination {
    /// A stream that was opened or joined.
    Stream(StreamId),
    /// A room by name; it comes into being by this.
    Room(RoomName),
    /// The room of that identity, and no other room of its name.
    Known(RoomId),
}

/// One text of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Number of the message in the stream that it replies to.
    pub reply_to: Option<u64>,
    /// Text of the message.
    pub text: TextRef<'a>,
}

/// Texts for one stream with consecutive counters of one client instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submit<'a> {
    /// Counter of the first text; rises by one a text.
    pub first: u64,
    /// Destination of the texts.
    pub to: Destination,
    /// Sessions of the addressed user that they are for.
    pub to_label: Option<Label>,
    /// Texts of the messages, in order.
    pub lines: Vec<Line<'a>>,
}

/// Report of what a member has; all numbers only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub stream: StreamId,
    /// Everything up to here was delivered.
    pub delivered: u64,
    /// Messages whose first copy came by broadcast.
    pub by_broadcast: u64,
    /// Datagrams heard, doubles and probes included.
    pub datagrams: u64,
}

/// An answer or event for one session, small and in order with its other frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Answer to the request with that serial number.
    Reply {
        /// As the request had it.
        serial: u32,
        /// The answer, or why not.
        result: Result<Reply, Refusal>,
    },
    /// Something it did not ask for.
    Event(Event),
    /// Submits that are acknowledged.
    Ack(Ack),
    /// Submits that were refused.
    Nack {
        /// Counter of the first.
        first: u64,
        /// Number of refused submits.
        count: u32,
        refusal: Refusal,
    },
}

/// Acknowledgement of submits with consecutive counters and consecutive numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Counter of the first submit.
    pub first: u64,
    /// Number of acknowledged submits.
    pub count: u32,
    /// Number of the first message.
    pub seq: u64,
    /// Other sessions that get it.
    pub members: u32,
    /// On disk: its id is permanent.
    pub stored: bool,
}
