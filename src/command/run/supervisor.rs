//! Supervision of the command: its start, its output, its signals, its end.

use std::{
    fs::File,
    io,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{
    batch::{Keep, Stream},
    outbox::Shared,
    pump::{HAS_ENDED, IS_HURRIED, Pump, Pumped, RUNS},
    spool::SharedSpool,
    talk::Talker,
    words::{self, Outcome, Report, title},
};
use crate::{
    chat::{member::Kind, names::Target, text::Text},
    client::WakeReceiver,
    command::{
        args::{RunArgs, check_will},
        connect::Context,
        exit_code::{Exit, Failure},
        interrupt,
        output::Output,
    },
    limits::{
        RUN_DRAIN_MS, RUN_KILL_AFTER_MS, RUN_TAIL_LINES_DEFAULT, RUN_UNSENT_MS_MAX, START_MS_MAX,
    },
    os::{
        self, Caught, ChildEvent, ChildSignals, Outputs, OwnedPipe, PipeWaker, Places, Pty,
        SpawnError,
    },
};

/// News that may wait for the main thread.
const NEWS_AHEAD: usize = 16;
/// Interval at which the reader of a pipe is woken until it has noticed.
const WAKE_EVERY: Duration = Duration::from_millis(50);

/// An output of the command, and the file that it is passed through to, if it is.
type PassedOutput = (OwnedPipe, Option<File>, Stream);

/// News that the main thread waits for.
enum News {
    Child(ChildEvent<Caught>),
    /// Outputs have ended for us.
    Pumped(Pumped),
    /// Everything was said, or can't be.
    Talked,
    /// The output of a command that failed was shown.
    Shown(io::Result<()>),
}

pub(in crate::command) fn run(context: &Context, args: &RunArgs) -> Result<Exit, Failure> {
    let rooms = usize::from(matches!(args.target, Target::Room(_)));
    check_will(args.will.as_ref(), rooms)?;
    if args.pty && !os::OFFERS_PTY {
        let text = "--pty needs a Unix system; run the command without it";
        return Err(Failure::new(Exit::Usage, text));
    }
    let places = match context.places() {
        Err(failure) if failure.exit == Exit::Usage => return Err(failure),
        // The talking thread tells what is wrong; the command runs.
        places => places.ok(),
    };
    interrupt::leave_to_child();
    let signals = ChildSignals::catch().map_err(|e| own_fault("can't wait for signals", &e))?;
    let (talker, letters) =
        WakeReceiver::new(1).map_err(|e| own_fault("can't wait for output", &e))?;
    let shared = Shared::new(keep(args), talker);
    let spool = if args.chronic { spool(context) } else { None };
    let (tell, news) = bounded(NEWS_AHEAD);
    let mut run = Supervisor {
        context,
        args,
        title: title(args.title.as_deref(), &args.command),
        shared,
        spool,
        pty: None,
        tell,
        news,
        child: None,
        status: None,
        readers: OutputReaders::new(),
        began: Instant::now(),
        is_late: false,
        kill_at: None,
        is_hurried: false,
        is_said: false,
        is_shown: false,
    };
    let code = run.complete(places.as_ref(), signals, letters)?;
    // The signal that this process got ended the command: its sender sees the same of both.
    if run.is_ended_by_own_signal() && code != i32::from(Exit::Interrupted.code()) {
        interrupt::exit_by_signal();
    }
    // The other threads may wait for what never comes.
    std::process::exit(code);
}

fn keep(args: &RunArgs) -> Keep {
    match (args.tail, args.on_fail) {
        (Some(lines), _) => Keep::Last(lines),
        (None, true) => Keep::Last(RUN_TAIL_LINES_DEFAULT),
        (None, false) => Keep::All,
    }
}

/// Makes the spool of `--chronic`. Without one the output is shown at once, because the command
/// comes first.
fn spool(context: &Context) -> Option<SharedSpool> {
    let spool = SharedSpool::new();
    let warn = |e: &io::Error| {
        let directory = std::env::temp_dir();
        let directory = directory.display();
        let text = format!("can't save output in {directory}: {e}; all output is shown at once");
        context.out.warn(&text);
    };
    spool.inspect_err(warn).ok()
}

fn own_fault(what: &str, e: &io::Error) -> Failure {
    Failure::new(Exit::OwnFault, format!("{what}: {e}"))
}

/// Threads that read the command's output, and the fate of that.
struct OutputReaders {
    wakers: Vec<PipeWaker>,
    /// Phase of the command, as the threads see it.
    phase: Arc<AtomicU8>,
    /// Number of threads that read.
    open: usize,
    /// Error of our own output.
    unpassed: Option<io::Error>,
    /// Processes that still hold an output open, as far as they are known; none if it has ended.
    holders: Option<Vec<u32>>,
}

impl OutputReaders {
    fn new() -> Self {
        let phase = Arc::new(AtomicU8::new(RUNS));
        Self { wakers: Vec::new(), phase, open: 0, unpassed: None, holders: None }
    }

    fn begun(&mut self, waker: PipeWaker) {
        self.wakers.push(waker);
        self.open += 1;
    }

    /// Wakes the threads, which see this phase.
    fn wake(&self, phase: u8) {
        self.phase.store(phase, Ordering::SeqCst);
        self.wakers.iter().for_each(PipeWaker::wake);
    }

    fn ended(&mut self, Pumped { passed, holders }: Pumped) {
        self.open -= 1;
        if let Some(holders) = holders {
            self.holders.get_or_insert_default().extend(holders);
        }
        if let Err(e) = passed {
            self.unpassed = Some(e);
        }
    }
}

struct Supervisor<'a> {
    context: &'a Context,
    args: &'a RunArgs,
    title: String,
    shared: Shared,
    /// The output, until it is known whether the command failed; none if it is passed through.
    spool: Option<SharedSpool>,
    /// The command's terminal, while this process has an end of it.
    pty: Option<Pty>,
    tell: Sender<News>,
    news: Receiver<News>,
    /// The command, until it was waited for.
    child: Option<Child>,
    status: Option<ExitStatus>,
    readers: OutputReaders,
    began: Instant,
    /// Its time was out before it ended.
    is_late: bool,
    kill_at: Option<Instant>,
    /// A signal asked it to end, and the command has.
    is_hurried: bool,
    /// Everything was said, or can't be.
    is_said: bool,
    /// The output of a command that failed was shown.
    is_shown: bool,
}

impl Supervisor<'_> {
    /// Runs the command to its end, and everything to be said after it; gives the exit code.
    fn complete(
        &mut self,
        places: Option<&Places>,
        signals: ChildSignals,
        letters: WakeReceiver<()>,
    ) -> Result<i32, Failure> {
        let mut pid = None;
        let not_begun = match self.spawn(places) {
            Ok((child, outputs)) => {
                pid = Some(child.id());
                self.attend(child, outputs)?;
                None
            }
            Err(e) => Some(self.not_begun(&e)),
        };
        let tell = self.tell.clone();
        let told = move |news| drop(tell.send(News::Child(news)));
        let watched = signals.watch(self.child.as_ref(), told);
        self.or_kill(watched, "can't wait for the command")?;
        let talking = self.talk(letters);
        self.or_kill(talking, "can't start a thread")?;
        if let Some(pid) = pid.filter(|_| !self.args.on_fail) {
            self.shared.begin(words::started(&self.title, pid));
        }
        self.wait_for_child();
        let took = self.began.elapsed();
        self.wait_for_output();
        let outcome = self.outcome(not_begun);
        let is_told = !(self.args.on_fail && outcome.is_good());
        let holders = self.readers.holders.as_deref().map(words::still_running);
        let result = words::result(&self.title, &outcome, took);
        self.shared.end(if is_told {
            holders.into_iter().chain([result]).collect()
        } else {
            vec![]
        });
        if !outcome.is_good() {
            self.show_output()?;
        }
        self.wait_until_said();
        self.report(pid, &outcome, took);
        Ok(self.exit_code(&outcome))
    }

    /// Begins the command, and returns its outputs, each with the file that it is passed through
    /// to. It gets its three standard descriptors, and nothing of ours.
    fn spawn(&mut self, places: Option<&Places>) -> io::Result<(Child, Vec<PassedOutput>)> {
        let mut command = Command::new(&self.args.command[0]);
        command.args(&self.args.command[1..]).env("MOOT_ROOM", self.args.target.to_string());
        if let Some(places) = places {
            command.env("MOOT_SERVER", places.directory());
        }
        let is_passed = self.spool.is_none();
        let out = is_passed.then(os::standard_output).transpose()?;
        let err = is_passed.then(os::standard_error).transpose()?;
        if self.args.pty {
            let mut pty = Pty::open()?;
            let (child, output) = pty.spawn(&mut command)?;
            self.shared.lock().batch.expect_terminal_output();
            self.pty = Some(pty);
            self.follow_terminal();
            return Ok((child, vec![(output, out, Stream::Output)]));
        }
        if os::has_one_output() {
            // What is written to both is read in that order.
            let (output, end) = io::pipe()?;
            let child = command.stdout(end.try_clone()?).stderr(end).spawn()?;
            return Ok((child, vec![(output.into(), out, Stream::Output)]));
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let output = child.stdout.take().map(|pipe| (pipe.into(), out, Stream::Output));
        let error = child.stderr.take().map(|pipe| (pipe.into(), err, Stream::Error));
        Ok((child, output.into_iter().chain(error).collect()))
    }

    /// Tells why the command did not begin.
    fn not_begun(&self, e: &io::Error) -> (Exit, String) {
        let exit = match os::why_not_begun(e) {
            SpawnError::NotFound => Exit::NotFound,
            SpawnError::NotExecutable => Exit::NotExecutable,
            SpawnError::NoProcess => Exit::OwnFault,
        };
        let name = self.args.command[0].to_string_lossy();
        let failure = Failure::new(exit, format!("can't run {name}: {e}"));
        Output::error(&failure, self.context.global.json);
        (exit, e.to_string())
    }

    /// Reads what the command writes.
    fn attend(&mut self, child: Child, outputs: Vec<PassedOutput>) -> Result<(), Failure> {
        self.child = Some(child);
        let begun = match os::POLLS_OUTPUTS {
            true => self.pump(outputs),
            false => outputs.into_iter().try_for_each(|output| self.pump(vec![output])),
        };
        self.or_kill(begun, "can't read the command's output")
    }

    fn pump(&mut self, outputs: Vec<PassedOutput>) -> io::Result<()> {
        let streams = outputs.iter().map(|(_, _, stream)| *stream).collect();
        let (outputs, waker) =
            Outputs::new(outputs.into_iter().map(|(source, to, _)| (source, to)))?;
        let (shared, spool) = (self.shared.clone(), self.spool.clone());
        let pump = Pump { outputs, streams, shared, spool, phase: Arc::clone(&self.readers.phase) };
        let tell = self.tell.clone();
        spawn("moot-out", move || drop(tell.send(News::Pumped(pump.run()))))?;
        self.readers.begun(waker);
        Ok(())
    }

    fn talk(&self, letters: WakeReceiver<()>) -> io::Result<()> {
        let mut global = self.context.global.clone();
        // The time limit is the command's.
        global.timeout = None;
        let out = Output::new(&global);
        let will = match (&self.args.target, &self.args.will) {
            (Target::User { .. }, _) => None,
            (Target::Room(_), Some(will)) => Some(will.clone()),
            (Target::Room(_), None) => Text::new(&words::will(&self.title)).ok(),
        };
        let talker = Talker {
            context: Context { global, out },
            target: self.args.target.clone(),
            kind: self.args.kind.map_or(Kind::Script, Kind::from),
            will,
            shared: self.shared.clone(),
        };
        let tell = self.tell.clone();
        spawn("moot-talk", move || {
            talker.run(&letters);
            // If that fails, the news is no longer wanted.
            let _ = tell.send(News::Talked);
        })
    }

    /// A command that can't be looked after is not left alone.
    fn or_kill(&mut self, done: io::Result<()>, what: &str) -> Result<(), Failure> {
        done.map_err(|e| {
            if let Some(child) = &mut self.child {
                let _ = child.kill();
                let _ = child.wait();
            }
            self.close_terminal();
            own_fault(what, &e)
        })
    }

    // ---- waiting -----------------------------------------------------------------------------

    /// Until the command has ended: whatever signals come are its business.
    fn wait_for_child(&mut self) {
        let limit = self.context.global.timeout.map(|limit| self.began + Duration::from(limit));
        while self.child.is_some() {
            let limit = limit.filter(|_| !self.is_late);
            self.take(limit.or(self.kill_at));
            let now = Instant::now();
            let Some(child) = &mut self.child else { break };
            if limit.is_some_and(|at| at <= now) {
                // Between two looks it may have ended; then that is seen next.
                let _ = os::ask_to_end(child);
                self.is_late = true;
                self.kill_at = Some(now + Duration::from_millis(RUN_KILL_AFTER_MS));
            } else if self.kill_at.is_some_and(|at| at <= now) {
                let _ = child.kill();
                self.kill_at = None;
            }
        }

        if let Some(pty) = &mut self.pty {
            pty.end();
        }
    }

    /// Gives the terminal its mode again.
    fn close_terminal(&mut self) {
        self.pty = None;
        Output::set_raw(false);
    }

    /// Lines of this process begin in the first column, whatever the mode of the terminal is.
    fn follow_terminal(&self) {
        Output::set_raw(self.pty.as_ref().is_some_and(Pty::is_raw));
    }

    /// Shows the output of a command that failed, and waits for that as long as no signal asks this
    /// process to end: its reader may be slow.
    fn show_output(&mut self) -> Result<(), Failure> {
        let Some(spool) = self.spool.clone() else { return Ok(()) };
        let (tell, json) = (self.tell.clone(), self.context.global.json);
        let show = move || {
            let warn = |text: String| Output::error(&Failure::new(Exit::Failed, text), json);
            let mut spool = spool.lock();
            let outputs = os::standard_output().and_then(|out| Ok((out, os::standard_error()?)));
            let gap = |bytes| warn(words::not_shown(bytes, None));
            let shown = outputs.and_then(|(out, err)| spool.show(out, err, gap));
            if let Some((bytes, e)) = spool.unsaved() {
                warn(words::not_shown(bytes, Some(e)));
            }
            // If that fails, the news is no longer wanted.
            let _ = tell.send(News::Shown(shown));
        };
        spawn("moot-show", show).map_err(|e| own_fault("can't start a thread", &e))?;
        while !self.is_shown && !self.is_hurried {
            self.take(None);
        }
        Ok(())
    }

    /// Until its outputs have ended. A process that still has them open is waited for a moment
    /// only, and left to another process; a slow reader of our output gets all of it.
    fn wait_for_output(&mut self) {
        let mut until: Option<Instant> = None;
        while self.readers.open > 0 && until.is_none_or(|until| until > Instant::now()) {
            if self.is_hurried {
                // A write to a terminal that is held (Ctrl-S) may never return.
                let soon = || Instant::now() + Duration::from_millis(RUN_DRAIN_MS);
                until.get_or_insert_with(soon);
            }
            self.readers.wake(if self.is_hurried { IS_HURRIED } else { HAS_ENDED });
            self.take(Some(Instant::now() + WAKE_EVERY));
        }
        self.close_terminal();
    }

    /// Waits until everything is acknowledged, or it has taken too long.
    fn wait_until_said(&mut self) {
        let ended = Instant::now();
        while !self.is_said && !self.is_hurried {
            let patience = match self.shared.lock().is_starting() {
                true => START_MS_MAX,
                false => RUN_UNSENT_MS_MAX,
            };
            let until = ended + Duration::from_millis(patience);
            if until <= Instant::now() {
                return;
            }
            self.take(Some(until.min(Instant::now() + WAKE_EVERY)));
        }
    }

    /// Waits for news once.
    fn take(&mut self, until: Option<Instant>) {
        let news = match until {
            Some(at) => self.news.recv_deadline(at),
            // We have an end of it ourselves: it is never closed.
            None => self.news.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match (news, &mut self.child) {
            (Ok(News::Child(ChildEvent::MayHaveEnded)), Some(child)) => {
                // A child that can't be waited for has been collected by other code: it has ended.
                match child.try_wait() {
                    Ok(None) => {}
                    Ok(Some(status)) => {
                        self.status = Some(status);
                        self.child = None;
                    }
                    Err(_) => self.child = None,
                }
            }
            (Ok(News::Child(ChildEvent::MayHaveEnded)), None) => {}
            (Ok(News::Child(ChildEvent::Signal(caught))), Some(child)) => match &mut self.pty {
                Some(pty) => {
                    pty.hand_on(child, &caught);
                    self.follow_terminal();
                }
                None => os::hand_on(child, &caught),
            },
            (Ok(News::Child(ChildEvent::Signal(caught))), None) => {
                self.is_hurried |= caught.asks_to_end();
            }
            (Ok(News::Pumped(pumped)), _) => {
                if self.child.is_some() && self.pty.is_some() {
                    // The reader of our output has gone: for the command its terminal has.
                    self.close_terminal();
                }
                if let Err(e) = &pumped.passed {
                    let text = format!("can't write the command's output: {e}");
                    self.context.out.warn(&text);
                }
                self.readers.ended(pumped);
            }
            (Ok(News::Talked), _) => self.is_said = true,
            (Ok(News::Shown(shown)), _) => {
                self.is_shown = true;
                if let Err(e) = shown {
                    self.context.out.warn(&format!("can't write the command's output: {e}"));
                }
            }
            (Err(_), _) => {}
        }
    }

    // ---- the end -----------------------------------------------------------------------------

    fn outcome(&self, not_begun: Option<(Exit, String)>) -> Outcome {
        if let Some((exit, why)) = not_begun {
            return Outcome::NotBegun(exit.code(), why);
        }
        let nothing = os::ChildEnd { code: None, signal: None };
        let end = self.status.map_or(nothing, os::end_of);
        if self.is_late { Outcome::TimedOut(end) } else { Outcome::Ended(end) }
    }

    fn report(&self, pid: Option<u32>, outcome: &Outcome, took: Duration) {
        let target = self.args.target.to_string();
        let mut outbox = self.shared.lock();
        let (total, left_out) = (outbox.batch.total(), outbox.batch.lost());
        let messages = outbox.said();
        let (unsent, bytes) = outbox.give_up();
        drop(outbox);
        if unsent > 0 {
            self.context.out.warn(&words::unsent(unsent, bytes, &target));
        }
        if self.context.global.json {
            Output::json_aside(&words::report(&Report {
                target: &target,
                title: &self.title,
                pid,
                outcome,
                took,
                total,
                left_out,
                messages,
                unsent,
                holders: self.readers.holders.as_deref(),
            }));
        }
    }

    /// Returns true if the command died by the signal that asked this process to end.
    fn is_ended_by_own_signal(&self) -> bool {
        let killed_by = self.status.and_then(|status| os::end_of(status).signal);
        !self.is_late && killed_by.is_some_and(|(number, _)| Some(number) == os::end_signal())
    }

    fn exit_code(&self, outcome: &Outcome) -> i32 {
        match outcome {
            Outcome::TimedOut(_) => Exit::TimedOut.code().into(),
            Outcome::Ended(end) => match (&end.signal, end.code) {
                (Some((number, _)), _) => 128 + number,
                // Some of its output is lost, and it does not know.
                (None, Some(0)) if self.readers.unpassed.is_some() => Exit::OwnFault.code().into(),
                (None, Some(code)) => code,
                (None, None) => Exit::OwnFault.code().into(),
            },
            Outcome::NotBegun(code, _) => i32::from(*code),
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}
