//! One output of the command: read, passed through as it is, and handed to the room.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{batch::Stream, outbox::Shared};
use crate::{
    limits::{RUN_DRAIN_BYTES_MAX, RUN_DRAIN_MS},
    os::{self, ChildPipe},
};

/// As much as a pipe usually holds.
const READ_BYTES: usize = 64 * 1024;

/// Takes an output of the command to its end.
#[derive(Debug)]
pub(super) struct Pump {
    pub(super) pipe: ChildPipe,
    /// Our own output of that kind.
    pub(super) to: File,
    pub(super) stream: Stream,
    pub(super) shared: Shared,
    /// The command has ended: whoever else has the pipe open is not waited for long.
    pub(super) has_ended: Arc<AtomicBool>,
}

/// What is read after the command's end.
#[derive(Debug)]
struct Drain {
    until: Instant,
    bytes: usize,
}

impl Pump {
    /// Reads until the end of the output, or a moment longer than the command runs. When whoever reads our
    /// own output has gone, the command's pipe is closed as well: it learns of it as it would without us.
    ///
    /// # Errors
    /// If it could not be passed through for another reason. The command gets on; the room has all of it.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut drain: Option<Drain> = None;
        let mut passed = Ok(());
        loop {
            if drain.is_none() && self.has_ended.load(Ordering::SeqCst) {
                let until = Instant::now() + Duration::from_millis(RUN_DRAIN_MS);
                drain = Some(Drain { until, bytes: 0 });
            }
            let left = |d: &Drain| d.until.saturating_duration_since(Instant::now());
            let wait = drain.as_ref().map(left);
            let bytes = match self.pipe.read(&mut buffer, wait) {
                Ok(None) if wait.is_some_and(|wait| wait.is_zero()) => return passed,
                Ok(None) => continue,
                Ok(Some(0)) | Err(_) => return passed,
                Ok(Some(bytes)) => &buffer[..bytes],
            };
            let written = match &passed {
                Ok(()) => os::write_through(&mut self.to, bytes),
                Err(_) => Ok(()),
            };
            self.shared.push(self.stream, bytes);
            match written {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(e) => passed = Err(e),
            }
            if let Some(drain) = &mut drain {
                drain.bytes += bytes.len();
                if drain.bytes >= RUN_DRAIN_BYTES_MAX && left(drain).is_zero() {
                    return passed;
                }
            }
        }
    }
}
