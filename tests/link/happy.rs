//! Messages between hosts when nothing fails, and the check of that.

use std::time::Duration;

use super::{
    checker::{self, Writer},
    nats::Version,
    process::Done,
    world::{ROOM, World},
};

#[test]
fn messages_of_all_hosts_are_everywhere_once() {
    let Some(world) = World::linked(Version::Debian) else { return };
    let mut writers: Vec<_> = world
        .hosts
        .iter()
        .flat_map(|host| {
            ["a", "b"].map(|name| Writer::begin(host, ROOM, name, Duration::from_millis(1)))
        })
        .collect();
    writers.iter().for_each(|writer| writer.progress(100));
    checker::check(&world, &mut writers);
}

#[test]
fn check_tells_a_working_link_from_a_broken_one() {
    let Some(mut world) = World::new(Version::Debian, &["web1", "db1"], ROOM) else { return };
    let checked = world.hosts[0].check_link("web1", "web1").ok();
    // The town has no TLS.
    let is_good = |line: &str| line.starts_with("ok ") || line.contains("is not encrypted");
    assert!(checked.out.lines().count() > 8 && checked.out.lines().all(is_good), "{}", checked.out);
    let has_problem = |checked: &Done, of: &str| {
        let found =
            checked.out.lines().any(|line| line.starts_with("problem") && line.contains(of));
        assert!(found, "a problem with {of}: {}", checked.out);
    };
    let checked = world.hosts[0].check_link("web1", "nosuch").exits(1);
    has_problem(&checked, "credentials");
    let checked = world.hosts[0].check_link("db1", "web1").exits(1);
    has_problem(&checked, "db1");
    world.nats.kill();
    has_problem(&world.hosts[0].check_link("web1", "web1").exits(1), "refused");
}
