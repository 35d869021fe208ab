//! One session's I/O: reads frames into the hub, writes what it is owed, notices its end.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::core::{Core, no_waker};
use super::{accept::Standing, allowance::Allowance, past, status, threads::Work};
use crate::{
    chat::{
        frames::Frame,
        hub::Chunk,
        member::{EndCause, Peer, SessionId},
        names::{Target, UserName},
        refusal::RefusalCode,
        request::{Follow, Request},
    },
    faults::{Fault, planted},
    limits::{
        ECHO_BYTES_MAX, END_CAUSE_MS_MAX, FRAME_COST_BYTES, FRAME_MS_MAX,
        FRAMES_BEFORE_SESSION_MAX, HANDSHAKE_MS_MAX, LAST_WORDS_BYTES_MAX, OUTPUT_BYTES_HIGH,
        READ_BYTES_PER_TURN_MAX, READ_BYTES_PER_TURN_MIN, REQUEST_COST_BYTES,
        REQUESTS_PER_TURN_MAX, SESSION_BYTES_PER_USER_HIGH,
    },
    os,
    session::{Accepted, Ledger, Output},
    wire::{
        control,
        frame::{self, Kind, PROTOCOL_VERSION, Parsed},
        hello::{self, Bye, Hello, Refused, RefusedCode, Welcome},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was said yet.
    New,
    /// Of another version, or not admitted: only the frozen kinds are answered.
    Frozen,
    /// A session of the hub.
    Open,
}

/// Time limit of an unfinished handshake, frame or good-bye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// Nothing is unfinished.
    None,
    /// The time begins at the next look at the timers.
    New,
    /// The time began at this time of the hub, microseconds.
    Since(u64),
}

/// Where a connection is in the line of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
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
    socket: RefCell<Accepted>,
    peer: Peer,
    /// A host's server may let in some users only.
    standing: Standing,
    pub(super) output: RefCell<Output>,
    pub(super) waker: RefCell<Waker>,
    pub(super) hungry: Cell<bool>,
    pub(super) paused: Cell<bool>,
    pub(super) touched: Cell<bool>,
    phase: Cell<Phase>,
    /// A frame that is not complete yet.
    partial: RefCell<Vec<u8>>,
    limit: Cell<Limit>,
    /// Said good-bye, or is to end for a reason of ours.
    ending: Cell<Option<EndCause>>,
    /// A question of it waits for the user database: what it says next waits as well, so that answers
    /// keep their order.
    looking_up: Cell<bool>,
    /// `partial` begins with whole frames that were not taken yet.
    held: Cell<bool>,
    /// Bytes that the last frame of `partial` lacks, once that was looked for.
    lacks: Cell<Option<usize>>,
    place: Cell<Place>,
    /// Nothing can be written any more.
    broken: Cell<bool>,
    /// Was not read because its output was full; to be read again once there is room.
    unread: Cell<bool>,
    /// It asked for the status before it was a session: that is answered once.
    asked: Cell<bool>,
    /// Frames that were taken before it was a session.
    early: Cell<u32>,
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

    /// Whether it is our turn and not its: all that it sent is whole, or more of it is read in a later turn. A frame
    /// that has begun is read to its end, whatever else has to wait, so only the client can leave it unfinished.
    fn is_kept_waiting(&self) -> bool {
        self.place.get() != Place::Outside
            || (self.held.get() && self.lacks() == 0)
            || (self.unread.get() && planted(Fault::FullOutputStopsFrameTimer))
    }

    /// Bytes that finish the frame that has begun to come; 0 if none has.
    fn lacks(&self) -> usize {
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
    fn restart_limit(&self) {
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
    fn take_call(&self) -> bool {
        let called = self.place.get() == Place::Called;
        if called {
            self.place.set(Place::Outside);
        }
        called
    }

    /// Ends it because its user's sessions keep too much memory, and frees what it keeps. It is told so if it
    /// takes what it is told.
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

    fn input_bytes(&self) -> usize {
        self.partial.borrow().capacity()
    }

    /// Nobody takes what waits for it any more, and nothing more is taken from it.
    fn forget(&self, ledger: &mut Ledger) {
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

    fn end(&self, reason: &str, code: Option<RefusedCode>) {
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

/// Runs one connection to its end.
pub(super) async fn run(core: Rc<Core>, conn: Rc<Conn>) {
    let end = conn.socket.borrow().process_end(conn.peer.pid);
    let mut process = match end {
        Ok(process) => process,
        // It is gone already, or this kernel can't watch it: then the connection's end has to do.
        Err(_) => os::ProcessEnd::never(),
    };
    core.inner.borrow_mut().conns.insert(conn.id, Rc::clone(&conn));
    let guard = Guard { core: &core, conn: &conn, cause: Cell::new(EndCause::Server) };
    let mut cause = poll_fn(|cx| poll(&core, &conn, &mut process, cx)).await;
    let wait = Duration::from_millis(END_CAUSE_MS_MAX);
    if matches!(cause, EndCause::Closed | EndCause::Killed) {
        // What it said last came before its end, a good-bye above all. It may still be on its way, and the
        // end does not come while a child of it holds the session.
        conn.output.borrow_mut().clear();
        let _ = tokio::time::timeout(wait, poll_fn(|cx| last_words(&core, &conn, cx))).await;
        conn.look_for_quit(&core);
        cause = conn.ending.get().unwrap_or(cause);
    }
    if cause == EndCause::Closed {
        // The socket of a killed process closes a moment before its end can be seen.
        let ended = tokio::time::timeout(wait, poll_fn(|cx| process.poll_ended(cx))).await;
        if ended.is_ok() {
            cause = EndCause::Killed;
        }
    }
    guard.cause.set(cause);
}

/// Takes a connection out of everything when its task ends, in whatever way.
struct Guard<'a> {
    core: &'a Core,
    conn: &'a Conn,
    cause: Cell<EndCause>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.conn.is_half_open() {
            self.core.settle_half_open(self.conn.uid());
        }
        if self.conn.broken.get() {
            self.conn.socket.borrow().hang_up();
        }
        let Ok(mut inner) = self.core.inner.try_borrow_mut() else { return };
        inner.conns.remove(&self.conn.id);
        self.conn.forget(&mut inner.memory);
        if let Some(channel) = &mut inner.channel {
            channel.remove_slot(self.conn.id.0);
        }
        inner.hub.close(self.core.now(), self.conn.id, self.cause.get());
        self.core.turn_due.notify_one();
    }
}

/// What is repeated of a client's own words.
fn echo(text: &str) -> &str {
    &text[..text.floor_char_boundary(ECHO_BYTES_MAX)]
}

fn poll(
    core: &Rc<Core>,
    conn: &Rc<Conn>,
    process: &mut os::ProcessEnd,
    cx: &mut Context<'_>,
) -> Poll<EndCause> {
    if !conn.waker.borrow().will_wake(cx.waker()) {
        conn.waker.replace(cx.waker().clone());
    }
    if process.poll_ended(cx).is_ready() {
        return Poll::Ready(conn.ending.get().unwrap_or(EndCause::Killed));
    }
    let called = conn.take_call();
    // First make room, then read: what is read may want an answer.
    core.inner.borrow_mut().pump(core, conn, called);
    if let Poll::Ready(cause) = read(core, conn, cx, called) {
        return Poll::Ready(conn.ending.get().unwrap_or(cause));
    }
    core.inner.borrow_mut().pump(core, conn, false);
    if core.inner.borrow().hub.has_actions() {
        core.turn_due.notify_one();
    }
    if conn.broken.get() {
        return Poll::Ready(conn.ending.get().unwrap_or(EndCause::Closed));
    }
    match conn.ending.get() {
        Some(cause) if conn.output.borrow().is_empty() => Poll::Ready(cause),
        Some(_) | None => Poll::Pending,
    }
}

/// Reads what is left of a connection whose other end has ended, until it said good-bye or nothing is left.
fn last_words(core: &Rc<Core>, conn: &Rc<Conn>, cx: &mut Context<'_>) -> Poll<()> {
    match read(core, conn, cx, conn.take_call()) {
        Poll::Pending if conn.ending.get().is_none() => Poll::Pending,
        Poll::Pending | Poll::Ready(_) => Poll::Ready(()),
    }
}

/// Reads once, so that no session keeps the others waiting: what else it has to say, it says in a later turn.
/// `called`: it stood in line, and is read even if its account has used its turn.
fn read(
    core: &Rc<Core>,
    conn: &Rc<Conn>,
    cx: &mut Context<'_>,
    mut called: bool,
) -> Poll<EndCause> {
    // After a short read the socket is empty; asked once more, it wakes the task.
    for _ in 0..2 {
        let full = conn.is_full();
        conn.unread.set(full);
        let stopped = full || conn.paused.get() || conn.looking_up.get();
        // Whatever it has to wait for, the frame is finished that has begun to come.
        let most = if stopped { conn.lacks() } else { READ_BYTES_PER_TURN_MAX };
        if most == 0 || conn.ending.get().is_some() {
            return Poll::Pending;
        }
        let credit = core.inner.borrow_mut().hub.credit_left(conn.id);
        if credit == 0 && !std::mem::take(&mut called) {
            break;
        }
        if conn.held.get() && !stopped {
            // What was read before comes first.
            conn.take(core, &[]);
            core.turn_due.notify_one();
            continue;
        }
        let most = most.min(core.piece_bytes(conn.uid(), credit));
        let mut buffer = core.read_buffer.borrow_mut();
        let bytes = match conn.socket.borrow_mut().poll_read(cx, &mut buffer[..most]) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(EndCause::Closed),
            Poll::Ready(Ok(bytes)) => bytes,
        };
        conn.take(core, &buffer[..bytes]);
        core.turn_due.notify_one();
        if bytes == most {
            conn.restart_limit();
            break;
        }
    }
    core.line_up(conn);
    Poll::Pending
}

impl Core {
    /// Bytes that are read of a session at a time: not much more than its account may have taken, so that little
    /// of it has to wait here, and less if its user's sessions keep much.
    fn piece_bytes(&self, uid: u32, credit: usize) -> usize {
        match self.inner.borrow().memory.bytes_of(uid) > SESSION_BYTES_PER_USER_HIGH {
            true => READ_BYTES_PER_TURN_MIN,
            false => credit.clamp(READ_BYTES_PER_TURN_MIN, READ_BYTES_PER_TURN_MAX),
        }
    }
}

impl Conn {
    /// Takes bytes from the socket: whole frames go to the hub, the rest is kept.
    fn take(self: &Rc<Self>, core: &Rc<Core>, bytes: &[u8]) {
        let mut partial = self.partial.take();
        let taken = if partial.is_empty() {
            let taken = self.take_frames(core, bytes);
            if taken < bytes.len() && self.ending.get().is_none() {
                partial.extend_from_slice(&bytes[taken..]);
            }
            taken
        } else {
            partial.extend_from_slice(bytes);
            let taken = self.take_frames(core, &partial);
            partial.drain(..taken);
            taken
        };
        if !self.is_half_open() && self.ending.get().is_none() {
            // Each frame has its time; before the session begins there is one for everything.
            if partial.is_empty() {
                self.limit.set(Limit::None);
            } else if taken > 0 || self.limit.get() == Limit::None {
                self.limit.set(Limit::New);
            }
        }
        if self.ending.get().is_some() {
            partial.clear();
        }
        // An idle session holds no memory for its input.
        if partial.capacity() > 2 * partial.len() {
            partial.shrink_to_fit();
        }
        self.partial.replace(partial);
        self.lacks.set(None);
    }

    /// Reads what is left for a good-bye alone. It counts whatever the server had no time to take before
    /// it: the session was paused, or its account had used its turn.
    fn look_for_quit(&self, core: &Core) {
        if self.is_half_open() || self.ending.get().is_some() {
            return;
        }
        let mut rest = self.partial.take();
        let mut buffer = core.read_buffer.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        let mut left = LAST_WORDS_BYTES_MAX;
        loop {
            let mut passed = 0;
            loop {
                let parsed = match frame::parse(&rest[passed..]) {
                    Ok(Some(parsed)) => parsed,
                    Ok(None) => break,
                    Err(_) => return,
                };
                passed += parsed.bytes;
                let is_request = parsed.kind == Kind::Request;
                let is_quit = |(_, request): (u32, Request)| request == Request::Quit;
                if is_request && control::read_request(parsed.body).is_ok_and(is_quit) {
                    return self.ending.set(Some(EndCause::Quit));
                }
            }
            rest.drain(..passed);
            match self.socket.borrow_mut().poll_read(&mut cx, &mut buffer) {
                Poll::Ready(Ok(bytes)) if bytes > 0 && bytes <= left => {
                    left -= bytes;
                    rest.extend_from_slice(&buffer[..bytes]);
                }
                Poll::Ready(_) | Poll::Pending => return,
            }
        }
    }

    /// Whether so much waits to be written that nothing more is taken from it.
    fn is_full(&self) -> bool {
        self.output.borrow().waiting_bytes() >= OUTPUT_BYTES_HIGH
    }

    /// Takes whole frames, as many as are this session's turn: what it causes is bounded at each step
    /// by its output, by what it and its account have in flight, and by a number of questions.
    fn take_frames(self: &Rc<Self>, core: &Rc<Core>, bytes: &[u8]) -> usize {
        let mut taken = 0;
        let mut allowance = Allowance::default();
        self.held.set(false);
        while self.ending.get().is_none() {
            match frame::parse(&bytes[taken..]) {
                Ok(None) => break,
                Ok(Some(parsed)) => {
                    let asks = matches!(parsed.kind, Kind::Request | Kind::Status);
                    let submits = parsed.kind == Kind::Submit && self.phase.get() == Phase::Open;
                    let open = self.phase.get() == Phase::Open;
                    let mut inner = core.inner.borrow_mut();
                    let spent = open && inner.hub.credit_left(self.id) == 0;
                    let out_of_turn = self.looking_up.get()
                        || self.is_full()
                        || !allowance.admits(parsed.kind, spent)
                        || (asks && inner.hub.is_paused(self.id));
                    // The hub says when it may go on.
                    let paused = !out_of_turn
                        && ((submits && inner.hub.must_wait(core.now(), self.id))
                            || (asks && open && inner.hub.must_wait_to_ask(self.id)));
                    drop(inner);
                    if out_of_turn || paused {
                        self.held.set(true);
                        self.paused.set(self.paused.get() || paused);
                        break;
                    }
                    taken += parsed.bytes;
                    // What is taken of a spent account costs nothing: such debts had no end.
                    if open && !spent {
                        let cost =
                            parsed.bytes + if asks { REQUEST_COST_BYTES } else { FRAME_COST_BYTES };
                        core.inner.borrow_mut().hub.spend(
                            core.now(),
                            self.id,
                            cost,
                            asks || submits,
                        );
                    }
                    self.take_frame(core, &parsed);
                    let mut inner = core.inner.borrow_mut();
                    if asks || inner.hub.action_count() > REQUESTS_PER_TURN_MAX {
                        inner.act(core);
                    }
                }
                Err(e) => self.misbehaves(core, &e.to_string()),
            }
        }
        taken
    }

    fn take_frame(self: &Rc<Self>, core: &Rc<Core>, parsed: &Parsed<'_>) {
        let open = self.phase.get() == Phase::Open;
        let body = parsed.body;
        let early = self.early.get() + u32::from(!open);
        self.early.set(early);
        let read = match parsed.kind {
            _ if early > FRAMES_BEFORE_SESSION_MAX => {
                Err("too many frames before the handshake".to_owned())
            }
            Kind::Hello if self.phase.get() == Phase::New => self.take_hello(core, body),
            Kind::Stop => self.take_stop(core),
            Kind::Status if open || !self.asked.replace(true) => self.take_status(core),
            Kind::Request if open => self.take_request(core, body),
            Kind::Submit if open => control::read_submit(body)
                .map(|submit| core.inner.borrow_mut().hub.submit(core.now(), self.id, &submit))
                .map_err(|e| e.to_string()),
            Kind::Report if open => control::read_report(body)
                .map(|report| core.inner.borrow_mut().hub.report(core.now(), self.id, &report))
                .map_err(|e| e.to_string()),
            Kind::Repair if open => control::read_repair(body)
                .map(|(tag, first, last)| {
                    core.inner.borrow_mut().hub.repair(core.now(), self.id, tag, first, last);
                })
                .map_err(|e| e.to_string()),
            Kind::Pong if open => Ok(()),
            Kind::Hello
            | Kind::Status
            | Kind::Request
            | Kind::Submit
            | Kind::Report
            | Kind::Repair
            | Kind::Pong
            | Kind::Welcome
            | Kind::Refused
            | Kind::StatusReply
            | Kind::Bye
            | Kind::Reply
            | Kind::Batch
            | Kind::Ack
            | Kind::Nack
            | Kind::Event => Err("a frame that is not expected here".to_owned()),
        };
        if open {
            core.inner.borrow_mut().hub.heard(core.now(), self.id);
        }
        if let Err(e) = read {
            self.misbehaves(core, &e);
        }
    }

    /// It sent what is no frame, or not one for here: it is told so, and ended.
    fn misbehaves(&self, core: &Core, what: &str) {
        core.log.of_user(self.peer.uid, &self.peer.user, what);
        self.good_bye(what);
    }

    fn take_hello(&self, core: &Core, body: &[u8]) -> Result<(), String> {
        let hello: Hello = hello::read(body)?;
        if hello.protocol != PROTOCOL_VERSION {
            let text = format!(
                "the server speaks protocol {PROTOCOL_VERSION} (moot {}), this client protocol {} \
                 (moot {}); `moot stop` ends the old server",
                env!("CARGO_PKG_VERSION"),
                hello.protocol,
                echo(&hello.version)
            );
            self.refuse(RefusedCode::Version, text);
            return Ok(());
        }
        if !self.standing.admitted {
            self.not_admitted();
            return Ok(());
        }
        let mut inner = core.inner.borrow_mut();
        // In the same step: of a user who is not here it may be forgotten.
        if let Some(rights) = self.standing.rights {
            inner.hub.set_rights(self.peer.uid, rights);
        }
        inner.hub.set_configured_leads(self.peer.uid, &self.standing.leads);
        if let Err(refusal) =
            inner.hub.open(core.now(), self.id, self.peer.clone(), hello.for_hub())
        {
            let code = match refusal.code {
                RefusalCode::Input => RefusedCode::Input,
                RefusalCode::Denied => RefusedCode::Denied,
                RefusalCode::Failed | RefusalCode::Absent | RefusalCode::UnknownSubmit => {
                    RefusedCode::Failed
                }
            };
            self.refuse(code, refusal.text);
            return Ok(());
        }
        drop(inner);
        core.settle_half_open(self.peer.uid);
        self.phase.set(Phase::Open);
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: core.run,
            session: self.id.0,
            pid: std::process::id(),
            user: self.peer.user.to_string(),
            uid: self.peer.uid,
            broadcast: core.broadcast_word().to_owned(),
            epoch: core.epoch,
            source_port: core.source_port(),
        };
        self.put(Kind::Welcome, &welcome);
        Ok(())
    }

    fn put<T: serde::Serialize>(&self, kind: Kind, body: &T) {
        let mut output = self.output.borrow_mut();
        output.put(|out| frame::put(out, kind, |to| hello::put(to, body)));
    }

    fn not_admitted(&self) {
        let text = format!(
            "this server does not admit {} (`allow` in its moot.toml): not permitted; --server own uses your own server",
            self.peer.user
        );
        self.refuse(RefusedCode::Denied, text);
    }

    fn refuse(&self, code: RefusedCode, text: String) {
        self.phase.set(Phase::Frozen);
        self.put(Kind::Refused, &Refused::new(code, text));
    }

    fn take_stop(&self, core: &Core) -> Result<(), String> {
        if self.peer.uid == os::own_uid() || self.peer.uid == 0 {
            core.log.info(&format!("stop asked by {} (pid {})", self.peer.user, self.peer.pid));
            core.stop_asked.notify_one();
            return Ok(());
        }
        let text = "only the server's own user and root may stop it".to_owned();
        self.put(Kind::Refused, &Refused::new(RefusedCode::Denied, text));
        Ok(())
    }

    fn take_status(&self, core: &Core) -> Result<(), String> {
        if !self.standing.admitted {
            self.not_admitted();
            return Ok(());
        }
        let status = status::status_for(core, self.uid());
        self.put(Kind::StatusReply, &status);
        Ok(())
    }

    fn take_request(self: &Rc<Self>, core: &Rc<Core>, body: &[u8]) -> Result<(), String> {
        let (serial, request) = control::read_request(body).map_err(|e| e.to_string())?;
        if request == Request::Quit {
            self.ending.set(Some(EndCause::Quit));
            self.limit.set(Limit::New);
            return Ok(());
        }
        let mut inner = core.inner.borrow_mut();
        if let (Request::Listening { slot, .. }, Some(channel)) = (&request, &mut inner.channel) {
            channel.set_slot(self.id.0, *slot);
        }
        match unknown_user(&request).filter(|user| !inner.hub.knows_user(user)).cloned() {
            None => {
                drop(inner);
                self.answer(core, serial, request);
            }
            Some(user) => {
                self.looking_up.set(true);
                drop(inner);
                let (core, conn) = (Rc::clone(core), Rc::clone(self));
                tokio::task::spawn_local(look_up(core, conn, serial, request, user));
            }
        }
        Ok(())
    }
}

impl Conn {
    /// Answers a request whose users are known, or known not to be: by the hub, or by the store.
    fn answer(self: &Rc<Self>, core: &Rc<Core>, serial: u32, request: Request) {
        let mut inner = core.inner.borrow_mut();
        let result = match inner.hub.question(self.id, &request) {
            None => return inner.hub.request(core.now(), self.id, serial, request),
            Some(Ok(Err(question))) => {
                self.looking_up.set(true);
                let asked = inner.hub.next_stream();
                drop(inner);
                let (core, conn) = (Rc::clone(core), Rc::clone(self));
                tokio::task::spawn_local(past::answer(core, conn, serial, question, asked));
                return;
            }
            Some(Ok(Ok(reply))) => Ok(reply),
            Some(Err(refusal)) => Err(refusal),
        };
        inner.send(core, self.id, Frame::Reply { serial, result });
    }
}

/// The user that has to be known before there is an answer.
fn unknown_user(request: &Request) -> Option<&UserName> {
    let target = match request {
        Request::Join { follow: Follow::With(user), .. } => return Some(user),
        Request::Search { from: Some(user), .. }
        | Request::Role { user, .. }
        | Request::KickFromRoom { user, .. }
        | Request::Kick { user, .. } => return Some(user),
        Request::Search { target: Some(target), .. } => target,
        Request::Open { target }
        | Request::Span { target }
        | Request::Page { target, .. }
        | Request::NumberAt { target, .. }
        | Request::MarkRead { target, .. } => target,
        Request::Unread { target, .. } => target.as_ref()?,
        Request::Join { .. }
        | Request::Part { .. }
        | Request::Unfollow { .. }
        | Request::Rooms { .. }
        | Request::CreateRoom { .. }
        | Request::Topic { .. }
        | Request::Away { .. }
        | Request::Back { .. }
        | Request::Announce(_)
        | Request::Receipt { .. }
        | Request::Notices { .. }
        | Request::Notice { .. }
        | Request::AckNotice { .. }
        | Request::CancelNotice { .. }
        | Request::Will { .. }
        | Request::Listening { .. }
        | Request::Deaf { .. }
        | Request::Search { .. }
        | Request::DeleteRoom { .. }
        | Request::Who { .. }
        | Request::Drop { .. }
        | Request::Audit { .. }
        | Request::Active
        | Request::Ask { .. }
        | Request::Answer(_)
        | Request::Take { .. }
        | Request::Answered { .. }
        | Request::Quit => return None,
    };
    match target {
        Target::User { user, .. } => Some(user),
        Target::Room(_) => None,
    }
}

/// Asks the user database, which may be slow or far away, on another thread.
async fn look_up(core: Rc<Core>, conn: Rc<Conn>, serial: u32, request: Request, user: UserName) {
    let turn = core.named_turn(conn.uid()).await;
    // Meanwhile the session may have ended, or another one may have asked for the same user.
    if !core.inner.borrow().conns.contains_key(&conn.id) {
        return;
    }
    if !core.inner.borrow().hub.knows_user(&user) {
        let (name, before) = (user.clone(), core.inner.borrow().hub.uid_of_user(&user));
        let look = move || {
            let found = os::user_id(name.as_str());
            // Whoever had the name has another one by now, or none.
            let other = before.filter(|uid| found != Some(*uid));
            (found, other.and_then(|uid| Some((uid, os::user_name(uid)?))))
        };
        if let Ok((found, other)) = core.threads.run(Work::LookUp, look).await {
            let hub = &mut core.inner.borrow_mut().hub;
            match found {
                Some(uid) => hub.learn_user(user, uid),
                None => hub.learn_no_user(user),
            }
            if let Some((uid, name)) = other {
                hub.rename_user(uid, Some(name));
            }
        }
    }
    drop(turn);
    conn.end_question();
    conn.answer(&core, serial, request);
    core.turn_due.notify_one();
}
