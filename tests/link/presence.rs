//! Members of other hosts in `who`.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    nats::Version,
    process::{eventually, note},
    world::{ROOM, World},
};

fn two() -> Option<World> {
    let mut world = World::new(Version::Debian, &["web1", "db1"], ROOM)?;
    world.link_all();
    Some(world)
}

/// Returns the rows of db1's members on web1 by label.
fn states(world: &World, label: &str) -> Vec<String> {
    let rows = world.hosts[0].who("db1");
    let of_label = |row: &&Value| row["label"] == label;
    rows.iter().filter(of_label).map(|row| row["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn member_of_another_host_comes_and_goes() {
    let Some(mut world) = two() else { return };
    assert!(states(&world, "ann").is_empty());
    let member =
        world.hosts[1].member(&["--as", "ann", "--json", "join", "--kind", "person", ROOM]);
    // A member of a room that is not linked is not shown elsewhere.
    let _hidden = world.hosts[1].member(&["--as", "cho", "--json", "listen", "secret"]);
    eventually("ann@db1", || states(&world, "ann") == ["online"]);
    let rows = world.hosts[0].who("db1");
    assert!(rows.iter().all(|row| row["user"].as_str().unwrap().ends_with("@db1")), "{rows:?}");
    world.hosts[1].run(&["away", "lunch"]).ok();
    eventually("ann@db1 is away", || states(&world, "ann") == ["away"]);
    assert!(states(&world, "cho").is_empty());
    drop(member);
    eventually("ann@db1 left", || states(&world, "ann").is_empty());
    // Rows come again after everything between was killed.
    let _member = world.hosts[1].member(&["--as", "eve", "--json", "listen", ROOM]);
    eventually("eve@db1", || !states(&world, "eve").is_empty());
    world.nats.kill();
    world.hosts[0].kill_server();
    world.hosts[0].serve();
    world.nats.run();
    eventually("eve@db1 again", || !states(&world, "eve").is_empty());
    // They go with the link of the host that shows them.
    let begun = Instant::now();
    world.hosts[0].kill_link();
    eventually("no rows of db1", || world.hosts[0].who("db1").is_empty());
    note(&format!("rows were gone {:?} after the link's end", begun.elapsed()));
}

#[test]
fn silent_host_is_unreachable_until_it_speaks() {
    let Some(mut world) = two() else { return };
    let _member =
        world.hosts[1].member(&["--as", "ann", "--json", "join", "--kind", "person", ROOM]);
    eventually("ann@db1", || states(&world, "ann") == ["online"]);
    world.set_cable(1, false);
    let begun = Instant::now();
    eventually("ann@db1 is unreachable", || states(&world, "ann") == ["unreachable"]);
    assert!(begun.elapsed() >= Duration::from_secs(5), "expected a silence of 15 s");
    world.set_cable(1, true);
    eventually("ann@db1 is back", || states(&world, "ann") == ["online"]);
    // A link that ends says so.
    world.hosts[1].link.as_ref().unwrap().signal("TERM");
    eventually("ann@db1 is unreachable", || states(&world, "ann") == ["unreachable"]);
    world.hosts[1].link.as_mut().unwrap().code();
}
