//! Publishing: what is stored goes into the backlog and to members, as large bodies.

use std::rc::Rc;

use super::{
    Action, Hub, accounts::AccountId, instances::InstanceKey, notices::withheld, pending::Pending,
    sessions::Wait, stream::Stream, subscriber::Delivery,
};
use crate::{
    chat::{
        clock::Now,
        frames::{ANNOUNCEMENTS, Ack, Frame},
        member::SessionId,
        recv_buffer::charge_bytes,
        store::Entry,
        stream_id::StreamId,
    },
    limits::{
        DATAGRAM_HEADER_BYTES, FRAME_HEADER_BYTES, HEADS_EVERY_MS, IN_FLIGHT_BYTES_PER_STREAM_MAX,
        SEAL_TAG_BYTES,
    },
};

impl Hub {
    /// Reads again from senders that waited: one of each account a turn, so that an account with
    /// many sessions gets no more than one with a single session.
    fn let_go_on(&mut self, tag: StreamId) {
        let stream = &mut self.streams[tag];
        if stream.in_flight.waiting.is_empty()
            || stream.in_flight.bytes > IN_FLIGHT_BYTES_PER_STREAM_MAX / 2
        {
            return;
        }
        let (mut served, mut free): (Vec<AccountId>, _) = (Vec::new(), Vec::new());
        for _ in 0..stream.in_flight.waiting.len() {
            let Some(id) = stream.in_flight.waiting.pop_front() else { break };
            let Some(session) = self.sessions.get(&id) else { continue };
            if served.contains(&session.account) {
                stream.in_flight.waiting.push_back(id);
                continue;
            }
            served.push(session.account);
            free.push(id);
        }
        for id in free {
            self.let_go(id, Wait::Stream(tag));
        }
    }

    /// Puts what is ready into the backlog, as large bodies, while the window is open.
    pub(super) fn publish(&mut self, now: Now, tag: StreamId) {
        let before = self.stream(tag).backlog.head();
        // While the window is shut, do not encode again and again what can't go.
        let stream = &mut self.streams[tag];
        if stream.window.blocked_since_us.is_some()
            && !stream.window_is_open(stream.window.blocked_charge)
        {
            return self.wake_watching(tag);
        }
        while let Some(body_bytes) = self.build(tag) {
            if !self.publish_body(now, tag, body_bytes) {
                break;
            }
        }
        self.probe(now, tag);
        self.wake_watching(tag);
        if self.stream(tag).backlog.head() > before {
            self.wake_pulling(tag);
            self.jobs_published(now, tag);
        }
        self.let_go_on(tag);
    }

    /// Wakes those who want to know of joins and leaves, once for all of a turn.
    fn wake_watching(&mut self, tag: StreamId) {
        for session in self.stream_mut(tag).take_membership_news() {
            self.wake(session);
        }
    }

    /// Encodes as many ready messages as go into one body; none if nothing is ready.
    fn build(&mut self, tag: StreamId) -> Option<usize> {
        let stream = &self.streams[tag];
        let first = stream.in_flight.ready.front()?.entry.seq;
        self.out.builder.begin(FRAME_HEADER_BYTES, tag, first);
        for pending in &stream.in_flight.ready {
            // An announcement for some members only has a batch of its own.
            let secret = |seq| tag == ANNOUNCEMENTS && self.secret_room(seq).is_some();
            if pending.entry.seq > first && (secret(first) || secret(pending.entry.seq)) {
                break;
            }
            if pending.entry.from.session == SessionId(0) {
                // Sessions of another run: each speaks for itself.
                self.out.builder.retire(SessionId(0));
            }
            if !self.out.builder.push(FRAME_HEADER_BYTES, &pending.entry.draft()) {
                break;
            }
        }
        Some(self.out.builder.bytes().len() - FRAME_HEADER_BYTES)
    }

    fn publish_body(&mut self, now: Now, tag: StreamId, body_bytes: usize) -> bool {
        let charge = charge_bytes(DATAGRAM_HEADER_BYTES + body_bytes + SEAL_TAG_BYTES);
        let stream = &mut self.streams[tag];
        if !stream.window_is_open(charge) {
            stream.window.blocked_since_us.get_or_insert(now.mono_us);
            stream.window.blocked_charge = charge;
            return false;
        }
        stream.window.blocked_since_us = None;
        if now.mono_us.saturating_sub(stream.published_us) >= HEADS_EVERY_MS * 1000 {
            stream.busy_since_us = now.mono_us;
        }
        stream.published_us = now.mono_us;
        self.follows.note_change();
        let stream = &mut self.streams[tag];
        let header = (self.rules.batch_header)(body_bytes);
        self.out.builder.bytes_mut()[..FRAME_HEADER_BYTES].copy_from_slice(&header);
        let frame: Rc<[u8]> = self.out.builder.bytes().into();
        let count = self.out.builder.count() as usize;
        // Taken out for this time, so that it can be looked at while the rest changes.
        let mut ready = std::mem::take(&mut stream.in_flight.ready);
        let (done, _) = ready.as_mut_slices();
        let done: &[Pending] = match done.get(..count) {
            Some(done) => done,
            None => &ready.make_contiguous()[..count],
        };
        let (Some(first), Some(last)) = (done.first(), done.last()) else { return false };
        assert_eq!(first.entry.seq, stream.backlog.head() + 1, "no number is left out");
        let secret = if tag == ANNOUNCEMENTS { self.secret_of(&first.entry) } else { None };
        let is_secret = secret.is_some();
        let stream = &mut self.streams[tag];
        let last_us = last.entry.wall_us;
        let bytes_before = stream.backlog.bytes();
        stream.backlog.push(last.entry.seq, Rc::clone(&frame), charge, last_us, secret);
        if !self.rules.persistent || !stream.is_committed(self.rules.store) {
            let texts = done.iter().map(|pending| (pending.entry.seq, &*pending.entry.text));
            stream.backlog.note_mentions(texts);
        }
        let added = stream.backlog.bytes().saturating_sub(bytes_before);
        if is_secret {
            stream.broadcast.aside += 1;
            self.send_by_session(tag, last.entry.seq);
        } else if stream.broadcast.subs > 0 {
            // A probe is any datagram: this one will do.
            stream.broadcast.probe_due = false;
            self.out.counters.broadcast_sent += 1;
            self.out.push(Action::Publish(tag, frame));
        }
        self.acknowledge(tag, done);
        self.release(tag, done);
        if tag == ANNOUNCEMENTS {
            for pending in done {
                self.announced(pending.entry.seq);
            }
        }
        ready.drain(..count);
        let stream = self.stream_mut(tag);
        debug_assert!(
            stream.in_flight.ready.is_empty(),
            "nothing is numbered while a body is published"
        );
        stream.in_flight.ready = ready;
        self.streams.limit_backlogs(added, self.rules.backlog_total_bytes_max);
        true
    }

    /// Returns an announcement for a private room as all others get it, and that room.
    fn secret_of(&mut self, entry: &Entry) -> Option<(StreamId, Rc<[u8]>)> {
        let room = self.secret_room(entry.seq)?;
        // A number without a text always fits.
        withheld(entry, &mut self.out.builder, FRAME_HEADER_BYTES);
        let header = (self.rules.batch_header)(self.out.builder.bytes().len() - FRAME_HEADER_BYTES);
        self.out.builder.bytes_mut()[..FRAME_HEADER_BYTES].copy_from_slice(&header);
        Some((room, self.out.builder.bytes().into()))
    }

    /// Sends a number that does not go on the broadcast channel to all members by session.
    fn send_by_session(&mut self, tag: StreamId, seq: u64) {
        let mut wake = Vec::new();
        for (_, sub) in &mut self.streams[tag].subs {
            if let Delivery::Broadcast { missing } = &mut sub.delivery {
                let (first, last) = missing.unwrap_or((seq, seq));
                *missing = Some((first.min(seq), last.max(seq)));
                wake.push(sub.session);
            }
        }
        for session in wake {
            self.wake(session);
        }
    }

    /// Acknowledges some consecutive messages to their senders, few frames for many.
    fn acknowledge(&mut self, tag: StreamId, done: &[Pending]) {
        let stored = self.is_stored(tag);
        let mut open: Option<(InstanceKey, Ack)> = None;
        for pending in done {
            let Some((instance, counter)) = pending.submit else { continue };
            match &mut open {
                Some((of, ack))
                    if *of == instance
                        && ack.first + u64::from(ack.count) == counter
                        && ack.seq + u64::from(ack.count) == pending.entry.seq =>
                {
                    ack.count += 1;
                }
                Some(_) | None => {
                    self.tell_ack(tag, open.take());
                    let seq = pending.entry.seq;
                    open =
                        Some((instance, Ack { first: counter, count: 1, seq, members: 0, stored }));
                }
            }
        }
        self.tell_ack(tag, open);
    }

    fn tell_ack(&mut self, tag: StreamId, ack: Option<(InstanceKey, Ack)>) {
        let Some((instance, mut ack)) = ack else { return };
        let Some(session) = self.instances.session_of(instance) else { return };
        ack.members = self.others(tag, session);
        self.out.push(Action::Send(session, Frame::Ack(ack)));
    }

    /// Wakes members that are served by session and have something to pull.
    pub(super) fn wake_pulling(&mut self, tag: StreamId) {
        let stream = self.stream(tag);
        if stream.broadcast.subs == stream.subs.len() {
            return;
        }
        let sessions: Vec<_> = pulling(stream).collect();
        for session in sessions {
            self.wake(session);
        }
    }
}

fn pulling(stream: &Stream) -> impl Iterator<Item = SessionId> + '_ {
    let head = stream.backlog.head();
    stream.subs.iter().map(|(_, sub)| sub).filter(move |sub| sub.is_behind(head)).map(|s| s.session)
}
