//! The terminal: the only code that touches it. Whatever ends the program, it is left as it was
//! found.

use std::{
    io::{self, Write},
    sync::{
        Mutex, MutexGuard, Once, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use crossterm::{
    cursor, event,
    event::{
        DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste,
        EnableFocusChange, EnableMouseCapture, Event,
    },
    queue, terminal,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen},
};

use super::{cells::Cells, frame::Frame};
use crate::{chat::text::shown, client::WakeSender, os};

/// Size of a terminal that does not tell its own.
const SIZE_UNKNOWN: (u16, u16) = (80, 24);
/// Events that are handed over at a time.
const EVENTS_MAX: usize = 256;
/// How long a terminal that nobody reads may hold up the end of the program.
const GRACE: Duration = Duration::from_millis(300);
/// How often is looked whether it can be given back.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const TITLE_CHARS_MAX: usize = 200;
const NOTIFICATION_CHARS_MAX: usize = 300;
/// What most terminals take at once for the clipboard.
const COPY_BYTES_MAX: usize = 74_994;

/// The title that the terminal had is put aside, and comes back.
const KEEP_TITLE: &str = "\x1b[22;2t";
const PUT_TITLE_BACK: &str = "\x1b[23;2t";
/// Clicks and the wheel alone: every move of the mouse would wake the program.
const NO_MOVES: &str = "\x1b[?1003l\x1b[?1002l\x1b[?1015l\x1b[?1000h\x1b[?1006h";
/// Shows what there is, in the terminal's own colours, leading nowhere: for whatever was not
/// finished.
const FINISH: &str = "\x1b[?2026l\x1b]8;;\x1b\\\x1b[0m";

/// The terminal while it is the screen's; none: it is as it was found. Whoever writes has the lock,
/// so that nothing comes after what gives the terminal back.
static HELD: Mutex<Option<Held>> = Mutex::new(None);
/// It was given back for good.
static IS_OVER: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

#[derive(Debug)]
struct Held {
    out: os::TerminalOutput,
    mouse: bool,
}

fn held() -> MutexGuard<'static, Option<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the screen asks of a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// Clicks and the wheel come to the program. The terminal's own selection then needs Shift.
    pub(crate) mouse: bool,
    /// Links can be clicked.
    pub(crate) links: bool,
}

/// The terminal as a screen. Dropped, it is as it was found.
#[derive(Debug)]
pub(super) struct Terminal {
    cells: Cells,
    mouse: bool,
}

impl Terminal {
    /// Takes the terminal: one screen a process.
    ///
    /// # Errors
    /// If there is none, or it can't be written to; then it is as it was.
    pub(super) fn enter(wish: Wish) -> io::Result<Self> {
        HOOK.call_once(|| {
            let earlier = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                // First, so that what is printed can be read.
                restore();
                earlier(info);
            }));
        });
        IS_OVER.store(false, Ordering::SeqCst);
        take(wish.mouse)?;
        Ok(Self { cells: Cells::new(measured(SIZE_UNKNOWN), wish.links), mouse: wish.mouse })
    }

    /// Columns and rows, as of [`Terminal::enter`] or the last [`Terminal::measure`].
    pub(super) fn size(&self) -> (u16, u16) {
        self.cells.size()
    }

    /// Asks for the size again, after the terminal said that it has changed.
    pub(super) fn measure(&mut self) -> (u16, u16) {
        let size = measured(self.size());
        // Even if it is the same: it may have been smaller for a moment, and what was cut off is
        // gone.
        self.cells.resize(size);
        size
    }

    /// Shows a frame: all that differs from the last one, in one write.
    ///
    /// # Errors
    /// If the terminal is gone, or was given back: the screen has ended.
    pub(super) fn draw(&mut self, frame: &Frame) -> io::Result<()> {
        let bytes = self.cells.draw(frame);
        let done = write(bytes.as_bytes());
        if done.is_err() {
            self.cells.forget();
        }
        done
    }

    /// The next frame is written as a whole, and all modes are set again: somebody else wrote to
    /// the terminal.
    ///
    /// # Errors
    /// As of [`Terminal::draw`].
    pub(super) fn redraw(&mut self) -> io::Result<()> {
        self.cells.forget();
        write(&modes(self.mouse)?)
    }

    /// Rings.
    ///
    /// # Errors
    /// As of [`Terminal::draw`].
    pub(super) fn bell(&self) -> io::Result<()> {
        write(b"\x07")
    }

    /// Names the window.
    ///
    /// # Errors
    /// As of [`Terminal::draw`].
    pub(super) fn title(&self, title: &str) -> io::Result<()> {
        write(title_bytes(title).as_bytes())
    }

    /// Has the terminal show a notification; many do not know how.
    ///
    /// # Errors
    /// As of [`Terminal::draw`].
    pub(super) fn notify(&self, text: &str) -> io::Result<()> {
        let sequence = notification(text);
        write(if is_in_tmux() { through_tmux(&sequence) } else { sequence }.as_bytes())
    }

    /// Has the terminal put a text into its clipboard; false if it is too long for that. Whether it
    /// does is not known.
    ///
    /// # Errors
    /// As of [`Terminal::draw`].
    pub(super) fn copy(&self, text: &str) -> io::Result<bool> {
        if text.len() > COPY_BYTES_MAX {
            return Ok(false);
        }
        let sequence = format!("\x1b]52;c;{}\x07", base64(text.as_bytes()));
        // By its own settings tmux takes it, hands it through, or neither.
        let through = if is_in_tmux() { through_tmux(&sequence) } else { String::new() };
        write([sequence, through].concat().as_bytes()).map(|()| true)
    }

    /// Whether clicks and the wheel come to the program.
    ///
    /// # Errors
    /// As of [`Terminal::draw`].
    pub(super) fn set_mouse(&mut self, mouse: bool) -> io::Result<()> {
        let mut held = held();
        let held = held.as_mut().ok_or_else(given_back)?;
        let mut bytes = Vec::new();
        if mouse {
            queue!(bytes, EnableMouseCapture)?;
            bytes.extend_from_slice(NO_MOVES.as_bytes());
        } else {
            queue!(bytes, DisableMouseCapture)?;
        }
        (self.mouse, held.mouse) = (mouse, mouse);
        write_to(&mut held.out, &bytes)
    }

    /// Gives the terminal back while something else runs in it, and takes it again.
    ///
    /// Between a batch of [`read_keys`] and its [`GoOn::go`], and at no other time: else two read
    /// what is typed. That the terminal could not be taken again, the next [`Terminal::draw`] says.
    pub(super) fn suspend_for<T>(&mut self, f: impl FnOnce() -> T) -> T {
        self.pause();
        let done = f();
        // What `f` gave is worth more than the reason why nobody will see it.
        let _ = self.resume();
        done
    }

    /// Gives the terminal back until [`Terminal::resume`], by the same rules; meanwhile nothing can
    /// be drawn.
    pub(super) fn pause(&mut self) {
        give_back(&mut held());
    }

    /// Takes the terminal again.
    ///
    /// # Errors
    /// As of [`Terminal::enter`].
    pub(super) fn resume(&mut self) -> io::Result<()> {
        let taken = take(self.mouse);
        self.cells.resize(measured(self.size()));
        self.cells.forget();
        taken
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Columns of the terminal; none if it does not tell.
pub(crate) fn columns() -> Option<usize> {
    let told = terminal::size().ok().map(|(columns, _)| usize::from(columns));
    let set = || std::env::var("COLUMNS").ok()?.parse().ok();
    told.filter(|columns| *columns > 0).or_else(set).filter(|columns| *columns > 0)
}

/// Leaves the terminal as it was found, for good: nothing is written to it after that.
///
/// From any thread, at any time, any number of times; it returns when that is done, and does not
/// wait long for a terminal that nobody reads.
pub(crate) fn restore() {
    IS_OVER.store(true, Ordering::SeqCst);
    let until = Instant::now() + GRACE;
    loop {
        match HELD.try_lock() {
            Ok(mut held) => return give_back(&mut held),
            Err(TryLockError::Poisoned(held)) => return give_back(&mut held.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(LOOK_EVERY),
            // Somebody hangs in a write: nobody reads at the other end.
            Err(TryLockError::WouldBlock) => {
                let _ = terminal::disable_raw_mode();
                return;
            }
        }
    }
}

fn taken(mouse: bool) -> io::Result<Vec<u8>> {
    let mut bytes = KEEP_TITLE.as_bytes().to_vec();
    queue!(bytes, EnterAlternateScreen)?;
    bytes.extend(modes(mouse)?);
    Ok(bytes)
}

fn take(mouse: bool) -> io::Result<()> {
    let mut held = held();
    if IS_OVER.load(Ordering::SeqCst) {
        return Err(given_back());
    }
    if held.is_some() {
        return Ok(());
    }
    let mut out = os::terminal_output()?;
    // Made before anything is changed.
    let bytes = taken(mouse)?;
    terminal::enable_raw_mode()?;
    let written = write_to(&mut out, &bytes);
    *held = Some(Held { out, mouse });
    if written.is_err() {
        give_back(&mut held);
    }
    written
}

fn modes(mouse: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    queue!(bytes, EnableBracketedPaste, EnableFocusChange)?;
    if mouse {
        queue!(bytes, EnableMouseCapture)?;
        bytes.extend_from_slice(NO_MOVES.as_bytes());
    }
    Ok(bytes)
}

fn undone(mouse: bool) -> io::Result<Vec<u8>> {
    let mut bytes = FINISH.as_bytes().to_vec();
    if mouse {
        queue!(bytes, DisableMouseCapture)?;
    }
    queue!(bytes, DisableFocusChange, DisableBracketedPaste, LeaveAlternateScreen, cursor::Show)?;
    bytes.extend_from_slice(PUT_TITLE_BACK.as_bytes());
    Ok(bytes)
}

/// Undoes what [`take`] did, if it did.
fn give_back(held: &mut Option<Held>) {
    let Some(Held { mut out, mouse }) = held.take() else { return };
    let (done, is_done) = bounded::<()>(1);
    let write = move || {
        // A terminal that is gone needs nothing.
        let _ = undone(mouse).and_then(|bytes| write_to(&mut out, &bytes));
        drop(done);
    };
    // In a thread of its own, since nobody may be reading at the other end.
    if thread::Builder::new().name("moot-restore".to_owned()).spawn(write).is_ok() {
        let _ = is_done.recv_timeout(GRACE);
    }
    // After that: what the terminal still reports would be shown.
    let _ = terminal::disable_raw_mode();
}

fn given_back() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the terminal was given back")
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut held = held();
    let held = held.as_mut().ok_or_else(given_back)?;
    write_to(&mut held.out, bytes)
}

fn write_to(out: &mut os::TerminalOutput, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

/// Columns and rows; as they were if the terminal does not tell.
fn measured(before: (u16, u16)) -> (u16, u16) {
    match terminal::window_size() {
        Ok(size) if size.columns > 0 && size.rows > 0 => (size.columns, size.rows),
        // `size` would run a program to learn it.
        Ok(_) | Err(_) => before,
    }
}

/// Text that ends no sequence that it stands in.
fn within(text: &str, chars_max: usize) -> String {
    shown(text, false).chars().take(chars_max).collect()
}

fn title_bytes(title: &str) -> String {
    format!("\x1b]2;{}\x07", within(title, TITLE_CHARS_MAX))
}

fn notification(text: &str) -> String {
    let text = within(text, NOTIFICATION_CHARS_MAX);
    // A number in front would be taken for a command by some (`9;4;…` is a progress bar).
    let gap = if text.starts_with(|c: char| c.is_ascii_digit()) { " " } else { "" };
    format!("\x1b]9;{gap}{text}\x07")
}

fn is_in_tmux() -> bool {
    std::env::var_os("TMUX").is_some_and(|value| !value.is_empty())
}

/// A sequence for the terminal in which tmux runs.
fn through_tmux(sequence: &str) -> String {
    format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b"))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= three.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

/// Lets the thread that reads the terminal read on.
#[derive(Debug)]
pub(crate) struct GoOn(Sender<()>);

impl GoOn {
    /// What came is done with.
    pub(crate) fn go(&self) {
        // It waits for one, and has not more than one to come.
        let _ = self.0.try_send(());
    }
}

/// From now on what is typed comes to `to`, in batches. After each nothing is read until
/// [`GoOn::go`]. An empty batch: the terminal is gone, and the screen is to end. Once in a process.
///
/// # Errors
/// If a thread can't be started.
pub(crate) fn read_keys<T: Send + 'static>(
    to: WakeSender<T>,
    make: fn(Vec<Event>) -> T,
) -> io::Result<GoOn> {
    let (go_on, goes_on) = bounded(1);
    let watch = {
        let to = to.clone();
        move || {
            // Whoever reads would not notice, and turn without end.
            if os::wait_until_terminal_is_gone() {
                to.send(make(Vec::new()));
            }
        }
    };
    // Both end with the process.
    thread::Builder::new().name("moot-keys".to_owned()).spawn(move || read(&to, make, &goes_on))?;
    thread::Builder::new().name("moot-hangup".to_owned()).spawn(watch)?;
    Ok(GoOn(go_on))
}

/// So short that nothing is waited for. Not zero: with that it does not even look.
const AT_ONCE: Duration = Duration::from_micros(20);

fn read<T>(to: &WakeSender<T>, make: fn(Vec<Event>) -> T, goes_on: &Receiver<()>) {
    // The first look registers for changes of the size. A change before it is not reported, so the
    // size is measured once more: the values of this event are ignored.
    let _ = event::poll(AT_ONCE);
    if !to.send(make(vec![Event::Resize(0, 0)])) || goes_on.recv().is_err() {
        return;
    }
    loop {
        let batch = gathered().unwrap_or_default();
        let is_end = batch.is_empty();
        if !to.send(make(batch)) || is_end || goes_on.recv().is_err() {
            return;
        }
    }
}

/// What comes next, and all that is there already.
fn gathered() -> io::Result<Vec<Event>> {
    let mut batch = vec![event::read()?];
    while batch.len() < EVENTS_MAX && event::poll(AT_ONCE).unwrap_or(false) {
        match event::read() {
            Ok(next) => batch.push(next),
            // It comes again when there is nothing else.
            Err(_) => break,
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_undone() {
        for mouse in [false, true] {
            let mut screen = vt100::Parser::new(5.try_into().unwrap(), 20.try_into().unwrap(), 0);
            screen.process(b"before");
            let sane = screen.screen().state_formatted();
            // On Windows part of it is set at the console, and a test may have none.
            let has_console = taken(mouse).is_ok() || std::path::MAIN_SEPARATOR == '/';
            if !has_console {
                return;
            }
            screen.process(&taken(mouse).unwrap());
            assert!(screen.screen().alternate_screen() && screen.screen().bracketed_paste());
            let reports = screen.screen().mouse_protocol_mode();
            assert_eq!(reports == vt100::MouseProtocolMode::PressRelease, mouse, "{reports:?}");
            screen.process(b"\x1b[?25l\x1b[31m\x1b[?2026hin the middle of");
            screen.process(&undone(mouse).unwrap());
            assert_eq!(screen.screen().state_formatted(), sane);
            assert_eq!(screen.screen().contents(), "before");
        }
    }

    #[test]
    fn titles_and_notifications_command_nothing() {
        assert_eq!(title_bytes("#ops\x07\x1b[2J"), "\x1b]2;#ops\\u{7}\\u{1b}[2J\x07");
        assert_eq!(notification("ann: 안녕"), "\x1b]9;ann: 안녕\x07");
        assert_eq!(notification("4;3;50"), "\x1b]9; 4;3;50\x07");
        assert!(notification(&"x".repeat(10_000)).len() < 400);
        assert_eq!(through_tmux("\x1b]9;x\x07"), "\x1bPtmux;\x1b\x1b]9;x\x07\x1b\\");
    }

    #[test]
    fn base64_is_that_of_its_specification() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (text, want) in pairs {
            assert_eq!(base64(text.as_bytes()), want);
        }
        assert_eq!(base64("한글 ~".as_bytes()), "7ZWc6riAIH4=");
    }

    #[test]
    fn to_give_back_what_was_not_taken_does_nothing() {
        restore();
        restore();
        assert!(write(b"x").is_err());
    }
}
