//! The result of a run, read back from the text that was said of it.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Value, json};

use super::words::NOT_KNOWN;
use crate::{
    command::exit_code::Exit,
    os::{self, SpawnError},
};

/// Matches each text that [`words::result`](super::words::result) and
/// [`words::will`](super::words::will) write. A title may contain anything but a line end, so it
/// takes all that it can: no end contains the beginning of another.
static RESULT: LazyLock<Regex> = LazyLock::new(|| {
    let took = r"(?:[0-9]+\.[0-9] s|[0-9]+ m [0-9]+ s|[0-9]+ h [0-9]+ m)";
    let ended = r"(?:(?<ok>ok)|ended|failed with exit code (?<code>-?[0-9]+)|killed by (?<signal>SIG[A-Z0-9]+|signal [0-9]+))";
    let ends = [
        format!("{ended}(?<late> at its time limit,)? after {took}"),
        r"could not be run: (?<why>[^\n]*)".to_owned(),
        // Histories of earlier versions have the second text.
        format!(
            r"(?<lost>{}|\w+ knows how it ended, since `moot run` did not end by itself)",
            regex::escape(NOT_KNOWN)
        ),
    ];
    Regex::new(&format!(r"^(?<title>[^\n]+): (?:{})$", ends.join("|"))).expect("a good pattern")
});

/// Result of a run, as its text says it. Any member can write such a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command) struct RunResult {
    /// Title of the run, as it is shown in the room.
    pub(in crate::command) title: String,
    end: RunEnd,
}

/// End of the command of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RunEnd {
    /// The command ended; `code` and `signal` are both none if the system did not say how.
    Ended { code: Option<i32>, signal: Option<String>, timed_out: bool },
    /// The command could not be started, for this reason.
    NotStarted(SpawnError),
    /// `moot run` itself was killed.
    Lost,
}

impl RunResult {
    /// Reads a text that is the result of a run, and nothing else.
    pub(in crate::command) fn parse(text: &str) -> Option<Self> {
        let found = RESULT.captures(text)?;
        Some(Self { title: found["title"].to_owned(), end: RunEnd::of(&found)? })
    }

    /// Returns the exit code of the run.
    pub(in crate::command) fn exit_code(&self) -> i32 {
        let exit = |exit: Exit| i32::from(exit.code());
        match &self.end {
            RunEnd::Ended { timed_out: true, .. } => exit(Exit::TimedOut),
            RunEnd::Ended { signal: Some(name), .. } => {
                signal_number(name).map_or_else(|| exit(Exit::OwnFault), |number| 128 + number)
            }
            RunEnd::Ended { code: Some(code), .. } => *code,
            RunEnd::NotStarted(SpawnError::NotFound) => exit(Exit::NotFound),
            RunEnd::NotStarted(SpawnError::NotExecutable) => exit(Exit::NotExecutable),
            RunEnd::Ended { .. } | RunEnd::NotStarted(SpawnError::NoProcess) | RunEnd::Lost => {
                exit(Exit::OwnFault)
            }
        }
    }

    /// Returns the value of the key `run` of a message.
    pub(in crate::command) fn json(&self) -> Value {
        let (state, code, signal, timed_out) = match &self.end {
            RunEnd::Ended { code, signal, timed_out } => {
                ("ended", *code, signal.as_deref(), *timed_out)
            }
            RunEnd::NotStarted(_) => ("not_started", None, None, false),
            RunEnd::Lost => ("lost", None, None, false),
        };
        json!({
            "state": state,
            "title": self.title,
            "code": code,
            "signal": signal,
            "timed_out": timed_out,
        })
    }
}

impl RunEnd {
    fn of(found: &Captures<'_>) -> Option<Self> {
        if found.name("lost").is_some() {
            return Some(Self::Lost);
        }
        if let Some(why) = found.name("why") {
            return Some(Self::NotStarted(why_not_started(why.as_str())));
        }
        let code = match found.name("code") {
            // A number that no system has is not the result of a run.
            Some(code) => Some(code.as_str().parse().ok().filter(|code| *code != 0)?),
            None => found.name("ok").map(|_| 0),
        };
        let signal = found.name("signal").map(|name| name.as_str().to_owned());
        Some(Self::Ended { code, signal, timed_out: found.name("late").is_some() })
    }
}

/// Reads the error number that the system's words end with.
fn why_not_started(why: &str) -> SpawnError {
    let number = why.rsplit_once("(os error ").and_then(|(_, rest)| rest.strip_suffix(')'));
    match number.and_then(|number| number.parse().ok()) {
        Some(number) => os::why_not_begun(&std::io::Error::from_raw_os_error(number)),
        None => SpawnError::NoProcess,
    }
}

fn signal_number(name: &str) -> Option<i32> {
    match name.strip_prefix("signal ") {
        Some(number) => number.parse().ok().filter(|number| (1..=127).contains(number)),
        None => os::signal_number(name),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{
        super::words::{Outcome, result, title, will},
        *,
    };
    use crate::os::ChildEnd;

    fn end(code: Option<i32>, signal: Option<(i32, &str)>) -> ChildEnd {
        ChildEnd { code, signal: signal.map(|(number, name)| (number, name.to_owned())) }
    }

    fn code_of(text: &str) -> Option<i32> {
        RunResult::parse(text).map(|result| result.exit_code())
    }

    /// An outcome, and the exit code of a run with it.
    fn outcomes() -> Vec<(Outcome, i32)> {
        let not_begun = |why: &str| Outcome::NotBegun(0, why.to_owned());
        vec![
            (Outcome::Ended(end(Some(0), None)), 0),
            (Outcome::Ended(end(Some(2), None)), 2),
            (Outcome::Ended(end(Some(255), None)), 255),
            (Outcome::Ended(end(Some(-1_073_741_510), None)), -1_073_741_510),
            (Outcome::Ended(end(None, None)), 125),
            (Outcome::TimedOut(end(Some(0), None)), 124),
            (Outcome::TimedOut(end(Some(9), None)), 124),
            (Outcome::TimedOut(end(None, Some((15, "SIGTERM")))), 124),
            (not_begun("No such file or directory (os error 2)"), 127),
            #[cfg(unix)]
            (not_begun("Permission denied (os error 13)"), 126),
            #[cfg(unix)]
            (not_begun("Resource temporarily unavailable (os error 11)"), 125),
            (not_begun("nul byte found in provided data"), 125),
            #[cfg(unix)]
            (Outcome::Ended(end(None, Some((9, "SIGKILL")))), 137),
            (Outcome::Ended(end(None, Some((34, "signal 34")))), 162),
        ]
    }

    /// Titles that look like parts of a result.
    fn odd_title() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            any::<String>(),
            Just(": ok after 1.0 s".to_owned()),
            Just(": could not be run: ".to_owned()),
            Just(" (pid 7)".to_owned()),
            Just("\n".to_owned()),
            Just("started: ".to_owned()),
            Just(format!(": {NOT_KNOWN}")),
            Just("failed with exit code 3 at its time limit, after 2 m 1 s".to_owned()),
        ];
        proptest::collection::vec(part, 1..6).prop_map(|parts| parts.concat())
    }

    #[test]
    fn lost_result_of_an_earlier_version_is_read() {
        let text = "build: nobody knows how it ended, since `moot run` did not end by itself";
        let read = RunResult::parse(text).unwrap();
        assert_eq!((&*read.title, read.exit_code()), ("build", 125));
        assert_eq!(RunResult::parse(&format!("{text} today")), None);
    }

    proptest! {
        #[test]
        fn each_result_is_read_back(given in odd_title(), ms in 0..90_000_000u64) {
            prop_assume!(!given.is_empty());
            let title = title(Some(&given), &[]);
            for (outcome, code) in outcomes() {
                let text = result(&title, &outcome, Duration::from_millis(ms));
                let read = RunResult::parse(&text);
                prop_assert_eq!(read.as_ref().map(|read| &*read.title), Some(&*title), "{}", &text);
                let read = read.unwrap();
                prop_assert_eq!(read.exit_code(), code, "{}", &text);
                let json = read.json();
                let timed_out = matches!(outcome, Outcome::TimedOut(_));
                prop_assert_eq!(&json["timed_out"], timed_out);
                match outcome {
                    Outcome::Ended(end) | Outcome::TimedOut(end) => {
                        prop_assert_eq!(&json["state"], "ended");
                        prop_assert_eq!(&json["code"], &Value::from(end.code));
                        let signal = end.signal.map(|(_, name)| name);
                        prop_assert_eq!(&json["signal"], &Value::from(signal));
                    }
                    Outcome::NotBegun(..) => prop_assert_eq!(&json["state"], "not_started"),
                }
            }
            let read = RunResult::parse(&will(&title)).unwrap();
            prop_assert_eq!((&*read.title, read.exit_code()), (&*title, 125));
            prop_assert_eq!(&read.json()["state"], "lost");
        }
    }

    #[test]
    fn text_with_anything_else_is_not_a_result() {
        assert_eq!(code_of("make: ok after 1.0 s"), Some(0));
        for text in [
            "make: ok",
            "make: ok after all",
            "make: ok after 1.0 s\nno",
            "no\nmake: ok after 1.0 s",
            "make: ok after 1.0 s ",
            ": ok after 1.0 s",
            "make: ok after 1 s",
            "make: failed with exit code 0 after 1.0 s",
            "make: failed with exit code 99999999999 after 1.0 s",
            "make: killed by sigkill after 1.0 s",
            "started: make (pid 7)",
        ] {
            assert_eq!(code_of(text), None, "{text}");
        }
        assert_eq!(code_of("make: killed by signal 2147483647 after 1.0 s"), Some(125));
    }
}
