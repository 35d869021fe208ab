//! Files: which one it is, whose it is, who may use it.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, openat},
    sys::stat::Mode,
};

use super::user::own_uid;
use crate::{
    faults::{Fault, planted},
    os::random::random_bytes,
};

/// Identity of the file at a path: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// Identity of an open file.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { device: meta.dev(), inode: meta.ino() })
    }

    /// Returns true if that is what the system knows of this very file.
    #[cfg(target_os = "linux")]
    pub(super) fn is_of(&self, meta: &fs::Metadata) -> bool {
        (self.device, self.inode) == (meta.dev(), meta.ino())
    }

    /// Returns true if this very file is at a path.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        file_identity(path).is_ok_and(|there| there == *self)
    }
}

/// Returns the identity of the file at a path, symbolic links not followed.
///
/// # Errors
/// If a system call fails.
pub fn file_identity(path: &Path) -> io::Result<FileIdentity> {
    let meta = fs::symlink_metadata(path)?;
    Ok(FileIdentity { device: meta.dev(), inode: meta.ino() })
}

/// User id that a file or directory belongs to.
///
/// # Errors
/// If a system call fails.
pub fn owner_of(path: &Path) -> io::Result<u32> {
    fs::metadata(path).map(|meta| meta.uid())
}

/// Returns a random name beside a path, as long as its own (socket paths are short of room).
///
/// # Errors
/// If random numbers are not available, or the path has no file name.
pub fn hidden_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let random = random_bytes::<16>()?;
    let letter = |i: usize| char::from(b'a' + random[i % 16] % 26);
    let hidden: String = (0..name.len()).map(letter).collect();
    Ok(path.with_file_name(hidden))
}

/// Returns true if an error says that this process or the system has no descriptors left.
#[must_use]
pub fn is_out_of_descriptors(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Opens a file, and waits for nothing: neither for the other end of a FIFO nor for a device.
fn open_at_once(at: impl AsFd, path: &Path, flags: OFlag, mode: u32) -> io::Result<File> {
    let mut flags = flags | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    flags.set(OFlag::O_NONBLOCK, !planted(Fault::FifoWaitedFor));
    let mode = Mode::from_bits_truncate(mode as libc::mode_t);
    match openat(at, path, flags, mode) {
        Ok(fd) => Ok(fd.into()),
        // A socket, or a FIFO without a reader.
        Err(Errno::ENXIO) => Err(not_regular()),
        Err(Errno::ELOOP) if flags.contains(OFlag::O_NOFOLLOW) => Err(not_regular()),
        Err(e) => Err(e.into()),
    }
}

fn not_regular() -> io::Error {
    io::Error::other("not a regular file")
}

/// Opens a regular file and nothing else; a link is not followed.
pub(super) fn open_regular(path: &Path, flags: OFlag, mode: u32) -> io::Result<File> {
    let file = open_at_once(AT_FDCWD, path, flags | OFlag::O_NOFOLLOW, mode)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// Opens a file of this user's settings to read it. It may be a link, and the null device is an
/// empty file; what would have to be waited for is refused.
///
/// # Errors
/// If a system call fails, and for a directory, a FIFO or a socket.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::FileTypeExt;
    let file = open_at_once(AT_FDCWD, path, OFlag::O_RDONLY, 0)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_char_device() { Ok(file) } else { Err(not_regular()) }
}

/// Opens a file of this user's to append to it, makes it if there is none, and sees to it that only
/// its owner may read it.
///
/// # Errors
/// If something else is there, or from the system.
pub fn make_private(path: &Path) -> io::Result<File> {
    let file = open_regular(path, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT, 0o600)?;
    let meta = file.metadata()?;
    if meta.uid() != own_uid() || meta.nlink() != 1 {
        return Err(io::Error::other(
            "owned by another user, or linked under another name; move it away",
        ));
    }
    if meta.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// A file that this process made. It goes with this value, if it is still the one in its place.
#[derive(Debug)]
pub(super) struct OwnFile {
    path: PathBuf,
    identity: FileIdentity,
}

impl OwnFile {
    /// Takes charge of a file that was just made.
    pub(super) fn just_made(path: PathBuf) -> io::Result<Self> {
        let identity = file_identity(&path)?;
        Ok(Self { path, identity })
    }

    /// Puts it in its place, whole.
    pub(super) fn rename(&mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.path = to.to_owned();
        Ok(())
    }

    /// Returns true if it is still the one in its place.
    pub(super) fn is_in_place(&self) -> bool {
        self.identity.is_at(&self.path)
    }

    /// Removes the file from its place.
    pub(super) fn unlink(&self) {
        if self.is_in_place() {
            // If it can't be removed, the next server replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if planted(Fault::FailedStartLeavesTable) {
            return;
        }
        self.unlink();
    }
}
