//! This machine: the only place with `cfg(unix)` or `cfg(windows)`, and the only one with `unsafe`.
//!
//! Each side offers the same names:
//!
//! | file | what it offers |
//! | --- | --- |
//! | `access` | who may use a file beside its owner (Windows: access lists are made with the file) |
//! | `channel` | the broadcast channel's sockets and the self-test of its defences |
//! | `child` | a command that is run for somebody: its pipes, its end, signals that are handed on to it |
//! | `clock` | both clocks |
//! | `dir` | a directory that is opened once, and what is done in it |
//! | `drain` | the outputs of a child, copied in order, and what goes on with that after this process |
//! | `files` | identity, owner and mode of files; names that nobody guesses |
//! | `health` | what the machine says to somebody who looks for what is wrong |
//! | `intake` | what comes to a client, from session, broadcast channel and its own threads, waited for at once |
//! | `lock` | the deciding lock, and asking who holds it |
//! | `memory` | the shared memory of the presence table |
//! | `peer` | who is at the other end of a session, and when that process ends |
//! | `place` | where servers live |
//! | `process` | what a background server does with itself |
//! | `pty` | a pseudo-terminal for a child, and the terminal of this process while its input goes there |
//! | `random` | random numbers |
//! | `service` | the service manager: what it is told, what it hands over |
//! | `stream` | sessions: where a server listens, and the client's end |
//! | `terminal` | the terminal that this process was started in |
//! | `user` | the user database |

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
        Admitted, Came, ChannelFault, ChildEnd, ChildNews, NotBegun, OutputStep, PeerIds,
        ReadWords, ReadWordsError, Slot, Source, Usage, WORD_BYTES,
    },
};
