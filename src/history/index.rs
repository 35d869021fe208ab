//! The index of search: a database of its own, filled behind the commits by a thread that they never wait for.
//!
//! It can be lost: it is made anew from the messages. What is removed from the history is noted there
//! (`removed`) in the same transaction, and stays noted until it is gone from here.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{HistoryError, search::folded, write::Shared};
use crate::{
    limits::{HISTORY_IDLE_MS, INDEX_CHUNK_ROWS},
    os,
};

/// Version of the tables here; another one is made anew.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE facts (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE search USING fts5 (text, content='', contentless_delete=1, tokenize='trigram');
";

/// Where the index of a history is.
pub(super) fn path_of(history: &Path) -> PathBuf {
    history.with_file_name("search.db")
}

/// Fills the index, as long as this value lives.
pub(super) struct Index {
    ask: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Removed messages that are gone from the index.
    gone: Receiver<Vec<i64>>,
}

impl Index {
    /// Opens the index of a history, or begins anew: if there is none, it can't be read, or is of another
    /// state of the history.
    pub(super) fn start(
        history: &Path,
        epoch: u32,
        newest: u64,
        shared: &Arc<Shared>,
    ) -> Result<Self, HistoryError> {
        let failed = |e| HistoryError::of(history, e);
        let path = path_of(history);
        let index = match open(&path, epoch, newest) {
            Ok(Some(index)) => index,
            Ok(None) | Err(_) => {
                remove(&path);
                open(&path, epoch, newest)
                    .map_err(failed)?
                    .ok_or_else(|| failed(rusqlite::Error::InvalidQuery))?
            }
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let messages = Connection::open_with_flags(history, flags).map_err(failed)?;
        messages.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        shared.indexed.store(fact(&index, "indexed").map_err(failed)?, Ordering::Relaxed);
        shared.index_bytes.store(size_of(&index).map_err(failed)?, Ordering::Relaxed);
        let (ask, asked) = bounded(1);
        let (tell, gone) = bounded(4);
        let mut filler = Filler { index, messages, shared: Arc::clone(shared), merged: false };
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
        self.ask = None;
        // It may be about to tell what is gone.
        while self.gone.recv_timeout(Duration::from_secs(30)).is_ok() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// None: it is there, and of no use.
fn open(path: &Path, epoch: u32, newest: u64) -> rusqlite::Result<Option<Connection>> {
    // What is said is nobody else's, nor are its parts.
    os::make_private(path).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let mut index = Connection::open(path)?;
    index.busy_timeout(Duration::from_secs(5))?;
    index.pragma_update(None, "secure_delete", true)?;
    index.pragma_update(None, "journal_mode", "WAL")?;
    // It can be made anew.
    index.pragma_update(None, "synchronous", "NORMAL")?;
    index.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    let version: i64 = index.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    if version == 0 {
        let transaction = index.transaction()?;
        transaction.execute_batch(TABLES)?;
        set_fact(&transaction, "epoch", epoch.into())?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
        return Ok(Some(index));
    }
    let fits = version == VERSION
        && fact(&index, "epoch")? == u64::from(epoch)
        && fact(&index, "indexed")? <= newest;
    Ok(fits.then_some(index))
}

fn remove(path: &Path) {
    for end in ["db", "db-wal", "db-shm"] {
        // What can't be removed fails to open.
        let _ = std::fs::remove_file(path.with_extension(end));
    }
}

fn fact(connection: &Connection, key: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT value FROM facts WHERE key = ?";
    Ok(connection.query_row(sql, [key], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn set_fact(connection: &Connection, key: &str, value: u64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value";
    connection.prepare_cached(sql)?.execute(params![key, value]).map(drop)
}

fn size_of(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |sql| connection.query_row(sql, (), |row| row.get::<_, u64>(0));
    let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    Ok(pages * number("PRAGMA page_size")?)
}

struct Filler {
    index: Connection,
    /// The history, read only.
    messages: Connection,
    shared: Arc<Shared>,
    /// There is nothing to be merged.
    merged: bool,
}

impl Filler {
    fn run(&mut self, asked: &Receiver<()>, tell: &Sender<Vec<i64>>) {
        let idle = Duration::from_millis(HISTORY_IDLE_MS);
        let mut wait = Duration::ZERO;
        while asked.recv_timeout(wait) != Err(RecvTimeoutError::Disconnected) {
            // What fails here (a full disk) is tried again later.
            let more = self.step(tell).unwrap_or(false);
            wait = if more { Duration::ZERO } else { idle };
        }
        let _ = self.index.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
    }

    /// Some of what is to be done; whether there is more.
    fn step(&mut self, tell: &Sender<Vec<i64>>) -> rusqlite::Result<bool> {
        if self.forget(tell)? || self.add()? {
            let bytes = size_of(&self.index)?;
            self.shared.index_bytes.store(bytes, Ordering::Relaxed);
            return Ok(true);
        }
        self.merge()
    }

    /// Takes removed messages out.
    fn forget(&mut self, tell: &Sender<Vec<i64>>) -> rusqlite::Result<bool> {
        let sql = "SELECT id FROM removed LIMIT ?";
        let mut select = self.messages.prepare_cached(sql)?;
        let ids: Vec<i64> = select
            .query_map([INDEX_CHUNK_ROWS as u64], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        drop(select);
        if ids.is_empty() {
            return Ok(false);
        }
        let transaction = self.index.transaction()?;
        {
            let mut delete = transaction.prepare_cached("DELETE FROM search WHERE rowid = ?")?;
            for id in &ids {
                delete.execute([id])?;
            }
        }
        transaction.commit()?;
        self.merged = false;
        // What was said is in the parts until they are merged.
        while self.merge()? {}
        // The writer forgets them; until it has, they come again.
        let more = ids.len() == INDEX_CHUNK_ROWS;
        let _ = tell.try_send(ids);
        Ok(more)
    }

    /// Makes some more messages findable.
    fn add(&mut self) -> rusqlite::Result<bool> {
        let indexed = self.shared.indexed.load(Ordering::Relaxed);
        let mut last = indexed;
        let transaction = self.index.transaction()?;
        {
            let sql = "SELECT id, text FROM messages WHERE id > ? ORDER BY id LIMIT ?";
            let mut texts = self.messages.prepare_cached(sql)?;
            let mut insert =
                transaction.prepare_cached("INSERT INTO search (rowid, text) VALUES (?, ?)")?;
            let mut rows = texts.query(params![indexed, INDEX_CHUNK_ROWS as u64])?;
            while let Some(row) = rows.next()? {
                last = row.get(0)?;
                insert.execute(params![last, folded(row.get_ref(1)?.as_str()?)])?;
            }
        }
        if last == indexed {
            return Ok(false);
        }
        set_fact(&transaction, "indexed", last)?;
        transaction.commit()?;
        self.merged = false;
        self.shared.indexed.store(last, Ordering::Relaxed);
        Ok(true)
    }

    /// Merges some parts of the index; whether there may be more to merge. (It counts what it writes as
    /// changes; one is the statement itself.)
    fn merge(&mut self) -> rusqlite::Result<bool> {
        if self.merged {
            return Ok(false);
        }
        let before = self.index.total_changes();
        let sql = "INSERT INTO search (search, rank) VALUES ('merge', 64)";
        self.index.prepare_cached(sql)?.execute(())?;
        self.merged = self.index.total_changes() - before < 2;
        Ok(!self.merged)
    }
}
