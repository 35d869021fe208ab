//! The only place that prints: results to standard output, everything else to standard error.

use std::{
    borrow::Cow,
    io::{self, BufWriter, IsTerminal, Stderr, Stdout, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    args::{Color, Global},
    exit_code::{Exit, Failure},
    json, render,
    style::Style,
    time::Clock,
};
use crate::{
    chat::text::shown,
    client::Event,
    faults::{Fault, planted},
    os, tui,
};

/// The terminal is raw: a line end does not return to the first column.
static IS_RAW: AtomicBool = AtomicBool::new(false);

/// Standard output and standard error of a command.
#[derive(Debug)]
pub(super) struct Output {
    out: BufWriter<Stdout>,
    json: bool,
    quiet: bool,
    color: bool,
    utc: bool,
    terminal: bool,
    /// Columns of the terminal.
    columns: Option<usize>,
    /// Lines on the terminal that will be replaced.
    drawn: usize,
}

impl Output {
    pub(super) fn new(global: &Global) -> Self {
        let terminal = io::stdout().is_terminal();
        let color = has_color(global.color, terminal);
        let out = BufWriter::with_capacity(64 * 1024, io::stdout());
        Self {
            out,
            json: global.json,
            quiet: global.quiet,
            color,
            utc: global.utc,
            terminal,
            columns: if terminal { tui::columns() } else { None },
            drawn: 0,
        }
    }

    pub(super) fn style(&self, rooms: bool) -> Style {
        let clock = Clock { utc: self.utc, now_us: os::wall_us() };
        Style { color: self.color, rooms, clock, columns: self.columns }
    }

    /// The same without colours, for notes: what they say is shown as it is.
    pub(super) fn note_style(&self, rooms: bool) -> Style {
        Style { color: false, ..self.style(rooms) }
    }

    /// Prints JSON from now on, whatever the flags say.
    pub(super) fn print_json(&mut self) {
        self.json = true;
    }

    /// Copies a file to the output, byte for byte.
    pub(super) fn copy(&mut self, file: &mut std::fs::File) -> Result<(), Failure> {
        io::copy(file, &mut self.out).map_err(|e| broken(&e))?;
        self.flush()
    }

    /// One line of a result.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.write(painted_only(line, self.color).as_bytes())?;
        self.end_line()
    }

    /// Some lines of a result, each ended already, or none.
    pub(super) fn lines(&mut self, lines: &str) -> Result<(), Failure> {
        self.write(painted_only(lines, self.color).as_bytes())?;
        self.flush()
    }

    /// Returns true if printed lines can be replaced.
    pub(super) fn redraws(&self) -> bool {
        self.terminal && !self.json && !is_dumb()
    }

    /// Some lines in place of those before. Nothing is left to be restored, whenever it ends.
    pub(super) fn redraw(&mut self, block: &str) -> Result<(), Failure> {
        let up = match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A"),
        };
        // Without wrapping, for a moment: the terminal cuts long lines, and each has one row.
        let block = painted_only(block, self.color);
        let lines: String = block.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        self.drawn = block.lines().count();
        self.write(format!("{up}\r\x1b[?7l{lines}\x1b[J\x1b[?7h").as_bytes())?;
        self.flush()
    }

    /// One JSON object.
    pub(super) fn json(&mut self, object: &serde_json::Value) -> Result<(), Failure> {
        let line = json::line(object);
        self.write(line.as_bytes())?;
        self.end_line()
    }

    /// That a command was done: an object with --json, and nothing to read otherwise.
    pub(super) fn ok(
        &mut self,
        command: &str,
        of: &[(&str, serde_json::Value)],
    ) -> Result<(), Failure> {
        if self.json { self.json(&json::ok(command, of)) } else { Ok(()) }
    }

    /// Something that happened, as text or JSON. Flushed by the caller once nothing more is there.
    pub(super) fn event(&mut self, event: &Event, rooms: bool) -> Result<(), Failure> {
        let line = match self.json {
            true => json::event(event).map(|object| json::line(&object)),
            false => render::event(event, &self.style(rooms)),
        };
        let Some(mut line) = line else { return Ok(()) };
        line.push('\n');
        self.write(line.as_bytes())
    }

    /// The text of a message as it is, and a line end.
    pub(super) fn raw(&mut self, text: &str) -> Result<(), Failure> {
        // A pipe gets the bytes; a terminal is not commanded by others, whatever the flag.
        let text = if self.terminal { shown(text, true) } else { text.into() };
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    fn end_line(&mut self) -> Result<(), Failure> {
        self.write(b"\n")?;
        self.flush()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(|e| broken(&e))
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|e| broken(&e))
    }

    /// From now on the command ends when its output loses its reader: one that prints seldom would
    /// learn it late. For commands that have nothing to say goodbye to.
    pub(super) fn end_when_unread() {
        let watch = || {
            if os::wait_until_unread() {
                std::process::exit(Exit::Done.code().into());
            }
        };
        // Without that thread the next line that can't be written ends the command.
        let _ = std::thread::Builder::new().name("moot-reader".to_owned()).spawn(watch);
    }

    /// Help, before it is known what was asked for otherwise.
    pub(super) fn help(plain: &str, ansi: &str, color: Color) -> Result<(), Failure> {
        let mut out = io::stdout();
        let text = if has_color(color, out.is_terminal()) { ansi } else { plain };
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| broken(&e)) {
            Err(failure) if failure.exit == Exit::Done => Ok(()),
            other => other,
        }
    }

    /// Prints a note that is not a result and that a person may want to know, in one line, even if
    /// its text is from another user.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            say(io::stderr(), &shown(text, false));
        }
    }

    /// The same in several lines: the caller sees to it that no text of others begins one.
    pub(super) fn note_lines(&self, text: &str) {
        if !self.quiet {
            say(io::stderr(), &shown(text, true));
        }
    }

    /// Something that happened beside what is waited for: a note, or JSON on standard error.
    pub(super) fn aside(&self, event: &Event, rooms: bool) {
        match self.json {
            true => drop(json::event(event).as_ref().map(Self::json_aside)),
            false => self.note_event(event, rooms),
        }
    }

    /// Prints an event as a note.
    pub(super) fn note_event(&self, event: &Event, rooms: bool) {
        if let Some(text) = render::event(event, &self.note_style(rooms)) {
            self.note_lines(&text);
        }
    }

    /// Something that is not as it should be, though the command goes on.
    pub(super) fn warn(&self, text: &str) {
        Self::error(&Failure::new(Exit::Failed, text), self.json);
    }

    /// Sets whether the terminal is raw (`run --pty`): notes then end with a carriage return as
    /// well.
    pub(super) fn set_raw(is_raw: bool) {
        IS_RAW.store(is_raw, Ordering::SeqCst);
    }

    /// A result of a command whose standard output is another's (`run`).
    pub(super) fn json_aside(object: &serde_json::Value) {
        say(io::stderr(), &json::line(object));
    }

    /// Prints the error of a command line, as the parser writes it.
    pub(super) fn usage(plain: &str, ansi: &str, color: Color) {
        let text = if has_color(color, io::stderr().is_terminal()) { ansi } else { plain };
        say(io::stderr(), text.trim_end());
    }

    /// Why a command failed.
    pub(super) fn error(failure: &Failure, json: bool) {
        if failure.text.is_empty() {
            return;
        }
        let line = match json {
            true => json::line(&json::error(failure.exit.code(), &failure.text)),
            // A server's reason may have line ends that look like lines of others.
            false => {
                let is_multiline = planted(Fault::ServerTextBeginsLine);
                format!("moot: {}", shown(&failure.text, is_multiline))
            }
        };
        say(io::stderr(), &line);
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Errors of writing were reported, or the reader has gone.
        let _ = self.out.flush();
    }
}

/// Returns true if colors are used on a terminal, or on something else.
fn has_color(wish: Color, terminal: bool) -> bool {
    match wish {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && !no_color() && !is_dumb(),
    }
}

/// Returns true if the terminal knows no escape sequences.
pub(super) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Returns true if this user wants no colors, see <https://no-color.org>.
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
}

fn say(mut to: Stderr, text: &str) {
    let mut lines = format!("{text}\n");
    if IS_RAW.load(Ordering::SeqCst) && to.is_terminal() {
        lines = lines.replace('\n', "\r\n");
    }
    // If that fails, no reader is left.
    let _ = to.write_all(lines.as_bytes());
}

/// A text of which nothing but colors commands a terminal, and they only where they are wanted:
/// texts of others are made safe where they are put into lines, and what was forgotten there is
/// noticed here.
fn painted_only(text: &str, color: bool) -> Cow<'_, str> {
    const BEGIN: &str = "\x1b[";
    if !color || !text.contains(BEGIN) {
        return shown(text, true);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for (at, part) in text.split(BEGIN).enumerate() {
        let code = part.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(part.len());
        let is_color = part[code..].starts_with('m');
        if at > 0 {
            safe.push_str(if is_color { BEGIN } else { "\\u{1b}[" });
        }
        safe.push_str(&shown(part, true));
    }
    safe.into()
}

fn broken(e: &io::Error) -> Failure {
    if e.kind() == io::ErrorKind::BrokenPipe {
        return Failure::closed_pipe();
    }
    Failure::new(Exit::Failed, format!("can't write the output: {e}"))
}
