//! What `--fix` does: it removes what dead servers left, and takes back permissions. Nothing else.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    checks::{Finding, Fix, State},
    facts::Facts,
};
use crate::os::{self, Lock, LockError, LockNote, Places};

/// How long whoever listens at a socket after all may take to show it.
const CONNECT: Duration = Duration::from_millis(200);

pub(super) struct Fixer<'a> {
    places: Option<&'a Places>,
    everybody: bool,
}

impl<'a> Fixer<'a> {
    pub(super) fn new(facts: &'a Facts) -> Self {
        Self { places: facts.places.as_ref().ok(), everybody: facts.everybody }
    }

    pub(super) fn fix(&self, finding: &mut Finding) {
        let done = match &finding.fix {
            // Whose directory it is decides who may close it.
            Some(Fix::Mode(path, _)) if path.is_dir() && !path.join("lock").exists() => {
                Err("nothing in it is of a server".to_owned())
            }
            Some(Fix::Mode(path, mode)) => os::set_mode(path, *mode).map_err(|e| e.to_string()),
            Some(Fix::Remove(paths)) => self.remove(paths),
            None => return,
        };
        match done {
            Ok(()) => finding.state = State::Fixed,
            Err(why) => finding.advice += &format!(" (could not be done: {why})"),
        }
    }

    /// Removes what nobody uses. The lock is held meanwhile: no server starts, and none is there.
    fn remove(&self, paths: &[PathBuf]) -> Result<(), String> {
        let places = self.places.ok_or("no server is meant")?;
        let note = LockNote { pid: std::process::id(), runtime_dir: places.runtime.clone() };
        let _lock = match Lock::acquire(&places.lock(), self.everybody, &note) {
            Ok(lock) => lock,
            Err(LockError::Held { .. }) => return Err("a server has started meanwhile".to_owned()),
            Err(LockError::Io(e)) => return Err(format!("the lock: {e}")),
        };
        for path in paths {
            if *path == places.socket() && is_taken(path) {
                return Err("somebody listens at the socket without the lock".to_owned());
            }
            match fs::remove_file(path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(format!("{}: {e}", path.display()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether anybody takes connections there: in another container, or where it can't be seen otherwise.
fn is_taken(socket: &Path) -> bool {
    match os::Client::connect(socket, CONNECT) {
        Err(e) => !matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
        Ok(_) => true,
    }
}
