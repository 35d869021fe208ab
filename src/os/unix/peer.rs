//! Process at the other end of a session, as the kernel reports it.

#[cfg(target_os = "linux")]
use std::os::fd::FromRawFd;
use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
#[cfg(target_os = "linux")]
use nix::sys::socket::{getsockopt, sockopt};

use crate::os::shared::PeerIds;

/// Returns the user and process at the other end of a Unix socket.
///
/// # Errors
/// If a system call fails.
#[cfg(target_os = "linux")]
pub fn peer_ids(socket: BorrowedFd<'_>) -> io::Result<PeerIds> {
    let creds = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(PeerIds { uid: creds.uid(), pid: u32::try_from(creds.pid()).unwrap_or(0) })
}

/// Returns the user at the other end of a Unix socket; without Linux's process id.
///
/// # Errors
/// If a system call fails.
#[cfg(not(target_os = "linux"))]
pub fn peer_ids(socket: BorrowedFd<'_>) -> io::Result<PeerIds> {
    let (uid, _) = nix::unistd::getpeereid(socket)?;
    Ok(PeerIds { uid: uid.as_raw(), pid: 0 })
}

/// Start time of a process, clock ticks since boot: a reused pid has another one.
#[must_use]
pub fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command is in parentheses and may contain anything: fields count from the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A process, held by a descriptor that becomes readable when it ends.
#[derive(Debug)]
pub struct ProcessWatch(OwnedFd);

impl ProcessWatch {
    /// Watches the peer of a socket. The kernel hands out a pidfd of it where it can (Linux 6.5);
    /// else one is opened by pid.
    ///
    /// # Errors
    /// If a system call fails; also if the process has ended.
    #[cfg(target_os = "linux")]
    pub fn of_peer(socket: BorrowedFd<'_>, pid: u32) -> io::Result<Self> {
        match getsockopt(&socket, sockopt::PeerPidfd) {
            Ok(fd) => Ok(Self(fd)),
            Err(_) => Self::of_pid(pid),
        }
    }

    /// Not to be had here: the end of the connection has to do.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn of_peer(_socket: BorrowedFd<'_>, _pid: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Watches a process that began at that time ([`start_of`]).
    ///
    /// # Errors
    /// If a system call fails; also if the process has ended.
    #[cfg(target_os = "linux")]
    pub fn of_process(pid: u32, start: u64) -> io::Result<Self> {
        let watch = Self::of_pid(pid)?;
        if start_of(pid) == Some(start) { Ok(watch) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Not to be had here.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn of_process(_pid: u32, _start: u64) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(target_os = "linux")]
    fn of_pid(pid: u32) -> io::Result<Self> {
        let before = start_of(pid).ok_or(io::ErrorKind::NotFound)?;
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor, and no other code knows it.
        let watch = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        // The pid may have been reused between the connection and the opening.
        if start_of(pid) == Some(before) { Ok(watch) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Returns true if the process has ended.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn ended(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
    }
}

impl AsFd for ProcessWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for ProcessWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
