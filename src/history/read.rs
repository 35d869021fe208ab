//! Reading: what a server begins with, ranges of a stream as bodies, the number at a time.

use std::{
    cell::Cell,
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::{
    damage::{one_by_one, pass_over},
    index,
    schema::{FLOOR, FORGOTTEN, KIND_ANNOUNCEMENTS, KIND_CONVERSATION, KIND_ROOM, PRESENT, fact},
    search,
};
use crate::{
    chat::{
        announcement::{NoticeState, Receipt},
        batch::{Builder, Draft},
        member::{EndCause, Kind, Level, Member, SessionId},
        message::{Notice, NoticeId},
        names::{Label, RoomName, UserName},
        rules::{Role, RoomRules},
        store::{
            Audit, GoneRoom, Restored, RestoredConversation, RestoredRoom, RestoredSubmits,
            SearchQuestion, Span, StreamKey,
        },
        stream_id::{RoomId, StreamTag},
        text::mentions,
    },
    faults::{Fault, planted},
    history::{error::HistoryError, search::Hit, stats::Shared, transaction::key_of},
    limits::{ENDED_INSTANCE_RUNS_MAX, QUESTION_MS_MAX, READERS_MAX, UNREAD_LOOKS_MAX, UNREAD_MAX},
};

/// What a server begins with: everything of the last run that goes on.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Rooms, conversations, follows, submits.
    pub restored: Restored,
    /// Rises whenever an older database was put back: numbers seen since then may come again.
    pub epoch: u32,
}

/// A part of a stream.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Encoded bodies, each with `headroom` free bytes before it.
    pub bodies: Vec<Vec<u8>>,
    /// First number that is there; later than asked for if older ones are gone.
    pub first: u64,
    /// Last number that is there; 0 if nothing is.
    pub last: u64,
    /// Last number that was looked for: what is not there up to it will not come.
    pub upto: u64,
    /// Oldest number that is kept: what is missing above it is damaged.
    pub oldest: u64,
}

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
    /// Asks, and gives up at the deadline: no question may keep a thread forever, nor old pages from being
    /// written over.
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

    /// Messages `first` to `last` of a stream, as many as fit into about `bytes_max`. Announcements for other
    /// rooms than these are withheld. A message that can't be read costs no other.
    ///
    /// # Errors
    /// From the database, if nothing could be read.
    pub fn fetch(
        &self,
        stream: &StreamKey,
        tag: StreamTag,
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

    /// First number of a stream from which on no message has an earlier time; one after the newest if that has.
    /// Where a clock was set back that is after the last message of an earlier time, whatever the question.
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
            // No more is looked at than the answer leads to. (Halving the range would need times that rise.)
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

    /// Counts messages after a number that are unread for a handle, and those of them that mention its user, up
    /// to a bound. The rest counts by its numbers, own messages with others, after many looks or at the deadline.
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

/// Columns that [`Encoder::push`] reads, in its order.
pub(super) const MESSAGES: &str =
    "SELECT m.seq, m.ts, m.sender, m.reply_to, m.to_label, m.notice, m.text,
    s.session, s.uid, s.pid, s.kind, s.user, s.label, m.stream, m.id, m.will
    FROM messages m JOIN senders s ON s.id = m.sender";

/// Rows into bodies.
pub(super) struct Encoder<'a> {
    /// Of announcements: those for other rooms are withheld.
    rooms: Option<&'a [RoomName]>,
    tag: StreamTag,
    headroom: usize,
    builder: Builder,
    /// Which row of `senders` a session number stands for in the present body: other runs of the
    /// server had the same numbers.
    senders: HashMap<SessionId, i64>,
    found: Found,
    bytes: usize,
    next: u64,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(tag: StreamTag, headroom: usize, rooms: Option<&'a [RoomName]>) -> Self {
        Self {
            rooms,
            tag,
            headroom,
            builder: Builder::default(),
            senders: HashMap::new(),
            found: Found::default(),
            bytes: 0,
            next: 0,
        }
    }

    fn bytes(&self) -> usize {
        self.bytes + self.builder.bytes().len()
    }

    pub(super) fn push(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let seq: u64 = row.get(0)?;
        let sender: i64 = row.get(2)?;
        let from = member_of(row)?;
        let to_label: Option<String> = row.get(4)?;
        let to_label = to_label.and_then(|label| Label::existing(&label).ok());
        let notice = row.get_ref(5)?.as_blob_or_null()?.and_then(unpack_notice);
        let text = row.get_ref(6)?.as_str()?;
        // What is for other rooms keeps its number, and nothing of it is told.
        // (Nothing is left of what was for a room that was deleted.)
        let hidden = self.rooms.is_some_and(|of| match &notice {
            None => true,
            Some(notice) => notice.room.as_ref().is_some_and(|room| !of.contains(room)),
        });
        let (from, notice) = if hidden { (Member::nobody(), None) } else { (from, notice) };
        let sender = if hidden { -1 } else { sender };
        if self.builder.count() == 0 || seq != self.next {
            self.end_body();
            self.begin_body(seq);
        }
        loop {
            if self.senders.get(&from.session).is_some_and(|known| *known != sender) {
                self.builder.retire(from.session);
            }
            let draft = Draft {
                from: &from,
                wall_us: row.get(1)?,
                reply_to: row.get(3)?,
                to_label: to_label.as_ref(),
                notice: notice.as_ref(),
                will: row.get::<_, Option<u8>>(15)?.map(EndCause::of_number),
                withheld: false,
                text,
            };
            let draft = if hidden { Draft { withheld: true, ..draft } } else { draft };
            if self.builder.push(self.headroom, &draft) {
                break;
            }
            self.end_body();
            self.begin_body(seq);
        }
        self.senders.insert(from.session, sender);
        self.next = seq + 1;
        if self.found.first == 0 {
            self.found.first = seq;
        }
        self.found.last = seq;
        Ok(())
    }

    fn begin_body(&mut self, first: u64) {
        self.builder.begin(self.headroom, self.tag, first);
        self.senders.clear();
    }

    fn end_body(&mut self) {
        if self.builder.count() > 0 {
            self.bytes += self.builder.bytes().len();
            self.found.bodies.push(self.builder.bytes().to_vec());
        }
    }

    pub(super) fn finish(mut self) -> Found {
        self.end_body();
        self.found
    }
}

fn member_of(row: &Row<'_>) -> rusqlite::Result<Member> {
    let user: String = row.get(11)?;
    let uid = row.get(8)?;
    let label: Option<String> = row.get(12)?;
    Ok(Member {
        session: SessionId(row.get(7)?),
        uid,
        pid: row.get(9)?,
        kind: Kind::of_number(row.get(10)?),
        user: UserName::new(&user).unwrap_or_else(|_| UserName::of_uid(uid)),
        label: label.and_then(|label| Label::existing(&label).ok()),
    })
}

/// `level, flags, expires, room` of an announcement, for one column.
pub(super) fn pack_notice(notice: &Notice) -> Vec<u8> {
    let mut bytes = vec![notice.level.number()];
    bytes.push(u8::from(notice.retained) | u8::from(notice.ack) << 1);
    bytes.extend_from_slice(&notice.expires_wall_us.unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(notice.room.as_ref().map_or("", RoomName::as_str).as_bytes());
    bytes
}

fn unpack_notice(bytes: &[u8]) -> Option<Notice> {
    let (&[level, flags], rest) = bytes.split_first_chunk::<2>()?;
    let (expires, room) = rest.split_first_chunk::<8>()?;
    let expires = i64::from_le_bytes(*expires);
    Some(Notice {
        level: Level::of_number(level),
        room: std::str::from_utf8(room).ok().and_then(|room| RoomName::existing(room).ok()),
        expires_wall_us: (expires != 0).then_some(expires),
        retained: flags & 1 != 0,
        ack: flags & 2 != 0,
    })
}

/// Loads the submits that may come again, as many of each user as there is room for, the newest.
fn load_submits(
    connection: &Connection,
    keys: &HashMap<i64, StreamKey>,
    restored: &mut Restored,
) -> rusqlite::Result<()> {
    let sql = "SELECT uid, count(*) FROM submits GROUP BY uid ORDER BY count(*)";
    let mut counts = connection.prepare(sql)?;
    let counts =
        counts.query_map((), |row| Ok((row.get::<_, u32>(0)?, row.get::<_, usize>(1)?)))?;
    let counts: Vec<_> = counts.collect::<Result<_, _>>()?;
    let sql = "SELECT instance, counter, count, stream, seq, ts FROM submits
               WHERE uid = ? ORDER BY ts DESC LIMIT ?";
    let mut select = connection.prepare(sql)?;
    let mut left = ENDED_INSTANCE_RUNS_MAX;
    for (at, (uid, count)) in counts.iter().copied().enumerate() {
        // What users with fewer leave is shared by those with more.
        let most = left / (counts.len() - at);
        let from = restored.submits.len();
        let mut rows = select.query(params![uid, most])?;
        while let Some(row) = rows.next()? {
            restored.submits.push(RestoredSubmits {
                uid,
                instance: row.get(0)?,
                counter: row.get(1)?,
                count: row.get(2)?,
                stream: keys.get(&row.get(3)?).cloned(),
                seq: row.get(4)?,
                wall_us: row.get(5)?,
            });
        }
        let of_user = &mut restored.submits[from..];
        if count > most {
            let oldest_us = of_user.last().map_or(i64::MAX, |submits| submits.wall_us);
            restored.submits_cut.push((uid, oldest_us));
        }
        left -= of_user.len();
        // Oldest first, as they came.
        of_user.reverse();
    }
    Ok(())
}

/// Everything of the last run that goes on.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Loaded> {
    let mut restored = Restored { floor: fact(connection, FLOOR)?, ..Restored::default() };
    let mut keys: HashMap<i64, StreamKey> = HashMap::new();
    let sql = "SELECT id, kind, key, name, creator, history, topic, head, first, newest_us, gone,
        private, read_only, room_id FROM streams";
    let mut roles = connection.prepare("SELECT uid, role FROM roles WHERE stream = ?")?;
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let span = Span { head: row.get(7)?, first: row.get(8)?, newest_us: row.get(9)? };
        let key = match row.get(1)? {
            KIND_ROOM => {
                let name: String = row.get(3)?;
                // Names were checked before they were written; what else stands there is left alone.
                let Ok(name) = RoomName::existing(&name) else { continue };
                let creator_uid = u32::try_from(row.get::<_, i64>(4)?).unwrap_or(u32::MAX);
                match row.get(10)? {
                    PRESENT => {}
                    FORGOTTEN => continue,
                    _ => {
                        keys.insert(row.get(0)?, StreamKey::Room(name.clone()));
                        let (private, head) = (row.get(11)?, span.head);
                        restored.gone_rooms.push(GoneRoom { name, creator_uid, private, head });
                        continue;
                    }
                }
                let (history, topic) = (row.get(5)?, row.get(6)?);
                let name_of = name.clone();
                let mut rules = RoomRules::new(row.get(11)?, row.get(12)?);
                let mut found = roles.query([row.get::<_, i64>(0)?])?;
                while let Some(role) = found.next()? {
                    if let Some(of) = Role::of_number(role.get(1)?) {
                        rules.set(role.get(0)?, of, true);
                    }
                }
                restored.rooms.push(RestoredRoom {
                    name,
                    id: RoomId(row.get::<_, i64>(13)?.cast_unsigned()),
                    creator_uid,
                    history,
                    topic,
                    rules,
                    span,
                });
                StreamKey::Room(name_of)
            }
            KIND_CONVERSATION => {
                let key: String = row.get(2)?;
                let pair = key.split_once(' ');
                let pair =
                    pair.and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
                let Some((low, high)) = pair else { continue };
                let begun_by = u32::try_from(row.get::<_, i64>(4)?).ok();
                let users = (low, high);
                restored.conversations.push(RestoredConversation { users, begun_by, span });
                StreamKey::Conversation(low, high)
            }
            KIND_ANNOUNCEMENTS => {
                restored.announcements = span;
                StreamKey::Announcements
            }
            _ => continue,
        };
        keys.insert(row.get(0)?, key);
    }
    let mut statement =
        connection.prepare("SELECT uid, user, max(id) FROM senders GROUP BY uid")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if let Ok(name) = UserName::new(row.get_ref(1)?.as_str()?) {
            restored.users.push((row.get(0)?, name));
        }
    }
    let mut statement =
        connection.prepare("SELECT ts, uid, user, act, office FROM audit ORDER BY id")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let uid = row.get(1)?;
        let by = UserName::new(row.get_ref(2)?.as_str()?).unwrap_or_else(|_| UserName::of_uid(uid));
        let (wall_us, act, office) = (row.get(0)?, row.get(3)?, row.get(4)?);
        restored.audit.push(Audit { wall_us, uid, by, act, office });
    }
    // Receipts come behind their announcements.
    let mut statement = connection.prepare("SELECT state FROM notices ORDER BY key")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        // What can't be read is of no use to anybody.
        let text = row.get_ref(0)?.as_str()?;
        if let Ok(state) = serde_json::from_str::<NoticeState>(text) {
            restored.notices.push(state);
        } else if let Ok(receipt) = serde_json::from_str::<Receipt>(text)
            && let Some(state) = restored.notices.last_mut()
            && state.id() == NoticeId::Number(receipt.number)
        {
            state.take_receipt(receipt);
        }
    }
    let label = |text: String| (!text.is_empty()).then(|| Label::existing(&text).ok()).flatten();
    let mut statement = connection.prepare("SELECT uid, label, stream FROM follows")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if let Some(StreamKey::Room(room)) = keys.get(&row.get(2)?) {
            restored.follows.push((row.get(0)?, label(row.get(1)?), room.clone()));
        }
    }
    let mut statement = connection.prepare("SELECT uid, label, stream, seq FROM marks")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if let Some(stream) = keys.get(&row.get(2)?) {
            restored.marks.push((row.get(0)?, label(row.get(1)?), stream.clone(), row.get(3)?));
        }
    }
    load_submits(connection, &keys, &mut restored)?;
    Ok(Loaded { restored, epoch: 0 })
}
