//! The outputs of the command: read in the order in which they come, passed through as they are,
//! and handed to the room.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use super::{batch::Stream, outbox::Shared, spool::SharedSpool};
use crate::{
    limits::{RUN_DRAIN_BYTES_MAX, RUN_DRAIN_MS},
    os::{OutputStep, Outputs},
};

/// The command runs.
pub(super) const RUNS: u8 = 0;
/// The command has ended: any other process that holds an output open is not waited for long.
pub(super) const HAS_ENDED: u8 = 1;
/// Nothing is waited for any longer.
pub(super) const IS_HURRIED: u8 = 2;

/// Takes outputs of the command to their end.
#[derive(Debug)]
pub(super) struct Pump {
    pub(super) outputs: Outputs,
    /// Kind of each output.
    pub(super) streams: Vec<Stream>,
    pub(super) shared: Shared,
    /// Spool that gets the output instead of this process's own output.
    pub(super) spool: Option<SharedSpool>,
    /// Phase of the command.
    pub(super) phase: Arc<AtomicU8>,
}

/// End of the outputs.
#[derive(Debug)]
pub(super) struct Pumped {
    /// Why they could not be passed through to their end.
    pub(super) passed: io::Result<()>,
    /// The processes that hold an output open, as far as they are known; none if it has ended.
    pub(super) holders: Option<Vec<u32>>,
}

impl Pump {
    /// Reads until the end of the outputs, or a moment longer than the command runs; then another
    /// process goes on with them. When the reader of our own output has gone, the command's pipe is
    /// closed as well: it learns of it as it would without us.
    pub(super) fn run(mut self) -> Pumped {
        let mut until: Option<Instant> = None;
        let mut bytes_since = 0;
        loop {
            let phase = self.phase.load(Ordering::SeqCst);
            if until.is_none() && phase != RUNS {
                until = Some(Instant::now() + Duration::from_millis(RUN_DRAIN_MS));
            }
            let wait = until.map(|at| at.saturating_duration_since(Instant::now()));
            let (streams, shared, spool) = (&self.streams, &self.shared, &self.spool);
            let step = self.outputs.step(wait, |at, bytes| {
                shared.push(streams[at], bytes);
                if let Some(spool) = spool {
                    spool.lock().push(streams[at], bytes);
                }
                bytes_since += if until.is_some() { bytes.len() } else { 0 };
            });
            match step {
                Ok(OutputStep::Ended) => return self.end(None),
                Err(e) => return Pumped { passed: Err(e), holders: None },
                Ok(OutputStep::Nothing | OutputStep::Copied) => {}
            }
            let is_over = wait.is_some_and(|wait| wait.is_zero()) && !self.outputs.is_behind();
            let is_all = step.is_ok_and(|step| step == OutputStep::Nothing);
            let is_enough = is_over && (is_all || bytes_since >= RUN_DRAIN_BYTES_MAX);
            if is_enough || phase == IS_HURRIED {
                return self.leave();
            }
        }
    }

    fn end(&mut self, holders: Option<Vec<u32>>) -> Pumped {
        Pumped { passed: self.outputs.take_failure().map_or(Ok(()), Err), holders }
    }

    fn leave(mut self) -> Pumped {
        let Pumped { passed, .. } = self.end(None);
        match self.outputs.leave_to_drainer() {
            Ok(holders) => Pumped { passed, holders },
            Err(e) => Pumped { passed: passed.and(Err(e)), holders: None },
        }
    }
}
