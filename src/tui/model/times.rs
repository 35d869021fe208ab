//! Times at which something happened or is due.

/// Times of the screen's model, monotonic microseconds.
#[derive(Debug, Default)]
pub(super) struct ModelTimes {
    /// The last key.
    pub(super) key_at_us: u64,
    /// Start of the user's look at the room: a room that they only pass through is not read.
    pub(super) looks_from_us: u64,
    /// The members of the room are looked up.
    pub(super) members_at_us: u64,
    /// Read marks are sent to the server.
    pub(super) marks_at_us: Option<u64>,
    /// Drafts are saved.
    pub(super) keep_at_us: Option<u64>,
    /// The hint disappears, unless it is an error.
    pub(super) hint_until_us: Option<u64>,
    /// The server was last notified that the user is active.
    pub(super) active_at_us: Option<u64>,
    /// Tab asked for all rooms.
    pub(super) rooms_asked_us: Option<u64>,
    /// The bell last rang.
    pub(super) rung_at_us: Option<u64>,
}

impl ModelTimes {
    /// Returns the times of a screen that begins now.
    pub(super) fn begin(now_us: u64) -> Self {
        Self { key_at_us: now_us, looks_from_us: now_us, members_at_us: now_us, ..Self::default() }
    }
}
