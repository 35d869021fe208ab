//! The layout of the screen: columns and rows of each part.

/// Sizes of all parts, in columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::tui) struct Layout {
    /// Columns of the rooms' panel.
    pub(in crate::tui) rooms: Option<usize>,
    /// Columns of the members' panel.
    pub(in crate::tui) members: Option<usize>,
    /// Columns of the messages.
    pub(in crate::tui) pane_columns: usize,
    /// Rows of the messages.
    pub(in crate::tui) pane_rows: usize,
    pub(in crate::tui) title: bool,
    /// Rows of announcements.
    pub(in crate::tui) notices: usize,
    /// True if a row says that there is more below.
    pub(in crate::tui) below: bool,
    /// Rows of a status message, a completion, or the keys for a message.
    pub(in crate::tui) hint: usize,
    /// True if a row quotes the message to reply to.
    pub(in crate::tui) quote: bool,
    pub(in crate::tui) status: bool,
    /// Rows of the input.
    pub(in crate::tui) input: usize,
}

impl Layout {
    /// Returns the rows between the announcements and the parts above the input.
    pub(super) fn body_rows(&self) -> usize {
        self.pane_rows + usize::from(self.below)
    }

    /// Returns the rows above the body.
    pub(super) fn body_from(&self) -> usize {
        usize::from(self.title) + self.notices
    }
}
