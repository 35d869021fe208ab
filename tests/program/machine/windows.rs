//! Windows: suspended processes, pipes.

use std::{
    ffi::c_void,
    path::Path,
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use moot::os;
use tempfile::TempDir;

type Handle = *mut c_void;

#[link(name = "kernel32")]
unsafe extern "system" {
    fn OpenProcess(rights: u32, inherit: i32, pid: u32) -> Handle;
    fn TerminateProcess(process: Handle, code: u32) -> i32;
    fn CloseHandle(handle: Handle) -> i32;
    fn K32GetProcessMemoryInfo(process: Handle, counters: *mut MemoryCounters, bytes: u32) -> i32;
}

#[link(name = "ntdll")]
unsafe extern "system" {
    fn NtSuspendProcess(process: Handle) -> i32;
    fn NtResumeProcess(process: Handle) -> i32;
}

const PROCESS_ALL_ACCESS: u32 = 0x001f_ffff;

#[repr(C)]
#[derive(Default)]
struct MemoryCounters {
    bytes: u32,
    faults: u32,
    sizes: [usize; 8],
    private: usize,
}

/// There is one user here.
pub fn is_root() -> bool {
    false
}

fn with_process<T>(pid: u32, f: impl FnOnce(Handle) -> T) -> Option<T> {
    // SAFETY: it takes numbers only.
    let process = unsafe { OpenProcess(PROCESS_ALL_ACCESS, 0, pid) };
    if process.is_null() {
        return None;
    }
    let done = f(process);
    // SAFETY: it was opened above, and is closed once.
    unsafe { CloseHandle(process) };
    Some(done)
}

/// What comes nearest to a signal of that name.
pub fn kill(pid: u32, signal: &str) {
    match signal {
        "STOP" => {
            // SAFETY: the handle is open.
            assert_eq!(with_process(pid, |p| unsafe { NtSuspendProcess(p) }), Some(0));
        }
        "CONT" => {
            // SAFETY: the handle is open.
            assert_eq!(with_process(pid, |p| unsafe { NtResumeProcess(p) }), Some(0));
        }
        "KILL" => {
            // It may have ended.
            // SAFETY: the handle is open.
            with_process(pid, |p| unsafe { TerminateProcess(p, 137) });
        }
        signal => panic!("no way to send {signal} here"),
    }
}

/// Under Wine, one of some thousand processes ends before its program has begun. `moot` never ends
/// without a word, so such a one is told apart.
pub const STARTS_MAY_FAIL: bool = true;
/// Kills of a server in the normal run of the tests: processes take longer here.
pub const KILLS: u32 = 60;

/// Begins a process. Wine now and then has an "internal error" when many begin and end at once.
pub fn spawn(command: &mut Command) -> Child {
    const ERROR_INTERNAL_ERROR: i32 = 1359;
    for _ in 0..20 {
        match command.spawn() {
            Err(e) if e.raw_os_error() == Some(ERROR_INTERNAL_ERROR) => {
                std::thread::sleep(Duration::from_millis(50));
            }
            done => return done.unwrap(),
        }
    }
    command.spawn().unwrap()
}

/// Exit code.
pub fn code_of(status: ExitStatus) -> i32 {
    status.code().unwrap()
}

/// Where a test has its files.
pub fn temp() -> TempDir {
    tempfile::Builder::new().prefix("moot").tempdir().unwrap()
}

/// A directory for one user alone.
pub fn private_dir(path: &Path) {
    let places = os::Places { runtime: path.to_owned(), state: path.to_owned(), host: false };
    os::prepare(&places, false).unwrap();
}

/// Nothing of this process's surroundings goes into a command but what the system needs.
pub fn isolate(command: &mut Command, home: &Path) {
    command.env_clear().env("TZ", "UTC").env("LOCALAPPDATA", home);
    for name in ["SystemRoot", "SystemDrive", "PATH", "TEMP", "ProgramData"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// There is one user here.
pub fn as_user(_command: &mut Command, _uid: u32) {
    panic!("a test with two users where there is one");
}

/// Copies a program.
pub fn install(program: &Path, copy: &Path) {
    std::fs::copy(program, copy).unwrap();
}

/// Memory of a process that is its own, KiB.
pub fn memory_kib(pid: u32) -> u64 {
    let mut counters = MemoryCounters::default();
    let bytes = size_of::<MemoryCounters>() as u32;
    // SAFETY: the handle is open, and the structure has the size that is given.
    with_process(pid, |p| unsafe { K32GetProcessMemoryInfo(p, &raw mut counters, bytes) });
    counters.private as u64 / 1024
}

/// A connection that speaks bytes of its own.
pub struct RawStream(os::Client);

impl RawStream {
    pub fn connect(path: &Path, patience: Duration) -> Self {
        let client = os::Client::connect(path, patience).unwrap();
        client.set_read_timeout(Some(patience)).unwrap();
        Self(client)
    }

    pub fn write_within(&mut self, bytes: &[u8], time: Duration) -> std::io::Result<()> {
        self.0.set_write_timeout(Some(time)).unwrap();
        self.0.write_all(bytes)
    }

    pub fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(to)
    }

    /// A pipe can't be ended in one direction: nothing more is to come in either.
    pub fn end_of_words(&mut self) {
        self.0.shut_down();
    }
}
