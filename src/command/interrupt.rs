//! Ctrl-C, SIGTERM and SIGHUP: a command ends at once; one that listens says good-bye first.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::exit::Exit;
use crate::os;

/// How long a command that says good-bye may take before it is ended: it may hang on a full pipe.
const GRACE: Duration = Duration::from_millis(400);

const DIES: u8 = 0;
const SAYS_GOOD_BYE: u8 = 1;
const STOPS_BY_ITSELF: u8 = 2;

static MODE: AtomicU8 = AtomicU8::new(DIES);
static WISH: OnceLock<(Sender<Leave>, Receiver<Leave>)> = OnceLock::new();

/// Why a command that could go on is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// A signal.
    Signal,
    /// Whoever read its output has gone.
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

fn wish() -> &'static (Sender<Leave>, Receiver<Leave>) {
    WISH.get_or_init(|| bounded(1))
}

/// From now on a signal is handed to the caller, which says good-bye and ends.
pub(super) fn catch() -> Receiver<Leave> {
    MODE.store(SAYS_GOOD_BYE, Ordering::SeqCst);
    wish().1.clone()
}

/// From now on a signal is handed to the caller, which ends in its own time (a server).
pub(super) fn catch_for_good() -> Receiver<Leave> {
    MODE.store(STOPS_BY_ITSELF, Ordering::SeqCst);
    wish().1.clone()
}

/// From now on the caller is also told when nobody reads its output any more: a command that prints
/// seldom would learn it late.
pub(super) fn watch_reader() {
    let watch = || {
        if os::wait_until_unread() {
            let _ = wish().0.try_send(Leave::NoReader);
        }
    };
    // Without that thread the next line that can't be written ends the command.
    let _ = std::thread::Builder::new().name("moot-reader".to_owned()).spawn(watch);
}

/// What the signal handler's thread calls.
pub fn interrupt() {
    let mode = MODE.load(Ordering::SeqCst);
    if mode != DIES && wish().0.try_send(Leave::Signal).is_ok() {
        if mode == STOPS_BY_ITSELF {
            return;
        }
        std::thread::sleep(GRACE);
    }
    // Nobody catches it, the caller hangs, or it was asked twice.
    std::process::exit(Exit::Interrupted.code().into());
}
