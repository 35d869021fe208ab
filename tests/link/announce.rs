//! Announcements between hosts, and the receipts that come back.

use serde_json::Value;

use super::{
    nats::Version,
    process::eventually,
    world::{ROOM, World},
};

/// Row of a host in the receipt of an announcement.
fn row(world: &World, id: &str, host: &str) -> Value {
    let shown = world.hosts[0].run(&["--json", "notices", "show", id]).ok().objects();
    let rows = shown[0]["hosts"].as_array().cloned().unwrap_or_default();
    rows.into_iter().find(|row| row["host"] == host).unwrap_or(Value::Null)
}

#[test]
fn announcement_reaches_members_of_all_hosts_once() {
    let Some(mut world) = World::linked(Version::Debian) else { return };
    let mut members: Vec<_> = world
        .hosts
        .iter()
        .map(|host| host.member(&["--json", "listen", "--announcements"]))
        .collect();
    let sent = world.hosts[0].run(&["--json", "announce", "--ack", "reboot at 18:00"]).ok();
    let id = sent.objects()[0]["id"].as_str().unwrap().to_owned();
    for (host, member) in world.hosts.iter().zip(&mut members) {
        let notice = member.next_of("announcement");
        assert_eq!(notice["text"], "reboot at 18:00", "{}", host.name);
        assert_eq!(notice["from"]["host"].is_string(), host.name != "web1", "{notice}");
    }
    eventually("the receipt of db1", || row(&world, &id, "db1")["reached"] == 1);
    assert_eq!(row(&world, &id, "db1")["acked"], 0);
    let here = world.hosts[1].run(&["--json", "notices", "list"]).ok().objects();
    let number = here[0]["id"].as_str().unwrap();
    world.hosts[1].run(&["notices", "ack", number]).ok();
    eventually("the acknowledgment on db1", || row(&world, &id, "db1")["acked"] == 1);
    // Once, also when the links begin again.
    for host in &mut world.hosts {
        host.kill_link();
        host.link();
    }
    world.hosts[2].run(&["announce", "the second one"]).ok();
    for member in &mut members {
        assert_eq!(member.next_of("announcement")["text"], "the second one");
    }
}

#[test]
fn unlinked_host_is_named_in_the_receipt() {
    let Some(mut world) = World::linked(Version::Debian) else { return };
    let mut member = world.hosts[1].member(&["--json", "listen", "--announcements"]);
    let linked = |world: &World, id: &str, host: &str| row(world, id, host)["linked"].clone();
    let announce = |world: &World, text: &str| {
        let sent = world.hosts[0].run(&["--json", "announce", text]).ok().objects();
        sent[0]["id"].as_str().unwrap().to_owned()
    };
    let id = announce(&world, "all are here");
    eventually("a row of lap2", || linked(&world, &id, "lap2") == true);
    world.hosts[2].link.as_mut().unwrap().signal("TERM");
    world.hosts[2].link.as_mut().unwrap().code();
    let mut id = String::new();
    eventually("lap2 is not linked", || {
        id = announce(&world, "lap2 left");
        linked(&world, &id, "lap2") == false
    });
    eventually("the receipt of db1", || row(&world, &id, "db1")["reached"] == 1);
    assert_eq!(member.next_of("announcement")["text"], "all are here");
    let all = ["announce", "--require", "all", "--timeout", "20s", "who has it?"];
    assert_ne!(world.hosts[0].run(&all).code, 0, "expected lap2 to count as missing");
    world.hosts[2].link();
    eventually("lap2 has it", || row(&world, &id, "lap2")["linked"] == true);
}

#[test]
fn announcement_of_an_unlinked_room_stays_here() {
    let Some(world) = World::linked(Version::Debian) else { return };
    world.hosts[0].send("secret", "begin");
    world.hosts[1].send("secret", "begin");
    let mut member =
        world.hosts[1].member(&["--json", "listen", "--announcements", "secret", ROOM]);
    world.hosts[0].run(&["announce", "--to", "secret", "only here"]).ok();
    world.hosts[0].run(&["announce", "--to", ROOM, "for dev"]).ok();
    assert_eq!(member.next_of("announcement")["text"], "for dev");
}
