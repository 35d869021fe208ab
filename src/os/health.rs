//! What is found out about a machine by somebody who looks for what is wrong.

use std::path::PathBuf;

/// What kind of thing stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A socket.
    Socket,
    /// Anything else; a symbolic link above all.
    Other,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// What it is.
    pub kind: FileKind,
    /// Whose it is.
    pub uid: u32,
    /// Who may use it, as nine bits and three; none where that is no number.
    pub mode: Option<u32>,
    /// Its size.
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

/// Where the environment wants a user's sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeWish {
    /// There is no such wish on this platform.
    None,
    /// It says nothing.
    Unset,
    /// A directory that can be used.
    Good(PathBuf),
    /// One that can't be, and why.
    Bad(PathBuf, String),
}
