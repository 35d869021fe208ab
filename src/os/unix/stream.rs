//! Sessions' sockets: where a server listens, and the client's end with its time limits.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use interprocess::{
    ConnectWaitMode,
    local_socket::{
        ConnectOptions, GenericFilePath, ListenerOptions, Stream,
        prelude::*,
        tokio::{Listener as TokioListener, prelude::*},
    },
};

use socket2::SockRef;

use super::{
    files::{FileIdentity, OwnFile, file_identity, hidden_name, set_socket_mode},
    peer::peer_ids,
    service::HandedOver,
};
use crate::os::shared::PeerIds;

/// Handle by which the system knows a session's other end.
pub type PeerRef<'a> = BorrowedFd<'a>;

/// The server's end of one session.
pub type ServerStream = tokio::net::UnixStream;

/// The socket of an accepted session.
#[must_use]
pub fn peer_of(stream: &ServerStream) -> PeerRef<'_> {
    stream.as_fd()
}

/// Does nothing: closing a socket does not block.
pub fn about_to_close(_stream: &ServerStream) {}

/// Ends a session whose client does not take what it is sent: closing the socket does it.
pub fn hang_up(_stream: &ServerStream) {}

/// Writes the bytes that a new connection takes at once: last words to a client that is not
/// admitted.
pub fn say_at_once(stream: &ServerStream, bytes: &[u8]) {
    use nix::sys::socket::{MsgFlags, send};
    use std::os::fd::AsRawFd;
    // A closed pipe does not raise a signal in this program.
    let _ = send(peer_of(stream).as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT);
}

/// Accepts sessions for a server.
#[derive(Debug)]
pub struct Acceptor {
    listener: TokioListener,
    /// Socket file to remove at the end; none if a service manager made it.
    place: Option<OwnFile>,
    /// The socket in its place.
    at: (PathBuf, FileIdentity),
}

impl Acceptor {
    /// Listens at a path: bound under a random name, then renamed into place, so that any process
    /// that finds the path can connect. The caller holds the lock that says that no other server
    /// lives there.
    ///
    /// # Errors
    /// If a system call fails. Must be called within a tokio runtime.
    pub fn bind(path: &Path, everybody: bool) -> io::Result<Self> {
        let hidden = hidden_name(path)?;
        let name = hidden.as_path().to_fs_name::<GenericFilePath>()?;
        // The crate would unlink by name, even what is no longer ours: reclaiming is off.
        let listener = ListenerOptions::new().name(name).reclaim_name(false).create_tokio()?;
        let mut place = OwnFile::just_made(hidden.clone())?;
        set_socket_mode(&hidden, everybody)?;
        place.rename(path)?;
        let at = (path.to_owned(), file_identity(path)?);
        Ok(Self { listener, place: Some(place), at })
    }

    /// Takes sessions at a socket that a service manager made and keeps: clients that connected
    /// earlier wait in it, and it remains when this server has ended.
    ///
    /// # Errors
    /// If it is anything but a listening socket at this path. Must be called within a tokio
    /// runtime.
    pub fn take_over(handed: HandedOver, path: &Path) -> io::Result<Self> {
        use interprocess::os::unix::uds_local_socket::tokio::Listener;
        let socket = Listener::try_from(handed.listener(path)?)?;
        let at = (path.to_owned(), file_identity(path)?);
        Ok(Self { listener: TokioListener::UdSocket(socket), place: None, at })
    }

    /// Returns true if clients that look at its place find it.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.at.1.is_at(&self.at.0)
    }

    /// Returns true if another program made the socket, and has to make it again.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.place.is_none()
    }

    /// The next connection.
    ///
    /// # Errors
    /// If a system call fails; out of descriptors above all.
    pub async fn accept(&self) -> io::Result<ServerStream> {
        use interprocess::local_socket::tokio::Stream;
        let Stream::UdSocket(stream) = self.listener.accept().await?;
        let socket = std::os::fd::OwnedFd::try_from(stream)?;
        // Its own type knows that a short read has emptied the socket: the crate's asks once more.
        ServerStream::from_std(socket.into())
    }

    /// Removes the socket from its place, if it is still this one.
    pub fn unlink(&self) {
        if let Some(place) = &self.place {
            place.unlink();
        }
    }
}

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
