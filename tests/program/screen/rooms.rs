//! The list of rooms: what is unread where, mentions first, and the ways from one to the next.

use super::{
    LARGE, SIZES, SMALL, USUAL, begin, eventually_said, join, join_as_other,
    keys::{ALT_DOWN, ALT_UP, ENTER, ESCAPE, alt, click, f},
    me, says,
    term::{Size, column_of},
    wait_in,
};
use crate::world::{OTHER_UID, World, is_root, skipped, user_name};

#[test]
fn unread_messages_are_counted_and_mentions_marked() {
    for size in [USUAL, LARGE] {
        let (world, _server) = begin();
        let term = join(&world, &["dev", "ops", "noise"], size);
        for _ in 0..5 {
            says(&world, "bob", "noise", "blah");
        }
        says(&world, "bob", "ops", &format!("@{} come here", me()));
        says(&world, "bob", "ops", "please");
        // Its number, its name, and how many.
        let is = |row: &str, room: &[&str]| {
            row.split_whitespace().take(room.len()).eq(room.iter().copied())
        };
        term.wait_row("the noise", |row| is(row, &["3", "noise", "5"]));
        term.wait_row("a mention", |row| is(row, &["2", "ops", "@1", "1"]));
        // Mentions first.
        term.wait_rows("the room with a mention above the other", |rows| {
            let at = |room: &str| rows.iter().position(|row| row.contains(room));
            at("ops") < at("noise")
        });
    }
}

#[test]
fn keys_go_from_room_to_room() {
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["dev", "ops", "noise"], size);
        wait_in(&term, "dev");
        for (keys, room) in [
            (alt('2'), "ops"),
            (alt('3'), "noise"),
            (alt('1'), "dev"),
            (ALT_DOWN.to_owned(), "ops"),
            (ALT_UP.to_owned(), "dev"),
        ] {
            term.keys(&keys);
            wait_in(&term, room);
        }
        // To what is unread; to mentions before anything else.
        says(&world, "bob", "ops", "a word");
        says(&world, "bob", "noise", &format!("@{}: a word", me()));
        term.keys("x");
        term.wait_input("x");
        for room in ["noise", "ops"] {
            term.keys(&alt('a'));
            wait_in(&term, room);
        }
    }
}

#[test]
fn a_few_letters_find_a_room() {
    for size in SIZES {
        let (world, _server) = begin();
        world.run(&["room", "create", "elsewhere"]).ok();
        let mut term = join(&world, &["dev", "operations", "빌드"], size);
        for (typed, room) in [("opr", "operations"), ("빌", "빌드"), ("DE", "dev")] {
            term.keys(&alt('g'));
            term.settle();
            term.keys(typed);
            term.wait_row(room, |row| row.contains(room));
            term.keys(ENTER);
            wait_in(&term, room);
        }
        term.keys(f(2));
        term.keys("opera");
        term.settle();
        term.keys(ESCAPE);
        term.settle();
        wait_in(&term, "dev");
        term.wait_input("");
    }
}

#[test]
fn rooms_can_be_clicked() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev", "operations"], USUAL);
    let (row, line) = term.row("the room", |row| row.contains("operations"));
    let column = column_of(&line, "operations");
    term.keys(&click((u16::try_from(column).unwrap(), row)));
    wait_in(&term, "operations");
}

#[test]
fn direct_messages_are_among_the_rooms() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    says(&world, "bob", &format!("@{}", me()), "psst");
    let title = format!("@{}", me());
    term.wait_row("the conversation", |row| row.contains(&title));
    term.keys(&alt('a'));
    wait_in(&term, &title);
    term.wait_text("psst");
    term.say("what?");
    term.wait_above("what?");
    eventually_said(&world, &title, "what?");
    term.keys(&alt('1'));
    wait_in(&term, "dev");
    term.say(&format!("/msg {title} more"));
    wait_in(&term, &title);
    term.wait_above("more");
    eventually_said(&world, &title, "more");
    // One with somebody to whom nothing was said yet begins here.
    let other = format!("@{}", user_name(OTHER_UID));
    assert!(!term.text().contains(&other));
    term.say(&format!("/msg {other} the first word"));
    wait_in(&term, &other);
    term.wait_above("the first word");
    eventually_said(&world, &other, "the first word");
}

#[test]
fn direct_messages_between_two_users() {
    if !is_root() {
        skipped("two users need root");
        return;
    }
    let world = World::new();
    let _server = world.serve_with(&["--system"]);
    let (root, other) = (me(), user_name(OTHER_UID));
    let mut at_root = join(&world, &["dev"], USUAL);
    let mut at_other = join_as_other(&world, &["dev"]);
    at_root.say(&format!("/msg @{other} a word"));
    at_other.wait_row("a mention", |row| row.contains(&root) && row.contains("@1"));
    at_other.keys(&alt('a'));
    at_other.wait_text("a word");
    at_other.say("an answer");
    at_root.keys(&alt('2'));
    at_root.wait_text("an answer");
}

#[test]
fn the_list_can_be_put_away() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev", "operations"], USUAL);
    term.wait_text("operations");
    term.keys(f(5));
    term.wait_gone("operations");
    term.keys(f(5));
    term.wait_text("operations");
    // Where there is little room it is there for who asks for it.
    let mut term = join(&world, &["dev", "operations"], SMALL);
    term.wait_text("member");
    assert!(!term.text().contains("operations"));
    term.keys(f(5));
    term.wait_text("operations");
    term.wait_input("");
}

#[test]
fn a_panels_key_pressed_twice_leaves_it_to_the_terminals_size() {
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["dev", "operations"], size);
        let _bob = world.join(&["--as", "bob", "--kind", "agent", "dev"]);
        let there = |size: Size| (size.0 >= 70, size.0 >= 110);
        let shows = |rows: &[String], (rooms, members): (bool, bool)| {
            let has = |text: &str| rows.iter().any(|row| row.contains(text));
            (has("operations"), has(" agent")) == (rooms, members)
        };
        term.wait_rows("as at first", |rows| shows(rows, there(size)));
        let (rooms, members) = there(size);
        for (key, turned) in [(f(5), (!rooms, members)), (f(6), (rooms, !members))] {
            term.keys(key);
            term.wait_rows("the other way", |rows| shows(rows, turned));
            term.keys(key);
            term.wait_rows("as it was", |rows| shows(rows, (rooms, members)));
        }
        for other in [SMALL, LARGE, USUAL] {
            term.resize(other);
            term.wait_rows(&format!("panels as they come in {} columns", other.0), |rows| {
                // What was drawn before has not both where they belong.
                let (title, prompt) = (&rows[0], &rows[rows.len() - 1]);
                title.starts_with(" dev") && prompt == ">" && shows(rows, there(other))
            });
        }
    }
}
