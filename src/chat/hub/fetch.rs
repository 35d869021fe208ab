//! Messages that the backlog no longer has: they are read from the store, by session.

use super::{Action, Chunk, Hub, subscriber::Subscriber};
use crate::{
    chat::{
        batch::Head,
        clock::Now,
        event::{GapReason, gap},
        frames::ANNOUNCEMENTS,
        member::SessionId,
        store::{Fetch, Fetched},
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::FRAME_HEADER_BYTES,
};

impl Hub {
    /// Has numbers that fell behind the backlog read from the store, where there is one. Returns
    /// true if the member's cursor moved on at once.
    pub(super) fn fetch(
        &mut self,
        now: Now,
        id: SessionId,
        tag: StreamId,
        key: usize,
        (first, last): (u64, u64),
        out: &mut Vec<Chunk>,
    ) -> bool {
        if !self.is_stored(tag) {
            let stream = &mut self.streams[tag];
            out.push(Chunk::Event(gap(tag, first, last, GapReason::Backlog)));
            stream.subs[key].passed((first, last));
            return true;
        }
        let stream = self.stream_key(tag);
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let sub = &self.streams[tag].subs[key];
        // One at a time: what a session causes in the store is bounded. Its answer wakes the
        // session.
        if session.fetching || now.mono_us < sub.fetch.not_before_us {
            return false;
        }
        let number = self.streams.fetches.begin();
        session.fetching = true;
        let sub = &mut self.streams[tag].subs[key];
        sub.fetch.number = Some(number);
        let last = last.min(first.saturating_add(sub.fetch.numbers() - 1));
        let rooms = (tag == ANNOUNCEMENTS).then(|| self.rooms_of(id));
        self.out.push(Action::Fetch(Fetch {
            number,
            session: id,
            tag,
            stream,
            first,
            last,
            rooms,
        }));
        false
    }

    /// The subscriber that a fetch was asked for, which waits for nothing now. None if its
    /// membership ended, whatever began since.
    fn end_fetch(&mut self, fetch: &Fetch) -> Option<&mut Subscriber> {
        let session = self.sessions.get_mut(&fetch.session)?;
        session.fetching = false;
        let key = session.sub_key(fetch.tag);
        self.wake(fetch.session);
        // Without a subscription the stream itself may be gone.
        let key = key?;
        let sub = &mut self.streams[fetch.tag].subs[key];
        if planted(Fault::FetchOfAnotherMembership) {
            sub.fetch.number = None;
            return Some(sub);
        }
        sub.fetch.number.take_if(|number| *number == fetch.number)?;
        Some(sub)
    }

    /// Takes the answer of the store. Returns what is to be written to the session, in order:
    /// messages, and a gap for each number that is not there; none if the membership that wanted
    /// them has ended.
    pub fn fetched(&mut self, now: Now, fetch: &Fetch, found: Fetched) -> Option<Vec<Chunk>> {
        // Messages for rooms that it has left meanwhile are no longer for it: all are read again.
        let rooms = fetch.rooms.as_deref().unwrap_or_default();
        let is_in_all = self.is_in_all(fetch.session, rooms);
        if found.upto < fetch.first {
            self.fetch_failed(now, fetch);
            return None;
        }
        let sub = self.end_fetch(fetch).filter(|_| is_in_all);
        if sub.is_none() && planted(Fault::RemovedUserGetsFetch) {
            return Some(found.frames.into_iter().map(Chunk::Batch).collect());
        }
        let sub = sub?;
        let account = sub.account;
        let sent = if sub.is_broadcast() { u64::MAX } else { sub.sent };
        let upto = found.upto.min(fetch.last);
        sub.passed((fetch.first, upto + u64::from(planted(Fault::FetchCursorOneTooFar))));
        sub.fetch.succeeded();
        let (mut chunks, mut next, mut again) = (Vec::new(), fetch.first, (0, 0));
        let gap_before = |chunks: &mut Vec<Chunk>, next: u64, end: u64| {
            let (oldest, last) = (found.oldest.clamp(next, end), end - 1);
            if next < oldest {
                let gone = gap(fetch.tag, next, oldest - 1, GapReason::Retention);
                chunks.push(Chunk::Event(gone));
            }
            if oldest < end {
                chunks.push(Chunk::Event(gap(fetch.tag, oldest, last, GapReason::Damage)));
            }
        };
        for frame in found.frames {
            let Ok(head) = Head::read(&frame[FRAME_HEADER_BYTES..]) else { continue };
            if head.last() < next {
                continue;
            }
            gap_before(&mut chunks, next, head.first.max(next));
            next = head.last() + 1;
            if head.first <= sent {
                again = (again.0 + u64::from(head.count), again.1 + frame.len());
            }
            chunks.push(Chunk::Batch(frame));
        }
        gap_before(&mut chunks, next, (upto + 1).max(next));
        let uid = self.sessions.get(&fetch.session).map_or(0, |session| session.peer.uid);
        self.count_repaired(now, (account, uid), again.0, again.1);
        Some(chunks)
    }

    /// The store could not be read, or not in time: it is tried again after a pause, with fewer
    /// numbers. A single one that can't be read in the end is given up.
    pub fn fetch_failed(&mut self, now: Now, fetch: &Fetch) {
        let Some(sub) = self.end_fetch(fetch) else { return };
        if let Some(due_us) = sub.fetch.failed(now.mono_us, fetch.first == fetch.last) {
            return self.streams.fetches.retry(due_us, fetch.session);
        }
        sub.passed((fetch.first, fetch.last));
        let lost = gap(fetch.tag, fetch.first, fetch.last, GapReason::Damage);
        self.send(fetch.session, lost);
    }

    /// Wakes sessions whose fetches failed, after their pause.
    pub(super) fn tick_fetches(&mut self, now: Now) {
        while let Some(session) = self.streams.fetches.next_due(now.mono_us) {
            self.wake(session);
        }
    }
}
