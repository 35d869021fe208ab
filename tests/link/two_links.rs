//! Two links of one host by mistake: the second ends with a reason, the first goes on.

use std::time::Duration;

use super::{
    checker::{self, Writer},
    nats::Version,
    process::note,
    world::{ROOM, World},
};

#[test]
fn second_link_of_a_server_ends_with_a_reason() {
    let Some(mut world) = World::new(Version::Debian, &["web1", "db1"], ROOM) else { return };
    world.link_all();
    let mut second = world.hosts[0].other_link("web1");
    assert_ne!(second.code(), 0);
    assert!(second.errors().contains("links this host already"), "{}", second.errors());
    world.hosts[0].send(ROOM, "still linked");
    world.hosts[1].hears(ROOM, "still linked");
}

/// The link of `db1` is begun as `web1`, while `web1` and `lap2` are linked.
fn second_host(version: Version) {
    let names = ["web1", "lap2", "db1"];
    let Some(mut world) = World::new(version, &names, ROOM) else { return };
    world.link_all();
    world.hosts[2].kill_link();
    let pause = Duration::from_millis(10);
    let mut writers: Vec<_> =
        world.hosts.iter().map(|host| Writer::begin(host, ROOM, "a", pause)).collect();
    writers.iter().for_each(|writer| writer.progress(10));
    let mut second = world.hosts[2].other_link("web1");
    let code = second.code();
    note(&format!("the second link ended: {code} {}", second.errors()));
    assert_ne!(code, 0);
    assert!(second.errors().contains("another link publishes as web1"), "{}", second.errors());
    writers.iter().for_each(|writer| writer.progress(10));
    let first = world.hosts[0].link.as_mut().unwrap();
    assert_eq!(first.ended(), None, "expected the first to go on: {}", first.errors());
    world.hosts[2].link();
    checker::check(&world, &mut writers);
}

#[test]
fn second_host_of_a_name_ends_with_a_reason() {
    second_host(Version::Debian);
}

#[test]
fn two_hosts_of_a_name_that_begin_at_once_leave_one() {
    let Some(mut world) = World::new(Version::Debian, &["web1", "lap2", "db1"], ROOM) else {
        return;
    };
    for host in &mut world.hosts[..2] {
        host.begin_link();
    }
    world.hosts[2].link = Some(world.hosts[2].other_link("web1"));
    let mut loser = None;
    super::process::eventually("the end of one of two links", || {
        loser = [0, 2].into_iter().find(|at| {
            let link: &mut super::process::Process = world.hosts[*at].link.as_mut().unwrap();
            link.ended().is_some()
        });
        loser.is_some()
    });
    let (loser, winner) = if loser == Some(0) { (0, 2) } else { (2, 0) };
    let errors = world.hosts[loser].link.as_ref().unwrap().errors();
    assert!(errors.contains("another link publishes as web1"), "{errors}");
    world.hosts[1].linked();
    world.hosts[winner].linked();
    world.hosts[winner].send(ROOM, "of the one that stays");
    world.hosts[1].hears(ROOM, "of the one that stays");
}
