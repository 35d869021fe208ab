//! Settings of a background server's own process, and inherited handles.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::windows::{
        io::{AsRawHandle, BorrowedHandle, IntoRawHandle},
        process::CommandExt,
    },
    process::{Child, Command},
    ptr::null_mut,
};

use windows_sys::Win32::{
    Foundation::{CloseHandle, HANDLE_FLAG_INHERIT, SetHandleInformation},
    Storage::FileSystem::{FILE_TYPE_DISK, FILE_TYPE_PIPE, GetFileType},
    System::{
        Console::{
            GetConsoleMode, GetStdHandle, STD_ERROR_HANDLE, STD_HANDLE, STD_INPUT_HANDLE,
            STD_OUTPUT_HANDLE, SetStdHandle,
        },
        Pipes::PeekNamedPipe,
        Threading::{
            CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS, GetCurrentThread, SetThreadPriority,
            THREAD_PRIORITY_BELOW_NORMAL,
        },
    },
};

use crate::os::shared::Usage;

/// Prepares a command to run in the background: without this console, in a group of its own, and
/// without the handles of a process that waits for this process's output to end.
pub fn in_background(command: &mut Command) {
    for which in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        let handle = standard(which);
        if !handle.is_null() {
            // SAFETY: whatever the handle is, it only loses a flag; a bad one is refused.
            unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0) };
        }
    }
    // The directory that it was started in can be removed while it runs.
    if let Some(dir) = std::env::var_os("SystemRoot") {
        command.current_dir(dir);
    }
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

fn standard(which: STD_HANDLE) -> *mut std::ffi::c_void {
    // SAFETY: it takes a number.
    unsafe { GetStdHandle(which) }
}

/// Does nothing: the process that started a background server has detached it.
pub fn detach() {}

/// New files have the access list that they are made with.
pub fn umask_private() {}

/// Returns the maximum: this platform has no such limit.
pub fn raise_descriptor_limit() -> u64 {
    u64::MAX
}

/// Lets go of the pipes on which a background server said that it is ready, or what is wrong.
pub fn let_go_of_starter() {
    for which in [STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        let Ok(null) = OpenOptions::new().write(true).open("NUL") else { continue };
        let before = standard(which);
        // SAFETY: the new handle is open, and stays so: no value owns it any more.
        let done = unsafe { SetStdHandle(which, null.into_raw_handle()) };
        if done != 0 && !before.is_null() {
            // SAFETY: it was this process's standard handle, and is not used under that name any
            // more.
            unsafe { CloseHandle(before) };
        }
    }
}

/// Lets a child run on after this process has ended.
pub fn leave_running(child: Child) {
    drop(child);
}

/// Returns false: the system does not report here that a pipe's reader is gone before one writes.
#[must_use]
pub fn wait_until_unread() -> bool {
    false
}

/// No process is left to another one here.
pub fn collect_orphans() {}

/// Console events have no numbers.
pub fn record_end_signal() {}

/// Console events have no numbers.
#[must_use]
pub fn end_signal() -> Option<i32> {
    None
}

/// Console events have no numbers.
pub fn await_end_signal() {}

/// Ends this process with the exit code that a shell gives to a death by `signal`.
pub fn end_by(signal: i32) -> ! {
    std::process::exit(128 + signal)
}

/// Files have no limit here.
pub fn fail_at_file_size_limit() {}

/// Runs something that installs handlers for Ctrl-C and the console's end.
pub fn keep_ignored(install: impl FnOnce()) {
    install();
}

/// Standard input without the small buffer that the standard library puts before it.
#[derive(Debug)]
pub struct Input(Source);

#[derive(Debug)]
enum Source {
    /// Its keys come as UTF-16: the standard library makes UTF-8 of them.
    Console(io::Stdin),
    File(File),
}

/// Standard input.
///
/// # Errors
/// If handles have run out.
pub fn standard_input() -> io::Result<Input> {
    let stdin = io::stdin();
    let handle = stdin.as_raw_handle();
    let mut mode = 0;
    // SAFETY: whatever the handle is, the mode is written to a variable of ours.
    if unsafe { GetConsoleMode(handle, &raw mut mode) } != 0 {
        return Ok(Input(Source::Console(stdin)));
    }
    if handle.is_null() {
        return OpenOptions::new().read(true).open("NUL").map(|file| Input(Source::File(file)));
    }
    // SAFETY: it is this process's standard input, which no code closes.
    let handle = unsafe { BorrowedHandle::borrow_raw(handle) };
    Ok(Input(Source::File(handle.try_clone_to_owned()?.into())))
}

impl Read for Input {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Source::Console(console) => console.read(to),
            Source::File(file) => match file.read(to) {
                // The other end of a pipe was closed.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(0),
                done => done,
            },
        }
    }
}

/// Returns true if reading would give something (or the end) at once.
#[must_use]
pub fn has_input(input: &Input) -> bool {
    let Source::File(file) = &input.0 else { return false };
    let handle = file.as_raw_handle();
    // SAFETY: the handle is open.
    match unsafe { GetFileType(handle) } {
        FILE_TYPE_DISK => true,
        FILE_TYPE_PIPE => {
            let mut bytes = 0;
            // SAFETY: the handle is open; the result is written to a variable of ours.
            let there = unsafe {
                PeekNamedPipe(handle, null_mut(), 0, null_mut(), &raw mut bytes, null_mut())
            };
            // An error is the end of it.
            there == 0 || bytes > 0
        }
        _ => false,
    }
}

/// Does nothing: this platform has no such signal.
///
/// # Errors
/// None on this platform.
pub fn on_hangup(_always: bool, _call: impl Fn() + Send + 'static) -> io::Result<()> {
    Ok(())
}

/// Lets other threads go first: this one works in the background.
pub fn step_back() {
    // SAFETY: it takes nothing, and gives a handle that stands for the calling thread.
    let this = unsafe { GetCurrentThread() };
    // SAFETY: the handle is good, and not to be closed.
    let _ = unsafe { SetThreadPriority(this, THREAD_PRIORITY_BELOW_NORMAL) };
}

/// Lets the process's first thread go first: this one works for one user, who waits for it.
pub fn step_aside() {
    step_back();
}

/// Returns the resources that a process has used.
///
/// None if it may not be asked.
#[must_use]
pub fn process_usage(pid: u32) -> Option<Usage> {
    let [_, _, kernel, user] = super::peer::times_of(pid)?;
    Some(Usage { cpu_us: (kernel + user) / 10, memory_bytes: None })
}

/// Name of this machine.
#[must_use]
pub fn machine_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
