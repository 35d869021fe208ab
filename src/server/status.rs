//! The server's own word on its state; a frozen frame, so keys are only added.

use serde::{Deserialize, Serialize};

use crate::chat::hub::Usage;

/// Counters and health, as `status` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the command line contract")]
pub struct Status {
    pub pid: u32,
    pub version: String,
    pub uptime_s: u64,
    pub dir: String,
    pub sessions: u64,
    /// Sessions that listen.
    #[serde(default)]
    pub members: u64,
    pub rooms: u64,
    pub messages: u64,
    pub broadcast: String,
    pub broadcast_sent: u64,
    pub repaired: u64,
    pub lagging: u64,
    /// Memberships served by session although there is a channel they could hear.
    #[serde(default)]
    pub deaf: u64,
    /// Sizes of the history, in the same object.
    #[serde(flatten)]
    pub stored: HistoryStatus,
    /// Users who caused most lately, the heaviest first.
    #[serde(default)]
    pub users: Vec<Heavy>,
    /// Why messages go by session only, although the configuration wants the broadcast channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast_failure: Option<String>,
    /// Why the server is degraded; empty if it is healthy.
    #[serde(default)]
    pub degraded: Vec<String>,
}

/// Sizes of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryStatus {
    /// True if there is a history on disk.
    #[serde(default)]
    pub history: bool,
    /// Messages in it.
    pub history_messages: u64,
    /// Bytes in use.
    pub history_bytes: u64,
    /// Bytes of the history and its log on disk, free pages included.
    #[serde(default)]
    pub history_disk_bytes: u64,
    /// Bytes of the search index and its log on disk.
    #[serde(default)]
    pub index_disk_bytes: u64,
}

/// Usage of one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heavy {
    /// Name of the user.
    pub user: String,
    /// Work that the user caused.
    #[serde(flatten)]
    pub usage: Usage,
    /// Bytes of the user's texts in the history.
    pub history_bytes: u64,
}
