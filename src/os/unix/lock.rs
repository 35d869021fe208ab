//! The deciding lock: the process that holds it is the server. No server removes its file, and
//! asking locks nothing.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
};

use nix::fcntl::OFlag;

use super::{
    files::{FileIdentity, open_regular},
    user::own_uid,
};
use crate::os::note::{LockError, LockNote, LockState};

/// Longest note that is read.
const NOTE_BYTES_MAX: u64 = 8 * 1024;
/// End of the note of a server that clients can connect to.
const READY: &[u8] = b"\nready\n";
/// Maximum number of times the file may be removed while it is being locked.
const REMOVED_TIMES_MAX: usize = 10;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock and writes the note.
    ///
    /// # Errors
    /// If another process holds it, or the file can't be used.
    pub fn acquire(path: &Path, everybody: bool, note: &LockNote) -> Result<Self, LockError> {
        let mode = if everybody { 0o644 } else { 0o600 };
        for _ in 0..REMOVED_TIMES_MAX {
            let (file, is_new) = open_or_make(path, mode)?;
            let meta = file.metadata()?;
            if meta.uid() != own_uid() || meta.nlink() > 1 {
                return Err(io::Error::other(
                    "owned by another user, or linked under another name; move it away",
                )
                .into());
            }
            if !take(&file)? {
                return Err(LockError::Held {
                    pid: read_note(&file).ok().flatten().map(|n| n.pid),
                });
            }
            let mut lock = Self(file);
            if !lock.is_in_place(path) {
                // It was removed in between: another process may lock the next one.
                continue;
            }
            // The mode of what this program did not make stays as it is.
            if (is_new || read_note(&lock.0)?.is_some()) && meta.mode() & 0o7777 != mode {
                lock.0.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            lock.write(note, false)?;
            return Ok(lock);
        }
        Err(io::Error::other("removed again and again by another process").into())
    }

    /// Returns true if a query at its path asks this lock.
    #[must_use]
    pub fn is_in_place(&self, path: &Path) -> bool {
        FileIdentity::of(&self.0).is_ok_and(|own| own.is_at(path))
    }

    /// Replaces the note; `ready`: clients can connect, so a socket that is missing is not to be
    /// waited for.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn write(&mut self, note: &LockNote, ready: bool) -> io::Result<()> {
        let mut text = format!("pid {}\nruntime ", note.pid).into_bytes();
        text.extend_from_slice(note.runtime_dir.as_os_str().as_bytes());
        text.extend_from_slice(if ready { READY } else { b"\n" });
        self.0.set_len(0)?;
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(&text)
    }
}

/// Returns true if the server that holds the lock at a path once said that clients can connect.
#[must_use]
pub fn was_ready(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = open_regular(path, OFlag::O_RDONLY, 0)
        .and_then(|file| file.take(NOTE_BYTES_MAX).read_to_end(&mut bytes));
    read.is_ok() && bytes.ends_with(READY)
}

/// Asks the server that holds the lock at a path to end, as SIGTERM does: it has to be a process of
/// the lock's owner that has the lock open.
///
/// # Errors
/// If there is none, if it may not be asked by this user, or where that can't be known.
#[cfg(target_os = "linux")]
pub fn end_holder(path: &Path) -> io::Result<u32> {
    use std::os::fd::AsRawFd;
    let file = open_regular(path, OFlag::O_RDONLY, 0)?;
    check(&file)?;
    let own = FileIdentity::of(&file)?;
    let note = read_note(&file)?.filter(|_| is_free(&file).is_ok_and(|free| !free));
    let pid = note.ok_or(io::ErrorKind::NotFound)?.pid;
    // From here on the number means this process and no later one.
    let start = super::start_of(pid).ok_or(io::ErrorKind::NotFound)?;
    let watch = super::ProcessWatch::of_process(pid, start)?;
    let (owner, of_process) = (file.metadata()?.uid(), fs::metadata(format!("/proc/{pid}"))?.uid());
    let may = own_uid() == 0 || own_uid() == owner;
    if owner != of_process || !may {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let has_it_open = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten().any(|fd| {
        // The descriptor leads to the file itself, wherever its path leads by now.
        fs::metadata(fd.path()).is_ok_and(|meta| own.is_of(&meta))
    });
    if !has_it_open || watch.ended()? {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: the descriptor is open, and no structure is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            watch.as_raw_fd(),
            libc::SIGTERM,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if done == 0 { Ok(pid) } else { Err(io::Error::last_os_error()) }
}

/// Not to be had here.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn end_holder(_path: &Path) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Opens the file, and makes it if there is none; and tells whether it was made.
fn open_or_make(path: &Path, mode: u32) -> io::Result<(File, bool)> {
    let make = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
    match open_regular(path, OFlag::O_RDWR, 0) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        there => return there.map(|file| (file, false)),
    }
    match open_regular(path, make, mode) {
        // Another server was faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            open_regular(path, OFlag::O_RDWR, 0).map(|file| (file, false))
        }
        made => made.map(|file| (file, true)),
    }
}

/// Returns the holder of the lock at a path. On Linux nothing is locked by asking.
///
/// # Errors
/// If a system call fails, but for a missing file.
pub fn query(path: &Path) -> io::Result<LockState> {
    let file = match open_regular(path, OFlag::O_RDONLY, 0) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(LockState::Absent);
        }
        Err(e) => return Err(e),
    };
    check(&file)?;
    let free = is_free(&file)?;
    let note = read_note(&file)?;
    Ok(if free { LockState::Free(note) } else { LockState::Held(note) })
}

#[cfg(target_os = "linux")]
fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Takes the lock; false if another process holds it.
#[cfg(target_os = "linux")]
fn take(file: &File) -> io::Result<bool> {
    use nix::fcntl::{FcntlArg, fcntl};
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file())) {
        Ok(_) => Ok(true),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(target_os = "linux")]
fn is_free(file: &File) -> io::Result<bool> {
    use nix::fcntl::{FcntlArg, fcntl};
    let mut asked = whole_file();
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked))?;
    Ok(i32::from(asked.l_type) == libc::F_UNLCK)
}

/// Takes the lock; false if another process holds it, or asks for it again and again.
#[cfg(not(target_os = "linux"))]
fn take(file: &File) -> io::Result<bool> {
    for _ in 0..20 {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            // Another process may only be asking.
            Err(fs::TryLockError::WouldBlock) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(fs::TryLockError::Error(e)) => return Err(e),
        }
    }
    Ok(false)
}

/// Here, a query holds the lock for an instant, together with other queries.
#[cfg(not(target_os = "linux"))]
fn is_free(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(e)) => Err(e),
    }
}

/// Refuses a lock of another user: only ours, root's, or the directory owner's (who made it)
/// counts.
fn check(file: &File) -> io::Result<()> {
    let meta = file.metadata()?;
    if meta.uid() != 0 && meta.uid() != own_uid() && own_uid() != 0 && meta.mode() & 0o022 != 0 {
        return Err(io::Error::other("the lock file belongs to another user"));
    }
    Ok(())
}

fn read_note(mut file: &File) -> io::Result<Option<LockNote>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(NOTE_BYTES_MAX).read_to_end(&mut bytes)?;
    let mut lines = bytes.split(|b| *b == b'\n');
    let mut note = || {
        let pid = std::str::from_utf8(lines.next()?.strip_prefix(b"pid ")?).ok()?.parse().ok()?;
        let dir = lines.next()?.strip_prefix(b"runtime ")?;
        Some(LockNote { pid, runtime_dir: std::ffi::OsStr::from_bytes(dir).into() })
    };
    Ok(note())
}
