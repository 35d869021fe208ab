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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was said yet.
    New,
    /// Of another version, or not admitted: only the frozen kinds are answered.
    Frozen,
    /// A session of the hub.
    Open,
}

/// Time limit of an unfinished handshake, frame or good-bye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Nothing is unfinished.
    None,
    /// The time begins at the next look at the timers.
    New,
    /// The time began at this time of the hub, microseconds.
    Since(u64),
}

/// Where a connection is in the line of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It does not wait.
    Outside,
    /// It waits for a later turn.
    InLine,
    /// It was called, and goes on when its task runs.
    Called,
}

/// Who pays for a connection: a user id on a host's server, else a process by its start time.
pub(super) type AccountKey = (u32, u32, u64);

/// One connection and its state.
pub(super) struct Conn {
    pub(super) id: SessionId,
    pub(super) account: AccountKey,
    pub(super) socket: RefCell<Accepted>,
    pub(super) peer: Peer,
    /// A host's server may let in some users only.
    pub(super) standing: Standing,
    pub(super) output: RefCell<Output>,
    pub(super) waker: RefCell<Waker>,
    pub(super) hungry: Cell<bool>,
    pub(super) paused: Cell<bool>,
    pub(super) touched: Cell<bool>,
    pub(super) phase: Cell<Phase>,
    /// A frame that is not complete yet.
    pub(super) partial: RefCell<Vec<u8>>,
    pub(super) limit: Cell<Limit>,
    /// Said good-bye, or is to end for a reason of ours.
    pub(super) ending: Cell<Option<EndCause>>,
    /// A question of it waits for the user database: what it says next waits as well, so that
    /// answers keep their order.
    pub(super) looking_up: Cell<bool>,
    /// `partial` begins with whole frames that were not taken yet.
    pub(super) held: Cell<bool>,
    /// Bytes that the last frame of `partial` lacks, once that was looked for.
    pub(super) lacks: Cell<Option<usize>>,
    pub(super) place: Cell<Place>,
    /// Nothing can be written any more.
    pub(super) broken: Cell<bool>,
    /// Was not read because its output was full; to be read again once there is room.
    pub(super) unread: Cell<bool>,
    /// It asked for the status before it was a session: that is answered once.
    pub(super) asked: Cell<bool>,
    /// Frames that were taken before it was a session.
    pub(super) early: Cell<u32>,
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
            paused: Cell::new(false),
            touched: Cell::new(false),
            phase: Cell::new(Phase::New),
            partial: RefCell::default(),
            limit: Cell::new(Limit::New),
            ending: Cell::new(None),
            looking_up: Cell::new(false),
            held: Cell::new(false),
            lacks: Cell::new(None),
            place: Cell::new(Place::Outside),
            broken: Cell::new(false),
            unread: Cell::new(false),
            asked: Cell::new(false),
            early: Cell::new(0),
        }
    }

    pub(super) fn uid(&self) -> u32 {
        self.peer.uid
    }

    pub(super) fn user(&self) -> &UserName {
        &self.peer.user
    }

    /// Whether it is no session: it has not shaken hands, or was refused.
    pub(super) fn is_half_open(&self) -> bool {
        self.phase.get() != Phase::Open
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
        if self.ending.get().is_some() {
            // It does not even take its good-bye.
            if is_late {
                self.broken.set(true);
                self.wake();
            }
            return;
        }
        if is_late && !self.is_kept_waiting() {
            let what = if self.is_half_open() { "the handshake" } else { "a frame" };
            self.good_bye(&format!("{what} was not finished in time"));
        }
    }

    /// Whether it is our turn and not its: all that it sent is whole, or more of it is read in a
    /// later turn. A frame that has begun is read to its end, whatever else has to wait, so only
    /// the client can leave it unfinished.
    pub(super) fn is_kept_waiting(&self) -> bool {
        self.place.get() != Place::Outside
            || (self.held.get() && self.lacks() == 0)
            || (self.unread.get() && planted(Fault::FullOutputStopsFrameTimer))
    }

    /// Bytes that finish the frame that has begun to come; 0 if none has.
    pub(super) fn lacks(&self) -> usize {
        let lacks = self.lacks.get().unwrap_or_else(|| frame::last_lacks(&self.partial.borrow()));
        self.lacks.set(Some(lacks));
        lacks
    }

    /// It is read again: whatever is incomplete has its whole time from now on.
    pub(super) fn resume(&self) {
        self.paused.set(false);
        self.restart_limit();
    }

    /// What is incomplete could not be finished, since we did not read on.
    pub(super) fn restart_limit(&self) {
        if !self.is_half_open() && self.limit.get() != Limit::None {
            self.limit.set(Limit::New);
        }
    }

    /// Puts it into the line of its account; whether it did not stand there.
    pub(super) fn line_up(&self) -> bool {
        self.place.replace(Place::InLine) != Place::InLine
    }

    /// It is its turn.
    pub(super) fn call(&self) {
        self.place.set(Place::Called);
        self.wake();
    }

    /// Whether it was called since it last went on.
    pub(super) fn take_call(&self) -> bool {
        let called = self.place.get() == Place::Called;
        if called {
            self.place.set(Place::Outside);
        }
        called
    }

    /// Ends it because its user's sessions keep too much memory, and frees what it keeps. It is
    /// told so if it takes what it is told.
    pub(super) fn cut_off(&self, ledger: &mut Ledger, why: &str) {
        let takes = self.output.borrow().is_empty();
        self.forget(ledger);
        if takes {
            self.good_bye(why);
        } else {
            self.broken.set(true);
            self.wake();
        }
    }

    /// Whether it is to end for a reason of ours.
    pub(super) fn is_ending(&self) -> bool {
        self.broken.get() || self.ending.get().is_some()
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

    /// Nobody takes what waits for it any more, and nothing more is taken from it.
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

    /// What it asked was answered: it is heard again.
    pub(super) fn end_question(&self) {
        self.looking_up.set(false);
        self.wake();
    }

    /// Says why, and ends it once that is written.
    pub(super) fn good_bye(&self, reason: &str) {
        self.end(reason, None);
    }

    /// The same, for whoever is not to come back by itself.
    pub(super) fn turn_out(&self, reason: &str) {
        self.end(reason, Some(RefusedCode::Denied));
    }

    pub(super) fn end(&self, reason: &str, code: Option<RefusedCode>) {
        let bye = Bye { reason: echo(reason).to_owned(), code };
        self.output.borrow_mut().put(|out| {
            frame::put(out, Kind::Bye, |body| hello::put(body, &bye));
        });
        self.ending.set(self.ending.get().or(Some(EndCause::Server)));
        self.limit.set(Limit::New);
        self.partial.take();
        self.wake();
    }

    /// Whether it may go on being read, now that its output is written.
    pub(super) fn take_unread(&self) -> bool {
        self.output.borrow().is_empty() && self.unread.replace(false)
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
                    self.broken.set(true);
                    waker.wake_by_ref();
                    return false;
                }
                Poll::Pending => return false,
            }
        }
        true
    }
}

/// What is repeated of a client's own words.
pub(super) fn echo(text: &str) -> &str {
    &text[..text.floor_char_boundary(ECHO_BYTES_MAX)]
}

/// A waker for sessions whose task has not been polled yet.
fn no_waker() -> Waker {
    Waker::noop().clone()
}
