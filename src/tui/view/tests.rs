//! Whole screens, and their invariants: no row is wider than the screen, the input is always there.

use proptest::prelude::*;

use super::*;
use crate::{
    chat::{
        member::{Kind, Level, Member, SessionId, State},
        message::{Message, MessageId, Notice, StreamName},
        names::{RoomName, UserName},
        text::Text,
    },
    tui::{
        cells::tests::ends,
        frame::{Frame, Row},
        kept::Kept,
        model::{Hint, Model, Options, Pending, Present, Room, Session, When},
        scrollback::{Line, Place, Said},
        width,
    },
};

/// Nine o'clock on a Sunday.
pub(in crate::tui) const NINE_US: i64 = 1_795_338_000_000_000;

/// A screen in a test: a minute passes from message to message.
pub(in crate::tui) struct Screen {
    pub(in crate::tui) model: Model,
    pub(in crate::tui) clock_us: i64,
}

pub(in crate::tui) fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(Row::text).collect()
}

impl Screen {
    pub(in crate::tui) fn new() -> Self {
        let rooms = [RoomName::new("dev").unwrap()];
        let now = When::default();
        let mut model =
            Model::new(now, Options::of_defaults("me"), "me".into(), &rooms, Kept::default());
        model.server.session = Session::Up { broadcast: "multicast" };
        Self { model, clock_us: NINE_US }
    }

    pub(in crate::tui) fn resize(&mut self, columns: u16, height: u16) {
        self.model.resize(columns, height);
    }

    pub(in crate::tui) fn open(&mut self, room: &str) {
        self.push_room(StreamName::Room(RoomName::new(room).unwrap()));
    }

    pub(in crate::tui) fn open_direct(&mut self, user: &str) {
        self.push_room(StreamName::Direct(UserName::new(user).unwrap()));
    }

    fn push_room(&mut self, name: StreamName) {
        let number = self.model.rooms.len() + 1;
        self.model.rooms.push(Room::new(name, number, 1_000));
    }

    /// Returns the next text of a long conversation.
    pub(in crate::tui) fn said(&self, name: &str, text: &str) -> Said {
        let last = self.model.rooms[0].back.last_seq().unwrap_or(0);
        Said {
            seq: last + 1,
            wall_us: self.clock_us,
            name: name.into(),
            kind: Kind::Person,
            own: name == "me",
            mention: false,
            reply_to: None,
            will: None,
            text: text.into(),
        }
    }

    pub(in crate::tui) fn put(&mut self, said: Said) {
        self.clock_us += 60_000_000;
        self.model.rooms[0].marks.head = said.seq;
        self.model.rooms[0].back.push(Line::Said(said), false);
    }

    pub(in crate::tui) fn say(&mut self, name: &str, text: &str) {
        let said = self.said(name, text);
        self.put(said);
    }

    pub(in crate::tui) fn pend(&mut self, text: &str) {
        let text = Text::new(text).unwrap();
        let pending =
            Pending { token: 1, label: None, reply_to: None, text, unsent: false, seq: None };
        self.model.rooms[0].pending.push_back(pending);
    }

    pub(in crate::tui) fn join(&mut self, names: &[&str]) {
        let present = |name: &&str| Present {
            name: (*name).into(),
            sessions: 1,
            kind: Kind::Person,
            state: State::Online,
            idle_s: 0,
            status: String::new(),
        };
        self.model.rooms[0].members = names.iter().map(present).collect();
    }

    pub(in crate::tui) fn notice(&mut self, number: u64, level: Level, ack: bool, text: &str) {
        let message = notice(number, level, ack, text);
        self.model.notices.add(0, &message);
    }

    pub(in crate::tui) fn frame(&self) -> Frame {
        frame(&self.model, 0).0
    }

    pub(in crate::tui) fn rows(&self) -> Vec<String> {
        texts(&self.frame().rows)
    }
}

fn notice(number: u64, level: Level, ack: bool, text: &str) -> Message {
    let from = Member {
        session: SessionId(1),
        uid: 0,
        pid: 1,
        kind: Kind::Person,
        user: UserName::new("root").unwrap(),
        label: None,
    };
    Message {
        id: MessageId { stream: StreamName::Announcements, run: None, seq: number },
        wall_us: NINE_US,
        from,
        reply_to: None,
        mention: false,
        notice: Some(Notice { level, room: None, expires_wall_us: None, retained: false, ack }),
        will: None,
        origin: None,
        text: text.into(),
    }
}

/// A room with all kinds of events.
fn busy() -> Screen {
    let mut screen = Screen::new();
    screen.open("회의");
    screen.open_direct("ann");
    screen.model.rooms[1].marks.unread = 12;
    screen.model.rooms[1].marks.mentions = 2;
    screen.model.rooms[0].properties.topic = "배포는 금요일에 하지 않는다".into();
    screen.join(&["ann", "bob", "철수"]);
    screen.model.rooms[0].members[1].state = State::Away;
    screen.model.rooms[0].members[1].status = "점심".into();
    screen.say("ann", "did anybody see https://example.org/a/long/path?");
    screen.say(
        "철수",
        "네, 봤습니다. 아주 긴 문장을 써서 줄이 넘어가는지 확인해 봅시다. 괜찮은가요?",
    );
    (screen.model.rooms[0].marks.marker, screen.model.rooms[0].marks.are_known) = (2, true);
    let mention = screen.said("bob", "@me look 👩‍👩‍👧");
    screen.put(Said { mention: true, reply_to: Some(1), ..mention });
    screen.say("me", "/me looks");
    screen.notice(1, Level::Warning, true, "디스크가 가득 찼습니다");
    screen
}

fn trimmed(screen: &Screen) -> Vec<String> {
    screen.rows().iter().map(|row| row.trim_end().to_owned()).collect()
}

#[test]
fn a_screen_of_80_by_24() {
    let mut screen = busy();
    screen.resize(80, 24);
    let expected = "
 dev · 배포는 금요일에 하지 않는다                                    3 members
 WARNING root: 디스크가 가득 찼습니다                                   F8: seen
2 회의 @2 10
1 dev
3 @ann









                                        ── 2026-11-22 Sun ──
                      09:00 ann did anybody see https://example.org/a/long/path?
                      09:01 철수 네, 봤습니다. 아주 긴 문장을 써서 줄이
                       넘어가는지 확인해 봅시다. 괜찮은가요?
                     ── unread ─────────────────────────────────────────────────
                       ┌ ann: did anybody see https://example.org/a/long/path?
                     ▌09:02 bob @me look 👩\u{200d}👩\u{200d}👧
                      09:03 * me looks
 me · dev · connected multicast                                            main
>";
    assert_eq!(format!("\n{}", trimmed(&screen).join("\n")), expected);
}

#[test]
fn a_screen_of_40_by_10() {
    let mut screen = busy();
    screen.resize(40, 10);
    let expected = "
 dev · 배포는 금요일에 하지 … 3 members
 WARNING root: 디스크가 가득 …  F8: seen
  써서 줄이 넘어가는지 확인해 봅시다.
  괜찮은가요?
── unread ──────────────────────────────
  ┌ ann: did anybody see https://exampl…
▌09:02 bob @me look 👩\u{200d}👩\u{200d}👧
 09:03 * me looks
 me · dev · 2:회의 @2 10           main
>";
    assert_eq!(format!("\n{}", trimmed(&screen).join("\n")), expected);
}

#[test]
fn a_screen_of_200_by_60() {
    let mut screen = busy();
    screen.resize(200, 60);
    let rows = trimmed(&screen);
    let (rooms, members) = (21, 178);
    assert_eq!(rows.len(), 60);
    assert!(rows[0].ends_with("않는다                                                                                                                                                            3 members"));
    for (row, room, member) in
        [(2, "2 회의 @2 10", "members 3"), (3, "1 dev", "ann"), (4, "3 @ann", "bob away: 점심")]
    {
        let blank = members - width::width(room);
        assert_eq!(rows[row], format!("{room}{:blank$}{member}", ""));
    }
    let blank = rooms;
    assert_eq!(
        rows[52],
        format!(
            "{:blank$} 09:00          ann did anybody see https://example.org/a/long/path?",
            ""
        )
    );
    assert_eq!(
        rows[53],
        format!(
            "{:blank$} 09:01         철수 네, 봤습니다. 아주 긴 문장을 써서 줄이 넘어가는지 확인해 봅시다. 괜찮은가요?",
            ""
        )
    );
    assert_eq!(
        rows[55],
        format!(
            "{:blank$}                     ┌ ann: did anybody see https://example.org/a/long/path?",
            ""
        )
        .replacen(' ', "", 1)
    );
    assert_eq!(rows[57], format!("{:blank$} 09:03            * me looks", ""));
}

#[test]
fn the_smallest_screens_have_the_input() {
    let mut screen = busy();
    screen.model.editor.set("x");
    screen.model.hint = Some(Hint { text: "no".into(), is_error: true });
    for columns in 0..30_u16 {
        for height in 0..12 {
            screen.resize(columns, height);
            let frame = screen.frame();
            if columns == 0 || height == 0 {
                assert_eq!(frame, Frame::default());
                continue;
            }
            assert_eq!(frame.rows.len(), usize::from(height));
            // In one column there is the letter or the cursor behind it.
            let input = frame.rows.last().unwrap().text();
            assert!(columns < 2 || input.ends_with('x'), "{columns} × {height}: {input:?}");
            assert!(frame.rows.iter().all(|row| row.width() <= columns.into()));
        }
    }
}

#[test]
fn small_screens_keep_four_rows_of_messages() {
    let mut screen = busy();
    screen.resize(40, 10);
    assert!(geometry(&screen.model).pane_rows >= 4);
}

#[test]
fn a_click_finds_the_room_that_is_shown_there() {
    let screen = busy();
    let rows = screen.rows();
    let geometry = geometry(&screen.model);
    for (nth, row) in rows.iter().enumerate() {
        let number = geometry.room_at(1, u16::try_from(nth).unwrap());
        if let Some(number) = number {
            let room = screen.model.rooms.iter().find(|room| room.number == number).unwrap();
            assert!(row.starts_with(&format!("{} {}", room.number, room.title())), "{row}");
        }
    }
    assert_eq!(geometry.room_at(1, 2), Some(2), "the one with mentions is the first");
    assert_eq!(geometry.room_at(40, 2), None);
}

proptest! {
    #[test]
    fn no_row_is_wider_than_the_screen(
        all in prop::collection::vec("[a-z가-힣 \n\t👩‍\u{301}\u{1b}\u{202e}漢가ｶﾞﾟ]{0,60}", 1..8),
        columns in 1..120_u16,
        height in 1..40_u16,
        row in 0..5_usize,
        plain: bool,
    ) {
        let mut screen = busy();
        screen.model.options.look.plain = plain;
        screen.resize(columns, height);
        for text in &all {
            let said = screen.said("이름이아주아주아주긴사람", text);
            screen.put(Said { reply_to: Some(3), ..said });
            if !text.is_empty() {
                screen.pend(text);
            }
        }
        screen.model.rooms[0].properties.topic.clone_from(&all[0]);
        screen.model.editor.set(&all[0]);
        screen.notice(9, Level::Critical, true, &all[0]);
        for place in [Place::End, Place::At { id: screen.model.rooms[0].back.id_of(1), row }] {
            screen.model.rooms[0].place = place;
            let frame = screen.frame();
            prop_assert_eq!(frame.rows.len(), usize::from(height));
            for (row, end) in frame.rows.iter().zip(ends(&frame.rows, columns + 20)) {
                prop_assert_eq!(end, Some(row.width()), "{:?}", row.text());
                prop_assert!(row.width() <= columns.into(), "{:?}", row.text());
                prop_assert!(!row.text().contains(char::is_control), "{:?}", row.text());
            }
            let (column, row) = frame.cursor.unwrap();
            prop_assert!(column < columns && row < height);
        }
    }
}
