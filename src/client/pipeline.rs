//! Many texts of one client instance for one target, each stored once, over broken connections.
//!
//! A text stays here until it has its answer. After a break the texts without one are submitted
//! again under the same counters: the server stores none of them twice, and refuses those that it
//! can't tell. The caller bounds what waits ([`Pipeline::bytes`]) and decides when to reconnect.

use std::{collections::VecDeque, ops::Range, time::Instant};

use super::link::{Link, LinkError, Sent};
use crate::{
    chat::{
        event::Event,
        frames::{Ack, Destination, Frame, Line, Submit},
        message::{MessageId, StreamName},
        names::{Label, Target},
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        request::Request,
        text::Text,
    },
    limits::{FRAME_BYTES_MAX, SUBMIT_MESSAGES_MAX},
    os,
    session::Connection,
    wire::{control::LINE_OVERHEAD_BYTES, hello::Hello},
};

/// Bytes of texts that go into one submit frame.
const SUBMIT_BYTES_MAX: usize = FRAME_BYTES_MAX - 512;

/// Answer to texts, or news about them.
#[derive(Debug)]
pub enum Progress {
    /// Texts are stored.
    Acked(Ack),
    /// Texts are refused: their counters, and the reason.
    Refused(Range<u64>, Refusal),
    /// The texts wait, since their user sends more than one user may.
    Slowed,
    /// A frame that is not about the texts.
    Other,
}

/// A text without an answer.
#[derive(Debug)]
struct OpenText {
    counter: u64,
    text: Text,
    /// Wall clock when it was first submitted, microseconds since 1970; 0 before.
    since_us: i64,
}

/// Sender of texts for one target. See the head of this file.
#[derive(Debug)]
pub struct Pipeline {
    /// None while disconnected.
    link: Option<Link>,
    hello: Hello,
    target: Target,
    /// Message that all texts reply to.
    reply_to: Option<MessageId>,
    to: Destination,
    to_label: Option<Label>,
    /// Texts by rising counter.
    texts: VecDeque<OpenText>,
    /// Bytes of those texts.
    bytes: usize,
    counter: u64,
    /// Texts up to this counter were submitted in this session.
    reached: u64,
}

impl Pipeline {
    /// Begins a session for texts to a target. The handshake with a room goes with the first texts,
    /// in one write.
    ///
    /// # Errors
    /// Returns an error if the session does not begin, the target refuses texts, or the message to
    /// reply to belongs to an earlier boot of the server.
    pub fn open(
        connection: Connection,
        hello: Hello,
        target: Target,
        reply_to: Option<MessageId>,
        deadline: Instant,
    ) -> Result<Self, LinkError> {
        let mut link = Link::open(connection, &hello);
        link.set_deadline(Some(deadline));
        let (to, to_label) = destination(&mut link, &target, reply_to.as_ref())?;
        Ok(Self {
            link: Some(link),
            hello,
            target,
            reply_to,
            to,
            to_label,
            texts: VecDeque::new(),
            bytes: 0,
            counter: 0,
            reached: 0,
        })
    }

    /// Sends the handshake now, and waits for its answer: for a caller that has no text yet.
    ///
    /// # Errors
    /// Returns an error if the server did not begin the session.
    pub fn welcome(&mut self) -> Result<(), LinkError> {
        self.link.as_mut().map_or(Ok(()), |link| link.welcome().map(drop))
    }

    /// Begins another session after [`Pipeline::lose`]. Open texts are submitted again by the next
    /// [`Pipeline::flush`].
    ///
    /// # Errors
    /// As [`Pipeline::open`].
    pub fn resume(&mut self, connection: Connection, deadline: Instant) -> Result<(), LinkError> {
        let mut link = Link::open(connection, &self.hello);
        link.set_deadline(Some(deadline));
        link.welcome()?;
        (self.to, self.to_label) = destination(&mut link, &self.target, self.reply_to.as_ref())?;
        self.link = Some(link);
        Ok(())
    }

    /// Drops the session. The next one states what was submitted in this one.
    pub fn lose(&mut self) {
        let unsent = self.texts.iter().find(|text| text.since_us == 0);
        self.hello.submitted = unsent.map_or(self.counter, |text| text.counter - 1);
        let since_us = self.texts.iter().map(|text| text.since_us);
        let oldest_us = since_us.filter(|since_us| *since_us > 0).min();
        self.hello.submitted_since_us = oldest_us.unwrap_or_else(os::wall_us);
        self.link = None;
        self.reached = 0;
    }

    /// Returns true if there is a session.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Returns true if no text is without an answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Returns the bytes of the texts without an answer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns true if a text was submitted and has no answer: it may be stored.
    #[must_use]
    pub fn may_be_stored(&self, counter: u64) -> bool {
        let at = self.texts.partition_point(|text| text.counter < counter);
        self.texts.get(at).is_some_and(|text| text.counter == counter && text.since_us > 0)
    }

    /// Adds a text and returns its counter.
    pub fn push(&mut self, text: Text) -> u64 {
        self.counter += 1;
        self.bytes += text.len();
        self.texts.push_back(OpenText { counter: self.counter, text, since_us: 0 });
        self.counter
    }

    /// Submits all texts that were not submitted in this session; without one they wait.
    ///
    /// # Errors
    /// Returns an error if the connection broke or the deadline has passed.
    pub fn flush(&mut self, deadline: Instant) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let now_us = os::wall_us();
        let reply_to = self.reply_to.as_ref().map(|id| id.seq);
        let begin = self.texts.partition_point(|text| text.counter <= self.reached);
        let mut lines: Vec<Line<'_>> = Vec::new();
        let (mut first, mut bytes) = (0, 0);
        let mut queue = |lines: &mut Vec<Line<'_>>, first: u64| {
            if !lines.is_empty() {
                let (to, to_label) = (self.to.clone(), self.to_label.clone());
                let lines = std::mem::take(lines);
                link.queue_submit(&Submit { first, to, to_label, lines });
            }
        };
        for open in self.texts.range_mut(begin..) {
            let cost = open.text.len() + LINE_OVERHEAD_BYTES;
            let is_next = first + lines.len() as u64 == open.counter;
            if !is_next || bytes + cost > SUBMIT_BYTES_MAX || lines.len() == SUBMIT_MESSAGES_MAX {
                queue(&mut lines, first);
                (first, bytes) = (open.counter, 0);
            }
            if open.since_us == 0 {
                open.since_us = now_us;
            }
            bytes += cost;
            self.reached = open.counter;
            lines.push(Line { reply_to, text: open.text.borrowed() });
        }
        queue(&mut lines, first);
        link.set_deadline(Some(deadline));
        link.flush()
    }

    /// Waits for the next frame of the server.
    ///
    /// # Errors
    /// Returns an error without a session, if the connection broke, or if the deadline has passed.
    pub fn wait(&mut self, deadline: Instant) -> Result<Progress, LinkError> {
        let Some(link) = &mut self.link else {
            return Err(LinkError::Ended("not connected".to_owned()));
        };
        link.set_deadline(Some(deadline));
        match link.wait()? {
            Frame::Ack(ack) => {
                self.remove(ack.first..ack.first.saturating_add(ack.count.into()));
                Ok(Progress::Acked(ack))
            }
            Frame::Nack { first, count, refusal } => {
                let refused = first..first.saturating_add(count.into());
                self.remove(refused.clone());
                Ok(Progress::Refused(refused, refusal))
            }
            Frame::Event(Event::Spelled(room)) => {
                self.target = Target::Room(room);
                Ok(Progress::Other)
            }
            Frame::Event(Event::Slowed) => Ok(Progress::Slowed),
            Frame::Reply { .. } | Frame::Event(_) => Ok(Progress::Other),
        }
    }

    fn remove(&mut self, counters: Range<u64>) {
        let from = self.texts.partition_point(|text| text.counter < counters.start);
        let to = self.texts.partition_point(|text| text.counter < counters.end);
        let removed = self.texts.drain(from..to);
        self.bytes -= removed.map(|open| open.text.len()).sum::<usize>();
    }

    /// Returns the message of an acknowledged counter.
    #[must_use]
    pub fn sent(&self, ack: &Ack, counter: u64) -> Sent {
        let run = self.link.as_ref().and_then(Link::run).filter(|_| !ack.stored);
        let seq = ack.seq.saturating_add(counter.saturating_sub(ack.first));
        let id = MessageId { stream: StreamName::from(&self.target), run, seq };
        Sent { id, members: ack.members, counter }
    }

    /// Ends the session with a goodbye.
    pub fn quit(self) {
        if let Some(link) = self.link {
            link.quit();
        }
    }
}

/// Returns the destination of texts: a room needs no request; a user has to be reachable.
fn destination(
    link: &mut Link,
    target: &Target,
    reply_to: Option<&MessageId>,
) -> Result<(Destination, Option<Label>), LinkError> {
    let destination = link.destination(target)?;
    if let Some((id, of)) = reply_to.and_then(|id| Some((id, id.run?)))
        && link.welcome()?.run != of
    {
        let text = format!("message {id} was lost when the server restarted");
        return Err(LinkError::Refusal(Refusal::new(RefusalCode::Absent, text)));
    }
    Ok(destination)
}

impl Link {
    /// Opens a target for submits; returns the destination and the label that they are for.
    pub(super) fn destination(
        &mut self,
        target: &Target,
    ) -> Result<(Destination, Option<Label>), LinkError> {
        match target {
            Target::Room(room) => Ok((Destination::Room(room.clone()), None)),
            Target::User { label, .. } => {
                match self.ask(&Request::Open { target: target.clone() })? {
                    Reply::Opened(info) => Ok((Destination::Stream(info.tag), label.clone())),
                    other => Err(LinkError::Protocol(format!("unexpected reply: {other:?}"))),
                }
            }
        }
    }
}
