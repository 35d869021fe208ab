//! Rights of a user by the policy of a server.

use std::sync::Arc;

use crate::chat::{names::RoomName, rules::Rights};

/// Rights of a user on a system server, by its policy.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// May have a session.
    pub(super) admitted: bool,
    /// Rights of the user; `None` if the policy names no user.
    pub(super) rights: Option<Rights>,
    /// Rooms of the configuration that the user leads.
    pub(super) leads: Arc<[RoomName]>,
}

impl Standing {
    /// Of a policy that names no user.
    pub(super) fn nameless() -> Self {
        Self { admitted: true, rights: None, leads: Arc::from([]) }
    }
}
