//! The index of search: a database of its own, filled behind the commits by a thread for which they
//! never wait.
//!
//! It can be lost, damaged, or of another history: then it is rebuilt from the messages. Messages
//! that are removed from the history are noted there (`removed`) in the same transaction, until
//! they can't be found here. Their traces go when the parts of the index are merged, at most once a
//! minute.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rusqlite::{Connection, OpenFlags, params};

use super::{
    damage::{Order, is_damaged, leap, pass_over},
    files,
    schema::{fact, set_fact, size_of},
    search::{folded, trigrams},
    space::{self, Shrinking},
};
use crate::{
    faults::{Fault, planted},
    history::{error::HistoryError, stats::Shared},
    limits::{
        HISTORY_IDLE_MS, INDEX_CHUNK_BYTES, INDEX_CHUNK_ROWS, INDEX_FREE_BYTES_MIN, INDEX_PURGE_MS,
        INDEX_QUIET_MS, INDEX_REMADE_ROWS_MIN, LOG_BYTES_IDLE_MAX,
    },
    os,
};

/// Version of the tables here; an index of another version is rebuilt.
const VERSION: i64 = 2;

/// Values of the fact `purge`: the index has traces of removed messages; only in its free pages.
const TRACES: u64 = 1;
const TRACES_IN_FREE_PAGES: u64 = 2;

/// Returns the tables. The trigrams of each text are its words here. Of each trigram the index has
/// the messages and not the places in their texts: with them it took three times as much, more than
/// the history. Found messages are compared with the texts.
fn tables() -> String {
    let signs: String = ('!'..='~').filter(char::is_ascii_punctuation).collect();
    let tokenizer = format!("ascii tokenchars '{}'", signs.replace('\'', "''"));
    format!(
        "CREATE TABLE facts (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
         CREATE VIRTUAL TABLE search USING fts5 (text, content='', contentless_delete=1, detail=none,
           tokenize=\"{}\");",
        tokenizer.replace('"', "\"\"")
    )
}

/// Maximum wait for a lock of another connection.
const BUSY_WAITS: Duration = Duration::from_secs(5);

/// Returns the path of the index of a history.
pub(super) fn path_of(history: &Path) -> PathBuf {
    history.with_file_name("search.db")
}

/// Fills the index, as long as this value lives.
pub(super) struct Index {
    ask: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Removed messages that can't be found any more.
    gone: Receiver<Vec<i64>>,
}

/// History that an index belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Random; another one whenever an older history was put back.
    pub(super) id: u64,
    /// Newest message of the history.
    pub(super) newest: u64,
}

impl Index {
    /// Starts to fill the index of a history. A fault of the index disturbs no member: until it is
    /// there, a search looks through all messages.
    pub(super) fn start(
        history: &Path,
        identity: Identity,
        shared: &Arc<Shared>,
    ) -> Result<Self, HistoryError> {
        let failed = |e| HistoryError::of(history, e);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let messages = Connection::open_with_flags(history, flags).map_err(failed)?;
        messages.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        let (ask, asked) = bounded(1);
        let (tell, gone) = bounded(4);
        let mut filler = Filler {
            path: path_of(history),
            identity,
            messages,
            shared: Arc::clone(shared),
            forgotten: HashSet::new(),
            merged: false,
            purged: None,
            removals: None,
            given_back: 0,
            shrinking: Shrinking::new(),
            compared: None,
            is_remade: false,
        };
        let thread = std::thread::Builder::new()
            .name("moot-index".to_owned())
            .spawn(move || {
                os::step_back();
                filler.run(&asked, &tell);
            })
            .map_err(|e| failed(rusqlite::Error::ToSqlConversionFailure(e.into())))?;
        Ok(Self { ask: Some(ask), thread: Some(thread), gone })
    }

    /// There is something new.
    pub(super) fn ask(&self) {
        // One that waits is enough.
        let _ = self.ask.as_ref().map(|ask| ask.try_send(()));
    }

    /// Removed messages that need not be noted any more.
    pub(super) fn gone(&self) -> impl Iterator<Item = Vec<i64>> + '_ {
        self.gone.try_iter()
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // It ends after the step that it is at.
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Opens an index, or makes one. None: it is there, and of another history.
fn open(path: &Path, identity: Identity) -> rusqlite::Result<Option<Connection>> {
    // Messages are private, and so are their parts.
    files::make_private(path).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let mut index = Connection::open(path)?;
    index.busy_timeout(BUSY_WAITS)?;
    space::allow(&index)?;
    // Free pages are not overwritten: a merge frees hundreds of megabytes at once, and all of them
    // would go through the log. They leave the file instead, before a removal counts as done.
    index.pragma_update(None, "secure_delete", "FAST")?;
    index.pragma_update(None, "journal_mode", "WAL")?;
    // It can be rebuilt.
    index.pragma_update(None, "synchronous", "NORMAL")?;
    // Small steps: a commit of the history waits while the disk takes one.
    index.pragma_update(None, "wal_autocheckpoint", 250)?;
    index.pragma_update(None, "journal_size_limit", LOG_BYTES_IDLE_MAX)?;
    let version: i64 = index.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    if version == 0 {
        let transaction = index.transaction()?;
        transaction.execute_batch(&tables())?;
        set_fact(&transaction, "history", identity.id)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
        return Ok(Some(index));
    }
    let fits = version == VERSION
        && fact(&index, "history")? == identity.id
        && fact(&index, "indexed")? <= identity.newest;
    Ok(fits.then_some(index))
}

/// Removes an index; gives the bytes that it took.
fn remove(path: &Path) -> u64 {
    let paths = ["db", "db-wal", "db-shm"].map(|end| path.with_extension(end));
    let bytes = paths.iter().filter_map(|path| Some(path.symlink_metadata().ok()?.len())).sum();
    for path in paths {
        // What can't be removed fails to open.
        let _ = std::fs::remove_file(path);
    }
    bytes
}

struct Filler {
    path: PathBuf,
    identity: Identity,
    /// The history, read only.
    messages: Connection,
    shared: Arc<Shared>,
    /// Removed messages that are out of the index, and may still be noted.
    forgotten: HashSet<i64>,
    /// There is nothing to be merged.
    merged: bool,
    /// Time of the last purge.
    purged: Option<Instant>,
    /// Times of the first and the last removal since then.
    removals: Option<(Instant, Instant)>,
    /// Bytes that the history got from the index when the disk was full: the index is not created
    /// again before that much more is free.
    given_back: u64,
    shrinking: Shrinking,
    /// When it was last asked whether most of the index is of removed messages.
    compared: Option<Instant>,
    /// The index was made again for that reason, and what was removed before is still noted.
    is_remade: bool,
}

impl Filler {
    fn run(&mut self, asked: &Receiver<()>, tell: &Sender<Vec<i64>>) {
        let idle = Duration::from_millis(HISTORY_IDLE_MS);
        let mut wait = Duration::ZERO;
        let mut index = None;
        while asked.recv_timeout(wait) != Err(RecvTimeoutError::Disconnected) {
            // A search may have found it out.
            let damaged = self.shared.index_damaged.load(Ordering::Relaxed);
            if self.shared.needs_space.swap(false, Ordering::Relaxed)
                && !planted(Fault::IndexKeepsFullDisk)
            {
                index = None;
                self.give_back();
            }
            if index.is_some() && self.is_mostly_gone() {
                index = None;
                self.shared.indexed.store(0, Ordering::Relaxed);
                remove(&self.path);
                self.is_remade = true;
            }
            let done = match &mut index {
                _ if damaged || !self.has_room() => Ok(false),
                None => self.open().map(|opened| {
                    index = opened;
                    true
                }),
                Some(index) => self.step(index, tell),
            };
            let damaged = damaged || done.as_ref().is_err_and(is_damaged);
            if damaged {
                index = None;
                remove(&self.path);
                self.shared.index_damaged.store(false, Ordering::Relaxed);
            }
            wait = match done {
                Ok(true) => Duration::ZERO,
                Ok(false) => idle,
                // A full disk, no descriptor: tried again later.
                Err(_) => idle,
            };
        }
        if let Some(index) = index {
            let _ = index.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
        }
    }

    /// Returns true if the history leaves room for more of the index.
    fn has_room(&self) -> bool {
        let free_bytes = match self.path.parent().map(os::space_at) {
            Some(Ok(space)) => space.free_bytes,
            Some(Err(_)) | None => u64::MAX,
        };
        let is_failing = self.shared.failing.load(Ordering::Relaxed);
        !is_failing && free_bytes >= INDEX_FREE_BYTES_MIN + self.given_back
    }

    /// Removes the index, which can be made again, so that the history, which can't, has its space.
    fn give_back(&mut self) {
        self.shared.indexed.store(0, Ordering::Relaxed);
        self.shared.index_bytes.store(0, Ordering::Relaxed);
        self.given_back = self.given_back.max(remove(&self.path));
    }

    fn open(&mut self) -> rusqlite::Result<Option<Connection>> {
        self.given_back = 0;
        self.shared.indexed.store(0, Ordering::Relaxed);
        let index = match open(&self.path, self.identity)? {
            Some(index) => index,
            None => {
                remove(&self.path);
                let Some(index) = open(&self.path, self.identity)? else { return Ok(None) };
                index
            }
        };
        let indexed = fact(&index, "indexed")?;
        self.measure(&index)?;
        self.merged = false;
        self.shared.indexed.store(indexed, Ordering::Relaxed);
        Ok(Some(index))
    }

    /// Returns true if more messages are to be taken out of the index than stay: a rebuild is
    /// faster.
    fn is_mostly_gone(&mut self) -> bool {
        let idle = Duration::from_millis(HISTORY_IDLE_MS);
        if self.compared.is_some_and(|at| at.elapsed() < idle) {
            return false;
        }
        self.compared = Some(Instant::now());
        let stay = self.shared.messages().max(INDEX_REMADE_ROWS_MIN);
        let indexed = self.shared.indexed.load(Ordering::Relaxed);
        self.has_noted(indexed.cast_signed(), stay)
    }

    /// Returns true if there are notes of more than `count` removed messages, up to an id.
    fn has_noted(&self, upto: i64, count: u64) -> bool {
        let sql = "SELECT 1 FROM removed WHERE id <= ? LIMIT 1 OFFSET ?";
        let select = self.messages.prepare_cached(sql);
        select.is_ok_and(|mut select| select.exists(params![upto, count]).unwrap_or(false))
    }

    /// Some of what is to be done; whether there is more.
    fn step(&mut self, index: &mut Connection, tell: &Sender<Vec<i64>>) -> rusqlite::Result<bool> {
        let forgets = self.forget(index, tell)?;
        if self.is_remade && !forgets {
            // While nothing is in the index, nothing has to be taken out of it.
            self.is_remade = self.has_noted(i64::MAX, INDEX_REMADE_ROWS_MIN);
        }
        if self.is_remade {
            return Ok(forgets);
        }
        let more = forgets || self.add(index)? || self.merge(index)?;
        self.measure(index)?;
        let more = more || self.purge(index)? || self.shrinking.step(index, false)?;
        if !more {
            self.empty_log(index)?;
        }
        Ok(more)
    }

    /// Empties the log of an index that is complete, unless it is small.
    fn empty_log(&self, index: &Connection) -> rusqlite::Result<()> {
        let log_bytes = files::beside(&self.path, "-wal").metadata().map_or(0, |meta| meta.len());
        if log_bytes > LOG_BYTES_IDLE_MAX {
            // A search that reads it is not waited for: the next look comes in a second.
            index.busy_timeout(Duration::ZERO)?;
            let done = index.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
            index.busy_timeout(BUSY_WAITS)?;
            done?;
        }
        Ok(())
    }

    /// Measures the average size of a message here: removed messages count until their traces are
    /// gone.
    fn measure(&self, index: &Connection) -> rusqlite::Result<()> {
        self.shared.index_bytes.store(size_of(index)?, Ordering::Relaxed);
        if fact(index, "purge")? == 0 {
            self.shared.note_index_share();
        }
        Ok(())
    }

    /// Takes removed messages out; whether there are more.
    fn forget(
        &mut self,
        index: &mut Connection,
        tell: &Sender<Vec<i64>>,
    ) -> rusqlite::Result<bool> {
        if tell.is_full() {
            // The writer wakes this thread when it has read one.
            return Ok(false);
        }
        let most = (self.forgotten.len() + INDEX_CHUNK_ROWS) as u64;
        // What is wrong with the history is not wrong with the index.
        let Ok(noted) = self.noted(most) else { return Ok(false) };
        let more = noted.len() as u64 == most;
        let noted: HashSet<i64> = noted.into_iter().collect();
        // The writer has done with these.
        self.forgotten.retain(|id| noted.contains(id));
        let new: Vec<i64> = noted.difference(&self.forgotten).copied().collect();
        if new.is_empty() {
            return Ok(false);
        }
        let indexed = self.shared.indexed.load(Ordering::Relaxed).cast_signed();
        if new.iter().any(|id| *id <= indexed) {
            self.take_out(index, new.iter().copied().filter(|id| *id <= indexed))?;
        }
        self.forgotten.extend(&new);
        if tell.try_send(new).is_err() {
            // Reported another time.
            self.forgotten.clear();
            return Ok(false);
        }
        Ok(more)
    }

    fn take_out(
        &mut self,
        index: &mut Connection,
        ids: impl Iterator<Item = i64>,
    ) -> rusqlite::Result<()> {
        // It must not come back by a power cut once no note says that it is removed.
        index.pragma_update(None, "synchronous", "FULL")?;
        let transaction = index.transaction()?;
        {
            let mut delete = transaction.prepare_cached("DELETE FROM search WHERE rowid = ?")?;
            for id in ids {
                delete.execute([id])?;
            }
        }
        set_fact(&transaction, "purge", TRACES)?;
        transaction.commit()?;
        index.pragma_update(None, "synchronous", "NORMAL")?;
        self.merged = false;
        let now = Instant::now();
        self.removals = Some((self.removals.map_or(now, |(first, _)| first), now));
        Ok(())
    }

    /// Removed messages of which there is a note.
    fn noted(&self, most: u64) -> rusqlite::Result<Vec<i64>> {
        let sql = "SELECT id FROM removed ORDER BY id LIMIT ?";
        let mut select = self.messages.prepare_cached(sql)?;
        select.query_map([most], |row| row.get(0))?.collect()
    }

    /// Texts of some messages behind an id, and the id up to which everything was looked at.
    fn texts(&self, after: u64) -> rusqlite::Result<(Vec<(i64, String)>, u64)> {
        // Announcements are found where they are listed.
        let sql = "SELECT id, CASE WHEN notice IS NULL THEN text ELSE '' END
                   FROM messages WHERE id BETWEEN ? AND ? ORDER BY id";
        let mut select = self.messages.prepare_cached(sql)?;
        let (mut texts, mut bytes) = (Vec::new(), 0);
        let mut next = after.cast_signed() + 1;
        let last = self.shared.newest.load(Ordering::SeqCst).cast_signed();
        let read = |next: &mut i64, last: i64| {
            let mut rows = select.query([*next, last])?;
            while texts.len() < INDEX_CHUNK_ROWS && bytes < INDEX_CHUNK_BYTES {
                let Some(row) = rows.next()? else {
                    *next = last.saturating_add(1).max(*next);
                    break;
                };
                *next = row.get(0)?;
                let text = folded(row.get_ref(1)?.as_str()?);
                bytes += text.len();
                texts.push((*next, text));
                *next += 1;
            }
            Ok(())
        };
        let leap = |bad, last| leap(&self.messages, Order::OldestFirst, bad, last);
        pass_over(&self.shared.damage, &mut next, last, read, leap)?;
        Ok((texts, (next - 1).cast_unsigned()))
    }

    /// Makes some more messages findable.
    fn add(&mut self, index: &mut Connection) -> rusqlite::Result<bool> {
        let indexed = self.shared.indexed.load(Ordering::Relaxed);
        // Read first: no commit waits for this. A fault of the history is not one of the index.
        let Ok((texts, last)) = self.texts(indexed) else { return Ok(false) };
        if last <= indexed {
            return Ok(false);
        }
        let transaction = index.transaction()?;
        {
            let sql = "INSERT INTO search (rowid, text) VALUES (?, ?)";
            let mut insert = transaction.prepare_cached(sql)?;
            for (id, text) in &texts {
                let parts = trigrams(text).into_iter().collect::<Vec<_>>().join(" ");
                insert.execute(params![id, parts])?;
            }
        }
        set_fact(&transaction, "indexed", last)?;
        transaction.commit()?;
        self.merged = false;
        self.shared.indexed.store(last, Ordering::Relaxed);
        Ok(true)
    }

    /// Merges some parts of the index; whether there may be more to merge.
    fn merge(&mut self, index: &Connection) -> rusqlite::Result<bool> {
        self.merged = self.merged || !merge(index, 64)?;
        Ok(!self.merged)
    }

    /// Merges everything and returns all free pages, so that nothing is left of removed messages.
    /// Returns true if there is more to do. Not often: it writes the whole index.
    fn purge(&mut self, index: &Connection) -> rusqlite::Result<bool> {
        let is_within = |at: Instant, ms| at.elapsed() < Duration::from_millis(ms);
        // A removal of many messages comes in parts, and one purge is enough for all of them.
        let is_going_on = self.removals.is_some_and(|(first, last)| {
            is_within(last, INDEX_QUIET_MS) && is_within(first, INDEX_PURGE_MS)
        });
        let too_soon = is_going_on || self.purged.is_some_and(|at| is_within(at, INDEX_PURGE_MS));
        let traces = fact(index, "purge")?;
        if too_soon || traces == 0 {
            return Ok(false);
        }
        if traces == TRACES {
            if !merge(index, -256)? {
                set_fact(index, "purge", TRACES_IN_FREE_PAGES)?;
            }
            return Ok(true);
        }
        if self.shrinking.step(index, true)? {
            return Ok(true);
        }
        set_fact(index, "purge", 0)?;
        index.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
        self.purged = Some(Instant::now());
        self.removals = None;
        self.measure(index)?;
        Ok(false)
    }
}

/// Writes up to `pages` pages of merged parts (of all parts, if negative). Returns true if there
/// was anything to merge. (The index counts its writes as changes; one is the statement itself.)
fn merge(index: &Connection, pages: i32) -> rusqlite::Result<bool> {
    let before = index.total_changes();
    let sql = "INSERT INTO search (search, rank) VALUES ('merge', ?)";
    index.prepare_cached(sql)?.execute([pages])?;
    Ok(index.total_changes() - before >= 2)
}
