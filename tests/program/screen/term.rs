//! A pseudo-terminal with a program in it, and the emulator that shows what a person would see.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::OpenOptionsExt, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portable_pty::{MasterPty, PtySize, native_pty_system};
use unicode_width::UnicodeWidthStr;

use super::super::{
    machine,
    world::{World, kill},
};

/// Generous: a hang is a failure, and a machine that is busy is none.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of output that are kept for whoever wants to see them raw.
const OUTPUT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Columns and rows.
pub type Size = (u16, u16);

/// A program in a terminal. It is killed when this is dropped.
pub struct Term {
    child: Child,
    /// None once the terminal is gone.
    pty: Option<Pty>,
    shown: Arc<Shown>,
    reader: Option<JoinHandle<()>>,
    size: Size,
    /// How the terminal was before the program had it.
    modes_before: String,
}

struct Pty {
    master: Box<dyn MasterPty + Send>,
    keyboard: File,
    /// The reading thread ends when this is dropped.
    _reads: UnixStream,
}

/// What the reading thread and whoever looks share.
struct Shown {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    emulator: vt100::Parser<Heard>,
    output: Vec<u8>,
    /// Nothing more comes: the program and all that had its terminal have ended.
    closed: bool,
    /// When the program last wrote.
    wrote: Instant,
}

/// What a terminal does beside showing cells.
#[derive(Default)]
struct Heard {
    bells: usize,
    title: String,
    /// Of OSC 52, as it comes (base64).
    copied: Vec<String>,
    /// Of OSC 9.
    notifications: Vec<String>,
    links: Vec<(String, String)>,
    /// Where an open link began.
    link: Option<(String, (u16, u16))>,
    wants_focus: bool,
    /// Within an update that is to be seen as a whole.
    updating: bool,
}

impl Heard {
    fn mode(&mut self, mode: u16, on: bool) {
        match mode {
            1004 => self.wants_focus = on,
            2026 => self.updating = on,
            _ => {}
        }
    }

    fn link(&mut self, screen: &vt100::Screen, url: &str) {
        let (row, column) = screen.cursor_position();
        if let Some((url, (from_row, from_column))) = self.link.take() {
            let text = screen.contents_between(from_row, from_column, row, column);
            self.links.push((url, text));
        }
        self.link = (!url.is_empty()).then(|| (url.to_owned(), (row, column)));
    }
}

impl vt100::Callbacks for Heard {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.bells += 1;
    }

    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.title = String::from_utf8_lossy(title).into_owned();
    }

    fn copy_to_clipboard(&mut self, _: &mut vt100::Screen, _kind: &[u8], data: &[u8]) {
        self.copied.push(String::from_utf8_lossy(data).into_owned());
    }

    fn unhandled_csi(
        &mut self,
        _: &mut vt100::Screen,
        first: Option<u8>,
        _: Option<u8>,
        params: &[&[u16]],
        c: char,
    ) {
        if first == Some(b'?') && matches!(c, 'h' | 'l') {
            for mode in params.iter().filter_map(|param| param.first()) {
                self.mode(*mode, c == 'h');
            }
        }
    }

    fn unhandled_osc(&mut self, screen: &mut vt100::Screen, params: &[&[u8]]) {
        let text = |parts: &[&[u8]]| String::from_utf8_lossy(&parts.join(&b';')).into_owned();
        match params {
            [b"8", _, url @ ..] => self.link(screen, &text(url)),
            [b"9", words @ ..] => self.notifications.push(text(words)),
            // One with a semicolon.
            [b"0" | b"2", words @ ..] => self.title = text(words),
            _ => {}
        }
    }
}

impl Term {
    /// `moot join …` in that world.
    #[track_caller]
    pub fn open(world: &World, args: &[&str], size: Size) -> Self {
        Self::open_with(world, args, size, &[], None)
    }

    /// The same with more environment, or as another user.
    #[track_caller]
    pub fn open_with(
        world: &World,
        args: &[&str],
        size: Size,
        env: &[(&str, &str)],
        uid: Option<u32>,
    ) -> Self {
        let mut all = vec!["join", "--no-start"];
        all.extend(args);
        let mut command = match uid {
            Some(uid) => world.moot_as(uid, &all),
            None => world.moot(&all),
        };
        command.envs(env.iter().copied());
        Self::run(command, size)
    }

    /// Lines of a shell, in which `$MOOT` is the program.
    #[track_caller]
    pub fn shell(world: &World, script: &str, size: Size) -> Self {
        let mut command = world.command(Path::new("/bin/sh"), &["-c", script]);
        command.env("MOOT", env!("CARGO_BIN_EXE_moot"));
        Self::run(command, size)
    }

    /// Any program of [`World`].
    #[track_caller]
    pub fn run(mut command: Command, size: Size) -> Self {
        let pair = native_pty_system().openpty(pty_size(size)).unwrap();
        let tty = pair.master.tty_name().unwrap();
        let modes_before = modes(&*pair.master);
        command.env("LC_ALL", "C.UTF-8");
        if !command.get_envs().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm-256color");
        }
        let child = spawn_on(&tty, &mut command);
        // It is the program's now: its end can be seen.
        drop(pair.slave);
        let keyboard = descriptor(&*pair.master);
        let (reads, read_until) = UnixStream::pair().unwrap();
        let shown = Arc::new(Shown::new(size));
        let reader = {
            let (from, to) = (keyboard.try_clone().unwrap(), Arc::clone(&shown));
            std::thread::spawn(move || read(from, &read_until, &to))
        };
        let pty = Pty { master: pair.master, keyboard, _reads: reads };
        let reader = Some(reader);
        Self { child, pty: Some(pty), shown, reader, size, modes_before }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        kill(self.pid(), name);
    }

    /// Types: bytes as a terminal sends them.
    #[track_caller]
    pub fn keys(&mut self, bytes: &str) {
        let keyboard = &mut self.pty.as_mut().expect("a terminal that is there").keyboard;
        if let Err(e) = keyboard.write_all(bytes.as_bytes()) {
            panic!("can't type {bytes:?}: {e}\n{}", self.all());
        }
    }

    /// Types a line and sends it.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        self.keys(line);
        self.keys(super::keys::ENTER);
    }

    /// As if its window were drawn larger or smaller.
    #[track_caller]
    pub fn resize(&mut self, size: Size) {
        self.size = size;
        // The emulator first: it may draw at the new size as soon as it knows.
        let (columns, rows) = (size.0.try_into().unwrap(), size.1.try_into().unwrap());
        self.state().emulator.set_size(rows, columns);
        self.pty.as_ref().unwrap().master.resize(pty_size(size)).unwrap();
    }

    /// As if its window were closed.
    pub fn hang_up(&mut self) {
        self.pty = None;
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }

    /// Waits until this is seen; an update is looked at when it is complete.
    #[track_caller]
    pub fn wait(&self, what: &str, seen: impl Fn(&vt100::Screen) -> bool) {
        self.wait_state(what, |state| seen(state.emulator.screen()));
    }

    #[track_caller]
    fn wait_state(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state();
        loop {
            if !state.emulator.callbacks().updating && holds(&state) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closed {
                drop(state);
                panic!("never seen: {what}\n{}", self.all());
            }
            let waited = self.shown.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    #[track_caller]
    pub fn wait_text(&self, text: &str) {
        self.wait(text, |screen| text_of(screen).contains(text));
    }

    #[track_caller]
    pub fn wait_gone(&self, text: &str) {
        self.wait(&format!("{text} no more"), |screen| !text_of(screen).contains(text));
    }

    /// Waits until a row is so.
    #[track_caller]
    pub fn wait_row(&self, what: &str, is: impl Fn(&str) -> bool) {
        self.wait(what, |screen| rows_of(screen).iter().any(|row| is(row)));
    }

    /// Waits until all rows together are so.
    #[track_caller]
    pub fn wait_rows(&self, what: &str, are: impl Fn(&[String]) -> bool) {
        self.wait(what, |screen| are(&rows_of(screen)));
    }

    /// Waits for so many rings of the bell since the start.
    #[track_caller]
    pub fn wait_bells(&self, count: usize) {
        self.wait_state("the bell", |state| state.emulator.callbacks().bells >= count);
    }

    #[track_caller]
    pub fn wait_title(&self, what: &str, is: impl Fn(&str) -> bool) {
        self.wait_state(what, |state| is(&state.emulator.callbacks().title));
    }

    /// Waits for bytes as they come.
    #[track_caller]
    pub fn wait_output(&self, what: &str, is: impl Fn(&[u8]) -> bool) {
        self.wait_state(what, |state| is(&state.output));
    }

    /// Waits for a clickable link to this address; gives its text.
    #[track_caller]
    pub fn wait_link(&self, url: &str) -> String {
        let found = |state: &State| {
            let links = &state.emulator.callbacks().links;
            links.iter().rfind(|(to, _)| to == url).map(|(_, text)| text.clone())
        };
        self.wait_state(&format!("a link to {url}"), |state| found(state).is_some());
        found(&self.state()).unwrap()
    }

    /// Waits for a text on its way to the clipboard (base64).
    #[track_caller]
    pub fn wait_copied(&self, what: &str) -> String {
        self.wait_state(what, |state| !state.emulator.callbacks().copied.is_empty());
        self.state().emulator.callbacks().copied.last().unwrap().clone()
    }

    #[track_caller]
    pub fn wait_notification(&self, what: &str, is: impl Fn(&str) -> bool) {
        self.wait_state(what, |state| {
            state.emulator.callbacks().notifications.iter().any(|text| is(text))
        });
    }

    /// Waits until the program says nothing for a while. Only before looking for what must *not* be seen:
    /// else there is something to wait for.
    pub fn settle(&self) {
        const QUIET: Duration = Duration::from_millis(50);
        // What was just typed has not been read yet.
        let now = Instant::now();
        let deadline = now + PATIENCE;
        let mut state = self.state();
        while state.wrote.max(now).elapsed() < QUIET && !state.closed && Instant::now() < deadline {
            let waited = self.shown.changed.wait_timeout(state, QUIET);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// From the top, without spaces at their ends.
    pub fn rows(&self) -> Vec<String> {
        rows_of(self.complete().emulator.screen())
    }

    pub fn text(&self) -> String {
        text_of(self.complete().emulator.screen())
    }

    /// The first row that is so, and which one it is.
    #[track_caller]
    pub fn row(&self, what: &str, is: impl Fn(&str) -> bool) -> (u16, String) {
        self.wait_row(what, &is);
        let rows = self.rows();
        let at = rows.iter().position(|row| is(row));
        let Some(at) = at else { panic!("seen, and gone: {what}\n{}", self.all()) };
        (u16::try_from(at).unwrap(), rows[at].clone())
    }

    /// Column and row.
    pub fn cursor(&self) -> (u16, u16) {
        let (row, column) = self.complete().emulator.screen().cursor_position();
        (column, row)
    }

    #[track_caller]
    pub fn cell(&self, column: u16, row: u16) -> vt100::Cell {
        let state = self.complete();
        state.emulator.screen().cell(row, column).expect("within the screen").clone()
    }

    /// The first cell of this text.
    #[track_caller]
    pub fn cell_of(&self, text: &str) -> vt100::Cell {
        let (row, line) = self.row(text, |row| row.contains(text));
        self.cell(u16::try_from(column_of(&line, text)).unwrap(), row)
    }

    pub fn bells(&self) -> usize {
        self.complete().emulator.callbacks().bells
    }

    pub fn title(&self) -> String {
        self.complete().emulator.callbacks().title.clone()
    }

    pub fn notifications(&self) -> Vec<String> {
        self.complete().emulator.callbacks().notifications.clone()
    }

    /// Addresses and texts of clickable links, as they came.
    pub fn links(&self) -> Vec<(String, String)> {
        self.complete().emulator.callbacks().links.clone()
    }

    /// Whether the program wants to know of the focus.
    pub fn wants_focus(&self) -> bool {
        self.complete().emulator.callbacks().wants_focus
    }

    /// What it wrote so far, as it came.
    pub fn output(&self) -> Vec<u8> {
        self.state().output.clone()
    }

    /// How the terminal treats keys and output (what `stty -a` shows).
    pub fn modes(&self) -> String {
        modes(&*self.pty.as_ref().unwrap().master)
    }

    pub fn modes_before(&self) -> &str {
        &self.modes_before
    }

    /// Whether a full-screen program has it.
    pub fn is_full_screen(&self) -> bool {
        self.complete().emulator.screen().alternate_screen()
    }

    /// Waits for the program's end, and for all that it wrote.
    #[track_caller]
    pub fn wait_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.wait_closed();
                return status;
            }
            assert!(Instant::now() < deadline, "does not end\n{}", self.all());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Waits for the end; gives the exit code (128 + signal).
    #[track_caller]
    pub fn code(&mut self) -> i32 {
        machine::code_of(self.wait_end())
    }

    fn wait_closed(&self) {
        if self.pty.is_none() {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut state = self.state();
        // What it began may have the terminal longer than itself.
        while !state.closed && Instant::now() < deadline {
            let waited = self.shown.changed.wait_timeout(state, Duration::from_secs(1));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// After the end: as if the program had never had the terminal.
    #[track_caller]
    pub fn assert_sane(&self) {
        let state = self.state();
        let (screen, heard) = (state.emulator.screen(), state.emulator.callbacks());
        let left = [
            ("the alternate screen", screen.alternate_screen()),
            ("a hidden cursor", screen.hide_cursor()),
            ("bracketed paste", screen.bracketed_paste()),
            ("the mouse", screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None),
            ("the keypad", screen.application_keypad() || screen.application_cursor()),
            ("focus events", heard.wants_focus),
            ("an update without end", heard.updating),
            ("a link without end", heard.link.is_some()),
            ("bold letters", screen.bold() || screen.inverse() || screen.underline()),
            ("a color", (screen.fgcolor(), screen.bgcolor()) != Default::default()),
        ];
        let left: Vec<_> = left.iter().filter(|(_, on)| *on).map(|(what, _)| *what).collect();
        drop(state);
        assert!(left.is_empty(), "left behind: {}\n{}", left.join(", "), self.all());
        if let Some(pty) = &self.pty {
            assert_eq!(modes(&*pty.master), self.modes_before, "{}", self.all());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shown.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state when no update is half done.
    fn complete(&self) -> MutexGuard<'_, State> {
        let state = self.state();
        let half = |state: &mut State| state.emulator.callbacks().updating && !state.closed;
        let waited = self.shown.changed.wait_timeout_while(state, PATIENCE, half);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// All that helps to see what went wrong.
    fn all(&self) -> String {
        let state = self.state();
        let (screen, heard) = (state.emulator.screen(), state.emulator.callbacks());
        let (columns, rows) = self.size;
        let edge = "-".repeat(usize::from(columns));
        let mut all = format!("+{edge}+ {columns} x {rows}\n");
        for row in rows_of(screen) {
            let fill = usize::from(columns).saturating_sub(row.width());
            all += &format!("|{row}{}|\n", " ".repeat(fill));
        }
        let (row, column) = screen.cursor_position();
        let hidden = if screen.hide_cursor() { " (hidden)" } else { "" };
        let last = &state.output[state.output.len().saturating_sub(300)..];
        all += &format!(
            "+{edge}+\ncursor at column {column}, row {row}{hidden}; title {:?}; bells {}\n\
             process {}: {}; written last: {}\n",
            heard.title,
            heard.bells,
            self.pid(),
            if state.closed { "ended" } else { "runs" },
            last.escape_ascii()
        );
        all
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.pty = None;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Shown {
    fn new((columns, rows): Size) -> Self {
        let (rows, columns) = (rows.try_into().unwrap(), columns.try_into().unwrap());
        let heard = Heard::default();
        let state = State {
            emulator: vt100::Parser::new_with_callbacks(rows, columns, 0, heard),
            output: Vec::new(),
            closed: false,
            wrote: Instant::now(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn take(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.emulator.process(bytes);
        let room = OUTPUT_BYTES_MAX.saturating_sub(state.output.len());
        state.output.extend_from_slice(&bytes[..bytes.len().min(room)]);
        state.wrote = Instant::now();
        state.closed |= bytes.is_empty();
        self.changed.notify_all();
    }
}

/// Until the program has ended, or nobody looks any more.
fn read(mut from: File, until: &UnixStream, to: &Shown) {
    let mut bytes = [0; 64 * 1024];
    loop {
        let mut ready = [
            PollFd::new(from.as_fd(), PollFlags::POLLIN),
            PollFd::new(until.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut ready, PollTimeout::NONE).is_err() {
            continue;
        }
        let [_, gone] = ready.map(|fd| fd.any().unwrap_or(false));
        if gone {
            return;
        }
        // An error is how its end is told.
        let read = from.read(&mut bytes).unwrap_or(0);
        to.take(&bytes[..read]);
        if read == 0 {
            return;
        }
    }
}

/// Begins a program in a session of its own that has this terminal.
fn spawn_on(tty: &PathBuf, command: &mut Command) -> Child {
    let mut open = OpenOptions::new();
    // Not the terminal of the tests themselves, if they have none.
    let tty = open.read(true).write(true).custom_flags(libc::O_NOCTTY).open(tty).unwrap();
    command.stdin(tty.try_clone().unwrap()).stdout(tty.try_clone().unwrap()).stderr(tty);
    let take_terminal = || {
        nix::unistd::setsid()?;
        // SAFETY: it takes numbers only; standard input is the terminal.
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY as _, 0) } == -1 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes two system calls, and allocates nothing.
    unsafe { command.pre_exec(take_terminal) };
    let child = command.spawn().unwrap();
    // Standard input and output stay open in `command` else.
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    child
}

/// The terminal's other end, for reading and writing. Not the crate's own writer: that types Ctrl-D when
/// it is dropped.
fn descriptor(master: &dyn MasterPty) -> File {
    let fd = master.as_raw_fd().unwrap();
    // SAFETY: `master` keeps it open meanwhile.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    File::from(fd.try_clone_to_owned().unwrap())
}

fn modes(master: &dyn MasterPty) -> String {
    let modes = master.get_termios().expect("modes of a terminal");
    let (input, output) = (modes.input_flags, modes.output_flags);
    let (local, keys) = (modes.local_flags, modes.control_chars);
    format!("{input:?} {output:?} {local:?} {keys:?}")
}

fn pty_size((columns, rows): Size) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}

fn rows_of(screen: &vt100::Screen) -> Vec<String> {
    screen.rows(0, screen.size().1.get()).map(|row| row.trim_end().to_owned()).collect()
}

fn text_of(screen: &vt100::Screen) -> String {
    rows_of(screen).join("\n")
}

/// In which column of a row a text begins.
#[track_caller]
pub fn column_of(row: &str, text: &str) -> usize {
    let at = row.find(text).unwrap_or_else(|| panic!("{text:?} is not in {row:?}"));
    row[..at].width()
}
