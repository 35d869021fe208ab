//! The broadcast channel: a message for many members is sent once, sealed. It may be lost: the
//! session repairs it.

mod keys;
mod seal;
#[cfg(feature = "cli")]
mod sender;

pub use keys::Keys;
pub use seal::{KEY_BYTES, Key, Opener, Sealer};
#[cfg(feature = "cli")]
pub use sender::Sender;
