//! Frames that a session is owed, and numbers that are sent again.

use super::{Chunk, Hub, accounts::AccountId, stream::Stream, subscriber::Delivery};
use crate::{
    chat::{clock::Now, event::Event, member::SessionId, stream_id::StreamId},
    faults::{Fault, planted},
};

impl Hub {
    /// Sends numbers again that a member misses. Its word is taken, whatever it reported before,
    /// but not for numbers before its membership began.
    pub fn repair(&mut self, now: Now, id: SessionId, tag: StreamId, first: u64, last: u64) {
        let Some(key) = self.sessions.get(&id).and_then(|s| s.sub_key(tag)) else { return };
        let stream = &mut self.streams[tag];
        let head = stream.backlog.head();
        let sub = &mut stream.subs[key];
        let last = last.min(head).saturating_sub(u64::from(planted(Fault::RepairOneShort)));
        let first = first.max(sub.since);
        if first > last {
            return;
        }
        sub.repair(now, (first, last));
        self.wake(id);
    }

    /// Returns the frames that a session is owed, about `bytes_max` bytes at most; none once it has
    /// all.
    ///
    /// Called by the shell when the session's output has room. What does not fit stays where it is:
    /// in the backlog, under the session's cursors. Gives whether there may be more: it stopped
    /// because of `bytes_max`, or at numbers that are gone.
    pub fn pull(
        &mut self,
        now: Now,
        id: SessionId,
        bytes_max: usize,
        out: &mut Vec<Chunk>,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        session.woken = false;
        let uid = session.peer.uid;
        let count = session.subs.len();
        let begin = session.pull_from % count.max(1);
        session.pull_from = session.pull_from.wrapping_add(1);
        let (mut left, mut more) = (bytes_max, false);
        for at in 0..count {
            let Some(session) = self.sessions.get(&id) else { break };
            let Some((tag, key)) = session.subs.get((begin + at) % count).copied() else { break };
            let stream = &mut self.streams[tag];
            stream.pull_membership(key, &mut left, out);
            let account = stream.subs[key].account;
            // Repairs are bounded by account, so that one user's requests delay no other user.
            if stream.subs[key].repeats() && !self.accounts.may_repair(now.mono_us, account) {
                stream.pull_head(now, key, out);
                continue;
            }
            let is_in = |room| session.subs.iter().any(|(tag, _)| *tag == room);
            let Pulled { repaired, repaired_bytes, fetch } =
                stream.pull_messages(now, key, is_in, &mut left, out);
            stream.pull_head(now, key, out);
            self.count_repaired(now, (account, uid), repaired, repaired_bytes);
            if let Some((first, last)) = fetch {
                more |= self.fetch(now, id, tag, key, (first, last), out);
            }
            if left == 0 {
                break;
            }
        }
        more || left == 0
    }

    pub(super) fn count_repaired(
        &mut self,
        now: Now,
        (account, uid): (AccountId, u32),
        messages: u64,
        bytes: usize,
    ) {
        if messages > 0 {
            self.out.counters.repaired += messages;
            self.accounts.count_repair(now.mono_us, account, bytes);
            self.accounts.usage.of(uid).repaired += messages;
        }
    }
}

/// Result of a pull from one stream.
struct Pulled {
    /// Messages that had been sent before by broadcast.
    repaired: u64,
    /// Bytes of those.
    repaired_bytes: usize,
    /// Numbers that the backlog no longer has.
    fetch: Option<(u64, u64)>,
}

impl Stream {
    fn pull_membership(&mut self, key: usize, left: &mut usize, out: &mut Vec<Chunk>) {
        while *left > 0 {
            let Some(seen) = self.subs[key].membership else { return };
            let Some((next, event)) = self.membership.after(seen) else { return };
            // A member gets no event about itself.
            let own = match event {
                Event::Joined { member, .. } | Event::Left { member, .. } => {
                    member.session == self.subs[key].session
                }
                Event::Opened(_)
                | Event::Channel { .. }
                | Event::Gap { .. }
                | Event::Heads(_)
                | Event::Covered { .. }
                | Event::Topic { .. }
                | Event::Ping
                | Event::Spelled(_)
                | Event::Offer { .. }
                | Event::Answered { .. }
                | Event::Abandoned { .. }
                | Event::Deleted { .. }
                | Event::Removed { .. }
                | Event::Retained { .. }
                | Event::Slowed
                | Event::Cancelled { .. }
                | Event::Invited { .. }
                | Event::Bye { .. } => false,
            };
            if !own {
                out.push(Chunk::Event(event.clone()));
                *left = left.saturating_sub(256);
            }
            self.subs[key].membership = Some(next);
        }
    }

    /// Messages that a member is owed. What is for the members of a private room goes to those
    /// only; the others get its number.
    fn pull_messages(
        &mut self,
        now: Now,
        key: usize,
        is_in: impl Fn(StreamId) -> bool,
        left: &mut usize,
        out: &mut Vec<Chunk>,
    ) -> Pulled {
        let (head, start) = (self.backlog.head(), self.backlog.start());
        let sub = &mut self.subs[key];
        let mut pulled = Pulled { repaired: 0, repaired_bytes: 0, fetch: None };
        if sub.fetch.number.is_some() {
            return pulled;
        }
        let (mut next, last) = match sub.delivery {
            Delivery::Session { next } => (next, head),
            Delivery::Broadcast { missing: Some((first, last)) } => (first, last.min(head)),
            Delivery::Broadcast { missing: None } => return pulled,
        };
        while next <= last && *left > 0 {
            let Some(segment) = self.backlog.holding(next) else {
                pulled.fetch = Some((next, last.min(start - 1)));
                break;
            };
            let frame = match &segment.secret {
                Some((room, withheld)) if !is_in(*room) => withheld,
                Some(_) | None => &segment.frame,
            };
            let again = match sub.delivery {
                // What never went by broadcast is not sent again.
                Delivery::Broadcast { .. } => segment.secret.is_none(),
                Delivery::Session { .. } => next <= sub.sent,
            };
            if again {
                pulled.repaired += segment.last + 1 - next;
                pulled.repaired_bytes += frame.len();
            }
            next = segment.last + 1;
            *left = left.saturating_sub(frame.len());
            out.push(Chunk::Batch(std::rc::Rc::clone(frame)));
        }
        match &mut sub.delivery {
            Delivery::Session { next: at } => {
                if next > *at {
                    sub.sent_us = now.mono_us;
                }
                *at = next;
                sub.sent = sub.sent.max(next - 1);
            }
            Delivery::Broadcast { missing } => *missing = (next <= last).then_some((next, last)),
        }
        pulled
    }

    fn pull_head(&mut self, now: Now, key: usize, out: &mut Vec<Chunk>) {
        let (head, tag) = (self.backlog.head(), self.tag);
        let sub = &mut self.subs[key];
        if std::mem::take(&mut sub.head.is_due) && sub.acked < head {
            sub.head.seq = head;
            sub.head.at_us = now.mono_us;
            out.push(Chunk::Event(Event::Heads(vec![(tag, head)])));
        }
    }
}
