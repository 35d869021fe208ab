//! Sessions' sockets: the server's end.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use interprocess::local_socket::{
    GenericFilePath, ListenerOptions,
    prelude::*,
    tokio::{Listener as TokioListener, prelude::*},
};

use super::{
    files::{FileIdentity, OwnFile, file_identity, hidden_name},
    service::HandedOver,
};

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

/// Lets only the owner, or every user, connect to a socket.
///
/// # Errors
/// If a system call fails.
fn set_socket_mode(path: &Path, everybody: bool) -> io::Result<()> {
    let mode = if everybody { 0o666 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
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
