//! A member's end of the channel: the keys of its streams.

use rustc_hash::FxHashMap;

use super::seal::{Opener, key_number};
use crate::chat::{batch::Head, stream_id::ChannelKey};

/// The keys of a member, by their numbers, each with the stream that it is for.
pub struct Keys {
    run: u32,
    all: FxHashMap<u32, (u32, Opener)>,
}

impl std::fmt::Debug for Keys {
    // Keys must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// No keys yet, of a run of the server.
    #[must_use]
    pub fn new(run: u32) -> Self {
        Self { run, all: FxHashMap::default() }
    }

    /// A stream's key. What is on its way may still be sealed with the one before, older ones are
    /// forgotten.
    pub fn add(&mut self, tag: u32, key: &ChannelKey) {
        let of_stream = self.all.iter().filter(|(_, (of, _))| *of == tag);
        let before = of_stream.map(|(number, _)| *number).max();
        self.all.retain(|number, (of, _)| *of != tag || Some(*number) == before);
        let opener = Opener::new(key.number, &key.bytes, self.run);
        self.all.insert(key.number, (tag, opener));
    }

    /// Forgets the key of a stream that is no longer heard.
    pub fn forget(&mut self, tag: u32) {
        self.all.retain(|_, (of, _)| *of != tag);
    }

    /// The body of a datagram, opened in place; none if it is not sealed with a key of this member,
    /// for the stream of that key.
    #[must_use]
    pub fn open<'a>(&self, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        let (tag, opener) = self.all.get(&key_number(datagram)?)?;
        let body = opener.open(datagram)?;
        Head::read(body).is_ok_and(|head| head.tag.0 == *tag).then_some(body)
    }
}
