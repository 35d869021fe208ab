//! Opening of the database of a history.

use std::{path::Path, time::Duration};

use rusqlite::Connection;

use super::space;

/// Limits of age and size of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Maximum age of a message; `None`: no limit.
    pub keep: Option<Duration>,
    /// Maximum bytes of the database; `None`: no limit but the disk.
    pub bytes_max: Option<u64>,
}

/// Options of the writer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A commit survives a power cut, not only the death of the process.
    pub full_sync: bool,
    /// Limits of age and size.
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

/// Maximum wait for a lock of another connection.
pub(super) const BUSY_WAITS: Duration = Duration::from_secs(5);
