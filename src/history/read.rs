//! Reading: what a server begins with, ranges of a stream as bodies, the number at a time.

use std::{
    cell::Cell,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::{
    damage::{one_by_one, pass_over},
    index, search,
};
use crate::{
    chat::{
        names::{HostName, Label, RoomName},
        store::{SearchQuestion, StreamKey},
        stream_id::StreamId,
        text::mentions,
    },
    faults::{Fault, planted},
    history::{
        error::HistoryError,
        rows::{Encoder, Found, MESSAGES},
        schema::key_of,
        search::Hit,
        stats::Shared,
    },
    limits::{QUESTION_MS_MAX, READERS_MAX, UNREAD_LOOKS_MAX, UNREAD_MAX},
};

/// Steps of SQLite between looks at the clock: about a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 20_000;

/// Answers questions, over connections that only read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    pub(super) shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn new(path: PathBuf, shared: Arc<Shared>) -> Self {
        Self { path, idle: Mutex::new(Vec::new()), shared }
    }

    /// Begins a question.
    #[must_use]
    pub fn query(&self) -> Query<'_> {
        self.query_within(Duration::from_millis(QUESTION_MS_MAX))
    }

    pub(super) fn query_within(&self, time: Duration) -> Query<'_> {
        let looks = Cell::new(UNREAD_LOOKS_MAX);
        Query { reader: self, until: Instant::now() + time, looks }
    }
}

/// One question: in however many streams it looks, it has one deadline and one number of looks.
#[derive(Debug)]
pub struct Query<'a> {
    reader: &'a Reader,
    until: Instant,
    /// Messages that may still be looked at to count them.
    pub(super) looks: Cell<u64>,
}

impl Query<'_> {
    /// Asks, and gives up at the deadline: no question may keep a thread forever, nor old pages
    /// from being written over.
    pub(super) fn with<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, HistoryError> {
        let Reader { path, idle, .. } = self.reader;
        let idle = || idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let failed = |e| HistoryError::of(path, e);
        let until = match planted(Fault::DeadlinePerStream) {
            true => Instant::now() + Duration::from_millis(QUESTION_MS_MAX),
            false => self.until,
        };
        if Instant::now() >= until {
            return Err(HistoryError::Slow);
        }
        let kept = idle().pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                Connection::open_with_flags(path, flags).map_err(failed)?
            }
        };
        let left = until.saturating_duration_since(Instant::now());
        connection.busy_timeout(left).map_err(failed)?;
        connection
            .progress_handler(STEPS_BETWEEN_LOOKS, Some(move || Instant::now() >= until))
            .map_err(failed)?;
        let answer = ask(&connection).map_err(failed);
        let mut idle = idle();
        if idle.len() < READERS_MAX {
            idle.push(connection);
        }
        answer
    }

    /// Messages `first` to `last` of a stream, as many as fit into about `bytes_max`. Announcements
    /// for other rooms than these are withheld. A message that can't be read costs no other.
    ///
    /// # Errors
    /// From the database, if nothing could be read.
    pub fn fetch(
        &self,
        stream: &StreamKey,
        tag: StreamId,
        (first, last): (u64, u64),
        headroom: usize,
        bytes_max: usize,
        rooms: Option<&[RoomName]>,
    ) -> Result<Found, HistoryError> {
        self.with(|connection| {
            // One snapshot: what retention removes meanwhile is not taken for damage.
            let snapshot = connection.unchecked_transaction()?;
            let Some((id, oldest, _)) = stream_of(&snapshot, stream)? else {
                return Ok(Found { upto: last, oldest: u64::MAX, ..Found::default() });
            };
            let mut encoder = Encoder::new(tag, headroom, rooms);
            let begin = first.max(oldest).cast_signed();
            let mut next = begin;
            let sql =
                format!("{MESSAGES} WHERE stream = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq");
            let mut statement = snapshot.prepare_cached(&sql)?;
            let read = |next: &mut i64, last: i64| {
                let mut rows = statement.query(params![id, *next, last])?;
                while encoder.bytes() < bytes_max {
                    let Some(row) = rows.next()? else {
                        *next = last.saturating_add(1).max(*next);
                        break;
                    };
                    *next = row.get(0)?;
                    encoder.push(row)?;
                    *next += 1;
                }
                Ok(())
            };
            let damage = &self.reader.shared.damage;
            match pass_over(damage, &mut next, last.cast_signed(), read, one_by_one) {
                Err(e) if next == begin => return Err(e),
                // What was read until now is given.
                Ok(()) | Err(_) => {}
            }
            let upto = (next - 1).cast_unsigned();
            Ok(Found { upto: upto.max(first), oldest, ..encoder.finish() })
        })
    }

    /// Oldest number of a stream that is kept.
    ///
    /// # Errors
    /// From the database.
    pub fn oldest(&self, stream: &StreamKey) -> Result<Option<u64>, HistoryError> {
        self.with(|connection| Ok(stream_of(connection, stream)?.map(|(_, oldest, _)| oldest)))
    }

    /// First number of a stream from which on no message has an earlier time; one after the newest
    /// if that has. Where a clock was set back that is after the last message of an earlier time,
    /// whatever the question.
    ///
    /// # Errors
    /// From the database.
    pub fn number_at(&self, stream: &StreamKey, wall_us: i64) -> Result<u64, HistoryError> {
        self.with(|connection| {
            let Some((id, oldest, head)) = stream_of(connection, stream)? else { return Ok(1) };
            let sql = "SELECT seq, ts FROM messages
                       WHERE stream = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq DESC";
            let mut statement = connection.prepare_cached(sql)?;
            let mut number = oldest;
            // Only the rows up to the answer are read. (Halving the range would need times that
            // rise.)
            let (mut next, last) = (-head.cast_signed(), -oldest.cast_signed());
            while next <= last && number == oldest {
                let read = |next: &mut i64, last: i64| {
                    let mut rows = statement.query(params![id, -last, -*next])?;
                    while let Some(row) = rows.next()? {
                        *next = -row.get::<_, i64>(0)?;
                        if row.get::<_, i64>(1)? < wall_us {
                            number = (1 - *next).cast_unsigned();
                            return Ok(());
                        }
                        *next += 1;
                    }
                    *next = last + 1;
                    Ok(())
                };
                pass_over(&self.reader.shared.damage, &mut next, last, read, one_by_one)?;
            }
            Ok(number)
        })
    }

    /// Number of a message of a linked host here; 0 if it is not here.
    ///
    /// # Errors
    /// From the database.
    pub fn number_of_origin(
        &self,
        stream: &StreamKey,
        host: &HostName,
        seq: u64,
    ) -> Result<u64, HistoryError> {
        self.with(|connection| {
            let Some((id, ..)) = stream_of(connection, stream)? else { return Ok(0) };
            // Of several generations, the newest. Users of few hosts have the number.
            let sql = "SELECT m.seq, s.user FROM messages m JOIN senders s ON s.id = m.sender
                       WHERE m.stream = ?1 AND m.origin = ?2 ORDER BY m.seq DESC";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![id, seq.cast_signed()])?;
            while let Some(row) = rows.next()? {
                let of = row.get_ref(1)?.as_str()?.rsplit_once('@').map(|(_, host)| host);
                if of == Some(host.as_str()) {
                    return row.get(0);
                }
            }
            Ok(0)
        })
    }

    /// Counts messages after a number that are unread for a handle, and those of them that mention
    /// its user, up to a bound. The rest counts by its numbers, own messages with others, after
    /// many looks or at the deadline.
    ///
    /// # Errors
    /// From the database, if nothing could be read.
    pub fn unread(
        &self,
        stream: &StreamKey,
        after: u64,
        (uid, label): (u32, Option<&Label>),
        user: &str,
    ) -> Result<(u64, u64), HistoryError> {
        self.with(|connection| {
            let Some((id, oldest, head)) = stream_of(connection, stream)? else {
                return Ok((0, 0));
            };
            let sql = "SELECT m.text, s.uid, s.label, m.to_label, m.seq
                       FROM messages m JOIN senders s ON s.id = m.sender
                       WHERE m.stream = ? AND m.seq >= ? ORDER BY m.seq";
            let after = after + u64::from(planted(Fault::UnreadOneTooFew));
            let mut next = oldest.max(after + 1).cast_signed();
            let mut statement = connection.prepare_cached(sql)?;
            let (unread, mut mentioned) = (Cell::new(0), 0);
            let mut read = |next: &mut i64, last: i64| {
                let mut rows = statement.query(params![id, *next])?;
                while unread.get() < UNREAD_MAX && self.looks.get() > 0 {
                    let Some(row) = rows.next()? else {
                        *next = last + 1;
                        break;
                    };
                    *next = row.get(4)?;
                    self.looks.set(self.looks.get() - 1);
                    let name = |at| -> rusqlite::Result<Option<Label>> {
                        let name: Option<String> = row.get(at)?;
                        Ok(name.and_then(|name| Label::existing(&name).ok()))
                    };
                    let from = (row.get(1)?, name(2)?);
                    let to = name(3)?;
                    if stream.counts((from.0, from.1.as_ref()), to.as_ref(), (uid, label)) {
                        mentioned += u64::from(mentions(row.get_ref(0)?.as_str()?, user));
                        unread.set(unread.get() + 1);
                    }
                    *next += 1;
                }
                Ok(())
            };
            let (damage, last) = (&self.reader.shared.damage, head.cast_signed());
            while next <= last && unread.get() < UNREAD_MAX && self.looks.get() > 0 {
                // An error ends the counting as its bounds do.
                if pass_over(damage, &mut next, last, &mut read, one_by_one).is_err() {
                    break;
                }
            }
            let rest = (last + 1 - next).max(0).cast_unsigned();
            Ok(((unread.get() + rest).min(UNREAD_MAX), mentioned))
        })
    }

    /// The newest messages that have all words of a query, oldest first.
    ///
    /// # Errors
    /// From the database.
    pub fn search(&self, query: &SearchQuestion) -> Result<Vec<Hit>, HistoryError> {
        let Reader { path, shared, .. } = self.reader;
        let index = index::path_of(path);
        self.with(|connection| search::search(connection, query, &index, shared))
    }
}

/// Row, oldest and newest number of a stream.
fn stream_of(
    connection: &Connection,
    stream: &StreamKey,
) -> rusqlite::Result<Option<(i64, u64, u64)>> {
    let (kind, key) = key_of(stream);
    let sql = "SELECT id, first, head FROM streams WHERE kind = ? AND key = ? AND gone = 0";
    let of = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    connection.prepare_cached(sql)?.query_row(params![kind, key], of).optional()
}
