//! The ratchet: what breaks a rule today is listed in `debt.txt`, and the list only shrinks.

use std::{collections::BTreeMap, env, fmt::Write as _, fs};

use super::source::root;

const LIST: &str = "tests/architecture/debt.txt";
const BLESS: &str = "`MOOT_BLESS=1 cargo test --test architecture`";
const HEAD: &str = "\
# Places that break a rule of tests/architecture.rs: rule, place, value. The test fails if a place that is
# not listed breaks a rule, if a value grows, and if a line is no longer needed. After an improvement
# `MOOT_BLESS=1 cargo test --test architecture` lowers values and removes lines; it never raises or adds one.
# Values of words and names are exact, all others are maxima.
";

/// Rules whose values must be exact, so that the list shrinks in the commit that improves a text.
const EXACT: &[&str] = &["doc-start", "plural", "short-doc", "test-name", "words"];

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    pub rule: &'static str,
    /// A path, with the name of a function or type if one is meant. Without spaces.
    pub place: String,
    /// The larger, the worse: lines, fields, occurrences.
    pub value: usize,
    /// Shown in the failure, for example the first words of the comment.
    pub detail: String,
}

impl Breach {
    pub fn new(rule: &'static str, place: impl Into<String>, value: usize) -> Self {
        Self { rule, place: place.into(), value, detail: String::new() }
    }
}

type Debts<'a> = BTreeMap<(&'a str, &'a str), usize>;

/// Reads a list. With `may_repeat` the largest of several lines for one place holds.
fn parsed(list: &str, may_repeat: bool) -> Result<Debts<'_>, String> {
    let mut debts = Debts::new();
    for line in list.lines() {
        let line = line.split('#').next().unwrap_or(line).trim();
        if line.is_empty() {
            continue;
        }
        let mut words = line.split_whitespace();
        let entry =
            (words.next(), words.next(), words.next().map(str::parse::<usize>), words.next());
        let (Some(rule), Some(place), Some(Ok(value)), None) = entry else {
            return Err(format!("{LIST}: not `rule place value`: {line}"));
        };
        let listed = debts.entry((rule, place)).or_insert(0);
        if *listed > 0 && !may_repeat {
            return Err(format!("{LIST}: two lines for {rule} {place}; {BLESS} joins them"));
        }
        *listed = value.max(*listed);
    }
    Ok(debts)
}

/// Returns the differences between the breaches and the list, each with what to do.
fn differences(breaches: &[Breach], list: &Debts<'_>) -> (Vec<String>, Vec<String>) {
    let (mut more, mut stale, mut open) = (Vec::new(), Vec::new(), list.clone());
    for Breach { rule, place, value, detail } in breaches {
        let detail = if detail.is_empty() { detail.clone() } else { format!("   # {detail}") };
        match open.remove(&(*rule, place.as_str())) {
            Some(listed) if *value > listed => {
                more.push(format!("{rule} {place} {value}   # {listed} is listed{detail}"));
            }
            Some(listed) if *value < listed && EXACT.contains(rule) => {
                stale.push(format!("{rule} {place} {listed}   # only {value} are left"));
            }
            Some(_) => {}
            None => more.push(format!("{rule} {place} {value}{detail}")),
        }
    }
    stale.extend(open.iter().map(|((rule, place), value)| format!("{rule} {place} {value}")));
    (more, stale)
}

/// Returns the list with lower values and without unnecessary lines, never with more.
fn blessed(breaches: &[Breach], list: &Debts<'_>) -> String {
    let mut text = String::from(HEAD);
    for Breach { rule, place, value, .. } in breaches {
        if let Some(listed) = list.get(&(*rule, place.as_str())) {
            let _ = writeln!(text, "{rule} {place} {}", value.min(listed));
        }
    }
    text
}

/// Compares the breaches with the list, and fails with the lines to change.
pub fn check(mut breaches: Vec<Breach>) {
    breaches.sort();
    let text = fs::read_to_string(root().join(LIST)).unwrap_or_default();
    let is_blessing = env::var_os("MOOT_BLESS").is_some();
    let mut list = parsed(&text, is_blessing).unwrap_or_else(|e| panic!("{e}"));
    let lower;
    if is_blessing {
        lower = blessed(&breaches, &list);
        fs::write(root().join(LIST), &lower).unwrap();
        list = parsed(&lower, false).unwrap();
    }
    let (more, stale) = differences(&breaches, &list);
    let mut message = String::new();
    if !more.is_empty() {
        message += &format!(
            "\nThese places break a rule of tests/architecture.rs. Improve them. If code was only moved, \
             append these lines to {LIST}, and let {BLESS} sort them in.\n{}\n",
            more.join("\n")
        );
    }
    if !stale.is_empty() {
        message += &format!(
            "\nThese lines of {LIST} are no longer needed. {BLESS} removes them.\n{}\n",
            stale.join("\n")
        );
    }
    assert!(message.is_empty(), "{message}");
}

#[test]
fn list_is_neither_too_short_nor_too_long() {
    let breaches =
        |value| [Breach::new("file", "a.rs", value), Breach::new("words", "a.rs", value)];
    let count = |value, list: &str| {
        let (more, stale) = differences(&breaches(value), &parsed(list, false).unwrap());
        (more.len(), stale.len())
    };
    assert_eq!(count(7, "file a.rs 7\nwords a.rs 7"), (0, 0));
    assert_eq!(count(7, "file a.rs 7"), (1, 0), "expected a missing line");
    assert_eq!(count(8, "file a.rs 7\nwords a.rs 7"), (2, 0), "expected larger values");
    assert_eq!(
        count(6, "file a.rs 7\nwords a.rs 7"),
        (0, 1),
        "expected a maximum and an exact value"
    );
    assert_eq!(count(7, "file a.rs 7\nfile b.rs 7\nwords a.rs 7"), (0, 1), "expected a stale line");
    assert!(parsed("file a.rs", true).is_err() && parsed("file a 1\nfile a 2", false).is_err());
}

#[test]
fn blessing_only_shrinks_the_list() {
    let breaches = [
        Breach::new("file", "grown.rs", 9),
        Breach::new("file", "new.rs", 9),
        Breach::new("file", "shrunk.rs", 9),
    ];
    let list = parsed("file gone.rs 5\nfile grown.rs 5\nfile shrunk.rs 12", true).unwrap();
    assert_eq!(blessed(&breaches, &list), format!("{HEAD}file grown.rs 5\nfile shrunk.rs 9\n"));
    let by_hand = parsed("file grown.rs 5\nfile grown.rs 9   # 5 is listed", true).unwrap();
    assert_eq!(blessed(&breaches, &by_hand), format!("{HEAD}file grown.rs 9\n"));
}
