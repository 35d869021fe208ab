//! The server's end: a listening socket that appears in place whole, and accepted connections.

use std::{
    future::{Future as _, poll_fn},
    io,
    path::Path,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::os;

/// The listening end of all sessions of a server.
#[derive(Debug)]
pub struct Listener(os::Acceptor);

impl Listener {
    /// Listens at a path, which appears in its place whole. The caller holds the lock that says
    /// that no other server lives there.
    ///
    /// # Errors
    /// If a system call fails. Must be called within a tokio runtime.
    pub fn bind(path: &Path, everybody: bool) -> io::Result<Self> {
        os::Acceptor::bind(path, everybody).map(Self)
    }

    /// Takes sessions at a socket that a service manager made, and keeps when this server has
    /// ended.
    ///
    /// # Errors
    /// If it is anything but a listening socket at this path. Must be called within a tokio
    /// runtime.
    pub fn take_over(handed: os::HandedOver, path: &Path) -> io::Result<Self> {
        os::Acceptor::take_over(handed, path).map(Self)
    }

    /// The next connection.
    ///
    /// # Errors
    /// If a system call fails; out of descriptors above all.
    pub async fn accept(&self) -> io::Result<Accepted> {
        self.0.accept().await.map(Accepted)
    }

    /// A connection that waits already; none if there is none.
    pub async fn accept_waiting(&self) -> Option<io::Result<Accepted>> {
        let mut accept = pin!(self.accept());
        poll_fn(|cx| match accept.as_mut().poll(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Returns true if clients that look at its place find it.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.0.is_in_place()
    }

    /// Returns true if another program made it, and has to make it again.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.0.is_handed_over()
    }

    /// Removes the socket from its place, if the place still holds this one.
    pub fn unlink(&self) {
        self.0.unlink();
    }
}

/// The server's end of one connection.
#[derive(Debug)]
pub struct Accepted(os::ServerStream);

impl Drop for Accepted {
    fn drop(&mut self) {
        os::about_to_close(&self.0);
    }
}

impl Accepted {
    /// Returns the ids of the other end, as the kernel reports them.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn peer(&self) -> io::Result<os::PeerIds> {
        os::peer_ids(self.socket())
    }

    /// Returns a notice of the end of the process at the other end.
    ///
    /// # Errors
    /// If a system call fails; also if it has ended already.
    pub fn process_end(&self, pid: u32) -> io::Result<os::ProcessEnd> {
        os::ProcessEnd::of_peer(self.socket(), pid)
    }

    /// Ends a session whose client does not take what it is sent.
    pub fn hang_up(&self) {
        os::hang_up(&self.0);
    }

    /// Writes a message to a client that is not admitted, as far as it is taken at once.
    pub fn say_at_once(&self, bytes: &[u8]) {
        os::say_at_once(&self.0, bytes);
    }

    fn socket(&self) -> os::PeerRef<'_> {
        os::peer_of(&self.0)
    }

    /// Reads some bytes; 0 at the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut to = ReadBuf::new(to);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut to);
        read.map_ok(|()| to.filled().len())
    }

    /// Writes some bytes.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, from)
    }
}
