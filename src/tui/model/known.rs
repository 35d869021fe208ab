//! Rooms and names of the server that the screen knows, for completion.

use std::collections::BTreeSet;

use crate::chat::reply::RoomInfo;

/// Names that are known for completion.
const NAMES_MAX: usize = 5_000;

/// Rooms and names of the server that the screen knows.
#[derive(Debug, Default)]
pub(super) struct KnownNames {
    /// All visible rooms of the server.
    pub(super) rooms: Vec<RoomInfo>,
    /// Rooms that this name was removed from, by key: they do not open by themselves.
    pub(super) left: BTreeSet<String>,
    /// Names that were seen.
    pub(super) names: BTreeSet<String>,
}

impl KnownNames {
    /// Adds names, up to the bound.
    pub(super) fn add_names(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
            if self.names.len() < NAMES_MAX {
                self.names.insert(name);
            }
        }
    }
}
