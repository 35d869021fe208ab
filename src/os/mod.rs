//! This machine: the only place with `cfg(unix)` or `cfg(windows)`, and the only one with `unsafe`.
//!
//! Each side offers the same names:
//!
//! | file | what it offers |
//! | --- | --- |
//! | `acceptor` | sessions: the server's end |
//! | `access` | access of further users to a file (Windows: access lists are made with the file) |
//! | `channel` | the broadcast channel's sockets and the self-test of its defenses |
//! | `child` | a command that is run for a user: its pipes, its end, signals passed on to it |
//! | `clock` | both clocks |
//! | `dir` | a directory that is opened once, and the operations in it |
//! | `drain` | the outputs of a child, copied in order, and by another process after this one |
//! | `files` | identity, owner and mode of files; names that can't be guessed |
//! | `health` | facts about the machine for a search for faults |
//! | `intake` | input of a client: session, broadcast channel, own threads, waited for at once |
//! | `lock` | the deciding lock, and queries for its holder |
//! | `memory` | the shared memory of the presence table |
//! | `peer` | the process at the other end of a session, and its end |
//! | `place` | directories of servers |
//! | `process` | settings of a background server's own process |
//! | `pty` | a pseudo-terminal for a child; this terminal while its input goes there |
//! | `random` | random numbers |
//! | `reserve` | a descriptor for the time when none are left |
//! | `service` | the service manager: reports to it, sockets from it |
//! | `stream` | sessions: the client's end |
//! | `terminal` | the terminal that this process was started in |
//! | `user` | the user database |

mod entries;
mod health;
mod note;
mod places;
mod random;
mod shared;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

pub use self::{
    health::{FileKind, Look, RuntimeWish, Space},
    note::{LockError, LockNote, LockState},
    places::{PlaceError, Places, is_directory},
    random::{random_bytes, random_u32},
    shared::{
        Admitted, Came, ChannelFault, ChildEnd, ChildEvent, OutputStep, PeerIds, ReadWords,
        ReadWordsError, Slot, Source, SpawnError, Usage, WORD_BYTES,
    },
};
