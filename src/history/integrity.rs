//! Examination of a history for faults: nothing is written, not even beside it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};

use super::schema;
use crate::history::error::HistoryError;

/// Steps of SQLite between two looks at the time.
const STEPS: i32 = 10_000;
/// Maximum time that another program may hold the database.
pub(super) const BUSY: Duration = Duration::from_millis(200);

/// Result of the examination of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Examined {
    /// There is none.
    Absent,
    /// Its pages fit each other.
    Good,
    /// It can be used as far as it was looked at in the time given.
    Long,
}

/// Looks at a history that no server has open.
///
/// # Errors
/// See [`HistoryError`].
pub fn examine(path: &Path, time: Duration) -> Result<Examined, HistoryError> {
    let failed = |e| HistoryError::of(path, e);
    if std::fs::metadata(path).map_or(0, |meta| meta.len()) == 0 {
        return Ok(Examined::Absent);
    }
    let mut connection = open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    schema::version(&connection, path)?;
    let until = Instant::now() + time;
    connection.progress_handler(STEPS, Some(move || Instant::now() > until)).map_err(failed)?;
    let said: Result<String, _> =
        connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0));
    match said.map_err(failed) {
        Ok(word) if word == "ok" => Ok(Examined::Good),
        Ok(why) => Err(HistoryError::Damaged { path: path.to_owned(), why }),
        Err(HistoryError::Slow) => Ok(Examined::Long),
        Err(e) => Err(e),
    }
}

/// Opens the database. One that was closed cleanly has no other files beside it: it is read as it
/// is, and none are created.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let is_clean = ["-wal", "-shm"].iter().all(|more| {
        let mut beside = path.to_owned().into_os_string();
        beside.push(more);
        !PathBuf::from(beside).exists()
    });
    // As an address has it: `/C:/dir/history.db` where paths begin with a drive.
    let written = match std::path::MAIN_SEPARATOR {
        '/' => path.to_str().map(str::to_owned),
        separator => path.to_str().map(|path| format!("/{}", path.replace(separator, "/"))),
    };
    let is_plain = |path: &String| path.starts_with('/') && !path.starts_with("//");
    match written.filter(|path| is_clean && is_plain(path)) {
        Some(path) => {
            let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let address = format!("file:{path}?immutable=1");
            Connection::open_with_flags(address, flags | OpenFlags::SQLITE_OPEN_URI)
        }
        None => Connection::open_with_flags(path, flags),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{connection::Options, write::History};

    const TIME: Duration = Duration::from_secs(20);

    #[test]
    fn good_damaged_and_missing_history_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        // Some systems allow no question mark in names.
        let name = if std::path::MAIN_SEPARATOR == '/' { "h?%.db" } else { "h%.db" };
        let path = dir.path().join(name);
        assert_eq!(examine(&path, TIME).unwrap(), Examined::Absent);
        drop(History::open(&path, Options::default(), Box::new(|_| ())).unwrap());
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        let before = files();
        assert_eq!(examine(&path, TIME).unwrap(), Examined::Good);
        assert_eq!(files(), before);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..12_000].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(examine(&path, TIME), Err(HistoryError::Damaged { .. })));
    }
}
