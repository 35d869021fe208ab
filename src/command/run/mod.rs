//! `moot run`: a command, with its output in a room.
//!
//! The command comes first: nothing that the server does or does not do is seen by it. One thread
//! for each of its outputs passes that through and leaves it in the outbox, which has a bound; one
//! talks; one tells of signals; the main one waits for the command's end.

mod amount;
mod batch;
mod outbox;
mod plain;
mod pump;
mod result;
mod spool;
mod supervisor;
mod talk;
mod words;

pub(super) use self::{result::RunResult, supervisor::run, words::title};
