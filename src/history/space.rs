//! Disk space of a database: free pages return to the file system in small steps, between other
//! work.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{damage::is_damaged, files::beside, schema::size_of};
use crate::{
    limits::{
        FREE_PAGES_MAX, FREE_SHARE, HISTORY_REWRITE_BYTES_MAX, SPACE_STEP_MS, SPACE_STEP_PAGES_MAX,
    },
    os,
};

/// Value of `PRAGMA auto_vacuum` of a database that can return free pages one by one.
const INCREMENTAL: u64 = 2;

/// Lets a new database return free pages in steps. Must come before its first table and its log; an
/// existing database stays as it is until [`convert`].
pub(super) fn allow(connection: &Connection) -> rusqlite::Result<()> {
    match number(connection, "PRAGMA page_count")? {
        0 => set(connection),
        _ => Ok(()),
    }
}

/// Has the next copy that `VACUUM INTO` makes return free pages in steps.
pub(super) fn allow_in_copy(connection: &Connection) -> rusqlite::Result<()> {
    match is_incremental(connection)? {
        true => Ok(()),
        false => set(connection),
    }
}

fn set(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")
}

/// Rewrites a database of an earlier version, which could not return pages. A large one stays as it
/// is: the caller waits for this, and `moot backup` with `moot restore` does the same.
pub(super) fn convert(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let used_bytes = size_of(connection)?;
    let space = path.parent().and_then(|dir| os::space_at(dir).ok());
    let has_room = space.is_none_or(|space| space.free_bytes >= 4 * HISTORY_REWRITE_BYTES_MAX);
    if is_incremental(connection)? || used_bytes > HISTORY_REWRITE_BYTES_MAX || !has_room {
        return Ok(());
    }
    set(connection)?;
    // Its texts are in no other directory, not even for the time of this.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let done = connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);");
    connection.pragma_update(None, "temp_store", "DEFAULT")?;
    done
}

fn is_incremental(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(number(connection, "PRAGMA auto_vacuum")? == INCREMENTAL)
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection.query_row(sql, (), |row| row.get(0))
}

/// Bytes that a database and its log occupy on disk.
pub(super) fn bytes_on_disk(path: &Path) -> u64 {
    let bytes = |path: &Path| path.symlink_metadata().map_or(0, |meta| meta.len());
    bytes(path) + bytes(&beside(path, "-wal"))
}

/// Returns the free pages of one database to the file system.
#[derive(Debug)]
pub(super) struct Shrinking {
    /// Returning them: begins when there are many, and ends when none is left.
    is_active: bool,
    /// The database can't return pages: it was made by an earlier version, or is damaged.
    is_unable: bool,
    /// Pages of the next step, by the time that the last one took.
    step_pages: u64,
}

impl Shrinking {
    pub(super) fn new() -> Self {
        Self { is_active: false, is_unable: false, step_pages: 64 }
    }

    /// Returns some pages if many are free; with `all`, if any is free. Returns true if there may
    /// be more.
    pub(super) fn step(&mut self, connection: &Connection, all: bool) -> rusqlite::Result<bool> {
        if self.is_unable {
            return Ok(false);
        }
        let free = number(connection, "PRAGMA freelist_count")?;
        let used = number(connection, "PRAGMA page_count")? - free;
        self.is_active |= all || free > FREE_PAGES_MAX.max(used / FREE_SHARE);
        if !self.is_active || free == 0 {
            self.is_active = false;
            return Ok(false);
        }
        if !is_incremental(connection)? {
            self.is_unable = true;
            return Ok(false);
        }
        let since = Instant::now();
        if let Err(e) = vacuum(connection, self.step_pages) {
            self.is_unable = is_damaged(&e);
            return Err(e);
        }
        let limit = Duration::from_millis(SPACE_STEP_MS);
        self.step_pages = match since.elapsed() {
            took if took > limit => (self.step_pages / 2).max(1),
            took if took < limit / 2 => (self.step_pages * 2).min(SPACE_STEP_PAGES_MAX),
            _ => self.step_pages,
        };
        Ok(true)
    }
}

/// Moves up to `pages` pages from the end of the file into free ones, and cuts the end off.
fn vacuum(connection: &Connection, pages: u64) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = select.query(())?;
    // A page a row.
    while rows.next()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chat::store::Record,
        history::{
            back_up,
            tests::{Kept, entry, found, open, read_from, room, stream},
        },
        limits::INDEX_PURGE_MS,
    };

    const MESSAGES: u64 = 20_000;

    /// A history with many messages in the room `dev` and a few in `ops`.
    fn full(dir: &Path) -> Kept {
        let kept = open(dir);
        let text = "a long text with many words that differ from one another ".repeat(6);
        for first in (1..=MESSAGES).step_by(1_000) {
            let entry = |seq| entry(&stream("dev"), seq, 5, "ann", &text);
            kept.commit(Vec::new(), (first..first + 1_000).map(entry).collect()).unwrap();
        }
        let few = |seq| entry(&stream("ops"), seq, 5, "ann", "needle");
        kept.commit(Vec::new(), (1..=10).map(few).collect()).unwrap();
        assert_eq!(found(&kept, "needle"), 10);
        kept
    }

    #[track_caller]
    fn eventually(what: &str, holds: impl Fn() -> bool) {
        // Longer than the pause between two purges of the index.
        let until = Instant::now() + Duration::from_millis(4 * INDEX_PURGE_MS);
        while !holds() {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The kind of `auto_vacuum`, and bytes that are in use.
    fn look(path: &Path) -> (u64, u64) {
        let db = Connection::open(path).unwrap();
        (number(&db, "PRAGMA auto_vacuum").unwrap(), size_of(&db).unwrap())
    }

    fn gone(kept: &Kept) {
        let gone = Record::RoomGone { name: room("dev"), head: MESSAGES };
        kept.commit(vec![gone], Vec::new()).unwrap();
    }

    /// As a history was that an earlier version made.
    fn make_old(path: &Path) {
        let db = Connection::open(path).unwrap();
        db.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM;").unwrap();
        drop(db);
        assert_eq!(look(path).0, 0);
    }

    #[test]
    fn deleted_room_returns_its_space_and_senders_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let kept = full(dir.path());
        let files = ["h.db", "search.db"].map(|name| dir.path().join(name));
        let sizes = || files.clone().map(|path| bytes_on_disk(&path));
        let before = sizes();
        assert!(before[0] > 4 << 20 && before[1] > 1 << 20, "{before:?}");
        gone(&kept);
        let mut seq = 10;
        eventually("the history does not shrink", || sizes()[0] < before[0] / 8);
        eventually("the index does not shrink", || sizes()[1] < before[1] / 8);
        // What is left is whole, and takes more.
        seq += 1;
        kept.commit(Vec::new(), vec![entry(&stream("ops"), seq, 5, "ann", "needle")]).unwrap();
        assert_eq!(found(&kept, "needle"), 11);
        assert_eq!(read_from(&kept, &stream("ops"), 1, 11).len(), 11);
        drop(kept);
        for path in files {
            let db = Connection::open(&path).unwrap();
            let word: String =
                db.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
            assert_eq!(word, "ok", "{}", path.display());
        }
    }

    #[test]
    fn deleted_room_returns_its_space_without_a_pause_of_senders() {
        let dir = tempfile::tempdir().unwrap();
        let kept = full(dir.path());
        let path = dir.path().join("h.db");
        // Everything is in the file, and not in its log only.
        eventually("the log stays", || bytes_on_disk(&path) < 2 * path.metadata().unwrap().len());
        let bytes = || path.metadata().unwrap().len();
        let before = bytes();
        gone(&kept);
        let until = Instant::now() + Duration::from_secs(60);
        for seq in 11.. {
            if bytes() < before / 2 {
                break;
            }
            assert!(Instant::now() < until, "the history does not shrink");
            kept.commit(Vec::new(), vec![entry(&stream("ops"), seq, 5, "ann", "x")]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn index_is_made_again_if_most_of_its_messages_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let [history, index] = ["h.db", "search.db"].map(|name| dir.path().join(name));
        drop(full(dir.path()));
        for (room, is_made_again) in [("ops", false), ("dev", true)] {
            let db = Connection::open(&history).unwrap();
            let of_room = format!("WHERE stream = (SELECT id FROM streams WHERE name = '{room}')");
            db.execute_batch(&format!(
                "INSERT OR IGNORE INTO facts SELECT 'newest', max(id) FROM messages;
                 INSERT INTO removed SELECT id FROM messages {of_room};
                 DELETE FROM messages {of_room};"
            ))
            .unwrap();
            drop(db);
            let marked = Connection::open(&index).unwrap();
            marked.execute("INSERT OR REPLACE INTO facts VALUES ('marked', 1)", ()).unwrap();
            drop(marked);
            let kept = open(dir.path());
            let count = |path: &Path, sql: &str| number(&Connection::open(path).unwrap(), sql);
            eventually("the notes stay", || {
                count(&history, "SELECT count(*) FROM removed").is_ok_and(|left| left == 0)
            });
            assert_eq!(found(&kept, "needle"), 0);
            let marks = count(&index, "SELECT count(*) FROM facts WHERE key = 'marked'");
            assert_eq!(marks.unwrap() == 0, is_made_again, "{room}");
        }
    }

    #[test]
    fn log_is_emptied_when_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let _kept = full(dir.path());
        for name in ["h.db-wal", "search.db-wal"] {
            let bytes = || dir.path().join(name).metadata().map_or(0, |meta| meta.len());
            eventually(name, || bytes() <= crate::limits::LOG_BYTES_IDLE_MAX);
        }
    }

    #[test]
    fn history_of_an_earlier_version_is_rewritten_unless_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h.db");
        drop(full(dir.path()));
        make_old(&path);
        let kept = open(dir.path());
        assert_eq!(look(&path).0, INCREMENTAL);
        assert_eq!(read_from(&kept, &stream("ops"), 1, 10).len(), 10);
        assert_eq!(found(&kept, "needle"), 10);
        drop(kept);
        make_old(&path);
        let db = Connection::open(&path).unwrap();
        let large = HISTORY_REWRITE_BYTES_MAX.cast_signed();
        db.execute("UPDATE streams SET topic = CAST(zeroblob(?) AS TEXT)", [large]).unwrap();
        drop(db);
        let kept = open(dir.path());
        assert_eq!(look(&path).0, 0, "the server would start too late");
        gone(&kept);
        drop(kept);
    }

    #[test]
    fn backup_of_an_earlier_version_can_return_space() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("h.db"), dir.path().join("copy.db"));
        drop(full(dir.path()));
        let copies = || {
            back_up(&path, &copy).unwrap();
            look(&copy).0
        };
        assert_eq!(copies(), INCREMENTAL);
        make_old(&path);
        assert_eq!(copies(), INCREMENTAL);
        assert_eq!(look(&path).0, 0, "the history itself is unchanged");
    }
}
