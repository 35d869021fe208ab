//! Completion of names, rooms and commands.

use std::collections::HashSet;

use super::state::{Model, When};
use crate::tui::{
    complete::{self, Completion, Kind, Names},
    slash,
};

/// Minimum time between two requests of all rooms by Tab.
const ROOMS_EVERY_US: u64 = 5_000_000;

impl Model {
    pub(super) fn complete(&mut self, now: When, back: bool) {
        if self.completion.is_none() {
            self.begin_completion(now);
        }
        let Some(completion) = &mut self.completion else {
            return self.hint("no match");
        };
        let (range, text) = if back { completion.back() } else { completion.next() };
        self.editor.replace(range, &text);
    }

    fn begin_completion(&mut self, now: When) {
        let commands: Vec<_> = slash::COMMANDS.iter().map(|info| (info.name, info.arg)).collect();
        let (text, cursor) = (self.editor.text(), self.editor.cursor());
        let kind = complete::word_at(text, cursor, &commands).kind;
        let open = self.notices.shown().iter().filter(|notice| notice.ack && !notice.acked);
        let notices: Vec<_> = open
            .map(|notice| crate::chat::message::AnnouncementId::Number(notice.number).to_string())
            .collect();
        let names = Names {
            commands: &commands,
            members: &self.names(),
            rooms: &self.room_names(),
            notices: &notices,
        };
        let completion = Completion::begin(text, cursor, &names);
        let wants_rooms = match kind {
            Kind::Room => true,
            Kind::Word => completion.is_none(),
            _ => false,
        };
        self.completion = completion;
        let is_old = |at: u64| now.mono_us.saturating_sub(at) >= ROOMS_EVERY_US;
        if wants_rooms && self.times.rooms_asked_us.is_none_or(is_old) {
            // A room that was created meanwhile is known to the next Tab.
            self.times.rooms_asked_us = Some(now.mono_us);
            self.ask_for_rooms();
        }
    }

    /// Returns the names to complete, recent speakers first.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        let here = self.room().into_iter().flat_map(|room| {
            room.speakers.iter().chain(room.members.iter().map(|present| &present.name))
        });
        for name in here.chain(&self.known.names) {
            if *name != self.user.name && seen.insert(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Returns the open rooms, then all others that are known.
    pub(super) fn room_names(&self) -> Vec<String> {
        let open = self.rooms.iter().filter_map(|room| room.room_name());
        let known = self.known.rooms.iter().map(|info| &info.name);
        let mut seen = HashSet::new();
        open.chain(known).filter(|name| seen.insert(*name)).map(ToString::to_string).collect()
    }
}
