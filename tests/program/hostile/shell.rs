//! Descriptors, log and memory of the server, by raw connections of several users.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use super::super::{
    machine,
    world::{OTHER_UID, PATIENCE, Process, THIRD_UID, World, eventually, is_root, user_name},
};

const HELLO: u8 = 1;
const REQUEST: u8 = 16;
const SUBMIT: u8 = 17;
const REPORT: u8 = 18;
const PONG: u8 = 20;
const WELCOME: u8 = 65;
const REFUSED: u8 = 66;

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[b'm', b't', 1, kind], &length[..], body].concat()
}

fn hello() -> Vec<u8> {
    frame(HELLO, br#"{"protocol":1,"kind":"script","instance":"00000000000000000000000000000001"}"#)
}

/// `Join` of a room, from now on.
fn join(room: &str) -> Vec<u8> {
    let length = u8::try_from(room.len()).unwrap();
    frame(REQUEST, &[&[1, 1, 0, length], room.as_bytes(), &[0, 0, 0]].concat())
}

/// A connection of some user.
fn connect(world: &World, uid: u32) -> UnixStream {
    let path = world.dir.join("socket");
    let stream = machine::as_thread_of(uid, move || UnixStream::connect(path).unwrap());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the server says next: kind and body.
fn next(stream: &mut UnixStream) -> Option<(u8, String)> {
    let mut head = [0; 8];
    stream.read_exact(&mut head).ok()?;
    let mut body = vec![0; u32::from_le_bytes(head[4..].try_into().unwrap()) as usize];
    stream.read_exact(&mut body).ok()?;
    Some((head[3], String::from_utf8_lossy(&body).into_owned()))
}

/// Opens a session, or gives the refusal.
fn open(world: &World, uid: u32) -> Result<UnixStream, String> {
    let mut stream = connect(world, uid);
    let _ = stream.write_all(&hello());
    match next(&mut stream) {
        Some((WELCOME, _)) => Ok(stream),
        Some((REFUSED, why)) => Err(why),
        other => panic!("neither in nor told why: {other:?}"),
    }
}

/// Opens sessions until one is refused.
fn open_all(world: &World, uid: u32, most: usize) -> (Vec<UnixStream>, String) {
    let mut sessions = Vec::new();
    loop {
        match open(world, uid) {
            Ok(session) => sessions.push(session),
            Err(why) => return (sessions, why),
        }
        assert!(sessions.len() < most, "nobody stops user {uid}");
    }
}

/// A system server that may have so many descriptors.
fn serve_within(world: &World, descriptors: u32, more: &str) -> Process {
    let config = world.path("moot.toml");
    let serve = format!(
        "ulimit -n {descriptors} && exec \"$0\" --config {} serve --system {more}",
        config.display()
    );
    let program = env!("CARGO_BIN_EXE_moot");
    let mut server = Process::spawn(world.command(Path::new("/bin/sh"), &["-c", &serve, program]));
    assert!(server.line("the server's first line").starts_with("listening on "));
    server
}

fn descriptors_of(server: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

#[test]
fn one_user_leaves_descriptors_for_others() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let mut server = serve_within(&world, 160, "");
    let before = descriptors_of(&server);
    let (eves, why) = open_all(&world, OTHER_UID, 200);
    assert!(why.contains("which is the limit"), "{why}");
    // Nor do her unfinished handshakes take what others need.
    let silent: Vec<_> = (0..70).map(|_| connect(&world, OTHER_UID)).collect();
    let (bobs, _) = open_all(&world, THIRD_UID, 200);
    assert!(bobs.len() > 1, "{} sessions of bob, {} of eve", bobs.len(), eves.len());
    world.run(&["send", "dev", "root comes in as well"]).ok();
    assert!(descriptors_of(&server) - before <= 2 * 48, "{}", descriptors_of(&server));
    drop((silent, eves, bobs));
    eventually("all have ended", || descriptors_of(&server) <= before + 8);
    let errors = server.errors();
    assert!(!errors.contains("out of file descriptors"), "{errors}");
}

#[test]
fn only_a_caller_that_waits_is_turned_away_without_descriptors() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let mut server = serve_within(&world, 1_024, "--broadcast off --history off");
    let mut here = open(&world, THIRD_UID).unwrap();
    // So that no more than a few are left, whatever the server meant to have.
    machine::limit_descriptors(server.pid(), descriptors_of(&server) as u64 + 6);
    for round in 0..3 {
        let (sessions, why) = open_all(&world, OTHER_UID, 8);
        assert!(why.contains("out of file descriptors"), "{why}");
        // Without a free descriptor each is told at once, and nobody hangs.
        for _ in 0..3 {
            open(&world, THIRD_UID).unwrap_err();
        }
        here.write_all(&join("dev")).unwrap();
        while next(&mut here).unwrap().0 != 80 {}
        let all = sessions.len();
        drop(sessions);
        // Whoever comes once there are some is let in.
        eventually("the sessions have ended", || {
            world.run(&["who", "--all", "--count"]).out == "1\n"
        });
        let after: Vec<_> = (0..all).map(|_| open(&world, THIRD_UID)).collect();
        assert!(after.iter().all(Result::is_ok), "round {round}: {after:?}");
        drop(after);
        eventually("these have ended", || world.run(&["who", "--all", "--count"]).out == "1\n");
    }
    assert!(server.errors().contains("out of file descriptors"));
}

#[test]
fn noise_of_clients_in_the_log_is_cut_counted_and_bounded() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let mut server = world.serve_with(&["--system"]);
    let begun = Instant::now();
    let long = format!(r#"{{"protocol":1,"kind":"{}"}}"#, "A".repeat(65_000));
    let users = [OTHER_UID, THIRD_UID];
    for uid in users {
        for _ in 0..150 {
            let mut stream = connect(&world, uid);
            let _ = stream.write_all(&frame(HELLO, long.as_bytes()));
            let mut session = connect(&world, uid);
            let _ = session.write_all(&[hello(), frame(SUBMIT, b"no submit")].concat());
        }
        // More handshakes than may be under way.
        let silent: Vec<_> = (0..200).map(|_| connect(&world, uid)).collect();
        drop(silent);
    }
    for uid in users {
        let left_out = format!("more from user {}", user_name(uid));
        eventually("lines that were left out", || {
            // Connections are few enough for a line each, were they not bounded.
            server.errors().contains(&left_out)
                || server.errors().contains(&format!("more from user #{uid}"))
        });
    }
    let seconds = begun.elapsed().as_secs() as usize + 2;
    let errors = server.errors();
    let noise: Vec<_> = errors.lines().filter(|line| line.contains("warning: ")).collect();
    let most = seconds * (users.len() * 4 + 5);
    assert!(noise.len() <= most, "{} lines, {most} at most", noise.len());
    let longest = noise.iter().map(|line| line.len()).max().unwrap_or(0);
    assert!(longest < 400, "a line of {longest} bytes");
}

#[test]
fn frame_that_never_ends_is_ended_while_the_output_is_full() {
    let world = World::new();
    let _server = world.serve();
    for n in 0..40 {
        world.run(&["room", "create", &format!("room{n}")]).ok();
        world.run(&["room", "topic", &format!("room{n}"), &"x".repeat(1_000)]).ok();
    }
    let own = moot::os::own_uid();
    // None of the answers is read: the output fills.
    let rooms: Vec<u8> = (1..=40).flat_map(|n| frame(REQUEST, &[n, 4, 0])).collect();
    let mut stops = open(&world, own).unwrap();
    stops.write_all(&rooms).unwrap();
    // Whole frames alone may wait for ever.
    let mut waits = stops.try_clone().unwrap();
    let mut cut = open(&world, own).unwrap();
    cut.write_all(&[&rooms[..], &frame(SUBMIT, &[0; 60_000])[..50_000]].concat()).unwrap();
    // One that comes in pieces, and ends.
    let mut ends = open(&world, own).unwrap();
    ends.write_all(&[&rooms[..], &rooms[..13]].concat()).unwrap();
    let all = |world: &World| world.who(&["--all"]).0.len();
    eventually("all are here", || all(&world) == 3);
    ends.write_all(&rooms[13..]).unwrap();
    eventually("the one with half a frame has ended", || all(&world) == 2);
    for session in [&mut waits, &mut ends] {
        let mut replies = 0;
        while replies < 40 {
            replies += usize::from(next(session).expect("it is still here").0 == 80);
        }
    }
}

#[test]
fn memory_of_one_user_is_bounded_whatever_it_leaves_unfinished() {
    if !is_root() {
        return;
    }
    let world = World::with_config("[limits]\nconnections_per_second_per_user = 0\n");
    let server = world.serve_with(&["--system"]);
    moot::os::raise_descriptor_limit();
    let mut modest = open(&world, OTHER_UID).unwrap();
    let mut sessions: Vec<_> = (0..2_000).map(|_| open(&world, OTHER_UID).unwrap()).collect();
    let before = machine::memory_kib(server.pid());
    let unfinished = &frame(SUBMIT, &[0; 65_528])[..65_500];
    let mut most = 0;
    for (at, session) in sessions.iter_mut().enumerate() {
        // It may have been ended by now.
        let _ = session.write_all(unfinished);
        if at % 100 == 99 {
            world.run_as(THIRD_UID, &["send", "dev", "bob goes on"]).ok();
            most = most.max(machine::memory_kib(server.pid()).saturating_sub(before));
        }
    }
    assert!(most < 80 * 1024, "{most} KiB for the sessions of one user");
    let ends: BTreeSet<_> = sessions.iter_mut().filter_map(next).map(|(_, why)| why).collect();
    assert!(ends.iter().all(|why| why.contains("reason")), "{ends:?}");
    // Those that kept most have ended, and no other.
    modest.write_all(&join("dev")).unwrap();
    while next(&mut modest).expect("it is here").0 != 80 {}
}

/// Reports and signs of life without end from many sessions: the others are served, and so is the member of the
/// same user that says no more than it has to.
#[test]
fn endless_control_frames_cost_other_members_nothing() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    let mut modest = Process::ready(world.moot_as(OTHER_UID, &["listen", "--json", "dev"]));
    let mut bob = Process::ready(world.moot_as(THIRD_UID, &["listen", "--json", "dev"]));
    let mut floods: Vec<_> = (0..60).map(|_| open(&world, OTHER_UID).unwrap()).collect();
    let signs = [frame(REPORT, &[1, 1, 1, 1]), frame(PONG, b"")].concat().repeat(4_000);
    for flood in &mut floods {
        flood.write_all(&join("dev")).unwrap();
        flood.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
    }
    for n in 0..20 {
        for flood in &mut floods {
            // Frames are not cut: each write that is taken in part ends that session's flood.
            let _ = flood.write(&signs[..signs.len() / 40]);
        }
        let text = format!("message {n}");
        world.run_as(THIRD_UID, &["send", "dev", &text]).ok();
        assert_eq!((bob.texts(1), modest.texts(1)), (vec![text.clone()], vec![text]));
    }
    let (rows, _) = world.who(&["--all"]);
    let modest = rows.iter().find(|row| row["pid"] == modest.pid()).expect("it is here");
    assert_eq!(modest["state"], "online", "{modest}");
}
