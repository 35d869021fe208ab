//! Actions: effects that the hub asks its shell for.

use std::rc::Rc;

use crate::chat::{
    event::Event,
    frames::Frame,
    member::SessionId,
    presence_row::Row,
    store::{Entry, Fetch, Record},
    stream_id::StreamId,
};

/// One effect for the shell. One closed list; the shell matches it without `_`.
#[derive(Debug)]
pub enum Action {
    /// Put a frame into a session's output.
    Send(SessionId, Frame),
    /// There is something for this session to pull.
    Wake(SessionId),
    /// Stop reading from a session: what it sends has to wait.
    Pause(SessionId),
    /// Read from it again.
    Resume(SessionId),
    /// Hand a body (the frame without its header) to the broadcast channel.
    Publish(StreamId, Rc<[u8]>),
    /// Open a broadcast channel for a stream, then call [`super::Hub::channel_opened`].
    OpenChannel(StreamId),
    /// Seal what is published in a stream from now on with a fresh key, then call
    /// [`super::Hub::channel_key`]: who was removed has only old ones.
    NewKey(StreamId),
    /// Close a broadcast channel: its stream has no subscriber on it any longer.
    CloseChannel(StreamId),
    /// Commit these records and messages in one transaction, then call [`super::Hub::stored`] or
    /// [`super::Hub::store_failed`].
    Store(Vec<Record>, Vec<Entry>),
    /// Read older messages for a session from the store, then call [`super::Hub::fetched`] or
    /// [`super::Hub::fetch_failed`].
    Fetch(Fetch),
    /// End a session's connection, and say why: the hub has forgotten it already.
    End(SessionId, String),
    /// Note what an operator did.
    Log(String),
    /// Note what a user caused.
    LogOf(u32, String),
    /// A row of the presence table changed.
    Row(Box<Row>),
    /// A row of the presence table is gone.
    RowGone(SessionId),
}

/// Part of a session's output, from [`super::Hub::pull`].
#[derive(Debug, Clone)]
pub enum Chunk {
    /// An encoded batch frame, shared with other sessions.
    Batch(Rc<[u8]>),
    /// An event to encode.
    Event(Event),
}
