//! The one who publishes: many messages a write, never more than a window ahead of the slowest
//! receiver; or one message at a time, at a modest rate.

use std::{
    io::{self, Write},
    ops::Range,
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use nix::sys::socket::{MsgFlags, recv};
use socket2::Socket;

use super::{
    payload,
    protocol::{Item, Protocol},
    receivers::Seen,
};

/// Of one write.
const BATCH_BYTES: usize = 64 * 1024;
/// How long to wait for receivers before looking again.
const PAUSE: Duration = Duration::from_micros(50);
/// Servers ask now and then whether their client is there.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

pub struct Publisher<'a> {
    socket: &'a Socket,
    seen: &'a [Seen],
    batch: Batch,
    window: u64,
    sent: u64,
    /// What the slowest receiver had when somebody looked last.
    reached: u64,
    listened: Instant,
}

impl<'a> Publisher<'a> {
    pub fn new<P: Protocol>(
        socket: &'a Socket,
        seen: &'a [Seen],
        size: usize,
        window: u64,
    ) -> Self {
        let batch = Batch::new::<P>(size);
        Self { socket, seen, batch, window, sent: 0, reached: 0, listened: Instant::now() }
    }

    /// As fast as the window lets it; gives the number of messages.
    pub fn flood<P: Protocol>(mut self, stop: &AtomicBool) -> io::Result<u64> {
        // Many at once also when the window opens message by message.
        let least = (self.batch.count as u64).min(self.window.div_ceil(2));
        while !stop.load(Ordering::Relaxed) {
            let open = self.open(least);
            if open < least {
                self.listen::<P>()?;
                std::thread::sleep(PAUSE);
                continue;
            }
            self.publish::<P>(open.min(self.batch.count as u64))?;
        }
        Ok(self.sent)
    }

    /// One at a time; gives the number of messages.
    pub fn at_rate<P: Protocol>(mut self, rate: u32, stop: &AtomicBool) -> io::Result<u64> {
        let every = Duration::from_secs(1) / rate;
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += every;
            if self.open(1) >= 1 {
                self.publish::<P>(1)?;
            }
        }
        Ok(self.sent)
    }

    /// How many may be sent; receivers are looked at only if it is fewer than `least`.
    fn open(&mut self, least: u64) -> u64 {
        let ahead = self.sent - self.reached;
        if self.window - ahead >= least {
            return self.window - ahead;
        }
        self.reached = slowest(self.seen);
        self.window - (self.sent - self.reached)
    }

    fn publish<P: Protocol>(&mut self, count: u64) -> io::Result<()> {
        let bytes = self.batch.stamped(self.sent + 1, count as usize);
        let mut socket = self.socket;
        socket.write_all(bytes)?;
        self.sent += count;
        if self.listened.elapsed() > LISTEN_EVERY { self.listen::<P>() } else { Ok(()) }
    }

    fn listen<P: Protocol>(&mut self) -> io::Result<()> {
        self.listened = Instant::now();
        let mut buffer = [0; 4096];
        let heard = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Err(nix::Error::EAGAIN) => return Ok(()),
            heard => heard?,
        };
        let mut at = 0;
        // These are lines that come whole.
        while let Some((used, item)) = P::next(&buffer[at..heard])? {
            if let Item::Answer(answer) = item {
                let mut socket = self.socket;
                socket.write_all(answer)?;
            }
            at += used;
        }
        Ok(())
    }
}

pub fn slowest(seen: &[Seen]) -> u64 {
    seen.iter().map(|seen| seen.last.load(Ordering::Acquire)).min().unwrap_or(0)
}

/// As many frames as go into one write, built once: from then on only numbers and times change.
struct Batch {
    bytes: Vec<u8>,
    frame_bytes: usize,
    payload: Range<usize>,
    count: usize,
}

impl Batch {
    fn new<P: Protocol>(size: usize) -> Self {
        let (before, after) = P::around(size);
        let frame = [before.as_slice(), &vec![b'x'; size], &after].concat();
        let count = (BATCH_BYTES / frame.len()).max(1);
        Self {
            bytes: frame.repeat(count),
            frame_bytes: frame.len(),
            payload: before.len()..before.len() + size,
            count,
        }
    }

    fn stamped(&mut self, first: u64, count: usize) -> &[u8] {
        let sent_ns = payload::now_ns();
        let bytes = &mut self.bytes[..count * self.frame_bytes];
        for (number, frame) in (first..).zip(bytes.chunks_exact_mut(self.frame_bytes)) {
            payload::write(&mut frame[self.payload.clone()], number, sent_ns);
        }
        bytes
    }
}
