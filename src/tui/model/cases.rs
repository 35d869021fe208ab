//! The rules of the screen, case by case.

use std::collections::BTreeMap;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;

use super::{
    Alert, Effect, Loading, Look, Mode, Model, Options, PageAsked, Panel, PendingRequest, Present,
    When,
};
use crate::{
    chat::{
        event::GapReason,
        member::{EndCause, Kind, Level, Member, SessionId, State},
        message::{Message, MessageId, Notice, StreamName},
        names::{Label, RoomName, Target, UserName},
        refusal::{Refusal, RefusalCode},
        reply::{MarkInfo, Reply, RoomInfo, StreamInfo, WhoInfo},
        request::{HistoryRequest, Request},
        stream_id::{Channel, StreamId, StreamLabel},
    },
    client::Event,
    presence::ServerState,
    tui::{
        kept::Kept,
        keys::Keys,
        paint::{Depth, Paint},
        scrollback::{Line, Place},
        slash::CommandPurpose,
        view,
    },
};

fn at(seconds: u64) -> When {
    When { mono_us: 1_000_000 * (1_000 + seconds), wall_us: 1_760_000_000_000_000 }
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

impl Options {
    /// The defaults for a user, in black and white, in UTC.
    pub(in crate::tui) fn of_defaults(user: &str) -> Self {
        Self {
            keys: Keys::new(&BTreeMap::new()).unwrap(),
            look: Look {
                paint: Paint::new(Depth::None, true),
                zone: TimeZone::UTC,
                time_format: "%H:%M".to_owned(),
                date_format: "%Y-%m-%d %a".to_owned(),
                plain: false,
                links: true,
                hide_moves: false,
                user: user.to_owned(),
                words: Vec::new(),
            },
            rooms_panel: Panel::Auto,
            members_panel: Panel::Auto,
            rooms_columns: 20,
            members_columns: 22,
            bell: Alert::Mentions,
            notify: Alert::Mentions,
            paste_lines: 20,
            mouse: true,
            lines: 1_000,
            only_named: false,
            read_only: false,
            label: None,
            server: "main".to_owned(),
        }
    }
}

fn options() -> Options {
    Options::of_defaults("ann")
}

/// Ann's screen with the rooms dev and ops, connected, with the focus.
struct Screen {
    model: Model,
    now: When,
}

impl Screen {
    fn new() -> Self {
        Self::with(options(), Kept::default())
    }

    fn with(options: Options, kept: Kept) -> Self {
        let rooms = [room("dev"), room("ops")];
        let model = Model::new(at(0), options, "ann".to_owned(), &rooms, kept);
        let mut screen = Self { model, now: at(0) };
        screen.ready(&[("dev", 0), ("ops", 0)]);
        screen.marks(&[("dev", 0, 0), ("ops", 0, 0)]);
        screen.model.focus(screen.now, true);
        screen.measure();
        screen.effects();
        screen
    }

    fn ready(&mut self, heads: &[(&str, u64)]) {
        let streams = heads.iter().map(|(name, head)| (StreamName::Room(room(name)), *head));
        let event = Event::Ready { streams: streams.collect(), broadcast: "multicast" };
        self.model.event(self.now, event);
    }

    /// Mark and head.
    fn marks(&mut self, marks: &[(&str, u64, u64)]) {
        let info = |(name, mark, head): &(&str, u64, u64)| MarkInfo {
            name: StreamLabel::Room(room(name)),
            mark: *mark,
            head: *head,
            unread: head - mark,
            mentions: 0,
            stored: true,
        };
        let marks = marks.iter().map(info).collect();
        self.model.answered(
            self.now,
            PendingRequest::Marks(0),
            Ok(Reply::Marks { marks, more: false }),
        );
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.model.take_effect()).collect()
    }

    fn key(&mut self, code: KeyCode, modifiers: KeyModifiers) {
        self.measure();
        self.model.key(self.now, &KeyEvent::new(code, modifiers));
    }

    /// Stores the places of the parts, as the loop does between two keys.
    fn measure(&mut self) {
        self.model.set_geometry(view::geometry(&self.model));
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        self.model.resize(columns, rows);
        self.measure();
    }

    fn press(&mut self, code: KeyCode) {
        self.key(code, KeyModifiers::NONE);
    }

    fn alt(&mut self, c: char) {
        self.key(KeyCode::Char(c), KeyModifiers::ALT);
    }

    fn ctrl(&mut self, c: char) {
        self.key(KeyCode::Char(c), KeyModifiers::CONTROL);
    }

    fn typed(&mut self, text: &str) {
        for c in text.chars() {
            self.press(KeyCode::Char(c));
        }
    }

    fn enter(&mut self, text: &str) {
        self.typed(text);
        self.press(KeyCode::Enter);
    }

    fn said(&mut self, in_room: &str, seq: u64, by: &str, text: &str) {
        let message = message(StreamName::Room(room(in_room)), seq, by, text);
        self.model.event(self.now, Event::Message(message));
    }

    /// Effects since the last call.
    fn said_now(&mut self) -> (u64, Target) {
        let say = |effect| match effect {
            Effect::Say { token, to, .. } => Some((token, to)),
            _ => None,
        };
        let effects = self.effects();
        effects.into_iter().find_map(say).expect("something was said")
    }

    fn room(&self, name: &str) -> &super::Room {
        self.model.rooms.iter().find(|room| room.title() == name).unwrap()
    }

    fn shown(&self) -> String {
        self.model.room().unwrap().title()
    }

    fn input(&self) -> &str {
        self.model.editor.text()
    }

    fn rows(&self) -> Vec<String> {
        let (frame, _) = view::frame(&self.model, self.now.mono_us);
        frame.rows.iter().map(|row| row.text().trim_end().to_owned()).collect()
    }

    fn error(&self) -> &str {
        let hint = self.model.hint.as_ref().expect("something was said");
        assert!(hint.is_error, "{hint:?}");
        &hint.text
    }
}

fn member(name: &str) -> Member {
    let (name, label) =
        name.split_once('/').map_or((name, None), |(user, label)| (user, Some(label)));
    Member {
        session: SessionId(7),
        uid: 1,
        pid: 1,
        kind: Kind::Person,
        user: UserName::new(name).unwrap(),
        label: label.map(|label| Label::new(label).unwrap()),
    }
}

/// A public room with one member and no messages.
fn info(name: &str) -> RoomInfo {
    RoomInfo {
        name: room(name),
        members: 1,
        last: 0,
        last_wall_us: None,
        topic: String::new(),
        stored: true,
        private: false,
        read_only: false,
    }
}

fn message(stream: StreamName, seq: u64, by: &str, text: &str) -> Message {
    Message {
        id: MessageId { stream, run: None, seq },
        wall_us: 1_760_000_000_000_000,
        from: member(by),
        reply_to: None,
        mention: text.contains("@ann"),
        notice: None,
        will: None,
        origin: None,
        text: text.to_owned(),
    }
}

fn notice(seq: u64, level: Level, ack: bool) -> Event {
    let mut message = message(StreamName::Announcements, seq, "bob", "the disk is full");
    message.notice =
        Some(Notice { level, room: None, expires_wall_us: None, retained: false, ack });
    Event::Message(message)
}

fn says(effects: &[Effect]) -> Vec<(String, Option<u64>)> {
    let say = |effect: &Effect| match effect {
        Effect::Say { text, reply_to, .. } => Some((text.as_str().to_owned(), *reply_to)),
        _ => None,
    };
    effects.iter().filter_map(say).collect()
}

fn asks(effects: &[Effect]) -> Vec<&Request> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Ask(request, _) => Some(request),
            _ => None,
        })
        .collect()
}

// ---- input ---------------------------------------------------------------------------------------

#[test]
fn each_room_has_its_own_draft() {
    let mut screen = Screen::new();
    screen.typed("for dev");
    screen.alt('2');
    assert_eq!((screen.shown().as_str(), screen.input()), ("ops", ""));
    screen.typed("for ops");
    screen.alt('1');
    assert_eq!((screen.shown().as_str(), screen.input()), ("dev", "for dev"));
    screen.resize(40, 10);
    screen.model.event(screen.now, Event::End { reason: "gone".to_owned() });
    screen.ready(&[("dev", 0), ("ops", 0)]);
    assert_eq!(screen.input(), "for dev");
    screen.alt('2');
    assert_eq!(screen.input(), "for ops");
    let (kept, touched) = screen.model.kept();
    assert_eq!(kept.drafts["dev"], "for dev");
    assert_eq!(kept.drafts["ops"], "for ops");
    assert!(touched.drafts.contains("dev") && touched.drafts.contains("ops"));
    let kept = kept.clone();
    let again = Screen::with(options(), kept);
    assert_eq!(again.input(), "for dev", "the next time");
}

#[test]
fn sent_text_is_shown_once_before_and_after_its_ack() {
    let mut screen = Screen::new();
    screen.enter("hello");
    assert_eq!(screen.input(), "");
    let (token, to) = screen.said_now();
    assert_eq!(to, Target::Room(room("dev")));
    assert_eq!(screen.room("dev").pending.len(), 1);
    assert!(screen.rows().iter().any(|row| row.contains("hello")));
    screen.said("dev", 1, "ann", "hello");
    screen.model.sent(screen.now, token, 1);
    assert!(screen.room("dev").pending.is_empty());
    assert_eq!(screen.rows().iter().filter(|row| row.contains("hello")).count(), 1);
    // And the other way round.
    screen.enter("again");
    let (token, _) = screen.said_now();
    screen.model.sent(screen.now, token, 2);
    screen.said("dev", 2, "ann", "again");
    assert!(screen.room("dev").pending.is_empty());
}

#[test]
fn refused_text_returns_to_the_input() {
    let mut screen = Screen::new();
    screen.enter("first");
    let (token, _) = screen.said_now();
    screen.model.unsaid(token);
    assert_eq!(screen.input(), "first");
    assert!(screen.room("dev").pending.is_empty());
    let refusal = Refusal::new(RefusalCode::Denied, "you are muted");
    screen.model.refused(screen.now, &refusal);
    assert!(screen.rows().iter().any(|row| row.contains("refused: you are muted")));
}

#[test]
fn refused_text_is_never_joined_with_typed_text() {
    let mut screen = Screen::new();
    screen.enter("hello all");
    let (token, _) = screen.said_now();
    screen.typed("/msg @root a secret");
    screen.model.unsaid(token);
    assert_eq!(screen.input(), "/msg @root a secret");
    assert!(screen.rows().iter().any(|row| row.contains("1 unsent")));
    let kept = screen.model.kept().0;
    assert_eq!(
        (&kept.drafts["dev"][..], &kept.unsaid["dev"][..]),
        ("/msg @root a secret", &["hello all".to_owned()][..])
    );
    let kept = kept.clone();
    // Afterwards it is back.
    screen.ctrl('u');
    screen.press(KeyCode::Up);
    assert_eq!(screen.input(), "hello all");
    assert!(screen.room("dev").unsaid.is_empty());
    // And so it is on the next screen.
    let mut screen = Screen::with(options(), kept);
    assert_eq!(screen.input(), "/msg @root a secret");
    screen.ctrl('u');
    screen.press(KeyCode::Up);
    assert_eq!(screen.input(), "hello all");
}

#[test]
fn saved_draft_is_no_longer_touched() {
    let mut screen = Screen::new();
    screen.typed("x");
    assert!(screen.model.kept().1.drafts.contains("dev"));
    screen.model.is_kept(&[]);
    // Another screen decides from here on.
    assert!(screen.model.kept().1.drafts.is_empty());
    screen.typed("y");
    assert!(screen.model.kept().1.drafts.contains("dev"));
    screen.model.is_kept(&["dev".to_owned()]);
    assert!(screen.model.kept().1.drafts.contains("dev"), "for that there was no room");
}

#[test]
fn text_typed_in_no_room_stays_and_is_saved() {
    let kept = Kept { drafts: [("web".to_owned(), "web's".to_owned())].into(), ..Kept::default() };
    let mut screen = Screen::with(options(), kept);
    screen.enter("/part");
    screen.enter("/part");
    assert!(screen.model.rooms.is_empty());
    screen.typed("half a sen");
    let kept = screen.model.kept().0.clone();
    assert_eq!(kept.drafts[""], "half a sen");
    screen.said("web", 1, "bob", "hi");
    assert_eq!(screen.input(), "half a sen");
    assert_eq!(screen.model.kept().0.drafts["web"], "half a sen");
    assert_eq!(screen.model.kept().0.unsaid["web"], ["web's"]);
    assert!(!screen.model.kept().0.drafts.contains_key(""));
    let mut screen = Screen::with(options(), kept);
    assert_eq!(screen.input(), "half a sen");
    assert_eq!(screen.model.kept().0.drafts["dev"], "half a sen");
}

#[test]
fn passing_through_a_room_does_not_mark_it_read() {
    let mut screen = Screen::new();
    screen.said("ops", 1, "bob", "one");
    screen.now = at(10);
    screen.alt('2');
    screen.now.mono_us += 300_000;
    screen.model.tick(screen.now);
    screen.alt('1');
    assert_eq!((screen.room("ops").marks.unread, screen.room("ops").first_unread()), (1, Some(1)));
    // A user who stays has read it.
    screen.alt('2');
    screen.model.tick(screen.now);
    let due = screen.model.deadline_us(screen.now).unwrap();
    assert!(due <= screen.now.mono_us + 1_000_000);
    screen.now.mono_us += 1_000_000;
    screen.model.tick(screen.now);
    assert_eq!(screen.room("ops").marks.unread, 0);
    // And a user who types there.
    screen.alt('1');
    screen.said("ops", 2, "bob", "two");
    screen.alt('2');
    screen.typed("x");
    assert_eq!(screen.room("ops").marks.unread, 0);
}

#[test]
fn messages_counted_by_the_server_are_not_counted_twice() {
    let mut screen = Screen::new();
    screen.marks(&[("web", 4, 10)]);
    assert_eq!(screen.room("web").marks.unread, 6);
    screen.effects();
    for seq in 1..=10 {
        screen.said("web", seq, "bob", "@ann hi");
    }
    assert_eq!(screen.room("web").marks.unread, 6);
    let rings = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Bell));
    assert!(!rings(&screen.effects()), "it was said before");
    screen.said("web", 11, "bob", "@ann hi");
    assert_eq!(screen.room("web").marks.unread, 7);
    assert!(rings(&screen.effects()));
}

#[test]
fn hidden_messages_are_not_requested_again_and_again() {
    let mut screen = Screen::new();
    screen.enter("/ignore @bob");
    screen.model.rooms[0].back.clear(true);
    screen.marks(&[("dev", 23_000, 23_000)]);
    let mut pages = 0;
    loop {
        screen.model.tick(screen.now);
        let page = screen.effects().into_iter().find_map(|effect| match effect {
            Effect::Ask(
                Request::History(HistoryRequest::Page { first, last, .. }),
                PendingRequest::Page(asked),
            ) => Some((first, last, asked)),
            _ => None,
        });
        let Some((first, last, asked)) = page else { break };
        pages += 1;
        assert!(pages < 30, "{first} to {last}");
        let messages = (first..=last)
            .map(|seq| message(StreamName::Room(room("dev")), seq, "bob", "hay"))
            .collect();
        screen.model.take_page(screen.now, asked, messages, last);
    }
    assert!(pages > 1);
}

#[test]
fn lost_read_mark_is_sent_again() {
    let mut screen = Screen::new();
    screen.said("dev", 1, "bob", "here");
    screen.now = at(5);
    screen.model.tick(screen.now);
    let refusal = Refusal::new(RefusalCode::Failed, "there is no connection to the server now");
    let told = |effects: Vec<Effect>| {
        let mut marks = effects.into_iter().filter_map(|effect| match effect {
            Effect::Ask(Request::MarkRead { seq, .. }, asked) => Some((seq, asked)),
            _ => None,
        });
        marks.next()
    };
    let (seq, asked) = told(screen.effects()).unwrap();
    assert_eq!(seq, 1);
    screen.model.answered(screen.now, asked, Err(refusal));
    assert_eq!(screen.model.hint, None);
    screen.marks(&[("dev", 0, 1)]);
    screen.now = at(10);
    screen.model.tick(screen.now);
    assert_eq!(told(screen.effects()).unwrap().0, 1);
}

#[test]
fn refused_command_returns_to_the_input() {
    let mut screen = Screen::new();
    screen.enter("/topic 새 주제");
    let asked = screen.effects().into_iter().find_map(|effect| match effect {
        Effect::Ask(Request::Topic { .. }, asked) => Some(asked),
        _ => None,
    });
    let refusal = Refusal::new(RefusalCode::Denied, "you do not lead dev");
    screen.model.answered(screen.now, asked.clone().unwrap(), Err(refusal.clone()));
    assert_eq!((screen.input(), screen.error()), ("/topic 새 주제", "you do not lead dev"));
    // Not over another text, and not in another room.
    screen.ctrl('u');
    screen.alt('2');
    screen.model.answered(screen.now, asked.unwrap(), Err(refusal));
    assert_eq!(screen.input(), "");
}

#[test]
fn read_only_screen_sends_nothing_to_others() {
    let mut screen = Screen::with(Options { read_only: true, ..options() }, Kept::default());
    for line in [
        "hello",
        "/announce hi",
        "/topic x",
        "/kick @bob",
        "/ban @bob",
        "/me waves",
        "/msg @bob hi",
    ] {
        screen.effects();
        screen.enter(line);
        assert!(screen.error().contains("read-only"), "{line}");
        let tells = |effect: &Effect| match effect {
            Effect::Ask(_, asked) => *asked != PendingRequest::Sign,
            effect => matches!(effect, Effect::Say { .. }),
        };
        assert!(!screen.effects().iter().any(tells), "{line}");
        screen.ctrl('u');
    }
}

#[test]
fn own_name_can_not_be_ignored() {
    let mut screen = Screen::new();
    screen.enter("/ignore @ann");
    assert!(screen.error().contains("your own name"));
    screen.ctrl('u');
    screen.enter("/ignore @ann/bot");
    screen.said("dev", 1, "ann/bot", "beep");
    screen.said("dev", 2, "ann", "myself");
    let rows = screen.rows();
    assert!(
        rows.iter().any(|row| row.contains("myself"))
            && !rows.iter().any(|row| row.contains("beep"))
    );
}

#[test]
fn too_long_paste_is_refused_and_last_line_end_dropped() {
    let mut screen = Screen::new();
    screen.model.paste(screen.now, "one\r\ntwo\r\n");
    assert_eq!(screen.input(), "one\ntwo");
    screen.model.paste(screen.now, &"x".repeat(1_000_000));
    assert_eq!(screen.input(), "one\ntwo");
    assert!(screen.error().contains("1000000 bytes"));
}

#[test]
fn status_message_disappears_unless_it_is_an_error() {
    let mut screen = Screen::new();
    screen.model.event(screen.now, Event::End { reason: "it ended".to_owned() });
    assert!(screen.model.hint.is_some());
    screen.ready(&[("dev", 0), ("ops", 0)]);
    assert_eq!(screen.model.hint, None, "the hint is out of date");
    screen.press(KeyCode::F(8));
    screen.model.tick(screen.now);
    let due = screen.model.deadline_us(screen.now).unwrap();
    assert!(due > screen.now.mono_us, "nothing turns without end");
    screen.now.mono_us += 15_000_001;
    screen.model.tick(screen.now);
    assert_eq!(screen.model.hint, None);
}

#[test]
fn one_esc_ends_a_reply() {
    let mut screen = Screen::new();
    screen.said("dev", 1, "bob", "hello");
    screen.key(KeyCode::Up, KeyModifiers::CONTROL);
    screen.alt('q');
    screen.typed("yes");
    assert!(screen.room("dev").quote.is_some());
    screen.press(KeyCode::Esc);
    assert!(screen.room("dev").quote.is_none());
    assert_eq!(screen.input(), "yes");
}

#[test]
fn panel_key_pressed_twice_returns_to_automatic() {
    let mut screen = Screen::new();
    screen.resize(100, 30);
    for key in [5, 6] {
        screen.press(KeyCode::F(key));
        screen.press(KeyCode::F(key));
    }
    assert_eq!(
        (screen.model.options.rooms_panel, screen.model.options.members_panel),
        (Panel::Auto, Panel::Auto)
    );
}

#[test]
fn unknown_command_stays_in_the_input_and_two_slashes_send() {
    let mut screen = Screen::new();
    screen.enter("/jion ops");
    assert!(screen.error().contains("/join"), "{}", screen.error());
    assert_eq!(screen.input(), "/jion ops");
    assert!(says(&screen.effects()).is_empty());
    screen.ctrl('u');
    screen.enter("//jion is no command");
    assert_eq!(says(&screen.effects()), [("/jion is no command".to_owned(), None)]);
}

#[test]
fn lines_are_one_message_and_a_long_paste_asks_first() {
    let mut screen = Screen::new();
    screen.typed("one");
    screen.key(KeyCode::Enter, KeyModifiers::ALT);
    screen.typed("two");
    screen.ctrl('j');
    screen.model.paste(screen.now, "three\r\nfour");
    screen.press(KeyCode::Enter);
    assert_eq!(says(&screen.effects()), [("one\ntwo\nthree\nfour".to_owned(), None)]);
    let long: String = (0..21).map(|n| format!("line {n}\n")).collect();
    screen.model.paste(screen.now, &long);
    assert!(matches!(screen.model.mode, Mode::Paste { .. }));
    assert!(screen.rows().iter().any(|row| row.contains("line 0")), "{:?}", screen.rows());
    screen.press(KeyCode::Esc);
    assert_eq!(screen.input(), "");
    screen.model.paste(screen.now, &long);
    screen.press(KeyCode::Enter);
    assert!(screen.input().starts_with("line 0\nline 1\n"));
    assert!(says(&screen.effects()).is_empty(), "it is not sent by that");
}

#[test]
fn text_that_can_not_be_sent_stays_in_the_input() {
    let mut screen = Screen::new();
    screen.model.options.paste_lines = 10;
    screen.model.paste(screen.now, &"x".repeat(40_000));
    screen.press(KeyCode::Enter);
    assert!(screen.error().contains("40000"), "{}", screen.error());
    assert_eq!(screen.input().len(), 40_000);
    screen.ctrl('u');
    screen.model.options.read_only = true;
    screen.enter("hello");
    assert!(screen.error().contains("read-only"));
    assert_eq!(screen.input(), "hello");
}

// ---- reading -------------------------------------------------------------------------------------

#[test]
fn message_elsewhere_is_unread_and_a_visible_one_read() {
    let mut screen = Screen::new();
    screen.said("dev", 1, "bob", "here");
    screen.said("ops", 1, "bob", "there");
    screen.said("ops", 2, "bob", "@ann there");
    screen.said("ops", 3, "ann", "by myself");
    assert_eq!(screen.room("dev").marks.unread, 0);
    assert_eq!((screen.room("ops").marks.unread, screen.room("ops").marks.mentions), (2, 1));
    screen.alt('a');
    assert_eq!(screen.shown(), "ops");
    assert_eq!(screen.room("ops").marks.unread, 0);
    assert_eq!(screen.room("ops").first_unread(), Some(1), "the line stays in sight");
    screen.now = at(5);
    screen.model.tick(screen.now);
    let effects = screen.effects();
    let marks: Vec<_> = asks(&effects)
        .into_iter()
        .filter_map(|request| match request {
            Request::MarkRead { target, seq } => Some((target.to_string(), *seq)),
            _ => None,
        })
        .collect();
    assert!(marks.contains(&("dev".to_owned(), 1)), "{marks:?}");
    assert!(marks.contains(&("ops".to_owned(), 3)), "{marks:?}");
}

#[test]
fn browsing_and_an_unseen_terminal_mark_nothing_as_read() {
    let mut screen = Screen::new();
    for seq in 1..=100 {
        screen.said("dev", seq, "bob", "text");
    }
    assert_eq!(screen.room("dev").marks.read, 100);
    screen.press(KeyCode::PageUp);
    screen.said("dev", 101, "bob", "below");
    assert_eq!((screen.room("dev").marks.read, screen.room("dev").marks.unread), (100, 1));
    assert!(screen.rows().iter().any(|row| row.contains("1 new below")), "{:?}", screen.rows());
    screen.press(KeyCode::PageDown);
    screen.press(KeyCode::PageDown);
    assert_eq!(screen.room("dev").marks.read, 101, "at the end it is");
    screen.model.focus(screen.now, false);
    screen.said("dev", 102, "bob", "nobody sees it");
    assert_eq!((screen.room("dev").marks.read, screen.room("dev").marks.unread), (101, 1));
    assert_eq!(screen.room("dev").first_unread(), Some(102));
    screen.model.focus(screen.now, true);
    assert_eq!(screen.room("dev").marks.unread, 0);
    assert_eq!(screen.room("dev").first_unread(), Some(102), "where it began is shown");
    screen.press(KeyCode::Esc);
    assert_eq!(screen.room("dev").first_unread(), None);
}

#[test]
fn key_marks_unseen_messages_as_read() {
    let mut screen = Screen::new();
    for seq in 1..=3 {
        screen.said("ops", seq, "bob", "text");
    }
    screen.alt('R');
    assert_eq!(screen.room("ops").marks.unread, 0);
    assert_eq!(screen.shown(), "dev");
}

#[test]
fn jump_to_unread_works_beyond_the_lines_in_memory() {
    let mut screen = Screen::new();
    screen.model.focus(screen.now, false);
    for seq in 1..=100 {
        screen.said("dev", seq, "bob", &format!("text {seq}"));
    }
    screen.alt('u');
    let rows = screen.rows();
    assert!(rows.iter().any(|row| row.contains("unread")), "{rows:?}");
    assert!(rows.iter().any(|row| row.ends_with("text 1")), "{rows:?}");
    // Messages further back than memory reaches are requested.
    let mut screen = Screen::new();
    screen.model.rooms[0].back.clear(true);
    screen.model.rooms[0].marks.marker = 4_000;
    screen.model.rooms[0].marks.read = 4_000;
    screen.model.focus(screen.now, false);
    for seq in 9_990..=10_000 {
        screen.said("dev", seq, "bob", "text");
    }
    screen.effects();
    screen.alt('u');
    let effects = screen.effects();
    let asked: Vec<_> = asks(&effects);
    assert!(
        asked
            .iter()
            .any(|r| matches!(r, Request::History(HistoryRequest::Page { first, last, .. })
            if (*first..=*last).contains(&4_001))),
        "{asked:?}"
    );
}

// ---- scrolling -----------------------------------------------------------------------------------

#[test]
fn visible_lines_stay_while_new_messages_arrive() {
    let mut screen = Screen::new();
    screen.model.options.rooms_panel = Panel::Off;
    for seq in 1..=200 {
        screen.said("dev", seq, "bob", &format!("text {seq} of some length"));
    }
    screen.press(KeyCode::PageUp);
    screen.press(KeyCode::PageUp);
    let texts = |screen: &Screen| -> Vec<String> {
        screen.rows().into_iter().filter(|row| row.contains("of some length")).collect()
    };
    let before = texts(&screen);
    assert!(!before.is_empty());
    for seq in 201..=300 {
        screen.said("dev", seq, "bob", &format!("text {seq} of some length"));
    }
    assert_eq!(texts(&screen), before);
    assert!(screen.rows().iter().any(|row| row.contains("100 new below")));
    screen.key(KeyCode::End, KeyModifiers::CONTROL);
    assert!(texts(&screen).last().unwrap().contains("text 300"));
    assert_eq!(screen.room("dev").place, Place::End);
}

#[test]
fn older_history_loads_at_the_top_without_a_visible_change() {
    let mut screen = Screen::new();
    screen.model.rooms[0].back.clear(true);
    for seq in 1_000..=1_100 {
        screen.said("dev", seq, "bob", &format!("text {seq}"));
    }
    screen.effects();
    screen.press(KeyCode::PageUp);
    screen.press(KeyCode::PageUp);
    screen.press(KeyCode::PageUp);
    screen.press(KeyCode::PageUp);
    let before = screen.rows();
    let mut effects = screen.effects();
    let page = effects
        .iter()
        .position(|e| matches!(e, Effect::Ask(Request::History(HistoryRequest::Page { .. }), _)));
    let Effect::Ask(
        Request::History(HistoryRequest::Page { first, last, .. }),
        PendingRequest::Page(asked),
    ) = effects.remove(page.expect("older ones are asked for"))
    else {
        panic!("a page");
    };
    assert_eq!((first, last), (800, 999));
    let older = |from: u64, to: u64| {
        (from..=to)
            .map(|seq| message(StreamName::Room(room("dev")), seq, "bob", &format!("text {seq}")))
            .collect::<Vec<_>>()
    };
    screen.model.take_page(screen.now, asked, older(800, 899), 899);
    let mut effects = screen.effects();
    let Some(Effect::Ask(
        Request::History(HistoryRequest::Page { first: 900, last: 999, .. }),
        PendingRequest::Page(asked),
    )) = effects.pop()
    else {
        panic!("the rest of the page");
    };
    screen.model.take_page(screen.now, asked, older(900, 999), 999);
    assert_eq!(screen.rows(), before);
    assert_eq!(screen.room("dev").back.first_seq(), Some(800));
}

#[test]
fn gap_is_shown_as_a_line() {
    let mut screen = Screen::new();
    let dev = StreamName::Room(room("dev"));
    screen.said("dev", 1, "bob", "before");
    let range = Some((2, 4));
    screen
        .model
        .event(screen.now, Event::Gap { stream: dev.clone(), range, reason: GapReason::Retention });
    screen.said("dev", 5, "bob", "after");
    assert!(screen.rows().iter().any(|row| row.contains("3 messages of dev (2 to 4) are lost")));
    screen.model.event(screen.now, Event::Gap { stream: dev, range: None, reason: GapReason::Run });
    screen.said("dev", 1, "bob", "another run");
    assert_eq!(screen.room("dev").marks.head, 1);
    assert!(screen.rows().iter().any(|row| row.contains("dev starts over: the server restarted")));
}

#[test]
fn flood_loses_nothing_and_memory_is_bounded() {
    let mut screen = Screen::new();
    for seq in 1..=5_000 {
        screen.said("dev", seq, "bob", "a line");
    }
    let dev = screen.room("dev");
    let seqs: Vec<_> = dev.back.iter().filter_map(Line::said).map(|said| said.seq).collect();
    assert_eq!(seqs, (4_001..=5_000).collect::<Vec<_>>());
}

// ---- rooms ---------------------------------------------------------------------------------------

#[test]
fn rooms_keep_numbers_and_mentions_come_first() {
    let mut screen = Screen::new();
    screen.enter("/join web");
    screen.marks(&[("web", 0, 0)]);
    assert_eq!(screen.shown(), "web");
    screen.said("ops", 1, "bob", "hi");
    screen.alt('1');
    screen.said("web", 1, "bob", "@ann hi");
    let order: Vec<_> =
        screen.model.order().iter().map(|at| screen.model.rooms[*at].title()).collect();
    assert_eq!(order, ["web", "dev", "ops"]);
    screen.alt('3');
    assert_eq!(screen.shown(), "web", "by its number, wherever it stands");
    screen.enter("/part ops");
    screen.enter("/join new");
    assert_eq!(screen.room("new").number, 2, "the free one");
}

#[test]
fn the_next_unread_is_a_mention_if_there_is_one() {
    let mut screen = Screen::new();
    screen.enter("/join web");
    screen.marks(&[("web", 0, 0)]);
    screen.alt('1');
    screen.said("ops", 1, "bob", "hi");
    screen.said("web", 1, "bob", "@ann hi");
    screen.alt('a');
    assert_eq!(screen.shown(), "web");
    screen.alt('a');
    assert_eq!(screen.shown(), "ops");
    screen.alt('a');
    assert_eq!(screen.shown(), "ops", "nothing else");
}

#[test]
fn switcher_finds_by_letters_and_joins_a_closed_room() {
    let mut screen = Screen::new();
    screen.alt('g');
    screen.typed("op");
    assert!(screen.rows().iter().any(|row| row.contains("ops")));
    screen.press(KeyCode::Enter);
    assert_eq!(screen.shown(), "ops");
    screen.press(KeyCode::F(2));
    screen.typed("brandnew");
    screen.press(KeyCode::Enter);
    assert_eq!(screen.shown(), "ops", "no room comes into being by a slip");
    screen.press(KeyCode::Esc);
    let rooms = Reply::Rooms { rooms: vec![info("known")], more: false };
    screen.model.answered(
        screen.now,
        PendingRequest::Lookup(CommandPurpose::Rooms(Vec::new())),
        Ok(rooms),
    );
    screen.effects();
    screen.alt('g');
    screen.typed("know");
    screen.press(KeyCode::Enter);
    assert_eq!(screen.shown(), "known");
    let effects = screen.effects();
    assert!(effects.iter().any(|e| matches!(e, Effect::Follow(_))), "{effects:?}");
}

#[test]
fn room_created_meanwhile_is_known_to_the_next_tab() {
    let mut screen = Screen::new();
    let asked = |screen: &mut Screen| {
        let effects = screen.effects();
        asks(&effects).iter().filter(|ask| matches!(ask, Request::Rooms { .. })).count()
    };
    screen.typed("/join se");
    screen.press(KeyCode::Tab);
    assert_eq!(screen.input(), "/join se");
    assert_eq!(asked(&mut screen), 1);
    let rooms = Reply::Rooms { rooms: vec![info("secret")], more: false };
    screen.model.answered(
        screen.now,
        PendingRequest::Lookup(CommandPurpose::Rooms(Vec::new())),
        Ok(rooms),
    );
    screen.press(KeyCode::Tab);
    assert_eq!(screen.input(), "/join secret ");
    assert_eq!(asked(&mut screen), 0, "it was asked a moment ago");
    screen.now = at(6);
    screen.ctrl('u');
    screen.typed("/join o");
    screen.press(KeyCode::Tab);
    assert_eq!(asked(&mut screen), 1);
    screen.now = at(20);
    screen.ctrl('u');
    screen.typed("/msg x");
    screen.press(KeyCode::Tab);
    assert_eq!(asked(&mut screen), 0, "a member is no room");
}

#[test]
fn announcement_with_ack_is_completed_behind_ack_command() {
    let mut screen = Screen::new();
    screen.model.event(screen.now, notice(1, Level::Critical, true));
    screen.model.event(screen.now, notice(2, Level::Notice, false));
    screen.model.event(screen.now, notice(3, Level::Notice, true));
    screen.typed("/ack ");
    screen.press(KeyCode::Tab);
    assert_eq!(screen.input(), "/ack !1 ", "the heaviest first, as the bar has it");
    screen.press(KeyCode::Tab);
    assert_eq!(screen.input(), "/ack !3 ");
    screen.press(KeyCode::Tab);
    assert_eq!(screen.input(), "/ack !1 ");
}

#[test]
fn leaving_a_room_keeps_its_draft() {
    let mut screen = Screen::new();
    screen.typed("half a sen");
    screen.alt('2');
    screen.enter("/part dev");
    assert_eq!(screen.model.rooms.len(), 1);
    screen.enter("/join dev");
    assert_eq!(screen.input(), "half a sen");
}

#[test]
fn followed_rooms_open_automatically() {
    let mut screen = Screen::new();
    screen.marks(&[("web", 3, 9)]);
    let effects = screen.effects();
    assert!(effects.iter().any(|e| matches!(e, Effect::Follow(_))), "{effects:?}");
    assert_eq!((screen.room("web").marks.unread, screen.shown().as_str()), (6, "dev"));
}

#[test]
fn room_closes_with_a_note_after_removal() {
    let mut screen = Screen::new();
    let by = UserName::new("root").unwrap();
    screen.model.event(screen.now, Event::Removed { room: room("ops"), by, banned: true });
    assert_eq!((screen.shown().as_str(), screen.model.rooms.len()), ("dev", 1));
    assert!(screen.rows().iter().any(|row| row.contains("root banned you from ops")));
}

#[test]
fn removed_user_keeps_the_draft_and_the_room_while_typing() {
    let mut screen = Screen::new();
    screen.typed("the secret pl");
    let by = UserName::new("root").unwrap();
    screen.model.event(screen.now, Event::Removed { room: room("dev"), by, banned: false });
    screen.typed("an");
    screen.effects();
    screen.press(KeyCode::Enter);
    assert_eq!((screen.shown().as_str(), screen.input()), ("dev", "the secret plan"));
    assert!(screen.error().contains("not in dev"));
    assert!(screen.rows()[0].contains("not a member"));
    let effects = screen.effects();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Say { .. })), "{effects:?}");
    // It closes when the user goes elsewhere, and its draft is saved.
    screen.alt('2');
    assert_eq!((screen.shown().as_str(), screen.model.rooms.len()), ("ops", 1));
    assert_eq!(screen.model.kept().0.drafts["dev"], "the secret plan");
    // It opens again by a request.
    screen.effects();
    screen.enter("/join dev");
    assert_eq!(screen.input(), "the secret plan");
    assert!(screen.effects().iter().any(|effect| matches!(effect, Effect::Follow(_))));
}

// ---- conversations -------------------------------------------------------------------------------

fn opened() -> Reply {
    let channel: Option<Channel> = None;
    Reply::Opened(StreamInfo {
        tag: StreamId(9),
        name: StreamLabel::Direct(UserName::new("bob").unwrap()),
        head: 0,
        next: 1,
        new_run: false,
        stored: true,
        members: 0,
        topic: String::new(),
        channel,
        room: None,
    })
}

#[test]
fn direct_message_opens_its_conversation_and_is_shown_there() {
    let mut screen = Screen::new();
    screen.typed("draft of dev");
    screen.ctrl('u');
    screen.enter("/msg @bob psst");
    assert_eq!(screen.shown(), "@bob");
    let bob = UserName::new("bob").unwrap();
    screen.model.answered(screen.now, PendingRequest::Open(bob.clone()), Ok(opened()));
    assert_eq!(says(&screen.effects()), [("psst".to_owned(), None)]);
    screen.said("dev", 1, "bob", "elsewhere");
    let direct = message(StreamName::Direct(bob), 1, "bob", "what?");
    screen.alt('1');
    screen.effects();
    screen.model.focus(screen.now, false);
    screen.model.event(screen.now, Event::Message(direct));
    assert_eq!(screen.room("@bob").important(), 1, "all that is said to one is a mention");
    assert!(screen.effects().iter().any(|e| matches!(e, Effect::Bell)));
}

#[test]
fn the_first_word_of_a_conversation_is_heard() {
    let mut screen = Screen::new();
    screen.model.focus(screen.now, false);
    screen.effects();
    let eve = StreamName::Direct(UserName::new("eve").unwrap());
    screen.model.event(screen.now, Event::Message(message(eve, 1, "eve", "hello")));
    assert_eq!((screen.room("@eve").marks.unread, screen.room("@eve").important()), (1, 1));
    assert!(screen.effects().iter().any(|e| matches!(e, Effect::Bell)));
}

#[test]
fn message_after_the_count_of_the_server_is_unread() {
    let mut screen = Screen::new();
    for seq in 1..=3 {
        screen.said("ops", seq, "bob", "text");
    }
    screen.said("ops", 4, "bob", "@ann text");
    // The reply was sent before the last two messages.
    screen.marks(&[("ops", 0, 2)]);
    assert_eq!((screen.room("ops").marks.unread, screen.room("ops").marks.mentions), (4, 1));
    screen.marks(&[("ops", 1, 4)]);
    assert_eq!(screen.room("ops").marks.unread, 3);
}

#[test]
fn own_new_topic_is_shown() {
    let mut screen = Screen::new();
    screen.enter("/topic what is on fire");
    let asked = screen.effects().into_iter().find_map(|effect| match effect {
        Effect::Ask(Request::Topic { .. }, asked) => Some(asked),
        _ => None,
    });
    // Others learn from an event; the member who set it gets a confirmation.
    screen.model.answered(screen.now, asked.expect("it was asked for"), Ok(Reply::Done));
    assert_eq!(screen.room("dev").properties.topic, "what is on fire");
}

#[test]
fn direct_message_without_a_server_waits_for_one() {
    let mut screen = Screen::new();
    screen.enter("/msg @bob");
    screen.model.event(screen.now, Event::End { reason: "gone".to_owned() });
    screen.effects();
    screen.enter("are you there?");
    assert!(says(&screen.effects()).is_empty());
    assert_eq!(screen.input(), "");
    assert!(screen.rows().iter().any(|row| row.contains("are you there?")));
    screen.ready(&[("dev", 0), ("ops", 0)]);
    let effects = screen.effects();
    assert!(asks(&effects).iter().any(|r| matches!(r, Request::Open { .. })), "{effects:?}");
    let bob = UserName::new("bob").unwrap();
    screen.model.answered(screen.now, PendingRequest::Open(bob), Ok(opened()));
    assert_eq!(says(&screen.effects()), [("are you there?".to_owned(), None)]);
}

#[test]
fn message_to_an_unknown_user_returns_to_the_input() {
    let mut screen = Screen::new();
    screen.enter("/msg @nobdy hello");
    let refusal = Refusal::new(RefusalCode::Absent, "there is no user nobdy");
    let user = UserName::new("nobdy").unwrap();
    screen.model.answered(screen.now, PendingRequest::Open(user), Err(refusal));
    // The name can be corrected.
    assert_eq!((screen.shown().as_str(), screen.input()), ("dev", "/msg @nobdy hello"));
    assert_eq!(screen.error(), "there is no user nobdy");
    assert_eq!(screen.model.rooms.len(), 2);
}

// ---- alerts --------------------------------------------------------------------------------------

#[test]
fn bell_rings_as_set_for_each_room() {
    let rings =
        |screen: &mut Screen| screen.effects().iter().filter(|e| matches!(e, Effect::Bell)).count();
    let mut screen = Screen::new();
    screen.said("ops", 1, "bob", "hi");
    assert_eq!(rings(&mut screen), 0);
    screen.said("ops", 2, "bob", "@ann hi");
    assert_eq!(rings(&mut screen), 1);
    screen.said("ops", 3, "bob", "@ann hi");
    assert_eq!(rings(&mut screen), 0, "once a second");
    screen.now = at(5);
    screen.alt('2');
    screen.enter("/bell all");
    screen.alt('1');
    screen.said("ops", 4, "bob", "hi");
    assert_eq!(rings(&mut screen), 1);
    screen.now = at(10);
    screen.alt('2');
    screen.enter("/bell off");
    screen.alt('1');
    screen.said("ops", 5, "bob", "@ann hi");
    let effects = screen.effects();
    assert!(!effects.iter().any(|e| matches!(e, Effect::Bell)));
    assert!(effects.iter().any(|e| matches!(e, Effect::Notify(_))), "independent of the bell");
    assert_eq!(screen.model.kept().0.bell["ops"], "off");
    screen.now = at(20);
    screen.said("dev", 1, "bob", "@ann you look at it");
    assert_eq!(rings(&mut screen), 0, "what one looks at does not ring");
}

#[test]
fn ignored_user_is_hidden_and_rings_no_bell() {
    let mut screen = Screen::new();
    screen.enter("/ignore @bob");
    screen.said("ops", 1, "bob", "@ann hi");
    assert_eq!(screen.room("ops").marks.unread, 0);
    assert!(screen.room("ops").back.is_empty());
    screen.enter("/unignore @bob");
    screen.said("ops", 2, "bob", "@ann hi");
    assert_eq!(screen.room("ops").marks.unread, 1);
}

// ---- announcements -------------------------------------------------------------------------------

#[test]
fn announcement_expires_and_a_critical_one_waits_for_an_ack() {
    let mut screen = Screen::new();
    screen.model.event(screen.now, notice(1, Level::Info, false));
    screen.model.event(screen.now, notice(2, Level::Critical, false));
    let bar = |screen: &Screen| screen.model.notices.shown().to_vec();
    assert_eq!(bar(&screen).iter().map(|n| n.number).collect::<Vec<_>>(), [2, 1]);
    assert!(screen.rows().iter().any(|row| row.contains("CRITICAL") && row.contains("disk")));
    screen.now = at(30);
    screen.model.tick(screen.now);
    assert_eq!(bar(&screen).len(), 1);
    screen.now = at(100_000);
    screen.model.tick(screen.now);
    assert_eq!(bar(&screen).len(), 1, "it stays");
    screen.effects();
    screen.press(KeyCode::F(8));
    // Other screens of this name are notified.
    let effects = screen.effects();
    assert!(asks(&effects).iter().any(|r| matches!(r, Request::AckNotice { .. })), "{effects:?}");
    screen.model.answered(
        screen.now,
        PendingRequest::Command(None, CommandPurpose::Acknowledge(2)),
        Ok(Reply::Done),
    );
    assert!(bar(&screen)[0].acked);
    screen.press(KeyCode::F(8));
    assert!(bar(&screen).is_empty());
}

#[test]
fn announcement_unknown_to_the_server_leaves_the_bar() {
    let mut screen = Screen::new();
    screen.model.event(screen.now, notice(1, Level::Warning, true));
    screen.model.event(screen.now, notice(2, Level::Warning, true));
    let refusal = Refusal::new(RefusalCode::Absent, "there is no announcement !2");
    screen.model.answered(
        screen.now,
        PendingRequest::Command(None, CommandPurpose::Acknowledge(2)),
        Err(refusal.clone()),
    );
    assert_eq!(screen.model.notices.shown().iter().map(|n| n.number).collect::<Vec<_>>(), [1]);
    screen.model.answered(screen.now, PendingRequest::Notice(1), Err(refusal));
    assert!(screen.model.notices.shown().is_empty());
}

#[test]
fn announcement_with_ack_stays_until_the_server_has_it() {
    let mut screen = Screen::new();
    screen.model.event(screen.now, notice(3, Level::Info, true));
    let effects = screen.effects();
    assert!(asks(&effects).iter().any(|r| matches!(r, Request::Notice { .. })), "{effects:?}");
    screen.now = at(100);
    screen.model.tick(screen.now);
    assert_eq!(screen.model.notices.shown().len(), 1);
    screen.press(KeyCode::F(8));
    let effects = screen.effects();
    assert!(asks(&effects).iter().any(|r| matches!(r, Request::AckNotice { .. })), "{effects:?}");
    assert!(!screen.model.notices.shown()[0].acked);
    screen.model.answered(
        screen.now,
        PendingRequest::Command(None, CommandPurpose::Acknowledge(3)),
        Ok(Reply::Done),
    );
    assert!(screen.model.notices.shown()[0].acked);
    screen.now = at(200);
    screen.model.tick(screen.now);
    assert!(screen.model.notices.shown().is_empty());
}

// ---- replies, search, the rest -------------------------------------------------------------------

#[test]
fn selected_message_can_be_replied_to_copied_and_opened() {
    let mut screen = Screen::new();
    screen.said("dev", 1, "bob", "first");
    screen.said("dev", 2, "cid", "second");
    screen.key(KeyCode::Up, KeyModifiers::CONTROL);
    screen.key(KeyCode::Up, KeyModifiers::CONTROL);
    screen.alt('y');
    screen.alt('p');
    screen.alt('q');
    let effects = screen.effects();
    assert!(effects.iter().any(|e| matches!(e, Effect::Copy(text) if text == "first")));
    assert!(effects.iter().any(|e| matches!(e, Effect::Page(text) if text.contains("first"))));
    assert!(screen.rows().iter().any(|row| row.contains("reply to bob")), "{:?}", screen.rows());
    screen.enter("so be it");
    assert_eq!(says(&screen.effects()), [("so be it".to_owned(), Some(1))]);
    assert!(screen.room("dev").quote.is_none());
}

#[test]
fn a_search_goes_from_hit_to_hit_and_asks_the_server_for_more() {
    let mut screen = Screen::new();
    for seq in 1..=100 {
        let text = if seq % 10 == 0 { format!("회의 {seq}") } else { format!("text {seq}") };
        screen.said("dev", seq, "bob", &text);
    }
    screen.effects();
    screen.ctrl('r');
    screen.typed("회의");
    let current = |screen: &Screen| match &screen.model.mode {
        Mode::Search(search) => search.current(),
        _ => None,
    };
    assert_eq!(current(&screen), Some(100));
    screen.ctrl('r');
    screen.press(KeyCode::Up);
    assert_eq!(current(&screen), Some(80));
    assert!(screen.rows().iter().any(|row| row.contains("회의 80")));
    screen.ctrl('s');
    assert_eq!(current(&screen), Some(90));
    screen.now = at(1);
    screen.model.tick(screen.now);
    let effects = screen.effects();
    assert!(
        asks(&effects).iter().any(|r| matches!(r, Request::History(HistoryRequest::Search(_)))),
        "{effects:?}"
    );
    screen.press(KeyCode::Enter);
    assert!(matches!(screen.model.mode, Mode::Chat));
    let there = screen.room("dev").place;
    assert_ne!(there, Place::End);
    screen.ctrl('r');
    screen.typed("20");
    screen.press(KeyCode::Esc);
    assert_eq!(screen.room("dev").place, there, "back to where one was");
}

#[test]
fn members_are_requested_and_listed() {
    let mut screen = Screen::new();
    screen.enter("/who ops");
    let effects = screen.effects();
    let asked = effects.into_iter().find_map(|effect| match effect {
        Effect::Ask(Request::Who { .. }, asked) => Some(asked),
        _ => None,
    });
    let info = WhoInfo {
        member: member("bob"),
        state: State::Away,
        status: "점심".to_owned(),
        since_wall_us: 0,
        active_mono_us: 0,
    };
    let reply = Reply::Who { who: vec![info], more: false };
    screen.model.answered(screen.now, asked.expect("the server is asked"), Ok(reply));
    assert!(screen.rows().iter().any(|row| row.contains("bob (person, away): 점심")));
}

fn pages(effects: Vec<Effect>) -> Vec<(u64, u64, PageAsked)> {
    let page = |effect| match effect {
        Effect::Ask(
            Request::History(HistoryRequest::Page { first, last, .. }),
            PendingRequest::Page(asked),
        ) => Some((first, last, asked)),
        _ => None,
    };
    effects.into_iter().filter_map(page).collect()
}

#[test]
fn history_beyond_memory_loads_without_a_gap() {
    let mut screen = Screen::new();
    screen.model.options.lines = 100;
    screen.enter("/join web");
    screen.marks(&[("web", 0, 0)]);
    screen.effects();
    for seq in 201..=220 {
        screen.said("web", seq, "bob", "text");
    }
    screen.model.tick(screen.now);
    let (first, last, asked) = pages(screen.effects()).remove(0);
    assert_eq!((first, last), (1, 200));
    let web = StreamName::Room(room("web"));
    let older = (1..=200).map(|seq| message(web.clone(), seq, "bob", "text")).collect();
    screen.model.take_page(screen.now, asked, older, 200);
    // A flood removes the old ones again.
    for seq in 221..=600 {
        screen.said("web", seq, "bob", "text");
    }
    let first = screen.room("web").back.first_seq().unwrap();
    screen.key(KeyCode::Home, KeyModifiers::CONTROL);
    let asked = pages(screen.effects());
    assert_eq!(asked.first().map(|(_, last, _)| *last), Some(first - 1));
}

#[test]
fn unreadable_history_is_reported_once() {
    let mut screen = Screen::new();
    screen.model.rooms[0].back.clear(true);
    for seq in 500..=501 {
        screen.said("dev", seq, "bob", "text");
    }
    screen.model.tick(screen.now);
    let (_, _, asked) = pages(screen.effects()).remove(0);
    let refusal = Refusal::new(RefusalCode::Failed, "the history can't be read");
    screen.model.answered(screen.now, PendingRequest::Page(asked), Err(refusal));
    assert_eq!(screen.error(), "the history can't be read");
    for _ in 0..3 {
        screen.model.tick(screen.now);
    }
    assert!(pages(screen.effects()).is_empty());
}

#[test]
fn removed_search_hit_is_not_requested_forever() {
    let mut screen = Screen::new();
    screen.model.rooms[0].back.clear(true);
    for seq in 9_990..=10_000 {
        screen.said("dev", seq, "bob", "text");
    }
    screen.effects();
    screen.model.rooms[0].history.loading = None;
    let now = screen.now;
    screen.model.go_to(now, 0, 4_000);
    let (_, _, asked) = pages(screen.effects()).remove(0);
    screen.model.take_page(screen.now, asked, Vec::new(), 0);
    let asked = pages(screen.effects());
    assert!(asked.iter().all(|(first, last, _)| !(*first..=*last).contains(&4_000)), "{asked:?}");
    assert_eq!(screen.room("dev").place, Place::End);
}

#[test]
fn selecting_an_older_message_marks_nothing_as_read() {
    let mut screen = Screen::new();
    for seq in 1..=100 {
        screen.said("dev", seq, "bob", "text");
    }
    screen.press(KeyCode::PageUp);
    screen.said("dev", 101, "bob", "below");
    screen.key(KeyCode::Up, KeyModifiers::CONTROL);
    assert_eq!((screen.room("dev").marks.read, screen.room("dev").marks.unread), (100, 1));
    assert_ne!(screen.room("dev").place, Place::End);
}

#[test]
fn draft_outlives_its_room_in_any_spelling() {
    let mut screen = Screen::new();
    screen.typed("half");
    screen.alt('2');
    let by = UserName::new("root").unwrap();
    screen.model.event(screen.now, Event::Removed { room: room("dev"), by, banned: false });
    assert_eq!(screen.model.rooms.len(), 1);
    screen.enter("/join Dev");
    assert_eq!(screen.input(), "half");
    assert_eq!(screen.model.kept().0.drafts["dev"], "half");
}

#[test]
fn refused_text_of_a_closed_room_is_saved_as_its_draft() {
    let mut screen = Screen::new();
    screen.enter("too late");
    let (token, _) = screen.said_now();
    let by = UserName::new("root").unwrap();
    screen.model.event(screen.now, Event::Removed { room: room("dev"), by, banned: true });
    screen.model.unsaid(token);
    assert_eq!(screen.model.kept().0.drafts["dev"], "too late");
}

#[test]
fn edited_text_returns_to_the_room_of_its_start() {
    let mut screen = Screen::new();
    screen.typed("secret");
    screen.alt('e');
    let dev = StreamName::Room(room("dev"));
    screen.model.close(screen.now, &dev);
    screen.model.edited(screen.now, &dev, "secret", "secret plan");
    assert_eq!((screen.shown().as_str(), screen.input()), ("ops", ""));
    let kept = screen.model.kept().0;
    assert_eq!(
        (&kept.drafts["dev"], &kept.unsaid["dev"]),
        (&"secret".into(), &vec!["secret plan".into()])
    );
}

#[test]
fn returned_text_is_sent_by_enter_and_never_executed() {
    let mut screen = Screen::new();
    screen.enter("//part of it");
    let (token, _) = screen.said_now();
    screen.model.unsaid(token);
    assert_eq!(screen.input(), "//part of it");
    screen.ctrl('u');
    screen.enter("/msg @bob/ci psst");
    let asks: Vec<_> = screen
        .effects()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Ask(Request::Open { .. }, asked) => Some(asked),
            _ => None,
        })
        .collect();
    let [asked] = asks.as_slice() else { panic!("{asks:?}") };
    // Until then it is a draft.
    assert_eq!(screen.model.kept().0.unsaid["@bob"], ["/msg @bob/ci psst"]);
    let refusal = Refusal::new(RefusalCode::Absent, "nobody");
    screen.model.answered(screen.now, asked.clone(), Err(refusal));
    assert_eq!((screen.shown().as_str(), screen.input()), ("dev", "/msg @bob/ci psst"));
}

#[test]
fn expired_announcement_does_not_return_after_a_reconnect() {
    let mut screen = Screen::new();
    screen.model.event(screen.now, notice(2, Level::Warning, false));
    screen.press(KeyCode::F(8));
    screen.model.event(screen.now, notice(2, Level::Warning, false));
    assert!(screen.model.notices.shown().is_empty());
}

#[test]
fn all_pages_of_read_marks_are_requested() {
    let mut screen = Screen::new();
    let mark = |n: u64| MarkInfo {
        name: StreamLabel::Room(room(&format!("r{n}"))),
        mark: 0,
        head: 0,
        unread: 0,
        mentions: 0,
        stored: true,
    };
    let page = Reply::Marks { marks: (0..200).map(mark).collect(), more: true };
    screen.model.answered(screen.now, PendingRequest::Marks(200), Ok(page));
    let effects = screen.effects();
    assert!(
        asks(&effects)
            .iter()
            .any(|r| matches!(r, Request::History(HistoryRequest::Unread { skip: 400, .. }))),
        "{effects:?}"
    );
}

#[test]
fn joins_and_leaves_share_one_line() {
    let mut screen = Screen::new();
    for name in ["bob", "cid", "dan"] {
        screen.model.event(screen.now, Event::Joined { room: room("dev"), member: member(name) });
    }
    let left = Event::Left { room: room("dev"), member: member("cid"), cause: EndCause::Killed };
    screen.model.event(screen.now, left);
    assert_eq!(screen.room("dev").back.len(), 1);
}

#[test]
fn question_mark_opens_help_and_a_second_one_is_typed() {
    let mut screen = Screen::new();
    screen.typed("?");
    let rows = screen.rows();
    let first = rows.iter().position(|row| row.contains("leave")).expect("how to leave");
    assert!(first <= 2, "{rows:?}");
    screen.typed("?");
    assert_eq!(screen.input(), "?");
    screen.typed(" what");
    assert_eq!(screen.input(), "? what");
}

#[test]
fn missing_server_is_reported_and_commands_stay_typed() {
    let mut screen = Screen::new();
    screen.model.event(screen.now, Event::End { reason: "server stopped".to_owned() });
    assert!(screen.rows().iter().any(|row| row.contains("server stopped")), "{:?}", screen.rows());
    screen.enter("/topic new");
    assert_eq!(screen.input(), "/topic new");
    assert!(screen.error().contains("not connected"));
    screen.ctrl('u');
    screen.enter("said all the same");
    assert_eq!(says(&screen.effects()).len(), 1, "it goes out once there is one");
}

#[test]
fn late_pages_change_nothing() {
    let mut screen = Screen::new();
    screen.model.rooms[0].back.clear(true);
    for seq in 500..=560 {
        screen.said("dev", seq, "bob", "text");
    }
    screen.effects();
    screen.model.load(0, Loading::Older);
    let asked = screen.effects().into_iter().find_map(|effect| match effect {
        Effect::Ask(_, PendingRequest::Page(asked)) => Some(asked),
        _ => None,
    });
    screen.model.event(screen.now, Event::End { reason: "gone".to_owned() });
    let before = screen.room("dev").back.len();
    let late = vec![message(StreamName::Room(room("dev")), 499, "bob", "late")];
    screen.model.take_page(screen.now, asked.expect("a page"), late, 499);
    assert_eq!(screen.room("dev").back.len(), before);
}

#[test]
fn member_with_several_terminals_is_listed_once() {
    let mut screen = Screen::new();
    let one = |name: &str, kind, state, idle_s| Present {
        name: name.to_owned(),
        sessions: 1,
        kind,
        state,
        idle_s,
        status: String::new(),
    };
    let sessions = vec![
        one("bob", Kind::Person, State::Idle, 900),
        one("bob", Kind::Script, State::Online, 0),
        one("ann", Kind::Person, State::Unresponsive, 0),
        one("bob", Kind::Person, State::Idle, 700),
        one("ann", Kind::Person, State::Online, 5),
    ];
    screen.model.take_members(&room("dev"), sessions);
    let members = &screen.model.rooms[0].members;
    let seen: Vec<_> =
        members.iter().map(|p| (p.name.as_str(), p.sessions, p.state, p.idle_s)).collect();
    assert_eq!(
        seen,
        [("ann", 2, State::Online, 5), ("bob", 2, State::Idle, 700), ("bob", 1, State::Online, 0)]
    );
    assert_eq!(screen.model.rooms[0].sessions(), 5);
}

fn removed(screen: &mut Screen, name: &str) {
    let by = UserName::new("root").unwrap();
    screen.model.event(screen.now, Event::Removed { room: room(name), by, banned: false });
}

#[test]
fn room_after_removal_closes_alone_at_any_place() {
    for (gone, other) in [("dev", "ops"), ("ops", "dev")] {
        let mut screen = Screen::new();
        screen.enter("/join web");
        screen.enter(&format!("/join {gone}"));
        removed(&mut screen, gone);
        screen.typed("half");
        screen.ctrl('a');
        screen.ctrl('k');
        screen.enter("/part");
        let names: Vec<_> = screen.model.rooms.iter().map(super::Room::title).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.contains(&other.to_owned()) && names.contains(&"web".to_owned()));
    }
    let mut screen = Screen::new();
    screen.enter("/part ops");
    removed(&mut screen, "dev");
    screen.enter("/part");
    assert!(screen.model.rooms.is_empty());
}

#[test]
fn direct_message_can_be_sent_from_a_room_after_removal() {
    for gone in ["dev", "ops"] {
        let mut screen = Screen::new();
        screen.enter(&format!("/join {gone}"));
        removed(&mut screen, gone);
        screen.effects();
        screen.enter("/msg @root a secret");
        assert_eq!((screen.shown().as_str(), screen.model.rooms.len()), ("@root", 2));
        let effects = screen.effects();
        assert!(!effects.iter().any(|e| matches!(e, Effect::Say { .. })), "{effects:?}");
        let pending = &screen.room("@root").pending;
        assert_eq!(pending.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(), ["a secret"]);
    }
}

#[test]
fn room_joined_again_starts_over() {
    let mut screen = Screen::new();
    for seq in 1..=5 {
        screen.said("dev", seq, "bob", "before");
    }
    removed(&mut screen, "dev");
    screen.enter("/join dev");
    screen.marks(&[("dev", 0, 1)]);
    screen.said("dev", 1, "bob", "another room of that name");
    let rows = screen.rows();
    assert!(rows.iter().any(|row| row.contains("another room")), "{rows:?}");
    assert!(!rows.iter().any(|row| row.contains("before")), "{rows:?}");
    // A room that is not opened again stays closed.
    screen.alt('2');
    removed(&mut screen, "dev");
    screen.marks(&[("dev", 0, 1)]);
    assert_eq!(screen.model.rooms.len(), 1);
}

#[test]
fn command_in_no_room_is_executed_once() {
    let mut screen = Screen::new();
    screen.enter("/part");
    screen.enter("/part");
    screen.typed("/join web");
    screen.model.kept();
    screen.press(KeyCode::Enter);
    assert_eq!((screen.shown().as_str(), screen.input()), ("web", ""));
    assert!(screen.room("web").unsaid.is_empty());
    assert!(!screen.model.kept().0.drafts.contains_key(""));
}

#[test]
fn message_to_an_unknown_user_returns_without_a_room() {
    let mut screen = Screen::new();
    screen.enter("/part");
    screen.enter("/part");
    screen.enter("/msg @nobdy hello");
    let refusal = Refusal::new(RefusalCode::Absent, "there is no user nobdy");
    let user = UserName::new("nobdy").unwrap();
    screen.model.answered(screen.now, PendingRequest::Open(user), Err(refusal));
    assert_eq!(screen.input(), "/msg @nobdy hello");
    assert!(screen.model.rooms.is_empty());
    assert_eq!(screen.model.kept().0.drafts[""], "/msg @nobdy hello");
}

#[test]
fn server_state_is_updated_in_conversations_as_well() {
    let mut screen = Screen::new();
    screen.enter("/msg @bob");
    screen.now = at(60);
    screen.model.tick(screen.now);
    assert!(screen.effects().iter().any(|effect| matches!(effect, Effect::Look(None))));
    screen.model.server_is(ServerState::NotResponding);
    assert!(screen.rows().iter().any(|row| row.contains("server not responding")));
    screen.ready(&[("dev", 0), ("ops", 0)]);
    assert!(!screen.model.server.is_hung);
}

#[test]
fn acks_of_other_screens_are_requested_with_the_focus() {
    let mut screen = Screen::new();
    screen.model.event(screen.now, notice(1, Level::Critical, false));
    screen.model.event(screen.now, notice(2, Level::Info, false));
    screen.effects();
    screen.model.focus(screen.now, false);
    screen.model.focus(screen.now, true);
    let effects = screen.effects();
    let asked: Vec<_> = asks(&effects)
        .into_iter()
        .filter_map(|request| match request {
            Request::Notice { id } => Some(id.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(asked, ["!1"]);
}

#[test]
fn ack_of_lost_message_does_not_block_input() {
    let mut screen = Screen::new();
    let stands = |screen: &mut Screen, seq| {
        screen.enter("mine");
        let (token, _) = screen.said_now();
        screen.model.sent(screen.now, token, seq);
        assert_eq!(screen.room("dev").pending.len(), 1);
    };
    // The message was in a gap.
    stands(&mut screen, 3);
    let (stream, reason) = (StreamName::Room(room("dev")), GapReason::Backlog);
    screen
        .model
        .event(screen.now, Event::Gap { stream: stream.clone(), range: Some((1, 4)), reason });
    assert!(screen.room("dev").pending.is_empty());
    // Other messages followed it.
    stands(&mut screen, 6);
    screen.said("dev", 7, "bob", "later");
    assert!(screen.room("dev").pending.is_empty());
    // The numbers are those of another boot.
    stands(&mut screen, 9);
    let gap = Event::Gap { stream, range: None, reason: GapReason::Run };
    screen.model.event(screen.now, gap);
    assert!(screen.room("dev").pending.is_empty());
    // A removed user gets no acknowledgment of the last text; it is shown all the same.
    stands(&mut screen, 1);
    removed(&mut screen, "dev");
    assert!(screen.rows().iter().any(|row| row.contains("mine")));
}
