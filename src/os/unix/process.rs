//! Settings of a background server's own process.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, IntoRawFd, OwnedFd},
    process::{Child, Command},
    sync::atomic::{AtomicI32, Ordering},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        stat::{Mode, umask},
    },
    unistd::{chdir, dup2_stderr, dup2_stdout, setsid},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::os::shared::Usage;

/// Prepares a command to run in the background: it makes itself a server ([`detach`]), and is not
/// the service that this process may be.
pub fn in_background(command: &mut Command) {
    super::service::keep_from(command);
}

/// Makes this process a server in the background: own session, directory `/`, private files, and no
/// descriptor that it was not given on purpose (0, 1 and 2).
///
/// To be called first of all in `main`: it closes descriptors.
pub fn detach() {
    // It fails if this process leads a session already: then that is what was wanted.
    let _ = setsid();
    let _ = chdir("/");
    umask_private();
    close_inherited();
}

/// New files and sockets belong to this user alone.
pub fn umask_private() {
    umask(Mode::from_bits_truncate(0o077));
}

#[cfg(target_os = "linux")]
fn close_inherited() {
    // SAFETY: called before this process has opened anything; whatever is above 2 was inherited,
    // and no Rust value owns it.
    let done = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    // Before Linux 5.9 they stay open; the shell that waits for them is the only one to notice.
    let _ = done;
}

#[cfg(not(target_os = "linux"))]
fn close_inherited() {}

/// Raises the limit of open descriptors as far as this process may, and returns it.
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return u64::MAX };
    let now = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    #[allow(clippy::useless_conversion, reason = "signed on some platforms")]
    u64::try_from(now).unwrap_or(u64::MAX)
}

/// Lets go of the pipes on which a background server said that it is ready, or what is wrong.
pub fn let_go_of_starter() {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        // If it fails, the starter's pipes end when this server ends.
        let _ = dup2_stdout(null.as_fd());
        let _ = dup2_stderr(null.as_fd());
    }
}

/// Lets a child run on after this process has ended. It is collected by init, or when this process
/// ends.
pub fn leave_running(child: Child) {
    drop(child);
}

/// Waits until no process can read standard output; false if that can't be known (a file, a
/// terminal).
#[must_use]
pub fn wait_until_unread() -> bool {
    use nix::{
        poll::{PollFd, PollFlags, PollTimeout, poll},
        sys::stat::{SFlag, fstat},
    };
    let out = io::stdout();
    let Ok(stat) = fstat(out.as_fd()) else { return false };
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFIFO && kind != SFlag::S_IFSOCK {
        return false;
    }
    loop {
        // Errors are reported without being asked for.
        let mut fds = [PollFd::new(out.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return true,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// As the first process of a container, goes on in a child, while this process passes signals on to
/// it and collects the processes that were left to it: without that, each program that ends after
/// its parent stays as a zombie. Anywhere else it does nothing.
///
/// To be called first of all in `main`: it forks.
#[cfg(target_os = "linux")]
pub fn collect_orphans() {
    use nix::{
        sys::signal::{SigSet, SigmaskHow, pthread_sigmask},
        unistd::{ForkResult, fork, getpid},
    };
    // What a service manager handed over is for this very process.
    if getpid().as_raw() != 1 || std::env::var_os("LISTEN_PID").is_some() {
        return;
    }
    let mut before = SigSet::empty();
    if pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before)).is_err() {
        return;
    }
    // SAFETY: this process has one thread, so that the child is a whole copy of it.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => collect_until_end_of(child),
        Ok(ForkResult::Child) | Err(_) => {
            let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
        }
    }
}

/// The same: containers are made on Linux.
#[cfg(not(target_os = "linux"))]
pub fn collect_orphans() {}

/// Ends as `main` does.
#[cfg(target_os = "linux")]
fn collect_until_end_of(main: nix::unistd::Pid) -> ! {
    use nix::{
        sys::{
            signal::SigSet,
            wait::{WaitPidFlag, WaitStatus, waitpid},
        },
        unistd::Pid,
    };
    let all = SigSet::all();
    loop {
        // SAFETY: all zero is a value of this structure of numbers and pointers.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is good, and what came is written to a variable of ours.
        let signal = unsafe { libc::sigwaitinfo(all.as_ref(), &raw mut info) };
        // What the kernel sends comes by the terminal, to both.
        if signal > 0 && signal != libc::SIGCHLD && info.si_code <= 0 {
            // SAFETY: it is the number of a signal that came, for a child that was not waited for.
            unsafe { libc::kill(main.as_raw(), signal) };
        }
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == main => std::process::exit(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                    std::process::exit(128 + signal as i32)
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}

/// The signal that this process is to end by; 0 before one came. SIGINT gives way to the others.
static END_SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Time that a thread which was woken by a signal waits for the number of that signal: the handler
/// that woke the thread records the number right after that.
const NUMBER_WITHIN: Duration = Duration::from_millis(100);

/// Records from now on which signal asks this process to end; it calls the handlers that are
/// installed as well.
pub fn record_end_signal() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let record = move || {
            let before = END_SIGNAL.load(Ordering::SeqCst);
            if before == 0 || before == SIGINT {
                END_SIGNAL.store(signal, Ordering::SeqCst);
            }
        };
        // SAFETY: the action reads and writes an atomic number, which is safe in a signal handler.
        // If it can't be registered, the process ends with the exit code of an interrupt.
        let _ = unsafe { signal_hook::low_level::register(signal, record) };
    }
}

/// Returns the number of the signal that asked this process to end.
#[must_use]
pub fn end_signal() -> Option<i32> {
    Some(END_SIGNAL.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// Waits until the number of a signal is recorded: to be called by the thread that a handler woke.
pub fn await_end_signal() {
    let until = Instant::now() + NUMBER_WITHIN;
    while end_signal().is_none() && Instant::now() < until {
        std::thread::yield_now();
    }
}

/// Ends this process as `signal` would without a handler, so that its parent sees a death by that
/// signal. Where the signal ends nothing (process 1 of a container), the exit code is 128 and the
/// signal's number.
pub fn end_by(signal: i32) -> ! {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
    if let Ok(signal) = Signal::try_from(signal) {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        let mut set = SigSet::empty();
        set.add(signal);
        // SAFETY: the default action runs no code of ours in a handler.
        let restored = unsafe { sigaction(signal, &default) };
        if restored.is_ok() && set.thread_unblock().is_ok() {
            let _ = raise(signal);
        }
    }
    std::process::exit(128 + signal)
}

/// Makes a write beyond the limit of file sizes (`ulimit -f`) fail, and lets this process live.
/// The signal still ends commands that it executes.
pub fn fail_at_file_size_limit() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    extern "C" fn pass_over(_: libc::c_int) {}
    // A handler, because exec(2) resets it; each command would inherit an ignored signal.
    let handler = SigHandler::Handler(pass_over);
    let handler = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing, which is safe at any time.
    let before = unsafe { sigaction(Signal::SIGXFSZ, &handler) };
    if let Ok(before) = before
        && matches!(before.handler(), SigHandler::SigIgn)
    {
        // SAFETY: the signal was ignored before, so none of our code runs for it.
        let _ = unsafe { sigaction(Signal::SIGXFSZ, &before) };
    }
}

/// Runs something that installs signal handlers, and leaves ignored what was ignored: `nohup` and a
/// shell that runs a command in the background mean it.
pub fn keep_ignored(install: impl FnOnce()) {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    let signals = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];
    let ignored: Vec<Signal> = signals
        .into_iter()
        .filter(|signal| {
            // SAFETY: to ignore a signal runs no code of ours in a handler; what was there before
            // is looked at and put back.
            let before = unsafe { sigaction(*signal, &ignore) };
            let Ok(before) = before else { return false };
            let was_ignored = matches!(before.handler(), SigHandler::SigIgn);
            if !was_ignored {
                // SAFETY: it is what was installed a moment ago.
                let _ = unsafe { sigaction(*signal, &before) };
            }
            was_ignored
        })
        .collect();
    install();
    for signal in ignored {
        // SAFETY: as above.
        let _ = unsafe { sigaction(signal, &ignore) };
    }
}

/// Descriptor that the handler of SIGHUP writes to; -1 before one exists.
static HANGUP_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_hangup(_: libc::c_int) {
    let errno = Errno::last_raw();
    let byte = [0_u8];
    // SAFETY: `write` may be called in a signal handler, and reads one byte of this array. A full
    // pipe has enough of them already.
    unsafe { libc::write(HANGUP_PIPE.load(Ordering::SeqCst), byte.as_ptr().cast(), 1) };
    Errno::set_raw(errno);
}

/// Calls something at each SIGHUP from now on, in place of all handlers of that signal. If SIGHUP
/// is ignored (`nohup`), that stays so unless `always`. Once in a process.
///
/// # Errors
/// If a system call fails.
pub fn on_hangup(always: bool, call: impl Fn() + Send + 'static) -> io::Result<()> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let (read, write) = io::pipe()?;
    nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    // It is never closed: the handler may run at any time.
    HANGUP_PIPE.store(OwnedFd::from(write).into_raw_fd(), Ordering::SeqCst);
    let handler =
        SigAction::new(SigHandler::Handler(note_hangup), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does what a signal handler may; what was there before is only looked at
    // and put back.
    let before = unsafe { sigaction(Signal::SIGHUP, &handler) }?;
    if !always && matches!(before.handler(), SigHandler::SigIgn) {
        // SAFETY: as above.
        unsafe { sigaction(Signal::SIGHUP, &before) }?;
        return Ok(());
    }
    let wait = move || {
        let mut read = read;
        let mut bytes = [0; 16];
        while io::Read::read(&mut read, &mut bytes).is_ok_and(|count| count > 0) {
            call();
        }
    };
    std::thread::Builder::new().name("moot-hangup".to_owned()).spawn(wait).map(drop)
}

/// Lets other threads go first: this one works in the background.
pub fn step_back() {
    // Threads that want the processor come first; the time left is enough to keep pace.
    be_nice(19);
}

/// Lets the process's first thread go first: this one works for one user, who waits for it.
pub fn step_aside() {
    // A tenth of what the other gets while both want the processor.
    be_nice(10);
}

/// Lowers the priority of the calling thread. On Linux a nice value is a thread's own; elsewhere it
/// would be the whole process's.
fn be_nice(nice: std::ffi::c_int) {
    #[cfg(target_os = "linux")]
    // SAFETY: changes a number of the calling thread; 0 names it.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}

/// Standard input, unbuffered.
pub type Input = File;

/// Standard input without the small buffer that the standard library puts before it.
///
/// # Errors
/// If descriptors have run out.
pub fn standard_input() -> io::Result<Input> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

/// Returns true if reading would give something (or the end) at once.
#[must_use]
pub fn has_input(file: &Input) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
}

/// Returns the resources that a process has used.
///
/// None if the system does not report them.
#[must_use]
pub fn process_usage(pid: u32) -> Option<Usage> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let stat = read("stat")?;
    // The command is in parentheses and may contain anything: fields count from the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let cpu_us = (user + system) * 1_000_000 / u64::try_from(ticks).ok()?;
    let status = read("status")?;
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = own.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    Some(Usage { cpu_us, memory_bytes: kib.map(|kib| kib * 1024) })
}

/// Name of this machine, as its administrator set it.
#[must_use]
pub fn machine_name() -> String {
    let name = nix::unistd::gethostname();
    name.map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned())
}
