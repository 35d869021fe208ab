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
        message::{BootId, MessageId, StreamName},
        refusal::Refusal,
        reply::Reply,
        request::{Request, SessionRequest},
        stream_id::StreamId,
    },
    session::{ConnectError, Connection},
    wire::{
        control,
        frame::{self, FrameError, Kind},
        hello::{self, Bye, Hello, Refused, Welcome},
        server_frame::{BodyError, ServerFrame},
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

impl From<BodyError> for LinkError {
    fn from(e: BodyError) -> Self {
        Self::Protocol(e.to_string())
    }
}

impl From<Bye> for LinkError {
    fn from(bye: Bye) -> Self {
        bye.refusal().map_or(Self::Ended(bye.reason), Self::Refused)
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
    #[doc(hidden)]
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
    pub fn queue_repair(&mut self, stream: StreamId, first: u64, last: u64) {
        control::put_repair(&mut self.out, stream, first, last);
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
            match ServerFrame::read(parsed.kind, parsed.body) {
                Ok(ServerFrame::Refused(refused)) => return LinkError::Refused(refused),
                Ok(ServerFrame::Bye(bye)) => return bye.into(),
                Ok(_) => {}
                Err(e) => return e.into(),
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
            if let Some(frame) = self.next_frame(|frame| Some(format!("{frame:?}")))? {
                return Err(LinkError::Protocol(format!("{frame} before the welcome")));
            }
        }
        self.welcome.as_ref().ok_or_else(|| LinkError::Protocol("no welcome".to_owned()))
    }

    /// The run of the server, after the handshake.
    #[must_use]
    pub fn run(&self) -> Option<BootId> {
        self.welcome.as_ref().map(|w| w.run)
    }

    /// Returns the next reply, event, or acknowledgement. Batches of streams are passed over.
    ///
    /// # Errors
    /// Returns an error if the connection broke or ended, or the timeout has passed.
    #[doc(hidden)]
    pub fn wait(&mut self) -> Result<Frame, LinkError> {
        loop {
            let session = |frame: ServerFrame<'_>| match frame {
                ServerFrame::Session(frame) => Some(frame),
                _ => None,
            };
            if let Some(frame) = self.next_frame(session)? {
                return Ok(frame);
            }
        }
    }

    /// Asks for the server's state, a JSON object.
    ///
    /// # Errors
    /// Returns an error if the connection broke or ended, or the timeout has passed.
    #[doc(hidden)]
    pub fn status(&mut self) -> Result<Vec<u8>, LinkError> {
        frame::put(&mut self.out, Kind::Status, |_| {});
        loop {
            let status = |frame: ServerFrame<'_>| match frame {
                ServerFrame::Status(body) => Some(body.to_vec()),
                _ => None,
            };
            if let Some(body) = self.next_frame(status)? {
                return Ok(body);
            }
        }
    }

    /// Asks the server to end, and waits until the connection ends.
    ///
    /// # Errors
    /// Returns an error if the server refuses to stop, or the timeout has passed.
    #[doc(hidden)]
    pub fn stop(&mut self) -> Result<(), LinkError> {
        frame::put(&mut self.out, Kind::Stop, |_| {});
        loop {
            match self.next_frame(|_| Some(())) {
                Ok(_) => {}
                Err(LinkError::Ended(_) | LinkError::Io(_)) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Waits for one frame and returns what `take` makes of it; none of the welcome.
    ///
    /// # Errors
    /// Returns an error if the connection broke or ended, or the timeout has passed.
    #[doc(hidden)]
    pub fn next_frame<T>(
        &mut self,
        take: impl FnOnce(ServerFrame<'_>) -> Option<T>,
    ) -> Result<Option<T>, LinkError> {
        self.flush()?;
        loop {
            if let Some(parsed) = self.frames.next()? {
                return match ServerFrame::read(parsed.kind, parsed.body)? {
                    ServerFrame::Welcome(welcome) => {
                        self.welcome = Some(welcome);
                        Ok(None)
                    }
                    ServerFrame::Refused(refused) => Err(LinkError::Refused(refused)),
                    ServerFrame::Bye(bye) => Err(bye.into()),
                    frame => Ok(take(frame)),
                };
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
                Frame::Reply { serial, result } if serial == asked => {
                    return result.map_err(LinkError::Refusal);
                }
                Frame::Event(Event::Ping) => self.pong(),
                Frame::Event(event) => self.events.push(event),
                Frame::Reply { .. } | Frame::Ack(_) | Frame::Nack { .. } => {}
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
        self.queue_request(&Request::Session(SessionRequest::Quit));
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
pub fn id_of(stream: StreamName, ack: &Ack, run: BootId) -> MessageId {
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
