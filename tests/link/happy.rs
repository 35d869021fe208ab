//! Messages between hosts when nothing fails.

use std::time::Duration;

use super::{
    checker::{self, Writer},
    nats::Version,
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
