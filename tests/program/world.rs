//! The words in which the tests of the real program are written: a world with a server directory, commands, members.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{
        OnceLock,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use moot::os::LockState;
use serde_json::Value;
use tempfile::TempDir;

use super::machine;
pub use super::machine::{is_root, kill};

/// A hang is a failure; no test waits so long for what comes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A second user, where the tests run as root.
pub const OTHER_UID: u32 = 65534;
/// A third one.
#[cfg(unix)]
pub const THIRD_UID: u32 = 1;

/// What a user is called.
#[cfg(unix)]
pub fn user_name(uid: u32) -> String {
    moot::os::user_name(uid).map_or_else(|| format!("#{uid}"), |name| name.to_string())
}

/// Says that something could not be tried here, and why.
#[cfg(unix)]
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Whether the broadcast channel is on in this run of the tests.
pub fn broadcast() -> &'static str {
    match std::env::var("MOOT_TEST_BROADCAST").as_deref() {
        Ok("off") => "off",
        _ => "auto",
    }
}

/// Waits until something holds; looks often, sleeps little.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// A server's directory and a configuration in which every room is worth a broadcast.
pub struct World {
    temp: TempDir,
    pub dir: PathBuf,
}

impl World {
    pub fn new() -> Self {
        Self::with_config("")
    }

    /// A world with more configuration.
    pub fn with_config(more: &str) -> Self {
        let temp = machine::temp();
        let config = format!("[broadcast]\nmembers_min = 1\n{more}");
        std::fs::write(temp.path().join("moot.toml"), config).unwrap();
        let dir = temp.path().join("s");
        Self { temp, dir }
    }

    /// A path beside the server's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// `moot` with these arguments, in this world.
    pub fn moot(&self, args: &[&str]) -> Command {
        self.command(Path::new(env!("CARGO_BIN_EXE_moot")), args)
    }

    /// A program in this world.
    pub fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        machine::isolate(&mut command, self.temp.path());
        // A planted fault is in every process of the world.
        command.envs(std::env::var("MOOT_FAULT").map(|fault| ("MOOT_FAULT", fault)));
        command.args(args).env("MOOT_SERVER", &self.dir).current_dir(self.temp.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A copy of the program where any user can run it.
    pub fn copy_of_moot(&self) -> PathBuf {
        self.copy(Path::new(env!("CARGO_BIN_EXE_moot")), "moot")
    }

    /// A copy of a program beside the server's directory.
    pub fn copy(&self, program: &Path, name: &str) -> PathBuf {
        let copy = self.path(name);
        if !exists(&copy) {
            machine::install(program, &copy);
        }
        copy
    }

    /// `moot` as another user.
    pub fn moot_as(&self, uid: u32, args: &[&str]) -> Command {
        self.program_as(uid, &self.copy_of_moot(), args)
    }

    /// A program as another user, in this world.
    pub fn program_as(&self, uid: u32, program: &Path, args: &[&str]) -> Command {
        let mut command = self.command(program, args);
        machine::as_user(&mut command, uid);
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Done {
        Done::of(self.moot(args), None)
    }

    /// Runs a command to its end as another user.
    #[cfg(unix)]
    #[track_caller]
    pub fn run_as(&self, uid: u32, args: &[&str]) -> Done {
        Done::of(self.moot_as(uid, args), None)
    }

    /// Runs a command with this on its standard input.
    #[track_caller]
    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Done {
        Done::of(self.moot(args), Some(input))
    }

    /// A server in the foreground, ready.
    #[track_caller]
    pub fn serve(&self) -> Process {
        self.serve_with(&[])
    }

    /// A server with more flags.
    #[track_caller]
    pub fn serve_with(&self, more: &[&str]) -> Process {
        let config = self.path("moot.toml");
        let mut args =
            vec!["--config", config.to_str().unwrap(), "serve", "--broadcast", broadcast()];
        args.extend(more);
        let mut server = Process::spawn(self.moot(&args));
        let line = server.line("the server's first line");
        assert!(line.starts_with("listening on "), "{line}: {}", server.errors());
        server
    }

    /// Ends a server as its user would, and waits until it has ended.
    #[track_caller]
    pub fn end(&self, server: &mut Process) {
        // Console events need a console, which a test run has not everywhere.
        if cfg!(windows) {
            self.run(&["stop"]).ok();
        } else {
            server.signal("TERM");
        }
        assert_eq!(server.code(), 0);
    }

    /// `listen --json` to these targets, ready.
    #[track_caller]
    pub fn listen(&self, args: &[&str]) -> Process {
        let mut all = vec!["listen", "--json", "--no-start"];
        all.extend(args);
        Process::ready(self.moot(&all))
    }

    /// `join --json` in these rooms, ready.
    #[track_caller]
    pub fn join(&self, args: &[&str]) -> Process {
        let mut all = vec!["join", "--json", "--no-start"];
        all.extend(args);
        let mut command = self.moot(&all);
        command.stdin(Stdio::piped());
        Process::ready(command)
    }

    /// Rows of `who --json` with these flags, and the exit code.
    #[track_caller]
    pub fn who(&self, args: &[&str]) -> (Vec<Value>, i32) {
        let mut all = vec!["who", "--json"];
        all.extend(args);
        let done = self.run(&all);
        (done.objects(), done.code)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // One that a command started in the background, and that nobody ended.
        // A lock of this process itself may be held for an instant longer, by a child that is just begun.
        if let Ok(LockState::Held(Some(note))) = moot::os::query(&self.dir.join("lock"))
            && note.pid != std::process::id()
        {
            kill(note.pid, "KILL");
        }
    }
}

/// A command that has ended.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    #[track_caller]
    pub fn of(mut command: Command, input: Option<&[u8]>) -> Self {
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = machine::spawn(&mut command);
        let writer = input.map(|input| {
            let (mut pipe, input) = (child.stdin.take().unwrap(), input.to_vec());
            // It may end without having read everything.
            std::thread::spawn(move || drop(pipe.write_all(&input)))
        });
        let pid = child.id();
        let (tell, told) = channel();
        std::thread::spawn(move || tell.send(child.wait_with_output()));
        let Ok(output) = told.recv_timeout(PATIENCE) else {
            kill(pid, "KILL");
            panic!("hangs: {command:?}");
        };
        let Output { status, stdout, stderr } = output.unwrap();
        if let Some(writer) = writer {
            writer.join().unwrap();
        }
        let code = machine::code_of(status);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code, out: text(stdout), err: text(stderr) }
    }

    /// It did what it should.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// It ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Its output as JSON objects.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        self.out.lines().map(documented).collect()
    }
}

/// Reads an object that the program printed. Its type and each of its keys are in `docs/json.md`.
#[track_caller]
fn documented(line: &str) -> Value {
    let object: Value = serde_json::from_str(line).expect(line);
    let kind =
        object["type"].as_str().unwrap_or_else(|| panic!("an object without a type: {line}"));
    let pages = documents();
    let keys =
        pages.get(kind).unwrap_or_else(|| panic!("docs/json.md lacks the type {kind}: {line}"));
    for (key, value) in object.as_object().into_iter().flatten() {
        assert!(key == "type" || keys.contains(key), "docs/json.md lacks {key} of {kind}: {line}");
        if matches!(key.as_str(), "from" | "member") {
            let members = value.as_object().into_iter().flatten();
            let unknown: Vec<_> =
                members.filter(|(key, _)| !pages["member"].contains(*key)).collect();
            assert!(unknown.is_empty(), "docs/json.md lacks {unknown:?} of a member");
        }
        if key == "run" {
            let keys = value.as_object().expect(line).keys();
            let unknown: Vec<_> = keys.filter(|key| !pages["result"].contains(*key)).collect();
            assert!(unknown.is_empty(), "docs/json.md lacks {unknown:?} of a result");
        }
    }
    object
}

/// Keys of each type in `docs/json.md`.
fn documents() -> &'static HashMap<String, HashSet<String>> {
    static PAGES: OnceLock<HashMap<String, HashSet<String>>> = OnceLock::new();
    PAGES.get_or_init(|| {
        let mut pages: HashMap<String, HashSet<String>> = HashMap::new();
        let mut kind = String::new();
        for line in include_str!("../../docs/json.md").lines() {
            if let Some(heading) = line.strip_prefix("### ") {
                kind = heading.trim_matches('`').to_owned();
                pages.entry(kind.clone()).or_default();
            }
            if let Some((key, _)) = line.strip_prefix("| `").and_then(|row| row.split_once('`')) {
                pages.entry(kind.clone()).or_default().insert(key.to_owned());
            }
        }
        // What `notices show` prints is both.
        let notice = pages["notice"].clone();
        pages.entry("receipt".to_owned()).or_default().extend(notice);
        pages
    })
}

/// A process that runs: a server or a member. It is killed when it is dropped.
pub struct Process {
    pub child: Child,
    pub input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
    heard: Vec<String>,
    /// To begin it once more, where a start may fail; with what was typed.
    again: Option<(Command, Vec<u8>)>,
}

impl Process {
    pub fn spawn(mut command: Command) -> Self {
        let mut child = machine::spawn(&mut command);
        let lines = lines_of(child.stdout.take().unwrap());
        let errors = lines_of(child.stderr.take().unwrap());
        let input = child.stdin.take();
        let again = machine::STARTS_MAY_FAIL.then(|| (command, Vec::new()));
        Self { child, input, lines, errors, heard: Vec::new(), again }
    }

    /// Begins it once more if it ended before its program began: `moot` never ends without a word.
    fn begun_again(&mut self) -> bool {
        let Some((command, typed)) = self.again.take() else { return false };
        // What it had open is closed a moment before its end is seen.
        let deadline = Instant::now() + Duration::from_secs(2);
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => return false,
                None => std::thread::sleep(Duration::from_millis(3)),
            }
        };
        if !self.errors().is_empty() {
            return false;
        }
        let mut told = std::io::stderr().lock();
        writeln!(told, "ended without a word: {status:?}").unwrap();
        let kept_open = self.input.is_some();
        *self = Self::spawn(command);
        self.again = None;
        self.input.as_mut().map(|input| input.write_all(&typed)).transpose().unwrap();
        self.input = self.input.take().filter(|_| kept_open);
        true
    }

    /// A member whose `ready` line has come.
    #[track_caller]
    pub fn ready(command: Command) -> Self {
        let mut member = Self::spawn(command);
        let first = member.next("ready");
        assert_eq!(first["type"], "ready", "{first} {}", member.errors());
        member
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        kill(self.pid(), name);
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Types a line.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        let bytes = format!("{line}\n").into_bytes();
        if let Some((_, typed)) = &mut self.again {
            typed.extend_from_slice(&bytes);
        }
        if let Err(e) = self.input.as_mut().unwrap().write_all(&bytes) {
            if self.begun_again() {
                return;
            }
            let ended = self.child.wait();
            panic!("does not read ({e}; {ended:?}): {}", self.errors());
        }
    }

    /// The next line it prints.
    #[track_caller]
    pub fn line(&mut self, what: &str) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.again = None;
                line
            }
            Err(_) if self.begun_again() => self.line(what),
            Err(e) => {
                let ended = self.child.try_wait();
                panic!("{what} never came ({e}; {ended:?}): {}", self.errors())
            }
        }
    }

    /// The next JSON object it prints.
    #[track_caller]
    pub fn next(&mut self, what: &str) -> Value {
        documented(&self.line(what))
    }

    /// The next JSON object of this type; others are passed over.
    #[track_caller]
    pub fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let object = self.next(kind);
            if object["type"] == kind {
                return object;
            }
        }
    }

    /// The texts of the next so many messages.
    #[track_caller]
    pub fn texts(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next_of("message")["text"].as_str().unwrap().to_owned()).collect()
    }

    /// Whatever it has printed by now and not been asked for.
    pub fn rest(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Returns true while any process has its standard output open; lines that come meanwhile are dropped.
    #[cfg(unix)]
    pub fn output_is_open(&mut self) -> bool {
        use std::sync::mpsc::TryRecvError;
        loop {
            match self.lines.try_recv() {
                Ok(_) => {}
                Err(e) => return e == TryRecvError::Empty,
            }
        }
    }

    /// What it said on standard error so far; to the end if it has ended. Children of its own may keep that from
    /// being seen.
    pub fn errors(&mut self) -> String {
        let wait = if self.child.try_wait().is_ok_and(|ended| ended.is_some()) { 2 } else { 0 };
        let deadline = Instant::now() + Duration::from_secs(wait);
        let left = || deadline.saturating_duration_since(Instant::now());
        while let Ok(line) = self.errors.recv_timeout(left()) {
            self.heard.push(line);
        }
        self.heard.join("\n")
    }

    /// Waits for its end; gives its exit code (128 + signal).
    #[track_caller]
    pub fn code(&mut self) -> i32 {
        let mut status = None;
        eventually("the end of a process", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        machine::code_of(status.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // Whoever looks into it wants to know what each of them said.
            let (pid, errors) = (self.pid(), self.errors());
            let mut told = std::io::stderr().lock();
            let _ = writeln!(told, "process {pid} said: {errors}");
        }
    }
}

fn lines_of(from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            if to.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Whether a path exists.
pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
