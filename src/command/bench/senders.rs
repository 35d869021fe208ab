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
        hub::{Line, Submit, SubmitTo},
        member::Kind,
        names::RoomName,
        verbs::Event,
    },
    client::{Link, LinkError, Told},
    command::{
        args::{BenchArgs, BenchRate},
        connect::Context,
        exit::{Exit, Failure},
    },
    limits::{FRAME_BYTES_MAX, UNACKED_SUBMITS_MAX},
    os,
    wire::control::LINE_OVERHEAD_BYTES,
};

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
        room: &RoomName,
    ) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..args.senders {
            let mut link = Link::open(context.connect()?, &context.hello(Kind::Script)?);
            link.set_deadline(Some(context.deadline()));
            link.welcome()?;
            link.set_deadline(None);
            let mut sender = Sender::new(link, number, room.clone(), args.size);
            let every = match args.rate {
                BenchRate::Max => None,
                BenchRate::PerSecond(rate) => {
                    let rate = rate as f64 / f64::from(args.senders);
                    Some(Duration::from_secs_f64(1.0 / rate))
                }
            };
            let stop = Arc::clone(&stop);
            let run = move || {
                match every {
                    None => sender.send_all(&stop),
                    Some(every) => sender.send_each(&stop, every),
                }?;
                sender.wait_until(0)?;
                sender.link.quit();
                Ok(sender.counter)
            };
            let spawned = std::thread::Builder::new().name("moot-sender".to_owned()).spawn(run);
            threads.push(
                spawned.map_err(|e| {
                    Failure::new(Exit::Failed, format!("can't start a thread: {e}"))
                })?,
            );
        }
        Ok(Self { stop, threads })
    }

    /// Whether one of them has ended before it was to.
    pub(super) fn have_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits until everything that was sent stands; gives how many messages that are.
    pub(super) fn stop(self) -> Result<u64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sent = 0;
        for thread in self.threads {
            let done = thread.join().map_err(|_| Failure::new(Exit::Failed, "a sender failed"))?;
            sent += done?;
        }
        Ok(sent)
    }
}

struct Sender {
    link: Link,
    number: u32,
    room: RoomName,
    counter: u64,
    /// Submitted and not acknowledged.
    open: usize,
    size: usize,
    /// Texts of one submit, one after another.
    texts: Vec<u8>,
}

impl Sender {
    fn new(link: Link, number: u32, room: RoomName, size: usize) -> Self {
        // What fits into one frame, and several frames under way.
        let fit = (FRAME_BYTES_MAX - 512) / (size + LINE_OVERHEAD_BYTES);
        let lines = fit.clamp(1, UNACKED_SUBMITS_MAX / SUBMITS_AHEAD);
        Self { link, number, room, counter: 0, open: 0, size, texts: vec![b'x'; lines * size] }
    }

    fn lines_max(&self) -> usize {
        self.texts.len() / self.size
    }

    /// As fast as it goes.
    fn send_all(&mut self, stop: &AtomicBool) -> Result<(), LinkError> {
        let lines = self.lines_max();
        while !stop.load(Ordering::Relaxed) {
            self.submit(lines)?;
            self.wait_until(UNACKED_SUBMITS_MAX - lines)?;
        }
        Ok(())
    }

    /// One message at a time, at a steady rate; those that are late go together.
    fn send_each(&mut self, stop: &AtomicBool, every: Duration) -> Result<(), LinkError> {
        let began = Instant::now();
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = (began.elapsed().as_secs_f64() / every.as_secs_f64()) as u64 + 1;
            let lines = usize::try_from(due.saturating_sub(sent)).unwrap_or(usize::MAX);
            let lines = lines.min(self.lines_max());
            if lines > 0 {
                self.submit(lines)?;
                self.wait_until(0)?;
                sent += lines as u64;
            }
            let next = began + every.mul_f64(sent as f64);
            // A slow rate is no reason to be late at the end.
            let pause = next.saturating_duration_since(Instant::now());
            std::thread::sleep(pause.min(Duration::from_millis(100)));
        }
        Ok(())
    }

    fn submit(&mut self, lines: usize) -> Result<(), LinkError> {
        let now_us = os::monotonic_us();
        let (number, first) = (self.number, self.counter);
        for (at, text) in self.texts.chunks_exact_mut(self.size).take(lines).enumerate() {
            stamp::put(text, number, (first + at as u64) as u32, now_us);
        }
        let texts = self.texts.chunks_exact(self.size).take(lines);
        // Only digits and `x`.
        let texts = texts.map(|text| str::from_utf8(text).unwrap_or("x"));
        let submit = Submit {
            first: first + 1,
            to: SubmitTo::Room(self.room.clone()),
            to_label: None,
            lines: texts.map(|text| Line { reply_to: None, text }).collect(),
        };
        self.link.queue_submit(&submit);
        self.link.flush()?;
        self.counter += lines as u64;
        self.open += lines;
        Ok(())
    }

    fn wait_until(&mut self, most: usize) -> Result<(), LinkError> {
        while self.open > most {
            match self.link.wait()? {
                Told::Ack(ack) => self.open = self.open.saturating_sub(ack.count as usize),
                Told::Nack { refusal, .. } => return Err(LinkError::Refusal(refusal)),
                Told::Event(Event::Ping) => self.link.pong(),
                Told::Event(_) | Told::Reply(..) | Told::Batch(_) | Told::Status(_) => {}
            }
        }
        Ok(())
    }
}
