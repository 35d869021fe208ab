//! One connection: its state, its output, and its end for a reason of the server.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
};

use super::standing::Standing;
use crate::{
    chat::{
        hub::Chunk,
        member::{EndCause, Peer, SessionId},
        names::UserName,
    },
    faults::{Fault, planted},
    limits::{ECHO_BYTES_MAX, FRAME_MS_MAX, HANDSHAKE_MS_MAX},
    session::{Accepted, Ledger, Output},
    wire::{
        control,
        frame::{self, Kind},
        hello::{self, Bye, RefusedCode},
    },
};

/// Phase of a connection, changed by [`Conn::open`], [`Conn::freeze`] and [`Conn::close`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The handshake has not come.
    Handshake,
    /// Of another version, or not admitted: only the frozen kinds are answered.
    Frozen,
    /// A session of the hub.
    Open,
    /// It said goodbye, or the server ends it once its output is written.
    Closing { cause: EndCause, was_open: bool },
}

/// Reason why the input of a connection is not read. Several may hold at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// The hub says when to continue.
    Hub = 1,
    /// A request waits for the user database or the history, and what follows waits as well, so
    /// that answers keep their order.
    LookUp = 2,
    /// The output is full; to be read again once there is room.
    Output = 4,
}

/// Set of reasons.
#[derive(Debug, Default)]
struct Blocks(Cell<u8>);

impl Blocks {
    fn has(&self, block: Block) -> bool {
        self.0.get() & block as u8 != 0
    }

    fn set(&self, block: Block, is_blocked: bool) {
        let others = self.0.get() & !(block as u8);
        self.0.set(if is_blocked { others | block as u8 } else { others });
    }
}

/// Time limit of an unfinished handshake, frame or goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Nothing is unfinished.
    None,
    /// The time begins at the next look at the timers.
    New,
    /// The time began at this time of the hub, microseconds.
    Since(u64),
}

/// Place of a connection in the line of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It does not wait.
    Outside,
    /// It waits for a later turn.
    InLine,
    /// It was called, and goes on when its task runs.
    Called,
}

/// Account of a connection: a user id on a system server, else a process by its start time.
pub(super) type AccountKey = (u32, u32, u64);

/// One connection and its state.
pub(super) struct Conn {
    pub(super) id: SessionId,
    pub(super) account: AccountKey,
    pub(super) socket: RefCell<Accepted>,
    pub(super) peer: Peer,
    /// A system server may let in some users only.
    pub(super) standing: Standing,
    pub(super) output: RefCell<Output>,
    pub(super) waker: RefCell<Waker>,
    pub(super) hungry: Cell<bool>,
    blocks: Blocks,
    pub(super) touched: Cell<bool>,
    phase: Cell<Phase>,
    /// A frame that is not complete yet.
    pub(super) partial: RefCell<Vec<u8>>,
    pub(super) limit: Cell<Limit>,
    /// `partial` begins with whole frames that were not taken yet.
    pub(super) held: Cell<bool>,
    /// Bytes that the last frame of `partial` lacks, once that was looked for.
    pub(super) lacks: Cell<Option<usize>>,
    pub(super) place: Cell<Place>,
    /// The socket takes no further output.
    is_broken: Cell<bool>,
    before_session: Cell<BeforeSession>,
}

/// Requests of a connection that is not a session.
#[derive(Debug, Clone, Copy, Default)]
struct BeforeSession {
    frames: u32,
    /// The status is sent once.
    has_status: bool,
}

impl Conn {
    pub(super) fn new(
        id: SessionId,
        socket: Accepted,
        peer: Peer,
        standing: Standing,
        system: bool,
    ) -> Self {
        let account = if system { (peer.uid, 0, 0) } else { (peer.uid, peer.pid, peer.start) };
        Self {
            id,
            account,
            socket: RefCell::new(socket),
            peer,
            standing,
            output: RefCell::default(),
            waker: RefCell::new(no_waker()),
            hungry: Cell::new(false),
            blocks: Blocks::default(),
            touched: Cell::new(false),
            phase: Cell::new(Phase::Handshake),
            partial: RefCell::default(),
            limit: Cell::new(Limit::New),
            held: Cell::new(false),
            lacks: Cell::new(None),
            place: Cell::new(Place::Outside),
            is_broken: Cell::new(false),
            before_session: Cell::default(),
        }
    }

    pub(super) fn uid(&self) -> u32 {
        self.peer.uid
    }

    pub(super) fn user(&self) -> &UserName {
        &self.peer.user
    }

    /// Returns true if it never was a session: it has not shaken hands, or was refused.
    pub(super) fn is_half_open(&self) -> bool {
        match self.phase.get() {
            Phase::Handshake | Phase::Frozen => true,
            Phase::Open => false,
            Phase::Closing { was_open, .. } => !was_open,
        }
    }

    /// Returns true for a session that is not closing.
    pub(super) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    /// Returns true until the handshake has come.
    pub(super) fn awaits_handshake(&self) -> bool {
        self.phase.get() == Phase::Handshake
    }

    /// Returns the cause for which it is closing.
    pub(super) fn end_cause(&self) -> Option<EndCause> {
        match self.phase.get() {
            Phase::Handshake | Phase::Frozen | Phase::Open => None,
            Phase::Closing { cause, .. } => Some(cause),
        }
    }

    /// Begins the session.
    pub(super) fn open(&self) {
        self.phase.set(Phase::Open);
    }

    /// Refuses the session: only the frozen kinds are answered from now on.
    pub(super) fn freeze(&self) {
        if self.awaits_handshake() {
            self.phase.set(Phase::Frozen);
        }
    }

    /// Ends it once its output is written. The first cause holds.
    pub(super) fn close(&self, cause: EndCause) {
        if self.end_cause().is_none() {
            self.phase.set(Phase::Closing { cause, was_open: self.is_open() });
        }
    }

    /// Ends it without its output.
    fn break_off(&self) {
        self.is_broken.set(true);
        self.wake();
    }

    /// Returns true if the socket takes no further output.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Stops reading for a reason, or ends that reason.
    pub(super) fn set_blocked(&self, block: Block, is_blocked: bool) {
        self.blocks.set(block, is_blocked);
    }

    pub(super) fn is_blocked_by(&self, block: Block) -> bool {
        self.blocks.has(block)
    }

    /// Returns true if its input is not read for any reason.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocks.0.get() != 0
    }

    /// Counts a frame before the session, and returns their number.
    pub(super) fn count_early_frame(&self) -> u32 {
        let before = self.before_session.get();
        let frames = before.frames + 1;
        self.before_session.set(BeforeSession { frames, ..before });
        frames
    }

    /// Returns true for a session, and for the first request for the status before one.
    pub(super) fn may_have_status(&self) -> bool {
        let before = self.before_session.get();
        if !self.is_open() {
            self.before_session.set(BeforeSession { has_status: true, ..before });
        }
        self.is_open() || !before.has_status
    }

    pub(super) fn wake(&self) {
        self.waker.borrow().wake_by_ref();
    }

    /// Ends it if its handshake or a frame takes too long.
    pub(super) fn check_time(&self, now_us: u64) {
        if self.limit.get() == Limit::New {
            self.limit.set(Limit::Since(now_us));
        }
        let max_ms = if self.is_half_open() { HANDSHAKE_MS_MAX } else { FRAME_MS_MAX };
        let is_late = match self.limit.get() {
            Limit::None | Limit::New => false,
            Limit::Since(us) => now_us.saturating_sub(us) > max_ms * 1000,
        };
        if self.end_cause().is_some() {
            // It does not even take its goodbye.
            if is_late {
                self.break_off();
            }
            return;
        }
        if is_late && !self.is_kept_waiting() {
            let what = if self.is_half_open() { "the handshake" } else { "a frame" };
            self.good_bye(&format!("timed out: {what} was not completed"));
        }
    }

    /// Returns true if the next step is ours and not the client's: all that it sent is whole, or
    /// more of it is read in a later turn. A frame that has begun is read to its end, whatever else
    /// has to wait, so only the client can leave it unfinished.
    pub(super) fn is_kept_waiting(&self) -> bool {
        self.place.get() != Place::Outside
            || (self.held.get() && self.lacks() == 0)
            || (self.blocks.has(Block::Output) && planted(Fault::FullOutputStopsFrameTimer))
    }

    /// Bytes that finish the frame that has begun to come; 0 if none has.
    pub(super) fn lacks(&self) -> usize {
        let lacks = self.lacks.get().unwrap_or_else(|| frame::last_lacks(&self.partial.borrow()));
        self.lacks.set(Some(lacks));
        lacks
    }

    /// It is read again: whatever is incomplete has its whole time from now on.
    pub(super) fn resume(&self) {
        self.blocks.set(Block::Hub, false);
        self.restart_limit();
    }

    /// Restarts the time limit of an incomplete frame, which could not be finished while we did not
    /// read.
    pub(super) fn restart_limit(&self) {
        if !self.is_half_open() && self.limit.get() != Limit::None {
            self.limit.set(Limit::New);
        }
    }

    /// Puts it into the line of its account. Returns true if it was not there yet.
    pub(super) fn line_up(&self) -> bool {
        self.place.replace(Place::InLine) != Place::InLine
    }

    /// It is its turn.
    pub(super) fn call(&self) {
        self.place.set(Place::Called);
        self.wake();
    }

    /// Returns true if it was called since it last went on.
    pub(super) fn take_call(&self) -> bool {
        let called = self.place.get() == Place::Called;
        if called {
            self.place.set(Place::Outside);
        }
        called
    }

    /// Ends it because its user's sessions keep too much memory, and frees what it keeps. It
    /// receives the reason if it still takes output.
    pub(super) fn cut_off(&self, ledger: &mut Ledger, why: &str) {
        let takes = self.output.borrow().is_empty();
        self.forget(ledger);
        if takes {
            self.good_bye(why);
        } else {
            self.break_off();
        }
    }

    /// Returns true if it is to end for a reason of ours.
    pub(super) fn is_ending(&self) -> bool {
        self.is_broken() || self.end_cause().is_some()
    }

    /// Counts the memory that it keeps as its user's.
    pub(super) fn count(&self, ledger: &mut Ledger) {
        ledger.count(self.uid(), &mut self.output.borrow_mut(), self.input_bytes());
    }

    /// Bytes of memory that end with it, or not much later.
    pub(super) fn kept_bytes(&self) -> usize {
        self.output.borrow().waiting_bytes() + self.input_bytes()
    }

    pub(super) fn input_bytes(&self) -> usize {
        self.partial.borrow().capacity()
    }

    /// Drops what waits for it: its output has no reader any longer, and nothing more is taken from
    /// it.
    pub(super) fn forget(&self, ledger: &mut Ledger) {
        self.output.borrow_mut().clear();
        self.partial.take();
        self.count(ledger);
    }

    /// Puts messages and events that it is owed into its output.
    pub(super) fn put_chunks(&self, chunks: impl IntoIterator<Item = Chunk>) {
        let mut output = self.output.borrow_mut();
        for chunk in chunks {
            match chunk {
                Chunk::Batch(frame) => output.share(frame),
                Chunk::Event(event) => output.put(|bytes| control::put_event(bytes, &event)),
            }
        }
    }

    /// Ends its pending question: it was answered, and the session is read again.
    pub(super) fn end_question(&self) {
        self.blocks.set(Block::LookUp, false);
        self.wake();
    }

    /// Says why, and ends it once that is written.
    pub(super) fn good_bye(&self, reason: &str) {
        self.end(reason, None);
    }

    /// Says why, and ends it for a client that is not to come back by itself.
    pub(super) fn turn_out(&self, reason: &str) {
        self.end(reason, Some(RefusedCode::Denied));
    }

    pub(super) fn end(&self, reason: &str, code: Option<RefusedCode>) {
        let bye = Bye { reason: echo(reason).to_owned(), code };
        self.output.borrow_mut().put(|out| {
            frame::put(out, Kind::Bye, |body| hello::put(body, &bye));
        });
        self.close(EndCause::Server);
        self.limit.set(Limit::New);
        self.partial.take();
        self.wake();
    }

    /// Returns true if it may be read again, now that its output is written.
    pub(super) fn take_unread(&self) -> bool {
        let is_due = self.output.borrow().is_empty() && self.blocks.has(Block::Output);
        if is_due {
            self.blocks.set(Block::Output, false);
        }
        is_due
    }

    /// Writes what waits; false if the socket is full or broken (then the task sees it).
    pub(super) fn write(&self, waker: &Waker) -> bool {
        let mut output = self.output.borrow_mut();
        let mut socket = self.socket.borrow_mut();
        let mut cx = Context::from_waker(waker);
        while !output.is_empty() {
            match socket.poll_write(&mut cx, &output.front()) {
                Poll::Ready(Ok(bytes)) if bytes > 0 => output.advance(bytes),
                Poll::Ready(Ok(_) | Err(_)) => {
                    self.is_broken.set(true);
                    waker.wake_by_ref();
                    return false;
                }
                Poll::Pending => return false,
            }
        }
        true
    }
}

/// Returns the part of a client's own words that is repeated to it.
pub(super) fn echo(text: &str) -> &str {
    &text[..text.floor_char_boundary(ECHO_BYTES_MAX)]
}

/// A waker for sessions whose task has not been polled yet.
fn no_waker() -> Waker {
    Waker::noop().clone()
}
