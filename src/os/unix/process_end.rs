//! The end of another process as an event: its pidfd becomes readable.

use std::{
    io,
    os::fd::BorrowedFd,
    task::{Context, Poll},
};

use tokio::io::unix::AsyncFd;

use super::peer::ProcessWatch;

/// Notice of the end of the process at the other end of a session. A forked child can hold the
/// session's socket open long after that.
#[derive(Debug)]
pub struct ProcessEnd(Option<AsyncFd<ProcessWatch>>);

impl ProcessEnd {
    /// Watches the peer of a socket. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If a system call fails; also if that process has ended.
    pub fn of_peer(socket: BorrowedFd<'_>, pid: u32) -> io::Result<Self> {
        let watch = ProcessWatch::of_peer(socket, pid)?;
        let interest = tokio::io::Interest::READABLE;
        // SAFETY: the watch owns its descriptor and keeps it open until the `AsyncFd` around it is
        // dropped, which deregisters it first.
        let watched = unsafe { AsyncFd::register_with_interest(watch, interest) };
        watched.map(|watched| Self(Some(watched))).map_err(io::Error::other)
    }

    /// Returns one that never fires, where a process can't be watched.
    #[must_use]
    pub fn never() -> Self {
        Self(None)
    }

    /// Ready once the process has ended.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.0 {
            None => Poll::Pending,
            Some(watched) => watched.poll_read_ready(cx).map(|_| ()),
        }
    }
}
