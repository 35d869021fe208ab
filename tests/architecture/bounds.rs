//! The table of bounds: each constant of `src/limits.rs` has a holder, or a share for each user.

use std::fs;

use super::source::{is_word, root, sources};

/// Returns the word at the start of a text.
fn word(text: &str) -> String {
    text.chars().take_while(|c| is_word(*c)).collect()
}

/// Holders of bounds in `tests/bounds.txt`, beside several users.
const HOLDERS: &[&str] = &[
    "user",
    "session",
    "connection",
    "room",
    "request",
    "client",
    "server",
    "form",
    "time",
    "cost",
];

/// What is wrong with the table of bounds; `tests`: names of all tests.
fn wrong_bounds(limits: &str, table: &str, tests: &str) -> Vec<String> {
    let constants: Vec<String> =
        limits.lines().filter_map(|line| line.strip_prefix("pub const ")).map(word).collect();
    let mut wrong = Vec::new();
    let mut said: Vec<&str> = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (holder, share) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        if said.contains(&name) || !constants.iter().any(|constant| constant == name) {
            wrong.push(format!("{name}: said twice, or no constant of limits.rs"));
        }
        said.push(name);
        let is_true = match (holder, share.trim().split_once(": ")) {
            ("users", None) => {
                share.trim().strip_prefix("because ").is_some_and(|why| why.split(' ').count() > 5)
            }
            ("users", Some((share, test))) => {
                let is_share = match share.strip_prefix("rule ") {
                    Some(of_user) => constants.iter().any(|constant| constant == of_user),
                    None => matches!(share, "most" | "turns"),
                };
                is_share && tests.contains(&format!("fn {test}("))
            }
            (holder, _) => HOLDERS.contains(&holder) && share.is_empty(),
        };
        if !is_true {
            wrong.push(format!("{line}: no such holder, share or test, or no reason"));
        }
    }
    let missing = constants.iter().filter(|constant| !said.contains(&constant.as_str()));
    wrong.extend(
        missing.map(|name| format!("{name} has no line in tests/bounds.txt: whose is it?")),
    );
    wrong
}

#[test]
fn every_bound_has_a_holder_or_a_share_for_each_user() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (limits, table) = (read("src/limits.rs"), read("tests/bounds.txt"));
    let files = ["src", "tests"].into_iter().flat_map(sources);
    let tests: String = files.map(|file| file.text).collect();
    let wrong = wrong_bounds(&limits, &table, &tests);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_bounds_sees_a_breach() {
    let limits = "pub const A_MAX: usize = 1;\npub const A_PER_USER_MAX: usize = 1;\n";
    let wrong = |a: &str| {
        wrong_bounds(limits, &format!("A_PER_USER_MAX user\n{a}\n"), "fn a_test() {}").len()
    };
    for good in [
        "A_MAX   server",
        "A_MAX   users  rule A_PER_USER_MAX: a_test",
        "A_MAX   users  most: a_test",
        "A_MAX   users  because each user has one entry, and no more",
    ] {
        assert_eq!(wrong(good), 0, "{good}");
    }
    for bad in [
        "",
        "A_MAX",
        "A_MAX nobody",
        "A_MAX users",
        "A_MAX users  because so",
        "A_MAX users  rule B_PER_USER_MAX: a_test",
        "A_MAX users  most: no_test",
        "A_MAX users  a_test",
        "A_MAX server\nA_MAX server",
        "A_MAX server\nB_MAX server",
    ] {
        assert!(wrong(bad) > 0, "{bad}");
    }
}
