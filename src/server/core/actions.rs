//! The actions of the hub, carried out.

use std::rc::Rc;

use super::{Core, Inner, PULL_BYTES};
use crate::{
    chat::{
        frames::Frame,
        hub::Action,
        member::SessionId,
        names::UserName,
        stream_id::{Channel, StreamId},
    },
    faults::{Fault, planted},
    limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, SESSION_BYTES_PER_USER_MAX},
    os,
    server::conn::{Block, Conn},
    wire::control,
};

impl Inner {
    /// Carries out everything the hub wants done, until it wants nothing more.
    pub(in crate::server) fn act(&mut self, core: &Core) {
        // What sessions pull may want something done as well.
        while self.hub.has_actions() || !self.touched.is_empty() {
            self.act_once(core);
        }
    }

    fn act_once(&mut self, core: &Core) {
        while self.hub.has_actions() {
            let mut actions = std::mem::take(&mut self.actions);
            actions.extend(self.hub.actions());
            for action in actions.drain(..) {
                self.carry_out(core, action);
            }
            self.actions = actions;
        }
        let mut touched = std::mem::take(&mut self.touched);
        // Listeners come before senders that learn of their acknowledgment: these know the message.
        for listeners in [true, false] {
            for id in &touched {
                let Some(conn) = self.conns.get(id).map(Rc::clone) else { continue };
                if conn.touched.get() && (conn.hungry.get() || !listeners) {
                    conn.touched.set(false);
                    self.pump(core, &conn, false);
                }
            }
        }
        touched.clear();
        self.touched = touched;
    }

    fn carry_out(&mut self, core: &Core, action: Action) {
        match action {
            Action::Send(id, frame) => self.send(core, id, frame),
            Action::Wake(id) => {
                if let Some(conn) = self.conns.get(&id) {
                    conn.hungry.set(true);
                    touch(&mut self.touched, id, conn);
                }
            }
            Action::Pause(id) => {
                if let Some(conn) = self.conns.get(&id) {
                    conn.set_blocked(Block::Hub, true);
                }
            }
            Action::Resume(id) => {
                if let Some(conn) = self.conns.get(&id) {
                    conn.resume();
                    core.line_up(conn);
                }
            }
            Action::Publish(tag, frame) => {
                if let Some(channel) = &mut self.channel {
                    // Full buffers lose a datagram: heads and repair bring it by session.
                    let hub = &self.hub;
                    let hearers = || hub.hearers(tag).map(|id| id.0).collect();
                    let _ = channel.publish(tag.0, &frame[FRAME_HEADER_BYTES..], hearers);
                }
            }
            Action::OpenChannel(tag) => self.open_channel(core, tag),
            Action::NewKey(tag) => self.new_key(core, tag),
            Action::CloseChannel(tag) => {
                if let Some(channel) = &mut self.channel {
                    channel.close_group(tag.0);
                }
            }
            Action::Fetch(fetch) => {
                if let Some(core) = core.me.upgrade() {
                    let start = core.start_fetch;
                    start(core, fetch);
                }
            }
            Action::Store(records, entries) => match &core.history {
                Some(history) => history.commit(records, entries, os::wall_us()),
                // Without a history nothing is to be stored (`HubConfig::store` is off).
                None => self.hub.stored(core.now()),
            },
            Action::End(id, reason) => {
                if let Some(conn) = self.conns.get(&id) {
                    conn.turn_out(&reason);
                }
            }
            Action::Log(what) => core.log.note(&what),
            Action::LogOf(uid, what) => {
                let user = self.hub.user_name(uid).unwrap_or_else(|| UserName::of_uid(uid));
                core.log.of_user(uid, &user, &what);
            }
            Action::Row(mut row) => {
                // Other processes compare it with the machine's clock.
                row.active_mono_us = core.clock.get().reading_of(row.active_mono_us);
                let was_whole = self.table.unshown() == 0;
                if let (Err(e), true) = (self.table.put(&row), was_whole) {
                    core.log.warn(&format!("the presence table can't list a session: {e}"));
                }
            }
            Action::RowGone(id) => self.table.remove(id),
        }
    }

    fn open_channel(&mut self, core: &Core, tag: StreamId) {
        let opened = match &mut self.channel {
            None => None,
            Some(channel) => match channel.open_group(tag.0) {
                Ok((address, key)) => {
                    Some(Channel { group: address.ip().octets(), port: address.port(), key })
                }
                Err(e) => {
                    core.log.warn(&format!("can't use a broadcast group: {e}"));
                    None
                }
            },
        };
        self.hub.channel_opened(tag, opened);
    }

    fn new_key(&mut self, core: &Core, tag: StreamId) {
        let Some(channel) = &mut self.channel else { return };
        match channel.new_key(tag.0) {
            Ok(key) => self.hub.channel_key(tag, key),
            Err(e) => {
                // Nothing can be sealed any longer: it goes by session.
                core.log.warn(&format!("can't make a key of a broadcast group: {e}"));
                self.hub.channel_lost(tag);
            }
        }
    }

    pub(in crate::server) fn send(&mut self, core: &Core, id: SessionId, frame: Frame) {
        if let Some(conn) = self.conns.get(&id).map(Rc::clone) {
            conn.output.borrow_mut().put(|bytes| control::put_frame(bytes, frame));
            touch(&mut self.touched, id, &conn);
            // Other sessions decide how much it receives: it does not grow without end.
            self.count(core, &conn);
        }
    }

    /// Fills and writes a session's output until the socket is full, nothing is owed, or its
    /// account was given what it gets in one turn. `called`: it waited in line, and is given
    /// something even then.
    pub(in crate::server) fn pump(&mut self, core: &Core, conn: &Conn, mut called: bool) {
        let waker = conn.waker.borrow().clone();
        let waits = loop {
            let wants = conn.hungry.get() && conn.output.borrow().waiting_bytes() < FRAME_BYTES_MAX;
            let gets = std::mem::take(&mut called) || core.lines.borrow().may_give(&conn.account);
            if wants && gets {
                self.pull(core, conn);
            }
            let goes_on = !conn.output.borrow().is_empty() && conn.write(&waker);
            self.count(core, conn);
            if !goes_on {
                break wants && !gets;
            }
        };
        if waits || conn.take_unread() {
            core.line_up(conn);
        }
    }

    fn pull(&mut self, core: &Core, conn: &Conn) {
        let mut chunks = std::mem::take(&mut self.chunks);
        let more = self.hub.pull(core.now(), conn.id, PULL_BYTES, &mut chunks);
        conn.hungry.set(more);
        core.give(conn, chunks.drain(..));
        self.chunks = chunks;
    }

    /// Counts the memory that a session keeps. If its user's sessions keep too much, those that
    /// keep most end.
    fn count(&mut self, core: &Core, conn: &Conn) {
        conn.count(&mut self.memory);
        let uid = conn.uid();
        if self.memory.bytes_of(uid) <= SESSION_BYTES_PER_USER_MAX
            || planted(Fault::MemoryOfUserUnbounded)
        {
            return;
        }
        let of_user = self.conns.values().filter(|of| of.uid() == uid && !of.is_ending());
        let mut of_user: Vec<_> = of_user.map(Rc::clone).collect();
        of_user.sort_by_key(|of| std::cmp::Reverse(of.kept_bytes()));
        let why = format!(
            "the sessions of this user keep more than {SESSION_BYTES_PER_USER_MAX} bytes, and \
             this one most"
        );
        for heaviest in of_user {
            if self.memory.bytes_of(uid) <= SESSION_BYTES_PER_USER_MAX {
                break;
            }
            heaviest.cut_off(&mut self.memory, &why);
            core.log.of_user(uid, &heaviest.user(), &why);
        }
    }
}

fn touch(touched: &mut Vec<SessionId>, id: SessionId, conn: &Conn) {
    if !conn.touched.replace(true) {
        touched.push(id);
    }
}
