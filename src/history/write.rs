//! The writer: one connection on its own thread, one transaction a job; retention when it has nothing else to do.

use std::{
    collections::{HashMap, HashSet},
    io::{Read as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Statement, Transaction, params, params_from_iter,
};

use super::{
    HistoryError, Loaded, Reader, Retention,
    damage::{Damage, Order, is_damaged_row, leap, one_by_one, pass_over},
    files::{self, InPlace},
    index::{Identity, Index, path_of},
    read::load,
    retention::{Ages, Clock, Old, Reading, SubmitKey, forget_submits},
    schema::{
        self, FLOOR, FORGOTTEN, KIND_ANNOUNCEMENTS, KIND_CONVERSATION, KIND_ROOM, fact, set_fact,
        size_of,
    },
    space::{self, Shrinking},
    words,
};
use crate::{
    chat::{
        member::{EndCause, Member, SessionId},
        message::NoticeId,
        names::Label,
        store::{Audit, Entry, Record, StreamKey},
    },
    faults::{Fault, planted},
    limits::{
        AUDIT_KEPT_MAX, AUDIT_PER_USER_MAX, HISTORY_CHUNK_ROWS, HISTORY_IDLE_MS, HISTORY_JOBS_MAX,
        HISTORY_MESSAGE_BYTES, HISTORY_NOTE_MS, HISTORY_PAUSE_MS, HISTORY_RETAIN_MS,
        LOG_BYTES_IDLE_MAX, LOG_EMPTIED_MS, SENDER_LEASE_IDS, SPACE_PAUSE_MS, SUBMITS_FORGET_MS,
        UNACKED_SUBMITS_MAX,
    },
    os,
};

/// Called on the writer's thread when a transaction is committed, or why it was not.
pub type Done = Box<dyn Fn(Result<(), String>) + Send>;

/// How to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A commit survives a power cut, not only the death of the process.
    pub full_sync: bool,
    /// How much is kept.
    pub retention: Retention,
}

struct Job {
    records: Vec<Record>,
    entries: Vec<Entry>,
    now_us: i64,
}

/// Figures for `status`, and what readers have to know of the writer.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Newest message that was committed.
    pub(super) newest: AtomicU64,
    /// Messages that can't be read.
    pub(super) damage: Damage,
    /// Why old messages were not removed the last time, other than for a full disk.
    retention_failure: Mutex<Option<String>>,
    /// Messages up to this id can be found by the index.
    pub(super) indexed: AtomicU64,
    /// Bytes of the index.
    pub(super) index_bytes: AtomicU64,
    /// What a message takes of it on the average, thousandths of a byte.
    index_share: AtomicU64,
    /// A search found that it can't be read.
    pub(super) index_damaged: AtomicBool,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// The last transaction failed.
    pub(super) failing: AtomicBool,
    /// It failed for lack of space, which the index has to give back.
    pub(super) needs_space: AtomicBool,
    /// Bytes of texts, by who said them.
    by_user: Mutex<HashMap<u32, u64>>,
    /// For tests: which of the next statements fails as on a full disk; 0 for none, `u64::MAX` for all.
    #[cfg(test)]
    pub(super) fails_at: AtomicU64,
    /// For tests: the next statement panics.
    #[cfg(test)]
    pub(super) panics: AtomicBool,
    /// For tests: the wall clock goes ahead by so many seconds.
    #[cfg(test)]
    pub(super) ahead_s: AtomicU64,
    /// For tests: how often retention was looked after.
    #[cfg(test)]
    pub(super) retained: AtomicU64,
}

impl Shared {
    /// Where tests make statements fail.
    #[cfg(test)]
    fn step(&self) -> rusqlite::Result<()> {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a test asked for it");
        let count = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        match self.fails_at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) {
            Ok(1 | u64::MAX) => {
                let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
                Err(rusqlite::Error::SqliteFailure(full, None))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    #[cfg(test)]
    fn wall_us(&self) -> i64 {
        self.retained.fetch_add(1, Ordering::SeqCst);
        os::wall_us() + self.ahead_s.load(Ordering::SeqCst).cast_signed() * 1_000_000
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests set another time")]
    fn wall_us(&self) -> i64 {
        os::wall_us()
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests make it fail")]
    fn step(&self) -> rusqlite::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Messages of the history, about.
    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Notes what a message takes of the index now.
    pub(super) fn note_index_share(&self) {
        let messages = self.messages.load(Ordering::Relaxed).max(1);
        let share = self.index_bytes.load(Ordering::Relaxed).saturating_mul(1000) / messages;
        self.index_share.store(share, Ordering::Relaxed);
    }

    /// Texts are gone: what their users have is less.
    fn forget_bytes(&self, gone: Vec<(u32, u64)>) {
        let mut by_user = self.by_user();
        for (uid, bytes) in gone {
            if let Some(of) = by_user.get_mut(&uid) {
                *of = of.saturating_sub(bytes);
            }
        }
    }

    fn by_user(&self) -> MutexGuard<'_, HashMap<u32, u64>> {
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retention_failure(&self) -> MutexGuard<'_, Option<String>> {
        self.retention_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The history of a server.
pub struct History {
    path: PathBuf,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    reader: Arc<Reader>,
    shared: Arc<Shared>,
    in_place: Arc<InPlace>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("shared", &self.shared).finish_non_exhaustive()
    }
}

fn connect(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_WAITS)?;
    space::allow(&connection)?;
    // A deleted private text is not to be found in free pages either.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let sync = if options.full_sync { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", sync)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    // Another thread does it: commits do not wait for the disk meanwhile.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -8 * 1024)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

impl History {
    /// Opens a history, or makes one; `done` is called for each [`History::commit`], in order.
    ///
    /// # Errors
    /// If it is damaged, of another program or a newer version, or can't be opened.
    pub fn open(path: &Path, options: Options, done: Done) -> Result<(Self, Loaded), HistoryError> {
        let failed = |e| HistoryError::of(path, e);
        schema::check(path)?;
        // Messages are private, whatever the umask: SQLite gives its other files the same mode.
        files::make_private(path)
            .map_err(|e| failed(rusqlite::Error::ToSqlConversionFailure(e.into())))?;
        let mut connection = connect(path, &options).map_err(failed)?;
        schema::prepare(&mut connection, path)?;
        schema::index(&connection);
        // What fails here is tried again at the next start.
        let _ = space::convert(&connection, path);
        let mut loaded = load(&connection).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let count = |sql| connection.query_row(sql, (), |row| row.get::<_, u64>(0));
        shared.bytes.store(size_of(&connection).map_err(failed)?, Ordering::Relaxed);
        *shared.by_user() = by_user(&connection).map_err(failed)?;
        let last = "SELECT coalesce(max(id), 0) FROM messages";
        let last = count(last).map_err(failed)?;
        let newest = last.max(fact(&connection, "newest").map_err(failed)?);
        let next_id = newest + 1;
        shared.newest.store(newest, Ordering::SeqCst);
        // Counting a million rows takes a while; ids have few holes.
        let range = (&mut 1, last.cast_signed());
        let oldest = rows(&connection, &shared.damage, None, range, 1).map_err(failed)?;
        let span = oldest.first().map_or(0, |row| last + 1 - row.id.cast_unsigned());
        shared.messages.store(span, Ordering::Relaxed);
        let newest_us = "SELECT ts FROM messages ORDER BY id DESC LIMIT 1";
        let newest_us = connection.query_row(newest_us, (), |row| row.get(0)).ok();
        loaded.epoch = epoch(&connection, path, newest).map_err(failed)?;
        let id = identity(&connection, loaded.epoch).map_err(failed)?;
        let index = Index::start(path, Identity { id, newest }, &shared)?;
        let in_place = Arc::new(InPlace::of(path));
        let reader = Arc::new(Reader::new(path.to_owned(), Arc::clone(&shared)));
        let (jobs, waiting) = bounded(HISTORY_JOBS_MAX);
        let mut writer = Writer {
            connection,
            path: path.to_owned(),
            retention: options.retention,
            shared: Arc::clone(&shared),
            in_place: Arc::clone(&in_place),
            cache: Cache::default(),
            next_id,
            noted_id: next_id,
            epoch: loaded.epoch,
            times: Times {
                retained: Instant::now(),
                forgot: None,
                noted: Instant::now(),
                failed: None,
                forgot_removed: Instant::now(),
                shrunk: Instant::now(),
                emptied: Instant::now(),
            },
            from: 1,
            purged: (0, 0),
            ages: Ages::default(),
            clock: Clock::new((Instant::now(), os::wall_us()), newest_us, options.retention.keep),
            submits_from: None,
            behind: false,
            removing: false,
            shrinking: Shrinking::new(),
            rows: 0,
            checkpointer: Checkpointer::start(path, options)?,
            index,
        };
        let thread = std::thread::Builder::new()
            .name("moot-history".to_owned())
            .spawn(move || {
                let run = AssertUnwindSafe(|| writer.run(&waiting, &done));
                if catch_unwind(run).is_err() {
                    // The caller waits for an answer to each transaction, and gets it.
                    writer.shared.failing.store(true, Ordering::Relaxed);
                    let refuse = || done(Err(THREAD_ENDED.to_owned()));
                    refuse();
                    waiting.iter().for_each(|_| refuse());
                }
            })
            .map_err(|e| HistoryError::Sql {
                path: path.to_owned(),
                source: rusqlite::Error::ToSqlConversionFailure(e.into()),
            })?;
        let path = path.to_owned();
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok((Self { path, jobs, thread, reader, shared, in_place }, loaded))
    }

    /// Hands over one transaction. The caller has at most one under way.
    pub fn commit(&self, records: Vec<Record>, entries: Vec<Entry>, now_us: i64) {
        if let Some(jobs) = &self.jobs {
            // The thread ends only with this value.
            let _ = jobs.send(Job { records, entries, now_us });
        }
    }

    /// Answers questions; may be used in other threads.
    #[must_use]
    pub fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    /// Up to which message the index knows them.
    #[cfg(test)]
    pub(super) fn indexed(&self) -> u64 {
        self.shared.indexed.load(Ordering::SeqCst)
    }

    #[cfg(test)]
    pub(super) fn newest_for_tests(&self) -> u64 {
        let newest = "SELECT coalesce(max(id), 0) FROM messages";
        self.reader.query().with(|db| db.query_row(newest, (), |row| row.get(0))).unwrap()
    }

    #[cfg(test)]
    pub(super) fn panic_next(&self) {
        self.shared.panics.store(true, Ordering::SeqCst);
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    #[cfg(test)]
    pub(super) fn fail_at(&self, statement: u64) {
        self.shared.fails_at.store(statement, Ordering::SeqCst);
    }

    /// Messages kept, about.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// Bytes of the database and its index.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed) + self.shared.index_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that the database and the index occupy on disk, with their logs and free pages.
    #[must_use]
    pub fn bytes_on_disk(&self) -> (u64, u64) {
        (space::bytes_on_disk(&self.path), space::bytes_on_disk(&path_of(&self.path)))
    }

    /// Bytes of what a user said and is still there.
    #[must_use]
    pub fn bytes_of(&self, uid: u32) -> u64 {
        self.shared.by_user().get(&uid).copied().unwrap_or(0)
    }

    /// Users of whom there is as much or more.
    #[must_use]
    pub fn users_over(&self, bytes: u64) -> HashMap<u32, u64> {
        let all = self.shared.by_user();
        all.iter().filter(|(_, of)| **of >= bytes).map(|(uid, of)| (*uid, *of)).collect()
    }

    /// Whether the last transaction failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }

    /// Everything else that an operator should look after.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let retention = self.shared.retention_failure().clone();
        self.in_place
            .lost()
            .into_iter()
            .chain(self.shared.damage.report())
            .chain(retention)
            .collect()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if self.in_place.lost().is_some() {
            // The last connection that is closed removes the log by its name, which may be another server's by now:
            // the thread and its connection stay until the process ends.
            std::mem::forget(self.jobs.take());
            return;
        }
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn by_user(connection: &Connection) -> rusqlite::Result<HashMap<u32, u64>> {
    let mut select = connection.prepare("SELECT uid, sum(bytes) FROM senders GROUP BY uid")?;
    let rows = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Epoch and newest id from the note beside a history.
pub(super) fn noted(path: &Path) -> Option<(u32, u64)> {
    let file = os::open_to_read(&note_path(path)).ok()?;
    let mut text = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let (epoch, newest) = text.trim().split_once(' ')?;
    Some((epoch.parse().ok()?, newest.parse().ok()?))
}

/// Tells histories apart for those who knew an earlier one: a random number for a new history, and one more each
/// time an older database was put back in the place of a newer one. A note beside it knows the newest id of not
/// long ago.
fn epoch(connection: &Connection, path: &Path, newest: u64) -> rusqlite::Result<u32> {
    let noted = noted(path);
    let known = match u32::try_from(fact(connection, "epoch")?).unwrap_or(0) {
        0 if newest == 0 && noted.is_none() => random_epoch()?,
        known => known.max(1),
    };
    let epoch = match noted {
        Some((epoch, before)) if newest < before && !planted(Fault::OlderHistoryKeepsEpoch) => {
            epoch.max(known).saturating_add(1)
        }
        Some((epoch, _)) => epoch.max(known),
        None => known,
    };
    // On a full disk, what is in place has to do.
    if u64::from(epoch) != fact(connection, "epoch")?
        && set_fact(connection, "epoch", epoch.into()).is_err()
    {
        return Ok(epoch);
    }
    let _ = write_note(path, epoch, newest);
    Ok(epoch)
}

fn random_epoch() -> rusqlite::Result<u32> {
    let random: [u8; 4] =
        os::random_bytes().map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    // There is room above it for each older database that is ever put back.
    Ok(u32::from_le_bytes(random) >> 2 | 1)
}

/// What an index says that belongs to this history: random, and another one with each epoch.
fn identity(connection: &Connection, epoch: u32) -> rusqlite::Result<u64> {
    let known = fact(connection, "identity")?;
    if known != 0 && fact(connection, "identity_epoch")? == u64::from(epoch) {
        return Ok(known);
    }
    let random: [u8; 8] =
        os::random_bytes().map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    // The database has signed numbers.
    let fresh = u64::from_le_bytes(random) >> 1 | 1;
    // On a full disk the index is made anew the next time as well.
    let _ = set_fact(connection, "identity", fresh)
        .and_then(|()| set_fact(connection, "identity_epoch", epoch.into()));
    Ok(fresh)
}

/// Longest note that is read.
const NOTE_BYTES_MAX: u64 = 64;

fn note_path(path: &Path) -> PathBuf {
    path.with_extension("epoch")
}

/// Replaces the note whole, or leaves it as it is.
fn write_note(path: &Path, epoch: u32, newest: u64) -> std::io::Result<()> {
    let (note, new) = (note_path(path), path.with_extension("epoch.new"));
    let mut file = os::make_private(&new)?;
    file.set_len(0)?;
    file.write_all(format!("{epoch} {newest}\n").as_bytes())?;
    std::fs::rename(new, note)
}

/// Messages by a number that rises, which is the last column: their ids, or their numbers in one stream.
const OLDEST: &str =
    "SELECT id, stream, seq, ts, id FROM messages WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
const OF_STREAM: &str = "SELECT id, stream, seq, ts, seq FROM messages
    WHERE seq BETWEEN ?1 AND ?2 AND stream = ?3 ORDER BY seq";

const FIRST: &str = "UPDATE streams SET first = max(first, ?2) WHERE id = ?1";

/// Reads messages of a range, of all streams by their ids or of one by their numbers.
fn rows(
    connection: &Connection,
    damage: &Damage,
    stream: Option<i64>,
    (next, last): (&mut i64, i64),
    rows_max: u64,
) -> rusqlite::Result<Vec<Old>> {
    let sql = if stream.is_some() { OF_STREAM } else { OLDEST };
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = Vec::new();
    let read = |next: &mut i64, last: i64| {
        let values = [Some(*next), Some(last), stream].into_iter().flatten();
        let mut found = select.query(params_from_iter(values))?;
        while (rows.len() as u64) < rows_max {
            let Some(row) = found.next()? else {
                *next = last.saturating_add(1).max(*next);
                break;
            };
            *next = row.get(4)?;
            let (id, stream, seq, ts) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            rows.push(Old { id, stream, seq, ts });
            *next += 1;
        }
        Ok(())
    };
    let leap = |bad, last| match stream {
        None => leap(connection, Order::OldestFirst, bad, last),
        Some(_) => one_by_one(bad, last),
    };
    pass_over(damage, next, last, read, leap)?;
    Ok(rows)
}

/// A run of counters of one client instance, as it stands in `submits`.
#[derive(Debug, Clone, Copy)]
struct Run {
    counter: u64,
    count: u64,
    stream: i64,
    seq: u64,
}

/// A row of `senders`.
#[derive(Debug, Clone, Copy)]
struct Speaker {
    row: i64,
    /// As it stands in the row: what is said with a higher id raises it.
    last: u64,
}

/// What is in the tables already; forgotten when a transaction fails, or when it gets too much.
#[derive(Debug, Default)]
struct Cache {
    streams: HashMap<StreamKey, i64>,
    senders: HashMap<SessionId, Speaker>,
    runs: HashMap<(u32, [u8; 16]), Run>,
}

impl Cache {
    fn bound(&mut self) {
        let Self { streams, senders, runs } = self;
        if streams.len().max(senders.len()).max(runs.len()) > CACHED_MAX {
            *self = Self::default();
        }
    }
}

/// When something was last done that is not done after each transaction.
#[derive(Debug)]
struct Times {
    /// Looked for what is too old or too much.
    retained: Instant,
    /// Submits too old to be submitted again were forgotten.
    forgot: Option<Instant>,
    /// The newest id was noted beside the database.
    noted: Instant,
    /// The last transaction failed.
    failed: Option<Instant>,
    /// The index had taken removed messages out.
    forgot_removed: Instant,
    /// Free pages were returned.
    shrunk: Instant,
    /// The log was to be emptied for its size.
    emptied: Instant,
}

struct Writer {
    connection: Connection,
    path: PathBuf,
    retention: Retention,
    shared: Arc<Shared>,
    in_place: Arc<InPlace>,
    cache: Cache,
    /// Id of the next message; ids rise and are never given again.
    next_id: u64,
    /// What it was when the note beside the database was written.
    noted_id: u64,
    epoch: u32,
    times: Times,
    /// Messages before this id are removed, or can't be.
    from: i64,
    /// Row of a deleted room, and the number before which that holds of its messages.
    purged: (i64, i64),
    ages: Ages,
    clock: Clock,
    /// The last submit that was looked at, while there are more.
    submits_from: Option<SubmitKey>,
    /// There was more to remove than was removed.
    behind: bool,
    /// Something was removed, or free pages returned, in this pause.
    removing: bool,
    shrinking: Shrinking,
    /// Written since a checkpoint was last asked for.
    rows: u64,
    checkpointer: Checkpointer,
    index: Index,
}

/// Moves what was committed from the log to the database, on a thread and a connection of its own.
struct Checkpointer {
    asked: Option<Sender<Checkpoint>>,
    thread: Option<JoinHandle<()>>,
    /// The log grows although it is moved: readers, or commits without a pause, keep it from beginning
    /// anew.
    is_long: Arc<AtomicBool>,
}

impl Checkpointer {
    fn start(path: &Path, options: Options) -> Result<Self, HistoryError> {
        let failed = |e| HistoryError::of(path, e);
        let connection = connect(path, &options).map_err(failed)?;
        // To empty the log it holds what commits wait for, and waits for readers: not long.
        connection.busy_timeout(RESTART_WAITS).map_err(failed)?;
        let is_long = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&is_long);
        let (asked, asks) = bounded(1);
        let path = path.to_owned();
        let run = move || {
            os::step_back();
            let mut wait = Duration::MAX;
            loop {
                let how = match asks.recv_timeout(wait) {
                    Ok(how) => how,
                    Err(RecvTimeoutError::Timeout) => Checkpoint::All,
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                if !log_fits(&path) {
                    wait = EMPTY_AGAIN;
                    continue;
                }
                // What fails here (a full disk) is tried again with the next one.
                let move_log =
                    |sql| connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)));
                let mut done: rusqlite::Result<(bool, i64)> =
                    move_log("PRAGMA wal_checkpoint(PASSIVE)");
                if let Checkpoint::All = how {
                    // Commits wait for this one, so most of it is moved already.
                    done = move_log("PRAGMA wal_checkpoint(TRUNCATE)");
                }
                if done.as_ref().is_ok_and(|(_, frames)| *frames > WAL_FRAMES_LONG) {
                    tell.store(true, Ordering::Relaxed);
                }
                if let Checkpoint::All = how {
                    // A reader may have kept the log from being emptied: once more, until it is.
                    let is_done = done.is_ok_and(|(busy, _)| !busy);
                    wait = if is_done { Duration::MAX } else { EMPTY_AGAIN };
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("moot-checkpoint".to_owned())
            .spawn(run)
            .map_err(|e| failed(rusqlite::Error::ToSqlConversionFailure(e.into())))?;
        Ok(Self { asked: Some(asked), thread: Some(thread), is_long })
    }

    /// Returns false if another one is asked for already: one under way and one asked for are enough.
    fn ask(&self, how: Checkpoint) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.try_send(how).is_ok())
    }
}

/// Returns true if there is room to move the whole log to the database. Half of it moved would only take the room
/// that the next messages need: the log begins again once all of it is moved.
fn log_fits(path: &Path) -> bool {
    let log_bytes = log_bytes(path);
    let space = path.parent().and_then(|dir| os::space_at(dir).ok());
    space.is_none_or(|space| space.free_bytes >= log_bytes)
}

/// Size of the log.
fn log_bytes(path: &Path) -> u64 {
    std::fs::metadata(files::beside(path, "-wal")).map_or(0, |meta| meta.len())
}

/// How much of the log is moved.
#[derive(Debug, Clone, Copy)]
enum Checkpoint {
    /// As much as can be without keeping anybody waiting.
    Some,
    /// Everything, and the log is emptied: nothing of what was removed is left there.
    All,
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How long a lock of another connection is waited for.
const BUSY_WAITS: Duration = Duration::from_secs(5);
const RESTART_WAITS: Duration = Duration::from_millis(20);
/// When to try again to empty the log.
const EMPTY_AGAIN: Duration = Duration::from_secs(1);
/// Rows after which a checkpoint is asked for.
const CHECKPOINT_ROWS: u64 = 4_096;
/// What a step of returning pages counts of them.
const SHRUNK_ROWS: u64 = 256;
/// Pages of the log (4 KiB each) above which the writer itself sees to it that it begins anew.
const WAL_FRAMES_LONG: i64 = 16 * 1024;

/// The answer to each transaction after the writer's thread panicked.
const THREAD_ENDED: &str =
    "the history can't be written: its thread ended because of a fault; restart the server";

/// Audit entries from one count of all of them to the next.
const AUDIT_COUNTED_EVERY: i64 = 16;

/// Rows of one table above which the cache is emptied.
const CACHED_MAX: usize = 65_536;

impl Writer {
    fn run(&mut self, jobs: &Receiver<Job>, done: &Done) {
        let idle = Duration::from_millis(HISTORY_IDLE_MS);
        let pause = Duration::from_millis(HISTORY_PAUSE_MS);
        let mut wait = pause;
        loop {
            // Work of its own goes in small steps, when nobody waits.
            match jobs.recv_timeout(wait) {
                Ok(job) => {
                    done(self.commit(&job).map_err(|e| words(&e)));
                    self.index.ask();
                    wait = pause;
                    self.keep_up(&job);
                }
                Err(RecvTimeoutError::Timeout) => {
                    wait = match self.step() {
                        true => Duration::ZERO,
                        // The index is at work on what was removed, and waits for this thread.
                        false if self.times.forgot_removed.elapsed() < idle => pause,
                        false => idle,
                    };
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.close();
    }

    /// Has the log moved to the database now and then.
    fn checkpoint(&mut self, rows: u64) {
        self.rows += rows;
        if self.rows < CHECKPOINT_ROWS {
            return;
        }
        self.rows = 0;
        if self.checkpointer.is_long.swap(false, Ordering::Relaxed) && log_fits(&self.path) {
            // Readers may keep it from beginning anew; nobody waits for them.
            let _ = self.connection.busy_timeout(RESTART_WAITS);
            let sql = "PRAGMA wal_checkpoint(RESTART)";
            let _ = self.connection.query_row(sql, (), |_| Ok(()));
            let _ = self.connection.busy_timeout(BUSY_WAITS);
        } else {
            self.checkpointer.ask(Checkpoint::Some);
        }
    }

    /// What must not wait for a pause, if there never is one: it is done in proportion to what comes in.
    fn keep_up(&mut self, job: &Job) {
        let bytes: u64 = job.entries.iter().map(|entry| entry.text.len() as u64).sum();
        let entries = job.entries.len() as u64;
        // Long texts and large records fill the log as well. A record of the usual size changes a few pages.
        let records: usize = job.records.iter().map(Record::weight).sum();
        self.checkpoint(1 + entries.max(bytes / 256) + 2 * records as u64);
        self.forget_removed();
        let due = Duration::from_millis(HISTORY_RETAIN_MS);
        if self.behind || self.times.retained.elapsed() >= due {
            self.behind = self.retain(2 * entries + 16);
        }
        self.removing |= self.behind;
        if self.times.shrunk.elapsed() >= Duration::from_millis(SPACE_PAUSE_MS) {
            let more = self.shrink() || self.behind;
            // The file ends where it should once the whole log is moved, which never is while commits come.
            if more || self.removing && self.checkpointer.ask(Checkpoint::All) {
                self.removing = more;
            }
        }
        self.note();
    }

    /// Returns some free pages to the file system; false if there are too few.
    fn shrink(&mut self) -> bool {
        self.times.shrunk = Instant::now();
        // What fails here (a full disk, damage) costs space only.
        let more = self.shrinking.step(&self.connection, false).unwrap_or(false);
        if more {
            self.checkpoint(SHRUNK_ROWS);
        }
        more
    }

    /// Notes the newest id beside the database, now and then.
    fn note(&mut self) {
        if self.times.noted.elapsed() >= Duration::from_millis(HISTORY_NOTE_MS) {
            self.times.noted = Instant::now();
            if self.noted_id == self.next_id {
                return;
            }
            self.noted_id = self.next_id;
            if self.in_place.lost().is_some() {
                return;
            }
            // If it can't be written, putting back is noticed one time less.
            let _ = write_note(&self.path, self.epoch, self.next_id - 1);
        }
    }

    fn commit(&mut self, job: &Job) -> rusqlite::Result<()> {
        let done = self.write(job);
        self.note_end(done.as_ref().err());
        if done.is_err() {
            self.cache = Cache::default();
        } else {
            self.shared.messages.fetch_add(job.entries.len() as u64, Ordering::Relaxed);
            let mut by_user = self.shared.by_user();
            for entry in &job.entries {
                *by_user.entry(entry.from.uid).or_default() +=
                    entry.text.len() as u64 + HISTORY_MESSAGE_BYTES;
            }
        }
        done
    }

    fn write(&mut self, job: &Job) -> rusqlite::Result<()> {
        self.cache.bound();
        let transaction = self.connection.unchecked_transaction()?;
        let mut page = Page {
            transaction: &transaction,
            shared: &self.shared,
            next_id: self.next_id,
            cache: &mut self.cache,
            now_us: job.now_us,
            changed_runs: HashSet::new(),
            said: HashMap::new(),
            unsaid: Vec::new(),
            heads: HashMap::new(),
        };
        for record in &job.records {
            page.record(record)?;
        }
        page.messages(&job.entries)?;
        let next_id = page.next_id;
        let unsaid = page.finish()?;
        self.shared.step()?;
        Self::check_place(&self.in_place)?;
        transaction.commit()?;
        self.next_id = next_id;
        self.shared.newest.store(next_id - 1, Ordering::SeqCst);
        self.shared.forget_bytes(unsaid);
        Ok(())
    }

    /// Checks that what is committed will be found.
    fn check_place(in_place: &InPlace) -> rusqlite::Result<()> {
        let lost = in_place.lost().map(std::io::Error::other);
        lost.map_or(Ok(()), |e| Err(rusqlite::Error::ToSqlConversionFailure(e.into())))
    }

    /// Notes how the last transaction ended.
    fn note_end(&mut self, e: Option<&rusqlite::Error>) {
        self.shared.failing.store(e.is_some(), Ordering::Relaxed);
        self.times.failed = e.map(|_| Instant::now());
        let code = e.and_then(rusqlite::Error::sqlite_error_code);
        // What a quota refuses is an error of input and output.
        if let Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) = code {
            self.shared.needs_space.store(true, Ordering::Relaxed);
            self.index.ask();
        }
    }

    /// Tries whether the history can be written again: no sender may be left to find out.
    fn try_again(&mut self) {
        let idle = Duration::from_millis(HISTORY_IDLE_MS);
        if self.times.failed.is_some_and(|at| at.elapsed() >= idle) {
            // Ids must not be given again, so it is right at any time.
            let write = |()| set_fact(&self.connection, "newest", self.next_id - 1);
            let done = self.shared.step().and_then(|()| Self::check_place(&self.in_place));
            let done = done.and_then(write);
            self.note_end(done.as_ref().err());
        }
    }

    /// One step of retention; false if there is nothing to do.
    fn step(&mut self) -> bool {
        self.try_again();
        self.note();
        self.forget_removed();
        let more = self.retain(HISTORY_CHUNK_ROWS as u64) || self.shrink();
        let is_long = log_bytes(&self.path) > LOG_BYTES_IDLE_MAX
            && self.times.emptied.elapsed() >= Duration::from_millis(LOG_EMPTIED_MS);
        if !more && (self.removing || is_long) {
            // The last of it is gone: nothing of it stays in the log.
            self.times.emptied = Instant::now();
            self.checkpointer.ask(Checkpoint::All);
        }
        self.removing = more;
        more
    }

    /// Removes some of what is too old, too much, or of a deleted room. Returns true if there may be more.
    fn retain(&mut self, rows_max: u64) -> bool {
        self.times.retained = Instant::now();
        let done = self.retain_some(rows_max.min(HISTORY_CHUNK_ROWS as u64));
        // What fails here is tried again later. Of a full disk the next commit learns as well.
        let failure = done.as_ref().err();
        let failure = failure.filter(|e| e.sqlite_error_code() != Some(ErrorCode::DiskFull));
        let failure = failure.map(|e| format!("old messages of the history can't be removed: {e}"));
        *self.shared.retention_failure() = failure;
        done.unwrap_or(false)
    }

    fn retain_some(&mut self, rows_max: u64) -> rusqlite::Result<bool> {
        self.shared.bytes.store(size_of(&self.connection)?, Ordering::Relaxed);
        if self.remove_deleted(rows_max)? {
            return Ok(true);
        }
        if let Some(max) = self.retention.bytes_max {
            // No more than is too much, by what a message takes on the average. The index is counted by
            // that, too: it gives up its space later.
            let messages = self.shared.messages.load(Ordering::Relaxed).max(1);
            let share = self.shared.index_share.load(Ordering::Relaxed);
            let index = share.saturating_mul(messages) / 1000;
            let bytes = self.shared.bytes.load(Ordering::Relaxed) + index;
            let excess = bytes.saturating_sub(max);
            if excess > 0 {
                let each = (bytes / messages).max(1);
                let oldest = self.oldest(0, (excess / each + 1).min(rows_max))?;
                // Nothing is left, or the rest is not made of messages.
                return self.remove_oldest(&oldest);
            }
        }
        let now_us = self.shared.wall_us();
        let reading = self.clock.judge((Instant::now(), now_us));
        if let Some(keep) = self.retention.keep.filter(|_| reading != Reading::Ahead) {
            let keep_us = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
            if self.remove_too_old(now_us, keep_us, rows_max)? {
                return Ok(true);
            }
        }
        let every = Duration::from_millis(SUBMITS_FORGET_MS);
        let is_due =
            self.submits_from.is_some() || self.times.forgot.is_none_or(|at| at.elapsed() >= every);
        if is_due && reading == Reading::Believed {
            self.times.forgot = Some(Instant::now());
            let after = self.submits_from.take().unwrap_or_default();
            self.submits_from = forget_submits(&self.connection, &after, now_us, rows_max)?;
            // The newest row stays: SQLite would give its id to the next stream.
            let sql = "DELETE FROM streams WHERE gone = ?1 AND purge = 0
                       AND id < (SELECT max(id) FROM streams)";
            self.connection.prepare_cached(sql)?.execute([FORGOTTEN])?;
        }
        Ok(self.submits_from.is_some())
    }

    /// Removes some messages that are too old. Returns true if there may be more.
    fn remove_too_old(
        &mut self,
        now_us: i64,
        keep_us: i64,
        rows_max: u64,
    ) -> rusqlite::Result<bool> {
        let Some(oldest) = self.oldest(0, 1)?.first().map(|row| row.id) else { return Ok(false) };
        self.ages.resume(oldest, now_us, keep_us);
        let mut is_full = false;
        if let Some(next) = self.ages.wants() {
            let rows = self.oldest(next, HISTORY_CHUNK_ROWS as u64)?;
            self.ages.look(&rows, now_us, keep_us);
            is_full = rows.len() == HISTORY_CHUNK_ROWS;
        }
        let upto = self.ages.too_old_upto();
        if upto == 0 {
            return Ok(is_full && self.ages.wants().is_some());
        }
        let mut old = self.oldest(0, rows_max)?;
        old.retain(|row| row.id <= upto);
        self.remove_oldest(&old)
    }

    /// Removes what was said in deleted rooms. No member can read it any longer; a room of the same name may
    /// be there already.
    fn remove_deleted(&mut self, rows_max: u64) -> rusqlite::Result<bool> {
        let sql = "SELECT id, purge FROM streams WHERE purge > 0 LIMIT 1";
        let of = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let Some((stream, last)) = self.connection.query_row(sql, (), of).optional()? else {
            return Ok(false);
        };
        let mut next = if self.purged.0 == stream { self.purged.1 } else { 0 };
        let range = (&mut next, last);
        let rows = rows(&self.connection, &self.shared.damage, Some(stream), range, rows_max)?;
        self.remove(&rows)?;
        self.purged = (stream, next);
        if next > last {
            self.connection.execute("UPDATE streams SET purge = 0 WHERE id = ?", [stream])?;
            self.purged = (0, 0);
        }
        Ok(true)
    }

    /// Forgets which messages were removed, once they are gone from the index.
    fn forget_removed(&mut self) {
        let gone: Vec<i64> = self.index.gone().flatten().collect();
        if gone.is_empty() {
            return;
        }
        self.times.forgot_removed = Instant::now();
        let forget = || -> rusqlite::Result<()> {
            let transaction = self.connection.unchecked_transaction()?;
            {
                let sql = "DELETE FROM removed WHERE id = ?";
                let mut delete = transaction.prepare_cached(sql)?;
                for id in &gone {
                    delete.execute([id])?;
                }
            }
            transaction.commit()
        };
        // If that fails, they are looked for in the index once more.
        if forget().is_ok() {
            self.checkpoint(gone.len() as u64);
            self.index.ask();
        }
    }

    /// Oldest messages of an id or a later one.
    fn oldest(&mut self, from: i64, rows_max: u64) -> rusqlite::Result<Vec<Old>> {
        let first = from.max(self.from);
        let mut next = first;
        let range = (&mut next, self.next_id.cast_signed() - 1);
        let rows = rows(&self.connection, &self.shared.damage, None, range, rows_max)?;
        if first == self.from {
            // What is older can't be read: next time it is not looked for.
            self.from = rows.first().map_or(next, |row| row.id);
        }
        Ok(rows)
    }

    /// Removes the oldest messages. Returns true if there were any.
    fn remove_oldest(&mut self, rows: &[Old]) -> rusqlite::Result<bool> {
        self.remove(rows)?;
        self.from = rows.last().map_or(self.from, |row| row.id + 1);
        Ok(!rows.is_empty())
    }

    /// Removes messages, the oldest of their streams. Those that can't be removed (pages beside damaged ones can't
    /// be changed) are only hidden, and cost no other.
    fn remove(&mut self, rows: &[Old]) -> rusqlite::Result<()> {
        match self.remove_all(rows) {
            Err(e) if is_damaged_row(&e) && rows.len() > 1 => {
                rows.iter().try_for_each(|row| self.remove(std::slice::from_ref(row)))
            }
            Err(e) if is_damaged_row(&e) => {
                self.shared.damage.record(&e);
                rows.iter().try_for_each(|Old { stream, seq, .. }| {
                    let values = params![stream, seq + 1];
                    self.connection.prepare_cached(FIRST)?.execute(values).map(drop)
                })
            }
            done => done,
        }
    }

    fn remove_all(&mut self, rows: &[Old]) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.unchecked_transaction()?;
        let mut removed: Vec<(u32, u64)> = Vec::new();
        {
            let mut removed_ids =
                transaction.prepare_cached("INSERT OR IGNORE INTO removed VALUES (?)")?;
            let sql = "DELETE FROM messages WHERE id = ?
                       RETURNING sender, length(CAST(text AS BLOB))";
            let mut delete = transaction.prepare_cached(sql)?;
            let mut first = transaction.prepare_cached(FIRST)?;
            let mut firsts: HashMap<i64, u64> = HashMap::new();
            let mut unsaid: HashMap<i64, u64> = HashMap::new();
            for Old { id, stream, seq, .. } in rows {
                removed_ids.execute([id])?;
                let of =
                    |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, u64>(1)?));
                if let Some((sender, bytes)) = delete.query_row([id], of).optional()? {
                    *unsaid.entry(sender).or_default() += bytes + HISTORY_MESSAGE_BYTES;
                }
                let of_stream = firsts.entry(*stream).or_default();
                *of_stream = (*of_stream).max(seq + 1);
            }
            for (stream, next) in firsts {
                first.execute(params![stream, next])?;
            }
            let sql = "UPDATE senders SET bytes = max(bytes - ?2, 0) WHERE id = ?1 RETURNING uid";
            let mut update = transaction.prepare_cached(sql)?;
            for (sender, bytes) in unsaid {
                let uid = update.query_row(params![sender, bytes], |row| row.get(0)).optional()?;
                if let Some(uid) = uid {
                    removed.push((uid, bytes));
                }
            }
            // Ids must not be given again, even if everything is removed.
            set_fact(&transaction, "newest", self.next_id - 1)?;
            // Senders of no message that is still there.
            let sql = "SELECT id FROM messages WHERE id >= ? ORDER BY id LIMIT 1";
            let mut oldest = transaction.prepare_cached(sql)?;
            let oldest = match oldest.query_row([self.from], |row| row.get(0)).optional() {
                Err(e) if is_damaged_row(&e) => self.from.cast_unsigned(),
                oldest => oldest?.unwrap_or(self.next_id),
            };
            let sql = "DELETE FROM senders WHERE last < ?";
            transaction.prepare_cached(sql)?.execute([oldest])?;
        }
        transaction.commit()?;
        self.shared.messages.fetch_sub(rows.len() as u64, Ordering::Relaxed);
        self.index.ask();
        self.shared.forget_bytes(removed);
        self.checkpoint(2 * rows.len() as u64);
        Ok(())
    }

    fn close(&mut self) {
        self.checkpointer.asked = None;
        // The epoch's note learns the newest id; the rest is tidiness.
        let _ = write_note(&self.path, self.epoch, self.next_id - 1);
        let _ = self.connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
    }
}

/// One transaction under way.
struct Page<'a> {
    transaction: &'a Transaction<'a>,
    shared: &'a Shared,
    cache: &'a mut Cache,
    /// Runs of counters to be written at the end.
    changed_runs: HashSet<(u32, [u8; 16])>,
    /// Bytes of texts by rows of `senders`, to be written at the end.
    said: HashMap<i64, u64>,
    /// Bytes of texts that are gone, by who said them.
    unsaid: Vec<(u32, u64)>,
    next_id: u64,
    now_us: i64,
    heads: HashMap<i64, (u64, i64)>,
}

pub(super) fn key_of(stream: &StreamKey) -> (i64, String) {
    match stream {
        StreamKey::Room(name) => (KIND_ROOM, name.key().to_owned()),
        StreamKey::Conversation(low, high) => (KIND_CONVERSATION, format!("{low} {high}")),
        StreamKey::Announcements => (KIND_ANNOUNCEMENTS, String::new()),
    }
}

fn label_text(label: Option<&Label>) -> &str {
    label.map_or("", Label::key)
}

impl Page<'_> {
    fn stream(&mut self, stream: &StreamKey) -> rusqlite::Result<i64> {
        self.stream_of(stream, None)
    }

    /// The row of a stream, which exists from now on. `by`: who begins it by a message.
    fn stream_of(&mut self, stream: &StreamKey, by: Option<u32>) -> rusqlite::Result<i64> {
        if let Some(id) = self.cache.streams.get(stream) {
            return Ok(*id);
        }
        self.shared.step()?;
        let (kind, key) = key_of(stream);
        let name = match stream {
            StreamKey::Room(name) => name.as_str(),
            StreamKey::Conversation(..) | StreamKey::Announcements => "",
        };
        let sql = "INSERT INTO streams (kind, key, name, creator, history, room_id)
                   VALUES (?, ?, ?, ?, 1, random())
                   ON CONFLICT DO UPDATE SET kind = kind RETURNING id";
        let id = self
            .transaction
            .prepare_cached(sql)?
            .query_row(params![kind, key, name, by.map_or(-1, i64::from)], |row| row.get(0))?;
        self.cache.streams.insert(stream.clone(), id);
        Ok(id)
    }

    /// Removes an announcement and its receipt: the receipt's keys begin with its own and a space.
    fn remove_notice(&mut self, id: NoticeId) -> rusqlite::Result<()> {
        let sql = "DELETE FROM notices
                   WHERE key = ?1 OR (key >= ?1 || ' ' AND key < ?1 || '!')";
        self.transaction.prepare_cached(sql)?.execute([id.to_string()]).map(drop)
    }

    fn record(&mut self, record: &Record) -> rusqlite::Result<()> {
        self.shared.step()?;
        match record {
            Record::Room { name, id, creator_uid, history, topic, private, read_only, head } => {
                // The row of an earlier room of that name may have been removed.
                self.cache.streams.remove(&StreamKey::Room(name.clone()));
                let sql = "INSERT INTO streams
                           (kind, key, name, creator, history, topic, private, read_only, room_id,
                            head, first)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10 + 1)
                           ON CONFLICT DO UPDATE SET
                           name = excluded.name, creator = excluded.creator,
                           history = excluded.history, topic = excluded.topic,
                           private = excluded.private, read_only = excluded.read_only,
                           room_id = excluded.room_id, head = max(head, excluded.head),
                           first = iif(gone, max(first, excluded.first), first), gone = 0";
                self.transaction.prepare_cached(sql)?.execute(params![
                    KIND_ROOM,
                    name.key(),
                    name.as_str(),
                    creator_uid,
                    history,
                    topic,
                    private,
                    read_only,
                    id.0.cast_signed(),
                    head
                ])?;
                Ok(())
            }
            Record::Role { room, uid, role, on } => {
                let id = self.stream(&StreamKey::Room(room.clone()))?;
                let sql = match on {
                    true => "INSERT OR IGNORE INTO roles VALUES (?, ?, ?)",
                    false => "DELETE FROM roles WHERE stream = ? AND uid = ? AND role = ?",
                };
                let values = params![id, uid, role.number()];
                self.transaction.prepare_cached(sql)?.execute(values).map(drop)
            }
            Record::Notice(state) => {
                let sql = "INSERT OR REPLACE INTO notices VALUES (?, ?)";
                let text = serde_json::to_string(&**state)
                    .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
                let values = params![state.id().to_string(), text];
                self.remove_notice(state.id())?;
                self.transaction.prepare_cached(sql)?.execute(values).map(drop)
            }
            Record::NoticeGone(id) => self.remove_notice(*id),
            Record::Receipt(receipt) => {
                let id = NoticeId::Number(receipt.number);
                for (key, part) in receipt.parts() {
                    let text = serde_json::to_string(&part)
                        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
                    let sql = "INSERT OR REPLACE INTO notices VALUES (?, ?)";
                    let values = params![format!("{id} {key}"), text];
                    self.transaction.prepare_cached(sql)?.execute(values)?;
                }
                Ok(())
            }
            Record::Audit(Audit { wall_us, uid, by, act, office }) => {
                let sql = "INSERT INTO audit (ts, uid, user, act, office) VALUES (?, ?, ?, ?, ?)";
                let values = params![wall_us, uid, by.as_str(), act, office];
                self.transaction.prepare_cached(sql)?.execute(values)?;
                let sql = "DELETE FROM audit WHERE uid = ?1 AND office = 0 AND id <=
                           (SELECT id FROM audit WHERE uid = ?1 AND office = 0
                            ORDER BY id DESC LIMIT 1 OFFSET ?2)";
                let kept = AUDIT_PER_USER_MAX as u64;
                self.transaction.prepare_cached(sql)?.execute(params![uid, kept])?;
                // The bound of all users may be exceeded by a few entries: counting them costs more.
                if self.transaction.last_insert_rowid() % AUDIT_COUNTED_EVERY != 0 {
                    return Ok(());
                }
                // Acts of a server's operator are kept whatever others do.
                let sql = "DELETE FROM audit WHERE office = 1 AND id <=
                           (SELECT id FROM audit WHERE office = 1
                            ORDER BY id DESC LIMIT 1 OFFSET ?1)";
                let kept = AUDIT_KEPT_MAX as u64;
                self.transaction.prepare_cached(sql)?.execute([kept])?;
                // Of the others, the user with the most entries loses the oldest.
                let sql = "DELETE FROM audit WHERE id IN
                           (SELECT id FROM audit WHERE office = 0 AND uid =
                            (SELECT uid FROM audit WHERE office = 0 GROUP BY uid
                             ORDER BY count(*) DESC LIMIT 1)
                            ORDER BY id LIMIT ?2)
                           AND (SELECT count(*) FROM audit WHERE office = 0) > ?1";
                let values = params![kept, AUDIT_COUNTED_EVERY];
                self.transaction.prepare_cached(sql)?.execute(values).map(drop)
            }
            Record::RoomGone { name, head } => {
                let id = self.stream(&StreamKey::Room(name.clone()))?;
                let sql = "UPDATE streams SET gone = 1, topic = '', purge = max(head, ?2),
                           first = max(head, ?2) + 1, head = max(head, ?2) WHERE id = ?1";
                self.transaction.prepare_cached(sql)?.execute(params![id, head])?;
                for sql in [
                    "DELETE FROM follows WHERE stream = ?",
                    "DELETE FROM marks WHERE stream = ?",
                    "DELETE FROM roles WHERE stream = ?",
                ] {
                    self.transaction.prepare_cached(sql)?.execute([id])?;
                }
                // What was announced to it was said in it: only the numbers stay. (A notice's room stands
                // behind ten bytes; there is an index of that.)
                let sql = "SELECT m.sender, s.uid, sum(length(CAST(m.text AS BLOB)))
                           FROM messages m JOIN senders s ON s.id = m.sender
                           WHERE m.notice IS NOT NULL AND substr(m.notice, 11) = ?
                           GROUP BY m.sender";
                let room = name.as_str().as_bytes();
                let mut select = self.transaction.prepare_cached(sql)?;
                let mut rows = select.query([room])?;
                while let Some(row) = rows.next()? {
                    let (sender, uid, bytes): (i64, u32, u64) =
                        (row.get(0)?, row.get(1)?, row.get(2)?);
                    let sql = "UPDATE senders SET bytes = max(bytes - ?2, 0) WHERE id = ?1";
                    self.transaction.prepare_cached(sql)?.execute(params![sender, bytes])?;
                    self.unsaid.push((uid, bytes));
                }
                let sql = "UPDATE messages SET notice = NULL, text = ''
                           WHERE notice IS NOT NULL AND substr(notice, 11) = ?";
                self.transaction.prepare_cached(sql)?.execute([room]).map(drop)
            }
            Record::RoomForgotten { name, floor } => {
                self.cache.streams.remove(&StreamKey::Room(name.clone()));
                let sql = "UPDATE streams SET gone = ?3 WHERE kind = ?1 AND key = ?2 AND gone = 1";
                let values = params![KIND_ROOM, name.key(), FORGOTTEN];
                self.transaction.prepare_cached(sql)?.execute(values)?;
                let floor = fact(self.transaction, FLOOR)?.max(*floor);
                set_fact(self.transaction, FLOOR, floor)
            }
            Record::Follow { uid, label, room, on } => {
                let id = self.stream(&StreamKey::Room(room.clone()))?;
                let sql = match on {
                    true => "INSERT OR IGNORE INTO follows VALUES (?, ?, ?)",
                    false => "DELETE FROM follows WHERE uid = ? AND label = ? AND stream = ?",
                };
                let values = params![uid, label_text(label.as_ref()), id];
                self.transaction.prepare_cached(sql)?.execute(values).map(drop)
            }
            Record::NameGone { uid, label } => {
                for sql in [
                    "DELETE FROM follows WHERE uid = ? AND label = ?",
                    "DELETE FROM marks WHERE uid = ? AND label = ?",
                ] {
                    let values = params![uid, label.key()];
                    self.transaction.prepare_cached(sql)?.execute(values)?;
                }
                Ok(())
            }
            Record::InstanceGone { uid, instance } => {
                self.cache.runs.remove(&(*uid, *instance));
                let sql = "DELETE FROM submits WHERE uid = ? AND instance = ?";
                let values = params![uid, instance];
                self.transaction.prepare_cached(sql)?.execute(values).map(drop)
            }
            Record::Mark { uid, label, stream, seq } => {
                let id = self.stream(stream)?;
                let sql = "INSERT INTO marks VALUES (?, ?, ?, ?)
                           ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)";
                let values = params![uid, label_text(label.as_ref()), id, seq];
                self.transaction.prepare_cached(sql)?.execute(values).map(drop)
            }
        }
    }

    /// The row of who says so many messages now.
    fn sender(&mut self, from: &Member, messages: usize) -> rusqlite::Result<i64> {
        // Raised by more than is needed, so that this is seldom done.
        let last = self.next_id + SENDER_LEASE_IDS;
        // Whoever spoke in another run has no session in this one.
        let of_this_run = from.session != SessionId(0);
        if let Some(known) = self.cache.senders.get_mut(&from.session).filter(|_| of_this_run) {
            if known.last >= self.next_id + messages as u64 {
                return Ok(known.row);
            }
            self.shared.step()?;
            let sql = "UPDATE senders SET last = ?2 WHERE id = ?1";
            if self.transaction.prepare_cached(sql)?.execute(params![known.row, last])? > 0 {
                known.last = last;
                return Ok(known.row);
            }
            // Removed meanwhile, with all that was said.
        }
        self.shared.step()?;
        let sql = "INSERT INTO senders (session, uid, pid, kind, user, label, last)
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        self.transaction.prepare_cached(sql)?.execute(params![
            from.session.0,
            from.uid,
            from.pid,
            from.kind.number(),
            from.user.as_str(),
            from.label.as_ref().map(Label::as_str),
            last,
        ])?;
        let row = self.transaction.last_insert_rowid();
        self.cache.senders.insert(from.session, Speaker { row, last });
        Ok(row)
    }

    fn messages(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        // What one session says at once has much in common.
        let follows = |a: &Entry, b: &Entry| {
            let consecutive = match (a.submit, b.submit) {
                (Some((of, counter)), Some((instance, next))) => {
                    of == instance && counter + 1 == next
                }
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            consecutive
                && a.seq + 1 == b.seq
                && Arc::ptr_eq(&a.stream, &b.stream)
                && Arc::ptr_eq(&a.from, &b.from)
        };
        let transaction = self.transaction;
        let sql =
            "INSERT INTO messages (id, stream, seq, ts, sender, reply_to, to_label, notice, text, will)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let mut insert = transaction.prepare_cached(sql)?;
        for all in entries.chunk_by(follows) {
            for some in all.chunks(UNACKED_SUBMITS_MAX) {
                self.said_at_once(&mut insert, some)?;
            }
        }
        Ok(())
    }

    /// Messages of one session in one stream, one after another.
    fn said_at_once(
        &mut self,
        insert: &mut Statement<'_>,
        entries: &[Entry],
    ) -> rusqlite::Result<()> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let stream = self.stream_of(&first.stream, Some(first.from.uid))?;
        let sender = self.sender(&first.from, entries.len())?;
        // What was bound stays bound.
        insert.raw_bind_parameter(2, stream)?;
        insert.raw_bind_parameter(5, sender)?;
        let mut bytes = 0;
        for entry in entries {
            self.shared.step()?;
            insert.raw_bind_parameter(1, self.next_id)?;
            insert.raw_bind_parameter(3, entry.seq)?;
            insert.raw_bind_parameter(4, entry.wall_us)?;
            insert.raw_bind_parameter(6, entry.reply_to)?;
            insert.raw_bind_parameter(7, entry.to_label.as_ref().map(Label::as_str))?;
            insert.raw_bind_parameter(8, entry.notice.as_deref().map(super::read::pack_notice))?;
            insert.raw_bind_parameter(9, &*entry.text)?;
            insert.raw_bind_parameter(10, entry.will.map(EndCause::number))?;
            insert.raw_execute()?;
            self.next_id += 1;
            bytes += entry.text.len() as u64 + HISTORY_MESSAGE_BYTES;
        }
        *self.said.entry(sender).or_default() += bytes;
        self.heads.insert(stream, (last.seq, last.wall_us));
        match first.submit {
            Some((instance, counter)) => {
                let count = entries.len() as u64;
                let run = Run { counter, count, stream, seq: first.seq };
                self.submits((first.from.uid, instance), run)
            }
            None => Ok(()),
        }
    }

    fn submits(&mut self, instance: (u32, [u8; 16]), new: Run) -> rusqlite::Result<()> {
        let follows = |run: &&mut Run| {
            run.stream == new.stream
                && run.counter + run.count == new.counter
                && run.seq + run.count == new.seq
                && run.count + new.count <= UNACKED_SUBMITS_MAX as u64
        };
        if let Some(run) = self.cache.runs.get_mut(&instance).filter(follows) {
            run.count += new.count;
            self.changed_runs.insert(instance);
            return Ok(());
        }
        // Another stream, or a hole in the numbers: a new run begins.
        if self.changed_runs.contains(&instance)
            && let Some(run) = self.cache.runs.get(&instance).copied()
        {
            self.write_run(instance, run)?;
        }
        // What a client can't submit again is not needed.
        let bound = new.counter.saturating_sub(2 * UNACKED_SUBMITS_MAX as u64);
        if bound > 0 {
            self.shared.step()?;
            let sql = "DELETE FROM submits WHERE uid = ? AND instance = ? AND counter < ?";
            let values = params![instance.0, instance.1, bound];
            self.transaction.prepare_cached(sql)?.execute(values)?;
        }
        self.cache.runs.insert(instance, new);
        self.changed_runs.insert(instance);
        Ok(())
    }

    fn write_run(&self, instance: (u32, [u8; 16]), run: Run) -> rusqlite::Result<()> {
        self.shared.step()?;
        let sql = "INSERT OR REPLACE INTO submits VALUES (?, ?, ?, ?, ?, ?, ?)";
        let Run { counter, count, stream, seq } = run;
        let values = params![instance.0, instance.1, counter, count, stream, seq, self.now_us];
        self.transaction.prepare_cached(sql)?.execute(values).map(drop)
    }

    /// Writes what was gathered; gives the bytes of texts that are gone.
    fn finish(self) -> rusqlite::Result<Vec<(u32, u64)>> {
        self.shared.step()?;
        for instance in &self.changed_runs {
            if let Some(run) = self.cache.runs.get(instance) {
                self.write_run(*instance, *run)?;
            }
        }
        let sql = "UPDATE senders SET bytes = bytes + ?2 WHERE id = ?1";
        let mut update = self.transaction.prepare_cached(sql)?;
        for (sender, bytes) in &self.said {
            update.execute(params![sender, bytes])?;
        }
        let sql = "UPDATE streams SET head = ?2, newest_us = ?3 WHERE id = ?1";
        let mut update = self.transaction.prepare_cached(sql)?;
        for (stream, (head, newest_us)) in &self.heads {
            update.execute(params![stream, head, newest_us])?;
        }
        Ok(self.unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_of_the_cache_is_bounded() {
        let stream = |n: usize| StreamKey::Conversation(n as u32, n as u32);
        let run = Run { counter: 1, count: 1, stream: 1, seq: 1 };
        let fills: [fn(&mut Cache, usize, StreamKey, Run); 3] = [
            |cache, _, stream, _| {
                cache.streams.insert(stream, 1);
            },
            |cache, n, _, _| {
                cache.senders.insert(SessionId(n as u64), Speaker { row: 1, last: 1 });
            },
            |cache, n, _, run| {
                cache.runs.insert((n as u32, [0; 16]), run);
            },
        ];
        for fill in fills {
            let mut cache = Cache::default();
            for n in 0..CACHED_MAX {
                fill(&mut cache, n, stream(n), run);
            }
            cache.bound();
            let count = |of: &Cache| of.streams.len() + of.senders.len() + of.runs.len();
            assert_eq!(count(&cache), CACHED_MAX);
            fill(&mut cache, CACHED_MAX, stream(CACHED_MAX), run);
            cache.bound();
            assert_eq!(count(&cache), 0);
        }
    }
}
