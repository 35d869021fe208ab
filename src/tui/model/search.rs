//! A search in the current room: at once in memory, and further back by the server.

use crate::tui::{editor::Editor, scrollback::Place};

/// A search in one room.
#[derive(Debug, Default)]
pub(in crate::tui) struct Search {
    /// Place before the search.
    pub(in crate::tui) from: Place,
    /// Typed text of the search.
    pub(in crate::tui) query: Editor,
    /// Numbers of the messages with all words, the oldest first.
    pub(in crate::tui) hits: Vec<u64>,
    /// Index of the shown hit.
    pub(in crate::tui) at: Option<usize>,
    /// True while a query has no reply yet.
    pub(in crate::tui) waits: bool,
    /// Id before which the server has older hits.
    pub(in crate::tui) more_before: Option<u64>,
    /// Time of the next query, monotonic microseconds.
    pub(in crate::tui) ask_at_us: Option<u64>,
}

impl Search {
    /// Adds hits to the list.
    pub(in crate::tui) fn add(&mut self, found: impl IntoIterator<Item = u64>) {
        let shown = self.at.and_then(|at| self.hits.get(at)).copied();
        self.hits.extend(found);
        self.hits.sort_unstable();
        self.hits.dedup();
        self.at = shown.and_then(|seq| self.hits.binary_search(&seq).ok());
    }

    /// Returns the hit at or before a number; otherwise the first one after it.
    pub(in crate::tui) fn nearest(&self, seq: u64) -> Option<usize> {
        let after = self.hits.partition_point(|hit| *hit <= seq);
        match (after, self.hits.len()) {
            (_, 0) => None,
            (0, _) => Some(0),
            (after, _) => Some(after - 1),
        }
    }

    /// Returns the number of the shown hit.
    pub(in crate::tui) fn current(&self) -> Option<u64> {
        self.at.and_then(|at| self.hits.get(at)).copied()
    }
}

/// Returns the words of a query, in lower case.
pub(in crate::tui) fn words(query: &str) -> Vec<String> {
    query.split_whitespace().map(str::to_lowercase).collect()
}

/// Returns true if a text has all words.
pub(in crate::tui) fn has_all(text: &str, words: &[String]) -> bool {
    let text = text.to_lowercase();
    !words.is_empty() && words.iter().all(|word| text.contains(word.as_str()))
}
