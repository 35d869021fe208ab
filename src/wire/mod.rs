//! Bytes on a session: frames, their bodies, and the handshake that stays readable across versions.

pub mod client_frame;
pub mod control;
pub mod frame;
pub mod hello;
pub mod server_frame;
