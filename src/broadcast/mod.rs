//! The broadcast channel: a message for many members is sent once, sealed. It may be lost: the
//! session repairs it.

mod keys;
mod seal;
mod sender;

pub use keys::Keys;
pub use seal::{KEY_BYTES, Key, Opener, Sealer};
pub use sender::Sender;
