//! The writer: one connection on its own thread, one transaction a job; retention when it has
//! nothing else to do.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rusqlite::{Connection, ErrorCode};

use super::{
    files::{self, InPlace},
    index::{Identity, Index, path_of},
    load::{Loaded, load},
    retention::{Clock, RemovalProgress, rows},
    schema::{self, fact, set_fact, size_of},
    space::{self, Shrinking},
};
use crate::{
    chat::store::{Entry, Record},
    history::{
        checkpoint::{Checkpoint, Checkpointer, RESTART_WAITS, log_bytes, log_fits},
        connection::{BUSY_WAITS, Options, Retention, connect},
        error::{HistoryError, words},
        identity::{epoch, identity, write_note},
        read::Reader,
        stats::Shared,
        transaction::{Cache, Page},
    },
    limits::{
        HISTORY_CHUNK_ROWS, HISTORY_IDLE_MS, HISTORY_JOBS_MAX, HISTORY_MESSAGE_BYTES,
        HISTORY_NOTE_MS, HISTORY_PAUSE_MS, HISTORY_RETAIN_MS, LOG_BYTES_IDLE_MAX, LOG_EMPTIED_MS,
        SPACE_PAUSE_MS,
    },
    os,
};

/// Called on the writer's thread when a transaction is committed, or why it was not.
pub type Done = Box<dyn Fn(Result<(), String>) + Send>;

struct WriterJob {
    records: Vec<Record>,
    entries: Vec<Entry>,
    now_us: i64,
}

/// The history of a server.
pub struct History {
    path: PathBuf,
    jobs: Option<Sender<WriterJob>>,
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

impl History {
    /// Opens a history, or makes one; `done` is called for each [`History::commit`], in order.
    ///
    /// # Errors
    /// If it is damaged, of another program or a newer version, or can't be opened.
    pub fn open(path: &Path, options: Options, done: Done) -> Result<(Self, Loaded), HistoryError> {
        let failed = |e| HistoryError::of(path, e);
        let connection = open_database(path, &options)?;
        let mut loaded = load(&connection).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let (newest, newest_us) = take_stock(&connection, &shared).map_err(failed)?;
        loaded.epoch = epoch(&connection, path, newest).map_err(failed)?;
        let id = identity(&connection, loaded.epoch).map_err(failed)?;
        let index = Index::start(path, Identity { id, newest }, &shared)?;
        let in_place = Arc::new(InPlace::of(path));
        let reader = Arc::new(Reader::new(path.to_owned(), Arc::clone(&shared)));
        let clock = Clock::new((Instant::now(), os::wall_us()), newest_us, options.retention.keep);
        let writer = Writer {
            connection,
            path: path.to_owned(),
            retention: options.retention,
            shared: Arc::clone(&shared),
            in_place: Arc::clone(&in_place),
            cache: Cache::default(),
            next_id: newest + 1,
            noted_id: newest + 1,
            epoch: loaded.epoch,
            times: Times::begin(),
            removal: RemovalProgress::new(clock),
            behind: false,
            removing: false,
            shrinking: Shrinking::new(),
            rows: 0,
            checkpointer: Checkpointer::start(path, options)?,
            index,
        };
        let (jobs, waiting) = bounded(HISTORY_JOBS_MAX);
        let thread = writer.start(waiting, done).map_err(|e| HistoryError::Sql {
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
            let _ = jobs.send(WriterJob { records, entries, now_us });
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

    /// Returns true if the last transaction failed.
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
            // The last connection that is closed removes the log by its name, which may be another
            // server's by now: the thread and its connection stay until the process ends.
            std::mem::forget(self.jobs.take());
            return;
        }
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Opens the database, or makes it, in the present schema.
fn open_database(path: &Path, options: &Options) -> Result<Connection, HistoryError> {
    let failed = |e| HistoryError::of(path, e);
    schema::check(path)?;
    // Messages are private, whatever the umask: SQLite gives its other files the same mode.
    files::make_private(path)
        .map_err(|e| failed(rusqlite::Error::ToSqlConversionFailure(e.into())))?;
    let mut connection = connect(path, options).map_err(failed)?;
    schema::prepare(&mut connection, path)?;
    schema::index(&connection);
    // A failure is repeated at the next start.
    let _ = space::convert(&connection, path);
    Ok(connection)
}

/// Counts the content of the database; returns id and time of the newest message.
fn take_stock(connection: &Connection, shared: &Shared) -> rusqlite::Result<(u64, Option<i64>)> {
    shared.bytes.store(size_of(connection)?, Ordering::Relaxed);
    *shared.by_user() = by_user(connection)?;
    let last = "SELECT coalesce(max(id), 0) FROM messages";
    let last: u64 = connection.query_row(last, (), |row| row.get(0))?;
    let newest = last.max(fact(connection, "newest")?);
    shared.newest.store(newest, Ordering::SeqCst);
    // Counting a million rows takes a while; ids have few holes.
    let range = (&mut 1, last.cast_signed());
    let oldest = rows(connection, &shared.damage, None, range, 1)?;
    let span = oldest.first().map_or(0, |row| last + 1 - row.id.cast_unsigned());
    shared.messages.store(span, Ordering::Relaxed);
    let newest_us = "SELECT ts FROM messages ORDER BY id DESC LIMIT 1";
    Ok((newest, connection.query_row(newest_us, (), |row| row.get(0)).ok()))
}

fn by_user(connection: &Connection) -> rusqlite::Result<HashMap<u32, u64>> {
    let mut select = connection.prepare("SELECT uid, sum(bytes) FROM senders GROUP BY uid")?;
    let rows = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// When something was last done that is not done after each transaction.
#[derive(Debug)]
pub(super) struct Times {
    /// Looked for what is too old or too much.
    pub(super) retained: Instant,
    /// Submits too old to be submitted again were forgotten.
    pub(super) forgot: Option<Instant>,
    /// The newest id was noted beside the database.
    pub(super) noted: Instant,
    /// The last transaction failed.
    pub(super) failed: Option<Instant>,
    /// The index had taken removed messages out.
    pub(super) forgot_removed: Instant,
    /// Free pages were returned.
    pub(super) shrunk: Instant,
    /// The log was to be emptied for its size.
    pub(super) emptied: Instant,
}

impl Times {
    fn begin() -> Self {
        let now = Instant::now();
        Self {
            retained: now,
            forgot: None,
            noted: now,
            failed: None,
            forgot_removed: now,
            shrunk: now,
            emptied: now,
        }
    }
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) retention: Retention,
    pub(super) shared: Arc<Shared>,
    pub(super) in_place: Arc<InPlace>,
    pub(super) cache: Cache,
    /// Id of the next message; ids rise and are never given again.
    pub(super) next_id: u64,
    /// Newest id when the note beside the database was written.
    pub(super) noted_id: u64,
    pub(super) epoch: u32,
    pub(super) times: Times,
    pub(super) removal: RemovalProgress,
    /// There was more to remove than was removed.
    pub(super) behind: bool,
    /// Something was removed, or free pages returned, in this pause.
    pub(super) removing: bool,
    pub(super) shrinking: Shrinking,
    /// Written since a checkpoint was last asked for.
    pub(super) rows: u64,
    pub(super) checkpointer: Checkpointer,
    pub(super) index: Index,
}

/// Rows after which a checkpoint is asked for.
const CHECKPOINT_ROWS: u64 = 4_096;
/// Rows that a step of returning pages counts for.
const SHRUNK_ROWS: u64 = 256;

/// The answer to each transaction after the writer's thread panicked.
const THREAD_ENDED: &str = "the history can't be written: its thread failed; restart the server";

impl Writer {
    /// Starts the writer's thread.
    fn start(
        mut self,
        waiting: Receiver<WriterJob>,
        done: Done,
    ) -> std::io::Result<JoinHandle<()>> {
        let body = move || {
            let run = AssertUnwindSafe(|| self.run(&waiting, &done));
            if catch_unwind(run).is_err() {
                // The caller waits for an answer to each transaction, and gets it.
                self.shared.failing.store(true, Ordering::Relaxed);
                let refuse = || done(Err(THREAD_ENDED.to_owned()));
                refuse();
                waiting.iter().for_each(|_| refuse());
            }
        };
        std::thread::Builder::new().name("moot-history".to_owned()).spawn(body)
    }

    fn run(&mut self, jobs: &Receiver<WriterJob>, done: &Done) {
        let idle = Duration::from_millis(HISTORY_IDLE_MS);
        let pause = Duration::from_millis(HISTORY_PAUSE_MS);
        let mut wait = pause;
        loop {
            // Its own work goes in small steps, while no commit waits.
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
    pub(super) fn checkpoint(&mut self, rows: u64) {
        self.rows += rows;
        if self.rows < CHECKPOINT_ROWS {
            return;
        }
        self.rows = 0;
        if self.checkpointer.is_long.swap(false, Ordering::Relaxed) && log_fits(&self.path) {
            // Readers may keep it from starting over; the writer does not wait for them.
            let _ = self.connection.busy_timeout(RESTART_WAITS);
            let sql = "PRAGMA wal_checkpoint(RESTART)";
            let _ = self.connection.query_row(sql, (), |_| Ok(()));
            let _ = self.connection.busy_timeout(BUSY_WAITS);
        } else {
            self.checkpointer.ask(Checkpoint::Some);
        }
    }

    /// Does the work that must not wait for a pause, in proportion to the incoming messages.
    fn keep_up(&mut self, job: &WriterJob) {
        let bytes: u64 = job.entries.iter().map(|entry| entry.text.len() as u64).sum();
        let entries = job.entries.len() as u64;
        // Long texts and large records fill the log as well. A record of the usual size changes a
        // few pages.
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
            // The file ends where it should once the whole log is moved, which never is while
            // commits come.
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

    fn commit(&mut self, job: &WriterJob) -> rusqlite::Result<()> {
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

    fn write(&mut self, job: &WriterJob) -> rusqlite::Result<()> {
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
            imported: HashMap::new(),
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

    fn close(&mut self) {
        self.checkpointer.asked = None;
        // The epoch's note learns the newest id; the rest is tidiness.
        let _ = write_note(&self.path, self.epoch, self.next_id - 1);
        let _ = self.connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
    }
}
