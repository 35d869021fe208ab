//! Those who hear: each has a connection of its own, and checks the number of every message.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::Socket;

use super::{
    payload,
    protocol::{Item, Protocol},
};

/// What a receiver reads at once. All receivers of a thread share one buffer, which so stays in the
/// processor's cache.
const READ_BYTES: usize = 256 * 1024;
/// With a thread each, one buffer a receiver.
const OWN_READ_BYTES: usize = 64 * 1024;
const AWAKE_THREADS: usize = 2;
const STACK_BYTES: usize = 128 * 1024;

/// How far a receiver is, for the publisher and the clock. On a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
pub struct Seen {
    pub last: AtomicU64,
    pub received: AtomicU64,
}

/// What receivers have found, summed.
#[derive(Default)]
pub struct Tally {
    pub lost: u64,
    pub disordered: u64,
    /// From sending to having read, of the messages behind the first `untimed`.
    pub latencies_ns: Vec<u64>,
}

/// What is the same for all receivers of a run.
#[derive(Clone, Copy)]
pub struct Task {
    pub size: usize,
    pub own_threads: bool,
    /// Latencies are kept of what has a higher number.
    pub timed_above: u64,
}

/// Runs `publish` while all sockets are read, then closes them.
pub fn hear<P: Protocol, T>(
    sockets: &[Socket],
    seen: &[Seen],
    task: Task,
    publish: impl FnOnce() -> io::Result<T>,
) -> io::Result<(T, Tally)> {
    let per_thread = if task.own_threads { 1 } else { sockets.len().div_ceil(AWAKE_THREADS) };
    std::thread::scope(|scope| {
        // The threads end when their connections do: also if publishing fails or panics.
        let hang_up = HangUp(sockets);
        let mut threads = Vec::new();
        for (sockets, seen) in sockets.chunks(per_thread).zip(seen.chunks(per_thread)) {
            let receivers: Vec<_> = sockets
                .iter()
                .zip(seen)
                .map(|(socket, seen)| Receiver::new(socket, seen))
                .collect();
            let thread =
                std::thread::Builder::new().name("receiver".into()).stack_size(STACK_BYTES);
            threads.push(thread.spawn_scoped(scope, move || {
                if task.own_threads {
                    alone::<P>(receivers, task)
                } else {
                    awake::<P>(receivers, task)
                }
            })?);
        }
        let published = publish();
        drop(hang_up);
        let mut all = Tally::default();
        for thread in threads {
            let tally = thread.join().map_err(|_| io::Error::other("a receiver panicked"))??;
            all.lost += tally.lost;
            all.disordered += tally.disordered;
            all.latencies_ns.extend(tally.latencies_ns);
        }
        Ok((published?, all))
    })
}

struct HangUp<'a>(&'a [Socket]);

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        for socket in self.0 {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// All receivers of a thread, woken together.
fn awake<P: Protocol>(mut receivers: Vec<Receiver<'_>>, task: Task) -> io::Result<Tally> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    for (index, receiver) in receivers.iter().enumerate() {
        receiver.socket.set_nonblocking(true)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        epoll.add(receiver.socket, event)?;
    }
    let mut tally = Tally::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut events = [EpollEvent::empty(); 256];
    let mut open = receivers.len();
    while open > 0 {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::Error::EINTR) => 0,
            count => count?,
        };
        for event in &events[..count] {
            let receiver = &mut receivers[event.data() as usize];
            if !receiver.read::<P>(&mut buffer, task, &mut tally)? {
                epoll.delete(receiver.socket.as_fd())?;
                open -= 1;
            }
        }
    }
    Ok(tally)
}

fn alone<P: Protocol>(receivers: Vec<Receiver<'_>>, task: Task) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut buffer = vec![0; OWN_READ_BYTES];
    for mut receiver in receivers {
        receiver.socket.set_read_timeout(None)?;
        while receiver.read::<P>(&mut buffer, task, &mut tally)? {}
    }
    Ok(tally)
}

struct Receiver<'a> {
    socket: &'a Socket,
    seen: &'a Seen,
    last: u64,
    received: u64,
    /// The start of a message whose end is not here yet.
    rest: Vec<u8>,
}

impl<'a> Receiver<'a> {
    fn new(socket: &'a Socket, seen: &'a Seen) -> Self {
        Self { socket, seen, last: 0, received: 0, rest: Vec::new() }
    }

    /// Reads what is there; false at the end.
    fn read<P: Protocol>(
        &mut self,
        buffer: &mut [u8],
        task: Task,
        tally: &mut Tally,
    ) -> io::Result<bool> {
        let kept = self.rest.len();
        buffer[..kept].copy_from_slice(&self.rest);
        let read = match self.socket.read(&mut buffer[kept..]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            // Whom the server has cut off, lacks what comes after: the publisher counts that.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            read => read?,
        };
        let bytes = &buffer[..kept + read];
        let used = self.take::<P>(bytes, task, tally)?;
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[used..]);
        self.seen.received.store(self.received, Ordering::Release);
        self.seen.last.store(self.last, Ordering::Release);
        Ok(read > 0)
    }

    fn take<P: Protocol>(
        &mut self,
        bytes: &[u8],
        task: Task,
        tally: &mut Tally,
    ) -> io::Result<usize> {
        let (mut at, mut now_ns) = (0, None);
        while let Some((used, item)) = P::next(&bytes[at..])? {
            match item {
                Item::Message(payload) => {
                    if payload.len() != task.size {
                        return Err(io::Error::other("a message of another size"));
                    }
                    self.count(payload::number(payload), tally);
                    if self.last > task.timed_above {
                        let now_ns = *now_ns.get_or_insert_with(payload::now_ns);
                        let sent_ns = payload::sent_ns(payload);
                        tally.latencies_ns.push(now_ns.saturating_sub(sent_ns));
                    }
                }
                // At the end the socket is closed already; whom the server misses, it cuts off.
                Item::Answer(answer) => drop(self.socket.write_all(answer)),
                Item::Other => {}
            }
            at += used;
        }
        Ok(at)
    }

    fn count(&mut self, number: u64, tally: &mut Tally) {
        self.received += 1;
        if number > self.last {
            tally.lost += number - self.last - 1;
            self.last = number;
        } else {
            tally.disordered += 1;
        }
    }
}
