//! Sessions of any user as plain bytes: many from one thread, written and read without a pause.

use std::{
    io::{ErrorKind, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use moot::{
    chat::{
        frames::{Destination, Frame, Line, Report, Submit},
        member::Kind as MemberKind,
        names::{Label, RoomName},
        refusal::Refusal,
        reply::{Reply, StreamInfo},
        request::{Begin, Follow, Request},
        stream_id::StreamId,
    },
    wire::{
        control,
        frame::{self, Kind},
        hello::{self, Hello},
        server_frame::ServerFrame,
    },
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A server that has not answered by then hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Handshakes that one user may have unfinished, with some to spare.
const HANDSHAKES_AT_ONCE: usize = 32;
/// Requests that are written before the first reply is read.
const QUESTIONS_AT_ONCE: usize = 64;

/// Runs `act` as another user, in this thread alone: the peer of a connection is the user of the thread that connects.
pub fn as_user<T>(uid: u32, act: impl FnOnce() -> T) -> T {
    struct Back;

    impl Drop for Back {
        fn drop(&mut self) {
            set_effective_user(0);
        }
    }

    set_effective_user(uid);
    let _back = Back;
    act()
}

/// Changes the effective user id of this thread. Functions of the C library change it for all threads.
fn set_effective_user(uid: u32) {
    let unchanged = u32::MAX;
    // SAFETY: the system call takes three numbers and touches no memory of this process.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, unchanged, uid, unchanged) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Connects as a user; none if the server does not take the connection.
pub fn connect(socket: &Path, uid: u32) -> Option<UnixStream> {
    as_user(uid, || UnixStream::connect(socket)).ok()
}

/// Returns the frame of a request.
pub fn request(request: &Request) -> Vec<u8> {
    bytes_of(|to| control::put_request(to, 1, request))
}

/// Returns the frame of a report.
pub fn report(stream: StreamId, delivered: u64) -> Vec<u8> {
    let report = Report { stream, delivered, by_broadcast: delivered, datagrams: delivered };
    bytes_of(|to| control::put_report(to, &report))
}

/// Returns the frame of a submit of texts under consecutive counters.
pub fn submit(first: u64, to: Destination, texts: &[&str]) -> Vec<u8> {
    let lines = texts
        .iter()
        .map(|text| Line { reply_to: None, text: (*text).try_into().unwrap() })
        .collect();
    bytes_of(|bytes| control::put_submit(bytes, &Submit { first, to, to_label: None, lines }))
}

/// Returns what a function appends.
pub fn bytes_of(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes);
    bytes
}

pub fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

/// Returns a request to join a room, from now on.
pub fn join(name: &str, membership: bool) -> Request {
    let (follow, begin) = (Follow::Room(room(name)), Begin::Now);
    Request::Join { follow, begin, membership, keep: false }
}

/// One session of a hostile user.
pub struct Raw {
    stream: UnixStream,
    /// Bytes that came and were not read yet.
    input: Vec<u8>,
    /// Returns false once the server has ended the session.
    pub alive: bool,
}

impl Raw {
    /// Opens sessions of a user, until there are as many or the server takes no more of them.
    pub fn open_all(socket: &Path, uid: u32, kind: MemberKind, count: usize) -> Vec<Self> {
        let (mut all, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while all.len() < count && Instant::now() < deadline {
            let some = HANDSHAKES_AT_ONCE.min(count - all.len());
            let begun: Vec<_> =
                (0..some).filter_map(|_| Self::begin(socket, uid, kind, None)).collect();
            for answer in begun.into_iter().map(Self::welcomed) {
                match answer {
                    Ok(raw) => all.push(raw),
                    Err(why) if is_for_now(&why) => std::thread::sleep(Duration::from_millis(5)),
                    Err(_) => return all,
                }
            }
        }
        all
    }

    /// Opens one session.
    pub fn open(socket: &Path, uid: u32, label: Option<&str>) -> Self {
        let mut opened = None;
        until(Instant::now() + PATIENCE, || {
            let label = label.map(|label| Label::new(label).unwrap());
            let begun = Self::begin(socket, uid, MemberKind::Script, label);
            opened = begun.and_then(|raw| raw.welcomed().ok());
            opened.is_some()
        });
        opened.expect("a session")
    }

    fn begin(socket: &Path, uid: u32, kind: MemberKind, label: Option<Label>) -> Option<Self> {
        static INSTANCES: AtomicU64 = AtomicU64::new(1);
        let mut instance = [uid as u8; 16];
        instance[..8].copy_from_slice(&INSTANCES.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let stream = connect(socket, uid)?;
        stream.set_nonblocking(true).unwrap();
        let mut raw = Self { stream, input: Vec::new(), alive: true };
        let hello = Hello::new(label, kind, instance);
        raw.write(&bytes_of(|to| frame::put(to, Kind::Hello, |body| hello::put(body, &hello))));
        Some(raw)
    }

    /// Waits for the answer to the handshake.
    fn welcomed(mut self) -> Result<Self, String> {
        match self.next_frame() {
            Some((Kind::Welcome, _)) => Ok(self),
            Some((_, body)) => Err(String::from_utf8_lossy(&body).into_owned()),
            None => Err(String::new()),
        }
    }

    /// Waits until the session can be read or written; it ends if the server hangs.
    fn wait(&mut self, flags: PollFlags) {
        let mut fds = [PollFd::new(self.stream.as_fd(), flags)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        self.alive &= poll(&mut fds, patience).is_ok_and(|ready| ready > 0);
    }

    /// Writes all of it, and keeps what comes meanwhile.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while self.alive && !bytes.is_empty() {
            let written = self.push(bytes);
            bytes = &bytes[written..];
            if written == 0 && self.fill() == 0 && self.alive {
                self.wait(PollFlags::POLLOUT | PollFlags::POLLIN);
            }
        }
    }

    /// Writes what the socket takes at once; returns how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        match (&self.stream).write(bytes) {
            Ok(written) => written,
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.alive = false;
                0
            }
        }
    }

    /// Reads once; returns the number of bytes.
    fn fill(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        match (&self.stream).read(&mut buffer) {
            Ok(0) => {
                self.alive = false;
                0
            }
            Ok(bytes) => {
                self.input.extend_from_slice(&buffer[..bytes]);
                bytes
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.alive = false;
                0
            }
        }
    }

    /// Reads all that came, and forgets it.
    pub fn drain(&mut self) {
        while self.fill() > 0 {
            self.input.clear();
        }
        self.input.clear();
    }

    /// Reads all that came; returns the whole frames of it.
    pub fn take_frames(&mut self) -> Vec<(Kind, Vec<u8>)> {
        while self.fill() > 0 {}
        let (mut frames, mut taken) = (Vec::new(), 0);
        while let Ok(Some(parsed)) = frame::parse(&self.input[taken..]) {
            frames.push((parsed.kind, parsed.body.to_vec()));
            taken += parsed.bytes;
        }
        self.input.drain(..taken);
        frames
    }

    /// Waits for the next frame; none once the session has ended.
    pub fn next_frame(&mut self) -> Option<(Kind, Vec<u8>)> {
        loop {
            if let Some(parsed) = frame::parse(&self.input).ok()? {
                let found = (parsed.kind, parsed.body.to_vec());
                let taken = parsed.bytes;
                self.input.drain(..taken);
                return Some(found);
            }
            if self.fill() == 0 {
                if !self.alive {
                    return None;
                }
                self.wait(PollFlags::POLLIN);
            }
        }
    }

    /// Waits for the next reply; none once the session has ended.
    pub fn reply(&mut self) -> Option<Result<Reply, Refusal>> {
        loop {
            let (kind, body) = self.next_frame()?;
            if let Ok(ServerFrame::Session(Frame::Reply { result, .. })) =
                ServerFrame::read(kind, &body)
            {
                return Some(result);
            }
        }
    }

    /// Asks all of these, with many on their way at a time; returns the replies.
    pub fn ask_all(&mut self, requests: &[Request]) -> Vec<Result<Reply, Refusal>> {
        let mut replies = Vec::new();
        for some in requests.chunks(QUESTIONS_AT_ONCE) {
            self.write(&some.iter().flat_map(request).collect::<Vec<_>>());
            replies.extend(some.iter().map_while(|_| self.reply()));
        }
        replies
    }

    pub fn ask(&mut self, request: &Request) -> Option<Result<Reply, Refusal>> {
        self.ask_all(std::slice::from_ref(request)).pop()
    }

    /// Joins a room; none if that was refused.
    pub fn join(&mut self, name: &str, membership: bool) -> Option<StreamInfo> {
        match self.ask(&join(name, membership))? {
            Ok(Reply::Joined(mut infos)) => infos.pop(),
            _ => None,
        }
    }

    /// Submits texts to a room, each in a frame of its own, and waits until each was acknowledged or refused.
    pub fn submit_all(&mut self, to: &Destination, first: u64, text: &str, count: u64) {
        /// Texts that are on their way at a time.
        const AT_ONCE: u64 = 64;
        let mut open = 0;
        for counter in first..first + count {
            self.write(&submit(counter, to.clone(), &[text]));
            open += 1;
            while open >= AT_ONCE || (open > 0 && counter + 1 == first + count) {
                let Some(answered) = self.answered() else { return };
                open = open.saturating_sub(answered);
            }
        }
    }

    /// Waits for an acknowledgement or a refusal; returns how many texts it is for.
    fn answered(&mut self) -> Option<u64> {
        loop {
            let (kind, body) = self.next_frame()?;
            let Ok(ServerFrame::Session(frame)) = ServerFrame::read(kind, &body) else { continue };
            match frame {
                Frame::Ack(ack) => return Some(ack.count.into()),
                Frame::Nack { count, .. } => return Some(count.into()),
                Frame::Reply { .. } | Frame::Event(_) => {}
            }
        }
    }

    /// Waits until the server has ended the session.
    pub fn until_ended(&mut self) {
        while self.alive {
            self.input.clear();
            if self.fill() == 0 && self.alive {
                self.wait(PollFlags::POLLIN);
            }
        }
    }
}

/// Frames that are written again and again to some sessions, as fast as their sockets take them.
pub struct Flood(Vec<(Raw, Vec<u8>, usize)>);

impl Flood {
    /// Floods each session with frames of its own.
    pub fn new(sessions: impl IntoIterator<Item = (Raw, Vec<u8>)>) -> Self {
        // Few system calls: each write is as large as a socket takes.
        let often = |(raw, frames): (Raw, Vec<u8>)| {
            let times = (64 * 1024 / frames.len()).max(1);
            (raw, frames.repeat(times), 0)
        };
        Self(sessions.into_iter().map(often).collect())
    }

    /// Writes to each session what it takes, and reads; returns false once the server has ended all of them.
    pub fn pass(&mut self) -> bool {
        let mut idle = true;
        for (raw, frames, sent) in &mut self.0 {
            let written = raw.push(&frames[*sent..]);
            idle &= written == 0;
            *sent = (*sent + written) % frames.len();
            raw.drain();
        }
        self.0.retain(|(raw, ..)| raw.alive);
        if idle {
            let flags = PollFlags::POLLOUT | PollFlags::POLLIN;
            let fds = self.0.iter().map(|(raw, ..)| PollFd::new(raw.stream.as_fd(), flags));
            let mut fds: Vec<_> = fds.collect();
            let _ = poll(&mut fds, PollTimeout::from(20_u8));
        }
        !self.0.is_empty()
    }
}

/// Returns true if the server only wants fewer connections at a time.
fn is_for_now(refusal: &str) -> bool {
    ["too often", "unfinished handshakes"].iter().any(|why| refusal.contains(why))
}

/// Waits until something holds.
fn until(deadline: Instant, mut holds: impl FnMut() -> bool) -> bool {
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    true
}
