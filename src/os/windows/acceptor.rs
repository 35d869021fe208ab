//! Sessions' pipes: the server's end.
//!
//! A pipe's name is random and new with each run; a small file in the server's directory names it.
//! So no process can take the name before the server does, and a user who may not write to that
//! directory can't lead a client elsewhere.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use interprocess::os::windows::{
    ToWtf16,
    named_pipe::{
        PipeListenerOptions, pipe_mode,
        tokio::{DuplexPipeStream, PipeListener},
    },
    security_descriptor::SecurityDescriptor,
};
use windows_sys::Win32::{
    Foundation::INVALID_HANDLE_VALUE,
    Storage::FileSystem::{CREATE_NEW, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_DUPLEX},
    System::Pipes::{
        CreateNamedPipeW, DisconnectNamedPipe, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_TYPE_BYTE, PIPE_UNLIMITED_INSTANCES,
    },
};

use super::{
    files::{hex, hidden_name, open_with, replace},
    security::{PIPE_CLIENT_RIGHTS, own_user, owner, wide},
    stream::{BUFFER_BYTES, PREFIX, read_name},
};
use crate::os::random::random_bytes;

/// Handle by which the system knows a session's other end.
pub type PeerRef<'a> = BorrowedHandle<'a>;

/// The server's end of one session.
pub type ServerStream = DuplexPipeStream<pipe_mode::Bytes>;

/// The pipe of an accepted session.
#[must_use]
pub fn peer_of(stream: &ServerStream) -> PeerRef<'_> {
    stream.as_handle()
}

/// Leaves written bytes in the pipe until the client has read them, or has gone: no thread of the
/// crate's has to wait for that.
pub fn about_to_close(stream: &ServerStream) {
    stream.assume_flushed();
}

/// Ends a session whose client does not take what it is sent: what is under way is thrown away,
/// which else would keep the pipe's instance for as long as the client likes.
pub fn hang_up(stream: &ServerStream) {
    // SAFETY: the handle is open.
    unsafe { DisconnectNamedPipe(stream.as_handle().as_raw_handle()) };
}

/// Does nothing: a pipe that is closed takes last words to a client that is not admitted with it.
pub fn say_at_once(_stream: &ServerStream, _bytes: &[u8]) {}

type Pipes = PipeListener<pipe_mode::Bytes, pipe_mode::Bytes>;

/// Accepts sessions for a server.
pub struct Acceptor {
    pipes: Mutex<std::sync::Arc<Pipes>>,
    name: String,
    sddl: String,
    place: PathBuf,
    /// Open for reading, and for others to read: so no process can open it exclusively.
    held: Mutex<Option<File>>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Makes a pipe and names it in a file, which appears in its place whole. The caller holds the
    /// lock that says that no other server lives there.
    ///
    /// # Errors
    /// If a system call fails. Must be called within a tokio runtime.
    pub fn bind(path: &Path, everybody: bool) -> io::Result<Self> {
        let name = format!("{PREFIX}{}", hex(&random_bytes::<16>()?));
        let sddl = pipe_sddl(everybody)?;
        // The first instance: if another process has that name, it is refused.
        let pipes = options(&name, &sddl)?.create_tokio()?;
        let hidden = hidden_name(path)?;
        open_with(&hidden, everybody, CREATE_NEW)?.write_all(name.as_bytes())?;
        replace(&hidden, path)?;
        let (place, held) = (path.to_owned(), Mutex::new(Some(File::open(path)?)));
        Ok(Self { pipes: Mutex::new(pipes.into()), name, sddl, place, held })
    }

    fn pipes(&self) -> std::sync::Arc<Pipes> {
        std::sync::Arc::clone(&self.pipes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next connection.
    ///
    /// # Errors
    /// If a system call fails; out of handles above all.
    pub async fn accept(&self) -> io::Result<ServerStream> {
        let accepted = self.pipes().accept().await;
        if accepted.is_err() {
            // A client that came and went leaves an instance that can't be connected any more: it
            // is put aside for a fresh one, which is there before the old one goes.
            let fresh = another_instance(&self.name, &self.sddl)?;
            let pipes = Pipes::from_handle_and_options(fresh, options(&self.name, &self.sddl)?)?;
            *self.pipes.lock().unwrap_or_else(PoisonError::into_inner) = pipes.into();
        }
        accepted
    }

    /// Returns true if clients that look at its place find it.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.place.exists()
    }

    /// Returns true if another program made the pipe: none does here.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        false
    }

    /// Removes the file that names the pipe, if it is still this one.
    pub fn unlink(&self) {
        if read_name(&self.place).is_ok_and(|name| name == self.name) {
            drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
            let _ = fs::remove_file(&self.place);
        }
    }
}

/// For pipes, in text form: this user and the system everything; if every user of this host is
/// admitted, they may connect. Clients from the network are kept out by the pipe's mode.
fn pipe_sddl(everybody: bool) -> io::Result<String> {
    let others =
        if everybody { format!("(A;;0x{PIPE_CLIENT_RIGHTS:x};;;AU)") } else { String::new() };
    let (owner, own) = (owner(everybody)?, own_user()?);
    Ok(format!("O:{owner}D:P(A;;GA;;;SY)(A;;GA;;;{owner})(A;;GA;;;{own}){others}"))
}

fn options(name: &str, sddl: &str) -> io::Result<PipeListenerOptions<'static>> {
    let descriptor = widestring_of(sddl)?;
    PipeListenerOptions::new()
        .path(name)
        .accept_remote(false)
        .input_buffer_size_hint(BUFFER_BYTES)
        .output_buffer_size_hint(BUFFER_BYTES)
        .security_descriptor(Some(descriptor))
        .to_owned()
}

fn widestring_of(sddl: &str) -> io::Result<SecurityDescriptor> {
    let text = sddl.to_wtf_16().map_err(io::Error::other)?;
    SecurityDescriptor::deserialize(&text)
}

fn another_instance(name: &str, sddl: &str) -> io::Result<OwnedHandle> {
    let descriptor = super::security::Descriptor::of(sddl)?;
    let attributes = descriptor.attributes();
    let name = wide(name);
    // SAFETY: the name ends with a zero; attributes and what they point to live through the call.
    let handle = unsafe {
        CreateNamedPipeW(
            name.as_ptr(),
            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_REJECT_REMOTE_CLIENTS,
            PIPE_UNLIMITED_INSTANCES,
            BUFFER_BYTES,
            BUFFER_BYTES,
            0,
            &raw const attributes,
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just gave us this handle, and no other code knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::os::Client;

    #[tokio::test]
    async fn a_client_that_came_and_went_does_not_end_the_accepting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let acceptor = Acceptor::bind(&path, false).unwrap();
        for _ in 0..5 {
            drop(Client::connect(&path, Duration::from_secs(1)).unwrap());
            // An error, or a session that has ended; never a hang.
            let _ = acceptor.accept().await;
        }
        let client = {
            let path = path.clone();
            std::thread::spawn(move || Client::connect(&path, Duration::from_secs(10)))
        };
        let accepted = loop {
            let Ok(accepted) = acceptor.accept().await else { continue };
            if super::super::peer::peer_ids(peer_of(&accepted)).is_ok() {
                break accepted;
            }
        };
        let ids = super::super::peer::peer_ids(peer_of(&accepted)).unwrap();
        assert_eq!((ids.pid, ids.uid), (std::process::id(), crate::os::own_uid()));
        let client = client.join().unwrap().unwrap();
        assert_eq!(client.peer().unwrap(), ids);
        let owner = super::super::security::owner_of_pipe(client.handle()).unwrap();
        assert_eq!(crate::os::windows::user::uid_of(&owner).unwrap(), ids.uid);
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let e = client.read(&mut [0; 8]).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
        acceptor.unlink();
        assert!(!path.exists());
    }
}
