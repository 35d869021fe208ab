//! The senders of a benchmark: a thread and a session each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::stamp;
use crate::{
    chat::{
        event::Event,
        frames::{Destination, Frame, Line, Submit},
        member::Kind,
        stream_id::StreamId,
        text::TextRef,
    },
    client::{Link, LinkError},
    command::{
        args::{BenchArgs, BenchRate},
        connect::Context,
        exit_code::{Exit, Failure},
    },
    limits::{FRAME_BYTES_MAX, UNACKED_SUBMITS_MAX},
    os,
    wire::control::LINE_OVERHEAD_BYTES,
};

/// Later than that is the server's doing, microseconds.
const LATE_US: u64 = 1_000;
/// Submits of one sender that are under way at full speed.
const SUBMITS_AHEAD: usize = 4;

pub(super) struct Senders {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<u64, LinkError>>>,
}

impl Senders {
    pub(super) fn start(
        context: &Context,
        args: &BenchArgs,
        stream: StreamId,
    ) -> Result<Self, Failure> {
        let mut all = Self { stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
        for number in 0..args.senders {
            let mut link = Link::open(context.connect()?, &context.hello(Kind::Script)?);
            link.set_deadline(Some(context.deadline()));
            link.welcome()?;
            let answer_within = context.deadline().saturating_duration_since(Instant::now());
            let mut sender = BenchSender::new(link, answer_within, number, stream, args.size);
            let every = match args.rate {
                BenchRate::Max => None,
                BenchRate::PerSecond(rate) => {
                    let rate = rate as f64 / f64::from(args.senders);
                    Some(Duration::from_secs_f64(1.0 / rate))
                }
            };
            let stop = Arc::clone(&all.stop);
            // Spread over the time between two messages of each.
            let phase =
                every.map(|every| every.mul_f64(f64::from(number) / f64::from(args.senders)));
            let run = move || {
                match every.zip(phase) {
                    None => sender.send_all(&stop),
                    Some((every, phase)) => sender.send_each(&stop, every, phase),
                }?;
                sender.wait_until(0)?;
                sender.link.quit();
                Ok(sender.counter)
            };
            let spawned = std::thread::Builder::new().name("moot-sender".to_owned()).spawn(run);
            all.threads.push(
                spawned.map_err(|e| {
                    Failure::new(Exit::Failed, format!("can't start a thread: {e}"))
                })?,
            );
        }
        Ok(all)
    }

    /// Returns true if one of them has ended before it was to.
    pub(super) fn have_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits until everything that was sent is acknowledged; gives the number of messages.
    pub(super) fn stop(mut self) -> Result<u64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sent = 0;
        for thread in self.threads.drain(..) {
            let done = thread.join().map_err(|_| Failure::new(Exit::Failed, "a sender failed"))?;
            sent += done?;
        }
        Ok(sent)
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct BenchSender {
    link: Link,
    /// Time limit for an answer: a server that hangs must not keep this command forever.
    answer_within: Duration,
    number: u32,
    stream: StreamId,
    counter: u64,
    /// Submitted and not acknowledged.
    open: usize,
    size: usize,
    /// Texts of one submit, one after another.
    texts: Vec<u8>,
}

impl BenchSender {
    fn new(
        link: Link,
        answer_within: Duration,
        number: u32,
        stream: StreamId,
        size: usize,
    ) -> Self {
        // What fits into one frame, and several frames under way.
        let fit = (FRAME_BYTES_MAX - 512) / (size + LINE_OVERHEAD_BYTES);
        let lines = fit.clamp(1, UNACKED_SUBMITS_MAX / SUBMITS_AHEAD);
        let texts = vec![b'x'; lines * size];
        Self { link, answer_within, number, stream, counter: 0, open: 0, size, texts }
    }

    fn lines_max(&self) -> usize {
        self.texts.len() / self.size
    }

    /// As fast as it goes.
    fn send_all(&mut self, stop: &AtomicBool) -> Result<(), LinkError> {
        let lines = self.lines_max();
        while !stop.load(Ordering::Relaxed) {
            let now_us = os::monotonic_us();
            self.submit(lines, |_| now_us)?;
            self.wait_until(UNACKED_SUBMITS_MAX - lines)?;
        }
        Ok(())
    }

    /// One message at a time, at a steady rate; those that are late go together, and each counts
    /// from when it was due.
    fn send_each(
        &mut self,
        stop: &AtomicBool,
        every: Duration,
        phase: Duration,
    ) -> Result<(), LinkError> {
        let began = Instant::now() + phase;
        let began_us = os::monotonic_us() + phase.as_micros() as u64;
        let due_us = |number: u64| began_us + every.mul_f64(number as f64).as_micros() as u64;
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let now_us = os::monotonic_us();
            let passed_us = now_us.saturating_sub(began_us) as f64;
            let due = match now_us < began_us {
                true => 0,
                false => (passed_us / (every.as_secs_f64() * 1e6)) as u64 + 1,
            };
            let lines = usize::try_from(due.saturating_sub(sent)).unwrap_or(usize::MAX);
            let lines = lines.min(self.lines_max());
            if lines > 0 {
                // Waking up a little late is this program's doing, and not counted.
                let late = |at: usize| now_us.saturating_sub(due_us(sent + at as u64)) > LATE_US;
                self.submit(lines, |at| if late(at) { due_us(sent + at as u64) } else { now_us })?;
                self.wait_until(0)?;
                sent += lines as u64;
            }
            let next = began + every.mul_f64(sent as f64);
            // A slow rate does not excuse being late at the end.
            let pause = next.saturating_duration_since(Instant::now());
            std::thread::sleep(pause.min(Duration::from_millis(100)));
        }
        Ok(())
    }

    /// Sends `lines` texts, each with its time.
    fn submit(&mut self, lines: usize, stamp_us: impl Fn(usize) -> u64) -> Result<(), LinkError> {
        let (number, first) = (self.number, self.counter);
        for (at, text) in self.texts.chunks_exact_mut(self.size).take(lines).enumerate() {
            stamp::put(text, number, (first + at as u64) as u32, stamp_us(at));
        }
        let texts = self.texts.chunks_exact(self.size).take(lines);
        // Only digits and `x`.
        let texts = texts.filter_map(|text| TextRef::new(str::from_utf8(text).ok()?).ok());
        let submit = Submit {
            first: first + 1,
            to: Destination::Stream(self.stream),
            to_label: None,
            lines: texts.map(|text| Line { reply_to: None, text }).collect(),
        };
        self.link.queue_submit(&submit);
        // From now on, however long ago the last one was.
        self.link.set_deadline(Some(Instant::now() + self.answer_within));
        self.link.flush()?;
        self.counter += lines as u64;
        self.open += lines;
        Ok(())
    }

    fn wait_until(&mut self, most: usize) -> Result<(), LinkError> {
        self.link.set_deadline(Some(Instant::now() + self.answer_within));
        while self.open > most {
            match self.link.wait()? {
                Frame::Ack(ack) => self.open = self.open.saturating_sub(ack.count as usize),
                Frame::Nack { refusal, .. } => return Err(LinkError::Refusal(refusal)),
                Frame::Event(Event::Ping) => self.link.pong(),
                Frame::Event(_) | Frame::Reply { .. } => {}
            }
        }
        Ok(())
    }
}
