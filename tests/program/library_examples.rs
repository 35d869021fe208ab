//! The examples of the library, as programs of their own.

use std::{path::Path, process::Command, time::Duration};

use moot::client::{LinkError, Server};

use super::world::{Done, Process, World, eventually};

/// Starts an example; `cargo test` has it rebuilt first, and `tests/run` has built it.
fn example(world: &World, name: &str, args: &[&str]) -> Command {
    let folder = Path::new(env!("CARGO_BIN_EXE_moot")).parent().unwrap();
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--example", name]);
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        build.args(["--manifest-path", manifest, "--target-dir"]).arg(folder.parent().unwrap());
        assert!(build.status().unwrap().success(), "example {name}");
    }
    world.command(&folder.join("examples").join(name), args)
}

#[test]
fn examples_say_listen_and_bot_work_together() {
    let world = World::new();
    let _server = world.serve();
    let server = Server::find(Some(world.dir.to_str().unwrap())).unwrap();
    let members = || server.who().unwrap().rows.iter().filter(|row| !row.visitor).count();
    let mut listener = Process::spawn(example(&world, "listen", &["dev"]));
    eventually("the listener joins", || members() == 1);
    let said = Done::of(example(&world, "say", &["dev", "hello"]), None);
    assert_eq!(said.ok().out, "dev:1 for 1 other sessions\n");
    let user = server.who().unwrap().rows[0].user.to_string();
    assert_eq!(listener.line("the message"), format!("dev:1 {user}: hello"));
    let _bot = Process::spawn(example(&world, "bot", &["dev"]));
    eventually("the bot joins", || members() == 2);
    Done::of(example(&world, "say", &["dev", &format!("@{user} hello")]), None).ok();
    listener.line("the question");
    let reply = listener.line("the reply");
    assert!(reply.starts_with(&format!("dev:3 {user}/bot: {user}, you wrote ")), "{reply}");
}

#[test]
fn jobs_of_the_library_have_replies_and_failures() {
    let world = World::new();
    let mut process = world.serve();
    let server = Server::find(Some(world.dir.to_str().unwrap())).unwrap();
    let room = "sums".parse().unwrap();
    let _worker = Process::spawn(example(&world, "worker", &["sums"]));
    for (job, sum) in [("1 2 3", "6"), ("40 2", "42")] {
        let outcome = server.ask(&room, job).unwrap();
        assert_eq!((outcome.reply.unwrap().text.as_str(), outcome.failed), (sum, false));
    }
    world.end(&mut process);
    let _restarted = world.serve();
    let outcome = server.ask(&room, "x").unwrap();
    assert!(outcome.failed && outcome.reply.unwrap().text.contains("not a list"));
    let error = server.within(Duration::from_millis(300)).ask(&"none".parse().unwrap(), "?");
    assert!(matches!(error, Err(LinkError::TimedOut)), "{error:?}");
}
