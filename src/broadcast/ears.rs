//! A member's end of the channel: one thread that hears all its streams.

use std::{
    collections::HashMap,
    io,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::seal::{Opener, key_number};
use crate::{
    chat::{
        batch::Head,
        verbs::{Channel, ChannelKey},
    },
    limits::DATAGRAM_BYTES_MAX,
    os::{HangUp, Hearing, Slot},
};

/// Bodies that the thread may be ahead of its owner. Above, the kernel's buffer fills, and what it
/// drops is repaired.
const AHEAD_BODIES: usize = 64;

/// The keys of a member, by their numbers, each with the stream that it is for.
#[derive(Default)]
struct Keys(Mutex<HashMap<u32, (u32, Arc<Opener>)>>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<u32, (u32, Arc<Opener>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream's key. What is on its way may still be sealed with the one before, older ones are
    /// forgotten.
    fn add(&self, tag: u32, key: &ChannelKey, run: u32) {
        let mut all = self.all();
        let before = all.iter().filter(|(_, (of, _))| *of == tag).map(|(number, _)| *number).max();
        all.retain(|number, (of, _)| *of != tag || Some(*number) == before);
        let opener = Opener::new(key.number, &key.bytes, run);
        all.insert(key.number, (tag, Arc::new(opener)));
    }

    fn forget(&self, tag: u32) {
        self.all().retain(|_, (of, _)| *of != tag);
    }

    /// The body of a datagram, if it is sealed with a key of this member, for the stream of that key.
    fn open<'a>(&self, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        let number = key_number(datagram)?;
        let (tag, opener) = self.all().get(&number).map(|(tag, o)| (*tag, Arc::clone(o)))?;
        let body = opener.open(datagram)?;
        Head::read(body).is_ok_and(|head| head.tag.0 == tag).then_some(body)
    }
}

/// Hears a member's streams and hands on what the server sealed.
#[derive(Debug)]
pub struct Ears {
    run: u32,
    keys: Arc<Keys>,
    hearing: Arc<Hearing>,
    heard: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
}

impl Ears {
    /// Begins to listen to the server of a session, for as long as that session stands.
    ///
    /// # Errors
    /// From the system.
    pub fn open(run: u32, source_port: u16, session: HangUp) -> io::Result<Self> {
        let hearing = Arc::new(Hearing::open(source_port)?);
        let (to_owner, heard) = bounded(AHEAD_BODIES);
        let keys = Arc::new(Keys::default());
        let of_thread = (Arc::clone(&hearing), Arc::clone(&keys));
        let thread = std::thread::Builder::new()
            .name("moot-broadcast".to_owned())
            .spawn(move || hear(&of_thread.0, &of_thread.1, &session, &to_owner))?;
        Ok(Self { run, keys, hearing, heard, thread: Some(thread) })
    }

    /// Bodies as they come, opened.
    #[must_use]
    pub fn heard(&self) -> &Receiver<Vec<u8>> {
        &self.heard
    }

    /// Where the server is to write to, if the machine's channel has no groups; else zeros.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.hearing.slot()
    }

    /// Joins a stream's group; gives the receive-buffer charge that was granted, bytes.
    ///
    /// # Errors
    /// From the system: this member is deaf on that stream, and is served by session.
    pub fn hear(&self, tag: u32, channel: &Channel) -> io::Result<u64> {
        self.set_key(tag, &channel.key);
        self.hearing.join(tag, channel.group, channel.port)
    }

    /// A stream that is heard has another key.
    pub fn set_key(&self, tag: u32, key: &ChannelKey) {
        self.keys.add(tag, key, self.run);
    }

    /// Leaves a stream's group.
    pub fn drop_stream(&self, tag: u32) {
        self.hearing.leave(tag);
        self.keys.forget(tag);
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.hearing.end();
        // The thread may wait for room: take what is there until it is gone.
        while self.heard.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn hear(hearing: &Hearing, keys: &Keys, session: &HangUp, to_owner: &Sender<Vec<u8>>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
    hearing.run(&mut buffer, |datagram| {
        // Once the session has ended, the server's port may be somebody else's. Looked at after the
        // datagram was taken: the session's end comes before the port is free.
        if session.has_come() {
            return ControlFlow::Break(());
        }
        match keys.open(datagram) {
            Some(body) if to_owner.send(body.to_vec()).is_err() => ControlFlow::Break(()),
            Some(_) | None => ControlFlow::Continue(()),
        }
    });
}
