//! Statements of `run` about its command, in words and as JSON.

use std::{ffi::OsString, time::Duration};

use serde_json::{Value, json};

use super::amount::Amount;
use crate::{chat::text::shown, limits::RUN_TITLE_BYTES_MAX, os::ChildEnd};

/// End of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It ended, or was ended.
    Ended(ChildEnd),
    /// Its time was out; then it ended so.
    TimedOut(ChildEnd),
    /// It did not begin: the exit code for that, and why.
    NotBegun(u8, String),
}

impl Outcome {
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Ended(ChildEnd { code: Some(0), .. }))
    }
}

/// A command's name in what is said of it: as it was called, or the command line.
pub(in crate::command) fn title(given: Option<&str>, command: &[OsString]) -> String {
    let words = || command.iter().map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>();
    let title = given.map_or_else(|| words().join(" "), str::to_owned);
    let end = title.floor_char_boundary(RUN_TITLE_BYTES_MAX);
    let more = if end < title.len() { "…" } else { "" };
    format!("{}{more}", shown(&title[..end], false))
}

/// A word as one could type it again.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "%+,-./:=@_^~".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

pub(super) fn started(title: &str, pid: u32) -> String {
    format!("started: {title} (pid {pid})")
}

/// End of [`will`].
pub(super) const NOT_KNOWN: &str = "result unknown: `moot run` itself was killed";

/// Returns the text that the server sends if `run` ends without a word.
pub(super) fn will(title: &str) -> String {
    format!("{title}: {NOT_KNOWN}")
}

pub(super) fn result(title: &str, outcome: &Outcome, took: Duration) -> String {
    let took = duration(took);
    match outcome {
        Outcome::NotBegun(_, why) => format!("{title}: could not be run: {why}"),
        Outcome::TimedOut(end) => {
            format!("{title}: {} at its time limit, after {took}", ended(end))
        }
        Outcome::Ended(end) => format!("{title}: {} after {took}", ended(end)),
    }
}

/// Processes that hold an output of the command open after its end.
pub(super) fn still_running(holders: &[u32]) -> String {
    let pids: Vec<_> = holders.iter().map(ToString::to_string).collect();
    match pids.as_slice() {
        [] => "still running: a process holds the output".to_owned(),
        [pid] => format!("still running: pid {pid} holds the output"),
        pids => format!("still running: pids {} hold the output", pids.join(", ")),
    }
}

fn ended(end: &ChildEnd) -> String {
    match (&end.signal, end.code) {
        (Some((_, name)), _) => format!("killed by {name}"),
        (None, Some(0)) => "ok".to_owned(),
        (None, Some(code)) => format!("failed with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Returns the text about dropped output; nothing if nothing was dropped.
pub(super) fn left_out(amount: Amount) -> String {
    let Amount { lines, bytes } = amount;
    let (s, were) = if lines == 1 { ("", "was") } else { ("s", "were") };
    match (lines, bytes) {
        (0, 0) => String::new(),
        (lines, 0) => format!("… {lines} line{s} {were} left out …"),
        (lines, bytes) => format!("… {lines} line{s} ({}) {were} left out …", size(bytes)),
    }
}

/// Output of a command that failed which is not shown: for the bound of the spool, or for an error.
pub(super) fn not_shown(bytes: u64, why: Option<&std::io::Error>) -> String {
    let size = size(bytes);
    match why {
        None => format!("{size} of the command's output were left out here (--chronic)"),
        Some(e) => format!("the last {size} of the command's output could not be saved: {e}"),
    }
}

pub(super) fn unsent(messages: u64, bytes: u64, target: &str) -> String {
    let (s, were) = if messages == 1 { ("", "was") } else { ("s", "were") };
    format!("{messages} message{s} ({}) {were} not sent to {target}", size(bytes))
}

pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

pub(super) fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    let (m, h) = (seconds / 60, seconds / 3600);
    match seconds {
        0..60 => format!("{seconds}.{} s", took.subsec_millis() / 100),
        60..3600 => format!("{m} m {} s", seconds % 60),
        _ => format!("{h} h {} m", m % 60),
    }
}

/// The result as JSON.
pub(super) struct Report<'a> {
    pub(super) target: &'a str,
    pub(super) title: &'a str,
    pub(super) pid: Option<u32>,
    pub(super) outcome: &'a Outcome,
    pub(super) took: Duration,
    pub(super) total: Amount,
    pub(super) left_out: Amount,
    pub(super) messages: u64,
    pub(super) unsent: u64,
    pub(super) holders: Option<&'a [u32]>,
}

pub(super) fn report(report: &Report<'_>) -> Value {
    let end = match report.outcome {
        Outcome::Ended(end) | Outcome::TimedOut(end) => Some(end),
        Outcome::NotBegun(..) => None,
    };
    let signal = end.and_then(|end| end.signal.as_ref());
    json!({
        "type": "run",
        "target": report.target,
        "title": report.title,
        "pid": report.pid,
        "code": end.and_then(|end| end.code),
        "signal": signal.map(|(_, name)| name),
        "timed_out": matches!(report.outcome, Outcome::TimedOut(_)),
        "duration_ms": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        "bytes": report.total.bytes,
        "lines": report.total.lines,
        "left_out": report.left_out.lines,
        "messages": report.messages,
        "unsent": report.unsent,
        "still_running": report.holders,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(code: Option<i32>, signal: Option<(i32, &str)>) -> ChildEnd {
        ChildEnd { code, signal: signal.map(|(number, name)| (number, name.to_owned())) }
    }

    #[test]
    fn ends_are_told_in_plain_words() {
        let told = |outcome, ms| result("make test", &outcome, Duration::from_millis(ms));
        assert_eq!(told(Outcome::Ended(end(Some(0), None)), 12_345), "make test: ok after 12.3 s");
        assert_eq!(
            told(Outcome::Ended(end(Some(2), None)), 184_000),
            "make test: failed with exit code 2 after 3 m 4 s"
        );
        assert_eq!(
            told(Outcome::Ended(end(None, Some((9, "SIGKILL")))), 7_500_000),
            "make test: killed by SIGKILL after 2 h 5 m"
        );
        assert_eq!(
            told(Outcome::TimedOut(end(None, Some((15, "SIGTERM")))), 5_000),
            "make test: killed by SIGTERM at its time limit, after 5.0 s"
        );
    }

    #[test]
    fn a_command_line_is_a_title_that_one_could_type() {
        let of = |words: &[&str]| {
            title(None, &words.iter().map(|word| OsString::from(*word)).collect::<Vec<_>>())
        };
        assert_eq!(of(&["make", "-j4", "test"]), "make -j4 test");
        assert_eq!(of(&["sh", "-c", "echo it's", ""]), r"sh -c 'echo it'\''s' ''");
        assert_eq!(title(Some("build"), &[]), "build");
        assert_eq!(title(Some("a\u{1b}\nb"), &[]), "a\\u{1b}\\nb");
        let long = title(Some(&"회".repeat(100)), &[]);
        assert!(long.len() <= RUN_TITLE_BYTES_MAX + 3 && long.ends_with('…'), "{long}");
    }

    #[test]
    fn amounts_have_units() {
        assert_eq!(left_out(Amount::default()), "");
        let amount = |lines, bytes| left_out(Amount { lines, bytes });
        assert_eq!(amount(12_345, 678_000), "… 12345 lines (678 kB) were left out …");
        assert_eq!(amount(1, 5), "… 1 line (5 B) was left out …");
        assert_eq!(size(1_250_000), "1.2 MB");
    }
}
