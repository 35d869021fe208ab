//! The model itself: its state, and access to it.

use std::collections::VecDeque;

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
    pub(in crate::tui) server: ServerView,
    pub(in crate::tui) user: OwnUser,
    /// Said until the next key, above the input.
    pub(in crate::tui) hint: Option<Hint>,
    pub(super) known: KnownNames,
    pub(super) saved: SavedTexts,
    pub(super) times: ModelTimes,
    pub(super) effects: VecDeque<Effect>,
    pub(super) outgoing: Outgoing,
    /// What one looks at has changed since it was last drawn.
    pub(super) changed: bool,
}

/// The server as the screen sees it.
#[derive(Debug)]
pub(in crate::tui) struct ServerView {
    pub(in crate::tui) session: Session,
    /// Time of the last answer, microseconds.
    pub(in crate::tui) lag_us: Option<u64>,
    /// Time of the oldest request without an answer, monotonic microseconds.
    pub(in crate::tui) waits_since_us: Option<u64>,
    /// The server does not respond, as the presence table has it.
    pub(in crate::tui) is_hung: bool,
}

impl ServerView {
    fn without_session() -> Self {
        let session = Session::Down { reason: String::new() };
        Self { session, lag_us: None, waits_since_us: None, is_hung: false }
    }

    /// Returns true if there is a session.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.session, Session::Up { .. })
    }
}

/// The user of the screen.
#[derive(Debug)]
pub(in crate::tui) struct OwnUser {
    /// `ann` or `ann/ci`.
    pub(in crate::tui) name: String,
    pub(in crate::tui) is_away: bool,
    /// True while the user looks at the terminal; none if it does not say.
    pub(super) focus: Option<bool>,
}

/// Texts and choices that outlive the screen.
#[derive(Debug)]
pub(super) struct SavedTexts {
    pub(super) kept: Kept,
    /// Changes since they were last saved.
    pub(super) touched: Touched,
}

/// Texts on their way to the server.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) next_token: u64,
    /// Texts of rooms that are closed, not acknowledged yet.
    pub(super) orphans: Vec<Orphan>,
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
            server: ServerView::without_session(),
            user: OwnUser { name: me, is_away: false, focus: None },
            hint: None,
            known: KnownNames::default(),
            saved: SavedTexts { kept, touched: Touched::default() },
            times: ModelTimes::begin(now.mono_us),
            effects: VecDeque::new(),
            outgoing: Outgoing { next_token: 1, orphans: Vec::new() },
            changed: true,
        };
        if let Some(typed) = model.saved.kept.drafts.get(NOWHERE) {
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
        let unread = self.rooms.iter().filter(|room| room.marks.unread > 0).count();
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
        self.changed |= is_hung != self.server.is_hung;
        self.server.is_hung = is_hung;
    }
}
