//! Plain English: words to avoid, beginnings of doc comments, names of tests.

use std::fs;

use super::{
    debt::Breach,
    source::{Source, files_below, root, tokens},
};

const TEST_NAME_MAX: usize = 60;
const TEST_NAME_STARTS: &[&str] = &["what_", "who_", "whoever_", "nobody_", "where_"];
const DOC_STARTS: &[&str] =
    &["what", "who", "whoever", "whose", "whom", "whether", "where", "which", "how"];
/// Words and phrases to avoid. `a|b`: one of them; after `-`: what makes the place good.
const AVOIDED: &[&str] = &[
    "somebody|nobody|everybody|anybody|whoever|whomever",
    "he|him|his|himself",
    "anew",
    "stand|stands - for",
    "stood - for",
    "told - apart",
    "so many|much|long|often|late|few",
    "of before",
    "no more - than",
    "time is over|out",
    "for ever",
    "the|an own",
    "is|are no - longer|more|one",
    "good for",
];
const DOCUMENTS: &[&str] =
    &["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"];
const DOCUMENT_FOLDERS: &[&str] = &["config", "docs", ".github"];

/// Words in all, and those to avoid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    words: usize,
    avoided: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.words += other.words;
        self.avoided += other.avoided;
    }

    /// Returns the avoided words per 10,000, rounded up.
    fn rate(self) -> usize {
        (self.avoided * 10_000).div_ceil(self.words.max(1))
    }
}

/// Returns the lower-case words of a text without `code`; `.` for any punctuation between them.
fn words(text: &str) -> Vec<String> {
    let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" x ");
    let mut found = Vec::new();
    let mut word = String::new();
    for c in prose.chars().chain(['\n']) {
        if c.is_alphanumeric() || c == '\'' || c == '-' || c == '_' {
            word.extend(c.to_lowercase());
            continue;
        }
        let bare = word.trim_matches(['\'', '-']);
        if !bare.is_empty() {
            found.push(bare.to_owned());
        }
        word.clear();
        if ".,;:!?()|".contains(c) {
            found.push(".".to_owned());
        }
    }
    found
}

fn count(text: &str) -> (Count, Vec<String>) {
    let words = words(text);
    let mut seen = Vec::new();
    for at in 0..words.len() {
        for entry in AVOIDED {
            let (phrase, good) = entry.split_once(" - ").unwrap_or((entry, ""));
            let is = |at: usize, choice: &str| {
                words.get(at).is_some_and(|word| choice.split('|').any(|one| one == word))
            };
            let length = phrase.split(' ').count();
            let is_phrase = phrase.split(' ').enumerate().all(|(n, choice)| is(at + n, choice));
            // A noun has to follow "is no": "the answer is no." is good.
            let ends =
                good.contains("longer") && (is(at + length, ".") || at + length >= words.len());
            if is_phrase && !is(at + length, good) && !ends {
                seen.push(words[at..at + length].join(" "));
            }
        }
    }
    let all = words.iter().filter(|word| *word != ".").count();
    (Count { words: all, avoided: seen.len() }, seen)
}

fn text_breach(place: &str, seen: &[String]) -> Option<Breach> {
    (!seen.is_empty()).then(|| Breach {
        detail: seen.iter().take(5).cloned().collect::<Vec<_>>().join(", "),
        ..Breach::new("words", place, seen.len())
    })
}

/// Returns the breaches in comments and literals of a file of a folder, and its words.
pub fn of_source(folder: &str, source: &Source) -> (Vec<Breach>, Count) {
    let place = format!("{folder}/{}", source.name);
    let (mut total, mut seen) = (Count::default(), Vec::new());
    let (mut starts, mut short, mut plural) = (Vec::new(), Vec::new(), Vec::new());
    for comment in &source.comments {
        let (count, found) = count(&comment.text);
        total.add(count);
        seen.extend(found);
        if !comment.is_doc || source.is_in_test(comment.line) {
            continue;
        }
        let first = words(&comment.text).into_iter().next().unwrap_or_default();
        if DOC_STARTS.contains(&first.as_str()) {
            starts.push(comment.line);
        }
        if comment.text.split_whitespace().count() <= 2 {
            short.push(comment.line);
        }
    }
    for literal in source.literals.iter().filter(|literal| literal.text != "nobody") {
        let (count, found) = count(&literal.text.replace("\\n", "\n"));
        total.add(count);
        seen.extend(found);
        if literal.text.contains("(s)") {
            plural.push(0);
        }
    }
    let mut breaches: Vec<Breach> = text_breach(&place, &seen).into_iter().collect();
    for (rule, lines) in [("doc-start", starts), ("short-doc", short), ("plural", plural)] {
        if !lines.is_empty() {
            let first: Vec<_> = lines.iter().take(5).map(ToString::to_string).collect();
            let detail = format!("lines {}", first.join(", "));
            breaches.push(Breach { detail, ..Breach::new(rule, &place, lines.len()) });
        }
    }
    (breaches, total)
}

/// Returns the breaches in the documents, and their words.
pub fn of_documents() -> (Vec<Breach>, Count) {
    let mut files: Vec<_> = DOCUMENTS.iter().map(|name| root().join(name)).collect();
    for folder in DOCUMENT_FOLDERS.iter().map(|name| root().join(name)).filter(|f| f.exists()) {
        files.extend(files_below(&folder));
    }
    let (mut breaches, mut total) = (Vec::new(), Count::default());
    for file in files {
        // Pictures are no text, and some documents may not exist.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if file.extension().is_some_and(|e| e == "svg") {
            continue;
        }
        let (count, seen) = count(&text.replace("```", " "));
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        breaches.extend(text_breach(&name, &seen));
        total.add(count);
    }
    (breaches, total)
}

/// Returns a breach for an area whose texts have more than 2 of 10,000 words to avoid.
pub fn rate(area: &str, counts: impl IntoIterator<Item = Count>) -> Option<Breach> {
    const RATE_MAX: usize = 2;
    let mut total = Count::default();
    counts.into_iter().for_each(|count| total.add(count));
    (total.rate() > RATE_MAX).then(|| Breach {
        detail: format!("{} of {} words", total.avoided, total.words),
        ..Breach::new("words-per-10000", area, total.rate())
    })
}

/// Returns a breach for the badly named tests of a file; `folder`: where it is.
pub fn of_test_names(folder: &str, source: &Source) -> Option<Breach> {
    // Tests are no production code, so they are read from the whole text.
    let mut lines = source.text.lines().map(str::trim);
    let mut bad = Vec::new();
    while let Some(line) = lines.next() {
        if !(line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
            continue;
        }
        let function = lines.find(|line| tokens(line).iter().any(|token| token.text == "fn"));
        let rest = function.and_then(|line| line.split_once("fn ")).map_or("", |(_, rest)| rest);
        let name = rest.split('(').next().unwrap_or(rest);
        let is_bad = TEST_NAME_STARTS.iter().any(|start| name.starts_with(start));
        if is_bad || name.len() > TEST_NAME_MAX {
            bad.push(name.to_owned());
        }
    }
    (!bad.is_empty()).then(|| Breach {
        detail: bad.iter().take(3).cloned().collect::<Vec<_>>().join(", "),
        ..Breach::new("test-name", format!("{folder}/{}", source.name), bad.len())
    })
}

#[test]
fn words_to_avoid_are_seen() {
    for bad in [
        "Tells nobody",
        "it stands there",
        "he is",
        "the server is told",
        "for so\nlong",
        "There is no server",
        "the own user",
        "lives for ever.",
        "more of before",
        "begins anew",
        "no more",
        "Its time is over",
        "good for 5 s",
        "what 'he' said",
    ] {
        assert_eq!(count(bad).1.len(), 1, "{bad}");
    }
    for good in [
        "the user `nobody`",
        "M stands for messages",
        "a stand-in, told apart",
        "no more than 5",
        "is no longer here",
        "the answer is no.",
        "so, many of them",
        "the, anewer heir",
    ] {
        assert_eq!(count(good).1, Vec::<String>::new(), "{good}");
    }
    assert_eq!(count("one two. `three` he").0, Count { words: 4, avoided: 1 });
    assert_eq!(Count { words: 30_000, avoided: 7 }.rate(), 3);
    assert!(rate("x", [Count { words: 10_000, avoided: 3 }]).is_some());
    assert!(rate("x", [Count { words: 10_000, avoided: 2 }]).is_none());
}

#[test]
fn breaches_in_comments_and_names_are_seen() {
    let rules = |text: &str| -> Vec<_> {
        let (breaches, _) = of_source("src", &Source::new("a.rs", text));
        breaches.iter().map(|b| (b.rule, b.value)).collect()
    };
    assert_eq!(rules("/// Whether he is here.\nfn f() {}"), [("words", 1), ("doc-start", 1)]);
    assert_eq!(rules("/// A reason.\nx: u8,\n//! Why."), [("short-doc", 2)]);
    assert_eq!(rules("fn f() { \"5 file(s) of his\" }"), [("words", 1), ("plural", 1)]);
    assert_eq!(rules("/// Returns the number of files.\nfn f() { \"nobody\" }"), []);
    assert_eq!(rules("#[cfg(test)]\nmod tests {\n    /// Who.\n    fn f() { \"he\" }\n}"), []);
    let test = |name: &str| of_test_names("src", &Source::new("a.rs", name)).is_some();
    assert!(test("    #[test]\n    #[ignore]\n    fn who_is_here() {}"));
    assert!(test(&format!("#[test]\nfn {}() {{}}", "a".repeat(61))));
    assert!(!test("#[test]\nfn ack_of_lost_message_does_not_block_input() {}"));
}
