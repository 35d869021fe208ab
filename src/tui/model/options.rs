//! Settings of the screen, and the appearance of lines.

use jiff::tz::TimeZone;

use crate::{
    chat::names::Label,
    config::screen::{NotifyWish as Alert, PanelWish as Panel},
    tui::{keys::Keys, paint::Paint},
};

/// How lines look: what their rows depend on beside the room.
#[derive(Debug)]
pub(in crate::tui) struct Look {
    pub(in crate::tui) paint: Paint,
    pub(in crate::tui) zone: TimeZone,
    /// strftime of jiff.
    pub(in crate::tui) time_format: String,
    pub(in crate::tui) date_format: String,
    /// Without panels, frames and gutter, for copying.
    pub(in crate::tui) plain: bool,
    pub(in crate::tui) links: bool,
    /// Joins and leaves are not shown.
    pub(in crate::tui) hide_moves: bool,
    /// The own user, for mentions.
    pub(in crate::tui) user: String,
    /// Words that are searched for, in lower case.
    pub(in crate::tui) words: Vec<String>,
}

/// What the settings say.
#[derive(Debug)]
pub(in crate::tui) struct Options {
    pub(in crate::tui) keys: Keys,
    pub(in crate::tui) look: Look,
    pub(in crate::tui) rooms_panel: Panel,
    pub(in crate::tui) members_panel: Panel,
    pub(in crate::tui) rooms_columns: usize,
    pub(in crate::tui) members_columns: usize,
    pub(in crate::tui) bell: Alert,
    pub(in crate::tui) notify: Alert,
    /// Lines of a paste above which a question is asked.
    pub(in crate::tui) paste_lines: usize,
    pub(in crate::tui) mouse: bool,
    /// Lines of a room in memory.
    pub(in crate::tui) lines: usize,
    /// Other rooms than those that were named are not opened.
    pub(in crate::tui) only_named: bool,
    /// Nothing can be said.
    pub(in crate::tui) read_only: bool,
    pub(in crate::tui) label: Option<Label>,
    /// Name or directory of the server.
    pub(in crate::tui) server: String,
}
