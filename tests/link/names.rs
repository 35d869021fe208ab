//! Users, replies and times of other hosts.

use super::{
    nats::Version,
    process::{eventually, skipped},
    world::{ROOM, World},
};

#[test]
fn banned_user_of_another_host_is_not_heard() {
    let Some(world) = World::linked(Version::Debian) else { return };
    let history = world.hosts[0].history(ROOM);
    let of_db1 = history.iter().find(|message| message["from"]["host"] == "db1").unwrap();
    let user = format!("@{}", of_db1["from"]["user"].as_str().unwrap());
    assert!(user.ends_with("@db1"), "{user}");
    world.hosts[0].run(&["room", "ban", ROOM, &user]).ok();
    world.hosts[1].send(ROOM, "from db1");
    world.hosts[2].send(ROOM, "from lap2");
    world.hosts[0].hears(ROOM, "from lap2");
    world.hosts[2].hears(ROOM, "from db1");
    eventually("a refusal", || world.hosts[0].counter("refused_total", "db1") > 0);
    assert!(!world.hosts[0].texts(ROOM).iter().any(|text| text == "from db1"));
    // The user of that name here is another one.
    world.hosts[0].send(ROOM, "the same user of web1");
    world.hosts[1].hears(ROOM, "the same user of web1");
    world.hosts[0].run(&["room", "unban", ROOM, &user]).ok();
    world.hosts[1].send(ROOM, "again from db1");
    world.hosts[0].hears(ROOM, "again from db1");
}

#[test]
fn reply_refers_to_the_same_text_on_all_hosts() {
    let Some(world) = World::linked(Version::Debian) else { return };
    let question = "which port?";
    world.hosts[0].send(ROOM, question);
    for (from, answer) in [(1, "5432"), (2, "no, 5433"), (0, "thanks")] {
        world.hosts[from].hears(ROOM, question);
        let history = world.hosts[from].history(ROOM);
        let asked = history.iter().find(|message| message["text"] == question).unwrap();
        let id = asked["id"].as_str().unwrap();
        world.hosts[from].run(&["send", "--reply-to", id, ROOM, answer]).ok();
        for host in &world.hosts {
            host.hears(ROOM, answer);
            let history = host.history(ROOM);
            let reply = history.iter().find(|message| message["text"] == answer).unwrap();
            let to = history.iter().find(|message| message["id"] == reply["reply_to"]);
            assert_eq!(
                to.map(|to| &to["text"]),
                Some(&question.into()),
                "{answer} on {}",
                host.name
            );
        }
    }
}

#[test]
fn room_name_is_folded_between_hosts() {
    let Some(mut world) = World::new(Version::Debian, &["web1", "db1"], "Straße,회의") else {
        return;
    };
    world.link_all();
    world.hosts[1].send("STRASSE", "in capitals");
    world.hosts[0].hears("straße", "in capitals");
    world.hosts[0].send("회의", "안녕 \u{1b}[31m red \\ \"quoted\" 👩‍💻");
    world.hosts[1].hears("회의", &world.hosts[0].texts("회의").pop().unwrap());
}

#[test]
fn clock_that_is_ahead_disturbs_no_order() {
    let done = std::process::Command::new("faketime").arg("--version").output();
    if done.is_err() {
        return skipped("no faketime");
    }
    let Some(mut world) = World::new(Version::Debian, &["web1", "db1"], ROOM) else { return };
    world.hosts[1].end_server();
    world.hosts[1].serve_by(Some(&["faketime", "-f", "+1h"]));
    world.link_all();
    for (from, text) in [(1, "an hour ahead"), (0, "now"), (1, "ahead again")] {
        world.hosts[from].send(ROOM, text);
        world.hosts[1 - from].hears(ROOM, text);
    }
    let own: Vec<_> = world.hosts[0].texts(ROOM);
    assert!(own.ends_with(&["an hour ahead", "now", "ahead again"].map(str::to_owned)), "{own:?}");
}
