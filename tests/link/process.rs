//! Processes of a test: begun in a namespace, killed when dropped, their output kept.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::machine;

/// A hang is a failure; no test waits longer for one condition.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a condition holds: looks often, sleeps little.
#[track_caller]
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    assert!(holds_within(PATIENCE, holds), "never came: {what}");
}

/// Returns true as soon as a condition holds, false if it does not within a time.
pub fn holds_within(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Prints that a test, or a part of it, could not run here, and why.
pub fn skipped(why: &str) {
    note(&format!("skipped: {why}"));
}

/// Prints a line for the reader of the tests' output.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Has a process end with the thread that begins it: nothing outlives a run that is killed.
pub fn tie(command: &mut Command) {
    let die_with_parent = || {
        // SAFETY: it takes numbers only.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes one system call, and allocates nothing.
    unsafe { command.pre_exec(die_with_parent) };
}

/// A process that runs. It is killed when it is dropped.
pub struct Process {
    child: Child,
    name: String,
    pub input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Arc<Mutex<String>>,
    errors_reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Begins a process. `name` is for messages of failed assertions.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tie(&mut command);
        let mut child = machine::spawn(&mut command);
        let (to, lines) = channel();
        each_line(child.stdout.take().unwrap(), move |line| drop(to.send(line)));
        let errors = Arc::<Mutex<String>>::default();
        let kept = Arc::clone(&errors);
        let errors_reader = each_line(child.stderr.take().unwrap(), move |line| {
            let mut kept = kept.lock().unwrap();
            kept.push_str(&line);
            kept.push('\n');
        });
        let input = child.stdin.take();
        let (name, errors_reader) = (name.to_owned(), Some(errors_reader));
        Self { child, name, input, lines, errors, errors_reader }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have been stopped, or have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn signal(&self, name: &str) {
        machine::kill(self.pid(), name);
    }

    /// Exit code, if it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        // All that it said is known from here on.
        if let Some(reader) = self.errors_reader.take() {
            let _ = reader.join();
        }
        Some(machine::code_of(status))
    }

    /// Waits for its end; returns its exit code (128 + signal).
    #[track_caller]
    pub fn code(&mut self) -> i32 {
        let mut code = None;
        eventually(&format!("the end of {}", self.name), || {
            code = self.ended();
            code.is_some()
        });
        code.unwrap_or(-1)
    }

    /// Writes a line to its standard input; false if the process does not read.
    pub fn say(&mut self, line: &str) -> bool {
        self.input.as_mut().is_some_and(|input| writeln!(input, "{line}").is_ok())
    }

    /// The next line of its standard output.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(e) => {
                let ended = self.ended();
                panic!("{} printed nothing ({e}; ended: {ended:?}): {}", self.name, self.errors())
            }
        }
    }

    /// The next line of its standard output within a time; none at its end as well.
    pub fn line_within(&mut self, time: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(time)
    }

    /// The next JSON object of a type; others are passed over.
    #[track_caller]
    pub fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let line = self.line();
            let object: Value = serde_json::from_str(&line).expect(&line);
            if object["type"] == kind {
                return object;
            }
        }
    }

    /// All lines of its standard output that were not read yet.
    pub fn rest(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Its standard error so far.
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    /// Waits until its standard error has a text.
    #[track_caller]
    pub fn says(&mut self, text: &str) {
        eventually(&format!("{text:?} from {}", self.name), || {
            let ended = self.ended();
            let said = self.errors().contains(text);
            assert!(said || ended.is_none(), "{} ended {ended:?}: {}", self.name, self.errors());
            said
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            note(&format!("{} said: {}", self.name, self.errors()));
        }
    }
}

fn each_line(
    from: impl Read + Send + 'static,
    act: impl Fn(String) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            act(String::from_utf8_lossy(&line).into_owned());
        }
    })
}

/// A command that has ended.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Runs a command to its end.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = machine::spawn(command);
        let pid = child.id();
        let (to, ended) = channel();
        std::thread::spawn(move || to.send(child.wait_with_output()));
        let Ok(output) = ended.recv_timeout(PATIENCE) else {
            machine::kill(pid, "KILL");
            panic!("hangs: {command:?}");
        };
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = machine::code_of(output.status);
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Its output as JSON objects.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}
