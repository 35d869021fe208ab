//! A host whose history was put back to an older backup.

use super::{
    nats::Version,
    world::{ROOM, World},
};

fn put_back(linked: bool) {
    let Some(mut world) = World::linked(Version::Debian) else { return };
    let backup = world.hosts[0].dir.with_extension("backup");
    let backup = backup.to_str().unwrap().to_owned();
    let said = |world: &World, from: usize, text: &str| {
        world.hosts[from].send(ROOM, text);
        world.hosts.iter().for_each(|host| host.hears(ROOM, text));
    };
    said(&world, 0, "web1 before");
    said(&world, 1, "db1 before");
    world.hosts[0].run(&["backup", &backup]).ok();
    for number in 1..=5 {
        said(&world, 0, &format!("web1 lost {number}"));
        said(&world, 1, &format!("db1 kept {number}"));
    }
    if !linked {
        world.hosts[0].kill_link();
    }
    world.hosts[0].end_server();
    world.hosts[0].run(&["restore", &backup]).ok();
    world.hosts[0].serve();
    if !linked {
        // These get the numbers of the lost ones.
        world.hosts[0].send(ROOM, "web1 while unlinked");
        world.hosts[0].link();
    }
    for number in 1..=5 {
        world.hosts[0].send(ROOM, &format!("web1 after {number}"));
        world.hosts[1].send(ROOM, &format!("db1 after {number}"));
    }
    for host in &world.hosts {
        host.hears(ROOM, "web1 after 5");
        host.hears(ROOM, "db1 after 5");
    }
    // The messages of other hosts that the backup lacks came again, and none came twice.
    let all = world.hosts[0].texts(ROOM);
    for (number, host) in (1..=5).flat_map(|n| ["kept", "after"].map(|word| (n, word))) {
        let text = format!("db1 {host} {number}");
        assert_eq!(all.iter().filter(|of| **of == text).count(), 1, "{text} in {all:#?}");
    }
    for host in &world.hosts[1..] {
        let texts = host.texts(ROOM);
        let mut unique = texts.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), texts.len(), "expected no text twice: {texts:#?}");
        for number in 1..=5 {
            for text in ["web1 lost", "web1 after", "db1 kept", "db1 after"] {
                let text = format!("{text} {number}");
                assert!(texts.contains(&text), "{text} on {}: {texts:#?}", host.name);
            }
        }
        assert_eq!(texts.contains(&"web1 while unlinked".to_owned()), !linked, "{texts:#?}");
    }
}

#[test]
fn restored_history_of_a_host_loses_no_text_elsewhere() {
    put_back(false);
}

#[test]
fn history_restored_under_a_running_link_loses_no_text() {
    put_back(true);
}

#[test]
fn room_that_was_deleted_is_carried_again() {
    let Some(world) = World::linked(Version::Debian) else { return };
    for number in 1..=3 {
        let text = format!("before {number}");
        world.hosts[0].send(ROOM, &text);
        world.hosts.iter().for_each(|host| host.hears(ROOM, &text));
    }
    world.hosts[0].run(&["room", "delete", ROOM]).ok();
    // They get numbers that others know with other texts.
    for number in 1..=3 {
        world.hosts[0].send(ROOM, &format!("after {number}"));
    }
    world.hosts[1].send(ROOM, "from db1");
    world.hosts[0].hears(ROOM, "from db1");
    for host in &world.hosts[1..] {
        host.hears(ROOM, "after 3");
        let texts = host.texts(ROOM);
        let own: Vec<_> = texts.iter().filter(|text| !text.contains("begins")).collect();
        let expected = ["before 1", "before 2", "before 3", "after 1", "after 2", "after 3"];
        let of_web1: Vec<_> = own.iter().filter(|text| **text != "from db1").collect();
        assert_eq!(of_web1, expected.iter().collect::<Vec<_>>(), "{}", host.name);
    }
}
