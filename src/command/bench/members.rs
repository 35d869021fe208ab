//! The members of a benchmark: some threads with many sessions each, or a process each.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    seen::{Latencies, Seen, latencies},
    stamp::Tally,
};
use crate::{
    chat::{
        member::Kind,
        names::RoomName,
        request::{Begin, Follow},
    },
    client::{Event, Follows, LinkError, Member, MemberSet, Wake, WakeReceiver, WakeSender},
    command::{
        args::{BenchArgs, BenchRate},
        connect::Context,
        exit_code::{Exit, Failure},
    },
    limits::BENCH_SENDERS_MAX,
    os,
};

/// Threads that members share, at most.
const THREADS_MAX: usize = 8;
/// Time that a thread of members waits before it looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) enum Members {
    Threads(Threads),
    Processes(Vec<Process>),
}

impl Members {
    /// Joins the room with all of them.
    pub(super) fn join(
        context: &Context,
        args: &BenchArgs,
        room: &RoomName,
        check: &dyn Fn() -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        if !args.processes {
            return Threads::join(context, args, room, check).map(Self::Threads);
        }
        let mut all = Vec::new();
        for _ in 0..args.members {
            check()?;
            all.push(Process::start(context, args, room)?);
        }
        for process in &mut all {
            check()?;
            process.until_ready()?;
        }
        Ok(Self::Processes(all))
    }

    /// Lets some time pass, unless one of them fails.
    pub(super) fn wait(
        &mut self,
        time: Duration,
        check: &dyn Fn() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            check()?;
            if let Self::Threads(threads) = self {
                threads.check()?;
            }
            let left = until.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
        Ok(())
    }

    /// Returns what they have seen; none while they can't be asked.
    pub(super) fn seen(&self) -> Option<Seen> {
        match self {
            Self::Threads(threads) => Some(threads.seen()),
            Self::Processes(_) => None,
        }
    }

    /// From now on latencies count; gives what was seen up to now.
    pub(super) fn begin(&mut self) -> Result<Seen, Failure> {
        match self {
            Self::Threads(threads) => Ok(threads.measure(true)),
            Self::Processes(all) => ask_all(all, "begin"),
        }
    }

    /// Latencies do not count any more; gives what was seen up to now.
    pub(super) fn end(&mut self) -> Result<Seen, Failure> {
        match self {
            Self::Threads(threads) => Ok(threads.measure(false)),
            Self::Processes(all) => ask_all(all, "end"),
        }
    }

    /// Waits until each has seen `messages` messages, or nothing comes any longer; then they leave.
    pub(super) fn drain(
        self,
        messages: u64,
        wait: Duration,
        check: &dyn Fn() -> Result<(), Failure>,
    ) -> Result<(Seen, Latencies), Failure> {
        match self {
            Self::Threads(threads) => threads.drain(messages, wait, check),
            Self::Processes(mut all) => {
                let seen = ask_all(&mut all, &format!("drain {messages} {}", wait.as_secs()))?;
                let mut took = latencies();
                for process in all {
                    process.leave(&mut took)?;
                }
                Ok((seen, took))
            }
        }
    }
}

fn failed(what: &str, e: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("{what}: {e}"))
}

fn member(context: &Context, room: &RoomName) -> Result<Member, Failure> {
    let follow = vec![Follow::Room(room.clone())];
    let follows = Follows { follow, begin: Begin::Now, ..Follows::default() };
    let (hello, deadline) = (context.hello(Kind::Script)?, Some(context.deadline()));
    let mut member = Member::join(context.connect()?, context.places()?, hello, follows, deadline)?;
    member.set_reconnects(false);
    Ok(member)
}

// ---- threads ---------------------------------------------------------------------------------

pub(super) struct Threads {
    stop: Arc<AtomicBool>,
    tallies: Vec<Arc<Tally>>,
    running: Vec<JoinHandle<Result<(), LinkError>>>,
    members: u64,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.running.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Threads {
    fn join(
        context: &Context,
        args: &BenchArgs,
        room: &RoomName,
        check: &dyn Fn() -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let count = count.min(THREADS_MAX).min(args.members as usize);
        let mut crowds = Vec::new();
        for _ in 0..count {
            let crowd = MemberSet::new().map_err(|e| failed("can't wait for members", &e))?;
            crowds.push((crowd, Tally::new(args.rate != BenchRate::Max, args.senders)));
        }
        for number in 0..args.members as usize {
            check()?;
            let (crowd, tally) = &mut crowds[number % count];
            let mut member = member(context, room)?;
            member.tap(tally.tap());
            crowd.add(member).map_err(|e| failed("can't wait for a member", &e))?;
            // Those that are here answer the server meanwhile.
            crowd.turn(Duration::ZERO)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (mut tallies, mut running) = (Vec::new(), Vec::new());
        for (mut crowd, tally) in crowds {
            tallies.push(tally);
            let stop = Arc::clone(&stop);
            let run = move || {
                while !stop.load(Ordering::Relaxed) {
                    crowd.turn(LOOK_EVERY)?;
                }
                crowd.quit();
                Ok(())
            };
            let thread = std::thread::Builder::new().name("moot-members".to_owned()).spawn(run);
            running.push(thread.map_err(|e| failed("can't start a thread", &e))?);
        }
        Ok(Self { stop, tallies, running, members: args.members.into() })
    }

    fn check(&mut self) -> Result<(), Failure> {
        let Some(at) = self.running.iter().position(JoinHandle::is_finished) else { return Ok(()) };
        self.running.remove(at).join().map_err(|_| failed("members", &"failed"))??;
        Ok(())
    }

    fn seen(&self) -> Seen {
        self.tallies.iter().map(|tally| tally.seen()).fold(Seen::default(), plus)
    }

    fn measure(&self, on: bool) -> Seen {
        for tally in &self.tallies {
            tally.measures.store(on, Ordering::Relaxed);
        }
        self.seen()
    }

    fn drain(
        mut self,
        messages: u64,
        wait: Duration,
        check: &dyn Fn() -> Result<(), Failure>,
    ) -> Result<(Seen, Latencies), Failure> {
        let until = Instant::now() + wait;
        while self.seen().deliveries < messages * self.members && Instant::now() < until {
            self.check()?;
            check()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        self.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.running) {
            thread.join().map_err(|_| failed("members", &"failed"))??;
        }
        let mut took = latencies();
        for tally in &self.tallies {
            // Both have the same digits.
            let _ = took.add(tally.latencies());
        }
        Ok((self.seen(), took))
    }
}

fn plus(a: Seen, b: Seen) -> Seen {
    Seen { deliveries: a.deliveries + b.deliveries, disordered: a.disordered + b.disordered }
}

// ---- processes -------------------------------------------------------------------------------

/// A member in a process of its own. It is asked by lines, and answers each with one.
pub(super) struct Process {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(context: &Context, args: &BenchArgs, room: &RoomName) -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(|e| failed("can't find this program", &e))?;
        let mut command = Command::new(own);
        if let Some(server) = &context.global.server {
            command.args(["--server", server]);
        }
        command.args(["bench", "--as-member", room.as_str()]);
        if args.rate != BenchRate::Max {
            command.args(["--rate", "1"]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| failed("can't start a member", &e))?;
        let (questions, answers) = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .ok_or_else(|| failed("can't start a member", &"no pipes"))?;
        Ok(Self { child, questions, answers: BufReader::new(answers) })
    }

    fn until_ready(&mut self) -> Result<(), Failure> {
        self.answer().map(drop)
    }

    fn put(&mut self, question: &str) -> Result<(), Failure> {
        writeln!(self.questions, "{question}").map_err(|e| failed("a member ended", &e))
    }

    fn answer(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|e| failed("a member ended", &e))?;
        serde_json::from_str(&line).map_err(|e| failed("a member failed", &e))
    }

    /// Adds how long messages took to it, and ends it.
    fn leave(mut self, took: &mut Latencies) -> Result<(), Failure> {
        self.put("latencies")?;
        let answer = self.answer()?;
        for pair in answer.as_array().into_iter().flatten() {
            let at = |at: usize| pair.get(at).and_then(Value::as_u64).unwrap_or(0);
            // It grows as far as it has to.
            let _ = took.record_n(at(0), at(1));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks all of them at once; gives what they have seen together.
fn ask_all(all: &mut [Process], question: &str) -> Result<Seen, Failure> {
    all.iter_mut().try_for_each(|process| process.put(question))?;
    let mut seen = Seen::default();
    for process in all {
        let answer = process.answer()?;
        let number = |key| answer.get(key).and_then(Value::as_u64).unwrap_or(0);
        seen =
            plus(seen, Seen { deliveries: number("deliveries"), disordered: number("disordered") });
    }
    Ok(seen)
}

/// Runs such a process until its standard input ends.
pub(super) fn be_one(context: &mut Context, room: &RoomName, every: bool) -> Result<Exit, Failure> {
    let tally = Tally::new(every, BENCH_SENDERS_MAX);
    let mut member = member(context, room)?;
    member.tap(tally.tap());
    let (to_member, questions) =
        WakeReceiver::new(4).map_err(|e| failed("can't wait for questions", &e))?;
    let reader = std::thread::Builder::new().name("moot-input".to_owned());
    reader
        .spawn(move || read_questions(&to_member))
        .map_err(|e| failed("can't start a thread", &e))?;
    context.out.json(&json!({"ready": true}))?;
    loop {
        let question = match letter(member.wait(Some(&questions), None))? {
            None => continue,
            Some(None) => {
                member.quit();
                return Ok(Exit::Done);
            }
            Some(Some(question)) => question,
        };
        if let Some(rest) = question.strip_prefix("drain ") {
            drain(&mut member, &tally, rest)?;
        }
        if let "begin" | "end" = question.as_str() {
            tally.measures.store(question == "begin", Ordering::Relaxed);
        }
        let answer = match question.as_str() {
            "latencies" => {
                let all = tally.latencies();
                all.iter_recorded()
                    .map(|v| json!([v.value_iterated_to(), v.count_at_value()]))
                    .collect()
            }
            _ => {
                let seen = tally.seen();
                json!({"deliveries": seen.deliveries, "disordered": seen.disordered})
            }
        };
        context.out.json(&answer)?;
    }
}

/// Returns the letter of the mailbox, if that woke it; the end of the session is a failure.
fn letter<T>(wake: Wake<T>) -> Result<Option<Option<T>>, Failure> {
    match wake {
        Wake::Item(letter) => Ok(Some(letter)),
        Wake::Event(Event::Ended(refused)) => Err(refused.into()),
        Wake::Event(Event::End { reason }) => Err(LinkError::Ended(reason).into()),
        Wake::Event(_) | Wake::TimedOut => Ok(None),
    }
}

fn read_questions(to: &WakeSender<String>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        if !to.send(line) {
            return;
        }
    }
}

/// Goes on until the ordered number of messages came, or their time has passed.
fn drain(member: &mut Member, tally: &Tally, orders: &str) -> Result<(), Failure> {
    let mut numbers = orders.split(' ').map(|n| n.parse::<u64>().unwrap_or(0));
    let (messages, secs) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let until_us = os::monotonic_us() + secs * 1_000_000;
    while tally.seen().deliveries < messages && os::monotonic_us() < until_us {
        let soon = Some(Instant::now() + Duration::from_millis(1));
        letter(member.wait::<()>(None, soon))?;
    }
    Ok(())
}
