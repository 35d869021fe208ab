//! The deciding lock: who holds it is the server. Its file is never removed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::windows::io::AsRawHandle,
    path::Path,
    time::{Duration, Instant},
};

use windows_sys::Win32::{
    Foundation::{ERROR_IO_PENDING, ERROR_LOCK_VIOLATION},
    Storage::FileSystem::{
        LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, OPEN_ALWAYS, UnlockFile,
    },
    System::IO::OVERLAPPED,
};

use super::{files::open_with, stream::is_listened_to};
use crate::os::note::{LockError, LockNote, LockState};

/// Longest note that is read.
const NOTE_BYTES_MAX: u64 = 8 * 1024;
/// Locks are mandatory here: the locked byte lies far behind the note, which others read.
const LOCKED_BYTE_HIGH: u32 = 0x4000_0000;
/// Time that taking the lock is tried again, in milliseconds: a query holds a shared lock for an
/// instant.
const ASKERS_MS: u64 = 500;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock and writes the note.
    ///
    /// # Errors
    /// If another process holds it, or the file can't be used.
    pub fn acquire(path: &Path, _everybody: bool, note: &LockNote) -> Result<Self, LockError> {
        // Any process that may read a file may lock it; this file belongs to its owner alone.
        let mut file = open_with(path, false, OPEN_ALWAYS)?;
        // (A file that is open keeps its name until it is closed.)
        let until = Instant::now() + Duration::from_millis(ASKERS_MS);
        while !try_lock(&file, true)? {
            if Instant::now() >= until {
                return Err(LockError::Held { pid: read_note(&mut file).map(|n| n.pid) });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut lock = Self(file);
        lock.write(note, false)?;
        Ok(lock)
    }

    /// Returns true if a query at its path asks this lock.
    #[must_use]
    pub fn is_in_place(&self, path: &Path) -> bool {
        path.exists()
    }

    /// Replaces the note.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn write(&mut self, note: &LockNote, _ready: bool) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.seek(SeekFrom::Start(0))?;
        // A path that is not Unicode is found by way of `--server` all the same.
        let text = format!("pid {}\nruntime {}\n", note.pid, note.runtime_dir.display());
        self.0.write_all(text.as_bytes())
    }
}

/// Returns true if the server that holds the lock at a path once said that clients can connect: not
/// known here.
#[must_use]
pub fn was_ready(_path: &Path) -> bool {
    false
}

/// Not to be had here.
///
/// # Errors
/// Always.
pub fn end_holder(_path: &Path) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns the holder of the lock at a path. The query locks it, shared, for an instant, if it is
/// free.
///
/// # Errors
/// If a system call fails, but for a missing file.
pub fn query(path: &Path) -> io::Result<LockState> {
    let mut file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(LockState::Absent),
        // A system server's: whether its pipe is there says as much.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(match is_listened_to(&path.with_file_name("socket"))? {
                true => LockState::Held(None),
                false => LockState::Free(None),
            });
        }
        Err(e) => return Err(e),
    };
    let note = read_note(&mut file);
    if !try_lock(&file, false)? {
        return Ok(LockState::Held(note));
    }
    // SAFETY: the handle is open. If it fails, closing the file gives the lock up.
    unsafe { UnlockFile(file.as_raw_handle(), 0, LOCKED_BYTE_HIGH, 1, 0) };
    Ok(LockState::Free(note))
}

fn try_lock(file: &File, exclusive: bool) -> io::Result<bool> {
    let mut at = OVERLAPPED::default();
    at.Anonymous.Anonymous.OffsetHigh = LOCKED_BYTE_HIGH;
    let kind = if exclusive { LOCKFILE_EXCLUSIVE_LOCK } else { 0 };
    let flags = kind | LOCKFILE_FAIL_IMMEDIATELY;
    // SAFETY: the handle is open and synchronous, so `at` is not used after the call.
    if unsafe { LockFileEx(file.as_raw_handle(), flags, 0, 1, 0, &raw mut at) } != 0 {
        return Ok(true);
    }
    let e = io::Error::last_os_error();
    match e.raw_os_error().map(i32::cast_unsigned) {
        Some(ERROR_LOCK_VIOLATION | ERROR_IO_PENDING) => Ok(false),
        _ => Err(e),
    }
}

fn read_note(file: &mut File) -> Option<LockNote> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.strip_prefix("pid ")?.parse().ok()?;
    let dir = lines.next()?.strip_prefix("runtime ")?;
    Some(LockNote { pid, runtime_dir: dir.into() })
}
