//! The server's log: one line an event, safe to show, bounded in size when it goes to a file.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{chat::text::shown, limits::LOG_BYTES_MAX, os};

/// Where the server tells what it does.
#[derive(Debug)]
pub struct Log {
    sink: RefCell<Sink>,
    verbose: bool,
}

/// Levels of syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Warning = 4,
    Notice = 5,
    Info = 6,
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
        let sink = if os::errors_go_to_journal() { Sink::Journal } else { Sink::Stderr };
        Self { sink: RefCell::new(sink), verbose }
    }

    /// Logs to a file, which is put aside as `.old` when it is full.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = os::make_private(path)?;
        let bytes = file.metadata()?.len();
        let sink = Sink::File { file, path: path.to_owned(), bytes };
        Ok(Self { sink: RefCell::new(sink), verbose: true })
    }

    /// Something that went as it should.
    pub fn info(&self, text: &str) {
        if self.verbose {
            self.line(Level::Info, text);
        }
    }

    /// Something that is to be found afterwards.
    pub fn note(&self, text: &str) {
        self.line(Level::Notice, text);
    }

    /// Something an operator should know.
    pub fn warn(&self, text: &str) {
        self.line(Level::Warning, text);
    }

    fn line(&self, level: Level, text: &str) {
        let text = shown(text, false);
        let line = match &*self.sink.borrow() {
            Sink::Journal => format!("<{}>{text}\n", level as u8),
            Sink::Stderr | Sink::File { .. } => {
                let seconds = os::wall_us().div_euclid(1_000_000);
                let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
                let word = if level == Level::Warning { "warning: " } else { "" };
                format!("{time} moot[{}]: {word}{text}\n", std::process::id())
            }
        };
        // A full disk or a closed terminal must not end the server.
        let _ = self.sink.borrow_mut().write(&line);
    }
}

impl Sink {
    fn write(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Stderr | Self::Journal => io::stderr().write_all(line.as_bytes()),
            Self::File { file, path, bytes } => {
                if *bytes + line.len() as u64 > LOG_BYTES_MAX {
                    let mut old = path.clone().into_os_string();
                    old.push(".old");
                    std::fs::rename(&*path, old)?;
                    *file = os::make_private(path)?;
                    *bytes = 0;
                }
                file.write_all(line.as_bytes())?;
                *bytes += line.len() as u64;
                Ok(())
            }
        }
    }
}
