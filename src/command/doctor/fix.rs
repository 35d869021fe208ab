//! Repairs of `--fix`: it removes files that dead servers left, takes back permissions, and ends a
//! server that no client can connect to. Nothing else.
//!
//! It acts in the directories that were opened when they were looked at, and only in this user's
//! own.

use std::{
    ffi::OsStr,
    io::ErrorKind,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    facts::{Dir, Facts, is_left_over},
    finding::{Finding, Fix, State},
};
use crate::os::{self, Lock, LockError, LockNote, LockState};

/// Time for a process that listens at a socket after all to show it.
const CONNECT: Duration = Duration::from_millis(200);
/// Time for a server to end, and the interval between looks.
const END: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(super) struct Fixer<'a>(&'a Facts);

impl<'a> Fixer<'a> {
    pub(super) fn new(facts: &'a Facts) -> Self {
        Self(facts)
    }

    pub(super) fn fix(&self, finding: &mut Finding) {
        let done = match &finding.fix {
            Some(Fix::Mode(path, mode)) => self.set_mode(path, *mode),
            Some(Fix::Remove(paths)) => paths.iter().try_for_each(|path| self.remove(path)),
            Some(Fix::End(lock)) => self.end(lock),
            None => return,
        };
        match done {
            Ok(()) => finding.state = State::Fixed,
            Err(why) => finding.advice += &format!(" (failed: {why})"),
        }
    }

    /// Has a server end that no client can connect to, and waits until it has ended.
    fn end(&self, lock: &Path) -> Result<(), String> {
        self.place_of(lock)?;
        os::end_holder(lock).map_err(|e| e.to_string())?;
        let until = Instant::now() + END;
        while matches!(os::query(lock), Ok(LockState::Held(_))) {
            if Instant::now() >= until {
                return Err("the server was asked to end, and still runs".to_owned());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), String> {
        let all = self.0.dirs.iter();
        if let Some(dir) = { all }.find(|dir| dir.path == path) {
            return self.own(dir)?.set_own_mode(mode).map_err(|e| e.to_string());
        }
        let (dir, name) = self.place_of(path)?;
        dir.set_mode(name, mode).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Removes an unused file. The lock is held meanwhile: no server starts, and none is there.
    fn remove(&self, path: &Path) -> Result<(), String> {
        let places = self.0.places.as_ref().map_err(ToString::to_string)?;
        let lock = places.lock();
        let (state, lock) = self.place_of(&lock)?;
        let (dir, name) = self.place_of(path)?;
        state.check_closed().map_err(|e| e.to_string())?;
        let note = LockNote { pid: std::process::id(), runtime_dir: places.runtime.clone() };
        let _lock = match Lock::acquire(&state.path().join(lock), self.0.everybody, &note) {
            Ok(lock) => lock,
            Err(LockError::Held { .. }) => return Err("a server has started".to_owned()),
            Err(LockError::Io(e)) => return Err(format!("can't lock: {e}")),
        };
        if path == places.socket() && is_taken(&dir.path().join(name)) {
            return Err("another process listens at the socket without the lock".to_owned());
        }
        dir.remove(name, |look| is_left_over(places, path, look))
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    /// The open directory of a file, and the file's name there.
    fn place_of<'b>(&self, path: &'b Path) -> Result<(&os::Dir, &'b OsStr), String> {
        let dir = self.0.dirs.iter().find(|dir| path.parent() == Some(&dir.path));
        let (Some(dir), Some(name)) = (dir, path.file_name()) else {
            return Err("no directory of a server".to_owned());
        };
        Ok((self.own(dir)?, name))
    }

    /// A directory that this process may change: it is this user's, and it is a server's.
    fn own<'b>(&self, dir: &'b Dir) -> Result<&'b os::Dir, String> {
        if !self.0.dirs.first().and_then(Dir::there).is_some_and(os::Dir::was_served) {
            return Err("the directory has no files of a server".to_owned());
        }
        let opened = dir.there().ok_or("the directory is gone")?;
        opened.check_own().map_err(|e| e.to_string())?;
        Ok(opened)
    }
}

/// Returns true if a process takes connections there: in another container, or where it can't be
/// seen otherwise.
fn is_taken(socket: &Path) -> bool {
    match os::Client::connect(socket, CONNECT) {
        Err(e) => !matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
        Ok(_) => true,
    }
}
