//! Every verb of a room, tried by every kind of user: a table in which each cell is a test.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]

use super::{Action, Hub, HubConfig};
use crate::{
    chat::{
        clock::Now,
        event::Event,
        frames::{ANNOUNCEMENTS, Destination, Frame, Hello, Line, Report, Submit},
        member::{Kind, Level, Peer, SessionId},
        message::BootId,
        names::{RoomName, Target, UserName},
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        request::{Announce, Begin, Follow, HistoryRequest, Request, SessionRequest},
        rules::{Rights, Role},
        stream_id::{Channel, ChannelKey},
        text::Text,
    },
    limits::FRAME_HEADER_BYTES,
};

const NOW: Now = Now { mono_us: 1, wall_us: 1 };
const USERS: [&str; 8] = ["root", "carol", "ann", "olga", "mia", "max", "ben", "sam"];

/// Who they are: the server's own user; an operator that the configuration names; who made the
/// room; an operator of the room; a member; one that is muted; one that is banned; a stranger. All
/// but the last are invited where that is needed.
fn hub(private: bool, read_only: bool) -> Hub {
    let mut hub = Hub::new(HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]));
    hub.set_rights(1, Rights::OPERATOR);
    for (uid, user) in (0..).zip(USERS) {
        let peer = Peer { uid, user: UserName::new(user).unwrap(), pid: 100 + uid, start: 0 };
        let hello = Hello::new(None, Kind::Person, [uid as u8 + 1; 16]);
        hub.open(NOW, session(uid), peer, hello).unwrap();
    }
    let create = Request::CreateRoom { room: room(), history: true, private, read_only };
    assert_eq!(ask(&mut hub, 2, create), Ok(Reply::Done));
    let roles = [
        ("olga", Role::Operator),
        ("mia", Role::Invited),
        ("max", Role::Invited),
        ("max", Role::Muted),
        ("ben", Role::Invited),
        ("ben", Role::Banned),
    ];
    for (of, role) in roles {
        let request = Request::Role { room: room(), user: user(of), role, on: true };
        assert_eq!(ask(&mut hub, 2, request), Ok(Reply::Done));
    }
    hub
}

fn session(uid: u32) -> SessionId {
    SessionId(u64::from(uid) + 1)
}

fn room() -> RoomName {
    RoomName::new("den").unwrap()
}

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn ask(hub: &mut Hub, uid: u32, request: Request) -> Result<Reply, Refusal> {
    hub.actions();
    hub.request(NOW, session(uid), 7, request);
    hub.end_turn(NOW);
    let own = session(uid);
    let reply = hub.actions().find_map(|action| match action {
        Action::Send(to, Frame::Reply { serial: 7, result }) if to == own => Some(result),
        _ => None,
    });
    reply.expect("an answer")
}

fn say(hub: &mut Hub, uid: u32) -> Result<Reply, Refusal> {
    hub.actions();
    let lines = vec![Line { reply_to: None, text: "hi".try_into().unwrap() }];
    let to = Destination::Room(room());
    hub.submit(NOW, session(uid), &Submit { first: 1, to, to_label: None, lines });
    hub.end_turn(NOW);
    let own = session(uid);
    let done = hub.actions().find_map(|action| match action {
        Action::Send(to, Frame::Ack(_)) if to == own => Some(Ok(Reply::Done)),
        Action::Send(to, Frame::Nack { refusal, .. }) if to == own => Some(Err(refusal)),
        _ => None,
    });
    done.expect("an acknowledgement or a refusal")
}

fn join() -> Request {
    let follow = Follow::Room(room());
    Request::Join { follow, begin: Begin::Last(9), membership: true, keep: true }
}

fn role(name: &str, role: Role, on: bool) -> Request {
    Request::Role { room: room(), user: user(name), role, on }
}

/// What a verb comes to: done, denied, absent, failed.
fn cell(verb: &str, private: bool, read_only: bool, uid: u32) -> char {
    let mut hub = hub(private, read_only);
    let hub = &mut hub;
    let target = Target::Room(room());
    let result = match verb {
        "join" => ask(hub, uid, join()),
        "send" => say(hub, uid),
        "open" => ask(hub, uid, Request::Open { target }),
        "history" => ask(hub, uid, Request::History(HistoryRequest::Span { target })),
        "mark" => ask(hub, uid, Request::MarkRead { target, seq: 0 }),
        "who" => ask(hub, uid, Request::Who { room: room(), skip: 0 }),
        "listed" => match ask(hub, uid, Request::Rooms { skip: 0 }) {
            Ok(Reply::Rooms { rooms, .. }) if rooms.is_empty() => return 'A',
            other => other,
        },
        "create" => {
            let request = Request::CreateRoom {
                room: room(),
                history: true,
                private: false,
                read_only: false,
            };
            ask(hub, uid, request)
        }
        "topic" => ask(hub, uid, Request::Topic { room: room(), topic: "t".to_owned() }),
        "invite" => ask(hub, uid, role("sam", Role::Invited, true)),
        "kick" => {
            ask(hub, 4, join()).unwrap();
            let request = Request::KickFromRoom { room: room(), user: user("mia"), label: None };
            ask(hub, uid, request)
        }
        "ban" => ask(hub, uid, role("mia", Role::Banned, true)),
        "unban" => ask(hub, uid, role("ben", Role::Banned, false)),
        "mute" => ask(hub, uid, role("mia", Role::Muted, true)),
        "unmute" => ask(hub, uid, role("max", Role::Muted, false)),
        "op" => ask(hub, uid, role("mia", Role::Operator, true)),
        "deop" => ask(hub, uid, role("olga", Role::Operator, false)),
        "ban its maker" => ask(hub, uid, role("ann", Role::Banned, true)),
        "ban an operator of the server" => ask(hub, uid, role("carol", Role::Banned, true)),
        "delete" => ask(hub, uid, Request::DeleteRoom { room: room() }),
        "announce" => {
            let text = Text::new("soon").unwrap();
            let announce = Announce { room: Some(room()), ..Announce::new(Level::Info, text) };
            ask(hub, uid, Request::Announce(announce))
        }
        "drop" => ask(hub, uid, Request::Drop { session: session(4) }),
        "kick from the server" => ask(hub, uid, Request::Kick { user: user("mia"), label: None }),
        "audit" => ask(hub, uid, Request::Audit { skip: 0 }),
        _ => panic!("{verb}"),
    };
    match result {
        Ok(_) => '.',
        Err(Refusal { code: RefusalCode::Denied, text }) => {
            assert!(!text.is_empty());
            'D'
        }
        Err(Refusal { code: RefusalCode::Absent, .. }) => 'A',
        Err(Refusal { code: RefusalCode::Failed, .. }) => 'F',
        Err(other) => panic!("{verb}: {other:?}"),
    }
}

fn check(private: bool, read_only: bool, table: &str) {
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let (verb, want) = line.split_at(32);
        let want: Vec<char> = want.split_whitespace().map(|w| w.chars().next().unwrap()).collect();
        assert_eq!(want.len(), USERS.len(), "{line}");
        for ((uid, name), want) in (0..).zip(USERS).zip(want) {
            let got = cell(verb.trim(), private, read_only, uid);
            assert_eq!(got, want, "{} by {name}, private {private}", verb.trim());
        }
    }
}

/// The columns are [`USERS`].
#[test]
fn a_public_room() {
    check(
        false,
        false,
        "\
join                            .    .     .   .    .   .   D   .
send                            .    .     .   .    .   D   D   .
open                            .    .     .   .    .   D   D   .
history                         .    .     .   .    .   .   D   .
mark                            .    .     .   .    .   .   D   .
who                             .    .     .   .    .   .   D   .
listed                          .    .     .   .    .   .   .   .
create                          F    F     F   F    F   F   F   F
topic                           .    .     .   .    D   D   D   D
invite                          .    .     .   .    D   D   D   D
kick                            .    .     .   .    D   D   D   D
ban                             .    .     .   .    D   D   D   D
unban                           .    .     .   .    D   D   D   D
mute                            .    .     .   .    D   D   D   D
unmute                          .    .     .   .    D   D   D   D
op                              .    .     .   .    D   D   D   D
deop                            .    .     .   .    D   D   D   D
ban its maker                   D    D     F   D    D   D   D   D
ban an operator of the server   D    F     D   D    D   D   D   D
delete                          .    .     .   D    D   D   D   D
announce                        .    .     .   .    .   D   D   .
drop                            .    .     D   D    F   D   D   D
kick from the server            .    .     D   D    A   D   D   D
audit                           .    .     D   D    D   D   D   D
",
    );
}

#[test]
fn a_private_room_which_for_strangers_does_not_exist() {
    check(
        true,
        false,
        "\
join                            D    D     .   .    .   .   A   A
send                            D    D     .   .    .   D   A   A
open                            D    D     .   .    .   D   A   A
history                         D    D     .   .    .   .   A   A
mark                            D    D     .   .    .   .   A   A
who                             D    D     .   .    .   .   A   A
listed                          .    .     .   .    .   .   A   A
create                          F    F     F   F    F   F   F   F
topic                           .    .     .   .    D   D   A   A
invite                          .    .     .   .    D   D   A   A
kick                            .    .     .   .    D   D   A   A
ban                             .    .     .   .    D   D   A   A
unban                           .    .     .   .    D   D   A   A
mute                            .    .     .   .    D   D   A   A
op                              .    .     .   .    D   D   A   A
deop                            .    .     .   .    D   D   A   A
delete                          .    .     .   D    D   D   A   A
announce                        D    D     .   .    .   D   A   A
",
    );
}

#[test]
fn a_read_only_room() {
    check(
        false,
        true,
        "\
join                            .    .     .   .    .   .   D   .
send                            .    .     .   .    D   D   D   D
open                            .    .     .   .    D   D   D   D
history                         .    .     .   .    .   .   D   .
announce                        .    .     .   .    D   D   D   D
",
    );
}

#[test]
fn a_stranger_is_told_of_a_private_room_what_he_is_told_of_none() {
    let mut hub = hub(true, false);
    let none = RoomName::new("none").unwrap();
    let words = |hub: &mut Hub, of: RoomName| {
        let target = Target::Room(of.clone());
        let requests = [
            Request::History(HistoryRequest::Span { target }),
            Request::Who { room: of.clone(), skip: 0 },
            Request::Topic { room: of.clone(), topic: String::new() },
            Request::DeleteRoom { room: of.clone() },
            Request::Unfollow { room: of.clone() },
        ];
        let told = requests.map(|request| ask(hub, 7, request).unwrap_err().text);
        told.map(|text| text.replace(of.as_str(), "R"))
    };
    assert_eq!(words(&mut hub, room()), words(&mut hub, none));
}

#[test]
fn an_operator_who_reads_a_private_room_is_seen_coming() {
    let mut hub = hub(true, false);
    ask(&mut hub, 4, join()).unwrap();
    assert!(ask(&mut hub, 1, join()).is_err());
    hub.actions();
    hub.request(NOW, session(1), 7, role("carol", Role::Invited, true));
    let told = hub.actions().any(|action| {
        let Action::Send(to, Frame::Event(event)) = action else { return false };
        let invited = Event::Invited { room: room(), user: user("carol"), by: user("carol") };
        to == session(4) && event == invited
    });
    assert!(told);
    assert!(ask(&mut hub, 1, join()).is_ok());
}

#[test]
fn announcement_to_a_private_room_stays_in_the_room() {
    let mut hub = hub(true, false);
    for uid in [3, 7] {
        let follow = Follow::Announcements;
        let request = Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
        ask(&mut hub, uid, request).unwrap();
    }
    ask(&mut hub, 3, join()).unwrap();
    // Both would hear it by broadcast.
    let channel =
        Channel { group: [239, 255, 0, 1], port: 1, key: ChannelKey { number: 1, bytes: [0; 32] } };
    hub.rules.broadcast_members_min = 1;
    hub.channel_opened(ANNOUNCEMENTS, Some(channel));
    for uid in [3, 7] {
        let stream = ANNOUNCEMENTS;
        let request = Request::Session(SessionRequest::Listening {
            stream,
            charge_bytes: 1 << 20,
            slot: [0; 16],
        });
        ask(&mut hub, uid, request).unwrap();
        let report = Report { stream, delivered: 0, by_broadcast: 0, datagrams: 1 };
        hub.report(NOW, session(uid), &report);
    }
    let announce =
        |room| Announce { room, ..Announce::new(Level::Info, Text::new("needle").unwrap()) };
    hub.actions();
    hub.request(NOW, session(2), 7, Request::Announce(announce(Some(room()))));
    hub.end_turn(NOW);
    let has_needle = |bytes: &[u8]| bytes.windows(6).any(|w| w == b"needle");
    assert!(!hub.actions().any(|action| matches!(action, Action::Publish(..))));
    let mut pulled = |uid| {
        let mut chunks = Vec::new();
        hub.pull(NOW, session(uid), 1 << 20, &mut chunks);
        let bodies = chunks.iter().filter_map(|chunk| match chunk {
            super::Chunk::Batch(frame) => Some(frame),
            super::Chunk::Event(_) => None,
        });
        bodies.map(|frame| has_needle(frame)).collect::<Vec<_>>()
    };
    assert_eq!((pulled(3), pulled(7)), (vec![true], vec![false]), "only its number");
    let notices = |hub: &mut Hub, uid| match ask(hub, uid, Request::Notices { skip: 0 }) {
        Ok(Reply::Notices { notices, .. }) => notices.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!((notices(&mut hub, 4), notices(&mut hub, 7)), (1, 0));
    let id = moot_notice(1);
    assert!(ask(&mut hub, 7, Request::AckNotice { id }).is_err());
    // An announcement for all members goes the way of all.
    hub.actions();
    hub.request(NOW, session(2), 7, Request::Announce(announce(None)));
    hub.end_turn(NOW);
    let sent = hub.actions().any(|a| matches!(a, Action::Publish(_, frame) if has_needle(&frame)));
    assert!(sent);
}

fn moot_notice(number: u64) -> crate::chat::message::AnnouncementId {
    crate::chat::message::AnnouncementId::Number(number)
}

/// Counts removals, and the notices of invitations that members received.
fn events(hub: &mut Hub, uid: u32) -> (usize, usize) {
    let own = session(uid);
    let (mut removed, mut invited) = (0, 0);
    for action in hub.actions() {
        match action {
            Action::Send(to, Frame::Event(Event::Removed { .. })) if to == own => removed += 1,
            Action::Send(to, Frame::Event(Event::Invited { .. })) if to == own => invited += 1,
            _ => {}
        }
    }
    (removed, invited)
}

#[test]
fn ban_revokes_the_operator_role_and_deop_the_membership() {
    let mut hub = hub(false, false);
    ask(&mut hub, 2, role("olga", Role::Banned, true)).unwrap();
    assert!(say(&mut hub, 3).is_err());
    assert!(ask(&mut hub, 3, role("olga", Role::Banned, false)).is_err());
    assert!(ask(&mut hub, 3, role("mia", Role::Banned, true)).is_err());
    ask(&mut hub, 2, role("olga", Role::Banned, false)).unwrap();
    assert!(
        ask(&mut hub, 3, role("mia", Role::Banned, true)).is_err(),
        "the office is gone for good"
    );

    let mut hub = self::hub(true, false);
    ask(&mut hub, 3, join()).unwrap();
    hub.actions();
    hub.request(NOW, session(2), 7, role("olga", Role::Operator, false));
    assert_eq!(events(&mut hub, 3).0, 1, "she was in it by her office only");
    assert!(ask(&mut hub, 3, join()).is_err());
}

#[test]
fn operator_who_joins_a_private_room_by_a_role_is_seen() {
    let mut hub = hub(true, false);
    ask(&mut hub, 4, join()).unwrap();
    hub.actions();
    hub.request(NOW, session(1), 7, role("carol", Role::Operator, true));
    assert_eq!(events(&mut hub, 4).1, 1);
}

#[test]
fn announcement_to_a_deleted_room_is_hidden_in_a_new_one() {
    let mut hub = hub(true, false);
    let text = Text::new("needle").unwrap();
    let announce =
        Announce { room: Some(room()), retain: true, ..Announce::new(Level::Info, text) };
    for at_us in [None, Some(1_000)] {
        ask(&mut hub, 2, Request::Announce(Announce { at_us, ..announce.clone() })).unwrap();
    }
    ask(&mut hub, 2, Request::DeleteRoom { room: room() }).unwrap();
    let create =
        Request::CreateRoom { room: room(), history: true, private: false, read_only: false };
    ask(&mut hub, 7, create).unwrap();
    let follow = Follow::Announcements;
    let request = Request::Join { follow, begin: Begin::Last(9), membership: false, keep: false };
    ask(&mut hub, 7, request).unwrap();
    ask(&mut hub, 7, join()).unwrap();
    let listed = ask(&mut hub, 7, Request::Notices { skip: 0 }).unwrap();
    assert!(matches!(listed, Reply::Notices { notices, .. } if notices.is_empty()));
    hub.tick(Now { mono_us: 9_000_000, wall_us: 9_000_000 });
    let mut chunks = Vec::new();
    hub.pull(NOW, session(7), 1 << 20, &mut chunks);
    for chunk in chunks {
        if let super::Chunk::Batch(frame) = chunk {
            assert!(!frame.windows(6).any(|w| w == b"needle"));
        }
    }
}

/// A reply may go out at once, long before the turn ends; the row must not be left behind.
#[test]
fn joined_session_is_in_the_presence_table() {
    let mut hub = hub(false, false);
    hub.actions();
    hub.request(NOW, session(7), 7, join());
    let actions: Vec<_> = hub.actions().collect();
    let joined = |a: &Action| {
        matches!(a, Action::Send(_, Frame::Reply { result: Ok(Reply::Joined(_)), .. }))
    };
    let shown = |a: &Action| matches!(a, Action::Row(row) if row.rooms == [room()]);
    assert!(actions.iter().any(joined), "it is answered");
    assert!(actions.iter().any(shown), "it is shown");
    assert!(!hub.has_actions());
}
