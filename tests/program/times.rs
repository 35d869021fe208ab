//! Times that are typed mean exactly what is typed, and times that are shown say their day.

use jiff::{SignedDuration, Timestamp, Zoned, civil, tz::TimeZone};
use serde_json::Value;

use super::world::{Done, World};

fn texts(objects: &[Value]) -> Vec<&str> {
    objects.iter().filter_map(|object| object["text"].as_str()).collect()
}

/// Runs a command in another time zone.
fn run_in(world: &World, zone: &str, args: &[&str]) -> Done {
    let mut command = world.moot(args);
    command.env("TZ", zone);
    Done::of(command, None)
}

/// A zone in which it is about noon, so that an hour more or less is the same day.
fn noon_zone() -> (String, TimeZone) {
    let ahead = 12 - Timestamp::now().to_zoned(TimeZone::UTC).hour();
    let zone = TimeZone::fixed(jiff::tz::Offset::from_hours(ahead).unwrap());
    (format!("NOON{:+}", -ahead), zone)
}

#[test]
fn announcement_waits_for_exactly_the_typed_time() {
    let world = World::new();
    let _server = world.serve();
    let day = Timestamp::now().to_zoned(TimeZone::UTC).date() + SignedDuration::from_hours(72);
    let seoul = TimeZone::get("Asia/Seoul").unwrap();
    let at = |time: civil::Time, zone: &TimeZone| -> Zoned {
        day.to_datetime(time).to_zoned(zone.clone()).unwrap()
    };
    let (six, late) = (civil::time(18, 0, 0, 0), civil::time(18, 0, 30, 0));
    for (written, at) in [
        (format!("{day} 18:00"), at(six, &seoul)),
        (format!("{day}T18:00"), at(six, &seoul)),
        (format!("{day}T18:00:30"), at(late, &seoul)),
        (format!("{day} 18:00:30"), at(late, &seoul)),
        (format!("{day}T18"), at(six, &seoul)),
        (format!("{day}"), at(civil::Time::midnight(), &seoul)),
        (format!("{day}T18:00:00Z"), at(six, &TimeZone::UTC)),
        (format!("{day} 18:00+09:00"), at(six, &seoul)),
        (format!("{day}T18:00[Asia/Seoul]"), at(six, &seoul)),
        (format!("{day} 18:00 UTC"), at(six, &TimeZone::UTC)),
    ] {
        let done = run_in(&world, "Asia/Seoul", &["announce", "--json", "--at", &written, "x"]);
        let shown = at.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        assert_eq!(done.ok().objects()[0]["at"], shown, "{written}");
    }
    let done =
        run_in(&world, "Asia/Seoul", &["announce", "--at", &format!("{day} 18:00"), "x"]).ok();
    assert!(done.out.contains(&format!("for {day} 18:00")), "{}", done.out);
    for bad in
        ["9999-12-31", "9999-12-30", "2h", "yesterday 18:00", "2020-01-01 10:00", "25:00", "soon"]
    {
        assert_eq!(world.run(&["announce", "--at", bad, "x"]).exits(2).out, "", "{bad}");
    }
    world.run(&["announce", "--at", "18:00", "--in", "1h", "x"]).exits(2);
    // A time that has passed today says how to type another one.
    let (zone, _) = noon_zone();
    let passed = run_in(&world, &zone, &["announce", "--at", "10:30", "x"]).exits(2);
    assert!(passed.err.contains("10:30 has passed; write"), "{}", passed.err);
    assert!(passed.err.contains("write 'tomorrow 10:30'"), "{}", passed.err);
}

#[test]
fn questions_about_the_past_begin_and_end_at_the_typed_time() {
    let world = World::new();
    let _server = world.serve();
    world.run(&["send", "dev", "hi"]).ok();
    let (zone, noon) = noon_zone();
    let today = Timestamp::now().to_zoned(noon).date();
    let early = format!("{today} 09:30");
    for since in
        [&early, "09:30", "today", "today 09:30", "yesterday", "21:30", "1h30m", "1w", "5m"]
    {
        for args in [
            &["history", "dev", "--since", since][..],
            &["search", "hi", "--since", since],
            &["listen", "dev", "--count", "1", "--since", since],
            &["wait", "dev", "--since", since],
        ] {
            let done = run_in(&world, &zone, args).ok();
            assert!(done.out.contains("hi"), "{args:?}: {}", done.out);
        }
    }
    let late = format!("{today} 21:30");
    assert_eq!(run_in(&world, &zone, &["history", "dev", "--since", &late]).ok().out, "");
    assert!(run_in(&world, &zone, &["history", "dev", "--until", &late]).ok().out.contains("hi"));
    for until in ["09:30", "21:30", "today 09:30", &early, "yesterday 21:30", "1h"] {
        assert_eq!(
            run_in(&world, &zone, &["history", "dev", "--until", until]).ok().out,
            "",
            "{until}"
        );
    }
    for bad in
        ["25:00", "18:60", "soon", "1.5h", "9:05pm", "2026-02-30", "2026-12-24 18:00 Mars", ""]
    {
        for args in [
            &["history", "dev", "--since", bad][..],
            &["history", "dev", "--until", bad],
            &["search", "hi", "--since", bad],
            &["listen", "dev", "--count", "1", "--since", bad],
            &["wait", "dev", "--since", bad],
        ] {
            let done = world.run(args).exits(2);
            assert!(done.err.contains("time"), "{args:?}: {}", done.err);
        }
    }
}

#[test]
fn id_of_the_named_room_goes_before_a_time() {
    let world = World::new();
    let _server = world.serve();
    let lines: String = (1..=20).map(|n| format!("{n}\n")).collect();
    for (room, since) in [("23", "23:18"), ("12", "12:18"), ("7", "7:18"), ("tz", "tz:18")] {
        world.run_with_input(&["send", room, "--lines"], lines.as_bytes()).ok();
        for args in [
            &["history", "--json", room, "--since", since][..],
            &["listen", "--json", room, "--since", since, "--count", "2"],
            &["listen", "--json", "dev", room, "--since", since, "--count", "2"],
            &["wait", "--json", room, "--since", since, "--count", "2"],
        ] {
            assert_eq!(texts(&world.run(args).ok().objects()), ["19", "20"], "{args:?}");
        }
        let found = world.run(&["search", "--json", "--room", room, "--since", since, "20"]).ok();
        assert_eq!(texts(&found.objects()), ["20"]);
    }
    // Of another room it is a time, and so is what is no id.
    world.run(&["history", "tz", "--since", "7:05"]).ok();
    world.run(&["history", "12", "--since", "23:18"]).ok();
}

#[test]
fn message_of_another_day_is_shown_with_its_date() {
    let world = World::new();
    let mut server = world.serve();
    world.run(&["--as", "bob", "send", "dev", "old needle"]).ok();
    world.run(&["--as", "bob", "send", "dev", "new needle"]).ok();
    world.end(&mut server);
    let db = rusqlite::Connection::open(world.dir.join("history.db")).unwrap();
    db.execute("UPDATE messages SET ts = ts - 3 * 86400000000 WHERE seq = 1", ()).unwrap();
    drop(db);
    let _server = world.serve();
    let (zone, noon) = noon_zone();
    let day = |zone: TimeZone| {
        (Timestamp::now().to_zoned(zone) - SignedDuration::from_hours(72)).date().to_string()
    };
    for args in [
        &["history", "dev"][..],
        &["search", "needle"],
        &["read", "dev", "--peek"],
        &["listen", "dev", "--last", "2", "--count", "2"],
        &["listen", "dev", "--since", "1w", "--count", "2"],
        &["join", "--plain", "dev"],
    ] {
        let of = |args: &[&str], text: &str| -> String {
            let done = run_in(&world, &zone, args).ok();
            let line = done.out.lines().find(|line| line.contains(text));
            line.unwrap_or_else(|| panic!("{args:?}: {}", done.out)).to_owned()
        };
        let (old, new) = (of(args, "old needle"), of(args, "new needle"));
        assert!(old.starts_with(&format!("[{} ", day(noon.clone()))), "{args:?}: {old}");
        assert_eq!((&new[..1], &new[3..4], &new[6..7]), ("[", ":", "]"), "{args:?}: {new}");
        let utc = [&["--utc"], args].concat();
        let (old, new) = (of(&utc, "old needle"), of(&utc, "new needle"));
        assert!(old.starts_with(&format!("[{} ", day(TimeZone::UTC))), "{utc:?}: {old}");
        assert!(new.split_once(']').unwrap().0.ends_with('Z'), "{utc:?}: {new}");
        let typed = &old[1..old.find(']').unwrap()];
        let since = world.run(&["history", "--json", "dev", "--since", typed]).ok();
        assert_eq!(since.objects().len(), 2, "what is shown can be typed: {typed}");
    }
}
