//! The end of another process as an event: its pidfd becomes readable.

use std::{
    io,
    os::fd::BorrowedFd,
    task::{Context, Poll},
};

use tokio::io::unix::AsyncFd;

use super::peer::ProcessWatch;

/// Tells when the process at the other end of a session ends. A forked child can hold the session's
/// socket open long after that.
#[derive(Debug)]
pub struct ProcessEnd(Option<AsyncFd<ProcessWatch>>);

impl ProcessEnd {
    /// Watches the peer of a socket. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// From the system; also if that process has ended.
    pub fn of_peer(socket: BorrowedFd<'_>, pid: u32) -> io::Result<Self> {
        let watch = ProcessWatch::of_peer(socket, pid)?;
        let interest = tokio::io::Interest::READABLE;
        // SAFETY: the watch owns its descriptor and keeps it open until the `AsyncFd` around it is
        // dropped, which deregisters it first.
        let watched = unsafe { AsyncFd::register_with_interest(watch, interest) };
        watched.map(|watched| Self(Some(watched))).map_err(io::Error::other)
    }

    /// One that never tells, where a process can't be watched.
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
