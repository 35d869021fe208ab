//! The server's own time, without spans in which the server did not run.

use crate::limits::{AWAY_MS, TICK_IDLE_MS};

/// Both clocks at one instant, as [`Clock`] gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic clock without spans in which the server did not run, microseconds.
    pub mono_us: u64,
    /// Wall clock, microseconds since 1970.
    pub wall_us: i64,
}

/// Turns readings of the machine's clocks into the time of the hub, and knows when the next look at
/// the timers is due.
///
/// A server that was stopped, or that waited for a processor, comes to its timers long after they
/// were due. Meanwhile it read no session and served none: that time is charged to nothing. So each
/// monotonic time of the hub and of its sessions comes from here, and no rule has to forgive by
/// itself.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Time left out so far, microseconds.
    lost_us: u64,
    /// Reading of the machine's clock at which the next look is due, microseconds.
    due_us: u64,
}

impl Clock {
    /// A clock that begins at a reading of the machine's monotonic clock, microseconds.
    #[must_use]
    pub fn new(reading_us: u64) -> Self {
        Self { lost_us: 0, due_us: reading_us + TICK_IDLE_MS * 1000 }
    }

    /// Returns the hub's time for a reading of the machine's clocks.
    pub fn now(&mut self, reading: Now) -> Now {
        let late_us = reading.mono_us.saturating_sub(self.due_us);
        if late_us > AWAY_MS * 1000 {
            self.lost_us += late_us;
            self.due_us = reading.mono_us;
        }
        Now { mono_us: reading.mono_us.saturating_sub(self.lost_us), ..reading }
    }

    /// Sets the next look after a look at the timers.
    pub fn looked(&mut self, reading_us: u64, after_ms: u64) {
        self.due_us = reading_us + after_ms * 1000;
    }

    /// Brings the next look nearer if it has to come sooner; returns true if it does. It is never
    /// put off.
    pub fn hasten(&mut self, reading_us: u64, after_ms: u64) -> bool {
        let due_us = reading_us + after_ms * 1000;
        let is_sooner = due_us < self.due_us;
        self.due_us = self.due_us.min(due_us);
        is_sooner
    }

    /// Time until the next look, microseconds.
    #[must_use]
    pub fn left_us(&self, reading_us: u64) -> u64 {
        self.due_us.saturating_sub(reading_us)
    }

    /// Reading of the machine's clock for a time of the hub, for other processes.
    #[must_use]
    pub fn reading_of(&self, hub_us: u64) -> u64 {
        hub_us + self.lost_us
    }
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one kind of action")]
mod tests {
    use super::*;
    use crate::{
        chat::{
            event::Event,
            frames::{Destination, Frame, Hello, Line, Submit},
            hub::{Action, Hub, HubConfig},
            member::{EndCause, Kind, Peer, SessionId, State},
            message::BootId,
            names::{Label, RoomName, UserName},
            request::{Answering, Begin, Follow, Request},
            stream_id::StreamId,
        },
        limits::{
            ASKER_AWAY_MS_MAX, FRAME_HEADER_BYTES, OFFER_MS_MAX, PING_AFTER_MS,
            UNRESPONSIVE_AFTER_MS,
        },
    };

    fn reading(ms: u64) -> Now {
        Now { mono_us: ms * 1000, wall_us: 0 }
    }

    #[test]
    fn late_look_is_left_out_and_a_short_delay_is_not() {
        let mut clock = Clock::new(1_000_000);
        assert_eq!(clock.now(reading(1_250 + AWAY_MS)).mono_us, (1_250 + AWAY_MS) * 1000);
        // The look was due at 1,250.
        assert_eq!(clock.now(reading(61_250)).mono_us, 1_250_000);
        assert_eq!(clock.now(reading(61_260)).mono_us, 1_260_000, "time goes on from there");
        clock.looked(61_260_000, 20);
        assert_eq!(clock.now(reading(61_280)).mono_us, 1_280_000);
        assert_eq!(clock.reading_of(1_280_000), 61_280_000);
    }

    #[test]
    fn wake_ups_bring_the_next_look_nearer_only() {
        let mut clock = Clock::new(0);
        clock.looked(0, 250);
        assert!(clock.hasten(10_000, 20));
        for ms in 11..30 {
            assert!(!clock.hasten(ms * 1000, 20));
        }
        assert_eq!(clock.left_us(30_000), 0);
    }

    /// A hub with its clock: session 1 sends jobs, 2 and 3 work for one queue.
    struct Server {
        hub: Hub,
        clock: Clock,
        ms: u64,
        tag: StreamId,
    }

    impl Server {
        fn new() -> Self {
            let rules = HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES]);
            let (hub, clock) = (Hub::new(rules), Clock::new(1_000_000));
            let mut server = Self { hub, clock, ms: 1_000, tag: StreamId(0) };
            for id in 1..=3 {
                let user = UserName::new("ann").unwrap();
                let peer = Peer { uid: 1, user, pid: id as u32, start: 0 };
                let hello = Hello::new(None, Kind::Script, [id as u8; 16]);
                let now = server.now();
                server.hub.open(now, SessionId(id), peer, hello).unwrap();
                let follow = Follow::Room(RoomName::new("dev").unwrap());
                let begin = Begin::Now;
                server.request(id, Request::Join { follow, begin, membership: false, keep: false });
            }
            server.tag = server.hub.room_tag(&RoomName::new("dev").unwrap()).unwrap();
            for id in 2..=3 {
                let queue = Some(Label::new("q").unwrap());
                let (holding, done) = (Vec::new(), Vec::new());
                let stream = server.tag;
                let answering = Answering { stream, queue, jobs: 1, holding, done };
                server.request(id, Request::Answer(answering));
            }
            server
        }

        fn now(&mut self) -> Now {
            self.clock.now(reading(self.ms))
        }

        fn request(&mut self, id: u64, request: Request) {
            let now = self.now();
            self.hub.request(now, SessionId(id), 1, request);
        }

        /// Looks at the timers.
        fn tick(&mut self) -> Vec<Action> {
            let now = self.now();
            self.hub.tick(now);
            self.clock.looked(self.ms * 1000, self.hub.tick_after_ms());
            self.hub.actions().collect()
        }

        fn run_for(&mut self, ms: u64) -> Vec<Action> {
            let until = self.ms + ms;
            let mut actions = Vec::new();
            while self.ms < until {
                self.ms += (self.clock.left_us(self.ms * 1000) / 1000).min(until - self.ms).max(1);
                if self.clock.left_us(self.ms * 1000) == 0 {
                    actions.extend(self.tick());
                }
            }
            actions
        }

        /// The server itself is stopped.
        fn stop_for(&mut self, ms: u64) -> Vec<Action> {
            self.ms += ms;
            self.tick()
        }

        fn send_job(&mut self) -> u64 {
            let lines = vec![Line { reply_to: None, text: "x".try_into().unwrap() }];
            let to = Destination::Stream(self.tag);
            let submit = Submit { first: 1, to, to_label: None, lines };
            let now = self.now();
            self.hub.submit(now, SessionId(1), &submit);
            self.hub.end_turn(now);
            self.request(1, Request::Ask { counter: 1, again: false });
            self.hub.end_turn(now);
            offers(&self.hub.actions().collect::<Vec<_>>())[0]
        }
    }

    /// Workers that were offered something.
    fn offers(actions: &[Action]) -> Vec<u64> {
        let offers = actions.iter().filter_map(|action| match action {
            Action::Send(to, Frame::Event(Event::Offer { .. })) => Some(to.0),
            _ => None,
        });
        offers.collect()
    }

    fn unresponsive(actions: &[Action]) -> usize {
        let rows = actions.iter().filter(
            |action| matches!(action, Action::Row(row) if row.state == State::Unresponsive),
        );
        rows.count()
    }

    #[test]
    fn stopped_server_shows_no_session_as_unresponsive() {
        let mut server = Server::new();
        // All are asked for a sign of life, then the server stops.
        server.run_for(PING_AFTER_MS + 250);
        assert_eq!(unresponsive(&server.stop_for(60_000)), 0);
        // What they owe afterwards is charged.
        assert_eq!(unresponsive(&server.run_for(UNRESPONSIVE_AFTER_MS + 500)), 3);
    }

    #[test]
    fn stopped_server_withdraws_no_offer() {
        let mut server = Server::new();
        let worker = server.send_job();
        assert!(offers(&server.stop_for(60_000)).is_empty());
        assert_eq!(offers(&server.run_for(OFFER_MS_MAX + 250)), [5 - worker]);
    }

    #[test]
    fn stopped_server_keeps_the_job_of_an_absent_sender() {
        let mut server = Server::new();
        server.send_job();
        let now = server.now();
        server.hub.close(now, SessionId(1), EndCause::Closed);
        server.stop_for(2 * ASKER_AWAY_MS_MAX);
        assert!(!offers(&server.run_for(OFFER_MS_MAX * 2)).is_empty(), "the job is still open");
    }
}
