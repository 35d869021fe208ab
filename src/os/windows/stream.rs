//! Sessions' pipes: the client's end with its time limits.

use std::{
    io,
    os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle},
    path::Path,
    ptr::{null, null_mut},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use windows_sys::Win32::{
    Foundation::{
        ERROR_BROKEN_PIPE, ERROR_IO_PENDING, ERROR_NO_DATA, ERROR_PIPE_BUSY,
        ERROR_PIPE_NOT_CONNECTED, INVALID_HANDLE_VALUE, WAIT_OBJECT_0, WAIT_TIMEOUT,
    },
    Storage::FileSystem::{
        CreateFileW, FILE_FLAG_OVERLAPPED, OPEN_EXISTING, ReadFile, SECURITY_IDENTIFICATION,
        SECURITY_SQOS_PRESENT, WriteFile,
    },
    System::{
        IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED},
        Pipes::WaitNamedPipeW,
        Threading::{CreateEventW, INFINITE, SetEvent, WaitForMultipleObjects},
    },
};

use super::{
    files::read_small,
    peer::server_ids,
    security::{PIPE_CLIENT_RIGHTS, wide},
};
use crate::os::shared::PeerIds;

/// Bytes that a pipe's instance buffers in each direction.
pub(super) const BUFFER_BYTES: u32 = 64 * 1024;
/// First part of the name of each pipe.
pub(super) const PREFIX: &str = r"\\.\pipe\moot-";

/// The name of the pipe that a file names.
pub(super) fn read_name(place: &Path) -> io::Result<String> {
    let name = read_small(place, 256)?;
    let random = name.strip_prefix(PREFIX).unwrap_or_default();
    if random.is_empty() || !random.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not the name of a pipe of moot"));
    }
    Ok(name)
}

/// Returns true if the pipe that a file names is there.
pub(super) fn is_listened_to(place: &Path) -> io::Result<bool> {
    let name = match read_name(place) {
        Ok(name) => wide(name),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    // SAFETY: the name ends with a zero.
    if unsafe { WaitNamedPipeW(name.as_ptr(), 1) } != 0 {
        return Ok(true);
    }
    Ok(io::Error::last_os_error().kind() != io::ErrorKind::NotFound)
}

/// A client's connection. Reading and writing may happen in two threads.
#[derive(Debug)]
pub struct Client {
    pipe: OwnedHandle,
    /// Signalled once the connection is to end, and from then on.
    closing: OwnedHandle,
    reading: Mutex<OwnedHandle>,
    writing: Mutex<OwnedHandle>,
    read_ms: AtomicU32,
    write_ms: AtomicU32,
}

fn event() -> io::Result<OwnedHandle> {
    // SAFETY: no attributes, no name; reset by hand, not signalled.
    let handle = unsafe { CreateEventW(null(), 1, 0, null()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just gave us this handle, and no other code knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn millis(timeout: Option<Duration>) -> u32 {
    // Rounded up: a time that is not zero must not become none.
    let round = |d: Duration| u32::try_from(d.as_micros().div_ceil(1000)).unwrap_or(INFINITE - 1);
    timeout.map_or(INFINITE, |d| round(d).min(INFINITE - 1))
}

impl Client {
    /// Connects to the pipe that a file names.
    ///
    /// # Errors
    /// If a system call fails; `TimedOut` if the connection is not taken in time.
    pub fn connect(path: &Path, wait: Duration) -> io::Result<Self> {
        let name = wide(read_name(path)?);
        let until = Instant::now() + wait;
        let flags = FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION;
        let pipe = loop {
            // The server may learn who this is, and nothing more: it can't act in this user's
            // place. SAFETY: the name ends with a zero; no attributes, no template.
            let handle = unsafe {
                CreateFileW(
                    name.as_ptr(),
                    PIPE_CLIENT_RIGHTS,
                    0,
                    null(),
                    OPEN_EXISTING,
                    flags,
                    null_mut(),
                )
            };
            if handle != INVALID_HANDLE_VALUE {
                // SAFETY: the system just gave us this handle, and no other code knows it.
                break unsafe { OwnedHandle::from_raw_handle(handle) };
            }
            let e = io::Error::last_os_error();
            if e.raw_os_error() != Some(ERROR_PIPE_BUSY.cast_signed()) {
                return Err(e);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // SAFETY: the name ends with a zero. Whatever it gives, it is tried again.
            unsafe { WaitNamedPipeW(name.as_ptr(), millis(Some(left))) };
        };
        Ok(Self {
            pipe,
            closing: event()?,
            reading: Mutex::new(event()?),
            writing: Mutex::new(event()?),
            read_ms: AtomicU32::new(INFINITE),
            write_ms: AtomicU32::new(INFINITE),
        })
    }

    /// Returns the ids of the process that listens there.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn peer(&self) -> io::Result<PeerIds> {
        server_ids(self.pipe.as_handle())
    }

    /// Reads some bytes; 0 at the end.
    ///
    /// # Errors
    /// If a system call fails; `TimedOut` after the receive timeout.
    pub fn read(&self, to: &mut [u8]) -> io::Result<usize> {
        let event = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = u32::try_from(to.len()).unwrap_or(u32::MAX);
        let wait_ms = self.read_ms.load(Ordering::Relaxed);
        let done = self.overlapped(&event, wait_ms, |pipe, at| {
            // SAFETY: `overlapped` does not return before the system is done with the buffer.
            unsafe { ReadFile(pipe, to.as_mut_ptr(), bytes, null_mut(), at) }
        });
        match done {
            Err(e) if is_end(&e) => Ok(0),
            done => done,
        }
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn write_all(&self, mut from: &[u8]) -> io::Result<()> {
        let event = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let wait_ms = self.write_ms.load(Ordering::Relaxed);
        while !from.is_empty() {
            // No more than the pipe buffers at a time: a write is all or nothing.
            let part = &from[..from.len().min(BUFFER_BYTES as usize / 2)];
            let done = self.overlapped(&event, wait_ms, |pipe, at| {
                // SAFETY: `overlapped` does not return before the system is done with the buffer.
                unsafe { WriteFile(pipe, part.as_ptr(), part.len() as u32, null_mut(), at) }
            });
            match done {
                Err(e) if is_end(&e) => return Err(io::ErrorKind::BrokenPipe.into()),
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => from = &from[bytes..],
                Err(e) => {
                    // The number of bytes that were taken is unknown: nothing sensible can follow.
                    self.shut_down();
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Begins something and waits until it is done, its time has passed, or the connection is to
    /// end. It is always over when this returns.
    fn overlapped(
        &self,
        event: &OwnedHandle,
        wait_ms: u32,
        begin: impl FnOnce(*mut std::ffi::c_void, *mut OVERLAPPED) -> i32,
    ) -> io::Result<usize> {
        let mut at = OVERLAPPED { hEvent: event.as_raw_handle(), ..OVERLAPPED::default() };
        let pipe = self.pipe.as_raw_handle();
        let mut stopped = None;
        if begin(pipe, &raw mut at) == 0 {
            let e = io::Error::last_os_error();
            if e.raw_os_error() != Some(ERROR_IO_PENDING.cast_signed()) {
                return Err(e);
            }
            let both = [event.as_raw_handle(), self.closing.as_raw_handle()];
            // SAFETY: both handles are open as long as `self` lives.
            match unsafe { WaitForMultipleObjects(2, both.as_ptr(), 0, wait_ms) } {
                WAIT_OBJECT_0 => {}
                WAIT_TIMEOUT => stopped = Some(io::ErrorKind::TimedOut),
                _ => stopped = Some(io::ErrorKind::BrokenPipe),
            }
            if stopped.is_some() {
                // SAFETY: it names what was begun above. It may be done by now: then nothing
                // happens.
                unsafe { CancelIoEx(pipe, &raw const at) };
            }
        }
        let mut bytes = 0;
        // SAFETY: waits until the system is done with `at` and the buffer.
        let done = unsafe { GetOverlappedResult(pipe, &raw const at, &raw mut bytes, 1) };
        match (done, stopped) {
            // It was faster than the end of the time.
            (1.., _) => Ok(bytes as usize),
            (_, Some(why)) => Err(why.into()),
            (_, None) => Err(io::Error::last_os_error()),
        }
    }

    /// Bounds the time of one read; none: no limit.
    ///
    /// # Errors
    /// None on this platform.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read_ms.store(millis(timeout), Ordering::Relaxed);
        Ok(())
    }

    /// Bounds the time of one write; none: no limit.
    ///
    /// # Errors
    /// None on this platform.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.write_ms.store(millis(timeout), Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn handle(&self) -> BorrowedHandle<'_> {
        self.pipe.as_handle()
    }

    /// Ends both directions: a read that waits in another thread returns.
    pub fn shut_down(&self) {
        // SAFETY: the handle is open. Threads that wait are woken, and threads that come later do
        // not wait.
        unsafe { SetEvent(self.closing.as_raw_handle()) };
    }
}

fn is_end(e: &io::Error) -> bool {
    let code = e.raw_os_error().map(i32::cast_unsigned);
    matches!(code, Some(ERROR_BROKEN_PIPE | ERROR_PIPE_NOT_CONNECTED | ERROR_NO_DATA))
        || e.kind() == io::ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_names_something_else_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        for name in ["", r"\\.\pipe\other", r"\\.\pipe\moot-", r"\\.\pipe\moot-..\x", "C:\\x"] {
            fs::write(&path, name).unwrap();
            assert!(Client::connect(&path, Duration::from_millis(10)).is_err(), "{name}");
        }
    }
}
