//! Everyday questions that need more than one frame: history, search, and a job with its reply.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    event::Event,
    link::LinkError,
    member::{Member, Wake},
    past::Search,
    server::{Server, unsendable},
};
use crate::{
    chat::{
        member::Member as Handle,
        message::Message,
        names::{RoomName, Target},
        refusal::RefusalCode,
        request::{Begin, Follow, Request},
        text::Text,
    },
    limits::REQUESTS_DONE_KEPT_MAX,
};

/// Time for which a reply waits for a report of its worker, which comes by another way.
const REPORT_WITHIN: Duration = Duration::from_millis(50);

/// Maximum replies that wait for the acknowledgment of a job.
const EARLY_REPLIES_MAX: usize = 64;

/// End of a job that [`Server::ask`] sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutcome {
    /// The worker, or a member that replied by hand.
    pub by: Handle,
    /// Reply to the job; none if the worker had nothing to say.
    pub reply: Option<Message>,
    /// True if the worker reported that the job failed.
    pub failed: bool,
}

/// Converts a time of this library, microseconds since 1970. A time that the system can't represent
/// becomes 1970.
#[must_use]
pub fn time_of(wall_us: i64) -> SystemTime {
    let since = Duration::from_micros(wall_us.unsigned_abs());
    let time = match wall_us < 0 {
        true => UNIX_EPOCH.checked_sub(since),
        false => UNIX_EPOCH.checked_add(since),
    };
    time.unwrap_or(UNIX_EPOCH)
}

impl Server {
    /// Returns the newest messages of a room or conversation, up to `count`, the oldest first.
    ///
    /// ```no_run
    /// for message in moot::client::Server::find(None)?.history(&"dev".parse()?, 20)? {
    ///     println!("{} {}: {}", message.id, message.from, message.text);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns a refusal, or the connection's failure.
    pub fn history(&self, target: &Target, count: u64) -> Result<Vec<Message>, LinkError> {
        let mut link = self.link()?;
        let span = link.span(target)?;
        let first = (span.head + 1).saturating_sub(count).max(span.first);
        let mut messages = Vec::new();
        link.messages::<LinkError>(target, &span, (first, span.head), |message| {
            messages.push(message);
            Ok(())
        })?;
        link.quit();
        Ok(messages)
    }

    /// Returns the newest messages that have all words of a search, the oldest first.
    ///
    /// # Errors
    /// Returns a refusal, or the connection's failure.
    pub fn search(&self, search: &Search) -> Result<Vec<Message>, LinkError> {
        let mut link = self.link()?;
        let found = link.search(search)?;
        link.quit();
        Ok(found)
    }

    /// Sends a job to the workers of a room ([`Server::answer`]) and returns the first reply.
    ///
    /// Waits for the reply as long as [`Server::within`] says. A broken connection is restored
    /// meanwhile, and the job is not done twice because of it.
    ///
    /// # Errors
    /// Returns a refusal, the connection's failure, or `TimedOut` without a reply in time.
    pub fn ask(&self, room: &RoomName, text: &str) -> Result<JobOutcome, LinkError> {
        let text = Text::new(text).map_err(unsendable)?;
        let deadline = Instant::now() + self.timeout;
        let mut member = self.listen(vec![Follow::Room(room.clone())], Begin::Now)?;
        let counter = member.say(Target::Room(room.clone()), None, text.clone());
        let mut job = SentJob { counter, ..SentJob::default() };
        let outcome = job.wait(room, &text, &mut member, deadline);
        member.quit();
        outcome
    }
}

/// A job of this process without an outcome.
#[derive(Debug, Default)]
struct SentJob {
    /// Counter of its submit.
    counter: u64,
    /// Its sequence number, once it is acknowledged.
    seq: Option<u64>,
    /// There was a break: it is declared again once all missed messages were shown.
    came_back: bool,
    /// Declaration that is not answered yet: reports of failures come with its reply.
    declared: Option<u32>,
    /// Replies to messages, while its sequence number is unknown.
    early: VecDeque<Message>,
    /// User and process ids of workers that reported a failure.
    failed: Vec<(u32, u32)>,
    /// First reply, and the time when it came.
    reply: Option<(Message, Instant)>,
    /// Worker without a reply, and true if the job failed.
    silent: Option<(Handle, bool)>,
}

impl SentJob {
    /// Waits for the outcome of the job.
    fn wait(
        &mut self,
        room: &RoomName,
        text: &Text,
        member: &mut Member,
        deadline: Instant,
    ) -> Result<JobOutcome, LinkError> {
        loop {
            if let Some(outcome) = self.outcome(member.is_quiet()) {
                return Ok(outcome);
            }
            let until = match self.reply {
                Some(_) if !self.awaits_reports() => deadline.min(Instant::now() + REPORT_WITHIN),
                Some(_) | None => deadline,
            };
            match member.wait::<()>(None, Some(until)) {
                Wake::TimedOut if Instant::now() >= deadline => return Err(LinkError::TimedOut),
                wake => self.apply(room, text, member, wake)?,
            }
        }
    }

    /// Applies what happened to the member that sent the job.
    fn apply(
        &mut self,
        room: &RoomName,
        text: &Text,
        member: &mut Member,
        wake: Wake<()>,
    ) -> Result<(), LinkError> {
        match wake {
            Wake::Event(Event::Sent(sent)) if sent.counter == self.counter => {
                self.acknowledged(sent.id.seq);
                self.declare(member, false);
            }
            Wake::Event(Event::Reply(serial, Ok(_))) if self.declared == Some(serial) => {
                self.declared = None;
            }
            // A room without history forgot the job when the server restarted: it is sent again.
            Wake::Event(Event::Reply(_, Err(refusal)))
                if refusal.code == RefusalCode::UnknownSubmit =>
            {
                (self.seq, self.declared) = (None, None);
                self.counter = member.say(Target::Room(room.clone()), None, text.clone());
            }
            // A question that a break left unanswered is asked again.
            Wake::Event(Event::Reply(_, Err(_))) if !member.is_connected() => {}
            Wake::Event(
                Event::Reply(_, Err(refusal))
                | Event::Rejected(refusal)
                | Event::NotFollowed(_, refusal),
            ) => return Err(LinkError::Refusal(refusal)),
            Wake::Event(Event::Ended(refused)) => return Err(LinkError::Refused(refused)),
            Wake::Event(event) => self.apply_event(room, event)?,
            Wake::Item(_) | Wake::TimedOut => {}
        }
        if self.came_back && self.seq.is_some() && member.has_shown_all() {
            self.came_back = false;
            self.declare(member, true);
        }
        Ok(())
    }

    fn declare(&mut self, member: &mut Member, again: bool) {
        self.declared = Some(member.ask(&Request::Ask { counter: self.counter, again }));
    }

    /// Returns true after a break until the reports are here that came meanwhile.
    fn awaits_reports(&self) -> bool {
        self.came_back || self.declared.is_some()
    }

    /// Applies the acknowledgment of its submit.
    fn acknowledged(&mut self, seq: u64) {
        self.seq = Some(seq);
        for message in std::mem::take(&mut self.early) {
            self.read_message(message);
        }
    }

    fn read_message(&mut self, message: Message) {
        if message.reply_to.is_none() || self.reply.is_some() {
            return;
        }
        match self.seq {
            // The acknowledgment may be late; a reply comes after all that was sent before the job.
            None => {
                if self.early.len() == EARLY_REPLIES_MAX {
                    self.early.pop_front();
                }
                self.early.push_back(message);
            }
            Some(_) if message.reply_to == self.seq => self.reply = Some((message, Instant::now())),
            Some(_) => {}
        }
    }

    fn apply_event(&mut self, room: &RoomName, event: Event) -> Result<(), LinkError> {
        match event {
            Event::Ready { .. } => self.came_back = self.seq.is_some(),
            Event::Message(message) => self.read_message(message),
            Event::Answered { by, failed, silent, .. } => {
                if failed && self.failed.len() < REQUESTS_DONE_KEPT_MAX {
                    self.failed.push((by.uid, by.pid));
                }
                if silent {
                    self.silent = Some((by, failed));
                }
            }
            Event::Removed { .. } | Event::Deleted { .. } => {
                return Err(LinkError::Ended(format!("{room} is closed")));
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the outcome once there is one, and all that came with it was seen.
    fn outcome(&mut self, is_quiet: bool) -> Option<JobOutcome> {
        if self.awaits_reports() {
            return None;
        }
        if let Some((_, came)) = &self.reply
            && (is_quiet || came.elapsed() >= REPORT_WITHIN)
            && let Some((message, _)) = self.reply.take()
        {
            let by = message.from.clone();
            let failed = self.failed.contains(&(by.uid, by.pid));
            return Some(JobOutcome { by, reply: Some(message), failed });
        }
        let (by, failed) = self.silent.take()?;
        Some(JobOutcome { by, reply: None, failed })
    }
}

impl Member {
    /// Waits for the next event. The member reconnects by itself meanwhile.
    ///
    /// # Errors
    /// Returns a refusal of a stream or submit, after which the member goes on; any other error is
    /// the last: the server does not admit this member again.
    pub fn next_event(&mut self) -> Result<Event, LinkError> {
        loop {
            match self.wait::<()>(None, None) {
                Wake::Event(Event::Rejected(refusal) | Event::NotFollowed(_, refusal)) => {
                    return Err(LinkError::Refusal(refusal));
                }
                Wake::Event(Event::Ended(refused)) => return Err(LinkError::Refused(refused)),
                Wake::Event(Event::Sent(_) | Event::Reply(..)) | Wake::Item(_) | Wake::TimedOut => {
                }
                Wake::Event(event) => return Ok(event),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::message::{MessageId, StreamName};

    fn reply(seq: u64, reply_to: u64) -> Message {
        let stream = StreamName::Room(RoomName::new("ci").unwrap());
        Message {
            id: MessageId { stream, run: None, seq },
            wall_us: 0,
            from: Handle { uid: 1, pid: 2, ..Handle::nobody() },
            reply_to: Some(reply_to),
            mention: false,
            notice: None,
            will: None,
            origin: None,
            text: "done".to_owned(),
        }
    }

    #[test]
    fn reply_before_its_acknowledgment_is_kept() {
        let mut job = SentJob::default();
        // A busy room: other members reply to each other meanwhile.
        for seq in 10..300 {
            job.read_message(reply(seq, 3));
        }
        job.read_message(reply(300, 9));
        assert_eq!(job.early.len(), EARLY_REPLIES_MAX);
        assert_eq!(job.outcome(true), None);
        job.acknowledged(9);
        let outcome = job.outcome(true).unwrap();
        assert_eq!((outcome.reply.unwrap().id.seq, outcome.failed), (300, false));
    }

    #[test]
    fn reply_after_a_break_waits_for_reports_of_failures() {
        let room = RoomName::new("ci").unwrap();
        let mut job = SentJob { seq: Some(9), declared: Some(4), ..SentJob::default() };
        job.read_message(reply(10, 9));
        assert_eq!(job.outcome(true), None, "a report may come with the reply to the declaration");
        let by = Handle { uid: 1, pid: 2, ..Handle::nobody() };
        let (seq, silent) = (9, false);
        let report = Event::Answered { room: room.clone(), seq, by, failed: true, silent };
        job.apply_event(&room, report).unwrap();
        job.declared = None;
        assert!(job.outcome(true).unwrap().failed);
    }

    #[test]
    fn time_that_can_not_be_represented_is_1970() {
        assert_eq!(time_of(0), UNIX_EPOCH);
        assert_eq!(time_of(-1_000_000) + Duration::from_secs(1), UNIX_EPOCH);
        for wall_us in [i64::MAX, i64::MIN] {
            // Some systems have it, none panics.
            let _ = time_of(wall_us);
        }
    }
}
