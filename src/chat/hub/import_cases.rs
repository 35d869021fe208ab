//! Imports of linked hosts on a stage: once, in order, and no other way.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]

use super::{
    Action, Rates,
    scene::{ANN, HEAD, MIA, SAM, Scene, Store, den, join_room, room, session, user},
};
use crate::{
    chat::{
        frames::Hello,
        hub::{Hub, HubConfig},
        linked::{
            Import, ImportedMessage, ImportedNotice, LinkPosition, LinkRequest, LinkedStream,
            RemoteMember, Roster, uid_of_host,
        },
        member::{EndCause, Kind, Level, Peer, SessionId, State},
        message::BootId,
        names::{HostName, UserName},
        refusal::{Refusal, RefusalCode},
        reply::Reply,
        request::{Announce, Begin, Follow, Request},
        rules::{Rights, Role, RoomRules},
        store::{Record, Restored, RestoredExport, RestoredRoom, Span},
        stream_id::RoomId,
        text::Text,
    },
    limits::{FRAME_HEADER_BYTES, LINKED_ROWS_PER_HOST_MAX},
};

fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn link(scene: &mut Scene, request: LinkRequest) -> Result<Reply, Refusal> {
    scene.request(SAM, Request::Link(request))
}

/// A scene with a link of `web1`, and a member of the room.
fn linked() -> Scene {
    let mut scene = Scene::new(false);
    scene.hub.set_rights(SAM, Rights { link: true, ..Rights::EVERYBODY });
    assert_eq!(link(&mut scene, LinkRequest::Begin { host: host("web1") }), Ok(Reply::Done));
    scene.request(MIA, join_room("den")).unwrap();
    scene
}

fn message(seq: u64) -> ImportedMessage {
    ImportedMessage {
        seq,
        user: UserName::new("bob").unwrap(),
        label: None,
        kind: Kind::Person,
        wall_us: 5,
        reply_to: None,
        notice: None,
        text: Text::new(&format!("text-{seq}-")).unwrap(),
    }
}

fn import_of(generation: u64, prev: u64, seqs: &[u64]) -> Import {
    Import {
        host: host("db1"),
        stream: LinkedStream::Room(den()),
        prev: LinkPosition { generation, seq: prev },
        upto: seqs.last().copied().unwrap_or(prev),
        gap_after: Some(LinkPosition::default()),
        messages: seqs.iter().map(|seq| message(*seq)).collect(),
    }
}

fn import(scene: &mut Scene, import: Import) -> Result<(u64, u64, u32), Refusal> {
    match link(scene, LinkRequest::Import(import))? {
        Reply::Imported { at, refused } => Ok((at.generation, at.seq, refused)),
        other => panic!("{other:?}"),
    }
}

fn head(scene: &Scene) -> u64 {
    scene.hub.stream(scene.tag()).backlog.head() - HEAD
}

#[test]
fn repeated_import_is_stored_once() {
    let mut scene = linked();
    for _ in 0..3 {
        assert_eq!(import(&mut scene, import_of(7, 0, &[3, 5, 6])), Ok((7, 6, 0)));
        assert_eq!(head(&scene), 3);
    }
    assert_eq!(import(&mut scene, import_of(7, 3, &[5, 6, 9])), Ok((7, 9, 0)), "an overlap");
    assert_eq!(head(&scene), 4);
    for seq in [3, 5, 6, 9] {
        assert!(scene.can_read(session(MIA), &format!("text-{seq}-")));
    }
    // What was exported of it is empty, and counts all the same.
    let empty = Import { upto: 20, ..import_of(7, 9, &[]) };
    assert_eq!(import(&mut scene, empty), Ok((7, 20, 0)));
    assert_eq!(import(&mut scene, import_of(7, 20, &[21])), Ok((7, 21, 0)));
    assert_eq!(head(&scene), 5);
}

#[test]
fn import_after_missing_messages_waits_for_them() {
    let mut scene = linked();
    import(&mut scene, import_of(7, 0, &[3])).unwrap();
    assert_eq!(import(&mut scene, import_of(7, 5, &[6])), Ok((7, 3, 0)), "4 or 5 are missing");
    assert_eq!(head(&scene), 1);
    let lost =
        Import { gap_after: Some(LinkPosition { generation: 7, seq: 3 }), ..import_of(7, 5, &[6]) };
    assert_eq!(import(&mut scene, lost), Ok((7, 6, 0)));
    assert_eq!(head(&scene), 3, "the gap is said in the room");
    assert!(scene.can_read(session(MIA), "messages of this host are missing"));
}

#[test]
fn import_whose_commit_failed_comes_again() {
    let mut scene = linked();
    import(&mut scene, import_of(7, 0, &[1])).unwrap();
    scene.store = Store::Fails;
    assert_eq!(import(&mut scene, import_of(7, 1, &[2])).unwrap_err().code, RefusalCode::Failed);
    scene.store = Store::Commits;
    // What comes after it is not taken: it would be in the place of the failed one.
    assert_eq!(import(&mut scene, import_of(7, 2, &[3])), Ok((7, 1, 0)));
    assert_eq!(import(&mut scene, import_of(7, 1, &[2, 3])), Ok((7, 3, 0)));
    assert_eq!(head(&scene), 3);
}

#[test]
fn import_is_answered_after_its_commit() {
    let mut scene = linked();
    scene.store = Store::Waits;
    scene.ask(SAM, Request::Link(LinkRequest::Import(import_of(7, 0, &[1]))));
    // The same once more, before the first is stored.
    scene.ask(SAM, Request::Link(LinkRequest::Import(import_of(7, 0, &[1]))));
    scene.settle();
    assert!(scene.sent.iter().all(|(to, _)| *to != session(SAM)), "nothing is stored yet");
    scene.answer_store(Store::Commits);
    assert_eq!(scene.sent.iter().filter(|(to, _)| *to == session(SAM)).count(), 2);
    assert_eq!(head(&scene), 1);
    assert!(scene.hub.commits.answers_all());
}

#[test]
fn later_generation_starts_over() {
    let mut scene = linked();
    import(&mut scene, import_of(7, 0, &[1, 2, 3])).unwrap();
    // The host went back to message 2, and gave number 3 to another one.
    assert_eq!(import(&mut scene, import_of(8, 2, &[3, 4])), Ok((8, 4, 0)));
    assert_eq!(head(&scene), 5);
    assert_eq!(import(&mut scene, import_of(7, 3, &[4])), Ok((8, 4, 0)), "nothing is older");
    assert_eq!(import(&mut scene, import_of(9, 6, &[7])), Ok((8, 4, 0)), "5 and 6 are missing");
    assert_eq!(head(&scene), 5);
}

#[test]
fn banned_user_of_a_host_says_nothing() {
    let mut scene = linked();
    let role =
        |role, on| Request::Role { room: den(), user: UserName::new("bob@db1").unwrap(), role, on };
    for of in [Role::Banned, Role::Muted] {
        let before = head(&scene);
        let at = before * 10;
        scene.request(ANN, role(of, true)).unwrap();
        let (prev, seq) = (at, at + 1);
        assert_eq!(import(&mut scene, import_of(7, prev, &[seq])), Ok((7, seq, 1)));
        assert_eq!(head(&scene), before);
        scene.request(ANN, role(of, false)).unwrap();
        let next = import_of(7, seq, &[at + 10]);
        assert_eq!(import(&mut scene, next), Ok((7, at + 10, 0)));
        assert_eq!(head(&scene), before + 1);
    }
    assert_eq!(
        scene.request(ANN, role(Role::Operator, true)).unwrap_err().code,
        RefusalCode::Denied
    );
    assert_eq!(scene.request(MIA, role(Role::Banned, true)).unwrap_err().code, RefusalCode::Denied);
}

#[test]
fn host_is_charged_as_a_user() {
    let mut scene = Scene::with_rules(false, |rules| {
        rules.rates = Rates { messages: 10, ..Rates::default() };
    });
    scene.hub.set_rights(SAM, Rights { link: true, ..Rights::EVERYBODY });
    link(&mut scene, LinkRequest::Begin { host: host("web1") }).unwrap();
    let seqs: Vec<_> = (1..=100).collect();
    import(&mut scene, import_of(7, 0, &seqs)).unwrap();
    assert_eq!(
        import(&mut scene, import_of(7, 100, &[101])).unwrap_err().code,
        RefusalCode::Failed
    );
    let other = Import { host: host("lap2"), ..import_of(7, 0, &[1]) };
    assert_eq!(import(&mut scene, other), Ok((7, 1, 0)), "another host is not slowed down");
    scene.pass(20_000);
    assert_eq!(import(&mut scene, import_of(7, 100, &[101])), Ok((7, 101, 0)));
}

#[test]
fn no_process_speaks_as_a_linked_host() {
    let mut scene = linked();
    let uid = uid_of_host(&host("db1"));
    let peer = Peer { uid, user: user(MIA), pid: 1, start: 0 };
    let hello = Hello::new(None, Kind::Person, [9; 16]);
    let refusal = scene.hub.open(scene.now, SessionId(77), peer, hello).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Denied);
    // Nor is a user of a linked host one that the user database knows.
    let name = UserName::new("bob@db1").unwrap();
    assert!(scene.hub.knows_user(&name));
    let direct = Request::Open { target: "@bob@db1".parse().unwrap() };
    assert_eq!(scene.request(MIA, direct).unwrap_err().code, RefusalCode::Absent);
}

#[test]
fn own_messages_under_an_earlier_name_are_not_imported() {
    let mut scene = linked();
    let export = LinkRequest::Export { stream: LinkedStream::Room(den()), renew: None };
    link(&mut scene, export).unwrap();
    scene.hub.close(scene.now, session(SAM), EndCause::Quit);
    scene.open(session(SAM), SAM);
    link(&mut scene, LinkRequest::Begin { host: host("www") }).unwrap();
    let own = Import { host: host("web1"), ..import_of(7, 0, &[1]) };
    assert_eq!(import(&mut scene, own).unwrap_err().code, RefusalCode::Denied);
}

#[test]
fn announcement_of_a_host_reaches_members() {
    let mut scene = linked();
    let announce = Follow::Announcements;
    scene.request(MIA, super::scene::join(announce, Begin::Now)).unwrap();
    let notice = ImportedNotice {
        level: Level::Warning,
        room: None,
        expires_us: None,
        retain: false,
        ack: true,
    };
    let announcement = Import {
        stream: LinkedStream::Announcements,
        messages: vec![ImportedMessage { notice: Some(notice), ..message(4) }],
        ..import_of(7, 3, &[4])
    };
    assert_eq!(import(&mut scene, announcement.clone()), Ok((7, 4, 0)));
    assert_eq!(import(&mut scene, announcement), Ok((7, 4, 0)));
    assert!(scene.can_read(session(MIA), "text-4-"));
    let Ok(Reply::Notices { notices, .. }) = scene.request(MIA, Request::Notices { skip: 0 })
    else {
        panic!("a list")
    };
    let made: Vec<_> = notices.iter().map(|notice| notice.from.name()).collect();
    assert_eq!(made, ["bob@db1"]);
    // And its own announcements stay what they were.
    let own = Announce::new(Level::Info, Text::new("own").unwrap());
    scene.request(MIA, Request::Announce(own)).unwrap();
}

#[test]
fn sessions_of_a_host_go_with_their_link() {
    let mut scene = linked();
    let member = |user: &str, rooms: &[&str]| RemoteMember {
        user: UserName::new(user).unwrap(),
        label: None,
        kind: Kind::Person,
        state: State::Online,
        since_wall_us: 1,
        status: "x".repeat(500),
        rooms: rooms.iter().map(|name| room(name)).collect(),
    };
    let show = |scene: &mut Scene, reachable, members: Vec<RemoteMember>| {
        let roster =
            Roster { host: host("db1"), reachable, announces: true, members, is_last: true };
        let request = Request::Link(LinkRequest::Roster(roster));
        scene.ask(SAM, request);
        let mut rows = Vec::new();
        let mut gone = 0;
        for action in scene.hub.actions() {
            match action {
                Action::Row(row) => rows.push((row.handle().to_string(), row.state, row.rooms)),
                Action::RowGone(_) => gone += 1,
                _ => {}
            }
        }
        (rows, gone)
    };
    let both = vec![member("bob", &["den", "nosuch"]), member("eve", &[])];
    let (rows, gone) = show(&mut scene, true, both.clone());
    let expected = [
        ("bob@db1".to_owned(), State::Online, vec![den()]),
        ("eve@db1".to_owned(), State::Online, Vec::new()),
    ];
    assert_eq!((rows.as_slice(), gone), (expected.as_slice(), 0));
    assert_eq!(show(&mut scene, true, both.clone()), (Vec::new(), 0), "nothing changed");
    let (rows, gone) = show(&mut scene, false, both);
    assert!(rows.iter().all(|(_, state, _)| *state == State::Unreachable));
    assert_eq!((rows.len(), gone), (2, 0));
    let (rows, gone) = show(&mut scene, false, vec![member("bob", &["den"])]);
    assert_eq!((rows.len(), gone), (0, 1));
    let many = vec![member("bob", &[]); 2 * LINKED_ROWS_PER_HOST_MAX];
    let (rows, _) = show(&mut scene, true, many);
    assert_eq!(rows.len(), LINKED_ROWS_PER_HOST_MAX);
    scene.hub.close(scene.now, session(SAM), EndCause::Killed);
    let gone = scene.hub.actions().filter(|action| matches!(action, Action::RowGone(_))).count();
    assert_eq!(gone, LINKED_ROWS_PER_HOST_MAX + 1);
}

#[test]
fn position_is_recorded_where_no_message_says_it() {
    let mut scene = linked();
    let ban = |on| Request::Role {
        room: den(),
        user: UserName::new("bob@db1").unwrap(),
        role: Role::Banned,
        on,
    };
    let recorded = |scene: &Scene| {
        let positions = scene.saved.iter().filter_map(|record| match record {
            Record::Import { at, .. } => Some(at.seq),
            _ => None,
        });
        positions.collect::<Vec<_>>()
    };
    // What follows the last message was not exported.
    let more = Import { upto: 9, ..import_of(7, 0, &[1, 2]) };
    assert_eq!(import(&mut scene, more), Ok((7, 9, 0)));
    assert_eq!(recorded(&scene), [9]);
    import(&mut scene, import_of(7, 9, &[10])).unwrap();
    assert_eq!(recorded(&scene), [9], "the message says it");
    scene.request(ANN, ban(true)).unwrap();
    assert_eq!(import(&mut scene, import_of(7, 10, &[11])), Ok((7, 11, 1)));
    assert_eq!(recorded(&scene), [9, 11]);
    // While the messages before it are on their way it waits for them.
    scene.request(ANN, ban(false)).unwrap();
    scene.store = Store::Waits;
    scene.ask(SAM, Request::Link(LinkRequest::Import(import_of(7, 11, &[12]))));
    scene.settle();
    let empty = Import { upto: 15, ..import_of(7, 12, &[]) };
    scene.ask(SAM, Request::Link(LinkRequest::Import(empty)));
    scene.settle();
    assert_eq!(recorded(&scene), [9, 11]);
    scene.answer_store(Store::Commits);
    assert_eq!(recorded(&scene), [9, 11, 15]);
}

#[test]
fn deleted_room_is_not_created_by_a_link() {
    let mut scene = linked();
    let export = || LinkRequest::Export { stream: LinkedStream::Room(den()), renew: None };
    link(&mut scene, export()).unwrap();
    import(&mut scene, import_of(7, 0, &[1])).unwrap();
    scene.request(ANN, Request::DeleteRoom { room: den() }).unwrap();
    let refused = import(&mut scene, import_of(7, 1, &[2])).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Absent);
    assert_eq!(link(&mut scene, export()).unwrap_err().code, RefusalCode::Absent);
    scene.request(ANN, join_room("den")).unwrap();
    assert_eq!(import(&mut scene, import_of(7, 1, &[2])), Ok((7, 2, 0)));
}

#[test]
fn announcement_of_a_host_obeys_the_rules_here() {
    let mut scene = linked();
    let export = |stream| LinkRequest::Export { stream, renew: None };
    link(&mut scene, export(LinkedStream::Room(den()))).unwrap();
    let notice = |to: Option<&str>, expires_us| ImportedNotice {
        level: Level::Critical,
        room: to.map(room),
        expires_us,
        retain: false,
        ack: false,
    };
    let mut seq = 0;
    let mut refused = |scene: &mut Scene, notice: ImportedNotice| {
        seq += 1;
        let wall_us = scene.now.wall_us - 5_000_000;
        let announcement = Import {
            stream: LinkedStream::Announcements,
            messages: vec![ImportedMessage { notice: Some(notice), wall_us, ..message(seq) }],
            ..import_of(7, seq - 1, &[seq])
        };
        import(scene, announcement).unwrap().2
    };
    assert_eq!(refused(&mut scene, notice(None, None)), 0);
    assert_eq!(refused(&mut scene, notice(Some("den"), None)), 0);
    assert_eq!(refused(&mut scene, notice(Some("nosuch"), None)), 1, "a room that is not linked");
    assert_eq!(refused(&mut scene, notice(None, Some(5_000_000))), 1, "it has expired");
    assert_eq!(refused(&mut scene, notice(None, Some(6_000_000))), 0);
    let quiet = Rights { link: true, announce: [true, true, true, false], ..Rights::EVERYBODY };
    scene.hub.set_rights(SAM, quiet);
    assert_eq!(refused(&mut scene, notice(None, None)), 1, "a level that the link may not use");
    let notice = ImportedNotice { level: Level::Info, ..notice(Some("den"), None) };
    assert_eq!(refused(&mut scene, notice.clone()), 0);
    let ban = Request::Role {
        room: den(),
        user: UserName::new("bob@db1").unwrap(),
        role: Role::Banned,
        on: true,
    };
    scene.request(ANN, ban).unwrap();
    assert_eq!(refused(&mut scene, notice), 1, "a user who is banned from the room");
}

#[test]
fn older_history_begins_a_generation_after_its_newest_message() {
    let den_room = RestoredRoom {
        id: RoomId(1),
        name: den(),
        creator_uid: ANN,
        history: true,
        topic: String::new(),
        rules: RoomRules::new(false, false),
        span: Span { head: 60, first: 1, newest_us: Some(1) },
    };
    for (epoch, expected) in [(5, (7, 10)), (6, (1_000, 60))] {
        let export = RestoredExport {
            host: host("web1"),
            stream: "den".into(),
            after: LinkPosition { generation: 7, seq: 10 },
            epoch: 5,
        };
        let restored = Restored {
            rooms: vec![den_room.clone()],
            exports: vec![export],
            epoch,
            loaded_us: 1_000,
            ..Restored::default()
        };
        let rules = HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]);
        let hub = Hub::restored(rules, restored);
        let after = hub.links.export(&host("web1"), "den").unwrap();
        assert_eq!((after.generation, after.seq), expected);
    }
}
