//! One room or conversation: its lines, the visible part, read marks, the draft.

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

/// Maximum number of recent speakers, for completion.
const SPEAKERS_MAX: usize = 50;

/// Returns true if a message raises an alert.
pub(in crate::tui) fn is_heard(alert: Alert, important: bool) -> bool {
    match alert {
        Alert::Off => false,
        Alert::Mentions => important,
        Alert::All => true,
    }
}

/// A member of a room: all sessions of a name that are of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct Present {
    /// `ann` or `ann/ci`.
    pub(in crate::tui) name: String,
    pub(in crate::tui) sessions: usize,
    pub(in crate::tui) kind: Kind,
    pub(in crate::tui) state: State,
    /// Time since the last message or key, seconds.
    pub(in crate::tui) idle_s: u64,
    /// Text of `away`.
    pub(in crate::tui) status: String,
}

/// A text that is not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct Pending {
    pub(in crate::tui) token: u64,
    /// Label of a user, as the recipient.
    pub(in crate::tui) label: Option<Label>,
    pub(in crate::tui) reply_to: Option<u64>,
    pub(in crate::tui) text: Text,
    /// True while the text waits for the conversation to be opened.
    pub(in crate::tui) unsent: bool,
    /// Sequence number of the text; it is removed once the message itself arrives.
    pub(in crate::tui) seq: Option<u64>,
}

impl Pending {
    /// Returns the text as it would be typed to send it in that room.
    pub(super) fn as_typed(&self, room: &StreamName) -> String {
        let text = self.text.as_str();
        match (self.reply_to, &self.label) {
            (Some(seq), _) => format!("/reply {seq} {text}"),
            (None, Some(label)) => format!("/msg {room}/{label} {text}"),
            // The text would be taken for a command.
            (None, None) if text.starts_with('/') && action_of(text).is_none() => {
                format!("/{text}")
            }
            (None, None) => text.to_owned(),
        }
    }
}

/// The message that the typed text replies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tui) struct Quote {
    pub(in crate::tui) seq: u64,
    pub(in crate::tui) name: String,
    pub(in crate::tui) text: String,
}

/// Purpose of a requested page of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tui) enum Loading {
    Older,
    Newer,
    /// Moves the window to this message.
    Around(u64),
    /// Moves the window back to the newest message.
    Newest,
}

/// Newest message and read marks of a room, by sequence numbers.
#[derive(Debug, Default)]
pub(in crate::tui) struct ReadMarks {
    /// Sequence number of the newest message.
    pub(in crate::tui) head: u64,
    /// Number up to which all messages are read.
    pub(in crate::tui) read: u64,
    /// Mark that was sent to the server.
    pub(in crate::tui) sent_read: u64,
    /// Number after which unread messages start, as the line in the room shows it.
    pub(in crate::tui) marker: u64,
    /// True once the server has sent its marks.
    pub(in crate::tui) are_known: bool,
    /// Number up to which messages are older than this screen.
    pub(in crate::tui) before: u64,
    /// Number of unread messages.
    pub(in crate::tui) unread: u64,
    /// Number of unread mentions.
    pub(in crate::tui) mentions: u64,
}

impl ReadMarks {
    /// Marks all messages up to a number as read. Later unread messages keep their count, unless
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

    /// Marks a message as seen while it arrives: the line of unread messages moves with it.
    pub(in crate::tui) fn see(&mut self, seq: u64) {
        let was_new = self.marker >= self.read && self.unread == 0;
        self.mark_read(seq);
        if was_new {
            self.marker = self.read;
        }
    }

    /// Marks a hidden message, or one of this name, as read, if all before it is read.
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
    /// True if the history can't be read, or is not wanted: no page is requested without the user.
    pub(in crate::tui) failed: bool,
    /// Number of pages in a row without a visible message.
    pub(in crate::tui) barren: usize,
}

/// State of a conversation in this session.
#[derive(Debug, Default)]
pub(in crate::tui) struct Opening {
    pub(in crate::tui) is_open: bool,
    /// True if the server was asked to open it.
    pub(in crate::tui) opening: bool,
}

/// A room or conversation.
#[derive(Debug)]
pub(in crate::tui) struct Room {
    pub(in crate::tui) name: StreamName,
    /// Number for `Alt-1`, from 1; constant while the room is open.
    pub(in crate::tui) number: usize,
    pub(in crate::tui) back: Scrollback,
    pub(in crate::tui) place: Place,
    /// Number of messages that arrived below the visible part.
    pub(in crate::tui) below: usize,
    pub(in crate::tui) marks: ReadMarks,
    pub(in crate::tui) properties: RoomProperties,
    /// True if this name is no longer in the room; it stays until the user goes elsewhere, so that
    /// typed text goes nowhere else.
    pub(in crate::tui) gone: bool,
    /// Typed text that is not sent, while another room is shown.
    pub(in crate::tui) draft: Draft,
    /// Texts that were refused while another one was typed, as they would be typed; the oldest
    /// first.
    pub(in crate::tui) unsaid: VecDeque<String>,
    pub(in crate::tui) quote: Option<Quote>,
    pub(in crate::tui) pending: VecDeque<Pending>,
    pub(in crate::tui) members: Vec<Present>,
    /// Recent speakers, the last one first.
    pub(in crate::tui) speakers: VecDeque<String>,
    pub(in crate::tui) alerts: RoomAlerts,
    pub(in crate::tui) history: HistoryPages,
    /// Id of the selected line.
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

    /// Returns the number of messages of others after a number, and of the mentions among them.
    pub(in crate::tui) fn said_after(&self, seq: u64) -> (u64, u64) {
        let others = self.back.iter().rev().filter_map(Line::said);
        let others = others.take_while(|said| said.seq > seq).filter(|said| !said.own);
        others.fold((0, 0), |(all, mentions), said| (all + 1, mentions + u64::from(said.mention)))
    }

    /// Returns the number of sessions in the room, as other commands count them.
    pub(in crate::tui) fn sessions(&self) -> usize {
        self.members.iter().map(|present| present.sessions).sum()
    }

    /// Returns the name as people write it: `dev`, `@ann`.
    pub(in crate::tui) fn title(&self) -> String {
        self.name.to_string()
    }

    pub(in crate::tui) fn is_direct(&self) -> bool {
        matches!(self.name, StreamName::Direct(_))
    }

    /// Returns the key of the saved draft and settings: the same for each spelling of the room.
    pub(in crate::tui) fn kept_name(&self) -> String {
        match &self.name {
            StreamName::Room(room) => room.key().to_owned(),
            StreamName::Direct(_) | StreamName::Announcements => self.name.to_string(),
        }
    }

    /// Returns the name of a room; none for a conversation.
    pub(in crate::tui) fn room_name(&self) -> Option<&RoomName> {
        match &self.name {
            StreamName::Room(room) => Some(room),
            StreamName::Direct(_) | StreamName::Announcements => None,
        }
    }

    /// Returns the target for requests to the server.
    pub(in crate::tui) fn target(&self) -> Option<Target> {
        match &self.name {
            StreamName::Room(room) => Some(Target::Room(room.clone())),
            StreamName::Direct(user) => Some(Target::User { user: user.clone(), label: None }),
            StreamName::Announcements => None,
        }
    }

    /// Returns true if the end of the room is visible.
    pub(in crate::tui) fn is_at_end(&self) -> bool {
        self.place == Place::End && self.back.is_attached()
    }

    /// Returns the number of mentions; in a conversation all unread messages count.
    pub(in crate::tui) fn important(&self) -> u64 {
        if self.is_direct() { self.marks.unread } else { self.marks.mentions }
    }

    /// Returns the number of the first unread message in memory, for the line before it. Own
    /// messages are not unread.
    pub(in crate::tui) fn first_unread(&self) -> Option<u64> {
        if !self.marks.are_known || !self.has_marker() {
            return None;
        }
        let unread = |line: &Line| line.said().is_some_and(|s| s.seq > self.marks.marker && !s.own);
        self.back.iter().find(|line| unread(line)).and_then(Line::said).map(|said| said.seq)
    }

    /// Returns true if unread messages do not start before the lines in memory.
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

    /// Forgets all sequence numbers, which start over.
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

    /// Removes pending texts up to a number: each is shown as a message, or was lost.
    pub(in crate::tui) fn settle(&mut self, seq: u64) {
        self.pending.retain(|pending| pending.seq.is_none_or(|acked| acked > seq));
    }

    /// Handles a message that is not shown.
    pub(in crate::tui) fn pass_over(&mut self, seq: u64) {
        self.settle(seq);
        self.marks.head = self.marks.head.max(seq);
        if self.marks.read + 1 >= seq {
            self.marks.advance(seq);
        }
    }

    /// Moves the line of unread messages to the place where the user left.
    pub(in crate::tui) fn leave(&mut self) {
        self.marks.marker = self.marks.marker.max(self.marks.read);
        self.selected = None;
    }

    pub(in crate::tui) fn go_to_end(&mut self) {
        self.place = Place::End;
        self.below = 0;
    }
}
