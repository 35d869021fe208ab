//! The service manager: what it wants to know, the socket that it hands over, its log
//! (sd_notify(3), sd_listen_fds(3), systemd.exec(5)).

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::{
            ffi::OsStrExt,
            fs::FileTypeExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::Path,
    process::Command,
    time::Duration,
};

use nix::sys::{
    socket::{SockType, UnixAddr, getsockname, getsockopt, sockopt},
    stat::fstat,
};
use sd_notify::NotifyState;

/// Variables by which a service manager speaks to a service; no other process is to see them.
const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];
/// Maximum time for the report to the manager that the server is ready.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// Service manager that started this process, if it wants reports of its state.
///
/// The crate's own `notify` makes a socket for each word: it could not say that the server lives
/// once descriptors have run out, and would have it killed. Nor does it know abstract names. So the
/// socket is kept here.
#[derive(Debug, Default)]
pub struct ServiceManager {
    notify: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment says, which is emptied of it; with the sockets that were handed over.
    /// To be called before this process has threads that look at the environment.
    ///
    /// # Errors
    /// If what is handed over can't be.
    pub fn from_environment() -> io::Result<(Self, Option<HandedOver>)> {
        let notify = env::var_os("NOTIFY_SOCKET").and_then(|name| open(&name).ok());
        let watchdog = sd_notify::watchdog_enabled().filter(|every| !every.is_zero());
        let handed = sd_notify::listen_fds().map(|fds| fds.collect::<Vec<_>>());
        for name in VARIABLES {
            // SAFETY: the only other thread by now is the one that waits for signals; it does not
            // look at the environment.
            unsafe { env::remove_var(name) };
        }
        let handed_over = match handed.map_err(|e| told(&e))?.as_slice() {
            [] => None,
            [fd] => Some(HandedOver(*fd)),
            many => {
                let text = format!("{} sockets were passed, and a server uses one", many.len());
                return Err(io::Error::other(text));
            }
        };
        Ok((Self { notify, watchdog }, handed_over))
    }

    /// Time that it waits for a sign of life before it ends this process; none: no limit.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Clients can connect.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
        // Nothing that is said later is worth to be waited for.
        let _ = self.notify.as_ref().map(|(socket, _)| socket.set_nonblocking(true));
    }

    /// A sign of life, and how it is if that has changed.
    pub fn alive(&self, status: Option<&str>) {
        let life = self.watchdog.map(|_| NotifyState::Watchdog);
        let states: Vec<_> = life.into_iter().chain(status.map(NotifyState::Status)).collect();
        if !states.is_empty() {
            self.tell(&states);
        }
    }

    /// The server is about to end.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Reports states. If that fails, the manager finds out in another way.
    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some((socket, to)) = &self.notify else { return };
        let words: String = states.iter().map(|state| format!("{state}\n")).collect();
        let _ = socket.send_to_addr(words.as_bytes(), to);
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)?
        }
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(READY_WITHIN))?;
    Ok((socket, to))
}

fn told(e: &io::Error) -> io::Error {
    let text = match e.raw_os_error() {
        Some(libc::EBADF) => "LISTEN_FDS names descriptors that are not open".to_owned(),
        _ => e.to_string(),
    };
    io::Error::other(text)
}

/// A descriptor that a service manager handed over, not looked at yet.
#[derive(Debug)]
pub struct HandedOver(RawFd);

impl HandedOver {
    /// Checks that it is a socket that takes sessions at this very path.
    ///
    /// # Errors
    /// What else it is.
    pub fn check(&self, path: &Path) -> io::Result<()> {
        // SAFETY: the service manager opened it for this process, and it was open a moment ago.
        let fd = unsafe { BorrowedFd::borrow_raw(self.0) };
        check(fd, path).map_err(io::Error::other)
    }

    /// The socket, if it is one that takes sessions at this very path.
    ///
    /// # Errors
    /// What else it is.
    pub(super) fn listener(self, path: &Path) -> io::Result<OwnedFd> {
        self.check(path)?;
        // SAFETY: as above; it is handed on once, since `self` is used up.
        Ok(unsafe { OwnedFd::from_raw_fd(self.0) })
    }
}

fn check(fd: BorrowedFd<'_>, path: &Path) -> Result<(), String> {
    let Ok(kind) = getsockopt(&fd, sockopt::SockType) else {
        return Err("not a socket".to_owned());
    };
    let Ok(name) = getsockname::<UnixAddr>(fd.as_raw_fd()) else {
        return Err("not a Unix socket; the unit needs a path as ListenStream=".to_owned());
    };
    if kind != SockType::Stream {
        return Err("not a stream socket; the unit needs ListenStream=".to_owned());
    }
    if !is_listening(fd) {
        return Err("not a listening socket; the unit needs Accept=no".to_owned());
    }
    let Some(bound) = name.path() else {
        let text = format!("the socket has no path; use ListenStream={}", path.display());
        return Err(text);
    };
    if !same_place(bound, path) {
        return Err(format!(
            "the passed socket is {}, and this server needs {}; correct ListenStream=",
            bound.display(),
            path.display()
        ));
    }
    if !path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket()) {
        return Err(format!("{} was removed; restart the socket unit", path.display()));
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn is_listening(fd: BorrowedFd<'_>) -> bool {
    getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false)
}

/// Can't be asked here: accepting will tell.
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn is_listening(_fd: BorrowedFd<'_>) -> bool {
    true
}

/// Returns true if two paths name one file, whatever links lead to its directory.
fn same_place(a: &Path, b: &Path) -> bool {
    let real =
        |path: &Path| Some((path.parent()?.canonicalize().ok()?, path.file_name()?.to_owned()));
    a == b || real(a).is_some_and(|a| real(b) == Some(a))
}

/// Removes the service manager's variables: they are not meant for a child of this process.
pub(super) fn keep_from(command: &mut Command) {
    for name in VARIABLES {
        command.env_remove(name);
    }
}

/// Returns true if standard error leads to the journal, which knows the time and the process by
/// itself and takes a level before each line.
#[must_use]
pub fn errors_go_to_journal() -> bool {
    let named = env::var("JOURNAL_STREAM").ok();
    let Some((device, inode)) = named.as_deref().and_then(|name| name.split_once(':')) else {
        return false;
    };
    let Ok(stat) = fstat(io::stderr().as_fd()) else { return false };
    device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino)
}
