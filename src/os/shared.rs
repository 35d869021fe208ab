//! Types that both sides have in common.

use std::{io, sync::atomic::AtomicU64};

use memmap2::Mmap;

/// Bytes of a word of shared memory.
pub const WORD_BYTES: usize = 8;

/// Name of a member's mailslot, where the broadcast channel is made of them.
pub type Slot = [u8; 16];

/// Origin of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Session with the server.
    Session,
    /// The broadcast channel.
    Channel,
}

/// Input of a client.
#[derive(Debug)]
pub enum Came<'a> {
    /// Bytes of its session, in order.
    Session(&'a [u8]),
    /// A datagram of the broadcast channel, sealed. It came before the session ended.
    Datagram(&'a mut [u8]),
    /// The session has ended.
    End,
}

/// Resources that a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, microseconds.
    pub cpu_us: u64,
    /// Memory that it does not share, in bytes; none if the system does not report it.
    pub memory_bytes: Option<u64>,
}

/// News for the process that runs a child. `S`: signal of the platform.
#[derive(Debug)]
pub enum ChildEvent<S> {
    /// A child may have ended: it is time to look.
    MayHaveEnded,
    /// This process got a signal that may be meant for the child.
    Signal(S),
}

/// End of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildEnd {
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that killed it: number and name.
    pub signal: Option<(i32, String)>,
}

/// Why a command did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnError {
    /// No such command.
    NotFound,
    /// It is there and can't be executed.
    NotExecutable,
    /// No process could be made for it.
    NoProcess,
}

/// Result of a step of copying a child's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStep {
    /// Something was read or written.
    Copied,
    /// Nothing: the time has passed, or it was woken.
    Nothing,
    /// All outputs have ended.
    Ended,
}

/// Users and groups who may use a file beside its owner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admitted {
    /// Ids of the admitted users.
    pub users: Vec<u32>,
    /// Ids of the admitted groups.
    pub groups: Vec<u32>,
}

/// User id and process id of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerIds {
    /// Its user id when it connected (or began to listen).
    pub uid: u32,
    /// Its process id; 0 if the kernel does not say.
    pub pid: u32,
}

/// A reader's end of shared memory.
#[derive(Debug)]
pub struct ReadWords {
    pub(super) map: Mmap,
}

impl ReadWords {
    /// Returns all words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        let words = self.map.len() / WORD_BYTES;
        // SAFETY: page-aligned, that long, alive as long as `self`; only atomic loads are done on
        // it, which read-only memory allows.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), words) }
    }
}

/// Why shared memory can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadWordsError {
    /// No such file.
    #[error("no presence table")]
    Absent,
    /// Its content is invalid.
    #[error("{0}")]
    Wrong(String),
    /// Error from the system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reason why this machine has no broadcast channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelFault {
    /// The kernel does not do it.
    #[error("multicast does not work on this machine: {0}")]
    Unusable(#[from] io::Error),
    /// The test datagram did not arrive.
    #[error("a test datagram did not arrive")]
    Silent,
    /// Another process can send in the server's place.
    #[error("the kernel lets others forge the server's address ({0})")]
    Forged(&'static str),
}
