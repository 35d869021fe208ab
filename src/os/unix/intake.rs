//! Input of a client: its session, the groups it receives and wake-ups from its own threads, waited
//! for at once.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{channel::Receiver, stream::Client};
use crate::{
    limits::{DATAGRAM_BYTES_MAX, FRAME_BYTES_MAX},
    os::shared::{Came, Slot, Source},
};

/// Size of a session's send buffer before its last words, bytes.
const LAST_ROOM_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of the buffer that [`Intake::wait`] reads into: a large read, or the longest datagram.
pub const INTAKE_BYTES: usize = FRAME_BYTES_MAX;
const _: () = assert!(INTAKE_BYTES > DATAGRAM_BYTES_MAX);

/// Datagrams taken in one go before the session and the caller have their turn.
const TURN_DATAGRAMS: usize = 32;

/// Wakes a thread that waits: readable once it was raised.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Signal(nix::sys::eventfd::EventFd);

#[cfg(target_os = "linux")]
impl Signal {
    fn new() -> io::Result<Self> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?))
    }

    fn raise(&self) {
        // The counter is full only after almost 2^64 wake-ups without a read.
        let _ = self.0.write(1);
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn clear(&self) {
        let _ = self.0.read();
    }
}

/// Wakes a thread that waits: readable once it was raised.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Signal(std::os::unix::net::UnixStream, std::os::unix::net::UnixStream);

#[cfg(not(target_os = "linux"))]
impl Signal {
    fn new() -> io::Result<Self> {
        let (near, far) = std::os::unix::net::UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok(Self(near, far))
    }

    fn raise(&self) {
        use std::io::Write;
        // If it is full, it has been woken often enough.
        let _ = (&self.1).write(&[0]);
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn clear(&self) {
        use std::io::Read;
        let mut bytes = [0; 64];
        while (&self.0).read(&mut bytes).is_ok_and(|n| n > 0) {}
    }
}

/// Wakes the thread that waits with its [`Woken`].
#[derive(Debug, Clone)]
pub struct Waker(Arc<Signal>);

impl Waker {
    /// Wakes the waiting thread.
    pub fn wake(&self) {
        self.0.raise();
    }
}

/// The end that is woken.
#[derive(Debug)]
pub struct Woken(Arc<Signal>);

impl Woken {
    /// Readable once it was woken.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    /// Resets it, so that it can be woken again.
    pub fn clear(&self) {
        self.0.clear();
    }
}

/// Both ends of a wake-up.
///
/// # Errors
/// If descriptors have run out.
pub fn wake_pair() -> io::Result<(Waker, Woken)> {
    let signal = Arc::new(Signal::new()?);
    Ok((Waker(Arc::clone(&signal)), Woken(signal)))
}

/// Waits for a wake-up, or until the timeout passes, when no session exists.
///
/// # Errors
/// If a system call fails.
pub fn wait_for_wake(woken: Option<&Woken>, timeout: Option<Duration>) -> io::Result<()> {
    let mut fds: Vec<_> =
        woken.map(|woken| PollFd::new(woken.0.fd(), PollFlags::POLLIN)).into_iter().collect();
    match poll(&mut fds, poll_timeout(timeout)) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(e) => return Err(e.into()),
    }
    if let Some(woken) = woken {
        woken.0.clear();
    }
    Ok(())
}

/// Sources that are ready.
#[derive(Debug, Default)]
struct Ready {
    session: bool,
    /// The server has closed the session.
    hung_up: bool,
    /// Positions in `Intake::groups`.
    groups: Vec<usize>,
}

/// A session, and the sockets of the groups that are heard for it.
#[derive(Debug)]
pub struct Intake {
    client: Client,
    source_port: u16,
    groups: Vec<(u32, Receiver)>,
    /// Something could not be written at once.
    blocked: bool,
}

impl Intake {
    /// Takes what comes of a session, and what its server sends from a port.
    ///
    /// # Errors
    /// None on this platform.
    pub fn open(client: Client, source_port: Option<u16>) -> io::Result<Self> {
        let source_port = source_port.unwrap_or(0);
        Ok(Self { client, source_port, groups: Vec::new(), blocked: false })
    }

    /// Name of the mailslot that the server is to write to: none on this platform.
    #[must_use]
    pub fn slot(&self) -> Slot {
        [0; 16]
    }

    /// Joins a stream's group; gives the receive-buffer charge that was granted, bytes.
    ///
    /// # Errors
    /// If a system call fails: then this member is deaf on that stream, and is served by session.
    pub fn join(&mut self, tag: u32, group: [u8; 4], port: u16) -> io::Result<u64> {
        let group = SocketAddrV4::new(Ipv4Addr::from(group), port);
        let receiver = Receiver::open(group, self.source_port)?;
        let granted = receiver.granted_bytes() as u64;
        self.leave(tag);
        self.groups.push((tag, receiver));
        Ok(granted)
    }

    /// Leaves a stream's group.
    pub fn leave(&mut self, tag: u32) {
        self.groups.retain(|(of, _)| *of != tag);
    }

    /// Writes what the socket takes at once, and removes it from `bytes`; the rest is waited for.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn write(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut written = 0;
        self.blocked = false;
        while written < bytes.len() {
            match self.client.try_write(&bytes[written..]) {
                Ok(some) => written += some,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        bytes.drain(..written);
        Ok(())
    }

    /// Makes room for some last bytes beside those that the other end has not read: it may read
    /// nothing for long.
    pub fn make_room(&self) {
        use nix::sys::socket::{setsockopt, sockopt::SndBuf};
        // The system takes its own maximum in place of more, or nothing changes.
        let _ = setsockopt(&self.client.as_fd(), SndBuf, &LAST_ROOM_BYTES);
    }

    /// Waits until input comes, another thread wakes it, pending output can be written, or the
    /// timeout passes; gives the input to `take`. Some of it may be left for the next call.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn wait(
        &mut self,
        woken: Option<&Woken>,
        timeout: Option<Duration>,
        buffer: &mut [u8],
        take: &mut dyn FnMut(Came<'_>),
    ) -> io::Result<()> {
        let ready = self.look(woken, timeout)?;
        self.take_ready(ready, buffer, take)
    }

    /// Takes a datagram, without waiting and without a look at the session: it counts only if that
    /// has not ended ([`Intake::any_ended`]) after it was taken.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        // An error is not a datagram: an earlier one was refused, or none is left.
        self.groups.iter().find_map(|(_, receiver)| receiver.recv(buffer).ok())
    }

    /// Returns true if the server has closed any of these sessions, as one question for all.
    pub fn any_ended<'a>(intakes: impl Iterator<Item = &'a Self>) -> bool {
        // Hang-ups are reported without being asked for.
        let mut fds: Vec<_> =
            intakes.map(|i| PollFd::new(i.client.as_fd(), PollFlags::empty())).collect();
        !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
    }

    /// Takes what is there of the session, without waiting.
    pub fn take_session(&mut self, buffer: &mut [u8], take: &mut dyn FnMut(Came<'_>)) {
        match self.client.try_read(buffer) {
            Ok(0) => take(Came::End),
            Ok(bytes) => take(Came::Session(&buffer[..bytes])),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // Whatever broke it, it is over.
            Err(_) => take(Came::End),
        }
    }

    fn take_ready(
        &mut self,
        mut ready: Ready,
        buffer: &mut [u8],
        take: &mut dyn FnMut(Came<'_>),
    ) -> io::Result<()> {
        let mut taken = 0;
        while !ready.hung_up && taken < TURN_DATAGRAMS {
            let mut next = None;
            for at in ready.groups {
                // An error is not a datagram: an earlier one was refused, or none is left.
                let Ok(bytes) = self.groups[at].1.recv(buffer) else { continue };
                // Once the session has ended, another process may have the server's port. Looked at
                // after the datagram was taken: the session's end comes before the port is free.
                let now = self.look(None, Some(Duration::ZERO))?;
                if now.hung_up {
                    next = Some(now);
                    break;
                }
                take(Came::Datagram(&mut buffer[..bytes]));
                taken += 1;
                next = Some(now);
            }
            match next {
                Some(now) => ready = now,
                None => break,
            }
        }
        if ready.session {
            self.take_session(buffer, take);
        }
        Ok(())
    }

    fn look(&self, woken: Option<&Woken>, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut fds = Vec::with_capacity(self.groups.len() + 2);
        let room = if self.blocked { PollFlags::POLLOUT } else { PollFlags::empty() };
        fds.push(PollFd::new(self.client.as_fd(), PollFlags::POLLIN | room));
        fds.extend(self.groups.iter().map(|(_, r)| PollFd::new(r.as_fd(), PollFlags::POLLIN)));
        fds.extend(woken.map(|woken| PollFd::new(woken.0.fd(), PollFlags::POLLIN)));
        match poll(&mut fds, poll_timeout(timeout)) {
            Ok(0) => return Ok(Ready::default()),
            Ok(_) => {}
            Err(nix::Error::EINTR) => return Ok(Ready::default()),
            Err(e) => return Err(e.into()),
        }
        let flags = |at: usize| fds[at].revents().unwrap_or(PollFlags::empty());
        if let Some(woken) = woken
            && !flags(fds.len() - 1).is_empty()
        {
            woken.0.clear();
        }
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        Ok(Ready {
            session: flags(0).intersects(gone | PollFlags::POLLIN),
            hung_up: flags(0).intersects(gone),
            groups: (0..self.groups.len()).filter(|at| !flags(at + 1).is_empty()).collect(),
        })
    }

    fn fds(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>)> {
        let groups = self.groups.iter().map(|(_, r)| (Source::Channel, r.as_fd()));
        std::iter::once((Source::Session, self.client.as_fd())).chain(groups)
    }
}

/// Rounded up: a caller that waits for a time must not find that it has not come yet.
fn poll_timeout(timeout: Option<Duration>) -> PollTimeout {
    timeout.map_or(PollTimeout::NONE, |time| {
        i32::try_from(time.as_micros().div_ceil(1000))
            .ok()
            .and_then(|ms| PollTimeout::try_from(ms).ok())
            .unwrap_or(PollTimeout::MAX)
    })
}

/// Waits for many intakes at once.
#[derive(Debug)]
pub struct Poller(Watched);

#[cfg(target_os = "linux")]
type Watched = nix::sys::epoll::Epoll;

#[cfg(target_os = "linux")]
impl Poller {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn new() -> io::Result<Self> {
        use nix::sys::epoll::{Epoll, EpollCreateFlags};
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Watches an intake under a number; once more when it has joined a group.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn watch(&mut self, number: usize, intake: &Intake) -> io::Result<()> {
        use nix::sys::epoll::{EpollEvent, EpollFlags};
        for (source, fd) in intake.fds() {
            let data = (number as u64) << 1 | u64::from(source == Source::Channel);
            match self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, data)) {
                // It is watched already; what was closed is not watched any more.
                Ok(()) | Err(nix::Error::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Waits until some of them have something; gives their numbers, and what has something.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<(usize, Source)>) -> io::Result<()> {
        use nix::sys::epoll::{EpollEvent, EpollTimeout};
        ready.clear();
        let ms = u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX);
        let mut events = [EpollEvent::empty(); 256];
        match self.0.wait(&mut events, EpollTimeout::from(ms)) {
            Ok(count) => ready.extend(events[..count].iter().map(|event| {
                let source = if event.data() & 1 == 1 { Source::Channel } else { Source::Session };
                ((event.data() >> 1) as usize, source)
            })),
            Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
type Watched = Vec<(usize, Vec<(Source, std::os::fd::OwnedFd)>)>;

#[cfg(not(target_os = "linux"))]
impl Poller {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// None on this platform.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Vec::new()))
    }

    /// Watches an intake under a number; once more when it has joined a group.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn watch(&mut self, number: usize, intake: &Intake) -> io::Result<()> {
        self.0.retain(|(of, _)| *of != number);
        let own = |(source, fd): (_, BorrowedFd<'_>)| Ok((source, fd.try_clone_to_owned()?));
        let fds = intake.fds().map(own).collect::<io::Result<_>>()?;
        self.0.push((number, fds));
        Ok(())
    }

    /// Waits until some of them have something; gives their numbers, and what has something.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<(usize, Source)>) -> io::Result<()> {
        ready.clear();
        let all =
            || self.0.iter().flat_map(|(number, fds)| fds.iter().map(move |fd| (*number, fd)));
        let mut fds: Vec<_> =
            all().map(|(_, (_, fd))| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut fds, poll_timeout(Some(timeout))) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        let hits = all().zip(&fds).filter(|(_, fd)| is_ready(fd));
        ready.extend(hits.map(|((number, (source, _)), _)| (number, *source)));
        Ok(())
    }
}
