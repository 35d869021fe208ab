//! What a peer's client has to know: how to open a connection, publish and read.

use std::io;

use socket2::Socket;

/// The one channel, subject or topic of a run. Short, which is best for each peer.
pub const TOPIC: &str = "t";

pub trait Protocol {
    /// What stands before and behind a payload of `size` bytes on the publisher's connection.
    fn around(size: usize) -> (Vec<u8>, Vec<u8>);

    /// Ends when the server has taken the publisher in.
    fn open(socket: &Socket) -> io::Result<()>;

    /// Ends when the server has confirmed the subscription, so that no message is missed.
    fn subscribe(socket: &Socket, number: usize) -> io::Result<()>;

    /// The item at the front of what was read and its length, or nothing if it is not complete.
    fn next(bytes: &[u8]) -> io::Result<Option<(usize, Item<'_>)>>;
}

pub enum Item<'a> {
    Message(&'a [u8]),
    /// The server wants to hear this.
    Answer(&'static [u8]),
    Other,
}

pub fn fault(peer: &str, bytes: &[u8]) -> io::Error {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
    io::Error::other(format!("{peer} says what nobody expects: {start:?}"))
}

/// A decimal number and the CR LF behind it, at `at`: the number, and where the next thing starts.
pub fn number_line(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.get(at..)?.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value * 10 + usize::from(byte - b'0'),
            _ => return (at + index + 2 <= bytes.len()).then_some((value, at + index + 2)),
        }
    }
    None
}
