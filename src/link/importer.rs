//! The importer: gives messages of other hosts to the server of this one.
//!
//! The server knows the newest message of each stream of each host, and takes nothing that leaves
//! something out. So whatever is read again is passed over, and what is missing is looked for from
//! the beginning of its subject; only what the carrier no longer has becomes a gap.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::mpsc::Receiver};

use super::{
    batch::{self, Batch, BatchMessage, PayloadError},
    board::Board,
    carrier::{Carrier, CarrierError, ConsumeError, Filter, Stored},
    consumer::Incoming,
    local::{Local, LocalError},
    plan::{self, Value},
    receipts::Receipts,
    report::Reporter,
    run::Stop,
    subject::{self, Subject},
};
use crate::{
    chat::{
        linked::{ImportedMessage, LinkPosition, LinkRequest, LinkedKey, LinkedStream},
        names::HostName,
        refusal::RefusalCode,
        reply::Reply,
        request::Request,
    },
    limits::LINK_PART_BYTES_MAX,
    os,
};

/// First and longest pause before messages that were refused are given again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Pause before messages of a later version of moot are looked at again.
const VERSION_RETRY: Duration = Duration::from_secs(60);
/// Interval in which nothing may happen at all.
const TICK: Duration = Duration::from_millis(500);
/// Batches of one subject that are read again at a time, before others have their turn.
const REPLAY_BATCHES_MAX: usize = 256;

/// Stream of a host.
type Source = (HostName, LinkedKey);

/// A stream of a host that is read again from the carrier.
#[derive(Debug, Clone, Copy)]
struct Behind {
    /// Sequence of the carrier from which on it is read; 0: from the beginning.
    from: u64,
    retry_at: Instant,
    pause: Duration,
}

/// Result of an import.
#[derive(Debug, PartialEq, Eq)]
enum Imported {
    Done,
    /// Earlier messages are missing.
    Missing,
    /// The server refused it for now.
    Later(String),
}

/// See the head of this file.
pub(super) struct Importer {
    pub(super) host: HostName,
    pub(super) carrier: Carrier,
    pub(super) runtime: Handle,
    pub(super) local: Local,
    pub(super) reporter: Arc<Reporter>,
    pub(super) stop: Stop,
    pub(super) board: Board,
    pub(super) receipts: Receipts,
    streams: HashMap<LinkedKey, LinkedStream>,
    incoming: Receiver<Incoming>,
    /// Newest message of each stream of each host that the server has.
    known: HashMap<Source, LinkPosition>,
    is_known_asked: bool,
    behind: BTreeMap<Source, Behind>,
}

impl Importer {
    pub(super) fn new(
        host: HostName,
        streams: Vec<LinkedStream>,
        (carrier, runtime): (Carrier, Handle),
        local: Local,
        (incoming, reporter, stop): (Receiver<Incoming>, Arc<Reporter>, Stop),
        board: Board,
    ) -> Self {
        let streams = streams.into_iter().map(|stream| (stream.key().into(), stream)).collect();
        let receipts = Receipts::new(host.clone());
        Self {
            host,
            carrier,
            runtime,
            local,
            reporter,
            stop,
            board,
            receipts,
            streams,
            incoming,
            known: HashMap::new(),
            is_known_asked: false,
            behind: BTreeMap::new(),
        }
    }

    /// Imports until the link ends.
    pub(super) fn run(mut self) {
        while !self.stop.is_set() {
            let incoming = &mut self.incoming;
            let next =
                self.runtime.block_on(async { tokio::time::timeout(TICK, incoming.recv()).await });
            match next {
                Ok(Some(Incoming::Stored(stored))) => self.take(&stored),
                Ok(Some(Incoming::Presence { subject, payload })) => {
                    if let Some(why) = self.board.take(&subject, &payload, &self.reporter) {
                        self.stop.fail(why);
                    }
                }
                Ok(Some(Incoming::Reset)) => {
                    // Sequences of the stream that was read before.
                    self.behind.values_mut().for_each(|behind| behind.from = 0);
                    self.receipts.reset();
                }
                Ok(None) => break,
                Err(_) => {}
            }
            self.tick();
        }
        self.local.quit();
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let due = self.behind.iter().find(|(_, behind)| behind.retry_at <= now);
        if let Some((source, behind)) = due.map(|(source, behind)| (source.clone(), *behind)) {
            self.replay(&source, behind);
        }
        if let Err(e) = self.board.show(&mut self.local, &self.reporter) {
            self.reporter.warn("presence of other hosts", &e.to_string());
        }
        self.receipts.publish(&mut self.local, &self.carrier, &self.runtime, &self.reporter);
    }

    /// Takes a stored message of the stream.
    fn take(&mut self, stored: &Stored) {
        match subject::read(&stored.subject) {
            Some(Subject::Messages { key, host }) if host != self.host => {
                let source = (host, key);
                if self.streams.contains_key(&source.1) && !self.behind.contains_key(&source) {
                    self.take_batch(&source, stored, false);
                }
            }
            Some(Subject::Receipt { origin, number, host }) if origin == self.host => {
                let receipt = stored.cursor.and_then(|_| batch::read(&stored.payload).ok());
                match receipt {
                    Some(receipt) => {
                        self.receipts.take(&mut self.local, number, host, &receipt, &self.reporter);
                    }
                    None => self.reporter.count_of(&host, |counts| counts.refused += 1),
                }
            }
            _ => {}
        }
    }

    /// Imports a batch; true if it is done with. `has_gap`: what is missing before it can't be had.
    fn take_batch(&mut self, source: &Source, stored: &Stored, has_gap: bool) -> bool {
        let name = format!("import of {} from {}", source.1, source.0);
        let batch = match self.read_batch(source, stored) {
            Ok(Some(batch)) => batch,
            Ok(None) => return true,
            Err(e) => {
                self.reporter.warn(&name, &e.to_string());
                let pause = VERSION_RETRY;
                let retry_at = Instant::now() + pause;
                let behind = Behind { from: stored.sequence, retry_at, pause };
                self.behind.insert(source.clone(), behind);
                return false;
            }
        };
        match self.import(source, batch, has_gap) {
            Ok(Imported::Done) => {
                self.reporter.recovered(&name);
                let lag_us = os::wall_us().unsigned_abs().saturating_sub(stored.time_us);
                self.reporter.count_of(&source.0, |counts| counts.lag_us = lag_us);
                true
            }
            Ok(Imported::Missing) => {
                // Nothing is wrong until it can't be found.
                self.set_behind(source, 0, Duration::ZERO);
                false
            }
            Ok(Imported::Later(why)) => {
                self.reporter.warn(&name, &why);
                let pause = self.behind.get(source).map_or(RETRY.0, |behind| behind.pause);
                self.set_behind(source, stored.sequence, pause);
                false
            }
            Err(e) => {
                self.reporter.warn(&name, &e.to_string());
                // The server may have ended before it stored what it was given.
                self.is_known_asked = false;
                self.set_behind(source, stored.sequence, RETRY.0);
                false
            }
        }
    }

    fn set_behind(&mut self, source: &Source, from: u64, pause: Duration) {
        let retry_at = Instant::now() + pause;
        let pause = (pause * 2).clamp(RETRY.0, RETRY.1);
        self.behind.insert(source.clone(), Behind { from, retry_at, pause });
    }

    /// Reads a batch; none if no link wrote it.
    fn read_batch(&self, source: &Source, stored: &Stored) -> Result<Option<Batch>, PayloadError> {
        // Without a cursor it is a reply of the carrier that was sent to this subject.
        let Some(cursor) = stored.cursor else { return Ok(self.refuse_batch(source)) };
        let batch = match Batch::read(&stored.payload) {
            Ok(batch) => batch,
            Err(e @ PayloadError::Version(_)) => return Err(e),
            Err(PayloadError::Malformed(_)) => return Ok(self.refuse_batch(source)),
        };
        let key = batch.room.as_ref().map_or(LinkedStream::Announcements.key(), |room| room.key());
        let is_true =
            *key == *source.1 && (cursor.generation, cursor.last) == (batch.generation, batch.last);
        Ok(if is_true { Some(batch) } else { self.refuse_batch(source) })
    }

    fn refuse_batch(&self, source: &Source) -> Option<Batch> {
        self.reporter.count_of(&source.0, |counts| counts.refused += 1);
        None
    }

    /// Gives the messages of a batch to the server, in parts.
    fn import(
        &mut self,
        source: &Source,
        batch: Batch,
        has_gap: bool,
    ) -> Result<Imported, LocalError> {
        self.ask_known()?;
        match plan::value(&batch, self.known.get(source).copied()) {
            Value::Known => return Ok(Imported::Done),
            Value::Missing if !has_gap => return Ok(Imported::Missing),
            Value::Missing => self.reporter.count_of(&source.0, |counts| counts.gaps += 1),
            Value::Next => {}
        }
        let Some(stream) = self.streams.get(&source.1).cloned() else { return Ok(Imported::Done) };
        for (at, part) in plan::parts(batch, LINK_PART_BYTES_MAX).into_iter().enumerate() {
            let done = self.import_part(source, &stream, part, has_gap && at == 0)?;
            if done != Imported::Done {
                return Ok(done);
            }
        }
        Ok(Imported::Done)
    }

    fn import_part(
        &mut self,
        source: &Source,
        stream: &LinkedStream,
        part: Batch,
        has_gap: bool,
    ) -> Result<Imported, LocalError> {
        let mut import = plan::import_of(&part, &source.0, stream, has_gap);
        let end = part.end();
        let mut announced = Vec::new();
        for message in part.messages {
            if message.notice.is_some() {
                announced.push(message.seq);
            }
            let message = self.imported_message(stream, message)?;
            import.messages.push(message);
        }
        let count = import.messages.len() as u64;
        let asked = self.local.ask(&Request::Link(LinkRequest::Import(import.clone())));
        let reply = match asked {
            Err(LocalError::Refused(refusal)) if refusal.code == RefusalCode::Input => {
                // No server will ever take these: they are passed over, and counted.
                self.reporter.count_of(&source.0, |counts| counts.refused += count);
                import.messages.clear();
                self.local.ask(&Request::Link(LinkRequest::Import(import)))
            }
            other => other,
        };
        match reply {
            Ok(Reply::Imported { at, refused }) => {
                self.known.insert(source.clone(), at);
                if at < end {
                    return Ok(Imported::Missing);
                }
                self.reporter.count_of(&source.0, |counts| {
                    counts.messages += count - u64::from(refused).min(count);
                    counts.refused += u64::from(refused);
                });
                announced.into_iter().for_each(|number| self.receipts.follow(&source.0, number));
                Ok(Imported::Done)
            }
            Ok(other) => Err(LocalError::Lost(format!("an answer that does not fit: {other:?}"))),
            Err(LocalError::Refused(refusal)) => Ok(Imported::Later(refusal.text)),
            Err(e) => Err(e),
        }
    }

    fn imported_message(
        &mut self,
        stream: &LinkedStream,
        message: BatchMessage,
    ) -> Result<ImportedMessage, LocalError> {
        let BatchMessage { seq, user, label, kind, time_us, reply_to, notice, text } = message;
        let reply_to = match (reply_to, stream) {
            (Some(to), _) if to.host == self.host => Some(to.seq),
            (Some(to), LinkedStream::Room(_)) => {
                let find = LinkRequest::Find { stream: stream.clone(), host: to.host, seq: to.seq };
                match self.local.ask(&Request::Link(find)) {
                    Ok(Reply::Number(number)) => Some(number).filter(|number| *number > 0),
                    Ok(_) | Err(LocalError::Refused(_)) => None,
                    Err(e) => return Err(e),
                }
            }
            _ => None,
        };
        let notice = notice.map(Into::into);
        Ok(ImportedMessage { seq, user, label, kind, wall_us: time_us, reply_to, notice, text })
    }

    /// Asks the server for the newest message of each stream of each host, once a session.
    fn ask_known(&mut self) -> Result<(), LocalError> {
        if self.is_known_asked {
            return Ok(());
        }
        let mut known = HashMap::new();
        loop {
            let skip = u32::try_from(known.len()).unwrap_or(u32::MAX);
            match self.local.ask(&Request::Link(LinkRequest::Imports { skip }))? {
                Reply::Imports { imports, more } => {
                    known.extend(imports.into_iter().map(|of| ((of.host, of.stream), of.at)));
                    if !more {
                        break;
                    }
                }
                other => {
                    let text = format!("an answer that does not fit: {other:?}");
                    return Err(LocalError::Lost(text));
                }
            }
        }
        if self.streams.contains_key(LinkedStream::Announcements.key()) {
            self.receipts.resume(&mut self.local)?;
        }
        self.known = known;
        self.is_known_asked = true;
        Ok(())
    }

    /// Reads a stream of a host again, from where it is behind.
    fn replay(&mut self, source: &Source, behind: Behind) {
        let Some(stream) = self.streams.get(&source.1) else { return };
        let subject = subject::of_stream(stream, &source.0);
        match self.replay_subject(source, &subject, behind) {
            Ok(()) => {}
            Err(e) => {
                let name = format!("import of {} from {}", source.1, source.0);
                self.reporter.warn(&name, &e.to_string());
                // A stream that was replaced has other sequences.
                let from = if e.is_of_stream() { 0 } else { behind.from };
                self.set_behind(source, from, behind.pause);
            }
        }
    }

    fn replay_subject(
        &mut self,
        source: &Source,
        subject: &str,
        behind: Behind,
    ) -> Result<(), ReplayError> {
        let Some(last) = self.runtime.block_on(self.carrier.last(subject))? else {
            self.behind.remove(source);
            return Ok(());
        };
        if behind.from > last.sequence {
            self.behind.remove(source);
            return Ok(());
        }
        let filter = Filter::Subjects(vec![subject.to_owned()]);
        let mut messages = self.runtime.block_on(self.carrier.consume(filter, behind.from))?;
        for _ in 0..REPLAY_BATCHES_MAX {
            let Some(stored) = self.runtime.block_on(messages.next()).transpose()? else { break };
            // From the beginning of the subject on, nothing that is missing will come.
            let is_done = self.take_batch(source, &stored, behind.from == 0);
            if !is_done {
                return Ok(());
            }
            if stored.sequence >= last.sequence {
                self.behind.remove(source);
                return Ok(());
            }
            if let Some(behind) = self.behind.get_mut(source).filter(|behind| behind.from > 0) {
                behind.from = stored.sequence + 1;
            }
        }
        // The rest has its turn after others.
        if let Some(behind) = self.behind.get_mut(source) {
            behind.retry_at = Instant::now();
        }
        Ok(())
    }
}

/// Why a subject could not be read again.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    #[error(transparent)]
    Consume(#[from] ConsumeError),
}

impl ReplayError {
    /// Returns true if the stream is another one than before.
    fn is_of_stream(&self) -> bool {
        match self {
            Self::Carrier(_) | Self::Consume(ConsumeError::Carrier(_)) => false,
            Self::Consume(_) => true,
        }
    }
}
