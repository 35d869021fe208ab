//! A member's end of the channel: one thread that hears all its streams' groups.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver as ChannelReceiver, Sender as ChannelSender, bounded};

use super::seal::{Key, Opener};
use crate::{
    limits::DATAGRAM_BYTES_MAX,
    os::{self, HangUp, Receiver, Waker},
};

/// Bodies that the thread may be ahead of its owner. Above, the kernel's buffer fills, and what it
/// drops is repaired.
const AHEAD_BODIES: usize = 64;
/// Datagrams taken from one socket before the others have their turn.
const TURN_DATAGRAMS: usize = 32;

type Sockets = HashMap<u32, Arc<Receiver>>;

struct Shared {
    /// None once it is to end: the sockets go first of all, since the port they are tied to may soon be
    /// somebody else's.
    sockets: Mutex<Option<Sockets>>,
    waker: Waker,
}

impl Shared {
    fn sockets(&self) -> MutexGuard<'_, Option<Sockets>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears the groups of a member's streams and hands on what the server sealed.
pub struct Ears {
    shared: Arc<Shared>,
    heard: ChannelReceiver<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
    source_port: u16,
}

impl std::fmt::Debug for Ears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ears").field("source_port", &self.source_port).finish_non_exhaustive()
    }
}

impl Ears {
    /// Begins to listen with a key that came over the session, for as long as that session stands.
    ///
    /// # Errors
    /// From the system.
    pub fn open(
        number: u32,
        key: &Key,
        run: u32,
        source_port: u16,
        session: HangUp,
    ) -> io::Result<Self> {
        let sockets = Mutex::new(Some(HashMap::new()));
        let shared = Arc::new(Shared { sockets, waker: Waker::new()? });
        let (to_owner, heard) = bounded(AHEAD_BODIES);
        let opener = Opener::new(number, key, run);
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("moot-broadcast".to_owned())
            .spawn(move || hear(&of_thread, &opener, &session, &to_owner))?;
        Ok(Self { shared, heard, thread: Some(thread), source_port })
    }

    /// Bodies as they come, opened.
    #[must_use]
    pub fn heard(&self) -> &ChannelReceiver<Vec<u8>> {
        &self.heard
    }

    /// Joins a stream's group; gives the receive-buffer charge that was granted, bytes.
    ///
    /// # Errors
    /// From the system: this member is deaf on that stream, and is served by session.
    pub fn hear(&self, tag: u32, group: [u8; 4], port: u16) -> io::Result<u64> {
        let group = SocketAddrV4::new(Ipv4Addr::from(group), port);
        let receiver = Receiver::open(group, self.source_port)?;
        let granted = receiver.granted_bytes() as u64;
        if let Some(sockets) = self.shared.sockets().as_mut() {
            sockets.insert(tag, Arc::new(receiver));
        }
        self.shared.waker.wake();
        Ok(granted)
    }

    /// Leaves a stream's group.
    pub fn drop_stream(&self, tag: u32) {
        if let Some(sockets) = self.shared.sockets().as_mut() {
            sockets.remove(&tag);
        }
        self.shared.waker.wake();
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        *self.shared.sockets() = None;
        self.shared.waker.wake();
        // The thread may wait for room: take what is there until it is gone.
        while self.heard.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn hear(shared: &Shared, opener: &Opener, session: &HangUp, to_owner: &ChannelSender<Vec<u8>>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
    let mut ready = Vec::new();
    loop {
        let sockets: Vec<Arc<Receiver>> = match shared.sockets().as_ref() {
            None => return,
            Some(sockets) => sockets.values().map(Arc::clone).collect(),
        };
        let waiting: Vec<&Receiver> = sockets.iter().map(Arc::as_ref).collect();
        if os::wait_for(&shared.waker, &waiting, &mut ready).is_err() {
            return;
        }
        for at in &ready {
            for _ in 0..TURN_DATAGRAMS {
                // An error is no datagram: a refused one of before, or nothing more.
                let Ok(bytes) = waiting[*at].recv(&mut buffer) else { break };
                // Once the session has ended, the server's port may be somebody else's. Looked at after
                // the datagram was taken: the session's end comes before the port is free.
                if session.has_come() {
                    return;
                }
                let Some(body) = opener.open(&mut buffer[..bytes]) else { continue };
                if to_owner.send(body.to_vec()).is_err() {
                    return;
                }
            }
        }
    }
}
