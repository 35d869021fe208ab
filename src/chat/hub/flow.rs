//! Flow: what members reported, who holds the window, who is served how, and what each is owed.

use super::{Hub, accounts::AccountId, stream::Stream, subscriber::Delivery};
use crate::{
    chat::{
        clock::Now,
        frames::{ANNOUNCEMENTS, Report},
        member::SessionId,
        stream_id::StreamId,
    },
    faults::{Fault, planted},
    limits::{
        HEADS_EVERY_MS, LAGGING_AFTER_MS, LAGGING_TOGETHER_AFTER_MS, REPORT_EVERY_MS,
        STALL_LOOK_EVERY_MS, STALLED_AFTER_MS,
    },
};

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
            if held
                && stream.window.went_on(by_broadcast, stood)
                && stream.window.blocked_since_us.is_some()
            {
                self.mark_dirty(tag);
            }
        }
        self.judge_hearing(now, tag, key, report);
        self.rejoin_window(now, tag, key);
        if delivered > before && tag == ANNOUNCEMENTS {
            self.receipts_reached(id, before, delivered);
        }
    }

    /// A lagging member that has caught up holds the window again, after its pause.
    fn rejoin_window(&mut self, now: Now, tag: StreamId, key: usize) {
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
        stream.window.hold(&stream.subs[key], [true; 2]);
    }

    pub(super) fn tick_streams(&mut self, now: Now) {
        for tag in self.streams.watched(now.mono_us) {
            // It may have been removed since it changed.
            let Some(stream) = self.known_stream(tag) else { continue };
            if !stream.subs.is_empty() || !stream.in_flight.waiting.is_empty() {
                self.tick_window(now, tag);
                self.tick_heads(now, tag);
                self.tick_probes(now, tag);
                let stream = self.stream(tag);
                let has_ready = !stream.in_flight.ready.is_empty();
                if has_ready || !stream.in_flight.waiting.is_empty() || stream.probe_is_due(now) {
                    self.mark_dirty(tag);
                }
            }
            self.streams.settle(tag);
        }
    }

    /// Takes members out of the window that keep it shut without progress (later, if most are as
    /// slow), and those whose account held it shut for too long altogether, unless all are equally
    /// slow.
    fn tick_window(&mut self, now: Now, tag: StreamId) {
        let stream = &mut self.streams[tag];
        let Some(blocked_us) = stream.window.blocked_since_us else { return };
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
    fn tick_heads(&mut self, now: Now, tag: StreamId) {
        let stream = &mut self.streams[tag];
        let looks =
            now.mono_us.saturating_sub(stream.stalls_looked_us) >= STALL_LOOK_EVERY_MS * 1000;
        if looks {
            stream.stalls_looked_us = now.mono_us;
        } else if stream.broadcast.subs == 0 {
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
}

impl Stream {
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
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of answer")]
mod tests {
    use super::*;
    use crate::{
        chat::{
            frames::{Destination, Frame, Hello, Line, Submit},
            hub::{Action, HubConfig},
            member::{Kind, Peer},
            message::BootId,
            names::{RoomName, UserName},
            reply::Reply,
            request::{Begin, Follow, Request, SessionRequest},
            stream_id::{Channel, ChannelKey},
        },
        limits::{
            BROADCAST_MEMBERS_MIN, FRAME_HEADER_BYTES, PROBE_AT_ONCE_MEMBERS_MAX, PROBES_EVERY_MS,
        },
    };

    pub(super) fn at(ms: u64) -> Now {
        Now { mono_us: ms * 1000, wall_us: 0 }
    }

    /// A hub with `members` members of one room, each a process of its own, all served by
    /// broadcast.
    pub(super) fn hub(members: u64) -> (Hub, StreamId) {
        assert!(members as usize >= BROADCAST_MEMBERS_MIN);
        let mut hub = Hub::new(HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]));
        let mut tag = StreamId(0);
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
        assert_eq!(hub.stream(tag).broadcast.subs as u64, members);
        hub.end_turn(at(1));
        hub.actions();
        (hub, tag)
    }

    pub(super) fn report(hub: &mut Hub, ms: u64, stream: StreamId, number: u64, delivered: u64) {
        let report =
            Report { stream, delivered, by_broadcast: delivered, datagrams: delivered + 1 };
        hub.report(at(ms), SessionId(number), &report);
    }

    /// Sends messages until the window is shut.
    pub(super) fn fill(hub: &mut Hub, tag: StreamId) -> u64 {
        let text = "x".repeat(20_000);
        for counter in 1..=20 {
            let lines = vec![Line { reply_to: None, text: text.as_str().try_into().unwrap() }];
            let to = Destination::Stream(tag);
            let submit = Submit { first: counter, to, to_label: None, lines };
            hub.submit(at(10), SessionId(1), &submit);
        }
        hub.end_turn(at(10));
        assert!(hub.stream(tag).window.blocked_since_us.is_some(), "the window is shut");
        hub.stream(tag).backlog.head()
    }

    pub(super) fn lagging(hub: &mut Hub, ms: u64, tag: StreamId) -> usize {
        hub.tick(at(ms));
        hub.stream(tag).census().lagging as usize
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
    fn session_with_an_unreported_last_batch_is_not_lagging() {
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
