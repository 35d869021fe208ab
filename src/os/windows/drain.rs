//! The output of a child, copied as it comes. A pipe can't be polled here: each output has a thread
//! of its own.

use std::{
    env,
    fs::File,
    io::{self, Write},
    os::windows::{fs::OpenOptionsExt, io::OwnedHandle},
    time::Duration,
};

use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_DELETE_ON_CLOSE;

use super::{
    child::{ChildPipe, PipeWaker},
    files::hidden_name,
};
use crate::os::shared::OutputStep;

/// Bytes of a read: as much as a pipe usually holds.
const READ_BYTES: usize = 64 * 1024;

/// One end of a pipe.
pub type OwnedPipe = OwnedHandle;

/// Returns false: each output of a child is copied by a thread of its own.
pub const POLLS_OUTPUTS: bool = false;

/// Returns false: it is not known here.
#[must_use]
pub fn has_one_output() -> bool {
    false
}

/// Returns a new file in the directory for temporary files, which is gone once it is closed.
///
/// # Errors
/// If no file can be made there.
pub fn unnamed_file() -> io::Result<File> {
    let path = hidden_name(&env::temp_dir().join("moot-output.tmp"))?;
    let mut options = File::options();
    options.read(true).write(true).create_new(true).share_mode(0);
    options.custom_flags(FILE_FLAG_DELETE_ON_CLOSE).open(path)
}

/// One output of a child, with the file that it is copied to.
#[derive(Debug)]
pub struct Outputs {
    /// None once it has ended. Without a file it is read only.
    output: Option<(ChildPipe, Option<File>)>,
    buffer: Vec<u8>,
    failed: Option<io::Error>,
}

impl Outputs {
    /// Copies an output, and can be woken while it waits.
    ///
    /// # Errors
    /// If handles have run out, or no output is given.
    pub fn new(
        outputs: impl IntoIterator<Item = (OwnedPipe, Option<File>)>,
    ) -> io::Result<(Self, PipeWaker)> {
        let Some((source, to)) = outputs.into_iter().next() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (pipe, waker) = ChildPipe::new(source)?;
        let output = Some((pipe, to));
        Ok((Self { output, buffer: vec![0; READ_BYTES], failed: None }, waker))
    }

    /// Waits for output, and copies it. `take` gets what is read, with the number of its output.
    ///
    /// # Errors
    /// None on this platform.
    pub fn step(
        &mut self,
        wait: Option<Duration>,
        mut take: impl FnMut(usize, &[u8]),
    ) -> io::Result<OutputStep> {
        let Some((pipe, to)) = &mut self.output else { return Ok(OutputStep::Ended) };
        let bytes = match pipe.read(&mut self.buffer, wait) {
            Ok(None) => return Ok(OutputStep::Nothing),
            Ok(Some(0)) | Err(_) => {
                self.output = None;
                return Ok(OutputStep::Ended);
            }
            Ok(Some(bytes)) => &self.buffer[..bytes],
        };
        take(0, bytes);
        let written = match to {
            Some(to) if self.failed.is_none() => to.write_all(bytes),
            Some(_) | None => Ok(()),
        };
        match written {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.output = None,
            Err(e) => self.failed = Some(e),
        }
        Ok(OutputStep::Copied)
    }

    /// Returns false: what was read was written.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        false
    }

    /// Why not all could be written.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// Closes the output: no other process goes on with it here.
    ///
    /// # Errors
    /// None on this platform.
    pub fn leave_to_drainer(self) -> io::Result<Option<Vec<u32>>> {
        Ok(None)
    }
}
