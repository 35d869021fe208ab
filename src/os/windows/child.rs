//! A command that is run for a user: its pipes and its end. Ctrl-C reaches it by the console that
//! it shares.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle},
    process::{Child, ExitStatus},
    ptr::{null, null_mut},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use windows_sys::Win32::{
    Foundation::ERROR_OPERATION_ABORTED,
    System::{
        IO::CancelIoEx,
        Pipes::PeekNamedPipe,
        Threading::{INFINITE, WaitForSingleObject},
    },
};

use crate::os::shared::{ChildEnd, ChildEvent, SpawnError};

/// Interval between looks at a pipe where it can't be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Signal for a child; this platform has none.
#[derive(Debug)]
pub enum Caught {}

impl Caught {
    /// There is none.
    #[must_use]
    pub fn asks_to_end(&self) -> bool {
        match *self {}
    }
}

/// The end of a child as an event.
#[derive(Debug)]
pub struct ChildSignals(());

impl ChildSignals {
    /// Console events are left to the child.
    ///
    /// # Errors
    /// None on this platform.
    pub fn catch() -> io::Result<Self> {
        Ok(Self(()))
    }

    /// Reports the child's end, from a thread of its own.
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn watch(
        self,
        child: Option<&Child>,
        mut tell: impl FnMut(ChildEvent<Caught>) + Send + 'static,
    ) -> io::Result<()> {
        let Some(child) = child else { return Ok(()) };
        let process = child.as_handle().try_clone_to_owned()?;
        let watch = move || {
            // SAFETY: the handle is open, and is ours.
            unsafe { WaitForSingleObject(process.as_raw_handle(), INFINITE) };
            tell(ChildEvent::MayHaveEnded);
        };
        std::thread::Builder::new().name("moot-child".to_owned()).spawn(watch).map(drop)
    }
}

/// Does nothing: this platform has no signals.
pub fn hand_on(_child: &Child, caught: &Caught) {
    match *caught {}
}

/// Ends the child: on this platform it can't be asked to end.
///
/// # Errors
/// If a system call fails.
pub fn ask_to_end(child: &mut Child) -> io::Result<()> {
    child.kill()
}

/// Returns how a child ended.
#[must_use]
pub fn end_of(status: ExitStatus) -> ChildEnd {
    ChildEnd { code: status.code(), signal: None }
}

/// Returns none: this platform has no signals.
#[must_use]
pub fn signal_number(_name: &str) -> Option<i32> {
    None
}

/// Why a command did not begin.
#[must_use]
pub fn why_not_begun(e: &io::Error) -> SpawnError {
    match e.kind() {
        io::ErrorKind::NotFound => SpawnError::NotFound,
        io::ErrorKind::OutOfMemory => SpawnError::NoProcess,
        _ => SpawnError::NotExecutable,
    }
}

/// The reading end of a child's output.
#[derive(Debug)]
pub struct ChildPipe {
    pipe: File,
    woken: Arc<AtomicBool>,
}

/// Wakes the reader of a [`ChildPipe`]; to be done again until it has woken.
#[derive(Debug)]
pub struct PipeWaker {
    pipe: OwnedHandle,
    woken: Arc<AtomicBool>,
}

impl PipeWaker {
    /// Wakes the reader.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        // SAFETY: the handle is open; without the address of one operation it means all of them.
        let _ = unsafe { CancelIoEx(self.pipe.as_raw_handle(), null()) };
    }
}

impl ChildPipe {
    /// Reads from a pipe, and can be woken while it waits.
    ///
    /// # Errors
    /// If handles have run out.
    pub fn new(pipe: impl Into<OwnedHandle>) -> io::Result<(Self, PipeWaker)> {
        let pipe: OwnedHandle = pipe.into();
        let woken = Arc::new(AtomicBool::new(false));
        let waker = PipeWaker { pipe: pipe.try_clone()?, woken: Arc::clone(&woken) };
        Ok((Self { pipe: pipe.into(), woken }, waker))
    }

    /// Gives up reading. A process that writes there gets an error; it is not ended for that.
    pub fn leave_open(self) {
        drop(self);
    }

    /// Reads available bytes, or waits for them; 0 at the end of the pipe, none if it was woken or
    /// the wait has passed.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn read(&mut self, to: &mut [u8], wait: Option<Duration>) -> io::Result<Option<usize>> {
        let until = wait.map(|wait| Instant::now() + wait);
        loop {
            let woken = self.woken.load(Ordering::SeqCst);
            if (woken || until.is_some()) && !self.has_input() {
                if until.is_none_or(|until| until <= Instant::now()) {
                    self.woken.store(false, Ordering::SeqCst);
                    return Ok(None);
                }
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            match self.pipe.read(to) {
                // All writers have closed it.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(Some(0)),
                Err(e) if e.raw_os_error() == Some(ERROR_OPERATION_ABORTED as i32) => {}
                done => return done.map(Some),
            }
        }
    }

    /// Returns true if reading would give something, or the end, at once.
    fn has_input(&self) -> bool {
        let mut bytes = 0;
        // SAFETY: the handle is open; the result is written to a variable of ours.
        let there = unsafe {
            PeekNamedPipe(
                self.pipe.as_raw_handle(),
                null_mut(),
                0,
                null_mut(),
                &raw mut bytes,
                null_mut(),
            )
        };
        // An error is the end of it.
        there == 0 || bytes > 0
    }
}

/// Standard output without a buffer before it.
///
/// # Errors
/// If handles have run out.
pub fn standard_output() -> io::Result<File> {
    own(&io::stdout())
}

/// Standard error, for the bytes of others.
///
/// # Errors
/// If handles have run out.
pub fn standard_error() -> io::Result<File> {
    own(&io::stderr())
}

fn own(standard: &impl AsRawHandle) -> io::Result<File> {
    let handle = standard.as_raw_handle();
    if handle.is_null() {
        return OpenOptions::new().write(true).open("NUL");
    }
    // SAFETY: it is one of this process's standard handles, which no code closes.
    let handle = unsafe { BorrowedHandle::borrow_raw(handle) };
    handle.try_clone_to_owned().map(File::from)
}
