//! Appearance of text for people.

use super::time::Clock;

/// Appearance of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// Colors are written.
    pub(super) color: bool,
    /// The room of each message is named.
    pub(super) rooms: bool,
    /// Form of times.
    pub(super) clock: Clock,
    /// Columns of the terminal that tables are to fit into, if it is one.
    pub(super) columns: Option<usize>,
}
