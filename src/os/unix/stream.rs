//! Sessions' sockets: the client's end with its time limits.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    time::{Duration, Instant},
};

use interprocess::{
    ConnectWaitMode,
    local_socket::{ConnectOptions, GenericFilePath, Stream, prelude::*},
};
use socket2::SockRef;

use super::peer::peer_ids;
use crate::os::shared::PeerIds;

/// Time before a full queue of connections is tried again.
const CONNECT_PAUSE: Duration = Duration::from_millis(5);

/// A client's connection. Reading and writing may happen in two threads.
#[derive(Debug)]
pub struct Client(Stream);

impl Client {
    /// Connects to the server that listens at a path.
    ///
    /// # Errors
    /// If a system call fails; `TimedOut` or `WouldBlock` if the connection is not taken in time.
    pub fn connect(path: &Path, wait: Duration) -> io::Result<Self> {
        let name = path.to_fs_name::<GenericFilePath>()?;
        // A server that was stopped by a signal has a full queue of connections: do not wait
        // forever.
        let until = Instant::now() + wait;
        loop {
            let options = ConnectOptions::new().name(name.clone());
            let options = options.wait_mode(ConnectWaitMode::Timeout(wait));
            let client = options.connect_sync().map(Self)?;
            // While the queue is full, Linux gives `EAGAIN` to who does not block, and the socket
            // stays unconnected.
            let is_connected = SockRef::from(&client.socket()).peer_addr().is_ok();
            if is_connected {
                return Ok(client);
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(CONNECT_PAUSE);
        }
    }

    /// Returns the ids of the process that listens there.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn peer(&self) -> io::Result<PeerIds> {
        peer_ids(self.socket())
    }

    /// Reads some bytes; 0 at the end.
    ///
    /// # Errors
    /// If a system call fails; `WouldBlock` or `TimedOut` after the receive timeout.
    pub fn read(&self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.0).read(to) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn write_all(&self, from: &[u8]) -> io::Result<()> {
        (&self.0).write_all(from)
    }

    /// Bounds the time of one read; none: no limit.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_recv_timeout(timeout)
    }

    /// Bounds the time of one write; none: no limit.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_send_timeout(timeout)
    }

    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    /// If a system call fails; `WouldBlock` if there is nothing.
    pub fn try_read(&self, to: &mut [u8]) -> io::Result<usize> {
        use nix::sys::socket::{MsgFlags, recv};
        use std::os::fd::AsRawFd;
        Ok(recv(self.socket().as_raw_fd(), to, MsgFlags::MSG_DONTWAIT)?)
    }

    /// Writes what the socket takes at once.
    ///
    /// # Errors
    /// If a system call fails; `WouldBlock` if it is full.
    pub fn try_write(&self, from: &[u8]) -> io::Result<usize> {
        use nix::sys::socket::{MsgFlags, send};
        use std::os::fd::AsRawFd;
        // A closed pipe does not raise a signal in this program.
        Ok(send(self.socket().as_raw_fd(), from, MsgFlags::MSG_DONTWAIT)?)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket()
    }

    fn socket(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Stream::UdSocket(stream) => stream.as_fd(),
        }
    }
}
