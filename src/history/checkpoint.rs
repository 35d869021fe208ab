//! Moves what was committed from the log to the database, beside the commits.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::files;
use crate::{
    history::{
        connection::{Options, connect},
        error::HistoryError,
    },
    os,
};

/// Part of the log that a checkpoint moves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Checkpoint {
    /// All that can be moved without delaying readers or commits.
    Some,
    /// Everything, and the log is emptied: nothing of what was removed is left there.
    All,
}

/// Moves what was committed from the log to the database, on a thread and a connection of its own.
pub(super) struct Checkpointer {
    pub(super) asked: Option<Sender<Checkpoint>>,
    pub(super) thread: Option<JoinHandle<()>>,
    /// True if the log grows although it is moved: readers, or commits without a pause, keep it
    /// from starting over.
    pub(super) is_long: Arc<AtomicBool>,
}

impl Checkpointer {
    pub(super) fn start(path: &Path, options: Options) -> Result<Self, HistoryError> {
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

    /// Returns false if another one is already requested: one under way and one requested suffice.
    pub(super) fn ask(&self, how: Checkpoint) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.try_send(how).is_ok())
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Returns true if there is room to move the whole log to the database. Half of it moved would only
/// take the room that the next messages need: the log starts over once all of it is moved.
pub(super) fn log_fits(path: &Path) -> bool {
    let log_bytes = log_bytes(path);
    let space = path.parent().and_then(|dir| os::space_at(dir).ok());
    space.is_none_or(|space| space.free_bytes >= log_bytes)
}

/// Size of the log.
pub(super) fn log_bytes(path: &Path) -> u64 {
    std::fs::metadata(files::beside(path, "-wal")).map_or(0, |meta| meta.len())
}

pub(super) const RESTART_WAITS: Duration = Duration::from_millis(20);

/// When to try again to empty the log.
pub(super) const EMPTY_AGAIN: Duration = Duration::from_secs(1);

/// Pages of the log (4 KiB each) above which the writer itself makes it start over.
pub(super) const WAL_FRAMES_LONG: i64 = 16 * 1024;
