//! The model itself: its state, and access to it.

use std::collections::{BTreeSet, VecDeque};

use super::{
    effect::Effect, known::KnownNames, notices::Notices, options::Options, room::Room,
    search::Search, times::ModelTimes,
};
use crate::{
    chat::{clock::Now, message::StreamName, names::RoomName},
    presence::ServerState,
    tui::{
        complete::Completion,
        editor::Editor,
        geometry::Geometry,
        kept::{Kept, Touched},
    },
};

/// What is typed in no room is kept by this.
pub(super) const NOWHERE: &str = "";

/// Whether there is a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) enum Session {
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
pub(in crate::tui) enum Mode {
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
pub(in crate::tui) struct Choice {
    /// As it is written: `dev`, `@ann`.
    pub(in crate::tui) name: String,
    /// It is open; else it would be joined.
    pub(in crate::tui) open: bool,
}

/// The state of the screen.
#[derive(Debug)]
pub(in crate::tui) struct Model {
    pub(in crate::tui) options: Options,
    pub(in crate::tui) columns: usize,
    pub(in crate::tui) height: usize,
    /// Places of the parts of the last frame.
    pub(super) geometry: Geometry,
    /// In the order in which they were opened; never empty once begun, but for who left all of
    /// them.
    pub(in crate::tui) rooms: Vec<Room>,
    /// Which one is shown.
    pub(in crate::tui) current: usize,
    /// The one that was shown before.
    pub(super) last_shown: Option<StreamName>,
    pub(in crate::tui) editor: Editor,
    pub(in crate::tui) mode: Mode,
    pub(in crate::tui) completion: Option<Completion>,
    pub(in crate::tui) notices: Notices,
    pub(in crate::tui) session: Session,
    /// Time of the last answer, microseconds.
    pub(in crate::tui) lag_us: Option<u64>,
    /// Something was asked at this time and not answered, monotonic microseconds.
    pub(in crate::tui) waits_since_us: Option<u64>,
    /// The server has not shown a sign of life for a while, as the presence table has it.
    pub(in crate::tui) is_hung: bool,
    /// `ann` or `ann/ci`.
    pub(in crate::tui) me: String,
    pub(in crate::tui) is_away: bool,
    /// Whether the terminal is the one that is looked at, if it says so.
    pub(super) focus: Option<bool>,
    /// Said until the next key, above the input.
    pub(in crate::tui) hint: Option<Hint>,
    /// Rooms that this name was removed from, by key: they do not open by themselves.
    pub(super) left: BTreeSet<String>,
    pub(super) known: KnownNames,
    pub(super) ignored: BTreeSet<String>,
    pub(super) kept: Kept,
    /// What was changed here.
    pub(super) touched: Touched,
    pub(super) times: ModelTimes,
    pub(super) next_token: u64,
    pub(super) effects: VecDeque<Effect>,
    /// What was said in rooms that are closed, and does not stand yet.
    pub(super) orphans: Vec<Orphan>,
    /// What one looks at has changed since it was last drawn.
    pub(super) changed: bool,
}

/// A text that was on its way when its room was closed.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) token: u64,
    /// What the room's draft is kept by.
    pub(super) room: String,
    /// As it would have to be typed.
    pub(super) text: String,
}

/// A word to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct Hint {
    pub(in crate::tui) text: String,
    pub(in crate::tui) is_error: bool,
}

/// When something happened or happens.
pub(in crate::tui) type When = Now;

impl Model {
    /// A screen with the rooms that were named.
    pub(in crate::tui) fn new(
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
            is_away: false,
            focus: None,
            hint: None,
            left: BTreeSet::new(),
            known: KnownNames::default(),
            ignored,
            kept,
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

    /// What is to be done, in order.
    pub(in crate::tui) fn take_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What can't be done yet is to be done later.
    pub(in crate::tui) fn put_effects_back(&mut self, effects: Vec<Effect>) {
        self.effects.extend(effects);
    }

    /// The title of the window: the room, and how much is unread.
    pub(in crate::tui) fn title(&self) -> String {
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
    pub(in crate::tui) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(in crate::tui) fn resize(&mut self, columns: u16, height: u16) {
        (self.columns, self.height) = (columns.into(), height.into());
        self.changed = true;
    }

    /// The room that is shown.
    pub(in crate::tui) fn room(&self) -> Option<&Room> {
        self.rooms.get(self.current)
    }

    pub(super) fn room_mut(&mut self) -> Option<&mut Room> {
        self.rooms.get_mut(self.current)
    }

    pub(super) fn index_of(&self, name: &StreamName) -> Option<usize> {
        self.rooms.iter().position(|room| room.name == *name)
    }

    /// How the server does, as the presence table has it.
    pub(in crate::tui) fn server_is(&mut self, state: ServerState) {
        let is_hung = state == ServerState::NotResponding;
        self.changed |= is_hung != self.is_hung;
        self.is_hung = is_hung;
    }
}
