//! One run against one peer: receivers, publisher and clock.

use std::{
    fmt, io,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{
    protocol::Protocol,
    publisher::{Publisher, slowest},
    receivers::{Seen, Task, hear},
    sample::{Measured, Run, quantile},
    server::Server,
};

const WARM_UP: Duration = Duration::from_millis(400);
/// Without progress for so long, what is missing is lost.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// What may be on its way: as many messages as fill `bytes`, but not more than so many that the
/// server has to write `deliveries` of them, which bounds what a slow server has queued.
#[derive(Clone, Copy)]
pub struct Window {
    pub bytes: usize,
    pub deliveries: usize,
}

impl Window {
    pub fn messages(self, run: &Run) -> u64 {
        let messages = (self.bytes / run.size).min(self.deliveries / run.members);
        run.window.unwrap_or_else(|| messages.max(4) as u64)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, deliveries } = self;
        write!(f, "at most {} KiB, or {deliveries} deliveries, on their way", bytes / 1024)
    }
}

pub fn measure<P: Protocol>(server: &Server, run: &Run, window: Window) -> io::Result<Measured> {
    let memory_bytes = || io::Result::Ok(server.process.usage()?.memory_bytes.unwrap_or(0));
    let empty_bytes = memory_bytes()?;
    let publisher = server.address.connect()?;
    P::open(&publisher)?;
    let subscribed = |number| {
        let socket = server.address.connect()?;
        P::subscribe(&socket, number)?;
        io::Result::Ok(socket)
    };
    let sockets = (0..run.members).map(subscribed).collect::<io::Result<Vec<_>>>()?;
    let idle_bytes = memory_bytes()?;
    let seen: Vec<Seen> = std::iter::repeat_with(Seen::default).take(run.members).collect();
    // Of a paced run the first messages warm up.
    let timed_above = match run.rate {
        Some(rate) => (f64::from(rate) * WARM_UP.as_secs_f64()) as u64,
        None => u64::MAX,
    };
    let task = Task { size: run.size, own_threads: run.own_threads, timed_above };
    let publisher = Publisher::new::<P>(&publisher, &seen, run.size, window.messages(run));
    let publish = || timed::<P>(server, publisher, &seen, run);
    let (passed, mut tally) = hear::<P, _>(&sockets, &seen, task, publish)?;
    let missing: u64 = seen.iter().map(|s| passed.sent - s.last.load(Ordering::Acquire)).sum();
    let timed = !tally.latencies_ns.is_empty();
    let mut latency_us = |part| timed.then(|| quantile(&mut tally.latencies_ns, part) as f64 / 1e3);
    Ok(Measured {
        messages_per_s: passed.deliveries as f64 / run.members as f64 / passed.seconds,
        deliveries: passed.deliveries,
        p50_us: latency_us(0.5),
        p99_us: latency_us(0.99),
        lost: tally.lost + missing,
        disordered: tally.disordered,
        server_cpu_us_per_delivery: Some(passed.cpu_us as f64 / passed.deliveries.max(1) as f64),
        server_memory_per_member_bytes: Some(
            idle_bytes.saturating_sub(empty_bytes) as f64 / run.members as f64,
        ),
    })
}

/// What has happened between warm-up and end.
struct Passed {
    sent: u64,
    seconds: f64,
    deliveries: u64,
    cpu_us: u64,
}

fn timed<P: Protocol>(
    server: &Server,
    publisher: Publisher<'_>,
    seen: &[Seen],
    run: &Run,
) -> io::Result<Passed> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publish = || match run.rate {
            None => publisher.flood::<P>(&stop),
            Some(rate) => publisher.at_rate::<P>(rate, &stop),
        };
        let publishing = std::thread::Builder::new().name("publisher".into());
        let publishing = publishing.spawn_scoped(scope, publish)?;
        std::thread::sleep(WARM_UP);
        let start = Mark::now(server, seen);
        std::thread::sleep(run.length);
        let end = Mark::now(server, seen);
        stop.store(true, Ordering::Relaxed);
        let sent = publishing.join().map_err(|_| io::Error::other("the publisher panicked"))??;
        wait_for(seen, sent);
        let (start, end) = (start?, end?);
        Ok(Passed {
            sent,
            seconds: (end.at - start.at).as_secs_f64(),
            deliveries: end.received - start.received,
            cpu_us: end.cpu_us - start.cpu_us,
        })
    })
}

struct Mark {
    at: Instant,
    received: u64,
    cpu_us: u64,
}

impl Mark {
    fn now(server: &Server, seen: &[Seen]) -> io::Result<Self> {
        let received = seen.iter().map(|seen| seen.received.load(Ordering::Acquire)).sum();
        Ok(Self { at: Instant::now(), received, cpu_us: server.process.usage()?.cpu_us })
    }
}

/// Until everybody has everything, or nothing comes any more.
fn wait_for(seen: &[Seen], sent: u64) {
    let (mut reached, mut since) = (slowest(seen), Instant::now());
    while reached < sent && since.elapsed() < GIVEN_UP {
        std::thread::sleep(Duration::from_millis(1));
        let now = slowest(seen);
        if now > reached {
            (reached, since) = (now, Instant::now());
        }
    }
}
