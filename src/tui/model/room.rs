//! One room or conversation: its lines, where one looks, what is read, what is typed.

use std::collections::VecDeque;

use crate::{
    chat::{
        member::{Kind, State},
        message::StreamName,
        names::{Label, RoomName, Target},
        text::Text,
    },
    config::screen::NotifyWish as Alert,
    tui::{
        editor::Draft,
        scrollback::{Line, Note, NoteKind, Place, Scrollback},
        slash::action_of,
    },
};

/// Names of those who spoke last, for completion.
const SPEAKERS_MAX: usize = 50;

/// Whether a message makes itself heard.
pub(in crate::tui) fn is_heard(alert: Alert, important: bool) -> bool {
    match alert {
        Alert::Off => false,
        Alert::Mentions => important,
        Alert::All => true,
    }
}

/// Somebody who is in a room: all sessions of a name that are of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct Present {
    /// `ann` or `ann/ci`.
    pub(in crate::tui) name: String,
    pub(in crate::tui) sessions: usize,
    pub(in crate::tui) kind: Kind,
    pub(in crate::tui) state: State,
    /// Since the last own message or key, seconds.
    pub(in crate::tui) idle_s: u64,
    /// What was said with `away`.
    pub(in crate::tui) status: String,
}

/// A text that is not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct Pending {
    pub(in crate::tui) token: u64,
    /// To one label of a user.
    pub(in crate::tui) label: Option<Label>,
    pub(in crate::tui) reply_to: Option<u64>,
    pub(in crate::tui) text: Text,
    /// It waits for the conversation to be opened.
    pub(in crate::tui) unsent: bool,
    /// It has this number; it goes once the message itself is there.
    pub(in crate::tui) seq: Option<u64>,
}

impl Pending {
    /// As it has to be typed to be said in that room.
    pub(super) fn as_typed(&self, room: &StreamName) -> String {
        let text = self.text.as_str();
        match (self.reply_to, &self.label) {
            (Some(seq), _) => format!("/reply {seq} {text}"),
            (None, Some(label)) => format!("/msg {room}/{label} {text}"),
            // It would be taken for a command.
            (None, None) if text.starts_with('/') && action_of(text).is_none() => {
                format!("/{text}")
            }
            (None, None) => text.to_owned(),
        }
    }
}

/// The message that what is typed replies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct Quote {
    pub(in crate::tui) seq: u64,
    pub(in crate::tui) name: String,
    pub(in crate::tui) text: String,
}

/// What is to be done once a page of history has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tui) enum Loading {
    Older,
    Newer,
    /// The window goes to where this message is.
    Around(u64),
    /// Back to the newest.
    Newest,
}

/// Newest message and read marks of a room, by sequence numbers.
#[derive(Debug, Default)]
pub(in crate::tui) struct ReadMarks {
    /// Sequence number of the newest message.
    pub(in crate::tui) head: u64,
    /// Everything up to this number is read.
    pub(in crate::tui) read: u64,
    /// Mark that was sent to the server.
    pub(in crate::tui) sent_read: u64,
    /// Unread begins after this number, as the line in the room shows it.
    pub(in crate::tui) marker: u64,
    /// The server sent its marks.
    pub(in crate::tui) are_known: bool,
    /// Messages up to this number are older than this screen.
    pub(in crate::tui) before: u64,
    /// Number of unread messages.
    pub(in crate::tui) unread: u64,
    /// Number of unread mentions.
    pub(in crate::tui) mentions: u64,
}

impl ReadMarks {
    /// Marks everything up to a number as read. Later unread messages keep their count, unless
    /// there are none.
    pub(in crate::tui) fn mark_read(&mut self, seq: u64) {
        if seq <= self.read && self.unread == 0 {
            return;
        }
        self.read = self.read.max(seq);
        if self.read >= self.head {
            self.unread = 0;
            self.mentions = 0;
        }
    }

    /// Marks a message as seen while it came: the line of unread moves with it.
    pub(in crate::tui) fn see(&mut self, seq: u64) {
        let was_new = self.marker >= self.read && self.unread == 0;
        self.mark_read(seq);
        if was_new {
            self.marker = self.read;
        }
    }

    /// Marks an own or hidden message as read, if all before it is read.
    pub(in crate::tui) fn advance(&mut self, seq: u64) {
        if self.unread == 0 && self.are_known {
            let was_new = self.marker >= self.read;
            self.read = self.read.max(seq);
            if was_new {
                self.marker = self.read;
            }
        }
    }

    /// Forgets all numbers, which start over.
    fn start_over(&mut self) {
        (self.head, self.read, self.sent_read) = (0, 0, 0);
        (self.marker, self.before) = (0, 0);
    }
}

/// Properties of a room on the server.
#[derive(Debug, Default)]
pub(in crate::tui) struct RoomProperties {
    pub(in crate::tui) topic: String,
    pub(in crate::tui) private: bool,
    pub(in crate::tui) read_only: bool,
}

/// Alerts of a room; none: as everywhere.
#[derive(Debug, Default)]
pub(in crate::tui) struct RoomAlerts {
    pub(in crate::tui) bell: Option<Alert>,
    pub(in crate::tui) notify: Option<Alert>,
}

/// Pages of a room's history.
#[derive(Debug, Default)]
pub(in crate::tui) struct HistoryPages {
    pub(in crate::tui) loading: Option<Loading>,
    /// The history can't be read, or is not wanted: no page is requested without the user.
    pub(in crate::tui) failed: bool,
    /// Number of pages in a row of which nothing is shown.
    pub(in crate::tui) barren: usize,
}

/// State of a conversation in this session.
#[derive(Debug, Default)]
pub(in crate::tui) struct Opening {
    pub(in crate::tui) is_open: bool,
    /// The server was asked to open it.
    pub(in crate::tui) opening: bool,
}

/// A room or conversation.
#[derive(Debug)]
pub(in crate::tui) struct Room {
    pub(in crate::tui) name: StreamName,
    /// What it is chosen by (`Alt-1`); stays as long as it is open. From 1.
    pub(in crate::tui) number: usize,
    pub(in crate::tui) back: Scrollback,
    pub(in crate::tui) place: Place,
    /// Messages that came since one looks elsewhere than at the end.
    pub(in crate::tui) below: usize,
    pub(in crate::tui) marks: ReadMarks,
    pub(in crate::tui) properties: RoomProperties,
    /// This name is not in it any more; it stays until somebody goes elsewhere, so that what is
    /// typed goes nowhere else.
    pub(in crate::tui) gone: bool,
    /// What is typed and not sent, while another room is shown.
    pub(in crate::tui) draft: Draft,
    /// What was sent and refused while something else was typed, as it has to be typed; the oldest
    /// first.
    pub(in crate::tui) unsaid: VecDeque<String>,
    pub(in crate::tui) quote: Option<Quote>,
    pub(in crate::tui) pending: VecDeque<Pending>,
    pub(in crate::tui) members: Vec<Present>,
    /// Who spoke last, the last one first.
    pub(in crate::tui) speakers: VecDeque<String>,
    pub(in crate::tui) alerts: RoomAlerts,
    pub(in crate::tui) history: HistoryPages,
    /// The chosen line.
    pub(in crate::tui) selected: Option<i64>,
    pub(in crate::tui) conversation: Opening,
}

impl Room {
    pub(in crate::tui) fn new(name: StreamName, number: usize, lines: usize) -> Self {
        Self {
            name,
            number,
            back: Scrollback::new(lines),
            place: Place::End,
            below: 0,
            marks: ReadMarks::default(),
            properties: RoomProperties::default(),
            gone: false,
            draft: Draft::default(),
            unsaid: VecDeque::new(),
            quote: None,
            pending: VecDeque::new(),
            members: Vec::new(),
            speakers: VecDeque::new(),
            alerts: RoomAlerts::default(),
            history: HistoryPages::default(),
            selected: None,
            conversation: Opening::default(),
        }
    }

    /// How many messages of others there are after a number, and how many of them are mentions.
    pub(in crate::tui) fn said_after(&self, seq: u64) -> (u64, u64) {
        let others = self.back.iter().rev().filter_map(Line::said);
        let others = others.take_while(|said| said.seq > seq).filter(|said| !said.own);
        others.fold((0, 0), |(all, mentions), said| (all + 1, mentions + u64::from(said.mention)))
    }

    /// Sessions that are in it, as they are counted elsewhere.
    pub(in crate::tui) fn sessions(&self) -> usize {
        self.members.iter().map(|present| present.sessions).sum()
    }

    /// As people write it: `dev`, `@ann`.
    pub(in crate::tui) fn title(&self) -> String {
        self.name.to_string()
    }

    pub(in crate::tui) fn is_direct(&self) -> bool {
        matches!(self.name, StreamName::Direct(_))
    }

    /// What its draft and its settings are kept by: the same however the room is spelled.
    pub(in crate::tui) fn kept_name(&self) -> String {
        match &self.name {
            StreamName::Room(room) => room.key().to_owned(),
            StreamName::Direct(_) | StreamName::Announcements => self.name.to_string(),
        }
    }

    /// The room, if it is one.
    pub(in crate::tui) fn room_name(&self) -> Option<&RoomName> {
        match &self.name {
            StreamName::Room(room) => Some(room),
            StreamName::Direct(_) | StreamName::Announcements => None,
        }
    }

    /// How the server is asked for it.
    pub(in crate::tui) fn target(&self) -> Option<Target> {
        match &self.name {
            StreamName::Room(room) => Some(Target::Room(room.clone())),
            StreamName::Direct(user) => Some(Target::User { user: user.clone(), label: None }),
            StreamName::Announcements => None,
        }
    }

    /// Whether one looks at its end.
    pub(in crate::tui) fn is_at_end(&self) -> bool {
        self.place == Place::End && self.back.is_attached()
    }

    /// What is unread counts as a mention in a conversation: all of it is said to one.
    pub(in crate::tui) fn important(&self) -> u64 {
        if self.is_direct() { self.marks.unread } else { self.marks.mentions }
    }

    /// The number of the first unread message that is in memory, for the line before it. What this
    /// name said itself is not unread.
    pub(in crate::tui) fn first_unread(&self) -> Option<u64> {
        if !self.marks.are_known || !self.has_marker() {
            return None;
        }
        let unread = |line: &Line| line.said().is_some_and(|s| s.seq > self.marks.marker && !s.own);
        self.back.iter().find(|line| unread(line)).and_then(Line::said).map(|said| said.seq)
    }

    /// Whether unread does not begin further up than what is in memory.
    pub(in crate::tui) fn has_marker(&self) -> bool {
        self.back.is_at_beginning()
            || self.back.first_seq().is_some_and(|first| first <= self.marks.marker + 1)
    }

    pub(in crate::tui) fn note(&mut self, wall_us: i64, kind: NoteKind, text: impl Into<String>) {
        let is_scrolled = self.place != Place::End;
        self.back.push(Line::Note(Note { wall_us, kind, text: text.into() }), is_scrolled);
    }

    pub(in crate::tui) fn note_speaker(&mut self, name: &str) {
        self.speakers.retain(|known| known != name);
        self.speakers.push_front(name.to_owned());
        self.speakers.truncate(SPEAKERS_MAX);
    }

    /// Numbers mean something else from here on.
    pub(in crate::tui) fn begin_anew(&mut self) {
        self.marks.start_over();
        self.quote = None;
        self.history.loading = None;
        self.history.barren = 0;
        self.settle(u64::MAX);
        self.pending.iter_mut().for_each(|pending| pending.reply_to = None);
        self.back.begin_anew();
        self.go_to_end();
    }

    /// What was said with this number or before it stands, or never comes.
    pub(in crate::tui) fn settle(&mut self, seq: u64) {
        self.pending.retain(|pending| pending.seq.is_none_or(|stands| stands > seq));
    }

    /// Something that is not shown.
    pub(in crate::tui) fn pass_over(&mut self, seq: u64) {
        self.settle(seq);
        self.marks.head = self.marks.head.max(seq);
        if self.marks.read + 1 >= seq {
            self.marks.advance(seq);
        }
    }

    /// What unread begins with stands where one left.
    pub(in crate::tui) fn leave(&mut self) {
        self.marks.marker = self.marks.marker.max(self.marks.read);
        self.selected = None;
    }

    pub(in crate::tui) fn go_to_end(&mut self) {
        self.place = Place::End;
        self.below = 0;
    }
}
