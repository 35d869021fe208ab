//! Bytes on a session: frames, their bodies, and the handshake that stays readable across versions.

pub mod control;
pub mod frame;
pub mod hello;
