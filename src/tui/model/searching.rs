//! Searching in the current room.

use super::{
    effect::{Effect, PendingRequest},
    search::{Search, has_all, words},
    state::{Mode, Model, When},
};
use crate::{
    chat::{
        batch::Reader,
        reply::HitInfo,
        request::{HistoryRequest, Request, SearchRequest},
    },
    tui::{keys::Action, scrollback::Line},
};

/// Hits of one request.
pub(super) const HITS: u32 = 100;
/// Time from the last letter of a search until the server is asked.
const SEARCH_AFTER_US: u64 = 200_000;

impl Model {
    pub(super) fn take_hits(&mut self, now: When, query: &str, hits: &[HitInfo], more: bool) {
        let Mode::Search(search) = &mut self.mode else { return };
        if search.query.text() != query {
            return;
        }
        search.waits = false;
        search.more_before = if more { hits.first().map(|hit| hit.id) } else { None };
        let seqs = hits.iter().filter_map(|hit| {
            let mut messages = Reader::new(&hit.body).ok()?;
            messages.next()?.ok().map(|message| message.seq)
        });
        let had = search.current();
        search.add(seqs.collect::<Vec<_>>());
        if had.is_none() {
            self.show_hit(now, None);
        }
    }

    /// Sends the query to the server, once the user pauses.
    pub(super) fn search_when_due(&mut self, now: When) {
        let Mode::Search(search) = &mut self.mode else { return };
        if search.ask_at_us.is_none_or(|at| at > now.mono_us) {
            return;
        }
        search.ask_at_us = None;
        let query = search.query.text().to_owned();
        if words(&query).is_empty() {
            return;
        }
        search.waits = true;
        self.ask_for_hits(query, 0);
    }

    pub(super) fn ask_for_hits(&mut self, query: String, before: u64) {
        let Some(room) = self.room() else { return };
        let (Some(target), room) = (room.target(), room.name.clone()) else { return };
        let request = Request::History(HistoryRequest::Search(SearchRequest {
            text: query.clone(),
            target: Some(target),
            from: None,
            since_us: None,
            before,
            limit: HITS,
        }));
        self.effects.push_back(Effect::Ask(request, PendingRequest::Hits { room, query }));
    }

    pub(super) fn begin_search(&mut self, now: When, text: &str) {
        let from = self.room().map(|room| room.place).unwrap_or_default();
        let mut search = Search { from, ..Search::default() };
        search.query.set(text);
        self.mode = Mode::Search(search);
        self.search_again(now);
    }

    pub(super) fn end_search(&mut self) {
        self.mode = Mode::Chat;
        self.options.look.words.clear();
        self.changed = true;
    }

    pub(super) fn search_key(&mut self, now: When, action: Option<Action>, typed: Option<char>) {
        let Mode::Search(search) = &mut self.mode else { return };
        match action {
            None => {
                if let Some(c) = typed {
                    search.query.insert_char(c);
                    self.search_again(now);
                }
            }
            Some(Action::Edit(edit)) => {
                search.query.apply(edit);
                self.search_again(now);
            }
            Some(Action::Search | Action::Up | Action::HistoryBack) => {
                self.show_hit(now, Some(false));
            }
            Some(Action::SearchNewer | Action::Down | Action::HistoryForward) => {
                self.show_hit(now, Some(true));
            }
            Some(Action::Send) => self.end_search(),
            Some(Action::Escape) => {
                let from = search.from;
                self.end_search();
                self.go_back_to(now, from);
            }
            Some(Action::PageUp) => self.scroll(now, -self.page()),
            Some(Action::PageDown) => self.scroll(now, self.page()),
            Some(Action::Pager) => self.page_selected(),
            Some(_) => {}
        }
    }

    /// Searches again for a changed query: at once in memory, and soon on the server.
    pub(super) fn search_again(&mut self, now: When) {
        let Mode::Search(search) = &mut self.mode else { return };
        let words = words(search.query.text());
        search.hits.clear();
        search.at = None;
        search.more_before = None;
        search.waits = false;
        search.ask_at_us = (!words.is_empty()).then_some(now.mono_us + SEARCH_AFTER_US);
        let found: Vec<_> = match self.rooms.get(self.current) {
            Some(room) => room
                .back
                .iter()
                .filter_map(Line::said)
                .filter(|said| has_all(&said.text, &words))
                .map(|said| said.seq)
                .collect(),
            None => Vec::new(),
        };
        if found.is_empty()
            && let Some(room) = self.room_mut()
        {
            room.selected = None;
        }
        if let Mode::Search(search) = &mut self.mode {
            search.add(found);
        }
        self.options.look.words = words;
        self.changed = true;
        self.show_hit(now, None);
    }

    /// Shows the newest hit, or the next one in a direction.
    pub(super) fn show_hit(&mut self, now: When, newer: Option<bool>) {
        let head = self.room().map_or(0, |room| room.marks.head);
        let Mode::Search(search) = &mut self.mode else { return };
        let next = match (newer, search.at) {
            (None, _) | (_, None) => search.nearest(head),
            (Some(true), Some(at)) => Some((at + 1).min(search.hits.len().saturating_sub(1))),
            (Some(false), Some(0)) => {
                // The server may know older hits.
                let Some(before) = search.more_before.take() else {
                    if !search.waits {
                        self.hint("no older match");
                    }
                    return;
                };
                search.waits = true;
                let query = search.query.text().to_owned();
                return self.ask_for_hits(query, before);
            }
            (Some(false), Some(at)) => Some(at - 1),
        };
        search.at = next;
        if let Some(seq) = search.current() {
            self.go_to(now, self.current, seq);
        }
    }
}
