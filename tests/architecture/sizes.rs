//! Sizes of production code: files, functions, lines, structs; type names; `mod.rs` without code.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    debt::Breach,
    source::{Source, Token, after_item, items, lines_of, tokens},
};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// Sizes above a limit are rounded up, so that a line more in a `use` does not change the list.
const FILE_STEP: usize = 20;
const FUNCTION_STEP: usize = 5;
const WIDTH_MAX: usize = 100;
const FIELDS_MAX: usize = 20;
/// Structs of options may have many fields, one per option.
const OPTIONS: &[&str] = &["command/args/", "config/"];

pub fn breaches(source: &Source) -> Vec<Breach> {
    let name = source.name.as_str();
    let tokens = tokens(&source.code);
    let mut found = Vec::new();
    let mut limit = |rule, place: &str, value: usize, max, step| {
        if value > max {
            let value = value.next_multiple_of(step);
            found.push(Breach::new(rule, format!("src/{place}"), value));
        }
    };
    limit("file", name, source.lines().count(), FILE_LINES_MAX, FILE_STEP);
    let wide = source.lines().filter(|(_, line)| line.chars().count() > WIDTH_MAX).count();
    limit("width", name, wide, 0, 1);
    for (function, lines) in functions(&tokens) {
        limit("function", &format!("{name}::{function}"), lines, FUNCTION_LINES_MAX, FUNCTION_STEP);
    }
    let items = items(&tokens);
    let is_options = OPTIONS.iter().any(|folder| name.starts_with(folder));
    for item in items.iter().filter(|item| item.keyword == "struct" && !is_options) {
        let fields = fields(&tokens[item.tokens.clone()]);
        limit("struct", &format!("{name}::{}", item.name), fields, FIELDS_MAX, 1);
    }
    if name.ends_with("mod.rs") {
        let code = items.iter().filter(|item| !matches!(item.keyword, "mod" | "use"));
        limit("mod-rs", name, code.count(), 0, 1);
    }
    found
}

/// Returns the longest function of each name, from `fn` to the last brace.
fn functions<'a>(tokens: &[Token<'a>]) -> BTreeMap<&'a str, usize> {
    let mut found = BTreeMap::new();
    for (at, _) in tokens.iter().enumerate().filter(|(_, token)| token.text == "fn") {
        if let Some(name) = tokens.get(at + 1).filter(|name| name.text != "(") {
            let lines = lines_of(tokens, at..after_item(tokens, at));
            let longest = found.entry(name.text).or_insert(0);
            *longest = lines.max(*longest);
        }
    }
    found
}

/// Counts the named fields of a struct.
fn fields(tokens: &[Token<'_>]) -> usize {
    let (mut braces, mut others, mut count) = (0, 0, 0);
    for token in tokens {
        match token.text {
            "{" => braces += 1,
            "}" => braces -= 1,
            "(" | "[" | "<" => others += 1,
            ")" | "]" | ">" => others -= 1,
            ":" if braces == 1 && others == 0 => count += 1,
            _ => {}
        }
    }
    count
}

/// Returns the names of types that several files define; twins in `os/unix` and `os/windows` count once.
pub fn shared_type_names(sources: &[Source]) -> Vec<Breach> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let tokens = tokens(&source.code);
        let place = source.name.replace("os/unix/", "os/").replace("os/windows/", "os/");
        for item in items(&tokens) {
            if matches!(item.keyword, "struct" | "enum" | "union" | "trait" | "type") {
                places.entry(item.name.into()).or_default().insert(place.clone());
            }
        }
    }
    let shared = places.into_iter().filter(|(_, places)| places.len() > 1);
    shared
        .map(|(name, places)| Breach {
            detail: places.iter().cloned().collect::<Vec<_>>().join(", "),
            ..Breach::new("type-name", name, places.len())
        })
        .collect()
}

#[test]
fn breaches_of_sizes_are_seen() {
    let of = |name: &str, text: &str| -> Vec<String> {
        let found = breaches(&Source::new(name, text));
        found.iter().map(|b| format!("{} {} {}", b.rule, b.place, b.value)).collect()
    };
    let long = "    x();\n".repeat(70);
    assert_eq!(
        of("a.rs", &format!("impl A {{\n  fn f() {{\n{long}}}\n}}")),
        ["function src/a.rs::f 75"]
    );
    let in_tests = format!("#[cfg(test)]\nmod tests {{\n  fn f() {{\n{}}}\n}}", long.repeat(9));
    assert!(of("a.rs", &in_tests).is_empty(), "expected no limit for tests");
    assert_eq!(of("a.rs", &"x();\n".repeat(601)), ["file src/a.rs 620"]);
    assert_eq!(of("a.rs", &format!("// {}", "ä".repeat(98))), ["width src/a.rs 1"]);
    let fields = "    a: HashMap<u8, u8>,\n".repeat(21);
    let facts = format!("struct S<T: Clone> {{\n{fields}}}");
    assert_eq!(of("a.rs", &facts), ["struct src/a.rs::S 21"]);
    assert!(of("config/a.rs", &facts).is_empty(), "expected no limit for options");
    let code = "//! x\nmod a;\npub use a::A;\nimpl A { fn f() {} }\nconst fn g() {}\n";
    assert_eq!(of("a/mod.rs", code), ["mod-rs src/a/mod.rs 2"]);
    assert!(of("a/mod.rs", "#[cfg(unix)]\nmod a;\npub use a::{A, B};").is_empty());
}

#[test]
fn shared_type_names_are_seen() {
    let files = |names: &[&str]| {
        let text = "pub enum Kind { A }\nimpl Kind { type Error = u8; }";
        let sources: Vec<_> = names.iter().map(|name| Source::new(name, text)).collect();
        shared_type_names(&sources).len()
    };
    assert_eq!(files(&["chat/a.rs", "wire/b.rs"]), 1);
    assert_eq!(files(&["os/unix/a.rs", "os/windows/a.rs"]), 0);
}
