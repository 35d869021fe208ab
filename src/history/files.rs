//! The files of a database: only their owner reads them, and they are still where they were opened.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    faults::{Fault, planted},
    os::{self, FileIdentity},
};

/// Files that SQLite has beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Creates the file of a database if it is missing, and lets only its owner read it and the files
/// of SQLite beside it: a restored copy may have another mode, which SQLite gives its other files.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    os::make_private(path)?;
    let Some(above) = path.parent() else { return Ok(()) };
    let (dir, _) = os::Dir::reach(above)?;
    for beside in BESIDE.map(|more| beside(path, more)) {
        let Some(name) = beside.file_name() else { continue };
        // They are not opened: closing a file gives up the locks of this process on it.
        let is_open = |look: os::Look| look.mode.is_some_and(|mode| mode & 0o077 != 0);
        if dir.look_at(name).is_ok_and(is_open) {
            dir.set_mode(name, 0o600)?;
        }
    }
    Ok(())
}

/// A path whose name ends with `suffix` as well.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

/// An open database and its log, as they were found in their place.
#[derive(Debug)]
pub(super) struct InPlace(Vec<(PathBuf, FileIdentity)>);

impl InPlace {
    pub(super) fn of(path: &Path) -> Self {
        let found = [path.to_owned(), beside(path, "-wal")].into_iter();
        Self(found.filter_map(|path| os::file_identity(&path).ok().map(|id| (path, id))).collect())
    }

    /// Says which of them was removed or replaced: what is written from then on is lost.
    pub(super) fn lost(&self) -> Option<String> {
        let is_lost = |(path, id): &&(PathBuf, FileIdentity)| !id.is_at(path);
        let (path, _) = self.0.iter().find(is_lost)?;
        if planted(Fault::LostHistoryAcknowledged) {
            return None;
        }
        Some(format!(
            "{} was removed or replaced while the server runs: messages are refused; put it back, \
             or restart the server (`moot stop`)",
            path.display()
        ))
    }
}
