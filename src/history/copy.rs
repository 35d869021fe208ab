//! Copies of a history: a backup made while a server writes it, and a backup put in its place.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ffi};

use super::{
    files::beside,
    integrity,
    schema::{self, fact, set_fact},
    space,
};
use crate::{
    history::{error::HistoryError, identity::noted},
    os,
};

/// SQLite's codes of a write that failed.
const WRITE_FAILURES: [i32; 2] = [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE];

/// Contents of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Messages of all streams.
    pub messages: u64,
    /// Size of the file, bytes.
    pub bytes: u64,
}

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// No history exists at the path.
    #[error("no history at {}", .0.display())]
    Absent(PathBuf),
    /// A history can't be read or written.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A file can't be written.
    #[error("can't write {}: {source}", .path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Writes a copy of the history `from`, as of now, to a file that only its owner can read. A server
/// may continue to write `from`. An existing file `to` is replaced once the copy is complete.
///
/// # Errors
/// See [`CopyError`]; then `to` is unchanged.
pub fn back_up(from: &Path, to: &Path) -> Result<Copied, CopyError> {
    let unwritable = |source| CopyError::Io { path: to.to_owned(), source };
    // A file of a known name could be of another use.
    let random: [u8; 8] = os::random_bytes().map_err(unwritable)?;
    let new = beside(to, &format!(".{:016x}", u64::from_le_bytes(random)));
    let copied = copy(from, &new).and_then(|copied| put(&new, to).map(|()| copied));
    if copied.is_err() {
        discard(&new);
    }
    copied
}

/// Replaces the history `place` by a copy of the backup `from`, and renames the previous history,
/// if there is one, to `aside`. Returns true if there was one. The caller holds the lock of the
/// server directory.
///
/// # Errors
/// See [`CopyError`]; then the history is unchanged.
pub fn restore(from: &Path, place: &Path, aside: &Path) -> Result<(Copied, bool), CopyError> {
    let new = beside(place, ".new");
    let copied = copy(from, &new).and_then(|copied| {
        raise_epoch(&new, place).map_err(|e| HistoryError::of(&new, e))?;
        let had_one = place.exists();
        if had_one {
            // The log last: without the database it means nothing, and the database without it
            // lacks commits.
            rename(place, aside)?;
            if beside(place, "-wal").exists() {
                rename(&beside(place, "-wal"), &beside(aside, "-wal"))?;
            }
            let _ = std::fs::remove_file(beside(place, "-shm"));
        }
        put(&new, place).map(|()| (copied, had_one))
    });
    if copied.is_err() {
        discard(&new);
        // The previous history is back in its place, if it had left it.
        if !place.exists() && aside.exists() {
            let _ = rename(aside, place);
            let _ = rename(&beside(aside, "-wal"), &beside(place, "-wal"));
        }
    }
    copied
}

/// Removes a copy that failed, with the journal that SQLite leaves beside it.
fn discard(new: &Path) {
    for path in [new.to_owned(), beside(new, "-journal")] {
        let _ = std::fs::remove_file(path);
    }
}

/// Copies a whole database. Each of its pages is read, so a damaged one is found.
fn copy(from: &Path, to: &Path) -> Result<Copied, CopyError> {
    if !std::fs::metadata(from).is_ok_and(|meta| meta.is_file() && meta.len() > 0) {
        return Err(CopyError::Absent(from.to_owned()));
    }
    let failed = |e| HistoryError::of(from, e);
    let source = integrity::open(from).map_err(failed)?;
    source.busy_timeout(integrity::BUSY).map_err(failed)?;
    if schema::version(&source, from)? == 0 {
        return Err(CopyError::Absent(from.to_owned()));
    }
    let unwritable = |source| CopyError::Io { path: to.to_owned(), source };
    let not_text = || io::Error::other("the path is not valid UTF-8; use another one");
    let path = to.to_str().ok_or_else(|| unwritable(not_text()))?;
    os::make_private(to).and_then(|file| file.set_len(0)).map_err(unwritable)?;
    // Also the copy of a history of an earlier version.
    space::allow_in_copy(&source).map_err(failed)?;
    // Only the copy is written here, so a full disk is the copy's.
    source.execute("VACUUM INTO ?", [path]).map_err(|e| match e.sqlite_error() {
        Some(error) if WRITE_FAILURES.contains(&error.extended_code) => {
            unwritable(io::Error::other(e))
        }
        Some(_) | None => failed(e).into(),
    })?;
    let count =
        |copy: &Connection| copy.query_row("SELECT count(*) FROM messages", (), |row| row.get(0));
    let messages = Connection::open(to).and_then(|copy| count(&copy)).map_err(failed)?;
    let bytes = std::fs::metadata(to).map_err(unwritable)?.len();
    Ok(Copied { messages, bytes })
}

/// Sequence numbers after those of the copy may have been seen before: clients have to forget them.
fn raise_epoch(new: &Path, place: &Path) -> rusqlite::Result<()> {
    let of = |connection: &Connection| fact(connection, "epoch");
    let previous = integrity::open(place).and_then(|connection| of(&connection)).unwrap_or(0);
    let noted = noted(place).map_or(0, |(epoch, _)| u64::from(epoch));
    let connection = Connection::open(new)?;
    // The first version has no epochs; its note alone tells that an older history was restored.
    let Ok(own) = of(&connection) else { return Ok(()) };
    set_fact(&connection, "epoch", own.max(previous).max(noted) + 1)
}

/// Puts a complete file in its place, also over a power cut.
fn put(new: &Path, place: &Path) -> Result<(), CopyError> {
    let unwritable = |source| CopyError::Io { path: new.to_owned(), source };
    File::options().write(true).open(new).and_then(|file| file.sync_all()).map_err(unwritable)?;
    rename(new, place)?;
    // Not every system can sync a directory.
    let dir = place.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), CopyError> {
    std::fs::rename(from, to).map_err(|source| CopyError::Io { path: to.to_owned(), source })
}
