//! `moot bench`: what it says, and that it leaves nothing behind.

use super::world::World;

#[test]
fn bench_counts_all_messages_and_leaves_nothing() {
    let world = World::new();
    let _server = world.serve();
    for (time, more) in [
        ("300ms", &["--members", "12", "--senders", "3"][..]),
        // A disk may need a second for its first transaction.
        ("3s", &["--members", "2", "--room-history", "on", "--size", "1024"]),
        ("300ms", &["--members", "5", "--rate", "200"]),
        ("300ms", &["--members", "2", "--processes", "--rate", "100"]),
    ] {
        let args = [&["--json", "bench", "--for", time], more].concat();
        let done = world.run(&args).ok();
        let result = &done.objects()[0];
        assert_eq!(result["type"], "bench", "{more:?}");
        assert_eq!((result["lost"].as_u64(), result["disordered"].as_u64()), (Some(0), Some(0)));
        assert!(result["messages"].as_u64().unwrap() > 0, "{more:?}: {result}");
        let members = result["members"].as_u64().unwrap();
        let (messages, deliveries) = (&result["messages"], &result["deliveries"]);
        assert_eq!(messages.as_u64(), Some(deliveries.as_u64().unwrap() / members));
        assert_eq!(result["history"], more.contains(&"--room-history"));
    }
    assert_eq!(world.run(&["--json", "rooms"]).ok().out, "", "its rooms are gone");
    assert_eq!(world.run(&["who", "--count"]).ok().out, "0\n");
}

#[test]
fn a_bench_is_for_people_as_well() {
    let world = World::new();
    let _server = world.serve();
    let done = world.run(&["bench", "--for", "1200ms", "--members", "3", "--rate", "50"]).ok();
    for word in ["1 sender to 3 members", "50/s", "0 lost, 0 out of order", "latency"] {
        assert!(done.out.contains(word), "{word}: {}", done.out);
    }
    assert!(done.err.contains("/s deliveries"), "it says how far it is: {}", done.err);
}

/// A sender that seldom says something is not one that gets no answer.
#[test]
fn a_slow_rate_is_no_time_limit() {
    let world = World::new();
    let _server = world.serve();
    let args = ["--timeout", "2s", "bench", "--rate", "1", "--senders", "3", "--for", "4s"];
    let done = world.run(&args).ok();
    assert!(done.out.contains("0 lost"), "{}", done.out);
}

#[test]
fn impossible_measurement_is_refused() {
    let world = World::new();
    world.run(&["bench", "--for", "100ms"]).exits(3);
    for bad in [["--size", "10"], ["--rate", "0"], ["--members", "0"], ["--for", "x"]] {
        world.run(&[&["bench"][..], &bad].concat()).exits(2);
    }
    world.run(&["who"]).exits(3);
}

// A signal of a shell.
#[cfg(unix)]
#[test]
fn an_interrupted_bench_leaves_nothing() {
    use super::world::{Process, eventually};
    let world = World::new();
    let _server = world.serve();
    let messages = || {
        let status = world.run(&["--json", "status"]).ok();
        status.objects()[0]["messages"].as_u64().unwrap()
    };
    for history in ["on", "off", "off"] {
        let before = messages();
        let args = ["bench", "--for", "1h", "--members", "20", "--room-history", history];
        let mut bench = Process::spawn(world.moot(&args));
        eventually("messages", || messages() > before);
        bench.signal("INT");
        assert_eq!(bench.code(), 130);
        // Nobody is left who could make it anew.
        assert_eq!(world.run(&["--json", "rooms"]).ok().out, "");
    }
}
