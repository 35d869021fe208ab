//! One session without threads: questions, submits, and their answers.

use std::{
    io,
    time::{Duration, Instant},
};

use super::frames::Frames;
use crate::{
    chat::{
        event::Event,
        frames::{Ack, Frame, Report, Submit},
        message::{MessageId, RunId, StreamName},
        refusal::Refusal,
        reply::Reply,
        request::Request,
        stream_id::StreamTag,
    },
    session::{ConnectError, Connection},
    wire::{
        control,
        frame::{self, FrameError, Kind, Parsed},
        hello::{self, Bye, Hello, Refused, Welcome},
    },
};

/// Why a link failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection could not be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server did not begin the session.
    #[error("{}", .0.text)]
    Refused(Refused),
    /// The server refused what was asked.
    #[error("{}", .0.text)]
    Refusal(Refusal),
    /// No answer in time.
    #[error("no answer from the server in time")]
    TimedOut,
    /// The connection ended.
    #[error("the server ended the session: {0}")]
    Ended(String),
    /// The connection broke.
    #[error("the connection to the server broke: {0}")]
    Io(#[from] io::Error),
    /// The server sent something that is not the protocol.
    #[error("the server does not speak the protocol: {0}")]
    Protocol(String),
}

impl From<FrameError> for LinkError {
    fn from(e: FrameError) -> Self {
        Self::Protocol(e.to_string())
    }
}

/// A message that is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Id of the message.
    pub id: MessageId,
    /// Other sessions that get it.
    pub members: u32,
    /// Counter of the text in this client instance: counters rise by one.
    pub counter: u64,
}

/// One session of this process with the server.
#[derive(Debug)]
pub struct Link {
    connection: Connection,
    frames: Frames,
    out: Vec<u8>,
    welcome: Option<Welcome>,
    serial: u32,
    /// Counter from [`Link::say`].
    counter: u64,
    events: Vec<Event>,
    deadline: Option<Instant>,
    /// Deadline of each question, counted from its start.
    reply_timeout: Option<Duration>,
    /// Time limits of the socket, as they were last set: to read, to write.
    limits: [Option<Duration>; 2],
}

/// A frame of the server, as a link receives it.
#[derive(Debug)]
pub enum ServerFrame {
    /// The answer to a request.
    Reply(u32, Result<Reply, Refusal>),
    /// Submits that are acknowledged.
    Ack(Ack),
    /// Submits that were refused.
    Nack {
        /// Counter of the first.
        first: u64,
        /// Number of refused submits.
        count: u32,
        /// Reason for the refusal.
        refusal: Refusal,
    },
    /// Something that was not asked for.
    Event(Event),
    /// Encoded messages of one stream.
    Batch(Vec<u8>),
    /// The server's state, a JSON object.
    Status(Vec<u8>),
}

impl Link {
    /// Connects and says hello. The answer is read when it is first needed, so that what follows
    /// can go with it in one write.
    ///
    /// # Errors
    /// Returns an error if no server can be trusted.
    #[doc(hidden)]
    pub fn open(connection: Connection, hello: &Hello) -> Self {
        let mut out = Vec::with_capacity(512);
        frame::put(&mut out, Kind::Hello, |body| hello::put(body, hello));
        Self {
            connection,
            frames: Frames::new(),
            out,
            welcome: None,
            serial: 0,
            counter: 0,
            events: Vec::new(),
            deadline: None,
            reply_timeout: None,
            limits: [None; 2],
        }
    }

    /// A connection that does not shake hands: for the frozen kinds, which every server answers.
    #[must_use]
    #[doc(hidden)]
    pub fn bare(connection: Connection) -> Self {
        Self {
            connection,
            frames: Frames::new(),
            out: Vec::new(),
            welcome: None,
            serial: 0,
            counter: 0,
            events: Vec::new(),
            deadline: None,
            reply_timeout: None,
            limits: [None; 2],
        }
    }

    /// Bounds the time of everything that follows.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Bounds the time of each [`Link::ask`] from now on, in place of a deadline of them all.
    pub fn set_reply_timeout(&mut self, timeout: Duration) {
        self.reply_timeout = Some(timeout);
    }

    /// Until when everything has to be done.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The counter of the next submit of this session's client instance.
    pub(super) fn next_counter(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Queues a request; gives its serial number.
    pub fn queue_request(&mut self, request: &Request) -> u32 {
        self.serial += 1;
        control::put_request(&mut self.out, self.serial, request);
        self.serial
    }

    /// Queues a submit.
    #[doc(hidden)]
    pub fn queue_submit(&mut self, submit: &Submit<'_>) {
        control::put_submit(&mut self.out, submit);
    }

    /// Queues a report of what was delivered.
    #[doc(hidden)]
    pub fn queue_report(&mut self, report: &Report) {
        control::put_report(&mut self.out, report);
    }

    /// Asks for numbers of a stream once more.
    #[doc(hidden)]
    pub fn queue_repair(&mut self, stream: StreamTag, first: u64, last: u64) {
        control::put_repair(&mut self.out, stream, first, last);
    }

    /// Queues an empty frame of a frozen kind.
    #[doc(hidden)]
    pub fn queue_frozen(&mut self, kind: Kind) {
        frame::put(&mut self.out, kind, |_| {});
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// Returns an error if the connection broke or the timeout has passed.
    pub fn flush(&mut self) -> Result<(), LinkError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let left = self.left()?;
        if self.limits[1] != left {
            self.limits[1] = left;
            self.connection.set_write_timeout(left)?;
        }
        if let Err(e) = self.connection.write_all(&self.out) {
            return Err(self.last_words(timed_out(e)));
        }
        self.out.clear();
        Ok(())
    }

    /// Returns what the server said before it closed the connection, if it said why; else the
    /// failure itself.
    fn last_words(&mut self, e: LinkError) -> LinkError {
        if !matches!(e, LinkError::Ended(_)) {
            return e;
        }
        while self.frames.fill(&self.connection).is_ok_and(|more| more) {}
        while let Ok(Some(parsed)) = self.frames.next() {
            if let Err(said) = read(&parsed, &mut self.welcome) {
                return said;
            }
        }
        e
    }

    fn left(&self) -> Result<Option<Duration>, LinkError> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        match deadline.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            Some(_) | None => Err(LinkError::TimedOut),
        }
    }

    /// The answer to the handshake.
    ///
    /// # Errors
    /// Returns an error if the server did not begin the session.
    #[doc(hidden)]
    pub fn welcome(&mut self) -> Result<&Welcome, LinkError> {
        while self.welcome.is_none() {
            if let Some(told) = self.next_frame()? {
                return Err(LinkError::Protocol(format!("{told:?} before the welcome")));
            }
        }
        self.welcome.as_ref().ok_or_else(|| LinkError::Protocol("no welcome".to_owned()))
    }

    /// The run of the server, after the handshake.
    #[must_use]
    pub fn run(&self) -> Option<RunId> {
        self.welcome.as_ref().map(|w| w.run)
    }

    /// Returns the next frame from the server.
    ///
    /// # Errors
    /// Returns an error if the connection broke or ended, or the timeout has passed.
    #[doc(hidden)]
    pub fn wait(&mut self) -> Result<ServerFrame, LinkError> {
        loop {
            if let Some(told) = self.next_frame()? {
                return Ok(told);
            }
        }
    }

    /// One frame; none if it was the welcome.
    fn next_frame(&mut self) -> Result<Option<ServerFrame>, LinkError> {
        self.flush()?;
        loop {
            // A second look at the same bytes costs a header's parsing, and keeps the borrow short.
            if let Some(parsed) = self.frames.next()? {
                return read(&parsed, &mut self.welcome);
            }
            let left = self.left()?;
            if self.limits[0] != left {
                self.limits[0] = left;
                self.connection.set_read_timeout(left)?;
            }
            if !self.frames.fill(&self.connection).map_err(timed_out)? {
                return Err(LinkError::Ended("connection closed".to_owned()));
            }
        }
    }

    /// Asks and waits for the answer. What comes in between is kept for [`Link::take_events`].
    ///
    /// # Errors
    /// Returns a refusal, or the connection's failure.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, LinkError> {
        if let Some(timeout) = self.reply_timeout {
            self.deadline = Some(Instant::now() + timeout);
        }
        let asked = self.queue_request(request);
        loop {
            match self.wait()? {
                ServerFrame::Reply(serial, result) if serial == asked => {
                    return result.map_err(LinkError::Refusal);
                }
                ServerFrame::Event(Event::Ping) => self.pong(),
                ServerFrame::Event(event) => self.events.push(event),
                ServerFrame::Reply(..)
                | ServerFrame::Ack(_)
                | ServerFrame::Nack { .. }
                | ServerFrame::Batch(_)
                | ServerFrame::Status(_) => {}
            }
        }
    }

    /// Events that came while an answer was waited for.
    #[doc(hidden)]
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Queues a sign of life.
    pub fn pong(&mut self) {
        frame::put(&mut self.out, Kind::Pong, |_| {});
    }

    /// Says goodbye, so that the end is not taken for an accident.
    pub fn quit(mut self) {
        self.queue_request(&Request::Quit);
        // If it can't be said, the server sees the end by itself.
        let _ = self.flush();
    }

    /// Gives up the connection, and what was read of it and not taken yet.
    pub(super) fn into_parts(self) -> (Connection, Vec<u8>) {
        (self.connection, self.frames.rest())
    }
}

/// Id of a message that an acknowledgement names.
#[must_use]
#[doc(hidden)]
pub fn id_of(stream: StreamName, ack: &Ack, run: RunId) -> MessageId {
    MessageId { stream, run: (!ack.stored).then_some(run), seq: ack.seq }
}

fn timed_out(e: io::Error) -> LinkError {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => LinkError::TimedOut,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            LinkError::Ended("connection closed".to_owned())
        }
        _ => LinkError::Io(e),
    }
}

pub(super) fn read(
    parsed: &Parsed<'_>,
    welcome: &mut Option<Welcome>,
) -> Result<Option<ServerFrame>, LinkError> {
    let malformed = |e: &dyn std::fmt::Display| LinkError::Protocol(e.to_string());
    match parsed.kind {
        Kind::Welcome => {
            *welcome = Some(hello::read(parsed.body).map_err(LinkError::Protocol)?);
            Ok(None)
        }
        Kind::Refused => {
            let refused: Refused = hello::read(parsed.body).map_err(LinkError::Protocol)?;
            Err(LinkError::Refused(refused))
        }
        Kind::Bye => {
            let bye: Bye = hello::read(parsed.body).map_err(LinkError::Protocol)?;
            Err(bye.refusal().map_or(LinkError::Ended(bye.reason), LinkError::Refused))
        }
        Kind::StatusReply => Ok(Some(ServerFrame::Status(parsed.body.to_vec()))),
        Kind::Batch => Ok(Some(ServerFrame::Batch(parsed.body.to_vec()))),
        Kind::Reply | Kind::Ack | Kind::Nack | Kind::Event => {
            let frame = control::read_frame(parsed.kind, parsed.body).map_err(|e| malformed(&e))?;
            Ok(Some(match frame {
                Frame::Reply { serial, result } => ServerFrame::Reply(serial, result),
                Frame::Event(event) => ServerFrame::Event(event),
                Frame::Ack(ack) => ServerFrame::Ack(ack),
                Frame::Nack { first, count, refusal } => {
                    ServerFrame::Nack { first, count, refusal }
                }
            }))
        }
        Kind::Hello
        | Kind::Stop
        | Kind::Status
        | Kind::Request
        | Kind::Submit
        | Kind::Report
        | Kind::Repair
        | Kind::Pong => Err(LinkError::Protocol("a frame for servers".to_owned())),
    }
}
