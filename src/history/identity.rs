//! Identity of a history: its epoch, with a note beside the database, and a random number.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::schema::{fact, set_fact};
use crate::{
    faults::{Fault, planted},
    os,
};

/// Epoch and newest id from the note beside a history.
pub(super) fn noted(path: &Path) -> Option<(u32, u64)> {
    let file = os::open_to_read(&note_path(path)).ok()?;
    let mut text = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let (epoch, newest) = text.trim().split_once(' ')?;
    Some((epoch.parse().ok()?, newest.parse().ok()?))
}

/// Returns the number that tells histories apart: random for a new history, and one more each time
/// an older database replaced a newer one. A note beside the database has a recent newest id.
pub(super) fn epoch(connection: &Connection, path: &Path, newest: u64) -> rusqlite::Result<u32> {
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

pub(super) fn random_epoch() -> rusqlite::Result<u32> {
    let random: [u8; 4] =
        os::random_bytes().map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    // There is room above it for each older database that is ever put back.
    Ok(u32::from_le_bytes(random) >> 2 | 1)
}

/// Returns the number that an index of this history has: random, and another one with each epoch.
pub(super) fn identity(connection: &Connection, epoch: u32) -> rusqlite::Result<u64> {
    let known = fact(connection, "identity")?;
    if known != 0 && fact(connection, "identity_epoch")? == u64::from(epoch) {
        return Ok(known);
    }
    let random: [u8; 8] =
        os::random_bytes().map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    // The database has signed numbers.
    let fresh = u64::from_le_bytes(random) >> 1 | 1;
    // On a full disk the index is rebuilt the next time as well.
    let _ = set_fact(connection, "identity", fresh)
        .and_then(|()| set_fact(connection, "identity_epoch", epoch.into()));
    Ok(fresh)
}

/// Longest note that is read.
pub(super) const NOTE_BYTES_MAX: u64 = 64;

pub(super) fn note_path(path: &Path) -> PathBuf {
    path.with_extension("epoch")
}

/// Replaces the note whole, or leaves it as it is.
pub(super) fn write_note(path: &Path, epoch: u32, newest: u64) -> std::io::Result<()> {
    let (note, new) = (note_path(path), path.with_extension("epoch.new"));
    let mut file = os::make_private(&new)?;
    file.set_len(0)?;
    file.write_all(format!("{epoch} {newest}\n").as_bytes())?;
    std::fs::rename(new, note)
}
