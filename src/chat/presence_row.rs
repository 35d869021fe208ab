//! Rows of the presence table: one row a session, one line a public room.

use super::{
    member::{Kind, SessionId, State},
    names::{Handle, Label, RoomName, UserName},
};

/// One session as the presence table shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Number of its session.
    pub session: SessionId,
    /// Kernel's id of the user.
    pub uid: u32,
    /// Kernel's id of the process.
    pub pid: u32,
    /// Start time of the process (clock ticks since boot; 0 if unknown).
    pub start: u64,
    /// Kind of process that it says it is.
    pub kind: Kind,
    /// `Online`, `Away` or `Unresponsive`; idle is the reader's arithmetic.
    pub state: State,
    /// A passing session (`send`, `status`): shown by `who --all` only.
    pub visitor: bool,
    /// Wall clock at its start, microseconds since 1970.
    pub since_wall_us: i64,
    /// Monotonic clock at its last own message or key, microseconds.
    pub active_mono_us: u64,
    /// Name of the user.
    pub user: UserName,
    pub label: Option<Label>,
    /// Its `away` text, cut to the limit; empty if none.
    pub status: Box<str>,
    /// Public rooms it listens to.
    pub rooms: Vec<RoomName>,
}

impl Row {
    /// Returns the name of the session.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { user: self.user.clone(), label: self.label.clone() }
    }
}

/// Counters of the server that `status` and the table's header show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Sessions now, visitors included.
    pub sessions: u64,
    /// Number of rooms now.
    pub rooms: u64,
    /// Messages numbered in this run.
    pub messages: u64,
    /// Datagrams handed to the broadcast channel.
    pub broadcast_sent: u64,
    /// Messages sent again by session because a member lacked them.
    pub repaired: u64,
    /// Memberships that lag now.
    pub lagging: u64,
    /// Memberships served by session although they could hear the broadcast channel.
    pub deaf: u64,
}
