//! The server's end of the channel: a group a room, one source, one key.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use super::seal::{Key, Sealer};
use crate::os::{self, Anchor, Reserve, Source};

/// Tries for a group and port that nobody squats on.
const TRIES_MAX: usize = 32;

/// Sends bodies to groups.
pub struct Sender {
    source: Source,
    sealer: Sealer,
    key: Key,
    /// Holds the port for the server's life, also while no room has a group.
    home: Anchor,
    port: u16,
    groups: HashMap<u32, (Ipv4Addr, Anchor)>,
    datagram: Vec<u8>,
}

/// A group within the range of one site; its last 256 are other protocols' habits.
fn random_group() -> io::Result<Ipv4Addr> {
    let [a, b] = os::random_bytes()?;
    Ok(Ipv4Addr::new(239, 255, a % 255, b))
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("home", &self.home).finish_non_exhaustive()
    }
}

/// Number of the first key of a run.
const FIRST_KEY: u32 = 1;

impl Sender {
    /// Opens the channel with a fresh key. The source takes the descriptor of `place`, which was opened
    /// before any session.
    ///
    /// # Errors
    /// From the system.
    pub fn open(run: u32, place: Reserve) -> io::Result<Self> {
        let key: Key = os::random_bytes()?;
        let source = Source::open()?.move_to(place)?;
        let sealer = Sealer::new(FIRST_KEY, &key, run);
        let home = Anchor::open(random_group()?, 0)?;
        let port = home.port()?;
        let (groups, datagram) = (HashMap::new(), Vec::new());
        Ok(Self { source, sealer, key, home, port, groups, datagram })
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
        self.source.port()
    }

    /// Opens a random group for a stream and holds its port.
    ///
    /// # Errors
    /// From the system, after some tries.
    pub fn open_group(&mut self, tag: u32) -> io::Result<SocketAddrV4> {
        if let Some((group, _)) = self.groups.get(&tag) {
            return Ok(SocketAddrV4::new(*group, self.port));
        }
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES_MAX {
            let group = random_group()?;
            if self.groups.values().any(|(taken, _)| *taken == group) {
                continue;
            }
            match Anchor::open(group, self.port) {
                Ok(anchor) => {
                    self.groups.insert(tag, (group, anchor));
                    return Ok(SocketAddrV4::new(group, self.port));
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Gives a stream's group up.
    pub fn close_group(&mut self, tag: u32) {
        self.groups.remove(&tag);
    }

    /// Seals a body and sends it to a stream's group, once for all.
    ///
    /// # Errors
    /// From the system. What is lost here is repaired by session.
    pub fn publish(&mut self, tag: u32, body: &[u8]) -> io::Result<()> {
        let Some((group, _)) = self.groups.get(&tag) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if !self.sealer.seal(body, &mut self.datagram) {
            return Err(io::Error::other("the key is used up"));
        }
        self.source.send(SocketAddrV4::new(*group, self.port), &self.datagram)
    }
}
