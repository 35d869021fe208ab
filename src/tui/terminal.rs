//! The terminal: no other code touches it. However the program ends, the terminal is restored.

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

/// Size of a terminal that does not report its own.
const SIZE_UNKNOWN: (u16, u16) = (80, 24);
/// Maximum number of events in a batch.
const EVENTS_MAX: usize = 256;
/// Maximum delay of the program's end by a terminal that nothing reads.
const GRACE: Duration = Duration::from_millis(300);
/// Time between two attempts to restore the terminal.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const TITLE_CHARS_MAX: usize = 200;
const NOTIFICATION_CHARS_MAX: usize = 300;
/// Maximum bytes for the clipboard; the limit of most terminals.
const COPY_BYTES_MAX: usize = 74_994;

/// Saves the title of the terminal; it is restored at the end.
const KEEP_TITLE: &str = "\x1b[22;2t";
const PUT_TITLE_BACK: &str = "\x1b[23;2t";
/// Reports clicks and the wheel only: each move of the mouse would wake the program.
const NO_MOVES: &str = "\x1b[?1003l\x1b[?1002l\x1b[?1015l\x1b[?1000h\x1b[?1006h";
/// Ends an unfinished frame: shows it, without colors and links.
const FINISH: &str = "\x1b[?2026l\x1b]8;;\x1b\\\x1b[0m";

/// The terminal while the screen has it; none: restored. Each write holds the lock, so that nothing
/// follows the bytes that restore the terminal.
static HELD: Mutex<Option<HeldTerminal>> = Mutex::new(None);
/// True once it was restored permanently.
static IS_OVER: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

#[derive(Debug)]
struct HeldTerminal {
    out: os::TerminalOutput,
    mouse: bool,
}

fn held() -> MutexGuard<'static, Option<HeldTerminal>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Options of a terminal for the screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// True if clicks and the wheel are reported. The terminal's own selection then needs Shift.
    pub(crate) mouse: bool,
    /// True if links can be clicked.
    pub(crate) links: bool,
}

/// The terminal of the screen. It is restored when dropped.
#[derive(Debug)]
pub(super) struct Terminal {
    cells: Cells,
    mouse: bool,
}

impl Terminal {
    /// Takes the terminal: one screen per process.
    ///
    /// # Errors
    /// Returns an error without a terminal, or if it can't be written to; it does not change
    /// then.
    pub(super) fn enter(wish: Wish) -> io::Result<Self> {
        HOOK.call_once(|| {
            let earlier = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                // First, so that the message of a panic can be read.
                restore();
                earlier(info);
            }));
        });
        IS_OVER.store(false, Ordering::SeqCst);
        take(wish.mouse)?;
        Ok(Self { cells: Cells::new(measured(SIZE_UNKNOWN), wish.links), mouse: wish.mouse })
    }

    /// Returns columns and rows, as of [`Terminal::enter`] or the last [`Terminal::measure`].
    pub(super) fn size(&self) -> (u16, u16) {
        self.cells.size()
    }

    /// Measures the size again, after the terminal reported a change.
    pub(super) fn measure(&mut self) -> (u16, u16) {
        let size = measured(self.size());
        // Even without a change: the terminal may have been smaller for a moment, and has lost the
        // rest.
        self.cells.resize(size);
        size
    }

    /// Shows a frame: the differences from the last one, in one write.
    ///
    /// # Errors
    /// Returns an error if the terminal is gone, or was restored: the screen has ended.
    pub(super) fn draw(&mut self, frame: &Frame) -> io::Result<()> {
        let bytes = self.cells.draw(frame);
        let done = write(bytes.as_bytes());
        if done.is_err() {
            self.cells.forget();
        }
        done
    }

    /// Sets all modes again, and forgets the last frame: another program wrote to the terminal.
    ///
    /// # Errors
    /// As for [`Terminal::draw`].
    pub(super) fn redraw(&mut self) -> io::Result<()> {
        self.cells.forget();
        write(&modes(self.mouse)?)
    }

    /// Rings the bell.
    ///
    /// # Errors
    /// As for [`Terminal::draw`].
    pub(super) fn bell(&self) -> io::Result<()> {
        write(b"\x07")
    }

    /// Sets the title of the window.
    ///
    /// # Errors
    /// As for [`Terminal::draw`].
    pub(super) fn title(&self, title: &str) -> io::Result<()> {
        write(title_bytes(title).as_bytes())
    }

    /// Asks the terminal for a notification; many do not support it.
    ///
    /// # Errors
    /// As for [`Terminal::draw`].
    pub(super) fn notify(&self, text: &str) -> io::Result<()> {
        let sequence = notification(text);
        write(if is_in_tmux() { through_tmux(&sequence) } else { sequence }.as_bytes())
    }

    /// Asks the terminal to copy a text; returns false if the text is too long. The terminal does
    /// not report if it did.
    ///
    /// # Errors
    /// As for [`Terminal::draw`].
    pub(super) fn copy(&self, text: &str) -> io::Result<bool> {
        if text.len() > COPY_BYTES_MAX {
            return Ok(false);
        }
        let sequence = format!("\x1b]52;c;{}\x07", base64(text.as_bytes()));
        // By its settings tmux copies the text itself, passes it on, or neither.
        let through = if is_in_tmux() { through_tmux(&sequence) } else { String::new() };
        write([sequence, through].concat().as_bytes()).map(|()| true)
    }

    /// Sets if clicks and the wheel are reported.
    ///
    /// # Errors
    /// As for [`Terminal::draw`].
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

    /// Restores the terminal while another program runs in it, and takes it again.
    ///
    /// Call it only between a batch of [`read_keys`] and its [`GoOn::go`]: otherwise two programs
    /// read the keys. If the terminal could not be taken again, the next [`Terminal::draw`] returns
    /// the error.
    pub(super) fn suspend_for<T>(&mut self, f: impl FnOnce() -> T) -> T {
        self.pause();
        let done = f();
        // The result of `f` is worth more than this error, which the next frame returns.
        let _ = self.resume();
        done
    }

    /// Restores the terminal until [`Terminal::resume`], by the same rules; meanwhile nothing can
    /// be drawn.
    pub(super) fn pause(&mut self) {
        give_back(&mut held());
    }

    /// Takes the terminal again.
    ///
    /// # Errors
    /// As for [`Terminal::enter`].
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

/// Returns the columns of the terminal; none if they are unknown.
pub(crate) fn columns() -> Option<usize> {
    let own = terminal::size().ok().map(|(columns, _)| usize::from(columns));
    let set = || std::env::var("COLUMNS").ok()?.parse().ok();
    own.filter(|columns| *columns > 0).or_else(set).filter(|columns| *columns > 0)
}

/// Restores the terminal permanently: nothing is written to it after that.
///
/// Safe from any thread, at any time, any number of times. It returns when the terminal is
/// restored, and waits only a short time for a terminal that nothing reads.
pub(crate) fn restore() {
    IS_OVER.store(true, Ordering::SeqCst);
    let until = Instant::now() + GRACE;
    loop {
        match HELD.try_lock() {
            Ok(mut held) => return give_back(&mut held),
            Err(TryLockError::Poisoned(held)) => return give_back(&mut held.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(LOOK_EVERY),
            // A write blocks: nothing reads at the other end.
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
    // Built before anything is changed.
    let bytes = taken(mouse)?;
    terminal::enable_raw_mode()?;
    let written = write_to(&mut out, &bytes);
    *held = Some(HeldTerminal { out, mouse });
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

/// Undoes [`take`], if it succeeded.
fn give_back(held: &mut Option<HeldTerminal>) {
    let Some(HeldTerminal { mut out, mouse }) = held.take() else { return };
    let (done, is_done) = bounded::<()>(1);
    let write = move || {
        // A terminal that is gone needs nothing.
        let _ = undone(mouse).and_then(|bytes| write_to(&mut out, &bytes));
        drop(done);
    };
    // In a thread of its own: the write may block.
    if thread::Builder::new().name("moot-restore".to_owned()).spawn(write).is_ok() {
        let _ = is_done.recv_timeout(GRACE);
    }
    // Last: otherwise the terminal's late reports would be echoed.
    let _ = terminal::disable_raw_mode();
}

fn given_back() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the terminal was restored")
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

/// Returns columns and rows; the previous ones if they are unknown.
fn measured(before: (u16, u16)) -> (u16, u16) {
    match terminal::window_size() {
        Ok(size) if size.columns > 0 && size.rows > 0 => (size.columns, size.rows),
        // `size` would run a program to find out.
        Ok(_) | Err(_) => before,
    }
}

/// Returns a text that can't end the surrounding escape sequence.
fn within(text: &str, chars_max: usize) -> String {
    shown(text, false).chars().take(chars_max).collect()
}

fn title_bytes(title: &str) -> String {
    format!("\x1b]2;{}\x07", within(title, TITLE_CHARS_MAX))
}

fn notification(text: &str) -> String {
    let text = within(text, NOTIFICATION_CHARS_MAX);
    // Some terminals take a number in front for a command (`9;4;…` is a progress bar).
    let gap = if text.starts_with(|c: char| c.is_ascii_digit()) { " " } else { "" };
    format!("\x1b]9;{gap}{text}\x07")
}

fn is_in_tmux() -> bool {
    std::env::var_os("TMUX").is_some_and(|value| !value.is_empty())
}

/// Returns a sequence for the terminal in which tmux runs.
fn through_tmux(sequence: &str) -> String {
    format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b"))
}

/// Returns the base64 of RFC 4648, section 4.
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

/// Lets the thread that reads the terminal continue.
#[derive(Debug)]
pub(crate) struct GoOn(Sender<()>);

impl GoOn {
    /// Reports that a batch is handled.
    pub(crate) fn go(&self) {
        // The thread waits for one, and never for more.
        let _ = self.0.try_send(());
    }
}

/// Starts the thread that sends keys to `to`, in batches. After each batch nothing is read until
/// [`GoOn::go`]. An empty batch: the terminal is gone, and the screen has to end. Once per process.
///
/// # Errors
/// Returns an error if a thread can't be started.
pub(crate) fn read_keys<T: Send + 'static>(
    to: WakeSender<T>,
    make: fn(Vec<Event>) -> T,
) -> io::Result<GoOn> {
    let (go_on, goes_on) = bounded(1);
    let watch = {
        let to = to.clone();
        move || {
            // The reader would not notice, and would loop forever.
            if os::wait_until_terminal_is_gone() {
                to.send(make(Vec::new()));
            }
        }
    };
    // Both threads end with the process.
    thread::Builder::new().name("moot-keys".to_owned()).spawn(move || read(&to, make, &goes_on))?;
    thread::Builder::new().name("moot-hangup".to_owned()).spawn(watch)?;
    Ok(GoOn(go_on))
}

/// A timeout that does not wait. Not zero: with zero nothing is polled.
const AT_ONCE: Duration = Duration::from_micros(20);

fn read<T>(to: &WakeSender<T>, make: fn(Vec<Event>) -> T, goes_on: &Receiver<()>) {
    // The first poll registers for changes of the size. An earlier change is not reported, so the
    // size is measured once more, and the values of this event are ignored.
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

/// Returns the next event, with all that are there already.
fn gathered() -> io::Result<Vec<Event>> {
    let mut batch = vec![event::read()?];
    while batch.len() < EVENTS_MAX && event::poll(AT_ONCE).unwrap_or(false) {
        match event::read() {
            Ok(next) => batch.push(next),
            // The error returns when nothing else is there.
            Err(_) => break,
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_modes_are_undone() {
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
    fn restoring_an_untaken_terminal_does_nothing() {
        restore();
        restore();
        assert!(write(b"x").is_err());
    }
}
