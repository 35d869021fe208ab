//! What everybody does every day: talk, listen, look who is here, announce.

use super::world::World;

#[test]
fn what_is_said_reaches_those_who_listen_and_stands_when_send_ends() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let sent = world.run(&["send", "--json", "dev", "build", "ok"]).ok().objects();
    assert_eq!((sent[0]["seq"].as_u64(), sent[0]["members"].as_u64()), (Some(1), Some(1)));
    let message = bob.next("the message");
    assert_eq!(message["text"], "build ok");
    assert_eq!(message["id"], sent[0]["id"]);
}

#[test]
fn a_server_starts_by_itself_and_a_command_substitution_does_not_hang() {
    let world = World::new();
    let mut shell = std::process::Command::new("sh");
    let moot = env!("CARGO_BIN_EXE_moot");
    shell.args(["-c", &format!("x=$({moot} send dev hi 2>&1); echo \"[$x]\"; {moot} who --count")]);
    shell.env("MOOT_SERVER", &world.dir).env("PATH", "/usr/bin:/bin");
    shell.stdin(std::process::Stdio::null());
    shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let done = super::world::Done::of(shell, None).ok();
    assert!(done.out.starts_with("[no server: starting one in the background"), "{}", done.out);
    assert!(done.out.ends_with("]\n0\n"), "{}", done.out);
    world.run(&["stop"]).ok();
    world.run(&["who"]).exits(3);
    world.run(&["send", "--no-start", "dev", "hi"]).exits(3);
}

#[test]
fn an_announcement_says_honestly_who_was_reached() {
    let world = World::new();
    let _server = world.serve();
    let mut bob = world.listen(&["dev"]);
    let eve = world.listen(&["--as", "eve", "dev"]);
    let done = world.run(&["announce", "--level", "warning", "reboot at 18:00"]).ok();
    assert_eq!(done.out, "reached 2 of 2\n");
    assert_eq!(bob.next_of("announcement")["level"], "warning");
    eve.signal("STOP");
    let args = ["announce", "--json", "--require", "all", "--timeout", "300ms", "again"];
    let done = world.run(&args).exits(6);
    let receipt = &done.objects()[0];
    assert_eq!((receipt["members"].as_u64(), receipt["reached"].as_u64()), (Some(2), Some(1)));
    assert_eq!(receipt["missing"][0]["pid"], eve.pid());
    eve.signal("CONT");
}

#[test]
fn join_chats_in_line_mode_and_sees_who_comes_and_goes() {
    let world = World::new();
    let _server = world.serve();
    let mut ann = world.join(&["dev"]);
    let mut bob = world.join(&["--as", "bob", "dev"]);
    assert!(ann.next_of("joined")["member"]["name"].as_str().unwrap().ends_with("/bob"));
    bob.say("hi there");
    assert_eq!(ann.texts(1), ["hi there"]);
    ann.say("//slash");
    assert_eq!(bob.texts(2), ["hi there", "/slash"]);
    bob.say("/quit");
    assert_eq!(bob.code(), 0);
    assert_eq!(ann.next_of("left")["reason"], "quit");
}
