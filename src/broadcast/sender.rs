//! The server's end of the channel: one key, and the machine's way to many.

use std::{io, net::SocketAddrV4};

use super::seal::{Key, Sealer};
use crate::os::{self, Caster, Reserve, Slot};

/// Sends bodies to groups.
pub struct Sender {
    caster: Caster,
    sealer: Sealer,
    key: Key,
    datagram: Vec<u8>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("caster", &self.caster).finish_non_exhaustive()
    }
}

/// Number of the first key of a run.
const FIRST_KEY: u32 = 1;

impl Sender {
    /// Opens the channel with a fresh key. `place` was opened before any session.
    ///
    /// # Errors
    /// From the system.
    pub fn open(run: u32, place: Reserve) -> io::Result<Self> {
        let key: Key = os::random_bytes()?;
        let sealer = Sealer::new(FIRST_KEY, &key, run);
        Ok(Self { caster: Caster::open(place)?, sealer, key, datagram: Vec::new() })
    }

    /// The key, for members.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its number in datagrams.
    #[must_use]
    pub fn key_number(&self) -> u32 {
        FIRST_KEY
    }

    /// The port that datagrams come from.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        self.caster.source_port()
    }

    /// Opens a group for a stream.
    ///
    /// # Errors
    /// From the system.
    pub fn open_group(&mut self, tag: u32) -> io::Result<SocketAddrV4> {
        self.caster.open_group(tag)
    }

    /// Gives a stream's group up.
    pub fn close_group(&mut self, tag: u32) {
        self.caster.close_group(tag);
    }

    /// Where a session hears, if the machine's channel has no groups.
    pub fn set_slot(&mut self, session: u64, slot: Slot) {
        self.caster.set_slot(session, slot);
    }

    /// A session has ended.
    pub fn remove_slot(&mut self, session: u64) {
        self.caster.remove_slot(session);
    }

    /// Seals a body and sends it to those who hear a stream: once for all, or to each of `hearers`, where
    /// the machine's channel has no groups.
    ///
    /// # Errors
    /// From the system. What is lost here is repaired by session.
    pub fn publish(
        &mut self,
        tag: u32,
        body: &[u8],
        hearers: impl FnOnce() -> Vec<u64>,
    ) -> io::Result<()> {
        if !self.sealer.seal(body, &mut self.datagram) {
            return Err(io::Error::other("the key is used up"));
        }
        self.caster.send(tag, &self.datagram, hearers)
    }
}
