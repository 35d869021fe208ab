//! Pending output of one session's socket: bounded by its owner, batches shared with other sessions
//! and not copied.

use std::{collections::VecDeque, io::IoSlice, rc::Rc};

use rustc_hash::FxHashMap;

use crate::faults::{Fault, planted};

/// Approximate size of the buffer into which small frames are gathered, in bytes.
const GATHER_BYTES: usize = 16 * 1024;
/// Pieces that one write takes.
const SLICES: usize = 8;

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared {
        frame: Rc<[u8]>,
        /// The ledger has it.
        counted: bool,
    },
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared { frame, .. } => frame,
        }
    }
}

/// The output of one session.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that were written already.
    written: usize,
    waiting: usize,
    /// Bytes of pieces that no other session shares.
    own: usize,
    /// Bytes that no other session shares, as counted by the ledger.
    counted: usize,
    /// Shared pieces that the ledger does not have yet, the last ones.
    uncounted: usize,
    /// Frames that the ledger still has, though this session does not.
    gone: Vec<Rc<[u8]>>,
}

impl Output {
    /// Bytes that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// Returns true if no bytes wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Appends a frame that other sessions get as well.
    pub fn share(&mut self, frame: Rc<[u8]>) {
        self.waiting += frame.len();
        self.uncounted += 1;
        self.pieces.push_back(Piece::Shared { frame, counted: false });
    }

    /// Appends what `write` writes.
    pub fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let fits = |p: &Piece| matches!(p, Piece::Own(bytes) if bytes.len() < GATHER_BYTES);
        if !self.pieces.back().is_some_and(fits) {
            self.pieces.push_back(Piece::Own(Vec::new()));
        }
        if let Some(Piece::Own(bytes)) = self.pieces.back_mut() {
            let before = bytes.len();
            write(bytes);
            self.waiting += bytes.len() - before;
            self.own += bytes.len() - before;
        }
    }

    /// Returns the pieces to write next, one after another; empty if nothing waits.
    #[must_use]
    pub fn front(&self) -> [IoSlice<'_>; SLICES] {
        let mut pieces = self.pieces.iter().map(Piece::bytes);
        let mut skip = self.written;
        std::array::from_fn(|_| {
            let bytes = pieces.next().unwrap_or(&[]);
            IoSlice::new(&bytes[std::mem::take(&mut skip)..])
        })
    }

    /// Records that `bytes` bytes of [`Output::front`] were written.
    pub fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        self.waiting -= bytes;
        while let Some(piece) = self.pieces.front().map(|piece| piece.bytes().len())
            && self.written >= piece
        {
            self.written -= piece;
            self.forget_first();
        }
        if self.pieces.is_empty() {
            // An idle session holds no memory for its output.
            self.pieces = VecDeque::new();
        }
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        while !self.pieces.is_empty() {
            self.forget_first();
        }
        (self.waiting, self.written) = (0, 0);
    }

    fn forget_first(&mut self) {
        match self.pieces.pop_front() {
            Some(Piece::Own(bytes)) => self.own -= bytes.len(),
            Some(Piece::Shared { frame, counted: true }) => self.gone.push(frame),
            Some(Piece::Shared { counted: false, .. }) => self.uncounted -= 1,
            None => {}
        }
    }
}

/// Bytes of memory that sessions keep, by user. A frame that several sessions of one user keep
/// counts once, and one that sessions of several users keep counts for each of them: it stays paid
/// for when others let it go.
#[derive(Debug, Default)]
pub struct Ledger(FxHashMap<u32, KeptBytes>);

#[derive(Debug, Default)]
struct KeptBytes {
    bytes: usize,
    /// Number of sessions that keep a frame, by its address, which is its own as long as one does.
    frames: FxHashMap<*const u8, u32>,
}

impl Ledger {
    /// Bytes that all sessions of a user keep, as far as they were counted.
    #[must_use]
    pub fn bytes_of(&self, uid: u32) -> usize {
        self.0.get(&uid).map_or(0, |kept| kept.bytes)
    }

    /// Counts the memory that one session of a user keeps now: its output, and `input_bytes` bytes
    /// of unfinished input.
    pub fn count(&mut self, uid: u32, output: &mut Output, input_bytes: usize) {
        let own = output.own + input_bytes;
        if own == output.counted && output.uncounted == 0 && output.gone.is_empty() {
            return;
        }
        let kept = self.0.entry(uid).or_default();
        kept.bytes = kept.bytes + own - std::mem::replace(&mut output.counted, own);
        for piece in output.pieces.iter_mut().rev() {
            if output.uncounted == 0 || planted(Fault::SharedFramesUncharged) {
                break;
            }
            let Piece::Shared { frame, counted } = piece else { continue };
            *counted = true;
            output.uncounted -= 1;
            let sessions = kept.frames.entry(frame.as_ptr()).or_default();
            *sessions += 1;
            if *sessions == 1 {
                kept.bytes += frame.len();
            }
        }
        for frame in output.gone.drain(..) {
            let Some(sessions) = kept.frames.get_mut(&frame.as_ptr()) else { continue };
            *sessions -= 1;
            if *sessions == 0 {
                kept.frames.remove(&frame.as_ptr());
                kept.bytes -= frame.len();
            }
        }
        if kept.bytes == 0 {
            self.0.remove(&uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let mut out = Output::default();
        out.put(|b| b.extend_from_slice(b"ab"));
        out.put(|b| b.extend_from_slice(b"c"));
        out.share(b"shared"[..].into());
        out.put(|b| b.extend_from_slice(b"d"));
        let front = |out: &Output| {
            out.front()
                .iter()
                .map(|part| str::from_utf8(part).unwrap())
                .collect::<Vec<_>>()
                .join("|")
        };
        assert_eq!((out.waiting_bytes(), front(&out).as_str()), (10, "abc|shared|d|||||"));
        out.advance(2);
        assert_eq!(front(&out), "c|shared|d|||||");
        out.advance(5);
        assert_eq!(front(&out), "ed|d||||||");
        out.advance(3);
        assert!(out.is_empty() && out.front().iter().all(|part| part.is_empty()));
    }

    #[test]
    fn frame_released_by_others_is_charged_to_its_last_holders() {
        let (mut ledger, frame) = (Ledger::default(), Rc::from(&b"0123456789"[..]));
        let (mut ann, mut eve, mut eves) =
            (Output::default(), Output::default(), Output::default());
        for (uid, output) in [(1, &mut ann), (2, &mut eve), (2, &mut eves)] {
            output.share(Rc::clone(&frame));
            ledger.count(uid, output, 0);
        }
        assert_eq!((ledger.bytes_of(1), ledger.bytes_of(2)), (10, 10), "once a user");
        drop(frame);
        ann.advance(10);
        ledger.count(1, &mut ann, 0);
        eves.advance(10);
        ledger.count(2, &mut eves, 3);
        assert_eq!((ledger.bytes_of(1), ledger.bytes_of(2)), (0, 13), "and its own input");
        eve.clear();
        ledger.count(2, &mut eve, 0);
        ledger.count(2, &mut eves, 0);
        assert!(ledger.0.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Share(usize),
        Put(usize),
        Advance(usize),
        Count(usize),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6usize).prop_map(Step::Share),
            (1..40usize).prop_map(Step::Put),
            (1..60usize).prop_map(Step::Advance),
            (0..9usize).prop_map(Step::Count),
            Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn ledger_has_each_byte_once_and_nothing_in_the_end(
            steps in proptest::collection::vec((0..3usize, step()), 0..200)
        ) {
            let frames: Vec<Rc<[u8]>> = (0..6).map(|n| vec![0; 10 + n].into()).collect();
            let mut outputs: Vec<Output> = (0..3).map(|_| Output::default()).collect();
            let mut inputs = [0; 3];
            let mut ledger = Ledger::default();
            for (at, step) in steps {
                let output = &mut outputs[at];
                match step {
                    Step::Share(n) => output.share(Rc::clone(&frames[n])),
                    Step::Put(bytes) => output.put(|to| to.resize(to.len() + bytes, 0)),
                    Step::Advance(bytes) => output.advance(bytes.min(output.waiting)),
                    Step::Count(bytes) => inputs[at] = bytes,
                    Step::Clear => output.clear(),
                }
                ledger.count(7, &mut outputs[at], inputs[at]);
                let pieces = || outputs.iter().flat_map(|output| &output.pieces);
                let kept = |frame: &Rc<[u8]>| pieces().any(
                    |piece| matches!(piece, Piece::Shared { frame: f, .. } if Rc::ptr_eq(f, frame))
                );
                let shared: usize = frames.iter().filter(|f| kept(f)).map(|f| f.len()).sum();
                let own = |piece: &Piece| match piece {
                    Piece::Own(bytes) => bytes.len(),
                    Piece::Shared { .. } => 0,
                };
                let own: usize = pieces().map(own).sum();
                prop_assert_eq!(ledger.bytes_of(7), shared + own + inputs.iter().sum::<usize>());
            }
            for output in &mut outputs {
                output.clear();
                ledger.count(7, output, 0);
            }
            prop_assert!(ledger.0.is_empty());
        }
    }
}
