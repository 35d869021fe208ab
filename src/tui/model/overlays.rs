//! Keys while the help, the switcher or a long paste is open.

use std::collections::HashSet;

use super::{
    effect::Effect,
    state::{Choice, Mode, Model, When},
};
use crate::{
    chat::names::Target,
    tui::{
        complete,
        editor::{Edit, Editor},
        keys::Action,
    },
};

impl Model {
    pub(super) fn help_key(&mut self, now: When, action: Option<Action>, typed: Option<char>) {
        let page = usize::try_from(self.page()).unwrap_or(1);
        let Mode::Help { from } = &mut self.mode else { return };
        match action {
            Some(Action::PageUp) => *from = from.saturating_sub(page),
            Some(Action::PageDown) => *from += page,
            Some(Action::Up | Action::LineUp | Action::HistoryBack) => {
                *from = from.saturating_sub(1);
            }
            Some(Action::Down | Action::LineDown | Action::HistoryForward) => *from += 1,
            Some(Action::Top) | Some(Action::Edit(Edit::Start)) => *from = 0,
            Some(Action::DeleteOrLeave) => {
                self.effects.push_back(Effect::Leave { interrupted: false });
            }
            _ => {
                self.mode = Mode::Chat;
                // A question mark at the start of a text is typed twice.
                if let Some(c) = typed.filter(|c| *c != 'q') {
                    self.insert(now, c);
                }
            }
        }
        self.bound_help();
    }

    pub(super) fn bound_help(&mut self) {
        if let Mode::Help { from } = &mut self.mode
            && let Some(rows) = self.geometry.help_rows
        {
            *from = (*from).min(rows.saturating_sub(1));
        }
    }

    pub(super) fn begin_switch(&mut self) {
        self.mode = Mode::Switch { query: Editor::default(), names: Vec::new(), at: 0 };
        self.ask_for_rooms();
        self.choose_again();
    }

    /// Returns all choices: rooms with unread messages, the other open rooms, those that are not
    /// open, users.
    fn choices(&self) -> Vec<Choice> {
        let mut open: Vec<_> = (0..self.rooms.len()).collect();
        let last = self.last_shown.as_ref().and_then(|name| self.index_of(name));
        open.sort_by_key(|at| {
            let room = &self.rooms[*at];
            let is_last = Some(*at) == last;
            (
                *at == self.current,
                room.important() == 0,
                room.marks.unread == 0,
                !is_last,
                room.number,
            )
        });
        let mut choices: Vec<_> = open
            .into_iter()
            .map(|at| Choice { name: self.rooms[at].title(), open: true })
            .collect();
        let mut seen: HashSet<_> = choices.iter().map(|choice| choice.name.clone()).collect();
        let users = self.known.names.iter().filter_map(|name| Self::user_of(name));
        let others = self.room_names().into_iter().chain(users.map(|user| format!("@{user}")));
        let others = others.filter(|name| seen.insert(name.clone()));
        choices.extend(others.map(|name| Choice { name, open: false }));
        choices
    }

    pub(super) fn choose_again(&mut self) {
        let choices = self.choices();
        let Mode::Switch { query, names, at } = &mut self.mode else { return };
        let all: Vec<_> = choices.iter().map(|choice| choice.name.clone()).collect();
        let order = complete::fuzzy(query.text().trim_start_matches('#'), &all);
        *names = order.into_iter().map(|index| choices[index].clone()).collect();
        *at = 0;
    }

    pub(super) fn switch_key(&mut self, now: When, action: Option<Action>, typed: Option<char>) {
        let Mode::Switch { query, names, at } = &mut self.mode else { return };
        match action {
            None => {
                if let Some(c) = typed {
                    query.insert_char(c);
                    self.choose_again();
                }
            }
            Some(Action::Edit(edit)) => {
                query.apply(edit);
                self.choose_again();
            }
            Some(Action::Up | Action::HistoryBack | Action::LineUp | Action::CompleteBack) => {
                *at = at.saturating_sub(1);
            }
            Some(Action::Down | Action::HistoryForward | Action::LineDown | Action::Complete) => {
                *at = (*at + 1).min(names.len().saturating_sub(1));
            }
            Some(Action::Send) => {
                let chosen = names.get(*at).cloned();
                let typed = query.text().trim().to_owned();
                match chosen {
                    Some(choice) => {
                        self.mode = Mode::Chat;
                        self.go(now, &choice.name);
                    }
                    // A command creates a room, not a typing error.
                    None => self.hint(format!("no match; /join {typed} creates it")),
                }
            }
            Some(Action::Switch | Action::Escape) => self.mode = Mode::Chat,
            Some(_) => {}
        }
    }

    /// Shows a room or conversation; joins it if it is not open.
    pub(super) fn go(&mut self, now: When, written: &str) {
        match written.parse::<Target>() {
            Ok(Target::Room(room)) => self.join(now, room),
            Ok(Target::User { user, .. }) => {
                self.go_to_user(now, user);
            }
            Err(e) => self.complain(format!("{written}: {e}")),
        }
    }

    pub(super) fn paste_key(&mut self, now: When, action: Option<Action>) {
        let page = usize::try_from(self.page()).unwrap_or(1);
        let Mode::Paste { text, from } = &mut self.mode else { return };
        let last = text.lines().count().saturating_sub(1);
        match action {
            Some(Action::PageUp) => *from = from.saturating_sub(page),
            Some(Action::PageDown) => *from = (*from + page).min(last),
            Some(Action::Up | Action::LineUp) => *from = from.saturating_sub(1),
            Some(Action::Down | Action::LineDown) => *from = (*from + 1).min(last),
            Some(Action::Send) => {
                let text = text.clone();
                self.mode = Mode::Chat;
                self.editor.insert(&text);
                self.keep_soon(now);
            }
            Some(Action::Escape) => {
                self.mode = Mode::Chat;
                self.hint("paste discarded");
            }
            Some(Action::DeleteOrLeave) => {
                self.effects.push_back(Effect::Leave { interrupted: false });
            }
            _ => {}
        }
    }
}
