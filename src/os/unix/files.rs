//! Files: which one it is, whose it is, who may use it.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::os::random::random_bytes;

/// Which file a path leads to: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

/// Identity of what stands at a path, symbolic links not followed.
///
/// # Errors
/// From the system.
pub fn file_identity(path: &Path) -> io::Result<FileIdentity> {
    let meta = fs::symlink_metadata(path)?;
    Ok(FileIdentity { device: meta.dev(), inode: meta.ino() })
}

/// User id that a file or directory belongs to.
///
/// # Errors
/// From the system.
pub fn owner_of(path: &Path) -> io::Result<u32> {
    fs::metadata(path).map(|meta| meta.uid())
}

/// A random name beside a path, as long as its own (socket paths are short of room).
///
/// # Errors
/// If there are no random numbers, or the path has no file name.
pub fn hidden_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let random = random_bytes::<16>()?;
    let letter = |i: usize| char::from(b'a' + random[i % 16] % 26);
    let hidden: String = (0..name.len()).map(letter).collect();
    Ok(path.with_file_name(hidden))
}

/// Lets only the owner, or everybody, connect to a socket.
///
/// # Errors
/// From the system.
pub fn set_socket_mode(path: &Path, everybody: bool) -> io::Result<()> {
    let mode = if everybody { 0o666 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Whether an error says that this process or the system has no descriptors left.
#[must_use]
pub fn is_out_of_descriptors(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Makes a file if there is none, and sees to it that only its owner may read it.
///
/// # Errors
/// From the system.
pub fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}
