//! A stream that was purged, deleted, lost with its directory, or put back: moot's own histories
//! fill it again.

use std::time::Duration;

use super::{
    checker::{self, Writer},
    nats::Version,
    process::eventually,
    world::{ROOM, World},
};

/// Pause of each writer between two texts.
const PAUSE: Duration = Duration::from_millis(10);

/// An accident of the stream. It calls the function while the stream is missing.
type Accident = fn(&mut World, &dyn Fn());

/// Has all hosts write before, during and after each accident of the stream, one of them
/// not linked meanwhile.
fn survives(version: Version, accidents: &[Accident]) {
    let Some(mut world) = World::linked(version) else { return };
    let mut writers: Vec<_> =
        world.hosts.iter().map(|host| Writer::begin(host, ROOM, "a", PAUSE)).collect();
    let progress = || writers.iter().for_each(|writer| writer.progress(15));
    progress();
    for accident in accidents {
        world.hosts[2].kill_link();
        progress();
        accident(&mut world, &progress);
        progress();
        world.hosts[2].link();
        progress();
    }
    checker::check(&world, &mut writers);
}

fn purge(world: &mut World) {
    let reply = world.nats.api("STREAM.PURGE.MOOT", "");
    assert_eq!(reply["success"], true, "{reply}");
}

fn delete(world: &mut World, between: &dyn Fn()) {
    let reply = world.nats.api("STREAM.DELETE.MOOT", "");
    assert_eq!(reply["success"], true, "{reply}");
    between();
    world.create_stream();
}

fn lose_directory(world: &mut World, between: &dyn Fn()) {
    world.nats.kill();
    std::fs::remove_dir_all(world.nats.store()).unwrap();
    between();
    world.nats.run();
    world.create_stream();
}

fn put_back(world: &mut World, between: &dyn Fn()) {
    let copy = world.nats.store().with_extension("copy");
    world.nats.kill();
    copy_tree(&world.nats.store(), &copy);
    world.nats.run();
    between();
    // Everything that was written meanwhile is with others, and no longer here.
    let text = "the last one before the old copy";
    world.hosts[0].send(ROOM, text);
    world.hosts[1].hears(ROOM, text);
    world.nats.kill();
    std::fs::remove_dir_all(world.nats.store()).unwrap();
    std::fs::rename(&copy, world.nats.store()).unwrap();
    world.nats.run();
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(done.unwrap().success());
}

#[test]
fn purged_deleted_or_lost_stream_loses_no_message() {
    survives(Version::Debian, &[|world, _| purge(world), delete, lose_directory]);
}

#[test]
fn older_copy_of_the_store_loses_no_message() {
    survives(Version::Debian, &[put_back]);
}

#[test]
fn current_server_loses_no_message_of_a_stream() {
    survives(Version::Current, &[put_back, lose_directory]);
}

#[test]
fn purged_messages_come_without_new_ones() {
    let Some(mut world) = World::new(Version::Debian, &["web1", "db1"], ROOM) else { return };
    world.link_all();
    world.hosts[1].kill_link();
    let text = "said while db1 was away";
    world.hosts[0].send(ROOM, text);
    eventually("the export", || {
        world.nats.api("STREAM.INFO.MOOT", "")["state"]["messages"].as_u64() == Some(3)
    });
    purge(&mut world);
    world.hosts[1].link();
    world.hosts[1].hears(ROOM, text);
}

#[test]
fn first_messages_of_a_host_come_after_a_break() {
    let Some(mut world) = World::new(Version::Debian, &["web1", "db1"], ROOM) else { return };
    for host in &mut world.hosts {
        host.link();
    }
    // It was linked, and has not heard web1 yet.
    world.hosts[1].kill_link();
    let texts: Vec<_> = (1..=5).map(|n| format!("early {n}")).collect();
    for (at, text) in (1..).zip(&texts) {
        world.hosts[0].send(ROOM, text);
        eventually("the export", || {
            world.nats.api("STREAM.INFO.MOOT", "")["state"]["messages"].as_u64() == Some(at)
        });
    }
    world.hosts[1].link();
    world.hosts[1].hears(ROOM, &texts[4]);
    assert_eq!(world.hosts[1].texts(ROOM), texts);
}

#[test]
fn removed_batch_becomes_a_visible_gap() {
    let Some(mut world) = World::new(Version::Debian, &["web1", "db1"], ROOM) else { return };
    world.link_all();
    world.hosts[1].kill_link();
    let texts: Vec<_> = (1..=4).map(|n| format!("text {n}")).collect();
    for (at, text) in (3..).zip(&texts) {
        world.hosts[0].send(ROOM, text);
        eventually("the export", || {
            world.nats.api("STREAM.INFO.MOOT", "")["state"]["messages"].as_u64() == Some(at)
        });
    }
    let reply = world.nats.api("STREAM.MSG.DELETE.MOOT", r#"{"seq":4}"#);
    assert_eq!(reply["success"], true, "{reply}");
    world.hosts[1].link();
    world.hosts[1].hears(ROOM, &texts[3]);
    let history = world.hosts[1].history(ROOM);
    let of_web1: Vec<_> =
        history.iter().filter(|message| message["from"]["host"] == "web1").skip(1).collect();
    let heard: Vec<_> = of_web1.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!([heard[0], heard[2], heard[3]], [&texts[0], &texts[2], &texts[3]], "{heard:?}");
    assert!(heard.len() == 4 && heard[1].contains("missing"), "expected one gap: {heard:?}");
    assert_eq!(of_web1[1]["from"]["user"], "link@web1");
    eventually("a counted gap", || world.hosts[1].counter("gaps_total", "web1") == 1);
}
