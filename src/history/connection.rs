//! How the database of a history is opened.

use std::{path::Path, time::Duration};

use rusqlite::Connection;

use super::space;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Not longer than so long; none: for ever.
    pub keep: Option<Duration>,
    /// Not more than so many bytes of the database; none: as much as there is room for.
    pub bytes_max: Option<u64>,
}

/// How to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A commit survives a power cut, not only the death of the process.
    pub full_sync: bool,
    /// How much is kept.
    pub retention: Retention,
}

pub(super) fn connect(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
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

/// How long a lock of another connection is waited for.
pub(super) const BUSY_WAITS: Duration = Duration::from_secs(5);
