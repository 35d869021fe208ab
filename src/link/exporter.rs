//! The exporter: publishes the messages of this host, each once and in order, whatever breaks.
//!
//! The newest batch on a subject says how far the export has come; no other record exists.
//! A batch is published only after that one: a repeat, or a second link under the same name, is
//! refused by the carrier itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::{
    batch::{BatchMessage, ExportBatch, GlobalId},
    carrier::{
        Carrier, CarrierError, ConnectionState, ConsumeError, ExportCursor, Filter, PublishError,
        Stored, Tail,
    },
    local::{LocalError, LocalSession},
    plan::{self, Continuation},
    recent::Recents,
    report::{LinkReport, Reporter},
    signals::LinkSignals,
    subject,
};
use crate::{
    chat::{
        linked::{ExportInfo, LinkPosition, LinkRequest, LinkedStream},
        message::Message,
        names::{HostName, RoomName},
        reply::Reply,
        request::Request,
    },
    limits::{LINK_BATCH_BYTES_MAX, LINK_BATCH_BYTES_MIN, LINK_BATCH_MESSAGES_MAX},
    os,
};

/// First and longest pause before something that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Maximum wait for one message of the carrier, and for a whole subject.
const READ_WITHIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(120));

/// Export of one stream.
#[derive(Debug)]
struct Export {
    stream: LinkedStream,
    subject: String,
    /// Name as it was created; none for announcements.
    room: Option<RoomName>,
    /// Newest batch at the carrier; none until that is known.
    published: Option<LinkPosition>,
    /// Sequence of the newest message on the subject.
    expected: u64,
    /// Messages up to here are published, or are those of other hosts.
    examined: u64,
    /// Bytes of messages in a batch.
    batch_bytes: usize,
    retry_at: Option<Instant>,
    pause: Duration,
}

/// Reason why an export can't continue.
enum ExportError {
    /// The export is tried again.
    Again(String),
    /// The link has to end.
    Fatal(String),
}

impl From<LocalError> for ExportError {
    fn from(error: LocalError) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<ConsumeError> for ExportError {
    fn from(error: ConsumeError) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<CarrierError> for ExportError {
    fn from(error: CarrierError) -> Self {
        Self::Again(error.to_string())
    }
}

/// Exports of all streams. See the head of this file.
pub(super) struct Exporter {
    host: HostName,
    link: u64,
    carrier: Carrier,
    runtime: Handle,
    local: LocalSession,
    recents: Arc<Recents>,
    reporter: Arc<Reporter>,
    stop: LinkSignals,
    exports: Vec<Export>,
    /// Connection to the carrier, and its stream, that positions belong to.
    seen: (u64, u64),
    /// True once new messages are exported.
    is_linked: bool,
}

impl Export {
    fn new(stream: LinkedStream, host: &HostName) -> Self {
        let room = match &stream {
            LinkedStream::Room(room) => Some(room.clone()),
            LinkedStream::Announcements => None,
        };
        Self {
            subject: subject::of_stream(&stream, host),
            stream,
            room,
            published: None,
            expected: 0,
            examined: 0,
            batch_bytes: LINK_BATCH_BYTES_MAX,
            retry_at: None,
            pause: RETRY.0,
        }
    }

    /// Returns its name in the log.
    fn name(&self) -> String {
        let of = self.room.as_ref().map_or_else(|| "announcements".to_owned(), ToString::to_string);
        format!("export of {of}")
    }

    /// Postpones the next attempt.
    fn wait(&mut self) {
        self.retry_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(RETRY.1);
    }

    fn is_due(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }
}

impl Exporter {
    pub(super) fn new(
        (host, link): (HostName, u64),
        streams: &[LinkedStream],
        (carrier, runtime): (Carrier, Handle),
        local: LocalSession,
        (recents, reporter, stop): (Arc<Recents>, Arc<Reporter>, LinkSignals),
    ) -> Self {
        let exports = streams.iter().map(|stream| Export::new(stream.clone(), &host)).collect();
        let seen = (0, 0);
        Self {
            host,
            link,
            carrier,
            runtime,
            local,
            recents,
            reporter,
            stop,
            exports,
            seen,
            is_linked: false,
        }
    }

    /// Exports until the link ends.
    pub(super) fn run(mut self) {
        while !self.stop.is_set() {
            // Nothing is published under a name that may be that of another link.
            if self.stop.is_claimed()
                && let Err(why) = self.round()
            {
                return self.stop.fail(why);
            }
            let now = Instant::now();
            let next = self.exports.iter().filter_map(|export| export.retry_at).min();
            let wait = next.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(now));
            let longest = if self.stop.is_claimed() { 1_000 } else { 50 };
            // Whatever rings is looked at in the next round.
            let _ = self.recents.rung().recv_timeout(wait.min(Duration::from_millis(longest)));
        }
        self.local.quit();
    }

    /// Restarts all exports if the carrier may have lost messages.
    fn look_at_carrier(&mut self) {
        let connection = match *self.carrier.state().borrow() {
            ConnectionState::Connected { number } => number,
            ConnectionState::Disconnected { .. } => return,
        };
        let seen = (connection, self.stop.changes());
        if seen != self.seen {
            self.seen = seen;
            self.exports.iter_mut().for_each(|export| export.published = None);
        }
    }

    /// Publishes a batch of each stream that has something new, all at the same time.
    fn round(&mut self) -> Result<(), String> {
        self.look_at_carrier();
        let now = Instant::now();
        let mut batches: Vec<(usize, ExportBatch)> = Vec::new();
        let mut waiting = 0;
        for at in 0..self.exports.len() {
            if self.recents.take_new(&self.exports[at].stream) {
                self.exports[at].published = None;
            }
            if !self.exports[at].is_due(now) {
                continue;
            }
            match self.next_batch(at) {
                Ok(Some(batch)) => batches.push((at, batch)),
                Ok(None) => self.exports[at].retry_at = None,
                Err(ExportError::Fatal(why)) => return Err(why),
                Err(ExportError::Again(why)) => self.put_off(at, &why),
            }
            let export = &self.exports[at];
            waiting += self.recents.head(&export.stream).saturating_sub(export.examined);
        }
        self.reporter.count(|counts| counts.waiting = waiting);
        if !self.is_linked && self.exports.iter().all(|export| export.published.is_some()) {
            self.is_linked = true;
            self.reporter.send(LinkReport::Linked);
        }
        if batches.is_empty() {
            return Ok(());
        }
        let publications = batches.iter().map(|(at, batch)| {
            let Export { subject, expected, .. } = &self.exports[*at];
            let cursor = ExportCursor { generation: batch.generation, last: batch.last };
            self.carrier.publish(subject, Some(cursor), batch.payload().into(), *expected)
        });
        let done = self.runtime.block_on(futures_util::future::join_all(publications));
        for ((at, batch), result) in batches.into_iter().zip(done) {
            self.published(at, &batch, result)?;
        }
        self.recents.ring();
        Ok(())
    }

    fn put_off(&mut self, at: usize, why: &str) {
        let export = &mut self.exports[at];
        export.wait();
        self.reporter.warn(&export.name(), why);
    }

    /// Returns the next batch of a stream; none if nothing is new.
    fn next_batch(&mut self, at: usize) -> Result<Option<ExportBatch>, ExportError> {
        if self.exports[at].published.is_none() {
            self.begin(at)?;
        }
        let export = &self.exports[at];
        let Some(published) = export.published else { return Ok(None) };
        let (stream, examined) = (export.stream.clone(), export.examined);
        let mut gathered = BatchDraft::new(export.batch_bytes);
        let is_whole = self.recents.each_after(&stream, examined, |message| gathered.take(message));
        if !is_whole {
            gathered = BatchDraft::new(export.batch_bytes);
            let head = self.recents.head(&stream);
            let numbers = (examined + 1, head);
            self.local.each_message(&stream, numbers, |message| gathered.take(message))?;
            if !gathered.is_full {
                // Missing messages at the end were removed from the history, or are not for others.
                gathered.upto = gathered.upto.max(head);
            }
        }
        let upto = gathered.upto.max(examined);
        let mut batch = ExportBatch::new(self.link, self.exports[at].room.clone(), published);
        let now_us = os::wall_us();
        for message in gathered.messages {
            let expires_us = message.notice.as_ref().and_then(|notice| notice.expires_wall_us);
            if expires_us.is_some_and(|at| at <= now_us) {
                continue;
            }
            let reply_to = match message.reply_to {
                None => None,
                Some(seq) => self.global_id(&stream, seq)?,
            };
            batch.messages.extend(BatchMessage::new(&message, reply_to));
        }
        if batch.messages.is_empty() {
            self.exports[at].examined = upto;
            return Ok(None);
        }
        batch.last = upto;
        Ok(Some(batch))
    }

    /// Returns the id by which other hosts know a message; none if it is no longer stored.
    fn global_id(
        &mut self,
        stream: &LinkedStream,
        seq: u64,
    ) -> Result<Option<GlobalId>, LocalError> {
        let message = match self.recents.find(stream, seq) {
            Some(message) => Some(message),
            None => self.local.message_at(stream, seq)?,
        };
        let Some(message) = message else { return Ok(None) };
        let host = message.from.user.host().and_then(|host| HostName::new(host).ok());
        Ok(match (message.origin, host) {
            (Some(origin), Some(host)) => Some(GlobalId { host, seq: origin.seq }),
            _ => Some(GlobalId { host: self.host.clone(), seq }),
        })
    }

    /// Finds out how far the export of a stream has come.
    fn begin(&mut self, at: usize) -> Result<(), ExportError> {
        let (stream, subject) = (self.exports[at].stream.clone(), self.exports[at].subject.clone());
        let info = self.export_info(&stream, None)?;
        let tail = self.tail(&subject)?;
        let newest = tail.cursor.map(position);
        let is_same = match newest {
            Some(newest) => self.is_last_same(&stream, &subject, tail.sequence, newest)?,
            None => true,
        };
        let after = match plan::continuation(&info, newest, is_same) {
            Continuation::After(after) => after,
            Continuation::NewGeneration => {
                self.exports[at].examined = 0;
                self.begin_generation(at, &info, newest)?
            }
        };
        self.recents.note_head(&stream, info.head);
        let export = &mut self.exports[at];
        // Messages that the history no longer has are a gap for others, unless this link examined
        // them before: the last ones may be those of other hosts, which are never published.
        let gone = info.first.saturating_sub(1).min(info.head);
        let examined = after.seq.max(gone);
        let seq = if export.examined >= gone { after.seq } else { examined };
        export.published = Some(LinkPosition { seq, ..after });
        export.expected = tail.sequence;
        export.examined = examined;
        // It was deleted, and is there again; or this link was taken out of it, and may be in it.
        if !self.recents.lost([&stream].into_iter()).is_empty() {
            self.recents.allow_return(&stream);
        }
        Ok(())
    }

    /// Restarts the export of a stream after the last message that both history and carrier have.
    fn begin_generation(
        &mut self,
        at: usize,
        info: &ExportInfo,
        newest: Option<LinkPosition>,
    ) -> Result<LinkPosition, ExportError> {
        let (stream, subject) = (self.exports[at].stream.clone(), self.exports[at].subject.clone());
        let seq = self.common_with_carrier(&stream, &subject, info)?.min(info.head);
        let before = newest.map_or(0, |newest| newest.generation).max(info.after.generation);
        let generation = os::wall_us().unsigned_abs().max(before + 1);
        let renewed = LinkPosition { generation, seq };
        self.export_info(&stream, Some(renewed))?;
        let text = format!(
            "the history of this host is not the one that was exported; continuing after message \
             {seq}"
        );
        self.reporter.warn(&self.exports[at].name(), &text);
        Ok(renewed)
    }

    fn export_info(
        &mut self,
        stream: &LinkedStream,
        renew: Option<LinkPosition>,
    ) -> Result<ExportInfo, LocalError> {
        let request = LinkRequest::Export { stream: stream.clone(), renew };
        match self.local.ask(&Request::Link(request))? {
            Reply::Export(info) => Ok(info),
            other => Err(LocalError::unexpected(&other)),
        }
    }

    /// Waits for the carrier up to a limit.
    fn within<T, E: Into<ExportError>>(
        &self,
        most: Duration,
        reading: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ExportError> {
        let silent = || ExportError::Again("the carrier does not answer in time".to_owned());
        let done = async { tokio::time::timeout(most, reading).await };
        self.runtime.block_on(done).map_err(|_| silent())?.map_err(Into::into)
    }

    fn tail(&self, subject: &str) -> Result<Tail, ExportError> {
        self.within(READ_WITHIN.1, self.carrier.tail(subject))
    }

    fn last(&self, subject: &str) -> Result<Option<Stored>, ExportError> {
        self.within(READ_WITHIN.0, self.carrier.last(subject))
    }

    /// Returns true unless the last exported message is another one in the history.
    fn is_last_same(
        &mut self,
        stream: &LinkedStream,
        subject: &str,
        sequence: u64,
        newest: LinkPosition,
    ) -> Result<bool, ExportError> {
        let batch = self.last(subject)?.filter(|last| last.sequence == sequence);
        let batch = batch.and_then(|last| ExportBatch::read(&last.payload).ok());
        let message = batch
            .filter(|batch| batch.end() == newest)
            .and_then(|batch| batch.messages.into_iter().next_back());
        let Some(message) = message else { return Ok(true) };
        let local = self.local.message_at(stream, message.seq)?;
        Ok(local.is_none_or(|local| plan::is_same(&message, &local)))
    }

    /// Reads the whole subject; returns the number of the last message that the history has as
    /// well. Messages that the history no longer has count as the same.
    fn common_with_carrier(
        &mut self,
        stream: &LinkedStream,
        subject: &str,
        info: &ExportInfo,
    ) -> Result<u64, ExportError> {
        let Some(last) = self.last(subject)? else { return Ok(info.after.seq) };
        let read = async {
            let filter = Filter::Subjects(vec![subject.to_owned()]);
            let mut messages = self.carrier.consume(filter, 0).await?;
            // The number, time and a hash of each text; and what came before the first.
            let mut exported: Vec<(u64, plan::Print)> = Vec::new();
            let mut prev = None;
            while let Some(stored) = messages.next().await.transpose()? {
                if let (Some(_), Ok(batch)) = (stored.cursor, ExportBatch::read(&stored.payload)) {
                    prev = prev.or(Some(batch.prev));
                    // What a later generation gave the same numbers to replaces it.
                    while exported.last().is_some_and(|(seq, _)| *seq > batch.prev) {
                        exported.pop();
                    }
                    exported.extend(batch.messages.iter().map(plan::print_of));
                }
                if stored.sequence >= last.sequence {
                    break;
                }
            }
            Ok::<_, ConsumeError>((exported, prev))
        };
        let (exported, prev) = self.within(READ_WITHIN.1, read)?;
        let local = &mut self.local;
        let same = plan::common(exported.len(), |at| {
            let (seq, print) = exported[at];
            if seq > info.head {
                return Ok(false);
            }
            let message = local.message_at(stream, seq)?;
            Ok::<_, LocalError>(message.is_none_or(|local| plan::print_of_local(&local) == print))
        })?;
        let common = same.checked_sub(1).map(|at| exported[at].0);
        Ok(common.or(prev).unwrap_or(info.after.seq))
    }

    /// Handles the result of a publication.
    fn published(
        &mut self,
        at: usize,
        batch: &ExportBatch,
        result: Result<u64, PublishError>,
    ) -> Result<(), String> {
        match result {
            Ok(sequence) => {
                self.advance(at, batch, sequence);
                Ok(())
            }
            Err(PublishError::TooLarge { .. })
                if self.exports[at].batch_bytes > LINK_BATCH_BYTES_MIN =>
            {
                self.exports[at].batch_bytes /= 2;
                Ok(())
            }
            Err(e @ (PublishError::WrongLast { .. } | PublishError::Unknown { .. })) => {
                match self.look_again(at, batch) {
                    Ok(true) => Ok(()),
                    Ok(false) => {
                        self.exports[at].wait();
                        Ok(())
                    }
                    Err(ExportError::Fatal(why)) => Err(why),
                    Err(ExportError::Again(why)) => {
                        self.put_off(at, &format!("{e}; {why}"));
                        Ok(())
                    }
                }
            }
            Err(e) => {
                self.put_off(at, &e.to_string());
                Ok(())
            }
        }
    }

    /// Advances an export after a batch that the carrier has stored.
    fn advance(&mut self, at: usize, batch: &ExportBatch, sequence: u64) {
        let export = &mut self.exports[at];
        export.expected = sequence;
        export.published = Some(batch.end());
        export.examined = batch.last;
        (export.retry_at, export.pause) = (None, RETRY.0);
        self.reporter.recovered(&export.name());
        let messages = batch.messages.len() as u64;
        self.reporter.count_of(&self.host, |counts| counts.messages += messages);
    }

    /// Finds out whether a batch was stored; returns false if it is to be published again.
    fn look_again(&mut self, at: usize, batch: &ExportBatch) -> Result<bool, ExportError> {
        let subject = self.exports[at].subject.clone();
        let tail = self.tail(&subject)?;
        if tail.cursor.map(position) == Some(batch.end()) {
            self.advance(at, batch, tail.sequence);
            return Ok(true);
        }
        let last = self.last(&subject)?;
        let newest =
            last.and_then(|last| Some((last.sequence, ExportBatch::read(&last.payload).ok()?)));
        let export = &mut self.exports[at];
        if newest.is_some_and(|(sequence, of)| sequence > export.expected && of.link != self.link) {
            let text = format!(
                "another link publishes as {} ({subject} has a later batch than this link's own); \
                 each host needs a name of its own",
                self.host
            );
            return Err(ExportError::Fatal(text));
        }
        // The carrier lost messages, or was restored, or a forged reply is there: the export
        // restarts after the newest batch.
        export.published = None;
        Ok(false)
    }
}

fn position(cursor: ExportCursor) -> LinkPosition {
    LinkPosition { generation: cursor.generation, seq: cursor.last }
}

/// Messages for a batch.
#[derive(Debug)]
struct BatchDraft {
    messages: Vec<Message>,
    /// Number of the last message that was examined.
    upto: u64,
    bytes: usize,
    bytes_max: usize,
    is_full: bool,
}

impl BatchDraft {
    fn new(bytes_max: usize) -> Self {
        Self { messages: Vec::new(), upto: 0, bytes: 0, bytes_max, is_full: false }
    }

    /// Adds a message; returns false once the batch is full.
    fn take(&mut self, message: &Message) -> bool {
        if message.from.user.host().is_none() {
            let bytes = self.bytes + BatchMessage::bytes_of(&message.text);
            let is_enough = self.messages.len() >= LINK_BATCH_MESSAGES_MAX
                || (bytes > self.bytes_max && !self.messages.is_empty());
            if is_enough {
                self.is_full = true;
                return false;
            }
            self.bytes = bytes;
            self.messages.push(message.clone());
        }
        self.upto = message.id.seq;
        true
    }
}
