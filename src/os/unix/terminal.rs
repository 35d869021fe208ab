//! The terminal that this process was started in, and what a user has beside it.

use std::{
    env,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGTERM};

/// Number of looks for a stop: together the time in which a signal reaches a thread.
const STOP_LOOKS: u32 = 100;
const STOP_LOOK_EVERY: Duration = Duration::from_millis(2);

/// Editor of a user who has not chosen one.
pub const EDITOR: &str = "vi";
/// Pagers for a user who has not chosen one: the first that exists.
pub const PAGERS: &[&str] = &["less", "more"];

/// Standard output without the lock and the buffer of the standard library: a thread that leaves
/// the terminal does not wait for one that hangs in it.
pub type TerminalOutput = File;

/// Standard output.
///
/// # Errors
/// If descriptors have run out.
pub fn terminal_output() -> io::Result<TerminalOutput> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Waits until nothing is at the other end of the terminal any more; false if that can't be known.
#[must_use]
pub fn wait_until_terminal_is_gone() -> bool {
    let out = io::stdout();
    loop {
        // Hang-ups are reported without being asked for.
        let mut fds = [PollFd::new(out.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => {
                let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
                return fds[0].revents().is_some_and(|is| is.intersects(gone));
            }
        }
    }
}

/// Stops this process and the others of its job, as Ctrl-Z does, until the shell lets them go on.
pub fn suspend() {
    let goes_on = Arc::new(AtomicBool::new(false));
    let Ok(watch) = signal_hook::flag::register(SIGCONT, Arc::clone(&goes_on)) else { return };
    // In a group that no shell looks after nothing is stopped, since no process could continue it.
    let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
    // The kernel may give that to another thread, and stop this one a moment later. It is over once
    // the process was continued; after a while without that it was not stopped at all.
    for _ in 0..STOP_LOOKS {
        if goes_on.load(Ordering::SeqCst) {
            break;
        }
        thread::sleep(STOP_LOOK_EVERY);
    }
    signal_hook::low_level::unregister(watch);
}

/// Returns true if SIGTERM or SIGHUP asked this process to end, whatever is done about it.
#[must_use]
pub fn was_told_to_end() -> bool {
    matches!(super::process::end_signal(), Some(SIGTERM | SIGHUP))
}

/// Returns true if this session has a desktop that could show notifications.
#[must_use]
pub fn has_desktop() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(target_os = "macos") || is_set("WAYLAND_DISPLAY") || is_set("DISPLAY")
}

/// Returns the name of the far end of a pseudo-terminal, as processes that have it open show it;
/// none if this is not a near end, or the system does not say.
pub(super) fn far_name(near: BorrowedFd<'_>) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd as _;
        let mut name = [0; 64];
        // SAFETY: the name is written to a buffer of this function, of this length.
        let asked =
            unsafe { libc::ptsname_r(near.as_raw_fd(), name.as_mut_ptr().cast(), name.len()) };
        let name = std::ffi::CStr::from_bytes_until_nul(&name).ok()?;
        (asked == 0).then(|| PathBuf::from(name.to_string_lossy().into_owned()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = near;
        None
    }
}
