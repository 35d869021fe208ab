//! The server's end of the channel: a key for each stream, and the machine's way to many.

use std::{io, net::SocketAddrV4};

use rustc_hash::FxHashMap;

use super::seal::{Key, Sealer};
use crate::{
    chat::stream_id::ChannelKey,
    os::{self, Caster, Reserve, Slot},
};

/// Sends bodies to groups.
pub struct Sender {
    caster: Caster,
    sealers: FxHashMap<u32, Sealer>,
    run: u32,
    /// Number of the last key.
    keys: u32,
    datagram: Vec<u8>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("caster", &self.caster).finish_non_exhaustive()
    }
}

impl Sender {
    /// Opens the channel. `place` was opened before any session.
    ///
    /// # Errors
    /// Returns the error of the system.
    pub fn open(run: u32, place: Reserve) -> io::Result<Self> {
        let caster = Caster::open(place)?;
        Ok(Self { caster, sealers: FxHashMap::default(), run, keys: 0, datagram: Vec::new() })
    }

    /// Seals later datagrams of a stream with a fresh key: removed members have only old keys.
    ///
    /// # Errors
    /// Returns an error if the system gives no random numbers; then nothing more is sent there.
    pub fn new_key(&mut self, tag: u32) -> io::Result<ChannelKey> {
        self.sealers.remove(&tag);
        let bytes: Key = os::random_bytes()?;
        self.keys = self
            .keys
            .checked_add(1)
            .ok_or_else(|| io::Error::other("all key numbers are used up"))?;
        let key = ChannelKey { number: self.keys, bytes };
        self.sealers.insert(tag, Sealer::new(key.number, &key.bytes, self.run));
        Ok(key)
    }

    /// The port that datagrams come from.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        self.caster.source_port()
    }

    /// Opens a group for a stream, with a key of its own.
    ///
    /// # Errors
    /// Returns the error of the system.
    pub fn open_group(&mut self, tag: u32) -> io::Result<(SocketAddrV4, ChannelKey)> {
        let address = self.caster.open_group(tag)?;
        Ok((address, self.new_key(tag)?))
    }

    /// Gives a stream's group up.
    pub fn close_group(&mut self, tag: u32) {
        self.sealers.remove(&tag);
        self.caster.close_group(tag);
    }

    /// Sets the place where a session receives datagrams, if the machine's channel has no groups.
    pub fn set_slot(&mut self, session: u64, slot: Slot) {
        self.caster.set_slot(session, slot);
    }

    /// A session has ended.
    pub fn remove_slot(&mut self, session: u64) {
        self.caster.remove_slot(session);
    }

    /// Seals a body and sends it to those who hear a stream: once for all, or to each of `hearers`,
    /// where the machine's channel has no groups.
    ///
    /// # Errors
    /// Returns the error of the system. A datagram lost here is repaired by session.
    pub fn publish(
        &mut self,
        tag: u32,
        body: &[u8],
        hearers: impl FnOnce() -> Vec<u64>,
    ) -> io::Result<()> {
        let sealed = self.sealers.get_mut(&tag).map(|key| key.seal(body, &mut self.datagram));
        if sealed != Some(true) {
            return Err(io::Error::other("the channel has no key, or its key is used up"));
        }
        self.caster.send(tag, &self.datagram, hearers)
    }
}
