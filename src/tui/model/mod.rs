//! The state of the screen: keys and events go in, what is to be done comes out. No I/O, no clock.

#[cfg(test)]
mod cases;
mod commands;
mod events;
mod field;
mod input;
mod known;
mod notices;
mod room;
mod scroll;
mod search;
mod times;

use std::collections::{BTreeSet, VecDeque};

use jiff::tz::TimeZone;

use self::{events::folded, known::KnownNames, times::ModelTimes};
pub(super) use self::{
    notices::{NoticeLine, Notices},
    room::{Loading, Pending, Present, Quote, Room, is_heard},
    search::{Search, has_all, words},
};
use super::{
    complete::Completion,
    editor::{Draft, Editor},
    geometry::Geometry,
    kept::{Kept, Touched},
    keys::{Action, Keys},
    paint::Paint,
    scrollback::NoteKind,
};
pub(super) use crate::config::screen::{NotifyWish as Alert, PanelWish as Panel};
use crate::{
    chat::{
        clock::Now,
        member::{Kind, State},
        message::{Message, StreamName},
        names::{Label, RoomName, UserName},
        reply::RoomInfo,
        request::{Follow, Request},
    },
    client::Address,
    presence::ServerState,
};

/// What the caller is to do.
#[derive(Debug)]
pub(super) enum Effect {
    /// Says something; whether it stands is told with this token.
    Say {
        token: u64,
        to: Address,
        reply_to: Option<u64>,
        text: String,
    },
    /// Asks the server.
    Ask(Request, Asked),
    /// Listens to one more room.
    Follow(Follow),
    /// Leaves a room for good.
    Part(RoomName),
    /// Looks into the presence table for how the server does, and for who is in a room.
    Look(Option<RoomName>),
    Bell,
    /// Shows a message on the desktop.
    Notify(Box<Message>),
    /// Shows a text in the pager.
    Page(String),
    /// Has a text changed in the editor; the answer is [`Model::edited`].
    Edit {
        room: StreamName,
        text: String,
    },
    /// Hands a text to the terminal's clipboard.
    Copy(String),
    /// The wheel and the pointer: ours, or the terminal's own.
    Mouse(bool),
    /// Draws everything anew.
    Redraw,
    Suspend,
    /// Keeps the drafts ([`Model::kept`]).
    Keep,
    /// The end: by Ctrl-C, or as one leaves.
    Leave {
        interrupted: bool,
    },
}

/// What an answer of the server is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// Only a refusal is to be told.
    Nothing,
    /// What is told once it is done.
    Done(String),
    /// For a command, which comes back to where it was typed if it is refused.
    Typed(String, Option<StreamName>, Box<Asked>),
    /// That somebody is there; how long the answer takes is the lag.
    Sign,
    /// It is told what is read; if that does not come through, it is told again ([`Asked::Marks`]).
    Read,
    Rooms(Vec<RoomInfo>),
    /// All rooms, to be listed in the room that is shown.
    ListRooms(Vec<RoomInfo>),
    /// How many were received before.
    Marks(u32),
    Page(PageAsked),
    Hits {
        room: StreamName,
        query: String,
    },
    /// The conversation with a user.
    Open(UserName),
    /// The same for one text, which is for one label of the user.
    OpenFor(UserName, u64),
    /// Members of a private room.
    Members(RoomName, Vec<Present>),
    /// Members of a room, to be listed in the room that is shown.
    ListMembers(RoomName, Vec<Present>),
    Notice(u64),
    Acknowledge(u64),
    Announced,
    /// A topic was set: others are told by an event.
    Topic(RoomName, String),
}

/// A span of messages that is asked for, a part after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageAsked {
    pub(super) room: StreamName,
    pub(super) loading: Loading,
    /// The first and the last number that are wanted.
    first: u64,
    last: u64,
    /// What came already.
    got: Vec<Message>,
}

/// Whether there is a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Session {
    Up {
        /// `multicast`, `mailslot`, `session`.
        broadcast: &'static str,
    },
    Down {
        /// In words.
        reason: String,
    },
}

/// What lies over the room.
#[derive(Debug)]
pub(super) enum Mode {
    Chat,
    /// All keys; from which row on.
    Help {
        from: usize,
    },
    /// Rooms by a few typed letters: what is typed, what fits, which one.
    Switch {
        query: Editor,
        names: Vec<Choice>,
        at: usize,
    },
    Search(Search),
    /// A long text was pasted: into the input or not.
    Paste {
        text: String,
        /// From which line on it is shown.
        from: usize,
    },
}

/// An entry of the switcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// As it is written: `dev`, `@ann`.
    pub(super) name: String,
    /// It is open; else it would be joined.
    pub(super) open: bool,
}

/// How lines look: what their rows depend on beside the room.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) paint: Paint,
    pub(super) zone: TimeZone,
    /// strftime of jiff.
    pub(super) time_format: String,
    pub(super) date_format: String,
    /// Without panels, frames and gutter, for copying.
    pub(super) plain: bool,
    pub(super) links: bool,
    /// Joins and leaves are not shown.
    pub(super) hide_moves: bool,
    /// The own user, for mentions.
    pub(super) user: String,
    /// Words that are searched for, in lower case.
    pub(super) words: Vec<String>,
}

/// What the settings say.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) keys: Keys,
    pub(super) look: Look,
    pub(super) rooms_panel: Panel,
    pub(super) members_panel: Panel,
    pub(super) rooms_columns: usize,
    pub(super) members_columns: usize,
    pub(super) bell: Alert,
    pub(super) notify: Alert,
    /// Lines of a paste above which a question is asked.
    pub(super) paste_lines: usize,
    pub(super) mouse: bool,
    /// Lines of a room in memory.
    pub(super) lines: usize,
    /// Other rooms than those that were named are not opened.
    pub(super) only_named: bool,
    /// Nothing can be said.
    pub(super) read_only: bool,
    pub(super) label: Option<Label>,
    /// Name or directory of the server.
    pub(super) server: String,
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) options: Options,
    pub(super) columns: usize,
    pub(super) height: usize,
    /// Places of the parts of the last frame.
    geometry: Geometry,
    /// In the order in which they were opened; never empty once begun, but for who left all of
    /// them.
    pub(super) rooms: Vec<Room>,
    /// Which one is shown.
    pub(super) current: usize,
    /// The one that was shown before.
    last_shown: Option<StreamName>,
    pub(super) editor: Editor,
    pub(super) mode: Mode,
    pub(super) completion: Option<Completion>,
    pub(super) notices: Notices,
    pub(super) session: Session,
    /// Time of the last answer, microseconds.
    pub(super) lag_us: Option<u64>,
    /// Something was asked at this time and not answered, monotonic microseconds.
    pub(super) waits_since_us: Option<u64>,
    /// The server has not shown a sign of life for a while, as the presence table has it.
    pub(super) is_hung: bool,
    /// `ann` or `ann/ci`.
    pub(super) me: String,
    pub(super) away: Option<String>,
    /// Whether the terminal is the one that is looked at, if it says so.
    focus: Option<bool>,
    /// Said until the next key, above the input.
    pub(super) hint: Option<Hint>,
    /// Rooms that this name was removed from, by key: they do not open by themselves.
    left: BTreeSet<String>,
    known: KnownNames,
    ignored: BTreeSet<String>,
    kept: Kept,
    /// The command that is being done, as it was typed.
    typed: Option<String>,
    /// What was changed here.
    touched: Touched,
    times: ModelTimes,
    next_token: u64,
    effects: VecDeque<Effect>,
    /// What was said in rooms that are closed, and does not stand yet.
    orphans: Vec<Orphan>,
    /// What one looks at has changed since it was last drawn.
    changed: bool,
}

/// A text that was on its way when its room was closed.
#[derive(Debug)]
struct Orphan {
    token: u64,
    /// What the room's draft is kept by.
    room: String,
    /// As it would have to be typed.
    text: String,
}

/// A word to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// When something happened or happens.
pub(super) type When = Now;

/// How long after a key drafts are on disk at the latest.
const KEEP_AFTER_US: u64 = 1_000_000;
/// When what could not be kept is tried again.
const KEEP_AGAIN_US: u64 = 30_000_000;
/// How often the server is told what is read.
const MARKS_EVERY_US: u64 = 500_000;
/// How often the members' panel is looked after while somebody is there.
const MEMBERS_EVERY_US: u64 = 10_000_000;
/// How often the server is told that somebody is there.
const ACTIVE_EVERY_US: u64 = 60_000_000;
/// How long a word to the user stands.
const HINT_US: u64 = 15_000_000;
/// How long one is in a room that is only passed through.
const GLANCE_US: u64 = 1_000_000;
/// Without a key for so long nobody is taken to look at a terminal that does not say whether it is
/// looked at.
const LOOKS_FOR_US: u64 = 300_000_000;
/// The bell rings so often at most.
const BELL_EVERY_US: u64 = 1_000_000;
/// What is typed in no room is kept by this.
const NOWHERE: &str = "";
/// Messages that are asked for at a time.
const PAGE_MESSAGES: u64 = 200;

impl Model {
    /// A screen with the rooms that were named.
    pub(super) fn new(
        now: When,
        options: Options,
        me: String,
        rooms: &[RoomName],
        kept: Kept,
    ) -> Self {
        let ignored = kept.ignored.clone();
        let mut model = Self {
            options,
            columns: 80,
            height: 24,
            geometry: Geometry::default(),
            rooms: Vec::new(),
            current: 0,
            last_shown: None,
            editor: Editor::default(),
            mode: Mode::Chat,
            completion: None,
            notices: Notices::default(),
            session: Session::Down { reason: String::new() },
            lag_us: None,
            waits_since_us: None,
            is_hung: false,
            me,
            away: None,
            focus: None,
            hint: None,
            left: BTreeSet::new(),
            known: KnownNames::default(),
            ignored,
            kept,
            typed: None,
            touched: Touched::default(),
            times: ModelTimes::begin(now.mono_us),
            next_token: 1,
            effects: VecDeque::new(),
            orphans: Vec::new(),
            changed: true,
        };
        if let Some(typed) = model.kept.drafts.get(NOWHERE) {
            model.editor.set(typed);
        }
        for room in rooms {
            model.open(StreamName::Room(room.clone()));
        }
        model.offer_unsaid();
        model
    }

    /// For who does not know the keys.
    pub(super) fn welcome(&mut self) {
        let help = self.options.keys.shown(Action::Help);
        self.hint(format!("{help} or ? helps, /quit leaves"));
    }

    /// What is to be done, in order.
    pub(super) fn take_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What can't be done yet is to be done later.
    pub(super) fn put_effects_back(&mut self, effects: Vec<Effect>) {
        self.effects.extend(effects);
    }

    /// The title of the window: the room, and how much is unread.
    pub(super) fn title(&self) -> String {
        let room = self.room().map_or_else(String::new, Room::title);
        let important: u64 = self.rooms.iter().map(Room::important).sum();
        let unread = self.rooms.iter().filter(|room| room.unread > 0).count();
        match (important, unread) {
            (0, 0) => format!("moot: {room}"),
            (0, _) => format!("moot: {room} +"),
            (important, _) => format!("moot: {room} ({important})"),
        }
    }

    /// Whether there is something new to draw since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn resize(&mut self, columns: u16, height: u16) {
        (self.columns, self.height) = (columns.into(), height.into());
        self.changed = true;
    }

    /// The room that is shown.
    pub(super) fn room(&self) -> Option<&Room> {
        self.rooms.get(self.current)
    }

    fn room_mut(&mut self) -> Option<&mut Room> {
        self.rooms.get_mut(self.current)
    }

    fn index_of(&self, name: &StreamName) -> Option<usize> {
        self.rooms.iter().position(|room| room.name == *name)
    }

    /// Takes a room up if it is not there; gives its place.
    fn open(&mut self, name: StreamName) -> usize {
        if let Some(at) = self.index_of(&name) {
            return at;
        }
        // The lowest number that is free: those that are open keep theirs.
        let free = |number: &usize| self.rooms.iter().all(|room| room.number != *number);
        let number = (1..).find(free).unwrap_or(usize::MAX);
        let mut room = Room::new(name, number, self.options.lines);
        let title = room.kept_name();
        let kept = self.kept.drafts.get(&title);
        room.draft = kept.map_or_else(Draft::default, |draft| Draft::of(draft));
        room.unsaid.extend(self.kept.unsaid.get(&title).into_iter().flatten().cloned());
        if self.rooms.is_empty() {
            self.begin_input(&mut room);
        }
        let wish = |words: &std::collections::BTreeMap<String, String>| {
            words.get(&title).and_then(|word| Alert::of_word(word))
        };
        room.bell = wish(&self.kept.bell);
        room.notify = wish(&self.kept.notify);
        self.rooms.push(room);
        self.changed = true;
        self.rooms.len() - 1
    }

    /// The draft of the first room is in the input, unless something was typed while there was
    /// none.
    fn begin_input(&mut self, room: &mut Room) {
        room.unsaid.extend(self.kept.unsaid.get(NOWHERE).into_iter().flatten().cloned());
        self.keep_text(NOWHERE.to_owned(), String::new(), Vec::new());
        let draft = std::mem::take(&mut room.draft);
        if self.editor.is_empty() {
            let _ = self.editor.swap(draft);
        } else if !draft.text().is_empty() {
            room.unsaid.push_back(draft.text().to_owned());
        }
    }

    /// Shows a room.
    fn show(&mut self, now: When, at: usize) {
        if at >= self.rooms.len() || at == self.current {
            return;
        }
        self.completion = None;
        if matches!(self.mode, Mode::Search(_)) {
            self.end_search();
        }
        let next = std::mem::take(&mut self.rooms[at].draft);
        let (draft, remade) = self.editor.swap(next);
        let mut gone = None;
        if let Some(room) = self.room_mut() {
            room.draft = draft;
            room.unsaid.extend(remade);
            room.leave();
            let name = room.name.clone();
            gone = room.gone.then(|| name.clone());
            self.last_shown = Some(name);
        }
        self.current = at;
        self.changed = true;
        self.times.members_at_us = now.mono_us;
        self.times.looks_from_us = now.mono_us + GLANCE_US;
        self.offer_unsaid();
        if let Some(gone) = gone {
            self.close(now, &gone);
        }
    }

    /// A room is there no more.
    fn close(&mut self, now: When, name: &StreamName) {
        let Some(at) = self.index_of(name) else { return };
        if at == self.current {
            let last = self.last_shown.as_ref().and_then(|name| self.index_of(name));
            let other = last.filter(|other| *other != at).unwrap_or(usize::from(at == 0));
            if self.rooms.len() > 1 {
                // It is closed here.
                self.rooms[at].gone = false;
                self.show(now, other);
            } else {
                let (draft, remade) = self.editor.swap(Draft::default());
                self.rooms[at].draft = draft;
                self.rooms[at].unsaid.extend(remade);
            }
        }
        let gone = self.rooms.remove(at);
        if self.current > at {
            self.current -= 1;
        }
        // What was typed there is kept for when it is opened again.
        let room = gone.kept_name();
        let mut unsaid = Vec::from(gone.unsaid);
        for pending in &gone.pending {
            let text = pending.as_typed(&gone.name);
            if pending.unsent {
                unsaid.push(text);
            } else if pending.seq.is_none() {
                self.orphans.push(Orphan { token: pending.token, room: room.clone(), text });
            }
        }
        self.keep_text(room, gone.draft.text().to_owned(), unsaid);
        self.changed = true;
    }

    /// Whether somebody looks at the end of the room that is shown.
    fn is_looked_at(&self, now: When) -> bool {
        let focused =
            self.focus.unwrap_or(now.mono_us.saturating_sub(self.times.key_at_us) < LOOKS_FOR_US);
        focused
            && self.times.looks_from_us <= now.mono_us
            && matches!(self.mode, Mode::Chat)
            && self.room().is_some_and(|room| room.is_at_end())
    }

    /// What somebody looks at is read.
    fn settle_read(&mut self, now: When) {
        if !self.is_looked_at(now) {
            return;
        }
        let Some(room) = self.rooms.get_mut(self.current) else { return };
        let before = (room.read, room.unread);
        // The line where unread begins stays while there is something below it.
        let marker_moves = room.marker >= room.read && room.unread == 0;
        room.mark_read(room.head);
        if marker_moves {
            room.marker = room.read;
        }
        if before != (room.read, room.unread) {
            self.changed = true;
        }
        self.tell_marks_soon(now);
    }

    fn tell_marks_soon(&mut self, now: When) {
        if self.rooms.iter().any(|room| room.marks_known && room.read > room.told_read) {
            self.times.marks_at_us.get_or_insert(now.mono_us + MARKS_EVERY_US);
        }
    }

    /// Tells the server what is read.
    pub(super) fn tell_marks(&mut self) {
        self.times.marks_at_us = None;
        if matches!(self.session, Session::Down { .. }) {
            return;
        }
        for room in &mut self.rooms {
            if room.marks_known
                && room.read > room.told_read
                && let Some(target) = room.target()
            {
                room.told_read = room.read;
                let request = Request::MarkRead { target, seq: room.read };
                self.effects.push_back(Effect::Ask(request, Asked::Read));
            }
        }
    }

    /// What is due.
    pub(super) fn tick(&mut self, now: When) {
        if self.notices.tick(now.mono_us, now.wall_us) {
            self.changed = true;
        }
        if self.times.marks_at_us.is_some_and(|at| at <= now.mono_us) {
            self.tell_marks();
        }
        if self.times.keep_at_us.is_some_and(|at| at <= now.mono_us) {
            self.times.keep_at_us = None;
            self.effects.push_back(Effect::Keep);
        }
        if self.times.members_at_us <= now.mono_us {
            self.look_after_members(now);
        }
        // Once whoever stayed is no longer passing through; after that events and keys do it.
        if now.mono_us < self.times.looks_from_us.saturating_add(GLANCE_US) {
            self.settle_read(now);
        }
        self.end_hint(now);
        if self.waits_since_us.is_some() {
            // The bar says for how long.
            self.changed = true;
        }
        self.search_when_due(now);
        self.fill(self.current);
    }

    /// When [`Model::tick`] has something to do, monotonic microseconds.
    pub(super) fn deadline_us(&self, now: When) -> Option<u64> {
        let search = match &self.mode {
            Mode::Search(search) => search.ask_at_us,
            Mode::Chat | Mode::Help { .. } | Mode::Switch { .. } | Mode::Paste { .. } => None,
        };
        // Nobody looks at a panel that is not looked at.
        let awake = self.focus != Some(false)
            && now.mono_us.saturating_sub(self.times.key_at_us) < LOOKS_FOR_US;
        [
            self.notices.deadline_us(now.mono_us, now.wall_us),
            self.times.marks_at_us,
            self.times.keep_at_us,
            awake.then_some(self.times.members_at_us),
            self.waits_since_us.map(|_| now.mono_us + 1_000_000),
            Some(self.times.looks_from_us).filter(|at| *at > now.mono_us),
            self.times.hint_until_us,
            search,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Asks for who is in the room that is shown: what the presence table says of it, or the
    /// server.
    fn look_after_members(&mut self, now: When) {
        self.times.members_at_us = now.mono_us + MEMBERS_EVERY_US;
        if matches!(self.session, Session::Down { .. }) {
            return;
        }
        let room = self.room().filter(|room| !room.gone);
        let name = room.and_then(|room| room.room_name()).cloned();
        let is_private = room.is_some_and(|room| room.private);
        self.effects.push_back(Effect::Look(name.clone().filter(|_| !is_private)));
        if let Some(room) = name.filter(|_| is_private) {
            let asked = Asked::Members(room.clone(), Vec::new());
            self.effects.push_back(Effect::Ask(Request::Who { room, skip: 0 }, asked));
        }
    }

    /// Who is in a room, session by session.
    pub(super) fn take_members(&mut self, name: &RoomName, sessions: Vec<Present>) {
        let members = folded(sessions);
        self.known.add_names(members.iter().map(|present| present.name.clone()));
        // It may have been said elsewhere.
        if let Some(me) = members.iter().find(|p| p.name == self.me && p.kind == Kind::Person) {
            self.away = (me.state == State::Away).then(|| me.status.clone());
        }
        let Some(at) = self.index_of(&StreamName::Room(name.clone())) else { return };
        if self.rooms[at].members != members {
            self.rooms[at].members = members;
            self.changed |= at == self.current;
        }
    }

    /// How the server does, as the presence table has it.
    pub(super) fn server_is(&mut self, state: ServerState) {
        let is_hung = state == ServerState::NotResponding;
        self.changed |= is_hung != self.is_hung;
        self.is_hung = is_hung;
    }

    fn keep_soon(&mut self, now: When) {
        self.times.keep_at_us.get_or_insert(now.mono_us + KEEP_AFTER_US);
    }

    /// A text of a room, which is closed or open by now, that was not said.
    fn keep_unsaid(&mut self, room: &str, text: String) {
        match self.rooms.iter().position(|open| open.kept_name() == room) {
            Some(at) => self.put_back(at, text),
            None => {
                self.kept.unsaid.entry(room.to_owned()).or_default().push(text);
                self.touched.drafts.insert(room.to_owned());
            }
        }
    }

    /// A text that was not said stands in the input again; while something else is typed there it
    /// waits for that.
    fn put_back(&mut self, at: usize, text: String) {
        self.changed = true;
        let Some(room) = self.rooms.get_mut(at) else {
            if self.editor.is_empty() {
                self.editor.set(&text);
            } else {
                self.kept.unsaid.entry(NOWHERE.to_owned()).or_default().push(text);
                self.touched.drafts.insert(NOWHERE.to_owned());
            }
            return;
        };
        room.unsaid.push_back(text);
        if at == self.current {
            self.offer_unsaid();
        } else if room.draft.text().is_empty() {
            let first = room.unsaid.pop_front();
            room.draft = first.map_or_else(Draft::default, |text| Draft::of(&text));
        }
    }

    /// What was not said comes into the input of the room that is shown, if nothing is typed there;
    /// true if something came.
    fn offer_unsaid(&mut self) -> bool {
        if !self.editor.is_empty() {
            return false;
        }
        let Some(text) = self.room_mut().and_then(|room| room.unsaid.pop_front()) else {
            return false;
        };
        self.editor.set(&text);
        self.changed = true;
        true
    }

    /// What does not stand when one leaves is kept with its room.
    pub(super) fn keep_orphans(&mut self) {
        for Orphan { room, text, .. } in std::mem::take(&mut self.orphans) {
            self.keep_unsaid(&room, text);
        }
    }

    /// What is to be kept until the next time, and the rooms of which this screen knows better than
    /// others.
    pub(super) fn kept(&mut self) -> (&Kept, &Touched) {
        if self.rooms.is_empty() {
            let unsaid = self.kept.unsaid.get(NOWHERE).cloned().unwrap_or_default();
            self.keep_text(NOWHERE.to_owned(), self.editor.written().to_owned(), unsaid);
        }
        for at in 0..self.rooms.len() {
            let room = &self.rooms[at];
            let is_shown = at == self.current;
            let written = if is_shown { self.editor.written() } else { room.draft.text() };
            let mut unsaid = Vec::from_iter(room.unsaid.iter().cloned());
            if is_shown {
                unsaid.extend(self.editor.remade());
            }
            // What was said and does not stand is not lost either.
            let pending = room.pending.iter().filter(|pending| pending.seq.is_none());
            unsaid.extend(pending.map(|pending| pending.as_typed(&room.name)));
            self.keep_text(room.kept_name(), written.to_owned(), unsaid);
        }
        self.kept.ignored.clone_from(&self.ignored);
        (&self.kept, &self.touched)
    }

    fn keep_text(&mut self, name: String, draft: String, unsaid: Vec<String>) {
        let is_known = self.kept.drafts.get(&name).map_or("", String::as_str) == draft
            && self.kept.unsaid.get(&name).map_or(&[][..], Vec::as_slice) == unsaid;
        if is_known {
            return;
        }
        self.touched.drafts.insert(name.clone());
        match draft.is_empty() {
            true => drop(self.kept.drafts.remove(&name)),
            false => drop(self.kept.drafts.insert(name.clone(), draft)),
        }
        match unsaid.is_empty() {
            true => drop(self.kept.unsaid.remove(&name)),
            false => drop(self.kept.unsaid.insert(name, unsaid)),
        }
    }

    /// It is kept, but for the drafts of these rooms. From now on others may know better.
    pub(super) fn is_kept(&mut self, left_out: &[String]) {
        self.touched = Touched::default();
        self.touched.drafts.extend(left_out.iter().cloned());
    }

    /// It could not be kept; that is told, and tried again later.
    pub(super) fn not_kept(&mut self, now: When, why: Option<&str>) {
        if let Some(why) = why {
            self.complain(why);
        }
        self.times.keep_at_us = Some(now.mono_us + KEEP_AGAIN_US);
    }

    /// Texts that were said and do not stand.
    pub(super) fn unsaid_count(&self) -> usize {
        let pending = self.rooms.iter().flat_map(|room| &room.pending);
        let pending = pending.filter(|pending| pending.seq.is_none()).count();
        pending
            + self.orphans.len()
            + self.rooms.iter().map(|room| room.unsaid.len()).sum::<usize>()
    }

    fn hint(&mut self, text: impl Into<String>) {
        self.hint = Some(Hint { text: text.into(), is_error: false });
        self.times.hint_until_us = None;
        self.changed = true;
    }

    fn complain(&mut self, text: impl Into<String>) {
        self.hint = Some(Hint { text: text.into(), is_error: true });
        self.times.hint_until_us = None;
        self.changed = true;
    }

    /// What is no error has its time.
    fn end_hint(&mut self, now: When) {
        let ends = self.hint.as_ref().is_some_and(|hint| !hint.is_error);
        match self.times.hint_until_us.filter(|_| ends) {
            None if ends => self.times.hint_until_us = Some(now.mono_us + HINT_US),
            None => self.times.hint_until_us = None,
            Some(until) if until <= now.mono_us => {
                self.hint = None;
                self.times.hint_until_us = None;
                self.changed = true;
            }
            Some(_) => {}
        }
    }

    /// Something for the user in the room that is shown.
    fn note(&mut self, now: When, kind: NoteKind, text: impl Into<String>) {
        if let Some(room) = self.room_mut() {
            room.note(now.wall_us, kind, text);
        }
        self.changed = true;
    }
}
