//! Input of one session: reads frames into the hub, answers requests, and notices the session's
//! end.

use std::{
    cell::{Cell, RefMut},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    allowance::Allowance,
    conn::{Block, Conn, Limit, echo},
    core::Core,
    health, past,
    threads::Work,
};
use crate::{
    chat::{
        member::EndCause,
        names::UserName,
        refusal::RefusalCode,
        request::{Request, SessionRequest},
    },
    limits::{
        END_CAUSE_MS_MAX, FRAME_COST_BYTES, FRAMES_BEFORE_SESSION_MAX, LAST_WORDS_BYTES_MAX,
        OUTPUT_BYTES_HIGH, READ_BYTES_PER_TURN_MAX, READ_BYTES_PER_TURN_MIN, REQUEST_COST_BYTES,
        REQUESTS_PER_TURN_MAX, SESSION_BYTES_PER_USER_HIGH,
    },
    os,
    wire::{
        client_frame::ClientFrame,
        control,
        frame::{self, Kind, PROTOCOL_VERSION, Parsed},
        hello::{self, Hello, Refused, RefusedCode, Welcome},
        server_frame::BodyError,
    },
};

/// Reason given to a client for a frame that has no place in its session.
const UNEXPECTED: &str = "unexpected kind of frame";

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
        // What it said last came before its end, a goodbye above all. It may still be on its way,
        // and the end does not come while a child of it holds the session.
        conn.output.borrow_mut().clear();
        let _ = tokio::time::timeout(wait, poll_fn(|cx| last_words(&core, &conn, cx))).await;
        conn.look_for_quit(&core);
        cause = conn.end_cause().unwrap_or(cause);
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
        if self.conn.is_broken() {
            self.conn.socket.borrow().hang_up();
        }
        let Ok(mut inner) = self.core.inner.try_borrow_mut() else { return };
        inner.conns.remove(&self.conn.id);
        self.conn.forget(&mut inner.memory);
        if let Some(channel) = &mut inner.channel {
            channel.remove_slot(self.conn.id.0);
        }
        inner.hub.close(self.core.now(), self.conn.id, self.cause.get());
        self.core.signals.turn_due.notify_one();
    }
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
        return Poll::Ready(conn.end_cause().unwrap_or(EndCause::Killed));
    }
    let called = conn.take_call();
    // First make room, then read: what is read may want an answer.
    core.inner.borrow_mut().pump(core, conn, called);
    if let Poll::Ready(cause) = read(core, conn, cx, called) {
        return Poll::Ready(conn.end_cause().unwrap_or(cause));
    }
    core.inner.borrow_mut().pump(core, conn, false);
    if core.inner.borrow().hub.has_actions() {
        core.signals.turn_due.notify_one();
    }
    if conn.is_broken() {
        return Poll::Ready(conn.end_cause().unwrap_or(EndCause::Closed));
    }
    match conn.end_cause() {
        Some(cause) if conn.output.borrow().is_empty() => Poll::Ready(cause),
        Some(_) | None => Poll::Pending,
    }
}

/// Reads what is left of a connection whose other end has ended, until it said goodbye or nothing
/// is left.
fn last_words(core: &Rc<Core>, conn: &Rc<Conn>, cx: &mut Context<'_>) -> Poll<()> {
    match read(core, conn, cx, conn.take_call()) {
        Poll::Pending if conn.end_cause().is_none() => Poll::Pending,
        Poll::Pending | Poll::Ready(_) => Poll::Ready(()),
    }
}

/// Reads once, so that no session keeps the others waiting: what else it has to say, it says in a
/// later turn. `called`: it waited in line, and is read even if its account has used its turn.
fn read(
    core: &Rc<Core>,
    conn: &Rc<Conn>,
    cx: &mut Context<'_>,
    mut called: bool,
) -> Poll<EndCause> {
    // After a short read the socket is empty; asked once more, it wakes the task.
    for _ in 0..2 {
        let full = conn.is_full();
        conn.set_blocked(Block::Output, full);
        let stopped = conn.is_blocked();
        // Whatever it has to wait for, the frame is finished that has begun to come.
        let most = if stopped { conn.lacks() } else { READ_BYTES_PER_TURN_MAX };
        if most == 0 || conn.end_cause().is_some() {
            return Poll::Pending;
        }
        let credit = core.inner.borrow_mut().hub.credit_left(conn.id);
        if credit == 0 && !std::mem::take(&mut called) {
            break;
        }
        if conn.held.get() && !stopped {
            // What was read before comes first.
            conn.take(core, &[]);
            core.signals.turn_due.notify_one();
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
        core.signals.turn_due.notify_one();
        if bytes == most {
            conn.restart_limit();
            break;
        }
    }
    core.line_up(conn);
    Poll::Pending
}

impl Core {
    /// Bytes that are read of a session at a time: not much more than its account may have taken,
    /// so that little of it has to wait here, and less if its user's sessions keep much.
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
            if taken < bytes.len() && self.end_cause().is_none() {
                partial.extend_from_slice(&bytes[taken..]);
            }
            taken
        } else {
            partial.extend_from_slice(bytes);
            let taken = self.take_frames(core, &partial);
            partial.drain(..taken);
            taken
        };
        if !self.is_half_open() && self.end_cause().is_none() {
            // Each frame has its time; before the session begins there is one for everything.
            if partial.is_empty() {
                self.limit.set(Limit::None);
            } else if taken > 0 || self.limit.get() == Limit::None {
                self.limit.set(Limit::New);
            }
        }
        if self.end_cause().is_some() {
            partial.clear();
        }
        // An idle session holds no memory for its input.
        if partial.capacity() > 2 * partial.len() {
            partial.shrink_to_fit();
        }
        self.partial.replace(partial);
        self.lacks.set(None);
    }

    /// Reads what is left for a goodbye alone. It counts whatever the server had no time to take
    /// before it: the session was paused, or its account had used its turn.
    fn look_for_quit(&self, core: &Core) {
        if self.is_half_open() || self.end_cause().is_some() {
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
                let is_quit = |(_, request): (u32, Request)| {
                    request == Request::Session(SessionRequest::Quit)
                };
                if is_request && control::read_request(parsed.body).is_ok_and(is_quit) {
                    return self.close(EndCause::Quit);
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

    /// Returns true if the output is full, so that nothing more is read.
    fn is_full(&self) -> bool {
        self.output.borrow().waiting_bytes() >= OUTPUT_BYTES_HIGH
    }

    /// Takes whole frames, as many as are this session's turn: what it causes is bounded at each
    /// step by its output, by what it and its account have in flight, and by a number of questions.
    fn take_frames(self: &Rc<Self>, core: &Rc<Core>, bytes: &[u8]) -> usize {
        let mut taken = 0;
        let mut allowance = Allowance::default();
        self.held.set(false);
        while self.end_cause().is_none() {
            match frame::parse(&bytes[taken..]) {
                Ok(None) => break,
                Ok(Some(parsed)) => {
                    let asks = matches!(parsed.kind, Kind::Request | Kind::Status);
                    let open = self.is_open();
                    let submits = parsed.kind == Kind::Submit && open;
                    let mut inner = core.inner.borrow_mut();
                    let spent = open && inner.hub.credit_left(self.id) == 0;
                    let out_of_turn = self.is_blocked_by(Block::LookUp)
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
                        if paused {
                            self.set_blocked(Block::Hub, true);
                        }
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
        let open = self.is_open();
        let read = if !open && self.count_early_frame() > FRAMES_BEFORE_SESSION_MAX {
            Err("too many frames before the handshake".to_owned())
        } else if !open && !parsed.kind.is_frozen() {
            Err(UNEXPECTED.to_owned())
        } else {
            ClientFrame::read(parsed.kind, parsed.body).map_err(|e| match e {
                BodyError::Direction => UNEXPECTED.to_owned(),
                BodyError::Malformed(_) | BodyError::Frozen(_) => e.to_string(),
            })
        };
        let failed = match read {
            Ok(frame) => self.handle(core, frame),
            Err(e) => Some(e),
        };
        if open {
            core.inner.borrow_mut().hub.heard(core.now(), self.id);
        }
        if let Some(e) = failed {
            self.misbehaves(core, &e);
        }
    }

    /// Handles a frame; returns the error if it is not expected now.
    fn handle(self: &Rc<Self>, core: &Rc<Core>, frame: ClientFrame<'_>) -> Option<String> {
        let hub = || RefMut::map(core.inner.borrow_mut(), |inner| &mut inner.hub);
        match frame {
            ClientFrame::Hello(hello) if self.awaits_handshake() => self.begin(core, hello),
            ClientFrame::Stop => self.take_stop(core),
            ClientFrame::Status if self.may_have_status() => self.take_status(core),
            ClientFrame::Hello(_) | ClientFrame::Status => return Some(UNEXPECTED.to_owned()),
            ClientFrame::Request(serial, request) => self.take_request(core, serial, request),
            ClientFrame::Submit(submit) => hub().submit(core.now(), self.id, &submit),
            ClientFrame::Report(report) => hub().report(core.now(), self.id, &report),
            ClientFrame::Repair(stream, first, last) => {
                hub().repair(core.now(), self.id, stream, first, last);
            }
            ClientFrame::Pong => {}
        }
        None
    }

    /// Ends a connection that sent malformed or unexpected bytes, with the reason.
    fn misbehaves(&self, core: &Core, what: &str) {
        core.log.of_user(self.peer.uid, &self.peer.user, what);
        self.good_bye(what);
    }

    fn begin(&self, core: &Core, hello: Hello) {
        if hello.protocol != PROTOCOL_VERSION {
            let text = format!(
                "the server speaks protocol {PROTOCOL_VERSION} (moot {}), this client protocol {} \
                 (moot {}); `moot stop` ends the old server",
                env!("CARGO_PKG_VERSION"),
                hello.protocol,
                echo(&hello.version)
            );
            return self.refuse(RefusedCode::Version, text);
        }
        if !self.standing.admitted {
            return self.not_admitted();
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
            return self.refuse(code, refusal.text);
        }
        drop(inner);
        core.settle_half_open(self.peer.uid);
        self.open();
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: core.boot.run,
            session: self.id.0,
            pid: std::process::id(),
            user: self.peer.user.to_string(),
            uid: self.peer.uid,
            broadcast: core.broadcast_word().to_owned(),
            epoch: core.boot.epoch,
            source_port: core.source_port(),
        };
        self.put(Kind::Welcome, &welcome);
    }

    fn put<T: serde::Serialize>(&self, kind: Kind, body: &T) {
        let mut output = self.output.borrow_mut();
        output.put(|out| frame::put(out, kind, |to| hello::put(to, body)));
    }

    fn not_admitted(&self) {
        let text = format!(
            "this server does not admit {} (`allow` in its moot.toml): not permitted; \
             --server own uses your own server",
            self.peer.user
        );
        self.refuse(RefusedCode::Denied, text);
    }

    fn refuse(&self, code: RefusedCode, text: String) {
        self.freeze();
        self.put(Kind::Refused, &Refused::new(code, text));
    }

    fn take_stop(&self, core: &Core) {
        if self.peer.uid == os::own_uid() || self.peer.uid == 0 {
            core.log.info(&format!("stop asked by {} (pid {})", self.peer.user, self.peer.pid));
            return core.signals.stop_asked.notify_one();
        }
        let text = "only the user of the server and root may stop the server".to_owned();
        self.put(Kind::Refused, &Refused::new(RefusedCode::Denied, text));
    }

    fn take_status(&self, core: &Core) {
        if !self.standing.admitted {
            return self.not_admitted();
        }
        let status = health::status_for(core, self.uid());
        self.put(Kind::StatusReply, &status);
    }

    fn take_request(self: &Rc<Self>, core: &Rc<Core>, serial: u32, request: Request) {
        if request == Request::Session(SessionRequest::Quit) {
            self.close(EndCause::Quit);
            return self.limit.set(Limit::New);
        }
        let mut inner = core.inner.borrow_mut();
        if let (Request::Session(SessionRequest::Listening { slot, .. }), Some(channel)) =
            (&request, &mut inner.channel)
        {
            channel.set_slot(self.id.0, *slot);
        }
        match request.named_user().filter(|user| !inner.hub.knows_user(user)).cloned() {
            None => {
                drop(inner);
                self.answer(core, serial, request);
            }
            Some(user) => {
                self.set_blocked(Block::LookUp, true);
                drop(inner);
                let (core, conn) = (Rc::clone(core), Rc::clone(self));
                tokio::task::spawn_local(look_up(core, conn, serial, request, user));
            }
        }
    }
}

impl Conn {
    /// Answers a request whose users are known, or known not to be: by the hub, or by the store.
    fn answer(self: &Rc<Self>, core: &Rc<Core>, serial: u32, request: Request) {
        let mut inner = core.inner.borrow_mut();
        let question = inner.hub.request(core.now(), self.id, serial, request);
        if let Some(question) = question {
            self.set_blocked(Block::LookUp, true);
            let asked = inner.hub.next_stream();
            drop(inner);
            let (core, conn) = (Rc::clone(core), Rc::clone(self));
            tokio::task::spawn_local(past::answer(core, conn, serial, question, asked));
        }
    }
}

/// Asks the user database, which may be slow or far away, on another thread.
async fn look_up(core: Rc<Core>, conn: Rc<Conn>, serial: u32, request: Request, user: UserName) {
    let turn = core.turns.named(conn.uid()).await;
    // Meanwhile the session may have ended, or another one may have asked for the same user.
    if !core.inner.borrow().conns.contains_key(&conn.id) {
        return;
    }
    if !core.inner.borrow().hub.knows_user(&user) {
        let (name, before) = (user.clone(), core.inner.borrow().hub.uid_of_user(&user));
        let look = move || {
            let found = os::user_id(name.as_str());
            // The earlier holder of the name has another one by now, or none.
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
    core.signals.turn_due.notify_one();
}
