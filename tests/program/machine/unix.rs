//! POSIX: signals, user ids, sockets.

use std::{
    fs::Permissions,
    io::{Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use tempfile::TempDir;

pub fn is_root() -> bool {
    // The owner of a file that this process makes.
    tempfile::tempfile().unwrap().metadata().unwrap().uid() == 0
}

/// Sends a signal by name.
pub fn kill(pid: u32, signal: &str) {
    Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap();
}

/// A process that is begun begins.
pub const STARTS_MAY_FAIL: bool = false;
/// Kills of a server in the normal run of the tests.
pub const KILLS: u32 = 200;

/// Begins a process.
pub fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap()
}

/// Exit code, or 128 + signal.
pub fn code_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Where a test has its files; other users may look at it.
pub fn temp() -> TempDir {
    // Short: socket paths have 107 bytes.
    let temp = tempfile::Builder::new().prefix("moot").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
    temp
}

/// A directory for one user alone.
pub fn private_dir(path: &Path) {
    std::fs::create_dir(path).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
}

/// Nothing of this process's surroundings goes into a command.
pub fn isolate(command: &mut Command, home: &Path) {
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC").env("HOME", home);
    // Not the signals either that `nohup` or a shell's background had it ignore: `moot` keeps that.
    let heed_signals = || {
        use nix::sys::signal::{SigHandler, Signal, signal};
        for heeded in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
            // SAFETY: no handler is installed, only the default one.
            unsafe { signal(heeded, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls that are safe there, and allocates nothing.
    unsafe { command.pre_exec(heed_signals) };
}

/// As another user.
pub fn as_user(command: &mut Command, uid: u32) {
    command.uid(uid).gid(uid);
}

/// Runs something as another user, in a thread of its own.
#[cfg(target_os = "linux")]
pub fn as_thread_of<T: Send>(uid: u32, run: impl FnOnce() -> T + Send) -> T {
    let keep = -1;
    let as_user = || {
        // SAFETY: the system call (not the library's function) changes the user of this thread alone, which ends
        // after that.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, keep, uid, keep) };
        assert_eq!(done, 0, "this needs root");
        run()
    };
    std::thread::scope(|scope| scope.spawn(as_user).join().unwrap())
}

/// Lowers the limit of open descriptors of a process that runs.
#[cfg(target_os = "linux")]
pub fn limit_descriptors(pid: u32, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    let pid = i32::try_from(pid).unwrap();
    // SAFETY: it reads a structure of ours, and writes none.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

/// Copies a program to where any user can run it.
pub fn install(program: &Path, copy: &Path) {
    // By another process: a descriptor of ours, open for writing, would go into every child that a
    // test starts meanwhile, and the copy could not be run.
    let done = Command::new("install").args(["-m", "755"]).arg(program).arg(copy).status();
    assert!(done.unwrap().success());
}

/// Memory of a process that is its own, KiB.
pub fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("RssAnon")).unwrap().to_owned();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A connection that speaks bytes of its own.
pub struct RawStream(UnixStream);

impl RawStream {
    pub fn connect(path: &Path, patience: Duration) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        Self(stream)
    }

    pub fn write_within(&mut self, bytes: &[u8], time: Duration) -> std::io::Result<()> {
        self.0.set_write_timeout(Some(time)).unwrap();
        self.0.write_all(bytes)
    }

    pub fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(to)
    }

    /// Says that nothing more comes.
    pub fn end_of_words(&mut self) {
        self.0.shutdown(std::net::Shutdown::Write).unwrap();
    }
}
