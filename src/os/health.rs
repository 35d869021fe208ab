//! Facts about a machine for `doctor`, which looks for faults.

use std::path::PathBuf;

/// Kind of file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory, not a link to one.
    Directory,
    /// A Unix socket.
    Socket,
    /// Anything else; a symbolic link above all.
    Other,
}

/// Properties of the file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Kind of the file.
    pub kind: FileKind,
    /// Owner of the file.
    pub uid: u32,
    /// Permission bits with setuid, setgid and sticky; none where permissions are not a number.
    pub mode: Option<u32>,
    /// Size in bytes.
    pub bytes: u64,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Bytes of all of it.
    pub total_bytes: u64,
}

/// Directory that the environment names for a user's sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeWish {
    /// No such setting on this platform.
    None,
    /// It says nothing.
    Unset,
    /// A directory that can be used.
    Good(PathBuf),
    /// One that can't be, and why.
    Bad(PathBuf, String),
}
