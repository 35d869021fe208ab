//! Output of a command that is shown only if the command fails (`--chronic`), on disk until that is
//! known.

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::batch::Stream;
use crate::{limits::RUN_SPOOL_PART_BYTES_MAX, os};

/// Bytes before each piece of output: its stream and its length.
const HEADER_BYTES: usize = 5;
/// Pause before a file that takes nothing now is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Output in files without a name, in the order in which it came: its beginning, and its newest
/// parts.
#[derive(Debug)]
pub(super) struct Spool {
    first: SpoolPart,
    /// The part before the newest one.
    older: Option<SpoolPart>,
    newest: Option<SpoolPart>,
    part_bytes_max: u64,
    /// Bytes of output between the beginning and the newest parts, which were dropped.
    left_out: u64,
    /// Bytes of output at the end, which could not be saved.
    unsaved: u64,
    /// Reason for which the rest is dropped.
    failed: Option<io::Error>,
}

/// Pieces of output in a file.
#[derive(Debug)]
struct SpoolPart {
    file: File,
    bytes: u64,
    /// Bytes without the headers.
    output_bytes: u64,
}

/// Spool of the threads that read the outputs.
#[derive(Debug, Clone)]
pub(super) struct SharedSpool(Arc<Mutex<Spool>>);

impl SharedSpool {
    /// Makes an empty spool.
    ///
    /// # Errors
    /// If there can be no temporary file.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Spool::new(RUN_SPOOL_PART_BYTES_MAX)?))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Spool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpoolPart {
    fn new() -> io::Result<Self> {
        Ok(Self { file: os::unnamed_file()?, bytes: 0, output_bytes: 0 })
    }

    /// Returns an empty part in the same file.
    fn emptied(mut self) -> io::Result<Self> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Self { bytes: 0, output_bytes: 0, ..self })
    }

    fn push(&mut self, stream: Stream, output: &[u8]) -> io::Result<()> {
        let length = u32::try_from(output.len()).map_err(|_| ErrorKind::InvalidInput)?;
        let mut piece = Vec::with_capacity(HEADER_BYTES + output.len());
        piece.push(stream as u8);
        piece.extend(length.to_le_bytes());
        piece.extend(output);
        self.file.write_all(&piece)?;
        self.bytes += piece.len() as u64;
        self.output_bytes += output.len() as u64;
        Ok(())
    }

    fn show(&mut self, outputs: &mut [Option<File>; 2]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        // A piece that could not be written whole is not counted.
        let mut pieces = BufReader::new(&mut self.file).take(self.bytes);
        let mut output = Vec::new();
        while pieces.limit() > 0 {
            let mut header = [0; HEADER_BYTES];
            pieces.read_exact(&mut header)?;
            let [stream, length @ ..] = header;
            output.resize(u32::from_le_bytes(length) as usize, 0);
            pieces.read_exact(&mut output)?;
            let place = &mut outputs[usize::from(stream != Stream::Output as u8)];
            let written = place.as_mut().map_or(Ok(()), |to| write_all(to, &output));
            match written {
                Ok(()) => {}
                // The other output may still have a reader.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => *place = None,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Writes all of it, also to a file of which another process made writes return at once.
fn write_all(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::sleep(TRY_AGAIN),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

impl Spool {
    fn new(part_bytes_max: u64) -> io::Result<Self> {
        let first = SpoolPart::new()?;
        Ok(Self {
            first,
            older: None,
            newest: None,
            part_bytes_max,
            left_out: 0,
            unsaved: 0,
            failed: None,
        })
    }

    /// Saves output. If that fails, the rest of it is left out.
    pub(super) fn push(&mut self, stream: Stream, output: &[u8]) {
        let pushed = match self.failed {
            Some(_) => Ok(false),
            None => self
                .part_for(output.len())
                .and_then(|part| part.push(stream, output))
                .map(|()| true),
        };
        match pushed {
            Ok(true) => {}
            Ok(false) => self.unsaved += output.len() as u64,
            Err(e) => {
                self.unsaved += output.len() as u64;
                self.failed = Some(e);
            }
        }
    }

    /// Returns the part that has room for `bytes` bytes; the oldest part but the first gives its
    /// room.
    fn part_for(&mut self, bytes: usize) -> io::Result<&mut SpoolPart> {
        let piece = (HEADER_BYTES + bytes) as u64;
        let has_room = |part: &SpoolPart| part.bytes + piece <= self.part_bytes_max;
        if self.newest.is_none() && has_room(&self.first) {
            return Ok(&mut self.first);
        }
        if !self.newest.as_ref().is_some_and(has_room) {
            let empty = match self.older.take() {
                Some(older) => {
                    self.left_out += older.output_bytes;
                    older.emptied()?
                }
                None => SpoolPart::new()?,
            };
            self.older = self.newest.replace(empty);
        }
        self.newest.as_mut().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Returns the bytes of output that could not be saved, and the reason; none if all was.
    pub(super) fn unsaved(&self) -> Option<(u64, &io::Error)> {
        self.failed.as_ref().map(|e| (self.unsaved, e))
    }

    /// Writes all output to the files for standard output and standard error. `gap` is called where
    /// output was left out for the bound.
    ///
    /// # Errors
    /// If a file can't be written, except when its reader has gone.
    pub(super) fn show(
        &mut self,
        output: File,
        error: File,
        gap: impl FnOnce(u64),
    ) -> io::Result<()> {
        let mut outputs = [Some(output), Some(error)];
        self.first.show(&mut outputs)?;
        if self.left_out > 0 {
            gap(self.left_out);
        }
        self.older.iter_mut().chain(&mut self.newest).try_for_each(|part| part.show(&mut outputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows a spool; what came on each stream, and the gap with the bytes of output before it.
    fn shown(spool: &mut Spool) -> (Vec<u8>, Vec<u8>, Option<(u64, u64)>) {
        let (mut out, mut err) = (os::unnamed_file().unwrap(), os::unnamed_file().unwrap());
        let (to, mut look) = (out.try_clone().unwrap(), out.try_clone().unwrap());
        let mut gap = None;
        let note = |bytes| gap = Some((bytes, look.stream_position().unwrap()));
        spool.show(to, err.try_clone().unwrap(), note).unwrap();
        let read = |file: &mut File| {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        (read(&mut out), read(&mut err), gap)
    }

    #[test]
    fn output_comes_back_whole_and_in_order() {
        let mut spool = Spool::new(1 << 20).unwrap();
        for (stream, output) in [
            (Stream::Output, &b"one\xff\n"[..]),
            (Stream::Error, b"two\n"),
            (Stream::Output, b"three"),
        ] {
            spool.push(stream, output);
        }
        assert_eq!(shown(&mut spool), (b"one\xff\nthree".to_vec(), b"two\n".to_vec(), None));
        // One file for both shows the order.
        let one = os::unnamed_file().unwrap();
        let (out, err) = (one.try_clone().unwrap(), one.try_clone().unwrap());
        spool.show(out, err, |_| panic!("nothing is left out")).unwrap();
        let (mut one, mut all) = (one, Vec::new());
        one.seek(SeekFrom::Start(0)).unwrap();
        one.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"one\xff\ntwo\nthree");
    }

    #[test]
    fn beginning_and_end_of_much_output_are_kept() {
        let mut spool = Spool::new(1_000).unwrap();
        let line = |n: usize| format!("{n:09}\n");
        for n in 0..1_000 {
            spool.push(Stream::Output, line(n).as_bytes());
            let parts = [Some(&spool.first), spool.older.as_ref(), spool.newest.as_ref()];
            let bytes: u64 = parts.iter().flatten().map(|p| p.file.metadata().unwrap().len()).sum();
            assert!(bytes <= 3_000, "{bytes} bytes on disk");
        }
        let (output, _, gap) = shown(&mut spool);
        let (gap, before) = gap.unwrap();
        assert_eq!(output.len() as u64 + gap, 10_000);
        assert_eq!(spool.unsaved().map(|(bytes, _)| bytes), None);
        let (head, tail) = output.split_at(before as usize);
        assert!(head.len() >= 600 && tail.len() >= 600, "{} {}", head.len(), tail.len());
        let lines = |from: usize, bytes: &[u8]| {
            (from..from + bytes.len() / 10).map(line).collect::<String>().into_bytes() == bytes
        };
        assert!(lines(0, head) && lines(1_000 - tail.len() / 10, tail));
    }

    #[test]
    fn piece_that_can_not_be_saved_is_left_out_with_all_after_it() {
        let mut spool = Spool::new(1_000).unwrap();
        spool.push(Stream::Output, b"one\n");
        spool.failed = Some(ErrorKind::StorageFull.into());
        spool.push(Stream::Output, b"two\n");
        let (output, _, gap) = shown(&mut spool);
        assert_eq!((output.as_slice(), gap), (&b"one\n"[..], None));
        let unsaved = spool.unsaved().map(|(bytes, e)| (bytes, e.kind()));
        assert_eq!(unsaved, Some((4, ErrorKind::StorageFull)));
    }
}
