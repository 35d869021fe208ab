//! The broadcast channel: what is meant for many goes out once, sealed. A hint path: the session carries the truth.

mod ears;
mod seal;
mod sender;

pub use ears::Ears;
pub use seal::{KEY_BYTES, Key, Opener, Sealer};
pub use sender::Sender;
