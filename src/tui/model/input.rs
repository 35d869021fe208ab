//! What is typed: keys, pastes, the wheel; and what the keys do.

use std::collections::HashSet;

use crossterm::event::KeyEvent;

use super::{
    ACTIVE_EVERY_US, Asked, Choice, Effect, Mode, Model, Panel, Quote, Search, Session, When,
    has_all, words,
};
use crate::{
    chat::{message::StreamName, names::Target, request::Request},
    config::screen::{MEMBERS_PANEL_FROM, ROOMS_PANEL_FROM},
    limits::INPUT_BYTES_MAX,
    tui::{
        chord::char_of,
        complete::{self, Completion, Kind, Names},
        editor::{Draft, Edit, Editor},
        keys::Action,
        scrollback::Line,
        slash,
    },
};

/// Rows that the wheel moves.
const WHEEL_ROWS: isize = 3;
/// How often Tab asks for the rooms that there are.
const ROOMS_EVERY_US: u64 = 5_000_000;
/// After the last letter of a search, how long until the server is asked.
const SEARCH_AFTER_US: u64 = 200_000;

/// What a panel's key makes of it. Where it is what there would be anyway, that goes on with the
/// size of the terminal.
fn turned(there: bool, by_itself: bool) -> Panel {
    match there {
        _ if there != by_itself => Panel::Auto,
        true => Panel::Off,
        false => Panel::On,
    }
}

fn too_long(text: &str) -> String {
    format!(
        "{} bytes are more than the input takes ({INPUT_BYTES_MAX}); nothing was put in",
        text.len()
    )
}

impl Model {
    /// Whether the terminal is looked at.
    pub(in crate::tui) fn focus(&mut self, now: When, focus: bool) {
        self.focus = Some(focus);
        if focus {
            self.times.members_at_us = now.mono_us;
            if matches!(self.session, Session::Up { .. }) {
                // What was read elsewhere meanwhile is not unread here, and what was seen is seen.
                self.ask_for_marks(0);
                let open = self.notices.shown().iter().filter(|n| n.is_acknowledged() && !n.acked);
                let numbers: Vec<_> = open.map(|notice| notice.number).collect();
                numbers.into_iter().for_each(|number| self.ask_for_notice(number));
            }
            self.settle_read(now);
        } else if let Some(room) = self.room_mut() {
            room.marker = room.marker.max(room.read);
        }
        self.changed = true;
    }

    /// A key.
    pub(in crate::tui) fn key(&mut self, now: When, key: &KeyEvent) {
        let action = self.options.keys.action(key);
        let typed = char_of(key);
        if action.is_none() && typed.is_none() {
            return;
        }
        self.somebody_is_there(now);
        if self.focus == Some(false) {
            // Who types looks at it, whatever the terminal said last.
            self.focus = None;
        }
        self.changed = true;
        self.hint = None;
        // Only what goes on with a completion leaves it open.
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

    /// A text that was pasted, whole.
    pub(in crate::tui) fn paste(&mut self, now: When, text: &str) {
        self.somebody_is_there(now);
        self.changed = true;
        self.completion = None;
        // Whatever the terminal has between lines. The last line's end is no part of what was
        // meant.
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

    /// The wheel.
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

    /// A click with the first button.
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
        if matches!(self.session, Session::Up { .. }) && !self.times.active_at_us.is_some_and(told)
        {
            self.times.active_at_us = Some(now.mono_us);
            self.effects.push_back(Effect::Ask(Request::Active, Asked::Sign));
        }
    }

    // ---- in the room -------------------------------------------------------------------------

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
            Action::RoomsPanel => {
                let there = self.geometry.rooms_columns.is_some();
                let by_itself = self.columns >= ROOMS_PANEL_FROM;
                self.options.rooms_panel = turned(there, by_itself);
            }
            Action::MembersPanel => {
                let there = self.geometry.has_members;
                let by_itself = self.columns >= MEMBERS_PANEL_FROM;
                self.options.members_panel = turned(there, by_itself);
                self.times.members_at_us = now.mono_us;
            }
            Action::Plain => self.set_plain(!self.options.look.plain),
            Action::SelectUp => self.select(now, true),
            Action::SelectDown => self.select(now, false),
            Action::Reply => self.reply_to_selected(),
            Action::Pager => self.page_selected(),
            Action::Copy => self.copy_selected(),
            Action::Editor => {
                let text = self.editor.text().to_owned();
                if let Some(room) = self.room() {
                    let room = room.name.clone();
                    self.effects.push_back(Effect::Edit { room, text });
                }
            }
            Action::Help => self.mode = Mode::Help { from: 0 },
            Action::Escape => self.escape(now),
            Action::Redraw | Action::Suspend | Action::Leave => {}
        }
    }

    fn type_char(&mut self, now: When, c: char) {
        if c == '?' && self.editor.is_empty() {
            self.mode = Mode::Help { from: 0 };
            return;
        }
        self.insert(now, c);
    }

    fn insert(&mut self, now: When, c: char) {
        if self.editor.text().len() >= INPUT_BYTES_MAX {
            return self.complain(format!("the input takes {INPUT_BYTES_MAX} bytes"));
        }
        self.editor.insert_char(c);
        self.keep_soon(now);
    }

    fn edit(&mut self, now: When, edit: Edit) {
        self.editor.apply(edit);
        self.keep_soon(now);
    }

    fn up(&mut self) {
        if self.offer_unsaid() {
            return;
        }
        let columns = self.input_columns();
        if !self.editor.up(columns) {
            self.editor.history_back();
        }
    }

    fn down(&mut self) {
        let columns = self.input_columns();
        if !self.editor.down(columns) {
            self.editor.history_forward();
        }
    }

    /// One thing after the other: what is chosen, what is replied to, where one scrolled to, the
    /// plain view.
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
            // What was seen is no longer marked as new.
            self.mark_room_read(now, self.current);
        }
    }

    fn set_plain(&mut self, plain: bool) {
        self.options.look.plain = plain;
        // The terminal's own selection has the pointer meanwhile.
        self.effects.push_back(Effect::Mouse(self.options.mouse && !plain));
        self.changed = true;
    }

    pub(super) fn mark_room_read(&mut self, now: When, at: usize) {
        let Some(room) = self.rooms.get_mut(at) else { return };
        room.mark_read(room.head);
        room.marker = room.read;
        self.changed = true;
        self.tell_marks_soon(now);
    }

    /// The key for announcements: says that the heaviest one was seen.
    pub(super) fn acknowledge(&mut self) {
        let Some(notice) = self.notices.next() else {
            if !self.notices.clear() {
                self.hint("there is no announcement to acknowledge");
            }
            self.changed = true;
            return;
        };
        let number = notice.number;
        // Other screens of this name learn of it when somebody looks at them.
        if notice.is_acknowledged() && matches!(self.session, Session::Up { .. }) {
            self.ask_to_acknowledge(number);
        } else if notice.ack {
            self.hint("there is no connection to the server now");
        } else {
            self.notices.remove(number);
        }
        self.changed = true;
    }

    pub(super) fn ask_to_acknowledge(&mut self, number: u64) {
        let id = crate::chat::message::NoticeId::Number(number);
        let request = Request::AckNotice { id };
        self.effects.push_back(Effect::Ask(request, Asked::Acknowledge(number)));
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
        let Some(said) = self.selected() else { return self.hint("there is no message here") };
        let quote = Quote { seq: said.seq, name: said.name.clone(), text: said.text.clone() };
        if let Some(room) = self.room_mut() {
            room.quote = Some(quote);
            // What Esc undoes next is the reply.
            room.selected = None;
        }
    }

    fn page_selected(&mut self) {
        match self.selected() {
            Some(said) => {
                let text = format!("{}:\n{}\n", said.name, said.text);
                self.effects.push_back(Effect::Page(text));
            }
            None => self.hint("there is no message here"),
        }
    }

    fn copy_selected(&mut self) {
        match self.selected() {
            Some(said) => {
                let text = said.text.clone();
                self.effects.push_back(Effect::Copy(text));
                self.hint("copied to the terminal's clipboard");
            }
            None => self.hint("there is no message here"),
        }
    }

    /// What came back from the editor: for the room it was written in, whatever is shown by now.
    pub(in crate::tui) fn edited(
        &mut self,
        now: When,
        room: &StreamName,
        before: &str,
        text: &str,
    ) {
        match self.index_of(room) {
            Some(at) if at == self.current => {
                let there = self.editor.text().to_owned();
                self.editor.set(text);
                self.set_aside(at, before, there);
            }
            Some(at) => {
                let there = std::mem::replace(&mut self.rooms[at].draft, Draft::of(text));
                self.set_aside(at, before, there.text().to_owned());
            }
            None => {
                let name = super::Room::new(room.clone(), 0, 1).kept_name();
                self.keep_unsaid(&name, text.to_owned());
                self.complain(format!("{room} is not open; what you wrote is kept there"));
            }
        }
        self.keep_soon(now);
        self.changed = true;
    }

    /// What was put into the input while the editor had it waits until that is done with.
    pub(super) fn set_aside(&mut self, at: usize, before: &str, there: String) {
        if !there.is_empty()
            && there != before
            && let Some(room) = self.rooms.get_mut(at)
        {
            room.unsaid.push_front(there);
        }
    }

    /// Something outside the screen could not be done.
    pub(in crate::tui) fn failed(&mut self, text: impl Into<String>) {
        self.complain(text);
    }

    // ---- rooms -------------------------------------------------------------------------------

    fn show_number(&mut self, now: When, number: usize) {
        match self.rooms.iter().position(|room| room.number == number) {
            Some(at) => self.show(now, at),
            None => self.hint(format!("there is no room {number}")),
        }
    }

    fn step(&mut self, now: When, forward: bool) {
        // By number, not as the list has them now: what is read moves in the list, and one would
        // not come round.
        let mut order: Vec<_> = (0..self.rooms.len()).collect();
        order.sort_by_key(|at| self.rooms[*at].number);
        let Some(here) = order.iter().position(|at| *at == self.current) else { return };
        let count = order.len();
        let next = if forward { (here + 1) % count } else { (here + count - 1) % count };
        self.show(now, order[next]);
    }

    /// Rooms as the list has them: those with mentions first, then by number.
    pub(in crate::tui) fn order(&self) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.rooms.len()).collect();
        order.sort_by_key(|at| {
            let room = &self.rooms[*at];
            (room.important() == 0, room.number)
        });
        order
    }

    /// The next room with something unread: mentions first, else by number, from here on.
    fn next_unread(&mut self, now: When, forward: bool) {
        let here = self.room().map_or(0, |room| room.number);
        let count = self.rooms.iter().map(|room| room.number).max().unwrap_or(0) + 1;
        let distance = |number: usize| {
            if forward { (number + count - here) % count } else { (here + count - number) % count }
        };
        let unread = (0..self.rooms.len())
            .filter(|at| *at != self.current && self.rooms[*at].unread > 0)
            .min_by_key(|at| {
                let room = &self.rooms[*at];
                (room.important() == 0, distance(room.number))
            });
        match unread {
            Some(at) => {
                self.show(now, at);
                // Whoever goes from one to the next wants to see what is unread, and not to come
                // round again.
                self.times.looks_from_us = now.mono_us;
                self.settle_read(now);
            }
            None => self.hint("nothing else is unread"),
        }
    }

    // ---- completion --------------------------------------------------------------------------

    fn complete(&mut self, now: When, back: bool) {
        if self.completion.is_none() {
            self.begin_completion(now);
        }
        let Some(completion) = &mut self.completion else {
            return self.hint("nothing fits");
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
            .map(|notice| crate::chat::message::NoticeId::Number(notice.number).to_string())
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
            // One that was made meanwhile is known to the next Tab.
            self.times.rooms_asked_us = Some(now.mono_us);
            self.ask_for_rooms();
        }
    }

    /// Who may be meant, who spoke here last first.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        let here = self.room().into_iter().flat_map(|room| {
            room.speakers.iter().chain(room.members.iter().map(|present| &present.name))
        });
        for name in here.chain(&self.known.names) {
            if *name != self.me && seen.insert(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Those that are open, then all others that are known.
    fn room_names(&self) -> Vec<String> {
        let open = self.rooms.iter().filter_map(|room| room.room_name());
        let known = self.known.rooms.iter().map(|info| &info.name);
        let mut seen = HashSet::new();
        open.chain(known).filter(|name| seen.insert(*name)).map(ToString::to_string).collect()
    }

    // ---- help --------------------------------------------------------------------------------

    fn help_key(&mut self, now: When, action: Option<Action>, typed: Option<char>) {
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
                // A question that begins with its mark is typed by typing that twice.
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

    // ---- the switcher ------------------------------------------------------------------------

    fn begin_switch(&mut self) {
        self.mode = Mode::Switch { query: Editor::default(), names: Vec::new(), at: 0 };
        self.ask_for_rooms();
        self.choose_again();
    }

    /// All that could be chosen: what has something unread, the other rooms, those that are not
    /// open, people.
    fn choices(&self) -> Vec<Choice> {
        let mut open: Vec<_> = (0..self.rooms.len()).collect();
        let last = self.last_shown.as_ref().and_then(|name| self.index_of(name));
        open.sort_by_key(|at| {
            let room = &self.rooms[*at];
            let is_last = Some(*at) == last;
            (*at == self.current, room.important() == 0, room.unread == 0, !is_last, room.number)
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

    fn choose_again(&mut self) {
        let choices = self.choices();
        let Mode::Switch { query, names, at } = &mut self.mode else { return };
        let all: Vec<_> = choices.iter().map(|choice| choice.name.clone()).collect();
        let order = complete::fuzzy(query.text().trim_start_matches('#'), &all);
        *names = order.into_iter().map(|index| choices[index].clone()).collect();
        *at = 0;
    }

    fn switch_key(&mut self, now: When, action: Option<Action>, typed: Option<char>) {
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
                    // A room comes into being by a command, not by a slip.
                    None => self.hint(format!("nothing fits; /join {typed} makes a room")),
                }
            }
            Some(Action::Switch | Action::Escape) => self.mode = Mode::Chat,
            Some(_) => {}
        }
    }

    /// To a room or conversation, which is joined if it is not open.
    pub(super) fn go(&mut self, now: When, written: &str) {
        match written.parse::<Target>() {
            Ok(Target::Room(room)) => self.join(now, room),
            Ok(Target::User { user, .. }) => {
                self.go_to_user(now, user);
            }
            Err(e) => self.complain(format!("{written}: {e}")),
        }
    }

    // ---- search ------------------------------------------------------------------------------

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

    fn search_key(&mut self, now: When, action: Option<Action>, typed: Option<char>) {
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

    /// What is typed has changed: looks through what is in memory, and asks the server soon.
    fn search_again(&mut self, now: When) {
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
        let head = self.room().map_or(0, |room| room.head);
        let Mode::Search(search) = &mut self.mode else { return };
        let next = match (newer, search.at) {
            (None, _) | (_, None) => search.nearest(head),
            (Some(true), Some(at)) => Some((at + 1).min(search.hits.len().saturating_sub(1))),
            (Some(false), Some(0)) => {
                // Older ones may be known to the server.
                let Some(before) = search.more_before.take() else {
                    if !search.waits {
                        self.hint("that is the oldest");
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

    // ---- a long paste ------------------------------------------------------------------------

    fn paste_key(&mut self, now: When, action: Option<Action>) {
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
                self.hint("the paste was dropped");
            }
            Some(Action::DeleteOrLeave) => {
                self.effects.push_back(Effect::Leave { interrupted: false });
            }
            _ => {}
        }
    }
}
