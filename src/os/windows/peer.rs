//! Process at the other end of a session, as the kernel reports it.

use std::{
    io,
    os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle},
};

use windows_sys::Win32::{
    Foundation::{FILETIME, WAIT_OBJECT_0, WAIT_TIMEOUT},
    System::{
        Pipes::{GetNamedPipeClientProcessId, GetNamedPipeServerProcessId},
        Threading::{
            GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
            WaitForSingleObject,
        },
    },
};

use super::{
    security::{owner_of_pipe, user_of_client},
    user::uid_of,
};
use crate::os::shared::PeerIds;

/// A process by its id, to be waited for and asked.
pub(super) fn open_process(pid: u32) -> io::Result<OwnedHandle> {
    let rights = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
    // SAFETY: it takes numbers only.
    let handle = unsafe { OpenProcess(rights, 0, pid) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just gave us this handle, and no other code knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// The client of a pipe's instance: the user that opened it, and its process.
///
/// # Errors
/// If a system call fails; also if the client does not let itself be identified.
pub fn peer_ids(pipe: BorrowedHandle<'_>) -> io::Result<PeerIds> {
    let mut pid = 0;
    // SAFETY: the handle is open as long as it is borrowed; the result is written to ours.
    if unsafe { GetNamedPipeClientProcessId(pipe.as_raw_handle(), &raw mut pid) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(PeerIds { uid: uid_of(&user_of_client(pipe)?)?, pid })
}

/// Returns the ids of a pipe's server: the pipe's owner, which can't be forged, and its process.
pub(super) fn server_ids(pipe: BorrowedHandle<'_>) -> io::Result<PeerIds> {
    let mut pid = 0;
    // SAFETY: the handle is open as long as it is borrowed; the result is written to ours.
    if unsafe { GetNamedPipeServerProcessId(pipe.as_raw_handle(), &raw mut pid) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(PeerIds { uid: uid_of(&owner_of_pipe(pipe)?)?, pid })
}

/// Start time of a process, in units of 100 ns: a reused pid has another one.
#[must_use]
pub fn start_of(pid: u32) -> Option<u64> {
    times_of(pid).map(|[created, ..]| created)
}

/// When a process was made and when it ended, and its time in the kernel and outside; units of 100
/// ns.
pub(super) fn times_of(pid: u32) -> Option<[u64; 4]> {
    let process = open_process(pid).ok()?;
    let mut times = [FILETIME::default(); 4];
    let [created, ended, kernel, user] = &mut times;
    // SAFETY: the handle is open; the results are written to structures of ours.
    let done = unsafe {
        GetProcessTimes(
            process.as_raw_handle(),
            &raw mut *created,
            &raw mut *ended,
            &raw mut *kernel,
            &raw mut *user,
        )
    };
    (done != 0)
        .then(|| times.map(|t| u64::from(t.dwHighDateTime) << 32 | u64::from(t.dwLowDateTime)))
}

/// A process, held by a handle that becomes signalled when it ends.
#[derive(Debug)]
pub struct ProcessWatch(OwnedHandle);

impl ProcessWatch {
    /// Watches a process that began at that time ([`start_of`]).
    ///
    /// # Errors
    /// If a system call fails; also if the process has ended.
    pub fn of_process(pid: u32, start: u64) -> io::Result<Self> {
        let watch = Self(open_process(pid)?);
        // Its number may be another process's by now.
        if start_of(pid) == Some(start) { Ok(watch) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Returns true if the process has ended.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn ended(&self) -> io::Result<bool> {
        // SAFETY: the handle is open; with no time to wait the call only looks.
        match unsafe { WaitForSingleObject(self.0.as_raw_handle(), 0) } {
            WAIT_OBJECT_0 => Ok(true),
            WAIT_TIMEOUT => Ok(false),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
