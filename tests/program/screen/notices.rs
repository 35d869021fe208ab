//! Announcements: in a bar, by weight, until they were seen.

use serde_json::Value;

use super::{
    SIZES, USUAL, begin, eventually_said, join,
    keys::{alt, f},
    says,
};
use crate::world::{World, eventually};

fn notice(world: &World, id: &str) -> Value {
    world.run(&["notices", "show", id, "--json"]).ok().objects().remove(0)
}

#[test]
fn a_critical_one_stays_until_it_is_acknowledged() {
    for size in SIZES {
        let (world, _server) = begin();
        let mut term = join(&world, &["dev"], size);
        term.keys("being typed");
        term.wait_input("being typed");
        world.run(&["announce", "--level", "critical", "--as", "bob", "fire!"]).ok();
        term.wait_rows("it is above all that is said", |rows| {
            rows[1..4].iter().any(|row| row.contains("fire!"))
        });
        // It covers neither the input nor what is said.
        term.wait_input("being typed");
        says(&world, "bob", "dev", "still here");
        term.wait_text("still here");
        term.keys(super::keys::ENTER);
        eventually_said(&world, "dev", "being typed");
        term.wait_text("fire!");
        term.keys(f(8));
        term.wait_rows("it is gone", |rows| !rows[1].contains("fire!"));
        term.wait_input("");
    }
}

#[test]
fn one_that_asks_shows_whether_it_was_answered() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    world.run(&["announce", "--ack", "--as", "bob", "are you there?"]).ok();
    term.wait_row("it asks", |row| row.contains("are you there?") && row.contains("F8"));
    term.keys(&alt('k'));
    eventually("it is acknowledged", || notice(&world, "!1")["acked"] == 1);
    term.wait_rows("it says so, or is gone", |rows| {
        !rows.iter().any(|row| row.contains("are you there?") && row.contains("F8"))
    });
    // By command as well.
    world.run(&["announce", "--ack", "--as", "bob", "and now?"]).ok();
    term.wait_text("and now?");
    term.say("/ack");
    eventually("it is acknowledged", || notice(&world, "!2")["acked"] == 1);
}

#[test]
fn heavier_ones_come_first_and_who_takes_one_back_clears_it() {
    let (world, _server) = begin();
    let term = join(&world, &["dev"], USUAL);
    world.run(&["announce", "--level", "critical", "--retain", "the heavy one"]).ok();
    world.run(&["announce", "--level", "info", "the light one"]).ok();
    term.wait_text("the light one");
    term.wait_rows("the heavy one is in the bar", |rows| rows[1].contains("the heavy one"));
    world.run(&["notices", "cancel", "!1"]).ok();
    term.wait_rows("it is taken back", |rows| !rows[1].contains("the heavy one"));
}

#[test]
fn announcement_can_not_command_the_terminal() {
    let (world, _server) = begin();
    let term = join(&world, &["dev"], USUAL);
    let text = "two\nlines \x1b[2J\x1b]0;stolen\x07";
    world.run(&["announce", "--level", "critical", text]).ok();
    term.wait_text("lines");
    term.wait_text("u{1b}");
    term.wait_input("");
    assert!(!term.title().contains("stolen"));
}

#[test]
fn an_announcement_is_made_from_here() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    let mut bob = world.listen(&["--as", "bob", "dev", "--announcements"]);
    term.say("/announce --level warning coffee is ready");
    let heard = bob.next_of("announcement");
    assert_eq!((&heard["text"], &heard["level"]), (&"coffee is ready".into(), &"warning".into()));
}
