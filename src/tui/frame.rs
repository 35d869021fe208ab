//! What is drawn: rows of styled text, and where the cursor stands. Free of the terminal.

use std::sync::Arc;

use ratatui::style::Style;

use super::width::width;

/// A piece of a row in one style.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Span {
    /// Safe to show; no line ends, no tabs.
    pub(super) text: String,
    pub(super) style: Style,
    /// Where a click leads.
    pub(super) link: Option<Arc<str>>,
}

/// One row of the screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    pub(super) spans: Vec<Span>,
}

impl Row {
    /// A row of one piece.
    pub(super) fn of(text: impl Into<String>, style: Style) -> Self {
        let mut row = Self::default();
        row.push(text, style);
        row
    }

    /// Adds a piece at the end.
    pub(super) fn push(&mut self, text: impl Into<String>, style: Style) {
        self.spans.push(Span { text: text.into(), style, link: None });
    }

    /// Columns that it takes.
    pub(super) fn width(&self) -> usize {
        self.spans.iter().map(|span| width(&span.text)).sum()
    }

    /// Without styles.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }
}

/// A whole screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Frame {
    /// From the top; no more than the screen has, none wider than it.
    pub(super) rows: Vec<Row>,
    /// Column and row of the cursor; none: hidden.
    pub(super) cursor: Option<(u16, u16)>,
}
