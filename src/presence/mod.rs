//! The presence table: who is here, in shared memory, readable without a word to the server.
//!
//! One writer (the server), any number of readers in other processes. Each slot and each room line
//! is a seqlock of its own; a reader copies words out first and only then looks at lengths, indices
//! and UTF-8, so that no bytes whatever can make it crash.

mod layout;
mod reader;
mod seqlock;
mod writer;

pub use layout::{Badge, TABLE_BYTES};
pub use reader::{ReadError, ServerState, Snapshot, badge, badge_of_words, living_server};
pub use writer::Table;
