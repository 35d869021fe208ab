//! Rooms with rules, operators, policies: several users of one host.

use std::time::Instant;

use moot::{
    chat::{
        frames::Frame,
        member::Kind,
        names::RoomName,
        reply::Reply,
        request::{Begin, Follow, Request},
    },
    client::Link,
    os,
    session::Connection,
    wire::{hello::Hello, server_frame::ServerFrame},
};

use super::world::{
    OTHER_UID, PATIENCE, Process, THIRD_UID, World, broadcast, eventually, is_root, user_name,
};

/// More users of this host.
const FOURTH_UID: u32 = 2;

fn at(uid: u32) -> String {
    format!("@{}", user_name(uid))
}

fn listen_as(world: &World, uid: u32, args: &[&str]) -> Process {
    let mut all = vec!["listen", "--json"];
    all.extend(args);
    Process::ready(world.moot_as(uid, &all))
}

#[test]
fn a_private_room_is_nowhere_to_be_seen_by_strangers() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let mut server = world.serve_with(&["--system"]);
    let owner = |args: &[&str]| world.run_as(OTHER_UID, args);
    let stranger = |args: &[&str]| world.run_as(THIRD_UID, args);
    owner(&["room", "create", "den", "--private"]).ok();
    owner(&["room", "topic", "den", "the needle"]).ok();
    let mut inside = listen_as(&world, OTHER_UID, &["den"]);
    owner(&["send", "den", "a needle"]).ok();
    assert_eq!(inside.next_of("message")["text"], "a needle");
    stranger(&["send", "hay", "hay"]).ok();
    let absent = |args: &[&str]| {
        let done = stranger(args).exits(5);
        assert_eq!(done.err.matches("den").count(), 1, "{}", done.err);
    };
    for args in [
        &["history", "den"][..],
        &["who", "den"],
        &["listen", "den"],
        &["send", "den", "x"],
        &["read", "den"],
        &["room", "topic", "den", "x"],
        &["room", "delete", "den"],
        &["room", "kick", "den", &at(OTHER_UID)],
        &["announce", "--to", "den", "x"],
        &["search", "--room", "den", "needle"],
    ] {
        absent(args);
    }
    stranger(&["search", "needle"]).exits(1);
    for args in [&["rooms"][..], &["rooms", "--json"], &["who", "--all", "--json"], &["who"]] {
        let done = stranger(args).ok();
        assert!(!done.out.contains("den") && !done.out.contains("needle"), "{}", done.out);
    }
    assert_eq!(stranger(&["status", "--json"]).ok().objects()[0]["rooms"], 1, "only the hay");
    // Nor can he make one of that name, and nobody says why.
    let done = stranger(&["room", "create", "den"]).exits(1);
    assert!(!done.err.contains("private"), "{}", done.err);
    // Those who are invited are told, see everything, and no more once they are removed.
    let mut guest = listen_as(&world, THIRD_UID, &["hay"]);
    owner(&["room", "invite", "den", &at(THIRD_UID)]).ok();
    let mut invited = listen_as(&world, THIRD_UID, &["--last", "5", "den"]);
    assert_eq!(invited.next_of("message")["text"], "a needle");
    let who = stranger(&["who", "den", "--json"]).ok().objects();
    assert_eq!(who.len(), 2);
    assert_eq!(stranger(&["rooms", "--json"]).ok().objects()[0]["private"], true);
    stranger(&["search", "needle"]).ok();
    stranger(&["send", "den", "thanks"]).ok();
    world.end(&mut server);
    let _server = world.serve_with(&["--system"]);
    eventually("the guest is back", || invited.next("an event")["type"] == "ready");
    stranger(&["history", "den"]).ok();
    owner(&["room", "kick", "den", &at(THIRD_UID)]).ok();
    let removed = invited.next_of("removed");
    assert_eq!(
        (&removed["reason"], &removed["by"]),
        (&"kicked".into(), &user_name(OTHER_UID).into())
    );
    assert_eq!(invited.code(), 4, "no room is left");
    absent(&["history", "den"]);
    stranger(&["search", "needle"]).exits(1);
    owner(&["send", "den", "among us"]).ok();
    world.run(&["send", "hay", "the next"]).ok();
    eventually("the hay", || guest.next("hay")["text"] == "the next");
}

#[test]
fn user_kicked_from_a_room_opens_no_later_datagram() {
    removed_user_opens_no_later_datagram(&["room", "kick", "dev"]);
}

#[test]
fn user_kicked_from_the_server_opens_no_later_datagram() {
    removed_user_opens_no_later_datagram(&["kick"]);
}

fn removed_user_opens_no_later_datagram(removal: &[&str]) {
    if !is_root() || broadcast() == "off" {
        return;
    }
    // An operator of the server, who can kick even root.
    let policy = format!("[policy]\noperators = [\"{}\"]\n", at(OTHER_UID));
    let world = World::with_config(&policy);
    let _server = world.serve_with(&["--system"]);
    world.run_as(OTHER_UID, &["room", "create", "dev"]).ok();
    // A process that keeps everything: session, keys, and an ear on the group.
    let connection = Connection::open(&world.dir.join("socket"), PATIENCE).unwrap();
    let mut link = Link::open(connection, &Hello::new(None, Kind::Script, [9; 16]));
    link.set_deadline(Some(Instant::now() + PATIENCE));
    let source_port = link.welcome().unwrap().source_port.unwrap();
    let run = link.run().unwrap().0;
    let mut others: Vec<_> = [OTHER_UID, THIRD_UID, FOURTH_UID]
        .map(|uid| listen_as(&world, uid, &["dev"]))
        .into_iter()
        .collect();
    let join = Request::Join {
        follow: Follow::Room(RoomName::new("dev").unwrap()),
        begin: Begin::Now,
        membership: false,
        keep: false,
    };
    let Reply::Joined(mut infos) = link.ask(&join).unwrap() else { panic!("not joined") };
    let info = infos.remove(0);
    let channel = info.channel.expect("a channel");
    let group = std::net::SocketAddrV4::new(channel.group.into(), channel.port);
    let ear = os::Receiver::open(group, source_port).unwrap();
    let mut opener = moot::broadcast::Opener::new(channel.key.number, &channel.key.bytes, run);
    let mut buffer = vec![0; 70_000];
    let mut heard = |opener: &mut moot::broadcast::Opener| -> (usize, usize) {
        let (mut all, mut opened) = (0, 0);
        while let Ok(bytes) = ear.recv(&mut buffer) {
            all += 1;
            opened += usize::from(opener.open(&mut buffer[..bytes]).is_some());
        }
        (all, opened)
    };
    let mut say = |text: &str| {
        world.run_as(OTHER_UID, &["send", "dev", text]).ok();
        for other in &mut others {
            assert_eq!(other.texts(1), [text]);
        }
    };
    // While it is in, it understands what it hears.
    let mut n = 0;
    eventually("a datagram that opens", || {
        n += 1;
        say(&format!("before {n}"));
        heard(&mut opener).1 > 0
    });
    let root = at(0);
    world.run_as(OTHER_UID, &[removal, &[&root]].concat()).ok();
    heard(&mut opener);
    let mut after = 0;
    eventually("datagrams that don't", || {
        n += 1;
        say(&format!("after {n}"));
        let (all, opened) = heard(&mut opener);
        assert_eq!(opened, 0, "it understands what is said after it was removed");
        after += all;
        after > 3
    });
    // By session nothing comes either, whatever it asks for.
    link.queue_report(&moot::chat::frames::Report {
        stream: info.tag,
        delivered: 0,
        by_broadcast: 0,
        datagrams: 0,
    });
    let mut told = Vec::new();
    link.set_deadline(Some(Instant::now() + PATIENCE));
    let last = link.queue_request(&Request::Rooms { skip: 0 });
    let mut is_last = |frame: ServerFrame<'_>| match frame {
        ServerFrame::Batch(body) => {
            told.push(String::from_utf8_lossy(body).into_owned());
            None
        }
        ServerFrame::Session(Frame::Reply { serial, .. }) => (serial == last).then_some(()),
        _ => None,
    };
    // Or until the session is ended.
    while link.next_frame(&mut is_last).is_ok_and(|found| found.is_none()) {}
    assert!(told.iter().all(|body| !body.contains("after")), "{told:?}");
}

#[test]
fn a_ban_holds_over_a_restart_until_it_is_ended() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let mut server = world.serve_with(&["--system"]);
    let owner = |args: &[&str]| world.run_as(OTHER_UID, args);
    let bob = at(THIRD_UID);
    owner(&["room", "create", "dev"]).ok();
    let mut spammer = listen_as(&world, THIRD_UID, &["dev"]);
    world.run_as(THIRD_UID, &["send", "dev", "buy"]).ok();
    owner(&["room", "mute", "dev", &bob]).ok();
    let done = world.run_as(THIRD_UID, &["send", "dev", "buy more"]).exits(4);
    assert!(done.err.contains(&user_name(OTHER_UID)), "who could end it: {}", done.err);
    owner(&["room", "ban", "dev", &bob]).ok();
    assert_eq!(spammer.next_of("removed")["reason"], "banned");
    assert_eq!(spammer.code(), 4);
    for args in [&["send", "dev", "x"][..], &["listen", "dev"], &["history", "dev"]] {
        world.run_as(THIRD_UID, args).exits(4);
    }
    server.kill();
    let _server = world.serve_with(&["--system"]);
    world.run_as(THIRD_UID, &["history", "dev"]).exits(4);
    world.run_as(THIRD_UID, &["room", "unban", "dev", &bob]).exits(4);
    owner(&["room", "unban", "dev", &bob]).ok();
    owner(&["room", "unban", "dev", &bob]).exits(1);
    world.run_as(THIRD_UID, &["history", "dev"]).ok();
    world.run_as(THIRD_UID, &["send", "dev", "still muted"]).exits(4);
    owner(&["room", "ban", "dev", "@nobody-of-that-name"]).exits(5);
    let audit = world.run(&["status", "--audit"]).ok().out;
    assert!(audit.contains(&format!("ban {bob} in dev")), "{audit}");
    world.run_as(THIRD_UID, &["status", "--audit"]).exits(4);
}

#[test]
fn kicked_and_dropped_sessions_end_and_stay_away() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    let mut first = listen_as(&world, THIRD_UID, &["--as", "one", "dev"]);
    let mut second = listen_as(&world, THIRD_UID, &["--as", "two", "--no-reconnect", "dev"]);
    let mut witness = world.join(&["dev"]);
    world.run_as(OTHER_UID, &["kick", &at(THIRD_UID)]).exits(4);
    world.run(&["kick", &format!("{}/one", at(THIRD_UID))]).ok();
    assert!(first.next_of("end")["reason"].as_str().unwrap().contains("kicked by"));
    assert_eq!(first.code(), 4);
    assert_eq!(witness.next_of("left")["reason"], "kicked");
    let rows = world.who(&["--user", &at(THIRD_UID)]).0;
    let session = rows[0]["session"].to_string();
    world.run_as(OTHER_UID, &["drop", &session]).exits(4);
    world.run_as(THIRD_UID, &["drop", &session]).ok();
    assert_eq!(second.code(), 4);
    world.run(&["drop", &session]).exits(5);
    world.run(&["kick", &at(THIRD_UID)]).exits(5);
}

#[test]
fn the_policy_says_who_may_and_refusals_say_who_could() {
    if !is_root() {
        return;
    }
    let group = "daemon";
    let policy = format!(
        "[policy]\noperators = [\"{}\"]\nannounce_critical = [\"operators\"]\n\
         announce_warning = [\"%{group}\"]\ncreate_rooms = [\"%{group}\"]\njoin = [\"%{group}\", \"operators\"]\n",
        at(OTHER_UID)
    );
    let world = World::with_config(&policy);
    let _server = world.serve_with(&["--system"]);
    // daemon is in its own group; bin is in none of these.
    let (operator, daemon, bin) = (OTHER_UID, THIRD_UID, FOURTH_UID);
    world.run_as(daemon, &["room", "create", "dev"]).ok();
    let done = world.run_as(bin, &["room", "create", "ops"]).exits(4);
    assert!(done.err.contains("%daemon") && done.err.contains("operators"), "{}", done.err);
    world.run_as(bin, &["send", "ops", "x"]).exits(4);
    // Of a private room he is told what he is told of none.
    world.run_as(daemon, &["room", "create", "den", "--private"]).ok();
    for args in [&["room", "create", "den"][..], &["send", "den", "x"]] {
        assert_eq!(world.run_as(bin, args).exits(4).err.replace("den", "ops"), done.err);
    }
    world.run_as(operator, &["room", "create", "ops"]).ok();
    world.run_as(bin, &["listen", "dev"]).exits(4);
    world.run_as(bin, &["history", "dev"]).exits(4);
    world.run_as(bin, &["send", "dev", "may be said"]).ok();
    world.run_as(daemon, &["history", "dev"]).ok();
    let announce = |uid, level| world.run_as(uid, &["announce", "--level", level, "x"]).code;
    assert_eq!([0, operator, daemon, bin].map(|uid| announce(uid, "critical")), [0, 0, 4, 4]);
    assert_eq!([0, operator, daemon, bin].map(|uid| announce(uid, "warning")), [0, 0, 0, 4]);
    assert_eq!([0, operator, daemon, bin].map(|uid| announce(uid, "notice")), [0, 0, 0, 0]);
    // An operator by configuration rules every room.
    world.run_as(operator, &["room", "ban", "dev", &at(bin)]).ok();
    world.run_as(operator, &["room", "ban", "dev", &at(daemon)]).exits(4);
}

#[test]
fn operator_in_a_private_room_is_seen_by_members_later_too() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    let owner = |args: &[&str]| world.run_as(OTHER_UID, args);
    owner(&["room", "create", "den", "--private"]).ok();
    owner(&["send", "den", "a secret"]).ok();
    owner(&["announce", "--to", "den", "for the den"]).ok();
    owner(&["announce", "--to", "den", "--in", "1h", "later"]).ok();
    // He rules it and reads nothing of it.
    world.run(&["history", "den"]).exits(4);
    let listed = world.run(&["notices", "list"]).ok().out;
    assert!(listed.contains("den") && !listed.contains("for the den"), "{listed}");
    assert!(!listed.contains("later"), "{listed}");
    world.run(&["notices", "show", "!1"]).exits(4);
    world.run_as(THIRD_UID, &["notices", "show", "!1"]).exits(5);
    world.run(&["notices", "cancel", "!1"]).ok();
    // Nobody is there when he lets himself in; it is found by whoever looks.
    world.run(&["room", "invite", "den", &at(0)]).ok();
    world.run(&["history", "den"]).ok();
    world.run(&["room", "kick", "den", &at(0)]).ok();
    let told = owner(&["history", "den"]).ok().out;
    assert!(told.contains("root: -- invited themself to this room"), "{told}");
    // What a leader of the room does is no act of the server's office.
    owner(&["room", "invite", "den", &at(THIRD_UID)]).ok();
    assert_eq!(owner(&["history", "den"]).ok().out, told);
    // Rooms of others, described and deleted by right of office.
    world.run(&["room", "topic", "den", "x"]).ok();
    world.run(&["room", "delete", "den"]).ok();
    let audit = world.run(&["status", "--audit"]).ok().out;
    for act in ["invite @root in den", "topic of den", "delete den", "cancel !1 of"] {
        assert!(audit.contains(act), "{act}: {audit}");
    }
}

#[test]
fn sender_without_read_right_has_the_receipt() {
    if !is_root() {
        return;
    }
    let policy = format!("[policy]\njoin = [\"{}\"]\n", at(THIRD_UID));
    let world = World::with_config(&policy);
    let _server = world.serve_with(&["--system"]);
    let mut listener = listen_as(&world, THIRD_UID, &["dev"]);
    let announce = ["announce", "--to", "dev", "--require", "1", "from outside"];
    let told = world.run_as(FOURTH_UID, &announce).ok().out;
    assert_eq!(told, "reached 1 of 1\n");
    assert_eq!(listener.next_of("announcement")["text"], "from outside");
    world.run_as(FOURTH_UID, &["notices", "cancel", "!1"]).ok();
}

#[test]
fn repeated_events_for_a_stopped_member_are_bounded() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let server = world.serve_with(&["--system"]);
    let mut sleeper = listen_as(&world, THIRD_UID, &["dev"]);
    sleeper.signal("STOP");
    let before = super::machine::memory_kib(server.pid());
    let connection = Connection::open(&world.dir.join("socket"), PATIENCE).unwrap();
    let mut link = Link::open(connection, &Hello::new(None, Kind::Script, [9; 16]));
    link.set_deadline(Some(Instant::now() + PATIENCE));
    let user = moot::chat::names::UserName::new(&user_name(THIRD_UID)).unwrap();
    let room = RoomName::new("dev").unwrap();
    let role = moot::chat::rules::Role::Invited;
    // More than a socket takes, of which nothing is read.
    for _ in 0..200 {
        let mut last = 0;
        for _ in 0..100 {
            let (room, user) = (room.clone(), user.clone());
            last = link.queue_request(&Request::Role { room, user, role, on: true });
        }
        while !matches!(link.wait().unwrap(), Frame::Reply { serial, .. } if serial == last) {}
    }
    let grown = super::machine::memory_kib(server.pid()).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    sleeper.signal("CONT");
    world.run(&["send", "dev", "still there"]).ok();
    assert_eq!(sleeper.texts(1), ["still there"]);
}
