//! A search in the room that is shown: what is in memory at once, what is further back as the
//! server finds it.

use crate::tui::{editor::Editor, scrollback::Place};

/// A search.
#[derive(Debug, Default)]
pub(in crate::tui) struct Search {
    /// Where one looked before.
    pub(in crate::tui) from: Place,
    /// What is typed.
    pub(in crate::tui) query: Editor,
    /// Numbers of the messages that have it, the oldest first.
    pub(in crate::tui) hits: Vec<u64>,
    /// Which of them is shown.
    pub(in crate::tui) at: Option<usize>,
    /// The server was asked, and has not answered yet.
    pub(in crate::tui) waits: bool,
    /// The server has older ones: to be asked for before this id.
    pub(in crate::tui) more_before: Option<u64>,
    /// When to ask the server for what is typed, monotonic microseconds.
    pub(in crate::tui) ask_at_us: Option<u64>,
}

impl Search {
    /// Adds what was found.
    pub(in crate::tui) fn add(&mut self, found: impl IntoIterator<Item = u64>) {
        let shown = self.at.and_then(|at| self.hits.get(at)).copied();
        self.hits.extend(found);
        self.hits.sort_unstable();
        self.hits.dedup();
        self.at = shown.and_then(|seq| self.hits.binary_search(&seq).ok());
    }

    /// The hit at or before a number; else the first one after it.
    pub(in crate::tui) fn nearest(&self, seq: u64) -> Option<usize> {
        let after = self.hits.partition_point(|hit| *hit <= seq);
        match (after, self.hits.len()) {
            (_, 0) => None,
            (0, _) => Some(0),
            (after, _) => Some(after - 1),
        }
    }

    /// The number that is shown.
    pub(in crate::tui) fn current(&self) -> Option<u64> {
        self.at.and_then(|at| self.hits.get(at)).copied()
    }
}

/// The words of a query, in lower case.
pub(in crate::tui) fn words(query: &str) -> Vec<String> {
    query.split_whitespace().map(str::to_lowercase).collect()
}

/// Whether a text has all words.
pub(in crate::tui) fn has_all(text: &str, words: &[String]) -> bool {
    let text = text.to_lowercase();
    !words.is_empty() && words.iter().all(|word| text.contains(word.as_str()))
}
