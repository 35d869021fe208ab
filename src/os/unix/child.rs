//! A command that is run for a user: its pipes, its end, and the signals that are passed on to it.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{Child, ExitStatus},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{SigSet, Signal, kill},
    unistd::{Pid, getpgid, getpgrp},
};
use signal_hook::{
    iterator::{SignalsInfo, exfiltrator::WithOrigin},
    low_level::{
        emulate_default_handler,
        siginfo::{Cause, Origin},
    },
};

use super::intake::{Waker, Woken, wake_pair};
use crate::os::shared::{ChildEnd, ChildEvent, SpawnError};

/// Signals that may be meant for a child.
const HANDED_ON: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// A signal that this process got.
#[derive(Debug)]
pub struct Caught {
    signal: Signal,
    /// By the terminal, which sends it to all of a process group.
    by_kernel: bool,
}

impl Caught {
    fn of(origin: &Origin) -> Option<Self> {
        let signal = Signal::try_from(origin.signal).ok()?;
        let nobody = origin.process.is_none_or(|process| process.pid == 0);
        let by_kernel = match origin.cause {
            Cause::Kernel => true,
            Cause::Sent(_) => false,
            // Some systems do not say.
            _ => nobody,
        };
        Some(Self { signal, by_kernel })
    }

    pub(super) fn signal(&self) -> Signal {
        self.signal
    }

    /// Returns true if it asks a process to end.
    #[must_use]
    pub fn asks_to_end(&self) -> bool {
        use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        matches!(self.signal, SIGINT | SIGTERM | SIGHUP | SIGQUIT)
    }
}

/// The signals of this process that may be meant for a child, caught before that begins.
#[derive(Debug)]
pub struct ChildSignals(SignalsInfo<WithOrigin>);

impl ChildSignals {
    /// From now on none of them ends this process. What is ignored stays ignored, here and in the
    /// child (`nohup`).
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn catch() -> io::Result<Self> {
        let wanted = HANDED_ON.into_iter().filter(|signal| !is_ignored(*signal));
        let mut numbers: Vec<i32> = wanted.map(|signal| signal as i32).collect();
        numbers.push(Signal::SIGCHLD as i32);
        let signals = SignalsInfo::new(&numbers)?;
        // The parent of this process may have blocked it; then the child's end would not be
        // noticed.
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        set.thread_unblock()?;
        Ok(Self(signals))
    }

    /// Reports them, and the child's end, from a thread of its own.
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn watch(
        self,
        _child: Option<&Child>,
        mut tell: impl FnMut(ChildEvent<Caught>) + Send + 'static,
    ) -> io::Result<()> {
        let mut signals = self.0;
        let watch = move || {
            for origin in signals.forever() {
                match Caught::of(&origin) {
                    Some(caught) if caught.signal == Signal::SIGCHLD => {
                        tell(ChildEvent::MayHaveEnded);
                    }
                    Some(caught) => tell(ChildEvent::Signal(caught)),
                    None => {}
                }
            }
        };
        std::thread::Builder::new().name("moot-signal".to_owned()).spawn(watch).map(drop)
    }
}

fn is_ignored(signal: Signal) -> bool {
    // SAFETY: all zero is a value of this structure of numbers and pointers.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is changed; what is there is written to a variable of ours.
    let asked = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Hands a signal on to a child that was not waited for yet; one that the terminal sent to both is
/// not sent twice. To be stopped is for both.
pub fn hand_on(child: &Child, caught: &Caught) {
    let pid = Pid::from_raw(child.id() as i32);
    let shares = getpgid(Some(pid)).is_ok_and(|group| group == getpgrp());
    if !(caught.by_kernel && shares) {
        // It may have ended: then that is reported next.
        let _ = kill(pid, caught.signal);
    }
    if caught.signal == Signal::SIGTSTP {
        let _ = emulate_default_handler(caught.signal as i32);
    }
}

/// Asks a child that was not waited for yet to end, stopped or not.
///
/// # Errors
/// If a system call fails.
pub fn ask_to_end(child: &mut Child) -> io::Result<()> {
    let pid = Pid::from_raw(child.id() as i32);
    kill(pid, Signal::SIGTERM)?;
    Ok(kill(pid, Signal::SIGCONT)?)
}

/// Returns how a child ended.
#[must_use]
pub fn end_of(status: ExitStatus) -> ChildEnd {
    let signal = status.signal().map(|number| {
        let name = Signal::try_from(number)
            .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned());
        (number, name)
    });
    ChildEnd { code: status.code(), signal }
}

/// The number of a signal by the name that [`end_of`] gives it.
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    name.parse::<Signal>().ok().map(|signal| signal as i32)
}

/// Why a command did not begin.
#[must_use]
pub fn why_not_begun(e: &io::Error) -> SpawnError {
    match e.raw_os_error() {
        Some(libc::ENOENT) => SpawnError::NotFound,
        None | Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => {
            SpawnError::NoProcess
        }
        Some(_) => SpawnError::NotExecutable,
    }
}

/// The reading end of a child's output.
#[derive(Debug)]
pub struct ChildPipe {
    pipe: File,
    woken: Woken,
}

/// Wakes the reader of a [`ChildPipe`].
pub type PipeWaker = Waker;

impl ChildPipe {
    /// Reads from a pipe, and can be woken while it waits.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn new(pipe: impl Into<OwnedFd>) -> io::Result<(Self, PipeWaker)> {
        let pipe = File::from(pipe.into());
        // This end only: the child's own is another open file.
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let (waker, woken) = wake_pair()?;
        Ok((Self { pipe, woken }, waker))
    }

    /// Gives up reading, and lets another process read and drop what still comes: a process that
    /// holds the pipe open lives on. If there can be no such process, the pipe is closed.
    pub fn leave_open(self) {
        let _ = super::drain::drop_in_background(self.pipe.into());
    }

    /// Reads available bytes, or waits for them; 0 at the end of the pipe, none if it was woken or
    /// the wait has passed.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn read(&mut self, to: &mut [u8], wait: Option<Duration>) -> io::Result<Option<usize>> {
        loop {
            match self.pipe.read(to) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done.map(Some),
            }
            let timeout = wait.map_or(PollTimeout::NONE, |wait| {
                let ms = u16::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
                PollTimeout::from(ms)
            });
            let mut fds = [
                PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.woken.fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, timeout) {
                Ok(0) => return Ok(None),
                Ok(_) if fds[0].any().unwrap_or(true) => {}
                Ok(_) => {
                    self.woken.clear();
                    return Ok(None);
                }
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Standard output without a buffer before it.
///
/// # Errors
/// If descriptors have run out.
pub fn standard_output() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Standard error, for the bytes of others.
///
/// # Errors
/// If descriptors have run out.
pub fn standard_error() -> io::Result<File> {
    io::stderr().as_fd().try_clone_to_owned().map(File::from)
}
