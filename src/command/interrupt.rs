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

/// How long a command that says good-bye may take before it is ended: it may hang on a full pipe.
const GRACE: Duration = Duration::from_millis(400);

const DIES: u8 = 0;
const SAYS_GOOD_BYE: u8 = 1;
const STOPS_BY_ITSELF: u8 = 2;

static MODE: AtomicU8 = AtomicU8::new(DIES);
static WISH: OnceLock<(Sender<()>, Receiver<()>)> = OnceLock::new();

fn wish() -> &'static (Sender<()>, Receiver<()>) {
    WISH.get_or_init(|| bounded(1))
}

/// From now on a signal is handed to the caller, which says good-bye and ends.
pub(super) fn catch() -> Receiver<()> {
    MODE.store(SAYS_GOOD_BYE, Ordering::SeqCst);
    wish().1.clone()
}

/// From now on a signal is handed to the caller, which ends in its own time (a server).
pub(super) fn catch_for_good() -> Receiver<()> {
    MODE.store(STOPS_BY_ITSELF, Ordering::SeqCst);
    wish().1.clone()
}

/// What the signal handler's thread calls.
pub fn interrupt() {
    let mode = MODE.load(Ordering::SeqCst);
    if mode != DIES && wish().0.try_send(()).is_ok() {
        if mode == STOPS_BY_ITSELF {
            return;
        }
        std::thread::sleep(GRACE);
    }
    // Nobody catches it, the caller hangs, or it was asked twice.
    std::process::exit(Exit::Interrupted.code().into());
}
