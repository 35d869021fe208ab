//! Flow: what members reported, who holds the window, who is served how, and what each is owed.

use super::{
    Action, Chunk, Hub,
    quota::AccountId,
    stream::Stream,
    subscriber::{Delivery, Reception, Subscriber},
};
use crate::{
    chat::{
        batch::Head,
        clock::Now,
        event::{Event, GapReason, gap},
        frames::{ANNOUNCEMENTS, Report},
        member::SessionId,
        store::{Fetch, Fetched},
        stream_id::StreamTag,
    },
    faults::{Fault, planted},
    limits::{
        FRAME_HEADER_BYTES, HEADS_EVERY_MS, HEALTH_WINDOW_MS, LAGGING_AFTER_MS,
        LAGGING_TOGETHER_AFTER_MS, PROBE_AT_ONCE_MEMBERS_MAX, PROBES_EVERY_MS, REPORT_EVERY_MS,
        RETRY_PAUSE_MS_MAX, STALL_LOOK_EVERY_MS, STALLED_AFTER_MS,
    },
};

/// Messages over which a share is worth judging.
const HEALTH_MESSAGES_MIN: u64 = 8;

impl Hub {
    /// Takes a report: it opens windows, ends repairs, proves the broadcast channel.
    pub fn report(&mut self, now: Now, id: SessionId, report: &Report) {
        self.charged(id, |hub| hub.report_now(now, id, report));
    }

    fn report_now(&mut self, now: Now, id: SessionId, report: &Report) {
        let tag = report.stream;
        let Some(key) = self.sessions.get(&id).and_then(|s| s.sub_key(tag)) else { return };
        let stream = &mut self.streams[tag];
        let head = stream.backlog.head();
        // A member can't have more than there is, nor less than it had.
        let delivered = report.delivered.min(head);
        let before = stream.subs[key].acked;
        if delivered > before {
            let flow = stream.backlog.flow_at(delivered);
            let sub = &mut stream.subs[key];
            let (by_broadcast, stood, held) =
                (sub.is_broadcast(), sub.acked_flow, sub.window.is_in);
            sub.acked = delivered;
            sub.acked_flow.bytes = sub.acked_flow.bytes.max(flow.bytes);
            sub.acked_flow.charge = sub.acked_flow.charge.max(flow.charge);
            sub.window.progress_us = now.mono_us;
            sub.passed((1, delivered));
            if held && stream.went_on(by_broadcast, stood) && stream.blocked_since_us.is_some() {
                self.mark_dirty(tag);
            }
        }
        self.judge_hearing(now, tag, key, report);
        self.rejoin_window(now, tag, key);
        if delivered > before && tag == ANNOUNCEMENTS {
            self.receipts_reached(id, before, delivered);
        }
    }

    /// Sessions that are to hear what is published in a stream by the broadcast channel, and those
    /// that are being tried.
    pub fn hearers(&self, tag: StreamTag) -> impl Iterator<Item = SessionId> + '_ {
        let hears = |sub: &&Subscriber| match sub.health.reception {
            Reception::Unavailable => false,
            Reception::Unproven { .. } => true,
            Reception::Proven => sub.is_broadcast(),
        };
        let subs = self.known_stream(tag).into_iter().flat_map(|stream| &stream.subs);
        subs.map(|(_, sub)| sub).filter(hears).map(|sub| sub.session)
    }

    /// Judges by a member's report if broadcast reaches it.
    fn judge_hearing(&mut self, now: Now, tag: StreamTag, key: usize, report: &Report) {
        let min = self.rules.broadcast_members_min;
        let stream = self.stream_mut(tag);
        let (worth_it, aside) = (stream.members as usize >= min, stream.aside);
        let sub = &mut stream.subs[key];
        let heard = report.datagrams > sub.health.datagrams;
        sub.health.datagrams = sub.health.datagrams.max(report.datagrams);
        match sub.health.reception {
            Reception::Unavailable => {}
            Reception::Unproven { probe_at_us } => {
                if heard && now.mono_us >= probe_at_us {
                    sub.health.reception = Reception::Proven;
                    sub.health.restart(now, report, aside);
                    if worth_it && sub.window.is_in {
                        stream.serve_by_broadcast(key);
                    }
                }
            }
            Reception::Proven if !sub.is_broadcast() => {
                sub.health.restart(now, report, aside);
                if worth_it && sub.window.is_in {
                    stream.serve_by_broadcast(key);
                }
            }
            Reception::Proven => {
                let passed = now.mono_us.saturating_sub(sub.health.since_us);
                if passed < HEALTH_WINDOW_MS * 1000 || planted(Fault::HearingNeverJudged) {
                    return;
                }
                let all = report.delivered.saturating_sub(sub.health.delivered);
                let all = all.saturating_sub(aside - sub.health.aside);
                let by_broadcast = report.by_broadcast.saturating_sub(sub.health.by_broadcast);
                sub.health.restart(now, report, aside);
                // A client may report any number.
                if all >= HEALTH_MESSAGES_MIN && by_broadcast < all.div_ceil(2) {
                    let probe_at_us = now.mono_us + sub.window.next_pause_us();
                    sub.health.reception = Reception::Unproven { probe_at_us };
                    stream.serve_by_session(key);
                    self.wake_pulling(tag);
                }
            }
        }
    }

    /// A lagging member that has caught up holds the window again, after its pause.
    fn rejoin_window(&mut self, now: Now, tag: StreamTag, key: usize) {
        let stream = &mut self.streams[tag];
        let head = stream.backlog.head();
        let sub = &mut stream.subs[key];
        let caught_up = sub.acked == head && !planted(Fault::LaggingMemberNeverReturns);
        if sub.window.is_in || !caught_up || now.mono_us < sub.window.rejoin_at_us {
            return;
        }
        if !self.accounts.of(sub.account).may_stall(now.mono_us) {
            return;
        }
        sub.window.is_in = true;
        sub.acked_flow = stream.backlog.flow();
        stream.hold(key, [true; 2]);
    }

    /// Sends numbers again that a member misses. Its word is taken, whatever it reported before,
    /// but not for numbers before its membership began.
    pub fn repair(&mut self, now: Now, id: SessionId, tag: StreamTag, first: u64, last: u64) {
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
            // What is sent again has its bounds, so that nobody's questions crowd others out.
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

    fn count_repaired(
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

    /// Has numbers that fell behind the backlog read from the store, where there is one. Returns
    /// true if the member's cursor moved on at once.
    fn fetch(
        &mut self,
        now: Now,
        id: SessionId,
        tag: StreamTag,
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

    pub(super) fn tick_streams(&mut self, now: Now) {
        let is_used = |s: &&Stream| !s.subs.is_empty() || !s.waiting.is_empty();
        let used: Vec<_> = self.streams.iter().filter(is_used).map(|s| s.tag).collect();
        for tag in used {
            self.tick_window(now, tag);
            self.tick_heads(now, tag);
            self.tick_probes(now, tag);
            let stream = self.stream(tag);
            if !stream.waiting.is_empty() || !stream.ready.is_empty() || stream.probe_is_due(now) {
                self.mark_dirty(tag);
            }
        }
    }

    /// Takes members out of the window that keep it shut without progress (later, if most are as
    /// slow), and those whose account held it shut for too long altogether, unless all are equally
    /// slow.
    fn tick_window(&mut self, now: Now, tag: StreamTag) {
        let stream = &mut self.streams[tag];
        let Some(blocked_us) = stream.blocked_since_us else { return };
        let owing: Vec<_> = stream
            .subs
            .iter()
            .filter(|(_, sub)| stream.owes(sub))
            .map(|(key, sub)| {
                // A member that owes little may have it, and say so in its next report.
                let wait_us = if stream.owes_much(sub) { 0 } else { REPORT_EVERY_MS * 1000 };
                let since_us = sub.window.progress_us.max(blocked_us) + wait_us;
                (key, sub.account, since_us, stream.shuts_window(sub))
            })
            .collect();
        // Stragglers are few against the others, counted by account: one account alone is never
        // many.
        let count = |accounts: &mut Vec<AccountId>| {
            accounts.sort_unstable();
            accounts.dedup();
            accounts.len()
        };
        let mut holding: Vec<_> =
            stream.subs.iter().filter(|(_, s)| s.window.is_in).map(|(_, s)| s.account).collect();
        let mut slow: Vec<_> = owing.iter().filter(|o| o.3).map(|o| o.1).collect();
        let stragglers = count(&mut slow) * 2 <= count(&mut holding);
        let patience_ms = if stragglers { LAGGING_AFTER_MS } else { LAGGING_TOGETHER_AFTER_MS };
        let since_tick = now.mono_us.saturating_sub(self.clock.tick_us.max(blocked_us));
        let mut charged = Vec::new();
        for (key, account, progress_us, shuts) in owing {
            let stalled = now.mono_us.saturating_sub(progress_us) >= patience_ms * 1000;
            let session = self.streams[tag].subs[key].session;
            if self.sessions.get(&session).is_some_and(|s| s.waits.is_some()) {
                // A report from it may be behind its own messages, which are not read now: it steps
                // aside, without a penalty.
                if stalled && !planted(Fault::PausedMemberStaysInWindow) {
                    self.streams[tag].step_aside(now, key);
                    self.mark_dirty(tag);
                }
                continue;
            }
            let spent = stragglers && shuts && {
                let first = !charged.contains(&account);
                charged.push(account);
                let us = if first { since_tick } else { 0 };
                self.accounts.of(account).charge_stall(now.mono_us, us)
            };
            if stalled || spent {
                let stream = &mut self.streams[tag];
                stream.leave_window(now, key);
                self.wake(session);
                self.mark_dirty(tag);
            }
        }
    }

    /// Tells those who have not reported the head what it is: loss at the tail is silent otherwise.
    /// Members that are served by session are looked at seldom: what they were sent is rather on
    /// its way.
    fn tick_heads(&mut self, now: Now, tag: StreamTag) {
        let stream = &mut self.streams[tag];
        let looks =
            now.mono_us.saturating_sub(stream.stalls_looked_us) >= STALL_LOOK_EVERY_MS * 1000;
        if looks {
            stream.stalls_looked_us = now.mono_us;
        } else if stream.broadcast_subs == 0 {
            return;
        }
        let head = stream.backlog.head();
        let (mut wake, mut outside) = (Vec::new(), Vec::new());
        let busy_since_us = stream.busy_since_us;
        for (key, sub) in &mut stream.subs {
            if looks && !sub.window.is_in {
                // Where nothing is said, nothing is reported either.
                outside.push(key);
            }
            let (since_us, quiet_ms) = match sub.delivery {
                // A member that reports needs no head update.
                Delivery::Broadcast { .. } => (busy_since_us, HEADS_EVERY_MS),
                Delivery::Session { .. } if looks && sub.fetch.number.is_none() => {
                    (sub.sent_us, STALLED_AFTER_MS)
                }
                Delivery::Session { .. } => continue,
            };
            let since_us = sub.head.at_us.max(sub.window.progress_us).max(since_us);
            let quiet = now.mono_us.saturating_sub(since_us) >= quiet_ms * 1000;
            if sub.acked < head && quiet && !planted(Fault::HeadUpdateNotSent) {
                sub.head.is_due = true;
                wake.push(sub.session);
            }
        }
        for session in wake {
            self.wake(session);
        }
        for key in outside {
            self.rejoin_window(now, tag, key);
        }
    }

    /// A channel is tried again for those who did not hear it, after their pause.
    fn tick_probes(&mut self, now: Now, tag: StreamTag) {
        let stream = &mut self.streams[tag];
        if stream.channel.is_none() {
            return;
        }
        let waits = |sub: &Subscriber| matches!(sub.health.reception, Reception::Unproven { probe_at_us } if now.mono_us >= probe_at_us);
        if now.mono_us >= stream.next_probe_us && stream.subs.iter().any(|(_, sub)| waits(sub)) {
            stream.probe_due = true;
            stream.next_probe_us = now.mono_us + stream.probe_pause_ms * 1000;
            stream.probe_pause_ms = (stream.probe_pause_ms * 2).min(RETRY_PAUSE_MS_MAX);
            self.mark_dirty(tag);
        }
    }

    /// Sends an empty datagram for those who are not known to hear the channel.
    pub(super) fn probe(&mut self, now: Now, tag: StreamTag) {
        let stream = &mut self.streams[tag];
        if !stream.probe_is_due(now) {
            return;
        }
        stream.probe_due = false;
        stream.probed_us = now.mono_us;
        let next = stream.backlog.head() + 1;
        self.out.builder.begin(FRAME_HEADER_BYTES, tag, next);
        debug_assert!(Head::read(&self.out.builder.bytes()[FRAME_HEADER_BYTES..]).is_ok());
        self.out.counters.broadcast_sent += 1;
        self.out.push(Action::Publish(tag, self.out.builder.bytes().into()));
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
    /// Returns true if a probe is to be sent now. All members hear it: while many come, one probe
    /// serves several.
    fn probe_is_due(&self, now: Now) -> bool {
        let lately = now.mono_us.saturating_sub(self.probed_us) < PROBES_EVERY_MS * 1000;
        let many = self.members as usize > PROBE_AT_ONCE_MEMBERS_MAX;
        self.probe_due && self.channel.is_some() && !(many && lately)
    }

    fn leave_window(&mut self, now: Now, key: usize) {
        self.leave(key);
        let sub = &mut self.subs[key];
        sub.window.rejoin_at_us = now.mono_us + sub.window.next_pause_us();
    }

    /// Leaves the window without a pause.
    fn step_aside(&mut self, now: Now, key: usize) {
        self.leave(key);
        self.subs[key].window.rejoin_at_us = now.mono_us;
    }

    fn pull_membership(&mut self, key: usize, left: &mut usize, out: &mut Vec<Chunk>) {
        while *left > 0 {
            let Some(told) = self.subs[key].membership else { return };
            let Some((next, event)) = self.membership_after(told) else { return };
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
        is_in: impl Fn(StreamTag) -> bool,
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

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]
mod tests {
    use super::*;
    use crate::{
        chat::{
            frames::{Destination, Frame, Hello, Line, Submit},
            hub::Rules,
            member::{Kind, Peer},
            message::RunId,
            names::{RoomName, UserName},
            reply::Reply,
            request::{Begin, Follow, Request, SessionRequest},
            stream_id::{Channel, ChannelKey},
        },
        limits::BROADCAST_MEMBERS_MIN,
    };

    fn at(ms: u64) -> Now {
        Now { mono_us: ms * 1000, wall_us: 0 }
    }

    /// A hub with `members` members of one room, each a process of its own, all served by
    /// broadcast.
    fn hub(members: u64) -> (Hub, StreamTag) {
        assert!(members as usize >= BROADCAST_MEMBERS_MIN);
        let mut hub = Hub::new(Rules::new(RunId(1), 0, |_| [0; FRAME_HEADER_BYTES]));
        let mut tag = StreamTag(0);
        for number in 1..=members {
            let user = UserName::new("ann").unwrap();
            let peer = Peer { uid: 1, user, pid: number as u32, start: 0 };
            let hello = Hello::new(None, Kind::Script, [0; 16]);
            hub.open(at(1), SessionId(number), peer, hello).unwrap();
            let follow = Follow::Room(RoomName::new("dev").unwrap());
            let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
            hub.request(at(1), SessionId(number), 1, join);
            hub.end_turn(at(1));
            for action in hub.actions().collect::<Vec<_>>() {
                match action {
                    Action::OpenChannel(of) => {
                        let key = ChannelKey { number: 1, bytes: [1; 32] };
                        hub.channel_opened(of, Some(Channel { group: [0; 4], port: 1, key }));
                        tag = of;
                    }
                    Action::Send(_, Frame::Reply { result: Ok(Reply::Joined(infos)), .. }) => {
                        tag = infos[0].tag;
                    }
                    _ => {}
                }
            }
        }
        for number in 1..=members {
            let listening = Request::Session(SessionRequest::Listening {
                stream: tag,
                charge_bytes: 0,
                slot: [0; 16],
            });
            hub.request(at(1), SessionId(number), 2, listening);
            report(&mut hub, 1, tag, number, 0);
        }
        assert_eq!(hub.stream(tag).broadcast_subs as u64, members);
        hub.end_turn(at(1));
        hub.actions();
        (hub, tag)
    }

    fn report(hub: &mut Hub, ms: u64, stream: StreamTag, number: u64, delivered: u64) {
        let report =
            Report { stream, delivered, by_broadcast: delivered, datagrams: delivered + 1 };
        hub.report(at(ms), SessionId(number), &report);
    }

    /// Sends messages until the window is shut.
    fn fill(hub: &mut Hub, tag: StreamTag) -> u64 {
        let text = "x".repeat(20_000);
        for counter in 1..=20 {
            let lines = vec![Line { reply_to: None, text: text.as_str().try_into().unwrap() }];
            let to = Destination::Stream(tag);
            let submit = Submit { first: counter, to, to_label: None, lines };
            hub.submit(at(10), SessionId(1), &submit);
        }
        hub.end_turn(at(10));
        assert!(hub.stream(tag).blocked_since_us.is_some(), "the window is shut");
        hub.stream(tag).backlog.head()
    }

    fn lagging(hub: &mut Hub, ms: u64, tag: StreamTag) -> usize {
        hub.tick(at(ms));
        hub.stream(tag).lagging_count()
    }

    #[test]
    fn one_that_is_behind_the_others_is_left_behind_soon() {
        let (mut hub, tag) = hub(6);
        let head = fill(&mut hub, tag);
        for number in 2..=6 {
            report(&mut hub, 20, tag, number, head);
        }
        assert_eq!(lagging(&mut hub, 10 + LAGGING_AFTER_MS - 1, tag), 0);
        assert_eq!(lagging(&mut hub, 10 + LAGGING_AFTER_MS, tag), 1);
        assert!(hub.stream(tag).backlog.head() > head, "the others go on");
    }

    #[test]
    fn who_has_not_reported_its_last_body_yet_is_not_behind() {
        let (mut hub, tag) = hub(6);
        let head = fill(&mut hub, tag);
        for number in 2..=6 {
            report(&mut hub, 20, tag, number, head - 1);
        }
        assert_eq!(lagging(&mut hub, 10 + LAGGING_AFTER_MS, tag), 1);
        assert_eq!(lagging(&mut hub, 20 + LAGGING_AFTER_MS, tag), 1);
    }

    #[test]
    fn a_room_that_everybody_has_left_is_not_watched() {
        let (mut hub, tag) = hub(6);
        let listening = Request::Session(SessionRequest::Listening {
            stream: tag,
            charge_bytes: 0,
            slot: [0; 16],
        });
        hub.request(at(2), SessionId(1), 3, listening);
        for number in 1..=6 {
            hub.close(at(2), SessionId(number), crate::chat::member::EndCause::Quit);
        }
        hub.end_turn(at(2));
        hub.tick(at(300));
        assert_eq!(hub.tick_after_ms(), crate::limits::TICK_IDLE_MS);
    }

    #[test]
    fn while_all_are_slow_nobody_is_behind_for_some_time() {
        let (mut hub, tag) = hub(6);
        fill(&mut hub, tag);
        assert_eq!(lagging(&mut hub, 10 + LAGGING_TOGETHER_AFTER_MS - 1, tag), 0);
        assert_eq!(lagging(&mut hub, 10 + LAGGING_TOGETHER_AFTER_MS, tag), 6);
    }

    #[test]
    fn in_a_large_room_one_probe_does_for_several_who_come() {
        for (members, probes) in [(6, 5), (PROBE_AT_ONCE_MEMBERS_MAX as u64 + 1, 1)] {
            let (mut hub, tag) = hub(members);
            let probe = |hub: &mut Hub, ms| {
                let listening = Request::Session(SessionRequest::Listening {
                    stream: tag,
                    charge_bytes: 0,
                    slot: [0; 16],
                });
                hub.request(at(ms), SessionId(1), 3, listening);
                hub.end_turn(at(ms));
                let published = hub.actions().filter(|a| matches!(a, Action::Publish(..)));
                published.count()
            };
            let sent: usize = (0..5).map(|ms| probe(&mut hub, 1_000 + ms)).sum();
            assert_eq!(sent, probes);
            hub.tick(at(1_000 + PROBES_EVERY_MS));
            let late = hub.actions().filter(|a| matches!(a, Action::Publish(..))).count();
            assert_eq!(late, usize::from(probes == 1), "whoever waited for one has it");
        }
    }
}
