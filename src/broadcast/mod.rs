//! The broadcast channel: what is meant for many goes out once, sealed. A hint path: the session
//! carries the truth.

mod keys;
mod seal;
mod sender;

pub use keys::Keys;
pub use seal::{KEY_BYTES, Key, Opener, Sealer};
pub use sender::Sender;
