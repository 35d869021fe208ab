//! A member's end of the channel: one thread that hears all its streams.

use std::{io, ops::ControlFlow, sync::Arc, thread::JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::seal::{Key, Opener};
use crate::{
    limits::DATAGRAM_BYTES_MAX,
    os::{HangUp, Hearing, Slot},
};

/// Bodies that the thread may be ahead of its owner. Above, the kernel's buffer fills, and what it
/// drops is repaired.
const AHEAD_BODIES: usize = 64;

/// Hears a member's streams and hands on what the server sealed.
#[derive(Debug)]
pub struct Ears {
    hearing: Arc<Hearing>,
    heard: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
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
        let hearing = Arc::new(Hearing::open(source_port)?);
        let (to_owner, heard) = bounded(AHEAD_BODIES);
        let opener = Opener::new(number, key, run);
        let of_thread = Arc::clone(&hearing);
        let thread = std::thread::Builder::new()
            .name("moot-broadcast".to_owned())
            .spawn(move || hear(&of_thread, &opener, &session, &to_owner))?;
        Ok(Self { hearing, heard, thread: Some(thread) })
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
    pub fn hear(&self, tag: u32, group: [u8; 4], port: u16) -> io::Result<u64> {
        self.hearing.join(tag, group, port)
    }

    /// Leaves a stream's group.
    pub fn drop_stream(&self, tag: u32) {
        self.hearing.leave(tag);
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

fn hear(hearing: &Hearing, opener: &Opener, session: &HangUp, to_owner: &Sender<Vec<u8>>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
    hearing.run(&mut buffer, |datagram| {
        // Once the session has ended, the server's port may be somebody else's. Looked at after the
        // datagram was taken: the session's end comes before the port is free.
        if session.has_come() {
            return ControlFlow::Break(());
        }
        match opener.open(datagram) {
            Some(body) if to_owner.send(body.to_vec()).is_err() => ControlFlow::Break(()),
            Some(_) | None => ControlFlow::Continue(()),
        }
    });
}
