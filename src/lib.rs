//! moot: the meeting place of one machine.

pub mod chat;
pub mod limits;
pub mod wire;
