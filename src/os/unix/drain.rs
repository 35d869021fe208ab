//! The outputs of a child, copied in the order in which they come, and the process that goes on
//! with that.

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::PathBuf,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
        stat::{SFlag, fstat},
        wait::waitpid,
    },
    unistd::{ForkResult, fork, setsid},
};

use super::{
    files::hidden_name,
    intake::{Waker, Woken, wake_pair},
    terminal::far_name,
};
use crate::os::shared::OutputStep;

/// Outputs of one child.
const OUTPUTS_MAX: usize = 2;
/// Bytes of a read: as much as a pipe usually holds.
const READ_BYTES: usize = 64 * 1024;
/// Bytes that a pipe takes without a wait once it is writable.
const PIPE_BYTES: usize = libc::PIPE_BUF;
/// Processes that are named as those that hold an output open.
const HOLDERS_MAX: usize = 8;

/// One end of a pipe.
pub type OwnedPipe = OwnedFd;

/// Returns true: one thread polls all outputs of a child, so that they keep their order.
pub const POLLS_OUTPUTS: bool = true;

/// Returns true if standard output and standard error of this process are the same file: a child
/// with one pipe for both keeps their order.
#[must_use]
pub fn has_one_output() -> bool {
    match (fstat(io::stdout().as_fd()), fstat(io::stderr().as_fd())) {
        (Ok(out), Ok(err)) => (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino),
        _ => false,
    }
}

/// Returns a new file without a name in the directory for temporary files.
///
/// # Errors
/// If no file can be made there.
pub fn unnamed_file() -> io::Result<File> {
    let path = hidden_name(&env::temp_dir().join("moot-output.tmp"))?;
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// One output of a child and the file that it is copied to. Nothing here allocates after it was
/// made: it is used in a forked process as well.
#[derive(Debug)]
struct OutputCopy {
    /// None once it has ended.
    source: Option<File>,
    /// None if it is read and dropped.
    to: Option<File>,
    /// A write of any size returns soon.
    is_regular: bool,
    buffer: Box<[u8]>,
    /// The bytes that were read and not written.
    unwritten: std::ops::Range<usize>,
    /// Why the rest is not written.
    failed: Option<io::Error>,
}

impl OutputCopy {
    fn new(source: OwnedFd, to: Option<File>) -> io::Result<Self> {
        let source = File::from(source);
        // This end only: the child's own is another open file.
        fcntl(&source, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let is_regular = to.as_ref().is_some_and(|to| {
            let kind = fstat(to).map_or(SFlag::empty(), |stat| {
                SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
            });
            kind == SFlag::S_IFREG
        });
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self { source: Some(source), to, is_regular, buffer, unwritten: 0..0, failed: None })
    }

    fn end(&mut self) {
        self.source = None;
        self.to = None;
        self.unwritten = 0..0;
    }

    /// Reads what is there and returns it.
    fn read(&mut self) -> &[u8] {
        let read = match &mut self.source {
            Some(source) => source.read(&mut self.buffer),
            None => return &[],
        };
        match read {
            Ok(bytes @ 1..) => {
                if self.to.is_some() {
                    self.unwritten = 0..bytes;
                }
                &self.buffer[..bytes]
            }
            Err(e) if is_passing(&e) => &[],
            Ok(0) | Err(_) => {
                self.end();
                &[]
            }
        }
    }

    /// Writes once; the reader of this process's output is ready.
    fn write(&mut self) {
        let Some(to) = &mut self.to else { return };
        let most = if self.is_regular { self.unwritten.len() } else { PIPE_BYTES };
        let end = self.unwritten.end.min(self.unwritten.start + most);
        match to.write(&self.buffer[self.unwritten.start..end]) {
            Ok(written @ 1..) => self.unwritten.start += written,
            Err(e) if is_passing(&e) => {}
            // The child learns of it as it would without this process.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.end(),
            Ok(0) => self.fail(io::ErrorKind::WriteZero.into()),
            Err(e) => self.fail(e),
        }
    }

    fn fail(&mut self, e: io::Error) {
        self.failed = Some(e);
        self.to = None;
        self.unwritten = 0..0;
    }
}

fn is_passing(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// The outputs of a child, each with the file that it is copied to.
#[derive(Debug)]
pub struct Outputs {
    copies: [Option<OutputCopy>; OUTPUTS_MAX],
    woken: Woken,
}

impl Outputs {
    /// Copies up to two outputs, and can be woken while it waits. An output without a file is read
    /// only.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn new(
        outputs: impl IntoIterator<Item = (OwnedPipe, Option<File>)>,
    ) -> io::Result<(Self, Waker)> {
        let mut copies = [None, None];
        for (copy, (source, to)) in copies.iter_mut().zip(outputs) {
            *copy = Some(OutputCopy::new(source, to)?);
        }
        let (waker, woken) = wake_pair()?;
        Ok((Self { copies, woken }, waker))
    }

    /// Waits for output, or for a reader that was not ready before, and copies some bytes. `take`
    /// gets what is read, with the number of its output.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn step(
        &mut self,
        wait: Option<Duration>,
        take: impl FnMut(usize, &[u8]),
    ) -> io::Result<OutputStep> {
        step(&mut self.copies, Some(&self.woken), wait, take)
    }

    /// Returns true if bytes wait for a reader.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.copies.iter().flatten().any(|copy| !copy.unwritten.is_empty())
    }

    /// Why not all could be written.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.copies.iter_mut().flatten().find_map(|copy| copy.failed.take())
    }

    /// Lets another process copy what still comes, for as long as any process holds an output open,
    /// and returns the ids of those that do. None if the outputs have ended.
    ///
    /// # Errors
    /// If a process can't be started.
    pub fn leave_to_drainer(mut self) -> io::Result<Option<Vec<u32>>> {
        let holders = holders(&self.copies);
        if holders.is_empty() && !self.is_behind() && has_ended(&self.copies) {
            return Ok(None);
        }
        drain_in_background(&mut self.copies)?;
        Ok(Some(holders))
    }
}

/// Reads and drops, in another process, what still comes by the output of a child: the processes
/// that hold it open live on.
///
/// # Errors
/// If a process can't be started.
pub(super) fn drop_in_background(source: OwnedFd) -> io::Result<()> {
    let mut copies = [Some(OutputCopy::new(source, None)?), None];
    match has_ended(&copies) {
        true => Ok(()),
        false => drain_in_background(&mut copies),
    }
}

fn step(
    copies: &mut [Option<OutputCopy>; OUTPUTS_MAX],
    woken: Option<&Woken>,
    wait: Option<Duration>,
    mut take: impl FnMut(usize, &[u8]),
) -> io::Result<OutputStep> {
    let Some(any) = copies.iter().flatten().find_map(|copy| copy.source.as_ref()) else {
        return Ok(OutputStep::Ended);
    };
    // Places that ask for nothing.
    let mut fds: [PollFd<'_>; OUTPUTS_MAX + 1] =
        std::array::from_fn(|_| PollFd::new(any.as_fd(), PollFlags::empty()));
    let mut places = [usize::MAX; OUTPUTS_MAX];
    let mut used = 0;
    for (at, copy) in copies.iter().enumerate() {
        let Some(copy) = copy else { continue };
        let fd = match (&copy.to, &copy.source) {
            (Some(to), _) if !copy.unwritten.is_empty() => {
                PollFd::new(to.as_fd(), PollFlags::POLLOUT)
            }
            (_, Some(source)) => PollFd::new(source.as_fd(), PollFlags::POLLIN),
            (_, None) => continue,
        };
        fds[used] = fd;
        places[at] = used;
        used += 1;
    }
    if let Some(woken) = woken {
        fds[used] = PollFd::new(woken.fd(), PollFlags::POLLIN);
    }
    let timeout = wait.map_or(PollTimeout::NONE, |wait| {
        let ms = u16::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        PollTimeout::from(ms)
    });
    let all = used + usize::from(woken.is_some());
    match poll(&mut fds[..all], timeout) {
        Ok(0) => return Ok(OutputStep::Nothing),
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(OutputStep::Nothing),
        Err(e) => return Err(e.into()),
    }
    let is_ready = places.map(|place| {
        fds.get(place).filter(|_| place < used).is_some_and(|fd| fd.any().unwrap_or(true))
    });
    let is_woken = woken.is_some() && fds[used].any().unwrap_or(true);
    let mut done = OutputStep::Nothing;
    for (at, copy) in copies.iter_mut().enumerate().filter(|(at, _)| is_ready[*at]) {
        let Some(copy) = copy else { continue };
        if copy.unwritten.is_empty() {
            let bytes = copy.read();
            if !bytes.is_empty() {
                take(at, bytes);
            }
        } else {
            copy.write();
        }
        done = OutputStep::Copied;
    }
    if let Some(woken) = woken.filter(|_| is_woken) {
        woken.clear();
    }
    Ok(done)
}

/// Returns true if no process can write to an output any longer, and all of it was read.
fn has_ended(copies: &[Option<OutputCopy>]) -> bool {
    copies.iter().flatten().filter_map(|copy| copy.source.as_ref()).all(|source| {
        let mut fds = [PollFd::new(source.as_fd(), PollFlags::POLLIN)];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        let came = fds[0].revents().unwrap_or(PollFlags::empty());
        polled.is_ok() && came.contains(PollFlags::POLLHUP) && !came.contains(PollFlags::POLLIN)
    })
}

/// The processes that hold an output open, as far as this user may see that.
fn holders(copies: &[Option<OutputCopy>]) -> Vec<u32> {
    let sources = copies.iter().flatten().filter_map(|copy| copy.source.as_ref());
    let name_of_pipe = |source: &File| {
        fstat(source).ok().map(|stat| PathBuf::from(format!("pipe:[{}]", stat.st_ino)))
    };
    let wanted: Vec<_> = sources
        .filter_map(|source| far_name(source.as_fd()).or_else(|| name_of_pipe(source)))
        .collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|link| wanted.contains(&link))
    };
    pids.filter(|pid| *pid != std::process::id()).filter(holds).take(HOLDERS_MAX).collect()
}

/// Copies to the end in a process that this one does not wait for.
fn drain_in_background(copies: &mut [Option<OutputCopy>; OUTPUTS_MAX]) -> io::Result<()> {
    // SAFETY: of a process with threads only this one is in the child, which therefore does nothing
    // but system calls: it allocates nothing, takes no lock, and ends by `_exit`.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            // It ends at once, and the other one belongs to the system's first process.
            let _ = waitpid(child, None);
            Ok(())
        }
        ForkResult::Child => {
            // Signals of this terminal and to this group are not meant for it.
            let _ = setsid();
            // SAFETY: as above.
            match unsafe { fork() } {
                Ok(ForkResult::Child) => {}
                Ok(ForkResult::Parent { .. }) | Err(_) => exit_now(),
            }
            forget_the_rest(copies);
            while let Ok(OutputStep::Copied | OutputStep::Nothing) =
                step(copies, None, None, |_, _| {})
            {}
            exit_now()
        }
    }
}

fn exit_now() -> ! {
    // SAFETY: it ends the process without notice to any other code in it.
    unsafe { libc::_exit(0) }
}

/// Handlers and descriptors that are not for this process: what waits for the end of those has to
/// see it.
fn forget_the_rest(copies: &[Option<OutputCopy>; OUTPUTS_MAX]) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGCHLD] {
        // SAFETY: the default action runs no code of ours in a handler.
        let _ = unsafe { sigaction(signal, &default) };
    }
    let mut keep = [-1; 2 * OUTPUTS_MAX];
    for (at, copy) in copies.iter().enumerate() {
        let Some(copy) = copy else { continue };
        keep[2 * at] = copy.source.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        keep[2 * at + 1] = copy.to.as_ref().map_or(-1, AsRawFd::as_raw_fd);
    }
    keep.sort_unstable();
    let mut from = 0;
    for fd in keep.into_iter().filter(|fd| *fd >= 0) {
        close_between(from, fd);
        from = fd + 1;
    }
    close_between(from, libc::c_int::MAX);
}

/// Closes the descriptors from `from` to `to`, without `to`.
fn close_between(from: libc::c_int, to: libc::c_int) {
    if from >= to {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the values that own these descriptors are never used or dropped in this process.
        let done = unsafe { libc::close_range(from as libc::c_uint, to as libc::c_uint - 1, 0) };
        if done == 0 {
            return;
        }
    }
    // More than a member has open.
    for fd in from..to.min(1024) {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}
