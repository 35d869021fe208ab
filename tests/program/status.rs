//! `status` for collectors and for people who keep looking.

use std::collections::HashMap;

use prometheus_parse::{Scrape, Value};

use crate::world::{Process, World, eventually};

/// What a collector reads.
#[track_caller]
fn scraped(text: &str) -> HashMap<String, f64> {
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(scrape.samples.len(), lines, "{text}");
    let number = |value| match value {
        Value::Counter(n) | Value::Gauge(n) => n,
        other => panic!("{other:?}"),
    };
    scrape.samples.into_iter().map(|s| (s.metric, number(s.value))).collect()
}

#[test]
fn a_collector_reads_the_counters() {
    let world = World::new();
    let _server = world.serve();
    let _member = world.listen(&["dev"]);
    for text in ["one", "two", "three"] {
        world.run(&["send", "dev", text]).ok();
    }
    let done = world.run(&["status", "--metrics"]).ok();
    let read = scraped(&done.out);
    let expected = [
        ("moot_up", 1.0),
        ("moot_degraded", 0.0),
        ("moot_build_info", 1.0),
        ("moot_members", 1.0),
        ("moot_rooms", 1.0),
        ("moot_messages_total", 3.0),
        ("moot_history_enabled", 1.0),
        ("moot_history_messages", 3.0),
    ];
    for (name, value) in expected {
        assert_eq!(read.get(name), Some(&value), "{name}: {}", done.out);
    }
    let version = format!("moot_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"));
    assert!(done.out.contains(&version), "{}", done.out);
}

#[test]
fn a_collector_learns_that_there_is_no_server_or_that_it_hangs() {
    let world = World::new();
    let none = world.run(&["status", "--metrics"]).exits(3);
    assert_eq!(scraped(&none.out), HashMap::from([("moot_up".to_owned(), 0.0)]));
    let server = world.serve();
    server.signal("STOP");
    let hung = world.run(&["status", "--metrics"]).exits(1);
    assert_eq!(scraped(&hung.out), HashMap::from([("moot_up".to_owned(), 0.0)]));
    assert!(hung.err.contains("degraded"), "{}", hung.err);
    server.signal("CONT");
    world.run(&["status", "--metrics", "--watch"]).exits(2);
    world.run(&["status", "--metrics", "--json"]).exits(2);
}

#[test]
fn watch_continues_while_the_server_is_away() {
    let world = World::new();
    world.run(&["status", "--watch"]).exits(3);
    let mut server = world.serve();
    let mut watcher = Process::spawn(world.moot(&["status", "--watch", "--json"]));
    assert_eq!(watcher.next("the first")["pid"], server.pid());
    assert_eq!(watcher.next("a second later")["type"], "status");
    world.end(&mut server);
    eventually("it says that there is none", || watcher.errors().contains(r#""code":3"#));
    let server = world.serve();
    let is_new = |watcher: &mut Process| watcher.next("again")["pid"] == server.pid();
    while !is_new(&mut watcher) {}
    assert_eq!(watcher.errors().lines().count(), 1, "said once: {}", watcher.errors());
    drop(watcher);
    let done = world.run(&["status", "--watch", "--timeout", "1100ms"]).exits(124);
    assert!(done.out.matches("directory ").count() >= 2, "{}", done.out);
    assert!(!done.out.contains('\u{1b}'), "a pipe is no terminal: {:?}", done.out);
}

// A terminal made by script(1).
#[cfg(unix)]
#[test]
fn on_a_terminal_it_is_drawn_in_place() {
    use std::process::{Command, Stdio};

    use crate::world::{Done, skipped};
    if Command::new("script").arg("--version").output().is_err() {
        skipped("script(1) is not installed");
        return;
    }
    let world = World::new();
    let _server = world.serve();
    let moot = env!("CARGO_BIN_EXE_moot");
    let shell = format!("{moot} status --watch --timeout 1100ms");
    let mut command = world.command("script".as_ref(), &["-qec", &shell, "/dev/null"]);
    command.env("TERM", "xterm").stdin(Stdio::null());
    let done = Done::of(command, None).exits(124);
    let again = done.out.split("\u{1b}[9A").count() - 1;
    assert!(again >= 1, "nine lines up, and over them: {:?}", done.out);
    assert!(done.out.trim_end().ends_with("\u{1b}[J\u{1b}[?7h"), "{:?}", done.out);
    let opened = done.out.matches("\u{1b}[?7l").count();
    assert_eq!(opened, done.out.matches("\u{1b}[?7h").count(), "nothing is left to restore");
}
