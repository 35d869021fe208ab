//! Input: keys, pastes and the mouse, with their actions.

use crossterm::event::KeyEvent;

use super::{
    effect::{Effect, PendingRequest},
    room::Quote,
    state::{Mode, Model, When},
};
use crate::{
    chat::request::{Request, SessionRequest},
    config::screen::{MEMBERS_PANEL_FROM, PanelWish as Panel, ROOMS_PANEL_FROM},
    limits::INPUT_BYTES_MAX,
    tui::{chord::char_of, editor::Edit, keys::Action},
};

/// Minimum time between two reports to the server that the user is active.
const ACTIVE_EVERY_US: u64 = 60_000_000;

/// Rows that the wheel scrolls.
const WHEEL_ROWS: isize = 3;

/// Returns the new state of a panel after its key. If it equals the automatic state, the panel
/// stays automatic.
fn turned(there: bool, by_itself: bool) -> Panel {
    match there {
        _ if there != by_itself => Panel::Auto,
        true => Panel::Off,
        false => Panel::On,
    }
}

fn too_long(text: &str) -> String {
    format!(
        "the paste is too long ({} bytes, limit {INPUT_BYTES_MAX}); nothing was inserted",
        text.len()
    )
}

impl Model {
    /// Handles the focus of the terminal.
    pub(in crate::tui) fn focus(&mut self, now: When, focus: bool) {
        self.user.focus = Some(focus);
        if focus {
            self.times.members_at_us = now.mono_us;
            if self.server.is_up() {
                // Messages that were read elsewhere meanwhile are read here as well.
                self.ask_for_marks(0);
                let open = self.notices.shown().iter().filter(|n| n.is_acknowledged() && !n.acked);
                let numbers: Vec<_> = open.map(|notice| notice.number).collect();
                numbers.into_iter().for_each(|number| self.ask_for_notice(number));
            }
            self.settle_read(now);
        } else if let Some(room) = self.room_mut() {
            room.marks.marker = room.marks.marker.max(room.marks.read);
        }
        self.changed = true;
    }

    /// Handles a key.
    pub(in crate::tui) fn key(&mut self, now: When, key: &KeyEvent) {
        let action = self.options.keys.action(key);
        let typed = char_of(key);
        if action.is_none() && typed.is_none() {
            return;
        }
        self.somebody_is_there(now);
        if self.user.focus == Some(false) {
            // A user who types looks at the terminal, whatever it reported last.
            self.user.focus = None;
        }
        self.changed = true;
        self.hint = None;
        // Any other key ends a completion.
        if !matches!(action, Some(Action::Complete | Action::CompleteBack)) {
            self.completion = None;
        }
        if action == Some(Action::Leave) {
            self.effects.push_back(Effect::Leave { interrupted: true });
            return;
        }
        let common = match action {
            Some(Action::Redraw) => Some(Effect::Redraw),
            Some(Action::Suspend) => Some(Effect::Suspend),
            _ => None,
        };
        if let Some(effect) = common {
            self.effects.push_back(effect);
            return;
        }
        if !action.is_some_and(Action::goes_elsewhere) {
            self.times.looks_from_us = self.times.looks_from_us.min(now.mono_us);
        }
        match &self.mode {
            Mode::Chat => self.chat_key(now, action, typed),
            Mode::Help { .. } => self.help_key(now, action, typed),
            Mode::Switch { .. } => self.switch_key(now, action, typed),
            Mode::Search(_) => self.search_key(now, action, typed),
            Mode::Paste { .. } => self.paste_key(now, action),
        }
        self.settle_read(now);
    }

    /// Handles a paste as a whole.
    pub(in crate::tui) fn paste(&mut self, now: When, text: &str) {
        self.somebody_is_there(now);
        self.changed = true;
        self.completion = None;
        // Terminals send different line ends. The end of the last line is not a part of the text.
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let text = text.strip_suffix('\n').unwrap_or(&text);
        match &mut self.mode {
            Mode::Switch { query, .. } => {
                query.insert(text.lines().next().unwrap_or_default());
                self.choose_again();
            }
            Mode::Search(search) => {
                search.query.insert(text.lines().next().unwrap_or_default());
                self.search_again(now);
            }
            Mode::Paste { text: before, .. } => {
                if before.len() + text.len() > INPUT_BYTES_MAX {
                    return self.complain(too_long(text));
                }
                before.push_str(text);
            }
            Mode::Chat | Mode::Help { .. } => {
                if self.editor.text().len() + text.len() > INPUT_BYTES_MAX {
                    return self.complain(too_long(text));
                }
                if text.lines().count() > self.options.paste_lines {
                    self.mode = Mode::Paste { text: text.to_owned(), from: 0 };
                } else {
                    self.mode = Mode::Chat;
                    self.editor.insert(text);
                    self.keep_soon(now);
                }
            }
        }
    }

    /// Scrolls by the mouse wheel.
    pub(in crate::tui) fn wheel(&mut self, now: When, up: bool) {
        self.somebody_is_there(now);
        match &mut self.mode {
            Mode::Help { from } => {
                *from = if up { from.saturating_sub(3) } else { *from + 3 };
                self.bound_help();
                self.changed = true;
            }
            Mode::Chat | Mode::Search(_) => {
                self.scroll(now, if up { -WHEEL_ROWS } else { WHEEL_ROWS });
            }
            Mode::Paste { text, from } => {
                let last = text.lines().count().saturating_sub(1);
                *from = if up { from.saturating_sub(3) } else { (*from + 3).min(last) };
                self.changed = true;
            }
            Mode::Switch { .. } => {}
        }
    }

    /// Handles a click of the first button.
    pub(in crate::tui) fn click(&mut self, now: When, column: u16, row: u16) {
        self.somebody_is_there(now);
        if matches!(self.mode, Mode::Chat)
            && let Some(number) = self.geometry.room_at(column, row)
            && let Some(at) = self.rooms.iter().position(|room| room.number == number)
        {
            self.show(now, at);
        }
    }

    fn somebody_is_there(&mut self, now: When) {
        self.times.key_at_us = now.mono_us;
        let told = |at: u64| now.mono_us.saturating_sub(at) < ACTIVE_EVERY_US;
        if self.server.is_up() && !self.times.active_at_us.is_some_and(told) {
            self.times.active_at_us = Some(now.mono_us);
            self.effects.push_back(Effect::Ask(
                Request::Session(SessionRequest::Active),
                PendingRequest::Sign,
            ));
        }
    }

    fn chat_key(&mut self, now: When, action: Option<Action>, typed: Option<char>) {
        let Some(action) = action else {
            if let Some(c) = typed {
                self.type_char(now, c);
            }
            return;
        };
        match action {
            Action::Edit(edit) => self.edit(now, edit),
            Action::Send => self.send(now),
            Action::NewLine => self.insert(now, '\n'),
            Action::Complete => self.complete(now, false),
            Action::CompleteBack => self.complete(now, true),
            Action::Up => self.up(),
            Action::Down => self.down(),
            Action::HistoryBack => self.editor.history_back(),
            Action::HistoryForward => self.editor.history_forward(),
            Action::DeleteOrLeave if self.editor.is_empty() => {
                self.effects.push_back(Effect::Leave { interrupted: false });
            }
            Action::DeleteOrLeave => self.edit(now, Edit::DeleteForward),
            Action::PageUp => self.scroll(now, -self.page()),
            Action::PageDown => self.scroll(now, self.page()),
            Action::LineUp => self.scroll(now, -1),
            Action::LineDown => self.scroll(now, 1),
            Action::Top => self.go_to_top(now),
            Action::Bottom => self.go_to_bottom(now),
            Action::Room(nth) => self.show_number(now, usize::from(nth) + 1),
            Action::PreviousRoom => self.step(now, false),
            Action::NextRoom => self.step(now, true),
            Action::NextUnread => self.next_unread(now, true),
            Action::PreviousUnread => self.next_unread(now, false),
            Action::Switch => self.begin_switch(),
            Action::Search => self.begin_search(now, ""),
            Action::SearchNewer => {}
            Action::JumpUnread => self.jump_to_unread(now),
            Action::MarkRead => self.mark_room_read(now, self.current),
            Action::MarkAllRead => {
                for at in 0..self.rooms.len() {
                    self.mark_room_read(now, at);
                }
            }
            Action::Acknowledge => self.acknowledge(),
            Action::RoomsPanel => self.turn_rooms_panel(),
            Action::MembersPanel => self.turn_members_panel(now),
            Action::Plain => self.set_plain(!self.options.look.plain),
            Action::SelectUp => self.select(now, true),
            Action::SelectDown => self.select(now, false),
            Action::Reply => self.reply_to_selected(),
            Action::Pager => self.page_selected(),
            Action::Copy => self.copy_selected(),
            Action::Editor => self.edit_outside(),
            Action::Help => self.mode = Mode::Help { from: 0 },
            Action::Escape => self.escape(now),
            Action::Redraw | Action::Suspend | Action::Leave => {}
        }
    }

    fn turn_rooms_panel(&mut self) {
        let there = self.geometry.rooms_columns.is_some();
        self.options.rooms_panel = turned(there, self.columns >= ROOMS_PANEL_FROM);
    }

    fn turn_members_panel(&mut self, now: When) {
        let there = self.geometry.has_members;
        self.options.members_panel = turned(there, self.columns >= MEMBERS_PANEL_FROM);
        self.times.members_at_us = now.mono_us;
    }

    /// Opens the text in the user's editor.
    fn edit_outside(&mut self) {
        let text = self.editor.text().to_owned();
        if let Some(room) = self.room() {
            let room = room.name.clone();
            self.effects.push_back(Effect::Edit { room, text });
        }
    }

    fn type_char(&mut self, now: When, c: char) {
        if c == '?' && self.editor.is_empty() {
            self.mode = Mode::Help { from: 0 };
            return;
        }
        self.insert(now, c);
    }

    pub(super) fn insert(&mut self, now: When, c: char) {
        if self.editor.text().len() >= INPUT_BYTES_MAX {
            return self.complain(format!("the input is full (limit {INPUT_BYTES_MAX} bytes)"));
        }
        self.editor.insert_char(c);
        self.keep_soon(now);
    }

    fn edit(&mut self, now: When, edit: Edit) {
        self.editor.apply(edit);
        self.keep_soon(now);
    }

    pub(super) fn up(&mut self) {
        if self.offer_unsaid() {
            return;
        }
        let columns = self.input_columns();
        if !self.editor.up(columns) {
            self.editor.history_back();
        }
    }

    pub(super) fn down(&mut self) {
        let columns = self.input_columns();
        if !self.editor.down(columns) {
            self.editor.history_forward();
        }
    }

    /// Undoes one thing at a time: the selection, the reply, the scrolling, the plain view.
    fn escape(&mut self, now: When) {
        let Some(room) = self.room_mut() else { return };
        if room.selected.take().is_some() || room.quote.take().is_some() {
            return;
        }
        if !room.is_at_end() {
            self.go_to_bottom(now);
        } else if self.options.look.plain {
            self.set_plain(false);
        } else {
            // Messages that were seen are no longer marked as new.
            self.mark_room_read(now, self.current);
        }
    }

    fn set_plain(&mut self, plain: bool) {
        self.options.look.plain = plain;
        // Meanwhile the terminal's own selection has the pointer.
        self.effects.push_back(Effect::Mouse(self.options.mouse && !plain));
        self.changed = true;
    }

    fn selected(&self) -> Option<&crate::tui::scrollback::Said> {
        let room = self.room()?;
        match room.selected {
            Some(id) => room.back.get(room.back.find(id)?)?.said(),
            None => {
                let lowest = self.lowest_seen()?;
                (0..=lowest).rev().find_map(|index| room.back.get(index)?.said())
            }
        }
    }

    fn reply_to_selected(&mut self) {
        let Some(said) = self.selected() else { return self.hint("no message here") };
        let quote = Quote { seq: said.seq, name: said.name.clone(), text: said.text.clone() };
        if let Some(room) = self.room_mut() {
            room.quote = Some(quote);
            // The next Esc removes the reply.
            room.selected = None;
        }
    }

    pub(super) fn page_selected(&mut self) {
        match self.selected() {
            Some(said) => {
                let text = format!("{}:\n{}\n", said.name, said.text);
                self.effects.push_back(Effect::Page(text));
            }
            None => self.hint("no message here"),
        }
    }

    fn copy_selected(&mut self) {
        match self.selected() {
            Some(said) => {
                let text = said.text.clone();
                self.effects.push_back(Effect::Copy(text));
                self.hint("copied to the terminal's clipboard");
            }
            None => self.hint("no message here"),
        }
    }
}
