//! Ctrl-C, SIGTERM and SIGHUP: a command ends at once; one that listens says goodbye first. Either
//! ends by that signal itself (Ctrl-C: with the exit code that a shell gives to it).

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use super::exit_code::{Exit, Failure};
use crate::{
    client::{WakeReceiver, WakeSender},
    os, tui,
};

/// Maximum time for a command that says goodbye before it is ended: it may hang on a full pipe. A
/// second signal ends it at once.
const GRACE: Duration = Duration::from_secs(2);

/// The same of one that has something to clean up.
const GRACE_TO_CLEAN_UP: Duration = Duration::from_secs(3);

/// Delay before a second signal is handled: a terminal that closes sends two at once.
const BETWEEN: Duration = Duration::from_millis(400);

const DIES: u8 = 0;
const SAYS_GOOD_BYE: u8 = 1;
const STOPS_BY_ITSELF: u8 = 2;
const CLEANS_UP: u8 = 3;
const LEFT_TO_CHILD: u8 = 4;

static MODE: AtomicU8 = AtomicU8::new(DIES);
/// A signal asked this process to end before.
static TOLD: AtomicBool = AtomicBool::new(false);
/// Receiver in which the caller gets a signal; none if descriptors have run out.
static WISH: OnceLock<Option<StopWish>> = OnceLock::new();

struct StopWish {
    to_caller: WakeSender<Leave>,
    /// Until the caller takes it.
    mailbox: Mutex<Option<WakeReceiver<Leave>>>,
}

/// Why a command that could go on is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// A signal asked for it.
    Signal,
    /// The reader of its output has gone.
    NoReader,
}

impl Leave {
    /// The exit code for it.
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Signal => Exit::Interrupted,
            Self::NoReader => Exit::Done,
        }
    }
}

fn wish() -> Option<&'static StopWish> {
    let make = || {
        let (to_caller, mailbox) = WakeReceiver::new(1).ok()?;
        Some(StopWish { to_caller, mailbox: Mutex::new(Some(mailbox)) })
    };
    WISH.get_or_init(make).as_ref()
}

fn catch_in(mode: u8) -> Result<WakeReceiver<Leave>, Failure> {
    let taken = wish().and_then(|wish| {
        let mut mailbox = wish.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        mailbox.take()
    });
    let mailbox = taken.ok_or_else(|| Failure::new(Exit::Failed, "can't wait for signals"))?;
    MODE.store(mode, Ordering::SeqCst);
    Ok(mailbox)
}

/// From now on a signal is handed to the caller, which says goodbye and ends. Once in a process.
pub(super) fn catch() -> Result<WakeReceiver<Leave>, Failure> {
    catch_in(SAYS_GOOD_BYE)
}

/// From now on a signal is handed to the caller, which cleans up and ends. Once in a process.
pub(super) fn catch_to_clean_up() -> Result<WakeReceiver<Leave>, Failure> {
    catch_in(CLEANS_UP)
}

/// From now on a signal is handed to the caller, which ends in its own time (a server). Once in a
/// process.
pub(super) fn catch_for_good() -> Result<WakeReceiver<Leave>, Failure> {
    catch_in(STOPS_BY_ITSELF)
}

/// Hands what comes from [`catch`] on to a channel that other things come by as well; it overtakes
/// them.
pub(super) fn forward<T: Send + 'static>(
    from: WakeReceiver<Leave>,
    to: WakeSender<T>,
    letter: fn(Leave) -> T,
) -> Result<(), Failure> {
    let forward = move || {
        while let Some(why) = from.recv() {
            to.send_urgent(letter(why));
        }
    };
    // It ends with the process.
    let thread = std::thread::Builder::new().name("moot-signal".to_owned()).spawn(forward);
    thread.map(drop).map_err(|e| Failure::new(Exit::Failed, format!("can't start a thread: {e}")))
}

/// From now on a signal does nothing here: it is a child's business, and this process ends after
/// that.
pub(super) fn leave_to_child() {
    MODE.store(LEFT_TO_CHILD, Ordering::SeqCst);
}

/// The same while a program has the terminal, and not after that.
pub(super) fn leave_to_child_for_now(on: bool) {
    MODE.store(if on { LEFT_TO_CHILD } else { SAYS_GOOD_BYE }, Ordering::SeqCst);
}

fn hand(why: Leave) -> bool {
    wish().is_some_and(|wish| wish.to_caller.try_send(why))
}

/// From now on the caller also gets [`Leave::NoReader`] when its output loses its reader: a command
/// that prints seldom would learn it late.
pub(super) fn watch_reader() {
    let watch = || {
        if os::wait_until_unread() {
            hand(Leave::NoReader);
        }
    };
    // Without that thread the next line that can't be written ends the command.
    let _ = std::thread::Builder::new().name("moot-reader".to_owned()).spawn(watch);
}

/// Handles a signal; called by the thread of the signal handler.
pub fn interrupt() {
    let mode = MODE.load(Ordering::SeqCst);
    let grace = match mode {
        LEFT_TO_CHILD => return,
        STOPS_BY_ITSELF if hand(Leave::Signal) => return,
        SAYS_GOOD_BYE => GRACE,
        CLEANS_UP => GRACE_TO_CLEAN_UP,
        _ => Duration::ZERO,
    };
    let is_first = !TOLD.swap(true, Ordering::SeqCst);
    if is_first && !grace.is_zero() && hand(Leave::Signal) {
        // This thread has to see the next signal.
        let end_after_grace = move || {
            std::thread::sleep(grace);
            end();
        };
        let spawned =
            std::thread::Builder::new().name("moot-grace".to_owned()).spawn(end_after_grace);
        if spawned.is_ok() {
            std::thread::sleep(BETWEEN);
            return;
        }
    }
    end();
}

/// Ends at once: no thread catches the signal, the caller hangs, or it is the second signal.
fn end() {
    os::await_end_signal();
    tui::restore();
    exit_by_signal();
}

/// Ends the process as the signal that asked for it would, once all is said and restored: service
/// managers take that for a clean stop, and shells for 128 and its number.
pub(super) fn exit_by_signal() -> ! {
    let interrupted = i32::from(Exit::Interrupted.code());
    match os::end_signal() {
        Some(signal) if 128 + signal != interrupted => os::end_by(signal),
        Some(_) | None => std::process::exit(interrupted),
    }
}
