//! The exporter: publishes what is said here, each message once and in order, whatever breaks.
//!
//! The newest batch on a subject says how far the export has come; there is no other record of it.
//! A batch is published only after that one: a repeat, or a second link under the same name, is
//! refused by the carrier itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::{
    batch::{Batch, BatchMessage, GlobalId},
    carrier::{Carrier, ConsumeError, Cursor, Filter, PublishError},
    local::{Local, LocalError},
    plan::{self, Continuation},
    recent::Recents,
    report::Reporter,
    run::Stop,
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
    limits::{LINK_BATCH_BYTES_MAX, LINK_BATCH_MESSAGES_MAX},
    os,
};

/// First and longest pause before something that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

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
    retry_at: Option<Instant>,
    pause: Duration,
}

/// Why an export can't go on.
enum ExportError {
    /// It is tried again.
    Again(String),
    /// The link ends.
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

/// See the head of this file.
pub(super) struct Exporter {
    pub(super) host: HostName,
    pub(super) carrier: Carrier,
    pub(super) runtime: Handle,
    pub(super) local: Local,
    pub(super) recents: Arc<Recents>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) stop: Stop,
    exports: Vec<Export>,
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
            retry_at: None,
            pause: RETRY.0,
        }
    }

    /// Name for the log.
    fn name(&self) -> String {
        self.room.as_ref().map_or_else(|| "announcements".to_owned(), ToString::to_string)
    }

    /// Puts the next try off.
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
        host: HostName,
        streams: Vec<LinkedStream>,
        (carrier, runtime): (Carrier, Handle),
        local: Local,
        (recents, reporter, stop): (Arc<Recents>, Arc<Reporter>, Stop),
    ) -> Self {
        let exports = streams.into_iter().map(|stream| Export::new(stream, &host)).collect();
        Self { host, carrier, runtime, local, recents, reporter, stop, exports }
    }

    /// Exports until the link ends.
    pub(super) fn run(mut self) {
        while !self.stop.is_set() {
            if let Err(why) = self.round() {
                return self.stop.fail(why);
            }
            let now = Instant::now();
            let next = self.exports.iter().filter_map(|export| export.retry_at).min();
            let wait = next.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(now));
            // Whatever rings is looked at in the next round.
            let _ = self.recents.rung().recv_timeout(wait.min(Duration::from_secs(1)));
        }
        self.local.quit();
    }

    /// Publishes a batch of each stream that has something new, all at the same time.
    fn round(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let mut batches: Vec<(usize, Batch)> = Vec::new();
        let mut waiting = 0;
        for at in 0..self.exports.len() {
            if !self.exports[at].is_due(now) {
                continue;
            }
            match self.next_batch(at) {
                Ok(Some(batch)) => batches.push((at, batch)),
                Ok(None) => {}
                Err(ExportError::Fatal(why)) => return Err(why),
                Err(ExportError::Again(why)) => self.put_off(at, &why),
            }
            let export = &self.exports[at];
            let head = self.recents.head(&export.stream);
            waiting += head.saturating_sub(export.examined);
        }
        self.reporter.count(|counts| counts.waiting = waiting);
        if batches.is_empty() {
            return Ok(());
        }
        let publications = batches.iter().map(|(at, batch)| {
            let Export { subject, expected, .. } = &self.exports[*at];
            let cursor = Cursor { generation: batch.generation, last: batch.last };
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
        self.reporter.warn(&format!("export of {}", export.name()), why);
    }

    /// The next batch of a stream; none if there is nothing new.
    fn next_batch(&mut self, at: usize) -> Result<Option<Batch>, ExportError> {
        if self.exports[at].published.is_none() {
            self.begin(at)?;
        }
        let export = &self.exports[at];
        let Some(published) = export.published else { return Ok(None) };
        let (stream, examined) = (export.stream.clone(), export.examined);
        let mut gathered = Gathered::default();
        let is_whole = self.recents.each_after(&stream, examined, |message| gathered.take(message));
        if !is_whole {
            gathered = Gathered::default();
            let head = self.recents.head(&stream);
            let numbers = (examined + 1, head);
            self.local.each_message(&stream, numbers, |message| gathered.take(message))?;
            if !gathered.is_full() {
                // What is missing at the end was removed from the history.
                gathered.upto = gathered.upto.max(head);
            }
        }
        let Gathered { messages, upto, .. } = gathered;
        let mut batch = Batch::new(self.exports[at].room.clone(), published);
        for message in &messages {
            let reply_to = match message.reply_to {
                None => None,
                Some(seq) => self.global_id(&stream, seq)?,
            };
            batch.messages.extend(BatchMessage::new(message, reply_to));
        }
        if batch.messages.is_empty() {
            self.exports[at].examined = upto.max(examined);
            return Ok(None);
        }
        batch.last = upto.max(examined);
        Ok(Some(batch))
    }

    /// The name by which other hosts know a message; none if it is no longer stored.
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
        let tail = self.runtime.block_on(self.carrier.tail(&subject))?;
        let newest = tail.cursor.map(position);
        let is_same = match newest {
            Some(newest) => self.is_last_same(&stream, &subject, tail.sequence, newest)?,
            None => true,
        };
        let after = match plan::continuation(&info, newest, is_same) {
            Continuation::After(after) => after,
            Continuation::NewGeneration => {
                let seq = self.common_with_carrier(&stream, &subject)?.unwrap_or(info.after.seq);
                let now_us = os::wall_us().unsigned_abs();
                let before = newest.map_or(0, |newest| newest.generation);
                let generation = now_us.max(before + 1).max(info.after.generation + 1);
                let renewed = LinkPosition { generation, seq: seq.min(info.head) };
                self.export_info(&stream, Some(renewed))?;
                self.reporter.warn(
                    &format!("export of {}", self.exports[at].name()),
                    &format!(
                        "the history of this host is not the one that was exported; continuing \
                         after message {}",
                        renewed.seq
                    ),
                );
                renewed
            }
        };
        self.recents.note_head(&stream, info.head);
        let export = &mut self.exports[at];
        export.published = Some(after);
        export.expected = tail.sequence;
        export.examined = after.seq;
        Ok(())
    }

    fn export_info(
        &mut self,
        stream: &LinkedStream,
        renew: Option<LinkPosition>,
    ) -> Result<ExportInfo, LocalError> {
        let request = LinkRequest::Export { stream: stream.clone(), renew };
        match self.local.ask(&Request::Link(request))? {
            Reply::Export(info) => Ok(info),
            other => Err(LocalError::Lost(format!("an answer that does not fit: {other:?}"))),
        }
    }

    /// Returns true unless the last exported message is another one in the history.
    fn is_last_same(
        &mut self,
        stream: &LinkedStream,
        subject: &str,
        sequence: u64,
        newest: LinkPosition,
    ) -> Result<bool, ExportError> {
        let last = self.runtime.block_on(self.carrier.last(subject));
        let last = last.map_err(|e| ExportError::Again(e.to_string()))?;
        let batch = last.filter(|last| last.sequence == sequence);
        let batch = batch.and_then(|last| Batch::read(&last.payload).ok());
        let Some(message) = batch
            .filter(|batch| batch.end() == newest)
            .and_then(|batch| batch.messages.into_iter().next_back())
        else {
            return Ok(true);
        };
        let local = self.local.message_at(stream, message.seq)?;
        Ok(local.is_none_or(|local| plan::is_same(&message, &local)))
    }

    /// Reads the whole subject; returns the number of the last message that the history has as
    /// well.
    fn common_with_carrier(
        &mut self,
        stream: &LinkedStream,
        subject: &str,
    ) -> Result<Option<u64>, ExportError> {
        let read = async {
            let Some(last) = self.carrier.last(subject).await? else { return Ok(Vec::new()) };
            let filter = Filter::Subjects(vec![subject.to_owned()]);
            let mut messages = self.carrier.consume(filter, 0).await?;
            let mut exported: Vec<BatchMessage> = Vec::new();
            while let Some(stored) = messages.next().await.transpose()? {
                if let (Some(_), Ok(batch)) = (stored.cursor, Batch::read(&stored.payload)) {
                    // What a later generation gave the same numbers to replaces it.
                    exported.retain(|message| message.seq <= batch.prev);
                    exported.extend(batch.messages);
                }
                if stored.sequence >= last.sequence {
                    break;
                }
            }
            Ok::<_, ConsumeError>(exported)
        };
        let exported = self.runtime.block_on(read)?;
        let local = &mut self.local;
        let same = plan::common(exported.len(), |at| {
            let message = local.message_at(stream, exported[at].seq)?;
            Ok::<_, LocalError>(message.is_some_and(|local| plan::is_same(&exported[at], &local)))
        })?;
        Ok(same.checked_sub(1).and_then(|at| exported.get(at)).map(|message| message.seq))
    }

    /// A publication ended.
    fn published(
        &mut self,
        at: usize,
        batch: &Batch,
        result: Result<u64, PublishError>,
    ) -> Result<(), String> {
        let export = &mut self.exports[at];
        let name = format!("export of {}", export.name());
        match result {
            Ok(sequence) => {
                export.expected = sequence;
                export.published = Some(batch.end());
                export.examined = batch.last;
                (export.retry_at, export.pause) = (None, RETRY.0);
                self.reporter.recovered(&name);
                let messages = batch.messages.len() as u64;
                self.reporter.count_of(&self.host, |counts| counts.messages += messages);
                Ok(())
            }
            Err(e @ (PublishError::WrongLast { .. } | PublishError::Unknown { .. })) => {
                match self.look_again(at, batch) {
                    Ok(()) => Ok(()),
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

    /// Finds out whether a batch was stored.
    fn look_again(&mut self, at: usize, batch: &Batch) -> Result<(), ExportError> {
        let subject = self.exports[at].subject.clone();
        let tail = self.runtime.block_on(self.carrier.tail(&subject))?;
        let newest = tail.cursor.map(position);
        let export = &mut self.exports[at];
        let published = export.published;
        if newest == Some(batch.end()) {
            export.published = newest;
            (export.expected, export.examined) = (tail.sequence, batch.last);
            let messages = batch.messages.len() as u64;
            self.reporter.count_of(&self.host, |counts| counts.messages += messages);
            return Ok(());
        }
        // One of the same generation is an earlier one of this link that arrived late.
        let generation = |at: Option<LinkPosition>| at.map_or(0, |at| at.generation);
        let is_foreign = generation(newest) > generation(published);
        if is_foreign {
            let text = format!(
                "another link publishes as {} ({subject} has a later batch than this link's own); \
                 each host needs a name of its own",
                self.host
            );
            return Err(ExportError::Fatal(text));
        }
        // The carrier lost messages, or was put back: the export begins again after what it has.
        export.published = None;
        export.expected = tail.sequence;
        self.recents.ring();
        Ok(())
    }
}

fn position(cursor: Cursor) -> LinkPosition {
    LinkPosition { generation: cursor.generation, seq: cursor.last }
}

/// Messages for a batch.
#[derive(Debug, Default)]
struct Gathered {
    messages: Vec<Message>,
    /// Number of the last message that was looked at.
    upto: u64,
    bytes: usize,
    is_full: bool,
}

impl Gathered {
    /// Takes a message; false once there are enough.
    fn take(&mut self, message: &Message) -> bool {
        if message.from.user.host().is_some() {
            self.upto = message.id.seq;
            return true;
        }
        // An estimate: most texts have little to escape.
        let bytes = self.bytes + message.text.len() * 2 + 512;
        let is_enough = self.messages.len() >= LINK_BATCH_MESSAGES_MAX
            || (bytes > LINK_BATCH_BYTES_MAX && !self.messages.is_empty());
        if is_enough {
            self.is_full = true;
            return false;
        }
        self.bytes = bytes;
        self.upto = message.id.seq;
        self.messages.push(message.clone());
        true
    }

    fn is_full(&self) -> bool {
        self.is_full
    }
}
