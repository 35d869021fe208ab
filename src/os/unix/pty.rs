//! A pseudo-terminal for a child, and the terminal of this process while its input goes there.

use std::{
    fs::File,
    io::{self, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command},
    thread,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask},
        termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr},
    },
    unistd::{Pid, getpgrp, isatty, setsid, tcgetpgrp},
};
use signal_hook::low_level::emulate_default_handler;

use super::{
    child::{Caught, hand_on},
    drain::OwnedPipe,
    intake::{Waker, Woken, wake_pair},
};

/// Returns true: a child can have a pseudo-terminal.
pub const OFFERS_PTY: bool = true;

/// Size of a pseudo-terminal if this process has no terminal.
const SIZE_DEFAULT: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
/// Bytes of one read of the terminal.
const INPUT_BYTES: usize = 4096;
/// Interval at which a process in the background looks for the terminal, in milliseconds.
const LOOK_EVERY_MS: u16 = 200;

/// Pseudo-terminal of a child, with the terminal of this process, if standard input is one.
#[derive(Debug)]
pub struct Pty {
    /// The end of this process.
    near: OwnedFd,
    /// The end of the child, open until the child has ended: without it a child that closes its
    /// outputs and opens its terminal again would find that gone.
    far: Option<OwnedFd>,
    /// Mode of the terminal before it became raw; none while it is not raw.
    before: Option<Termios>,
    /// Ends the thread that passes input on.
    input: Option<Waker>,
}

impl Pty {
    /// Opens a pseudo-terminal with the size and the mode of the terminal of this process, or 80 x
    /// 24.
    ///
    /// # Errors
    /// If no pseudo-terminal is available, or descriptors have run out.
    pub fn open() -> io::Result<Self> {
        let size = own_size().unwrap_or(SIZE_DEFAULT);
        let mode = tcgetattr(io::stdin()).ok();
        let OpenptyResult { master: near, slave: far } = openpty(&size, mode.as_ref())?;
        for end in [&near, &far] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        Ok(Self { near, far: Some(far), before: None, input: None })
    }

    /// Starts a command on it, in a session of its own, and returns its output. The terminal of
    /// this process becomes raw, and its input goes to the command. If standard input is not a
    /// terminal, the command has that itself.
    ///
    /// # Errors
    /// If the command can't be started.
    pub fn spawn(&mut self, command: &mut Command) -> io::Result<(Child, OwnedPipe)> {
        let Some(far) = &self.far else { return Err(io::ErrorKind::InvalidInput.into()) };
        let has_terminal = isatty(io::stdin()).unwrap_or(false);
        if has_terminal {
            command.stdin(far.try_clone()?);
        }
        command.stdout(far.try_clone()?).stderr(far.try_clone()?);
        let own_session = || {
            setsid()?;
            // SAFETY: a system call on standard output, which is the far end; the argument is a
            // number.
            match unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCSCTTY as _, 0) } {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        };
        // SAFETY: it makes two system calls in the forked process, and allocates nothing.
        unsafe { command.pre_exec(own_session) };
        let child = command.spawn()?;
        let output = self.near.try_clone()?;
        if has_terminal {
            self.make_raw();
            let (waker, woken) = wake_pair()?;
            let (from, to) = (io::stdin().as_fd().try_clone_to_owned()?, self.near.try_clone()?);
            let pass = move || pass_input(&mut File::from(from), &mut File::from(to), &woken);
            thread::Builder::new().name("moot-input".to_owned()).spawn(pass)?;
            self.input = Some(waker);
        }
        Ok((child, output))
    }

    /// Returns true while the terminal of this process is raw.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.before.is_some()
    }

    /// Passes a signal of this process on to the child: a new size of the terminal as such, a stop
    /// after the terminal has its mode again.
    pub fn hand_on(&mut self, child: &Child, caught: &Caught) {
        match caught.signal() {
            Signal::SIGWINCH if self.resize() => {}
            Signal::SIGTSTP => {
                self.restore();
                // No shell looks after the child's group, and the kernel ignores SIGTSTP there.
                let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGSTOP);
                let _ = emulate_default_handler(Signal::SIGTSTP as i32);
                self.go_on();
            }
            Signal::SIGCONT => {
                hand_on(child, caught);
                self.go_on();
            }
            _ => hand_on(child, caught),
        }
    }

    /// Ends the input: the child has ended. Keys are signals again; the output that is still to be
    /// written stays as it is, until this is dropped.
    pub fn end(&mut self) {
        if let Some(input) = self.input.take() {
            input.wake();
        }
        if let Some(before) = &self.before {
            let mut mode = before.clone();
            mode.output_flags.remove(OutputFlags::OPOST);
            set_mode(&mode);
        }
        self.far = None;
    }

    /// Gives the terminal its mode again.
    fn restore(&mut self) {
        if let Some(before) = self.before.take() {
            set_mode(&before);
        }
    }

    /// Makes the terminal raw again after a stop.
    fn go_on(&mut self) {
        if self.input.is_some() && self.before.is_none() {
            self.make_raw();
        }
        self.resize();
    }

    /// Makes the terminal raw, if this process is in its foreground: a change from the background
    /// would stop it.
    fn make_raw(&mut self) {
        if !is_in_foreground() {
            return;
        }
        let Ok(before) = tcgetattr(io::stdin()) else { return };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        if tcsetattr(io::stdin(), SetArg::TCSANOW, &raw).is_ok() {
            self.before = Some(before);
        }
    }

    /// Gives it the size of the terminal of this process; false if there is none. The kernel
    /// notifies its processes.
    fn resize(&self) -> bool {
        let Some(size) = own_size() else { return false };
        // SAFETY: the structure is read from a variable of this function.
        unsafe { libc::ioctl(self.near.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) == 0 }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.end();
        self.restore();
    }
}

/// Sets the mode of the terminal. A process in the background may do it only while it does not
/// listen to SIGTTOU. If it fails, the terminal is gone.
fn set_mode(mode: &Termios) {
    let (mut set, mut mask) = (SigSet::empty(), SigSet::empty());
    set.add(Signal::SIGTTOU);
    let blocked = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut mask));
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, mode);
    if blocked.is_ok() {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&mask), None);
    }
}

/// Returns the size of the first standard descriptor that is a terminal with a size.
fn own_size() -> Option<Winsize> {
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    [input.as_fd(), output.as_fd(), error.as_fd()].into_iter().find_map(size_of)
}

fn size_of(terminal: BorrowedFd<'_>) -> Option<Winsize> {
    let mut size = MaybeUninit::<Winsize>::zeroed();
    // SAFETY: the structure is written to a variable of this function.
    let asked = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) };
    // SAFETY: all zero is a value of this structure of numbers.
    let size = unsafe { size.assume_init() };
    (asked == 0 && size.ws_row > 0 && size.ws_col > 0).then_some(size)
}

fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Passes input on until its end, or until it is woken.
fn pass_input(from: &mut File, to: &mut File, woken: &Woken) {
    let mut buffer = [0; INPUT_BYTES];
    loop {
        // Input of the foreground is not for this process while it is in the background.
        let is_ours = is_in_foreground();
        let wanted = if is_ours { PollFlags::POLLIN } else { PollFlags::empty() };
        let wait = if is_ours { PollTimeout::NONE } else { PollTimeout::from(LOOK_EVERY_MS) };
        let mut fds =
            [PollFd::new(from.as_fd(), wanted), PollFd::new(woken.fd(), PollFlags::POLLIN)];
        match poll(&mut fds, wait) {
            Err(Errno::EINTR) => continue,
            Err(_) => return,
            Ok(_) if fds[1].any().unwrap_or(true) => return,
            Ok(0) => continue,
            Ok(_) => {}
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(e) if is_passing(&e) => continue,
            Err(_) => return,
        };
        if !write_input(&buffer[..read], to, woken) {
            return;
        }
    }
}

/// Writes all of it, waiting for a child that does not read; false if that has ended.
fn write_input(mut bytes: &[u8], to: &mut File, woken: &Woken) -> bool {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let mut fds = [
                    PollFd::new(to.as_fd(), PollFlags::POLLOUT),
                    PollFd::new(woken.fd(), PollFlags::POLLIN),
                ];
                let polled = poll(&mut fds, PollTimeout::NONE);
                let is_woken = polled.is_ok() && fds[1].any().unwrap_or(true);
                if is_woken || polled.is_err_and(|e| e != Errno::EINTR) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

fn is_passing(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::unix::terminal::far_name;

    #[test]
    fn far_end_has_a_name_and_a_pipe_has_none() {
        let pty = Pty::open().unwrap();
        let far = nix::unistd::ttyname(pty.far.as_ref().unwrap()).unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(far_name(pty.near.as_fd()), Some(far));
        }
        assert_eq!(far_name(io::pipe().unwrap().0.as_fd()), None);
        assert!(size_of(pty.near.as_fd()).is_some_and(|size| size.ws_col > 0));
    }
}
