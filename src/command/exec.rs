//! Running a program once a message: up to a number at a time, in the order of the messages.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{
    args::Program,
    exit_code::{Exit, Failure},
    time::rfc3339,
};
use crate::{
    chat::message::{Message, MessageId, StreamName},
    client::WakeSender,
    limits::{EXEC_WAITING_BYTES_MAX, EXEC_WAITING_MAX, RUN_DRAIN_MS, TEXT_BYTES_MAX},
    os::{ChildPipe, PipeWaker},
};

/// Bytes that are read at a time.
const READ_BYTES: usize = 16 * 1024;
/// Interval at which the reader of a pipe is woken until it has noticed.
const WAKE_EVERY: Duration = Duration::from_millis(10);

/// One message for the program.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) message: Message,
    /// More of its environment.
    pub(super) more: Vec<(&'static str, String)>,
}

/// Result of a job.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) message: Message,
    /// End of the program; an error if it could not be run.
    pub(super) status: io::Result<ExitStatus>,
    /// Output, if it was wanted, up to the bytes that a message can hold.
    pub(super) output: Vec<u8>,
    /// It wrote more.
    pub(super) cut: bool,
}

impl Outcome {
    /// Why it failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        match &self.status {
            Ok(status) if status.success() => None,
            Ok(status) => Some(status.to_string()),
            Err(e) => Some(format!("can't run the program: {e}")),
        }
    }
}

/// Threads that run a program, and what waits for them.
pub(super) struct Runner {
    name: String,
    jobs: usize,
    running: usize,
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    to_threads: Sender<Job>,
    from_here: Receiver<Job>,
    threads: usize,
    work: Arc<Work>,
}

/// Work of a thread for a job; false once the result is no longer wanted.
pub(super) type Work = dyn Fn(Job) -> bool + Send + Sync;

impl Runner {
    /// Runs nothing yet.
    pub(super) fn new(program: &Program, jobs: u32, work: Arc<Work>) -> Self {
        let jobs = jobs as usize;
        let (to_threads, from_here) = bounded(jobs);
        Self {
            name: program.program.to_string_lossy().into_owned(),
            jobs,
            running: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            to_threads,
            from_here,
            threads: 0,
            work,
        }
    }

    /// The program's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Jobs that run or wait.
    pub(super) fn open(&self) -> usize {
        self.running + self.waiting.len()
    }

    /// Returns true if further jobs should not be added now.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= EXEC_WAITING_MAX || self.waiting_bytes >= EXEC_WAITING_BYTES_MAX
    }

    /// Adds a job; it begins when one of the threads is free.
    pub(super) fn add(&mut self, job: Job) -> Result<(), Failure> {
        self.waiting_bytes += job.message.text.len();
        self.waiting.push_back(job);
        if self.running == self.threads && self.threads < self.jobs {
            let (from, work) = (self.from_here.clone(), Arc::clone(&self.work));
            let body = move || {
                for job in from {
                    if !work(job) {
                        return;
                    }
                }
            };
            let thread = thread::Builder::new().name("moot-exec".to_owned()).spawn(body);
            thread.map_err(|e| Failure::new(Exit::Failed, format!("can't start a thread: {e}")))?;
            self.threads += 1;
        }
        self.begin();
        Ok(())
    }

    /// A job has ended.
    pub(super) fn ended(&mut self) {
        self.running -= 1;
        self.begin();
    }

    fn begin(&mut self) {
        while self.running < self.threads
            && let Some(job) = self.waiting.pop_front()
        {
            self.waiting_bytes -= job.message.text.len();
            self.running += 1;
            // Each thread takes one, and at most as many run as there are threads.
            let _ = self.to_threads.send(job);
        }
    }
}

/// Work of a thread of a [`Runner`]: runs the program, and posts the outcome.
pub(super) fn work<T: Send + 'static>(
    program: &Program,
    environment: &[(&'static str, OsString)],
    capture: bool,
    to: &WakeSender<T>,
    letter: fn(Box<Outcome>) -> T,
) -> Arc<Work> {
    let (program, environment, to) = (program.clone(), environment.to_vec(), to.clone());
    Arc::new(move |job| {
        let mut command = Command::new(&program.program);
        command.args(&program.args).envs(environment.iter().cloned());
        to.send(letter(Box::new(run(command, job, capture))))
    })
}

fn run(mut command: Command, job: Job, capture: bool) -> Outcome {
    command.envs(fields(&job.message)).envs(job.more);
    command.stdin(Stdio::piped());
    if capture {
        command.stdout(Stdio::piped());
    }
    let mut outcome = Outcome {
        message: job.message,
        status: Err(io::ErrorKind::Other.into()),
        output: Vec::new(),
        cut: false,
    };
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            outcome.status = Err(e);
            return outcome;
        }
    };
    let fed = feed(child.stdin.take(), &outcome.message.text);
    let output = child.stdout.take().map(ChildPipe::new).transpose();
    let ended = match output {
        Ok(None) => child.wait(),
        Ok(Some((pipe, waker))) => read_and_wait(&mut child, pipe, &waker, &mut outcome),
        Err(e) => {
            // What it writes can't be read: its reply would be empty.
            let _ = child.kill();
            let _ = child.wait();
            Err(e)
        }
    };
    outcome.status = fed.and(ended);
    outcome
}

/// Gives a program its message, from a thread of its own: it may write before it reads, need not
/// read at all, and a process that it starts may keep the pipe open.
fn feed(input: Option<ChildStdin>, text: &str) -> io::Result<()> {
    let Some(mut input) = input else { return Ok(()) };
    let text = format!("{text}\n");
    let feed = move || drop(input.write_all(text.as_bytes()));
    thread::Builder::new().name("moot-feed".to_owned()).spawn(feed).map(drop)
}

/// Reads the output of a program until that ends, or a moment longer than the program runs: a
/// process that it started may keep the pipe open forever.
fn read_and_wait(
    child: &mut Child,
    pipe: ChildPipe,
    waker: &PipeWaker,
    outcome: &mut Outcome,
) -> io::Result<ExitStatus> {
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let (tell, is_read) = bounded::<()>(0);
        let read = || {
            read_output(pipe, &has_ended, outcome);
            // The other end learns of it.
            drop(tell);
        };
        let reader = thread::Builder::new().name("moot-out".to_owned()).spawn_scoped(scope, read);
        let ended = child.wait();
        has_ended.store(true, Ordering::SeqCst);
        reader?;
        loop {
            waker.wake();
            if is_read.recv_timeout(WAKE_EVERY) == Err(RecvTimeoutError::Disconnected) {
                return ended;
            }
        }
    })
}

fn read_output(mut pipe: ChildPipe, has_ended: &AtomicBool, outcome: &mut Outcome) {
    let mut buffer = vec![0; READ_BYTES];
    let mut until: Option<Instant> = None;
    loop {
        if until.is_none() && has_ended.load(Ordering::SeqCst) {
            until = Some(Instant::now() + Duration::from_millis(RUN_DRAIN_MS));
        }
        let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
        match pipe.read(&mut buffer, wait) {
            // Another process holds the output open, and lives on.
            Ok(None) if wait.is_some_and(|wait| wait.is_zero()) => return pipe.leave_open(),
            Ok(None) => {}
            Ok(Some(0)) | Err(_) => return,
            Ok(Some(bytes)) => {
                let room = (TEXT_BYTES_MAX + 2).saturating_sub(outcome.output.len());
                outcome.output.extend_from_slice(&buffer[..bytes.min(room)]);
                outcome.cut |= bytes > room;
                // Another process goes on writing.
                if wait.is_some_and(|wait| wait.is_zero()) {
                    return pipe.leave_open();
                }
            }
        }
    }
}

/// Returns the environment that describes its message to a program.
fn fields(message: &Message) -> Vec<(&'static str, String)> {
    let from = &message.from;
    let reply_to = message.reply_to.map(|seq| MessageId { seq, ..message.id.clone() }.to_string());
    let (kind, room, with) = match (&message.notice, &message.id.stream) {
        (Some(notice), _) => {
            let room = notice.room.as_ref().map(ToString::to_string);
            ("announcement", room.unwrap_or_default(), String::new())
        }
        (None, StreamName::Room(room)) => ("message", room.to_string(), String::new()),
        (None, StreamName::Direct(user)) => ("direct", String::new(), user.to_string()),
        (None, StreamName::Announcements) => ("announcement", String::new(), String::new()),
    };
    // No number of another host means anything here.
    let of_this_host = |number: u64| match from.user.host() {
        Some(_) => String::new(),
        None => number.to_string(),
    };
    let level = message.notice.as_ref().map_or("", |notice| notice.level.word());
    vec![
        ("MOOT_TYPE", kind.to_owned()),
        ("MOOT_ID", message.id.to_string()),
        ("MOOT_ROOM", room),
        ("MOOT_WITH", with),
        ("MOOT_SEQ", message.id.seq.to_string()),
        ("MOOT_TS", rfc3339(message.wall_us)),
        ("MOOT_FROM", from.name()),
        ("MOOT_USER", from.user.to_string()),
        ("MOOT_LABEL", from.label.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("MOOT_HOST", from.user.host().unwrap_or_default().to_owned()),
        ("MOOT_UID", of_this_host(from.uid.into())),
        ("MOOT_PID", of_this_host(from.pid.into())),
        ("MOOT_SESSION", of_this_host(from.session.0)),
        ("MOOT_KIND", from.kind.word().to_owned()),
        ("MOOT_REPLY_TO", reply_to.unwrap_or_default()),
        ("MOOT_MENTION", u8::from(message.mention).to_string()),
        ("MOOT_LEVEL", level.to_owned()),
    ]
}
