//! Who is here: joins and leaves, the members' panel.

use super::{LARGE, SIZES, USUAL, begin, join, keys::f, me, says};

#[test]
fn joins_and_leaves_are_one_line() {
    for size in SIZES {
        let (world, _server) = begin();
        let term = join(&world, &["dev"], size);
        says(&world, "bob", "dev", "before.");
        term.wait_text("before.");
        for name in ["ann", "cid", "eve"] {
            let mut member = world.join(&["--as", name, "dev"]);
            member.say("/quit");
            member.code();
        }
        says(&world, "bob", "dev", "after.");
        term.wait_text("after.");
        term.wait_rows("little between them", |rows| {
            let at = |text: &str| rows.iter().position(|row| row.contains(text));
            let (Some(before), Some(after)) = (at("before."), at("after.")) else { return false };
            let rows = if size.0 < 80 { 4 } else { 2 };
            (before + 2..=before + rows).contains(&after)
        });
    }
}

#[test]
fn the_panel_shows_who_is_here_and_how() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], LARGE);
    let _bob = world.join(&["--as", "bob", "--kind", "agent", "dev"]);
    let mut ann = world.join(&["--as", "ann", "--kind", "person", "dev"]);
    let _cron = world.join(&["--as", "cron", "--kind", "service", "dev"]);
    let _make = world.join(&["--as", "make", "--kind", "script", "dev"]);
    for (name, kind) in [("bob", "agent"), ("cron", "service"), ("make", "script")] {
        let name = format!("{}/{name}", me());
        term.wait_row(&name, |row| row.contains(&name) && row.contains(kind));
    }
    ann.say("/away at lunch");
    let name = format!("{}/ann", me());
    term.wait_row("she is away", |row| row.contains(&name) && row.contains("away"));
    ann.say("/back");
    term.wait_rows("she is back", |rows| {
        rows.iter().any(|row| row.contains(&name))
            && !rows.iter().any(|row| row.contains(&name) && row.contains("away"))
    });
    drop(ann);
    term.wait_text("members 4");
    // Folded away, and back.
    term.keys(f(6));
    term.wait_rows("no panel", |rows| !rows.iter().any(|row| row.contains("service")));
    term.keys(f(6));
    term.wait_text("service");
}

#[test]
fn the_panel_comes_by_a_key_where_there_is_little_room() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    let _bob = world.join(&["--as", "bob", "--kind", "agent", "dev"]);
    term.settle();
    assert!(!term.text().contains("agent"));
    term.keys(f(6));
    term.wait_text("agent");
    term.wait_input("");
    term.keys(f(6));
    term.wait_gone("agent");
}

#[test]
fn members_are_listed_by_a_command() {
    let (world, _server) = begin();
    let mut term = join(&world, &["dev"], USUAL);
    let _bob = world.join(&["--as", "bob", "dev"]);
    term.say("/who");
    let name = format!("{}/bob", me());
    term.wait_row("bob", |row| row.contains(&name));
}
