//! The work that is measured: the same for the clock (`micro`) and for the counter of instructions (`instructions`).

pub mod bodies;
pub mod house;

/// What is said: 64 bytes.
pub const TEXT: &str = "sixty-four bytes are about as much as people say in one message.";

const _: () = assert!(TEXT.len() == 64);
