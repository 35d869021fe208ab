//! The importer: gives messages of other hosts to the server of this one.
//!
//! The server knows the newest message of each stream of each host, and refuses messages that leave
//! others out. So known messages are passed over. Missing ones are searched in the stream of the
//! carrier, from the first batch on that has something new; only messages that the carrier no
//! longer has become a gap.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::mpsc::Receiver};

use super::{
    batch::{self, BatchMessage, ExportBatch, PayloadError, PresenceNews},
    board::{HostBoard, PresenceAction},
    carrier::{Carrier, CarrierError, ConsumeError, Filter, Stored},
    consumer::Incoming,
    local::{LocalError, LocalSession, SessionKey},
    plan::{self, Value},
    presence,
    receipts::Receipts,
    report::Reporter,
    signals::LinkSignals,
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
    limits::{LINK_INCOMING_MAX, LINK_PART_BYTES_MAX},
    os,
};

/// First and longest pause before messages that were refused are given again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Pause before messages of a later version of moot are looked at again.
const VERSION_RETRY: Duration = Duration::from_secs(60);
/// Interval of the work that depends on time.
const TICK: Duration = Duration::from_millis(250);
/// Interval at which the server is asked whether it still has this session.
const SESSION_EVERY: Duration = Duration::from_secs(1);
/// Batches of one subject that are read again at a time, before others have their turn.
const REPLAY_BATCHES_MAX: usize = 32;
/// Batches of one subject in a row after which the rest is read again later: a host that floods its
/// rooms does not delay the others.
const IN_A_ROW_MAX: usize = 32;
/// Maximum wait for a message that the carrier should have.
const NEXT_WITHIN: Duration = Duration::from_secs(5);
/// Messages without a cursor that are passed over in a search.
const FORGED_MAX: usize = 16;

/// Stream of a host.
type ImportSource = (HostName, LinkedKey);

/// A stream of a host that is to be read again from the carrier.
#[derive(Debug, Clone, Copy)]
struct Behind {
    retry_at: Instant,
    pause: Duration,
}

/// Result of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BatchEnd {
    /// The server has its messages.
    Taken,
    /// No link wrote it: it is passed over.
    PassedOver,
    /// The batch has to be read again.
    Later,
}

/// Result of an import.
#[derive(Debug, PartialEq, Eq)]
enum ImportOutcome {
    Done,
    /// Earlier messages are missing.
    Missing,
    /// The server refused it for now.
    Later(String),
}

/// Imports from all other hosts. See the head of this file.
pub(super) struct Importer {
    host: HostName,
    link: u64,
    carrier: Carrier,
    runtime: Handle,
    local: LocalSession,
    reporter: Arc<Reporter>,
    stop: LinkSignals,
    board: HostBoard,
    receipts: Receipts,
    streams: HashMap<LinkedKey, LinkedStream>,
    incoming: Receiver<Incoming>,
    /// Newest message of each stream of each host that the server has.
    known: HashMap<ImportSource, LinkPosition>,
    /// Session of the server in which `known` was read.
    known_in: Option<SessionKey>,
    /// When the session is looked at again.
    session_at: Instant,
    behind: BTreeMap<ImportSource, Behind>,
    /// The source of the last batches, and their number.
    in_a_row: (Option<ImportSource>, usize),
    tick_at: Instant,
}

impl Importer {
    pub(super) fn new(
        (host, link): (HostName, u64),
        streams: &[LinkedStream],
        (carrier, runtime): (Carrier, Handle),
        local: LocalSession,
        (incoming, reporter, stop): (Receiver<Incoming>, Arc<Reporter>, LinkSignals),
    ) -> Self {
        let by_key = |stream: &LinkedStream| (stream.key().into(), stream.clone());
        Self {
            board: HostBoard::new(host.clone(), link),
            receipts: Receipts::new(host.clone()),
            streams: streams.iter().map(by_key).collect(),
            host,
            link,
            carrier,
            runtime,
            local,
            reporter,
            stop,
            incoming,
            known: HashMap::new(),
            known_in: None,
            session_at: Instant::now(),
            behind: BTreeMap::new(),
            in_a_row: (None, 0),
            tick_at: Instant::now(),
        }
    }

    /// Imports until the link ends.
    pub(super) fn run(mut self) {
        while !self.stop.is_set() {
            let incoming = &mut self.incoming;
            let wait = self.tick_at.saturating_duration_since(Instant::now());
            let next =
                self.runtime.block_on(async { tokio::time::timeout(wait, incoming.recv()).await });
            match next {
                Ok(Some(first)) => {
                    self.take_incoming(first);
                    // What is there comes before what is read again.
                    for _ in 1..LINK_INCOMING_MAX {
                        let Ok(next) = self.incoming.try_recv() else { break };
                        self.take_incoming(next);
                    }
                }
                Ok(None) => break,
                Err(_) => {}
            }
            let now = Instant::now();
            if now >= self.tick_at {
                self.tick_at = now + TICK;
                self.tick(now);
            }
        }
        self.local.quit();
    }

    fn take_incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Stored(stored) => self.take(&stored),
            Incoming::Presence { subject, payload } => {
                match self.board.take(&subject, &payload, &self.reporter) {
                    PresenceAction::Nothing => {}
                    PresenceAction::Answer => self.say_here(),
                    PresenceAction::End(why) => self.stop.fail(why),
                }
            }
            Incoming::Hearing => {
                if self.board.begin_claim() {
                    self.tell(PresenceNews::Hello);
                }
            }
            Incoming::Reset => {
                self.receipts.reset();
                self.stop.carrier_changed();
            }
        }
    }

    /// Answers a link of the same name, so that it ends.
    fn say_here(&self) {
        let (members, last, announces) = (Vec::new(), false, false);
        self.tell(PresenceNews::Roster { members, last, announces });
    }

    fn tell(&self, news: PresenceNews) {
        let subject = subject::of_presence(&self.host);
        let tell = presence::tell(&self.carrier, &subject, self.link, news, &self.reporter);
        self.runtime.block_on(tell);
    }

    fn tick(&mut self, now: Instant) {
        if self.board.has_claimed() {
            self.stop.set_claimed();
        }
        if now >= self.session_at {
            if let Err(e) = self.ask_known() {
                self.reporter.warn("the server of this host", &e.to_string());
                return;
            }
            self.session_at = now + SESSION_EVERY;
        }
        let due = self.behind.iter().filter(|(_, behind)| behind.retry_at <= now);
        let first = due.min_by_key(|(_, behind)| behind.retry_at);
        if let Some((source, behind)) = first.map(|(source, behind)| (source.clone(), *behind)) {
            self.replay(&source, behind);
            // The next one has its turn at once.
            self.tick_at = Instant::now();
        }
        if let Err(e) = self.board.show(&mut self.local, &self.reporter) {
            self.reporter.warn("presence of other hosts", &e.to_string());
        }
        self.receipts.publish(&mut self.local, &self.carrier, &self.runtime, &self.reporter);
    }

    /// Handles a stored message of the stream.
    fn take(&mut self, stored: &Stored) {
        match subject::read(&stored.subject) {
            Some(Subject::Messages { key, host }) if host != self.host => {
                let source = (host, key);
                if self.streams.contains_key(&source.1) && !self.behind.contains_key(&source) {
                    self.take_batch(&source, stored, false);
                    self.count_in_a_row(&source);
                }
            }
            Some(Subject::Receipt { origin, number, host }) if origin == self.host => {
                let receipt = stored.cursor.and_then(|_| batch::read(&stored.payload).ok());
                match receipt {
                    Some(receipt) => {
                        self.receipts.take(
                            &mut self.local,
                            number,
                            &host,
                            &receipt,
                            &self.reporter,
                        );
                    }
                    None => self.reporter.count_of(&host, |counts| counts.refused += 1),
                }
            }
            _ => {}
        }
    }

    /// Counts consecutive batches of one source; after many of them the others come first.
    fn count_in_a_row(&mut self, source: &ImportSource) {
        match &mut self.in_a_row {
            (Some(of), count) if of == source => *count += 1,
            row => *row = (Some(source.clone()), 1),
        }
        if self.in_a_row.1 >= IN_A_ROW_MAX {
            self.in_a_row = (None, 0);
            if !self.behind.contains_key(source) {
                self.set_behind(source, Duration::ZERO);
            }
        }
    }

    /// Imports a batch. `is_first`: the carrier has nothing before it that the server has not.
    fn take_batch(&mut self, source: &ImportSource, stored: &Stored, is_first: bool) -> BatchEnd {
        let name = format!("import of {} from {}", source.1, source.0);
        let batch = match self.read_batch(source, stored) {
            Ok(Some(batch)) => batch,
            Ok(None) => return BatchEnd::PassedOver,
            Err(e) => {
                self.reporter.warn(&name, &e.to_string());
                self.set_behind(source, VERSION_RETRY);
                return BatchEnd::Later;
            }
        };
        let pause = self.behind.get(source).map_or(RETRY.0, |behind| behind.pause);
        match self.import(source, batch, is_first) {
            Ok(ImportOutcome::Done) => {
                self.reporter.recovered(&name);
                let lag_us = os::wall_us().unsigned_abs().saturating_sub(stored.time_us);
                self.reporter.count_of(&source.0, |counts| counts.lag_us = lag_us);
                return BatchEnd::Taken;
            }
            // Nothing is wrong until it can't be found.
            Ok(ImportOutcome::Missing) if !is_first => self.set_behind(source, Duration::ZERO),
            Ok(ImportOutcome::Missing) => self.set_behind(source, pause),
            Ok(ImportOutcome::Later(why)) => {
                self.reporter.warn(&name, &why);
                self.set_behind(source, pause);
            }
            Err(e) => {
                self.reporter.warn(&name, &e.to_string());
                self.set_behind(source, pause);
            }
        }
        BatchEnd::Later
    }

    fn set_behind(&mut self, source: &ImportSource, pause: Duration) {
        let retry_at = Instant::now() + pause;
        let pause = (pause * 2).clamp(RETRY.0, RETRY.1);
        self.behind.insert(source.clone(), Behind { retry_at, pause });
    }

    /// Reads a batch; none if no link wrote it.
    fn read_batch(
        &self,
        source: &ImportSource,
        stored: &Stored,
    ) -> Result<Option<ExportBatch>, PayloadError> {
        // Without a cursor it is a reply of the carrier that was sent to this subject.
        let Some(cursor) = stored.cursor else { return Ok(self.refuse_batch(source)) };
        let batch = match ExportBatch::read(&stored.payload) {
            Ok(batch) => batch,
            Err(e @ PayloadError::Version(_)) => return Err(e),
            Err(PayloadError::Malformed(_)) => return Ok(self.refuse_batch(source)),
        };
        let key = batch.room.as_ref().map_or(LinkedStream::Announcements.key(), |room| room.key());
        let is_true =
            *key == *source.1 && (cursor.generation, cursor.last) == (batch.generation, batch.last);
        Ok(if is_true { Some(batch) } else { self.refuse_batch(source) })
    }

    fn refuse_batch(&self, source: &ImportSource) -> Option<ExportBatch> {
        self.reporter.count_of(&source.0, |counts| counts.refused += 1);
        None
    }

    /// Gives the messages of a batch to the server, in parts.
    fn import(
        &mut self,
        source: &ImportSource,
        batch: ExportBatch,
        is_first: bool,
    ) -> Result<ImportOutcome, LocalError> {
        let known = self.known.get(source).copied();
        let gap_after = is_first.then(|| known.unwrap_or_default());
        match plan::value(&batch, known) {
            Value::Known => return Ok(ImportOutcome::Done),
            Value::Missing if !is_first => return Ok(ImportOutcome::Missing),
            Value::Missing if known.is_some() => {
                self.reporter.count_of(&source.0, |counts| counts.gaps += 1);
            }
            Value::Missing | Value::Next => {}
        }
        let Some(stream) = self.streams.get(&source.1).cloned() else {
            return Ok(ImportOutcome::Done);
        };
        for (at, part) in plan::parts(batch, LINK_PART_BYTES_MAX).into_iter().enumerate() {
            let gap_after = gap_after.filter(|_| at == 0);
            let done = self.import_part(source, &stream, part, gap_after)?;
            if done != ImportOutcome::Done {
                return Ok(done);
            }
        }
        Ok(ImportOutcome::Done)
    }

    fn import_part(
        &mut self,
        source: &ImportSource,
        stream: &LinkedStream,
        part: ExportBatch,
        gap_after: Option<LinkPosition>,
    ) -> Result<ImportOutcome, LocalError> {
        let mut import = plan::import_of(&part, &source.0, stream, gap_after);
        let end = part.end();
        let mut announced = Vec::new();
        for message in part.messages {
            if let Some(notice) = &message.notice {
                let room = notice.room.as_ref();
                let is_for_here = room.is_none_or(|room| self.streams.contains_key(room.key()));
                announced.push((message.seq, is_for_here));
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
                if at != LinkPosition::default() {
                    self.known.insert(source.clone(), at);
                }
                if at < end {
                    return Ok(ImportOutcome::Missing);
                }
                self.reporter.count_of(&source.0, |counts| {
                    counts.messages += count - u64::from(refused).min(count);
                    counts.refused += u64::from(refused);
                });
                for (number, is_for_here) in announced {
                    self.receipts.follow(&source.0, number, is_for_here);
                }
                Ok(ImportOutcome::Done)
            }
            Ok(other) => Err(LocalError::unexpected(&other)),
            Err(LocalError::Refused(refusal)) => Ok(ImportOutcome::Later(refusal.text)),
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

    /// Asks the server for the newest message of each stream of each host, once in each session.
    /// Messages that an older history lacks are read again.
    fn ask_known(&mut self) -> Result<(), LocalError> {
        let session = self.local.session_key()?;
        if self.known_in == Some(session) {
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
                other => return Err(LocalError::unexpected(&other)),
            }
        }
        if self.streams.contains_key(LinkedStream::Announcements.key()) {
            self.receipts.resume(&mut self.local)?;
        }
        let before = std::mem::replace(&mut self.known, known);
        self.known_in = Some(session);
        for (source, at) in before {
            if self.known.get(&source).is_none_or(|now| *now < at) {
                self.set_behind(&source, Duration::ZERO);
            }
        }
        self.reporter.recovered("the server of this host");
        Ok(())
    }

    /// Reads a stream of a host again, from the first batch on that has something new.
    fn replay(&mut self, source: &ImportSource, behind: Behind) {
        let Some(stream) = self.streams.get(&source.1) else { return };
        let subject = subject::of_stream(stream, &source.0);
        if let Err(e) = self.replay_subject(source, &subject) {
            let name = format!("import of {} from {}", source.1, source.0);
            self.reporter.warn(&name, &e.to_string());
            self.set_behind(source, behind.pause);
        }
    }

    fn replay_subject(&mut self, source: &ImportSource, subject: &str) -> Result<(), ReplayError> {
        let last = self.runtime.block_on(self.carrier.last(subject))?;
        let known = self.known.get(source).copied();
        let (Some(last), Some(from)) = (last, self.first_new(subject, known)?) else {
            self.behind.remove(source);
            return Ok(());
        };
        let filter = Filter::Subjects(vec![subject.to_owned()]);
        let mut messages = self.runtime.block_on(self.carrier.consume(filter, from))?;
        let mut is_first = true;
        for _ in 0..REPLAY_BATCHES_MAX {
            let next = messages.next();
            let next =
                self.runtime.block_on(async { tokio::time::timeout(NEXT_WITHIN, next).await });
            let Ok(next) = next else { return Err(ReplayError::Silent) };
            let Some(stored) = next.transpose()? else { break };
            match self.take_batch(source, &stored, is_first) {
                BatchEnd::Taken => is_first = false,
                BatchEnd::PassedOver => {}
                BatchEnd::Later => return Ok(()),
            }
            if stored.sequence >= last.sequence {
                self.behind.remove(source);
                return Ok(());
            }
        }
        // The rest has its turn after others.
        self.set_behind(source, Duration::ZERO);
        Ok(())
    }

    /// Returns the sequence of the first batch on a subject that has something new; none if there
    /// is none. Cursors on a subject rise.
    fn first_new(
        &self,
        subject: &str,
        known: Option<LinkPosition>,
    ) -> Result<Option<u64>, ReplayError> {
        let Some(first) = self.first_from(subject, 1)? else { return Ok(None) };
        let Some(known) = known else { return Ok(Some(first.sequence)) };
        let Some(last) = self.runtime.block_on(self.carrier.last(subject))? else {
            return Ok(None);
        };
        let is_new = |stored: &Stored| {
            stored.cursor.is_some_and(|cursor| {
                LinkPosition { generation: cursor.generation, seq: cursor.last } > known
            })
        };
        // The first that is new is in the range.
        let (mut from, mut to) = (first.sequence, last.sequence + 1);
        let mut found = None;
        while from < to {
            let middle = from + (to - from) / 2;
            match self.first_from(subject, middle)? {
                Some(stored) if stored.sequence < to && !is_new(&stored) => {
                    from = stored.sequence + 1;
                }
                Some(stored) => {
                    if is_new(&stored) {
                        found = Some(stored.sequence);
                    }
                    to = middle;
                }
                None => to = middle,
            }
        }
        Ok(found)
    }

    /// Returns the first batch on a subject from a sequence on; skips messages that no link wrote.
    fn first_from(&self, subject: &str, mut from: u64) -> Result<Option<Stored>, ReplayError> {
        for _ in 0..FORGED_MAX {
            match self.runtime.block_on(self.carrier.first_from(subject, from))? {
                Some(stored) if stored.cursor.is_none() => from = stored.sequence + 1,
                found => return Ok(found),
            }
        }
        Ok(None)
    }
}

/// Reason why a subject could not be read again.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    #[error("the carrier does not deliver what it has")]
    Silent,
}
