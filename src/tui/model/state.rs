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

/// Key of the draft that was typed in no room.
pub(super) const NOWHERE: &str = "";

/// State of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) enum Session {
    Up {
        /// Means of delivery: `multicast`, `mailslot`, `session`.
        broadcast: &'static str,
    },
    Down {
        /// Reason for people.
        reason: String,
    },
}

/// Overlay above the room, or none.
#[derive(Debug)]
pub(in crate::tui) enum Mode {
    Chat,
    /// Help with all keys; first visible row.
    Help {
        from: usize,
    },
    /// Switcher: rooms by some letters of their names, with the typed text, the matches and the
    /// selected one.
    Switch {
        query: Editor,
        names: Vec<Choice>,
        at: usize,
    },
    Search(Search),
    /// Question about a long paste.
    Paste {
        text: String,
        /// First visible line.
        from: usize,
    },
}

/// An entry of the switcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct Choice {
    /// Name as it is written: `dev`, `@ann`.
    pub(in crate::tui) name: String,
    /// True if it is open; otherwise it would be joined.
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
    /// Rooms in the order in which they were opened; empty only after the user left all of them.
    pub(in crate::tui) rooms: Vec<Room>,
    /// Index of the current room.
    pub(in crate::tui) current: usize,
    /// Room that was shown before.
    pub(super) last_shown: Option<StreamName>,
    pub(in crate::tui) editor: Editor,
    pub(in crate::tui) mode: Mode,
    pub(in crate::tui) completion: Option<Completion>,
    pub(in crate::tui) notices: Notices,
    pub(in crate::tui) server: ServerView,
    pub(in crate::tui) user: OwnUser,
    /// Status message above the input, until the next key.
    pub(in crate::tui) hint: Option<Hint>,
    pub(super) known: KnownNames,
    pub(super) saved: SavedTexts,
    pub(super) times: ModelTimes,
    pub(super) effects: VecDeque<Effect>,
    pub(super) outgoing: Outgoing,
    /// True if the visible part has changed since the last frame.
    pub(super) changed: bool,
}

/// The server as the screen sees it.
#[derive(Debug)]
pub(in crate::tui) struct ServerView {
    pub(in crate::tui) session: Session,
    /// Time until the last reply, microseconds.
    pub(in crate::tui) lag_us: Option<u64>,
    /// Time of the oldest request without a reply, monotonic microseconds.
    pub(in crate::tui) waits_since_us: Option<u64>,
    /// True if the server does not respond, by the presence table.
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
    /// True while the user looks at the terminal; none if it does not report its focus.
    pub(super) focus: Option<bool>,
}

/// Texts and choices that outlive the screen.
#[derive(Debug)]
pub(super) struct SavedTexts {
    pub(super) kept: Kept,
    /// Changes since they were last saved.
    pub(super) touched: Touched,
}

/// Texts in flight to the server.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) next_token: u64,
    /// Texts of rooms that are closed, not acknowledged yet.
    pub(super) orphans: Vec<Orphan>,
}

/// Text in flight when its room was closed.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) token: u64,
    /// Key of the room's draft.
    pub(super) room: String,
    /// Text as it would be typed.
    pub(super) text: String,
}

/// A status message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct Hint {
    pub(in crate::tui) text: String,
    pub(in crate::tui) is_error: bool,
}

/// Time of an event or of work.
pub(in crate::tui) type When = Now;

impl Model {
    /// Returns a screen with the named rooms.
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

    /// Returns the next effect, in order.
    pub(in crate::tui) fn take_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Puts effects back that have to wait.
    pub(in crate::tui) fn put_effects_back(&mut self, effects: Vec<Effect>) {
        self.effects.extend(effects);
    }

    /// Returns the title of the window: the room, and the number of unread messages.
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

    /// Returns true if something has changed since the last call.
    pub(in crate::tui) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(in crate::tui) fn resize(&mut self, columns: u16, height: u16) {
        (self.columns, self.height) = (columns.into(), height.into());
        self.changed = true;
    }

    /// Returns the current room.
    pub(in crate::tui) fn room(&self) -> Option<&Room> {
        self.rooms.get(self.current)
    }

    pub(super) fn room_mut(&mut self) -> Option<&mut Room> {
        self.rooms.get_mut(self.current)
    }

    pub(super) fn index_of(&self, name: &StreamName) -> Option<usize> {
        self.rooms.iter().position(|room| room.name == *name)
    }

    /// Sets the state of the server, by the presence table.
    pub(in crate::tui) fn server_is(&mut self, state: ServerState) {
        let is_hung = state == ServerState::NotResponding;
        self.changed |= is_hung != self.server.is_hung;
        self.server.is_hung = is_hung;
    }
}
