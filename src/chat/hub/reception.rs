//! Reception of the broadcast channel: probes, and the judgment by reports.

use super::{
    Action, Hub,
    stream::Stream,
    subscriber::{Reception, Subscriber},
};
use crate::{
    chat::{batch::Head, clock::Now, frames::Report, member::SessionId, stream_id::StreamId},
    faults::{Fault, planted},
    limits::{
        FRAME_HEADER_BYTES, HEALTH_WINDOW_MS, PROBE_AT_ONCE_MEMBERS_MAX, PROBES_EVERY_MS,
        RETRY_PAUSE_MS_MAX,
    },
};

/// Messages over which a share is worth judging.
const HEALTH_MESSAGES_MIN: u64 = 8;

impl Hub {
    /// Sessions that are to hear what is published in a stream by the broadcast channel, and those
    /// that are being tried.
    pub fn hearers(&self, tag: StreamId) -> impl Iterator<Item = SessionId> + '_ {
        let hears = |sub: &&Subscriber| match sub.health.reception {
            Reception::Unavailable => false,
            Reception::Unproven { .. } => true,
            Reception::Proven => sub.is_broadcast(),
        };
        let subs = self.known_stream(tag).into_iter().flat_map(|stream| &stream.subs);
        subs.map(|(_, sub)| sub).filter(hears).map(|sub| sub.session)
    }

    /// Judges by a member's report if broadcast reaches it.
    pub(super) fn judge_hearing(&mut self, now: Now, tag: StreamId, key: usize, report: &Report) {
        let min = self.rules.broadcast_members_min;
        let stream = self.stream_mut(tag);
        let (worth_it, aside) = (stream.members as usize >= min, stream.broadcast.aside);
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

    /// A channel is tried again for those who did not hear it, after their pause.
    pub(super) fn tick_probes(&mut self, now: Now, tag: StreamId) {
        let stream = &mut self.streams[tag];
        if stream.broadcast.channel.is_none() {
            return;
        }
        let waits = |sub: &Subscriber| matches!(sub.health.reception, Reception::Unproven { probe_at_us } if now.mono_us >= probe_at_us);
        if now.mono_us >= stream.broadcast.next_probe_us
            && stream.subs.iter().any(|(_, sub)| waits(sub))
        {
            stream.broadcast.probe_due = true;
            stream.broadcast.next_probe_us = now.mono_us + stream.broadcast.probe_pause_ms * 1000;
            stream.broadcast.probe_pause_ms =
                (stream.broadcast.probe_pause_ms * 2).min(RETRY_PAUSE_MS_MAX);
            self.mark_dirty(tag);
        }
    }

    /// Sends an empty datagram for those who are not known to hear the channel.
    pub(super) fn probe(&mut self, now: Now, tag: StreamId) {
        let stream = &mut self.streams[tag];
        if !stream.probe_is_due(now) {
            return;
        }
        stream.broadcast.probe_due = false;
        stream.broadcast.probed_us = now.mono_us;
        let next = stream.backlog.head() + 1;
        self.out.builder.begin(FRAME_HEADER_BYTES, tag, next);
        debug_assert!(Head::read(&self.out.builder.bytes()[FRAME_HEADER_BYTES..]).is_ok());
        self.out.counters.broadcast_sent += 1;
        self.out.push(Action::Publish(tag, self.out.builder.bytes().into()));
    }
}

impl Stream {
    /// Returns true if a probe is to be sent now. All members hear it: while many come, one probe
    /// serves several.
    pub(super) fn probe_is_due(&self, now: Now) -> bool {
        let lately = now.mono_us.saturating_sub(self.broadcast.probed_us) < PROBES_EVERY_MS * 1000;
        let many = self.members as usize > PROBE_AT_ONCE_MEMBERS_MAX;
        self.broadcast.probe_due && self.broadcast.channel.is_some() && !(many && lately)
    }
}
