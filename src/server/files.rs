//! The server's own files: it sees when one of them vanishes, and makes it again or ends with a
//! word.
//!
//! Programs that clean up, and the end of a user's last login, remove what a server needs to be
//! found. The lock decides: while another process holds the one in its place, that process is the
//! server.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
    time::Duration,
};

use tokio::sync::Notify;

use super::{core::Core, error::ServerError};
use crate::{
    faults::{Fault, planted},
    limits::FILES_LOOK_MS,
    os::{self, Lock, LockError, LockNote, PlaceError, Places},
    session::Listener,
};

/// The socket that sessions come by, which may be made again.
pub(super) struct SharedListener {
    pub(super) listener: RefCell<Rc<Listener>>,
    /// There is another one.
    pub(super) replaced: Notify,
}

impl SharedListener {
    pub(super) fn new(listener: Listener) -> Rc<Self> {
        Rc::new(Self { listener: RefCell::new(Rc::new(listener)), replaced: Notify::new() })
    }

    pub(super) fn listener(&self) -> Rc<Listener> {
        Rc::clone(&self.listener.borrow())
    }
}

impl Drop for SharedListener {
    fn drop(&mut self) {
        self.listener.get_mut().unlink();
    }
}

/// The files of a server, and what they are looked at with.
pub(super) struct Files<'a> {
    pub(super) core: Rc<Core>,
    pub(super) places: Places,
    pub(super) system: bool,
    pub(super) lock: &'a mut Lock,
    pub(super) shared: Rc<SharedListener>,
}

impl Files<'_> {
    /// Says in the lock that clients can connect.
    pub(super) fn note_ready(&mut self) {
        let note = self.note();
        // Without the word a command waits longer before it gives this server up.
        let _ = self.lock.write(&note, true);
    }

    fn note(&self) -> LockNote {
        LockNote { pid: std::process::id(), runtime_dir: self.places.runtime.clone() }
    }

    /// Looks now and then; returns why the server has to end.
    pub(super) async fn watch(mut self) -> ServerError {
        let every = Duration::from_millis(FILES_LOOK_MS);
        let is_due = Cell::new(true);
        loop {
            tokio::time::sleep(every).await;
            if planted(Fault::FilesNotWatched) {
                continue;
            }
            self.core.log.look();
            match self.look() {
                Ok(()) => is_due.set(true),
                Err(Trouble::End(e)) => return e,
                Err(Trouble::Later(why)) => {
                    if is_due.replace(false) {
                        self.core.log.warn(&why);
                    }
                    self.core.health.files.replace(Some(why));
                    continue;
                }
            }
            self.core.health.files.replace(None);
        }
    }

    /// Lets those use socket and table whom the configuration admits: the handshake refuses the
    /// others anyway, and they do not read who is here.
    pub(super) fn admit(&self) {
        if !self.system || !self.core.admission.is_due.replace(false) {
            return;
        }
        let who = self.core.admission.users.borrow();
        let (socket, table) = (self.places.socket(), self.places.table());
        if let Err(e) = os::admit(&table, false, who.as_ref()) {
            self.core.log.warn(&format!(
                "only root and the server's user may read {}: {e}",
                table.display()
            ));
        }
        if self.shared.listener().is_handed_over() {
            return;
        }
        if os::admit(&socket, true, who.as_ref()).is_err() {
            // A user who is not admitted is refused by the handshake.
            let _ = os::admit(&socket, true, None);
        }
    }

    fn look(&mut self) -> Result<(), Trouble> {
        self.admit();
        self.look_at_lock()?;
        let is_listening = self.shared.listener().is_in_place();
        let is_shown = self.core.inner.borrow().table.is_in_place();
        if is_listening && is_shown {
            return Ok(());
        }
        self.make_directories()?;
        self.core.admission.is_due.set(true);
        if !is_shown {
            let table = self.places.table();
            // Users who are not admitted read no line of it meanwhile.
            let everybody = self.system && self.core.admission.users.borrow().is_none();
            let put_back = self.core.inner.borrow_mut().table.put_back(&self.places, everybody);
            put_back.map_err(|e| later(&table, &e))?;
            self.log_remade(&table);
        }
        if !is_listening {
            self.listen_again()?;
        }
        self.admit();
        Ok(())
    }

    fn look_at_lock(&mut self) -> Result<(), Trouble> {
        let path = self.places.lock();
        if self.lock.is_in_place(&path) {
            return Ok(());
        }
        // The messages no longer exist: the next server begins again, and this one could only
        // refuse.
        let history = self.places.history();
        if self.core.history.is_some() && !history.exists() && !path.exists() {
            return Err(Trouble::End(ServerError::Removed { dir: self.places.state.clone() }));
        }
        self.make_directories()?;
        match Lock::acquire(&path, self.system, &self.note()) {
            Ok(lock) => {
                *self.lock = lock;
                self.note_ready();
                self.log_remade(&path);
                Ok(())
            }
            Err(LockError::Held { pid }) => {
                let dir = self.places.state.clone();
                Err(Trouble::End(ServerError::Replaced { dir, pid }))
            }
            Err(LockError::Io(e)) => Err(later(&path, &e)),
        }
    }

    /// Makes the server's directories again if they are missing. Sockets go elsewhere if that can't
    /// be done: what is above them was removed at the end of the user's last login.
    fn make_directories(&mut self) -> Result<(), Trouble> {
        let e = match os::make_again(&self.places, self.system) {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        let aside = self.places.fall_back();
        let is_new = aside.runtime != self.places.runtime;
        let can_move = !self.shared.listener().is_handed_over() && !self.places.host && is_new;
        if can_move && os::make_again(&aside, self.system).is_ok() {
            self.core.log.warn(&format!(
                "{} was removed and can't be created again ({e}); the socket moves to {}",
                self.places.runtime.display(),
                aside.runtime.display()
            ));
            *self.core.dir.borrow_mut() = aside.runtime.display().to_string();
            self.places = aside;
            self.note_ready();
            return Ok(());
        }
        if self.places.host
            && self.places.runtime != self.places.state
            && !self.places.runtime.exists()
        {
            // Its service manager makes the directory when it starts the server again.
            return Err(Trouble::End(e.into()));
        }
        Err(Trouble::Later(format!("clients can't find this server: {}", words(&e))))
    }

    fn listen_again(&self) -> Result<(), Trouble> {
        let socket = self.places.socket();
        let old = self.shared.listener();
        if old.is_handed_over() {
            return Err(Trouble::Later(format!(
                "the socket {} of the service manager was removed; restart its socket unit",
                socket.display()
            )));
        }
        let listener = Listener::bind(&socket, self.system).map_err(|e| later(&socket, &e))?;
        self.shared.listener.replace(Rc::new(listener));
        self.shared.replaced.notify_one();
        self.log_remade(&socket);
        Ok(())
    }

    fn log_remade(&self, path: &Path) {
        self.core.log.warn(&format!("{} was removed; the server creates it again", path.display()));
    }
}

/// Obstacle to being found.
enum Trouble {
    /// Tried again after a while.
    Later(String),
    /// The server ends.
    End(ServerError),
}

fn later(path: &Path, e: &std::io::Error) -> Trouble {
    let path = path.display();
    Trouble::Later(format!(
        "clients can't find this server: {path} was removed and can't be created again: {e}"
    ))
}

fn words(e: &PlaceError) -> String {
    format!("its directory was removed and can't be created again: {e}")
}
