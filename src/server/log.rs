//! The server's log: one line an event, safe to show, bounded in size when it goes to a file.
//!
//! No user can fill it. Of one user a few lines a second are written, and the rest is counted. What
//! operators did stays in a file however much else is written there: each file begins with the
//! newest of it.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt::Display,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    chat::text::shown,
    faults::{Fault, planted},
    limits::{
        ECHO_BYTES_MAX, LOG_ACTS_BYTES_MAX, LOG_BYTES_MAX, LOG_LINES_PER_USER_MAX, LOG_USERS_MAX,
    },
    os,
};

/// Destination of the server's log.
#[derive(Debug)]
pub struct Log {
    sink: RefCell<Sink>,
    noise: RefCell<Noise>,
    verbose: bool,
}

/// Levels of syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogLevel {
    Warning = 4,
    Notice = 5,
    Info = 6,
}

impl LogLevel {
    /// Returns the beginning of a line, after time and process. Nothing that a client causes begins
    /// like an act.
    const fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning: ",
            Self::Notice => "operator: ",
            Self::Info => "",
        }
    }
}

#[derive(Debug)]
enum Sink {
    Stderr,
    /// Standard error too: the journal knows time and process, and takes levels.
    Journal,
    File {
        file: File,
        path: PathBuf,
        bytes: u64,
    },
}

impl Log {
    /// Logs to standard error; informative lines only if `verbose`.
    #[must_use]
    pub fn stderr(verbose: bool) -> Self {
        Self::to(if os::errors_go_to_journal() { Sink::Journal } else { Sink::Stderr }, verbose)
    }

    /// Logs to a file, which is put aside as `.old` when it is full.
    ///
    /// # Errors
    /// Returns an error if it can't be opened.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = os::make_private(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self::to(Sink::File { file, path: path.to_owned(), bytes }, true))
    }

    fn to(sink: Sink, verbose: bool) -> Self {
        Self { sink: RefCell::new(sink), noise: RefCell::default(), verbose }
    }

    /// Something that went as it should.
    pub fn info(&self, text: &str) {
        if self.verbose {
            self.line(LogLevel::Info, text);
        }
    }

    /// Something that went as it should and is always to be found: why the server ended.
    pub fn always(&self, text: &str) {
        self.line(LogLevel::Info, text);
    }

    /// Logs an act of an operator, so that it can be found afterwards.
    pub fn note(&self, text: &str) {
        self.line(LogLevel::Notice, text);
    }

    /// Warns of something an operator should know.
    pub fn warn(&self, text: &str) {
        if self.admits(None, "the server") {
            self.line(LogLevel::Warning, text);
        }
    }

    /// Logs something that a user caused.
    pub fn of_user(&self, uid: u32, user: &dyn Display, text: &str) {
        let user = format!("user {user}");
        if self.admits(Some(uid), &user) {
            self.line(LogLevel::Warning, &format!("{user}: {}", cut(&shown(cut(text), false))));
        }
    }

    /// Writes how many lines were left out, once their second is over.
    pub fn settle(&self) {
        let left_out = self.noise.borrow_mut().settle(os::monotonic_us());
        for (who, lines) in left_out {
            self.line(LogLevel::Warning, &format!("{lines} more from {who}"));
        }
    }

    /// Opens the file again if another program removed it or moved it away.
    pub fn look(&self) {
        if let Sink::File { file, path, bytes } = &mut *self.sink.borrow_mut()
            && !os::FileIdentity::of(file).is_ok_and(|own| own.is_at(path))
            && let Ok(new) = os::make_private(path)
        {
            *bytes = new.metadata().map_or(0, |meta| meta.len());
            *file = new;
        }
    }

    fn admits(&self, uid: Option<u32>, who: &str) -> bool {
        self.settle();
        self.noise.borrow_mut().admits(os::monotonic_us(), uid, who)
            || planted(Fault::LogLinesUnbounded)
    }

    fn line(&self, level: LogLevel, text: &str) {
        let text = shown(text, false);
        let line = match &*self.sink.borrow() {
            Sink::Journal => format!("<{}>{text}\n", level as u8),
            Sink::Stderr | Sink::File { .. } => {
                let seconds = os::wall_us().div_euclid(1_000_000);
                let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
                format!("{time} moot[{}]: {}{text}\n", std::process::id(), level.word())
            }
        };
        // A full disk or a closed terminal must not end the server.
        let _ = self.sink.borrow_mut().write(&line);
    }
}

/// The beginning of what a client sent or was named.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(ECHO_BYTES_MAX)]
}

impl Sink {
    fn write(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Stderr | Self::Journal => io::stderr().write_all(line.as_bytes()),
            Self::File { file, path, bytes } => {
                if *bytes + line.len() as u64 > LOG_BYTES_MAX {
                    let old = begin_another(file, path)?;
                    *bytes = old.len() as u64;
                    file.write_all(old.as_bytes())?;
                }
                file.write_all(line.as_bytes())?;
                *bytes += line.len() as u64;
                Ok(())
            }
        }
    }
}

/// Puts a full file aside; gives what the next one begins with.
fn begin_another(file: &mut File, path: &Path) -> io::Result<String> {
    let mut old = path.to_owned().into_os_string();
    old.push(".old");
    std::fs::rename(path, &old)?;
    *file = os::make_private(path)?;
    // Without them it goes on as well.
    let before = std::fs::read(old).unwrap_or_default();
    Ok(acts_of(&String::from_utf8_lossy(&before)))
}

/// The newest acts of operators that are in a log.
fn acts_of(log: &str) -> String {
    let is_act = |line: &&str| {
        let text = line.split_once("]: ").map(|(_, text)| text);
        text.is_some_and(|text| text.starts_with(LogLevel::Notice.word()))
            && !planted(Fault::NoisePushesActsOut)
    };
    let mut left = LOG_ACTS_BYTES_MAX;
    let fits = |line: &&str| {
        let fits = line.len() <= left;
        left = left.saturating_sub(line.len());
        fits
    };
    let mut newest: Vec<&str> =
        log.split_inclusive('\n').rev().filter(is_act).take_while(fits).collect();
    newest.reverse();
    newest.concat()
}

/// Lines of the running second, by the user who caused them (none: the server itself).
#[derive(Debug, Default)]
struct Noise {
    second: u64,
    of: HashMap<Option<u32>, (String, u32)>,
    /// Lines of users beyond those.
    others: u32,
}

impl Noise {
    /// Counts a line; whether it is written.
    fn admits(&mut self, now_us: u64, uid: Option<u32>, who: &str) -> bool {
        if self.of.is_empty() {
            self.second = now_us / 1_000_000;
        }
        if self.of.len() >= LOG_USERS_MAX && uid.is_some() && !self.of.contains_key(&uid) {
            self.others = self.others.saturating_add(1);
            return false;
        }
        let (_, lines) = self.of.entry(uid).or_insert_with(|| (who.to_owned(), 0));
        *lines = lines.saturating_add(1);
        *lines <= LOG_LINES_PER_USER_MAX
    }

    /// Begins another second if one is over; gives who had lines in the last one that were not
    /// written.
    fn settle(&mut self, now_us: u64) -> Vec<(String, u32)> {
        if self.second == now_us / 1_000_000 {
            return Vec::new();
        }
        let all = self.of.drain().map(|(_, (who, lines))| (who, lines));
        let left_out = all.map(|(who, lines)| (who, lines.saturating_sub(LOG_LINES_PER_USER_MAX)));
        let others = ("other users".to_owned(), std::mem::take(&mut self.others));
        left_out.chain([others]).filter(|(_, lines)| *lines > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lines_of_each_user_are_admitted_and_the_rest_is_counted() {
        let mut noise = Noise::default();
        let now_us = 5_000_000;
        let lines = |noise: &mut Noise, uid, who, lines: u32| {
            (0..lines).filter(|_| noise.admits(now_us, uid, who)).count()
        };
        let most = LOG_LINES_PER_USER_MAX;
        assert_eq!(lines(&mut noise, Some(7), "user eve", 1_000), most as usize);
        assert_eq!(lines(&mut noise, Some(8), "user bob", most), most as usize);
        assert_eq!(lines(&mut noise, None, "the server", 1), 1);
        // However many users there are, they do not fill it together either.
        for uid in 100..1_000 {
            lines(&mut noise, Some(uid), "user x", 1);
        }
        let left = noise.of.len();
        assert!(left <= LOG_USERS_MAX, "{left}");
        assert_eq!(lines(&mut noise, None, "the server", 1), 1, "the server's own are apart");
        assert_eq!(noise.settle(now_us + 900_000), []);
        let mut left_out = noise.settle(now_us + 1_000_000);
        left_out.sort();
        let others = 900 - (LOG_USERS_MAX as u32 - 3);
        let expected = [("other users", others), ("user eve", 1_000 - most)];
        assert_eq!(left_out, expected.map(|(who, lines)| (who.to_owned(), lines)));
        assert!(noise.admits(now_us + 1_000_001, Some(7), "user eve"));
    }

    #[test]
    fn acts_of_operators_outlive_any_noise_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::file(&path).unwrap();
        log.note("root: deleted the room dev");
        // As loud as can be: without the bound of lines a second.
        let noise = "x".repeat(1_000);
        for n in 0..5_000 {
            log.line(LogLevel::Warning, &noise);
            if n == 2_500 {
                log.note("root: banned eve");
            }
        }
        let read = std::fs::read_to_string(&path).unwrap();
        let acts: Vec<_> = read.lines().filter(|line| line.contains(": operator: ")).collect();
        assert_eq!(acts.len(), 2, "{acts:?}");
        assert!(acts[0].ends_with("deleted the room dev") && acts[1].ends_with("banned eve"));
        assert!(read.len() as u64 <= LOG_BYTES_MAX);
    }

    #[test]
    fn acts_give_way_to_newer_acts_only() {
        let act = |n: usize| format!("2026-01-01T00:00:00Z moot[1]: operator: root: {n:0>100}\n");
        let all: String = (0..10_000).map(act).collect();
        let kept = acts_of(&all);
        assert!(kept.len() <= LOG_ACTS_BYTES_MAX && all.ends_with(&kept));
        let forged = "2026-01-01T00:00:00Z moot[1]: warning: user eve: ]: operator: root: x\n";
        assert_eq!(acts_of(forged), "", "no text makes a line an act");
    }

    #[test]
    fn words_of_a_client_are_cut_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::file(&path).unwrap();
        log.of_user(7, &"eve", &"\u{1b}가".repeat(20_000));
        let read = std::fs::read_to_string(&path).unwrap();
        assert!(read.len() < ECHO_BYTES_MAX + 100 && read.contains("user eve: "), "{read}");
    }
}
