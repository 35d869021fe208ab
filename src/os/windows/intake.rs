//! Input of a client: its session, its mailslot and wake-ups from its own threads, waited for at
//! once.
//!
//! Two threads read, one the session, one the mailslot, and hand what they read to the owner's
//! thread over bounded channels.

use std::{
    io, ops::ControlFlow, os::windows::io::AsRawHandle, ptr::null_mut, sync::Arc,
    thread::JoinHandle, time::Duration,
};

use crossbeam_channel::{Receiver, Select, Sender, bounded, never, select};
use windows_sys::Win32::System::Pipes::PeekNamedPipe;

use super::{channel::Hearing, stream::Client};
use crate::{
    limits::{DATAGRAM_BYTES_MAX, FRAME_BYTES_MAX},
    os::shared::{Came, Slot, Source},
};

/// Bytes of the buffer that [`Intake::wait`] is given; what the threads read is handed over in it.
pub const INTAKE_BYTES: usize = DATAGRAM_BYTES_MAX;

/// Reads of the session, and datagrams, that the threads may be ahead. Above, the pipe fills; what
/// a mailslot holds has no bound of its own, but the server keeps count.
const AHEAD: usize = 64;
/// Maximum number of items taken in one go before the caller has its turn.
const TURN: usize = 32;

/// Wakes the thread that waits with its [`Woken`].
#[derive(Debug, Clone)]
pub struct Waker(Sender<()>);

impl Waker {
    /// Wakes the waiting thread.
    pub fn wake(&self) {
        // If it is full, it is about to wake.
        let _ = self.0.try_send(());
    }
}

/// The end that is woken.
#[derive(Debug)]
pub struct Woken(Receiver<()>);

/// Both ends of a wake-up.
///
/// # Errors
/// None on this platform.
pub fn wake_pair() -> io::Result<(Waker, Woken)> {
    let (wake, woken) = bounded(1);
    Ok((Waker(wake), Woken(woken)))
}

/// Waits for a wake-up, or until the timeout passes, when no session exists.
///
/// # Errors
/// None on this platform.
pub fn wait_for_wake(woken: Option<&Woken>, timeout: Option<Duration>) -> io::Result<()> {
    let nobody = never();
    let woken = woken.map_or(&nobody, |woken| &woken.0);
    // Both have the same effect: the caller looks again.
    let _ = woken.recv_timeout(timeout.unwrap_or(Duration::from_secs(3600)));
    Ok(())
}

/// A session, and the mailslot that is heard for it.
#[derive(Debug)]
pub struct Intake {
    client: Arc<Client>,
    /// None: it is served by session alone.
    hearing: Option<Arc<Hearing>>,
    session: Receiver<Vec<u8>>,
    heard: Option<Receiver<Vec<u8>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Intake {
    /// Takes what comes of a session, and by a mailslot if the server has a channel.
    ///
    /// # Errors
    /// If threads have run out.
    pub fn open(client: Client, source_port: Option<u16>) -> io::Result<Self> {
        // What is read now may be long in coming.
        client.set_read_timeout(None)?;
        client.set_write_timeout(None)?;
        let client = Arc::new(client);
        let (to_owner, session) = bounded(AHEAD);
        let of_thread = Arc::clone(&client);
        let reader = std::thread::Builder::new()
            .name("moot-session".to_owned())
            .spawn(move || read(&of_thread, &to_owner))?;
        let mut intake =
            Self { client, hearing: None, session, heard: None, threads: vec![reader] };
        // A client without a mailslot is served by session.
        if let Some(hearing) = source_port.and_then(|_| Hearing::open().ok()).map(Arc::new) {
            let (to_owner, heard) = bounded(AHEAD);
            let of_thread = (Arc::clone(&hearing), Arc::clone(&intake.client));
            intake.threads.push(
                std::thread::Builder::new()
                    .name("moot-broadcast".to_owned())
                    .spawn(move || hear(&of_thread.0, &of_thread.1, &to_owner))?,
            );
            intake.heard = Some(heard);
            intake.hearing = Some(hearing);
        }
        Ok(intake)
    }

    /// Name of the mailslot that the server is to write to.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.hearing.as_ref().map_or([0; 16], |hearing| hearing.slot())
    }

    /// Hears a stream; gives how many bytes may be under way.
    ///
    /// # Errors
    /// If it has no mailslot.
    pub fn join(&mut self, _tag: u32, _group: [u8; 4], _port: u16) -> io::Result<u64> {
        match &self.hearing {
            Some(hearing) => Ok(hearing.granted_bytes()),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Does nothing: input for a stream that was left is ignored.
    pub fn leave(&mut self, _tag: u32) {}

    /// Writes all bytes, and removes them from `bytes`. The reading thread goes on meanwhile.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn write(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let done = self.client.write_all(bytes);
        bytes.clear();
        done
    }

    /// Nothing to do: a write waits for its room.
    pub fn make_room(&self) {}

    /// Waits until input comes, another thread wakes it or the timeout passes; gives the input to
    /// `take`. Some of it may be left for the next call.
    ///
    /// # Errors
    /// None on this platform.
    pub fn wait(
        &mut self,
        woken: Option<&Woken>,
        timeout: Option<Duration>,
        _buffer: &mut [u8],
        take: &mut dyn FnMut(Came<'_>),
    ) -> io::Result<()> {
        let (nobody, nothing) = (never(), never());
        let woken = woken.map_or(&nobody, |woken| &woken.0);
        let heard = self.heard.as_ref().unwrap_or(&nothing);
        let wait = timeout.unwrap_or(Duration::from_secs(3600));
        select! {
            recv(self.session) -> bytes => give(bytes.ok(), take),
            recv(heard) -> datagram => {
                let Ok(mut datagram) = datagram else {
                    // The channel is no longer received; the session brings everything.
                    self.heard = None;
                    return Ok(());
                };
                take(Came::Datagram(&mut datagram));
            }
            recv(woken) -> _ => {}
            default(wait) => return Ok(()),
        }
        self.take_all(take);
        Ok(())
    }

    /// Takes some of what is there, without waiting.
    fn take_all(&mut self, take: &mut dyn FnMut(Came<'_>)) {
        for _ in 0..TURN {
            if let Some(mut datagram) = self.heard.as_ref().and_then(|h| h.try_recv().ok()) {
                take(Came::Datagram(&mut datagram));
            } else if let Ok(bytes) = self.session.try_recv() {
                give(Some(bytes), take);
            } else {
                break;
            }
        }
    }

    /// Takes a datagram, without waiting.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let datagram = self.heard.as_ref()?.try_recv().ok()?;
        buffer.get_mut(..datagram.len())?.copy_from_slice(&datagram);
        Some(datagram.len())
    }

    /// Returns true if the server has closed any of these sessions: that was asked when the
    /// datagram was taken.
    pub fn any_ended<'a>(_intakes: impl Iterator<Item = &'a Self>) -> bool {
        false
    }

    /// Takes what is there of the session, without waiting.
    pub fn take_session(&mut self, _buffer: &mut [u8], take: &mut dyn FnMut(Came<'_>)) {
        match self.session.try_recv() {
            Ok(bytes) => give(Some(bytes), take),
            Err(e) if e.is_disconnected() => give(None, take),
            Err(_) => {}
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if let Some(hearing) = &self.hearing {
            hearing.end();
        }
        self.client.shut_down();
        // The threads may wait for room: take what is there until they are gone.
        while self.session.recv().is_ok() {}
        if let Some(heard) = &self.heard {
            while heard.recv().is_ok() {}
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn give(bytes: Option<Vec<u8>>, take: &mut dyn FnMut(Came<'_>)) {
    match bytes {
        Some(bytes) => take(Came::Session(&bytes)),
        None => take(Came::End),
    }
}

fn read(client: &Client, to_owner: &Sender<Vec<u8>>) {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    while let Ok(bytes) = client.read(&mut buffer)
        && bytes > 0
    {
        if to_owner.send(buffer[..bytes].to_vec()).is_err() {
            return;
        }
    }
}

fn hear(hearing: &Hearing, client: &Client, to_owner: &Sender<Vec<u8>>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
    hearing.run(&mut buffer, |datagram| {
        // Once the session has ended, any process that learned the mailslot's name may fill it.
        if has_ended(client) || to_owner.send(datagram.to_vec()).is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
}

/// Returns true if the other end of a session has closed it.
fn has_ended(client: &Client) -> bool {
    let pipe = client.handle().as_raw_handle();
    // SAFETY: the handle is open as long as the client lives; nothing is to be written.
    let there = unsafe { PeekNamedPipe(pipe, null_mut(), 0, null_mut(), null_mut(), null_mut()) };
    there == 0
}

/// Sources of one watched intake.
#[derive(Debug)]
struct Watched {
    number: usize,
    session: Receiver<Vec<u8>>,
    heard: Option<Receiver<Vec<u8>>>,
}

impl Watched {
    fn sources(&self) -> impl Iterator<Item = &Receiver<Vec<u8>>> {
        std::iter::once(&self.session).chain(&self.heard)
    }
}

/// Waits for many intakes at once.
#[derive(Debug, Default)]
pub struct Poller(Vec<Watched>);

impl Poller {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// None on this platform.
    pub fn new() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// Watches an intake under a number.
    ///
    /// # Errors
    /// None on this platform.
    pub fn watch(&mut self, number: usize, intake: &Intake) -> io::Result<()> {
        let (session, heard) = (intake.session.clone(), intake.heard.clone());
        self.0.retain(|watched| watched.number != number);
        self.0.push(Watched { number, session, heard });
        Ok(())
    }

    /// Waits until some of them have something; gives their numbers, and what has something.
    ///
    /// # Errors
    /// None on this platform.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<(usize, Source)>) -> io::Result<()> {
        ready.clear();
        let mut select = Select::new();
        for source in self.0.iter().flat_map(Watched::sources) {
            select.recv(source);
        }
        // What ended is ready as well.
        let Ok(first) = select.ready_timeout(timeout) else { return Ok(()) };
        let mut at = 0;
        for watched in &self.0 {
            for (source, receiver) in
                [Source::Session, Source::Channel].iter().zip(watched.sources())
            {
                if at == first || !receiver.is_empty() {
                    ready.push((watched.number, *source));
                }
                at += 1;
            }
        }
        Ok(())
    }
}
