//! Jobs and workers, one rule at a time.

use super::*;
use crate::{
    chat::{
        frames::{Destination, Frame, Hello, Line, Submit},
        hub::{Action, HubConfig, job_board::Board},
        member::{Kind, Member, Peer},
        message::BootId,
        names::{Label, RoomName, UserName},
        request::{Begin, Follow, Request},
    },
    limits::{
        FRAME_HEADER_BYTES, OUTCOMES_MAX, PING_AFTER_MS, REQUESTS_PER_USER_MAX,
        UNRESPONSIVE_AFTER_MS,
    },
};

/// A hub with one room and some sessions in it, each a process of its own.
struct Room {
    hub: Hub,
    tag: StreamId,
    now: Now,
    said: u64,
    /// The store was handed something and has not answered.
    is_storing: bool,
}

fn rules() -> HubConfig {
    HubConfig::new(BootId(1), 0, |_| [0; FRAME_HEADER_BYTES])
}

impl Room {
    fn new(sessions: u64) -> Self {
        Self::with(rules(), sessions)
    }

    fn with(rules: HubConfig, sessions: u64) -> Self {
        let now = Now { mono_us: 1_000_000, wall_us: 1 };
        let hub = Hub::new(rules);
        let mut room = Self { hub, tag: StreamId(0), now, said: 0, is_storing: false };
        room.hub.tick(now);
        for number in 1..=sessions {
            room.enter(number, number as u8);
        }
        room.events();
        room
    }

    fn enter(&mut self, number: u64, instance: u8) {
        let user = UserName::new("ann").unwrap();
        let peer = Peer { uid: 1, user, pid: u32::from(instance), start: 0 };
        let hello = Hello::new(None, Kind::Script, [instance; 16]);
        self.hub.open(self.now, SessionId(number), peer, hello).unwrap();
        let follow = Follow::Room(RoomName::new("dev").unwrap());
        let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
        let answer = self.try_request(number, join).unwrap_or_else(|| {
            // The first one waits for the commit of the room.
            self.frames();
            self.stores(true);
            self.late_replies().remove(0).1
        });
        let Ok(Reply::Joined(infos)) = answer else { panic!() };
        self.tag = infos[0].tag;
    }

    /// Ends the turn; returns what was sent in it, in order.
    fn frames(&mut self) -> Vec<(u64, Frame)> {
        self.hub.end_turn(self.now);
        self.hub.asking.board.check();
        let mut sent = Vec::new();
        for action in self.hub.actions() {
            match action {
                Action::Send(to, frame) => sent.push((to.0, frame)),
                Action::Store(..) => self.is_storing = true,
                _ => {}
            }
        }
        sent
    }

    fn events(&mut self) -> Vec<(u64, Event)> {
        let events = self.frames().into_iter().filter_map(|(to, frame)| match frame {
            Frame::Event(event) => Some((to, event)),
            _ => None,
        });
        events.collect()
    }

    /// Answers to requests that came by themselves: session, result.
    fn late_replies(&mut self) -> Vec<(u64, Result<Reply, Refusal>)> {
        let replies = self.frames().into_iter().filter_map(|(to, frame)| match frame {
            Frame::Reply { result, .. } => Some((to, result)),
            _ => None,
        });
        replies.collect()
    }

    /// The store commits what it was handed, or fails.
    fn stores(&mut self, well: bool) {
        assert!(std::mem::take(&mut self.is_storing), "something is with the store");
        match well {
            true => self.hub.stored(self.now),
            false => self.hub.store_failed(self.now, "disk full"),
        }
    }

    /// A request; its answer if that came at once.
    fn try_request(&mut self, id: u64, request: Request) -> Option<Result<Reply, Refusal>> {
        self.hub.request(self.now, SessionId(id), 7, request);
        let is_reply =
            |action: &Action| matches!(action, Action::Send(_, Frame::Reply { serial: 7, .. }));
        // What else is to be done stays for `events`.
        let at = self.hub.out.actions().iter().position(is_reply)?;
        match self.hub.out.actions().remove(at) {
            Action::Send(_, Frame::Reply { result, .. }) => Some(result),
            _ => unreachable!(),
        }
    }

    fn request(&mut self, id: u64, request: Request) -> Result<Reply, Refusal> {
        self.try_request(id, request).unwrap()
    }

    fn say(&mut self, id: u64, reply_to: Option<u64>) -> u64 {
        self.said += 1;
        let submit = Submit {
            first: self.said,
            to: Destination::Stream(self.tag),
            to_label: None,
            lines: vec![Line { reply_to, text: "x".try_into().unwrap() }],
        };
        self.hub.submit(self.now, SessionId(id), &submit);
        self.said
    }

    /// Session 1 asks; returns the number of the job, which is its counter here.
    /// A message that an earlier boot numbered.
    fn say_in_earlier_boot(&mut self, id: u64) -> u64 {
        let seq = self.say(id, None);
        self.events();
        self.hub.stream_mut(self.tag).inherited = seq;
        seq
    }

    fn ask(&mut self, again: bool) -> u64 {
        let counter = if again { self.said } else { self.say(1, None) };
        self.hub.end_turn(self.now);
        self.request(1, Request::Ask { counter, again }).unwrap();
        counter
    }

    fn try_answer(
        &mut self,
        id: u64,
        queue: Option<&str>,
        holding: &[u64],
        done: &[u64],
    ) -> Result<Reply, Refusal> {
        let answering = Answering {
            stream: self.tag,
            queue: queue.map(|q| Label::new(q).unwrap()),
            jobs: 1,
            holding: holding.to_vec(),
            done: done.to_vec(),
        };
        self.request(id, Request::Answer(answering))
    }

    fn answer(&mut self, id: u64, queue: Option<&str>, holding: &[u64], done: &[u64]) -> Vec<u64> {
        match self.try_answer(id, queue, holding, done).unwrap() {
            Reply::Answering { lost } => lost,
            other => panic!("{other:?}"),
        }
    }

    /// Offers: worker, job, workers that had it before.
    fn offers(&mut self) -> Vec<(u64, u64, u32)> {
        let offers = self.events().into_iter().filter_map(|(to, event)| match event {
            Event::Offer { seq, before, .. } => Some((to, seq, before)),
            _ => None,
        });
        offers.collect()
    }

    fn take(&mut self, id: u64, seq: u64) -> bool {
        self.request(id, Request::Take { stream: self.tag, seq }).is_ok()
    }

    /// Time passes for all but some sessions, which are stopped.
    fn after_ms_without(&mut self, ms: u64, stopped: &[u64]) {
        self.now.mono_us += ms * 1000;
        for id in self.hub.sessions.iter().map(|s| s.member.session).collect::<Vec<_>>() {
            if !stopped.contains(&id.0) {
                self.hub.heard(self.now, id);
            }
        }
        self.hub.tick(self.now);
    }

    fn after_ms(&mut self, ms: u64) {
        self.after_ms_without(ms, &[]);
    }

    fn close(&mut self, id: u64, cause: EndCause) {
        self.hub.close(self.now, SessionId(id), cause);
        self.hub.asking.board.check();
    }

    fn has_jobs(&self) -> bool {
        self.hub.asking.board.jobs_in(self.tag).next().is_some()
    }
}

#[test]
fn job_goes_to_one_worker_of_a_queue_and_to_all_without_one() {
    let mut room = Room::new(5);
    room.answer(2, Some("q"), &[], &[]);
    room.answer(3, Some("q"), &[], &[]);
    room.answer(4, None, &[], &[]);
    room.answer(5, None, &[], &[]);
    let first = room.ask(false);
    let mut offers = room.offers();
    offers.sort_unstable();
    assert_eq!(offers, [(2, first, 0), (4, first, 0), (5, first, 0)]);
    let second = room.ask(false);
    assert_eq!(room.offers(), [(3, second, 0)], "the others have their hands full");
    assert!(room.take(2, first) && room.take(3, second) && !room.take(3, first));
    room.say(2, Some(first));
    assert_eq!(room.offers(), [], "there is nothing that nobody has");
    let third = room.ask(false);
    assert_eq!(room.offers(), [(2, third, 0)]);
}

#[test]
fn all_of_a_queue_have_their_turn() {
    let mut room = Room::new(4);
    for id in 2..=4 {
        room.answer(id, Some("q"), &[], &[]);
    }
    let mut served = Vec::new();
    for _ in 0..6 {
        let seq = room.ask(false);
        let offers = room.offers();
        let [(to, of, 0)] = offers[..] else { panic!("{offers:?}") };
        assert!(of == seq && room.take(to, seq));
        room.say(to, Some(seq));
        served.push(to);
    }
    served.sort_unstable();
    assert_eq!(served, [2, 2, 3, 3, 4, 4]);
}

#[test]
fn an_offer_that_is_not_taken_goes_to_another_one() {
    let mut room = Room::new(3);
    room.answer(2, Some("q"), &[], &[]);
    let seq = room.ask(false);
    assert_eq!(room.offers(), [(2, seq, 0)]);
    room.answer(3, Some("q"), &[], &[]);
    assert_eq!(room.offers(), []);
    room.after_ms(OFFER_MS_MAX);
    // The first was offered something last: now it is the other one's turn.
    assert_eq!(room.offers(), [(3, seq, 0)]);
    assert!(!room.take(2, seq), "too late");
    assert!(room.take(3, seq));
    room.after_ms(60_000);
    assert_eq!(room.offers(), [], "who has taken it has all the time");
}

#[test]
fn when_a_holder_ends_another_one_gets_it_and_the_asker_is_told() {
    let mut room = Room::new(3);
    room.answer(2, Some("q"), &[], &[]);
    let seq = room.ask(false);
    room.offers();
    room.take(2, seq);
    room.answer(3, Some("q"), &[], &[]);
    room.close(2, EndCause::Killed);
    let events = room.events();
    let abandoned = |e: &Event| matches!(e, Event::Abandoned { seq: of, cause: EndCause::Killed, .. } if *of == seq);
    assert!(events.iter().any(|(to, e)| *to == 1 && abandoned(e)), "{events:?}");
    let offered = |e: &Event| matches!(e, Event::Offer { seq: of, before: 1, .. } if *of == seq);
    assert!(events.iter().any(|(to, e)| *to == 3 && offered(e)), "{events:?}");
}

#[test]
fn a_broken_connection_is_waited_for() {
    let mut room = Room::new(3);
    room.answer(2, Some("q"), &[], &[]);
    room.answer(3, Some("q"), &[], &[]);
    let seq = room.ask(false);
    assert_eq!(room.offers(), [(2, seq, 0)]);
    room.take(2, seq);
    room.close(2, EndCause::Closed);
    assert_eq!(room.offers(), []);
    room.enter(12, 2);
    assert!(room.answer(12, Some("q"), &[seq], &[]).is_empty());
    room.after_ms(HOLDER_AWAY_MS_MAX * 2);
    assert_eq!(room.offers(), [], "it has it again");
    // Once more, and it does not come back in time: then it is another one's.
    room.close(12, EndCause::Closed);
    room.after_ms(HOLDER_AWAY_MS_MAX);
    assert_eq!(room.offers(), [(3, seq, 1)]);
    assert!(room.take(3, seq));
    room.enter(22, 2);
    assert_eq!(room.answer(22, Some("q"), &[seq], &[]), [seq]);
}

#[test]
fn unconfirmed_job_is_offered_again_after_a_break() {
    let mut room = Room::new(2);
    room.answer(2, Some("q"), &[], &[]);
    let seq = room.ask(false);
    room.offers();
    room.take(2, seq);
    room.close(2, EndCause::Closed);
    room.enter(12, 2);
    room.answer(12, Some("q"), &[], &[]);
    assert_eq!(room.offers(), [(12, seq, 0)], "it never began");
}

#[test]
fn a_reply_that_comes_again_after_a_break_is_the_reply() {
    let mut room = Room::new(3);
    room.answer(2, Some("q"), &[], &[]);
    let seq = room.ask(false);
    room.offers();
    room.take(2, seq);
    room.close(2, EndCause::Closed);
    room.enter(12, 2);
    // It is submitted before anything else is said.
    room.say(12, Some(seq));
    assert!(room.answer(12, Some("q"), &[], &[seq]).is_empty());
    room.answer(3, Some("q"), &[], &[]);
    room.after_ms(HOLDER_AWAY_MS_MAX * 2);
    assert_eq!(room.offers(), []);
    let next = room.ask(false);
    assert_eq!(room.offers().len(), 1, "{next} has both of them free");
    // Also where the server knew nothing of the request: it is asked again.
    let mut room = Room::new(2);
    let seq = room.say_in_earlier_boot(1);
    room.say(2, Some(seq));
    room.events();
    room.answer(2, Some("q"), &[], &[seq]);
    room.request(1, Request::Ask { counter: seq, again: true }).unwrap();
    room.after_ms(REASK_AFTER_MS);
    assert_eq!(room.offers(), []);
}

#[test]
fn asker_gets_reports_missed_during_a_break() {
    let mut room = Room::new(2);
    room.answer(2, Some("q"), &[], &[]);
    let seq = room.ask(false);
    room.offers();
    room.take(2, seq);
    room.close(1, EndCause::Closed);
    let answered = Request::Answered { stream: room.tag, seq, failed: true, silent: true };
    room.request(2, answered).unwrap();
    room.events();
    room.enter(11, 1);
    room.request(11, Request::Ask { counter: seq, again: true }).unwrap();
    let told = room.events();
    let is_told = |e: &Event| matches!(e, Event::Answered { failed: true, silent: true, .. });
    assert!(told.iter().any(|(to, e)| *to == 11 && is_told(e)), "{told:?}");
}

/// Jobs whose outcome a session was sent, in the last turn: job, failed, silent.
fn outcomes_for(room: &mut Room, id: u64) -> Vec<(u64, bool, bool)> {
    let outcomes = room.events().into_iter().filter_map(|(to, event)| match event {
        Event::Answered { seq, failed, silent, .. } if to == id => Some((seq, failed, silent)),
        _ => None,
    });
    outcomes.collect()
}

impl Room {
    fn reports(&mut self, id: u64, seq: u64, silent: bool) {
        let answered = Request::Answered { stream: self.tag, seq, failed: true, silent };
        self.request(id, answered).unwrap();
    }

    fn asks_again(&mut self, id: u64, counter: u64) {
        self.request(id, Request::Ask { counter, again: true }).unwrap();
    }
}

#[test]
fn outcome_waits_for_a_sender_that_comes_back_after_its_worker() {
    let mut room = Room::new(3);
    let seq = room.say(1, None);
    room.events();
    // The server restarted: the worker is back first, and ends once it has reported.
    let tag = room.tag;
    room.hub.streams[tag].inherited = seq;
    room.answer(2, Some("q"), &[seq], &[]);
    room.reports(2, seq, true);
    room.close(2, EndCause::Quit);
    room.answer(3, Some("q"), &[], &[]);
    room.asks_again(1, seq);
    assert_eq!(outcomes_for(&mut room, 1), [(seq, true, true)]);
    room.after_ms(REASK_AFTER_MS);
    assert_eq!(room.offers(), [], "it is done");
    // Nothing is left of it once the sender ends.
    room.close(1, EndCause::Quit);
    assert_eq!(room.hub.asking.board.outcomes.of((room.tag, seq)).count(), 0);
}

#[test]
fn outcome_waits_longer_than_the_job_of_a_sender_that_is_away() {
    for (silent, expected) in [(true, vec![]), (false, vec![2])] {
        let mut room = Room::new(2);
        room.answer(2, Some("q"), &[], &[]);
        let seq = room.ask(false);
        room.offers();
        assert!(room.take(2, seq));
        room.close(1, EndCause::Closed);
        room.reports(2, seq, silent);
        assert_eq!(outcomes_for(&mut room, 1), []);
        room.after_ms(ASKER_AWAY_MS_MAX);
        assert!(!room.has_jobs());
        room.close(2, EndCause::Quit);
        room.enter(11, 1);
        room.enter(12, 2);
        room.answer(12, Some("q"), &[], &[]);
        room.asks_again(11, seq);
        assert_eq!(outcomes_for(&mut room, 11), [(seq, true, silent)]);
        room.after_ms(REASK_AFTER_MS);
        let offers: Vec<_> = room.offers().iter().map(|(to, ..)| to - 10).collect();
        assert_eq!(offers, expected, "a reply that never came is still to be made");
    }
}

#[test]
fn outcome_sent_to_a_dead_connection_is_sent_again() {
    let mut room = Room::new(2);
    room.answer(2, Some("q"), &[], &[]);
    let seq = room.ask(false);
    room.offers();
    assert!(room.take(2, seq));
    // The sender is back before the end of its old connection is seen.
    room.enter(11, 1);
    room.reports(2, seq, true);
    assert_eq!(outcomes_for(&mut room, 1), [(seq, true, true)]);
    room.asks_again(11, seq);
    assert_eq!(outcomes_for(&mut room, 11), [(seq, true, true)]);
    room.close(1, EndCause::Closed);
    // Once more, whatever became of the last one.
    room.close(11, EndCause::Closed);
    room.enter(21, 1);
    room.asks_again(21, seq);
    assert_eq!(outcomes_for(&mut room, 21), [(seq, true, true)]);
}

#[test]
fn outcome_of_a_job_that_the_worker_never_had_is_ignored() {
    let mut room = Room::new(2);
    room.answer(2, Some("q"), &[], &[]);
    let seq = room.say(1, None);
    room.events();
    room.reports(2, seq, true);
    room.request(1, Request::Ask { counter: seq, again: false }).unwrap();
    assert_eq!(outcomes_for(&mut room, 1), []);
    room.after_ms(OFFER_MS_MAX);
    assert_eq!(room.offers(), [(2, seq, 0)]);
}

#[test]
fn newest_outcomes_of_each_user_are_kept() {
    let mut board = Board::new(10, 10, false);
    let instance = InstanceKey::of(1, [1; 16], SessionId(1));
    let put = |board: &mut Board, uid, seq| {
        let by = Member { uid, ..Member::nobody() };
        let outcome = Outcome { instance, by, failed: false, silent: true };
        let queue = Queue::Named(Label::new("q").unwrap());
        board.outcomes.put((StreamId(1), seq), queue, outcome);
    };
    put(&mut board, 2, 1);
    for seq in 2..OUTCOMES_MAX as u64 + 10 {
        put(&mut board, 1, seq);
    }
    let has = |board: &Board, seq| board.outcomes.of((StreamId(1), seq)).count() == 1;
    // One user can't push out what another one reported.
    assert!(has(&board, 1) && !has(&board, 2) && has(&board, OUTCOMES_MAX as u64 + 9));
    put(&mut board, 1, 20);
    assert!(has(&board, 20), "a newer report takes the place of the older one");
    board.remove_room(StreamId(1));
    assert!(!has(&board, 1) && !has(&board, OUTCOMES_MAX as u64));
    board.check();
}

#[test]
fn session_works_for_one_queue_only() {
    let mut room = Room::new(3);
    room.answer(2, Some("q"), &[], &[]);
    let other = Answering {
        stream: room.tag,
        queue: Some(Label::new("r").unwrap()),
        jobs: 1,
        holding: Vec::new(),
        done: Vec::new(),
    };
    assert!(room.request(2, Request::Answer(other)).is_err());
    // Nothing is kept of a queue that has not answered and has no worker left.
    room.ask(false);
    assert_eq!(room.offers().len(), 1);
    room.close(2, EndCause::Quit);
    assert_eq!(room.hub.asking.board.states(), 0);
}

#[test]
fn after_a_restart_what_is_held_or_done_is_not_offered() {
    let mut room = Room::new(4);
    let seq = room.say_in_earlier_boot(1);
    room.answer(2, Some("held"), &[seq], &[]);
    room.answer(3, Some("done"), &[], &[seq]);
    room.ask(true);
    assert_eq!(room.offers(), [], "those who know of it may still come");
    room.answer(4, Some("new"), &[], &[]);
    assert_eq!(room.offers(), []);
    room.after_ms(REASK_AFTER_MS);
    assert_eq!(room.offers(), [(4, seq, 0)]);
    room.say(2, Some(seq));
    assert_eq!(room.offers(), []);
}

#[test]
fn claims_on_jobs_that_this_boot_offered_are_not_believed() {
    let mut room = Room::new(4);
    let seqs = [room.ask(false), room.ask(false), room.ask(false)];
    room.answer(2, Some("q"), &[], &[]);
    assert_eq!(room.offers(), [(2, seqs[0], 0)]);
    assert_eq!(room.answer(3, Some("q"), &seqs[1..], &seqs[..1]), seqs[1..], "it lost them");
    let offers = room.offers();
    assert_eq!(offers, [(3, seqs[1], 0)], "it is offered what waits");
    assert!(room.take(2, seqs[0]), "the offer is still there");
    room.say(2, Some(seqs[0]));
    assert_eq!(room.offers(), [(2, seqs[2], 0)]);
    // Nor on a message that becomes a job only now, of whatever boot.
    for (earlier, again) in [(false, false), (false, true), (true, false)] {
        let mut room = Room::new(3);
        let seq = if earlier { room.say_in_earlier_boot(1) } else { room.say(1, None) };
        room.events();
        room.answer(2, Some("q"), &[], &[seq]);
        room.request(1, Request::Ask { counter: room.said, again }).unwrap();
        room.after_ms(REASK_AFTER_MS);
        assert_eq!(room.offers(), [(2, seq, 0)], "{earlier} {again}");
    }
}

#[test]
fn worker_whose_connection_broke_still_has_its_job() {
    let mut room = Room::new(3);
    let seq = room.ask(false);
    room.answer(2, Some("q"), &[], &[]);
    assert_eq!(room.offers(), [(2, seq, 0)]);
    assert!(room.take(2, seq));
    room.close(2, EndCause::Closed);
    room.enter(12, 2);
    assert_eq!(room.answer(12, Some("q"), &[seq], &[]), [0; 0]);
    room.answer(3, Some("q"), &[], &[]);
    room.after_ms(HOLDER_AWAY_MS_MAX);
    assert_eq!(room.offers(), [], "it works on");
    room.close(12, EndCause::Closed);
    room.enter(22, 2);
    assert_eq!(room.answer(22, Some("q"), &[], &[seq]), [0; 0]);
    room.after_ms(HOLDER_AWAY_MS_MAX);
    assert_eq!(room.offers(), [], "it has done it");
}

#[test]
fn jobs_and_workers_of_one_user_leave_some_to_others() {
    let mut room = Room::with(HubConfig { host: true, job_states_max: 4, ..rules() }, 1);
    // Each has its own user.
    let enter = |room: &mut Room, uid: u32| {
        let peer = Peer { uid, user: UserName::new("bob").unwrap(), pid: uid, start: 0 };
        let id = SessionId(u64::from(uid));
        room.hub.open(room.now, id, peer, Hello::new(None, Kind::Script, [uid as u8; 16])).unwrap();
        let follow = Follow::Room(RoomName::new("dev").unwrap());
        let join = Request::Join { follow, begin: Begin::Now, membership: false, keep: false };
        room.request(id.0, join).unwrap();
    };
    enter(&mut room, 50);
    enter(&mut room, 51);
    for _ in 0..4 {
        room.ask(false);
    }
    let counter = room.say(50, None);
    room.events();
    room.request(50, Request::Ask { counter, again: false }).unwrap();
    for worker in ["a", "b", "c"] {
        enter(&mut room, 100 + u32::from(worker.as_bytes()[0]));
        room.answer(100 + u64::from(worker.as_bytes()[0]), Some(worker), &[], &[]);
        room.events();
    }
    let load =
        |room: &Room, uid| room.hub.asking.board.load(super::super::accounts::AccountId::User(uid));
    assert!(load(&room, 50).states > 0, "its job is offered");
    assert!(load(&room, 1).states <= 3);
}

#[test]
fn a_request_ends_with_its_asker() {
    let mut room = Room::new(3);
    let first = room.ask(false);
    room.close(1, EndCause::Closed);
    room.after_ms(ASKER_AWAY_MS_MAX - 1);
    room.answer(2, Some("q"), &[], &[]);
    assert_eq!(room.offers(), [(2, first, 0)]);
    assert!(room.take(2, first));
    room.after_ms(1);
    assert!(!room.has_jobs());
    room.say(2, Some(first));
    room.enter(11, 1);
    room.said = 0;
    let own = room.said + 10;
    assert!(room.request(11, Request::Ask { counter: own, again: false }).is_err());
    for cause in [EndCause::Quit, EndCause::Killed, EndCause::Kicked] {
        let mut room = Room::new(2);
        room.ask(false);
        room.close(1, cause);
        assert!(!room.has_jobs(), "{cause:?}");
    }
}

#[test]
fn job_needs_an_own_text_and_a_joined_room() {
    let mut room = Room::new(2);
    let counter = room.say(1, None);
    assert!(room.request(2, Request::Ask { counter, again: false }).is_err());
    room.request(2, Request::Part { stream: room.tag, forget: false }).unwrap();
    let answering =
        Answering { stream: room.tag, queue: None, jobs: 1, holding: Vec::new(), done: Vec::new() };
    assert!(room.request(2, Request::Answer(answering.clone())).is_err());
    let nowhere = Answering { stream: StreamId(99), ..answering.clone() };
    assert!(room.request(1, Request::Answer(nowhere)).is_err());
    let none = Answering { jobs: 0, ..answering };
    assert!(room.request(1, Request::Answer(none)).is_err());
}

#[test]
fn an_account_has_so_many_requests_and_no_more() {
    let mut room = Room::new(2);
    for _ in 0..REQUESTS_PER_USER_MAX {
        room.ask(false);
    }
    let counter = room.say(1, None);
    room.events();
    let refused = room.request(1, Request::Ask { counter, again: false }).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Failed);
    room.close(1, EndCause::Quit);
    assert!(!room.has_jobs());
}

#[test]
fn known_states_go_over_the_bound_and_are_counted() {
    let bound = HubConfig { job_states_max: 1, ..rules() };
    let mut room = Room::with(bound, 3);
    let seq = room.say_in_earlier_boot(1);
    room.answer(2, Some("a"), &[], &[seq]);
    room.answer(3, Some("b"), &[], &[seq]);
    room.request(1, Request::Ask { counter: seq, again: true }).unwrap();
    assert_eq!(room.hub.asking.board.states(), 2);
    room.after_ms(REASK_AFTER_MS);
    assert_eq!(room.offers(), []);
    room.close(1, EndCause::Quit);
    assert_eq!(room.hub.asking.board.states(), 0);
}

#[test]
fn worker_without_a_reply_is_done() {
    let mut room = Room::new(3);
    room.answer(2, Some("q"), &[], &[]);
    let seq = room.ask(false);
    room.offers();
    let answered = Request::Answered { stream: room.tag, seq, failed: true, silent: true };
    assert!(room.request(3, answered.clone()).is_err(), "another one's");
    assert!(room.request(2, answered.clone()).is_err(), "not taken");
    room.take(2, seq);
    room.request(2, answered).unwrap();
    let told = room.events();
    let is_told = |e: &Event| matches!(e, Event::Answered { failed: true, silent: true, .. });
    assert!(told.iter().any(|(to, e)| *to == 1 && is_told(e)), "{told:?}");
    let next = room.ask(false);
    assert_eq!(room.offers(), [(2, next, 0)]);
}

// ---- wake-ups -----------------------------------------------------------------------------------

#[test]
fn stopped_worker_gets_a_waiting_job_when_it_answers() {
    let mut room = Room::new(2);
    room.answer(2, Some("q"), &[], &[]);
    for _ in 0..(PING_AFTER_MS + UNRESPONSIVE_AFTER_MS) / 250 + 1 {
        room.after_ms_without(250, &[2]);
    }
    let seq = room.ask(false);
    assert_eq!(room.offers(), [], "a stopped worker gets no offer");
    room.hub.heard(room.now, SessionId(2));
    assert_eq!(room.offers(), [(2, seq, 0)]);
}

#[test]
fn job_of_a_lost_sender_frees_its_worker() {
    let mut room = Room::new(3);
    room.answer(2, Some("q"), &[], &[]);
    let first = room.ask(false);
    room.offers();
    assert!(room.take(2, first));
    let second = room.say(3, None);
    room.events();
    room.request(3, Request::Ask { counter: second, again: false }).unwrap();
    assert_eq!(room.offers(), []);
    room.close(1, EndCause::Closed);
    room.after_ms(ASKER_AWAY_MS_MAX);
    assert_eq!(room.offers(), [(2, second, 0)]);
}

#[test]
fn job_passed_for_a_bound_is_offered_once_there_is_room() {
    for bound in [
        HubConfig { job_states_max: 1, ..rules() },
        HubConfig { job_states_per_user_max: 1, ..rules() },
    ] {
        let mut room = Room::with(bound, 3);
        let first = room.ask(false);
        // The next session of the sender's process: the same account.
        room.enter(11, 1);
        let second = room.say(11, None);
        room.events();
        room.request(11, Request::Ask { counter: second, again: false }).unwrap();
        room.answer(2, Some("a"), &[], &[]);
        room.answer(3, Some("b"), &[], &[]);
        assert_eq!(room.offers(), [(2, first, 0)]);
        assert!(room.take(2, first));
        room.say(2, Some(first));
        assert_eq!(room.offers(), [], "the first job has its one state");
        room.close(1, EndCause::Quit);
        let offers = room.offers();
        assert!(matches!(offers[..], [(_, seq, 0)] if seq == second), "{offers:?}");
    }
}

#[test]
fn idle_worker_is_preferred_to_one_with_a_dead_job() {
    let mut room = Room::new(4);
    room.answer(3, Some("q"), &[], &[]);
    let first = room.ask(false);
    room.offers();
    assert!(room.take(3, first));
    room.answer(4, Some("q"), &[], &[]);
    room.close(1, EndCause::Quit);
    // It still runs the job whose sender is gone, though it was offered something longest ago.
    let second = room.say(2, None);
    room.events();
    room.request(2, Request::Ask { counter: second, again: false }).unwrap();
    assert_eq!(room.offers(), [(4, second, 0)]);
}

// ---- commits ------------------------------------------------------------------------------------

fn stored_room(sessions: u64) -> Room {
    Room::with(HubConfig { store: true, persistent: true, ..rules() }, sessions)
}

#[test]
fn job_before_its_commit_is_answered_when_published() {
    let mut room = stored_room(2);
    room.answer(2, Some("q"), &[], &[]);
    let counter = room.say(1, None);
    let ask = Request::Ask { counter, again: false };
    assert!(room.try_request(1, ask.clone()).is_none());
    // Twice at once: the second is refused, the first still waits.
    assert!(room.request(1, ask).is_err());
    assert_eq!(room.offers(), [], "not before it is published");
    room.stores(true);
    let frames = room.frames();
    let at = |is: &dyn Fn(&Frame) -> bool| frames.iter().position(|(_, frame)| is(frame)).unwrap();
    let ack = at(&|frame| matches!(frame, Frame::Ack(_)));
    let asked = at(&|f| matches!(f, Frame::Reply { result: Ok(Reply::Asked { .. }), .. }));
    let offer = at(&|frame| matches!(frame, Frame::Event(Event::Offer { .. })));
    assert!(ack < asked && asked < offer, "{frames:?}");
    let answers = frames.iter().filter(|(_, frame)| matches!(frame, Frame::Reply { .. }));
    assert_eq!(answers.count(), 1);
}

#[test]
fn freed_number_makes_no_job_of_another_text() {
    let mut room = stored_room(3);
    room.answer(3, Some("q"), &[], &[]);
    let counter = room.say(1, None);
    assert!(room.try_request(1, Request::Ask { counter, again: false }).is_none());
    room.events();
    room.stores(false);
    let [(1, Err(refusal))] = &room.late_replies()[..] else { panic!("one refusal") };
    assert_eq!(refusal.code, RefusalCode::Failed);
    room.say(2, None);
    room.events();
    room.stores(true);
    assert_eq!(room.offers(), [], "a text of session 2 is no job of session 1");
    assert!(!room.has_jobs());
}

#[test]
fn sender_that_left_before_the_commit_has_no_job() {
    for way in [EndCause::Closed, EndCause::Kicked] {
        let mut room = stored_room(2);
        room.answer(2, Some("q"), &[], &[]);
        let counter = room.say(1, None);
        assert!(room.try_request(1, Request::Ask { counter, again: false }).is_none());
        match way {
            EndCause::Closed => room.close(1, way),
            _ => {
                room.request(1, Request::Part { stream: room.tag, forget: false }).unwrap();
            }
        }
        room.events();
        room.stores(true);
        let answers = room.late_replies();
        assert_eq!(answers.len(), usize::from(way == EndCause::Kicked), "{answers:?}");
        assert!(!room.has_jobs());
    }
}

#[test]
fn job_is_done_at_the_commit_of_its_reply() {
    let mut room = stored_room(2);
    room.answer(2, Some("q"), &[], &[]);
    let counter = room.say(1, None);
    room.events();
    room.stores(true);
    room.request(1, Request::Ask { counter, again: false }).unwrap();
    let seq = room.offers()[0].1;
    assert!(room.take(2, seq));
    room.say(2, Some(seq));
    room.events();
    room.stores(false);
    // The reply was refused: the job is still the worker's, which may say that it failed.
    let failed = Request::Answered { stream: room.tag, seq, failed: true, silent: false };
    room.request(2, failed).unwrap();
    room.close(2, EndCause::Killed);
    room.enter(3, 3);
    room.answer(3, Some("q"), &[], &[]);
    assert_eq!(room.offers(), [(3, seq, 1)]);
}

#[test]
fn reply_of_a_killed_worker_counts_if_it_is_committed() {
    for well in [true, false] {
        let mut room = stored_room(3);
        room.answer(2, Some("q"), &[], &[]);
        room.answer(3, Some("q"), &[], &[]);
        let counter = room.say(1, None);
        room.events();
        room.stores(true);
        room.request(1, Request::Ask { counter, again: false }).unwrap();
        let (first, seq, _) = room.offers()[0];
        assert!(room.take(first, seq));
        room.say(first, Some(seq));
        room.events();
        room.close(first, EndCause::Killed);
        assert_eq!(room.offers(), [], "its reply is with the store");
        room.stores(well);
        room.after_ms(HOLDER_AWAY_MS_MAX);
        let other = 5 - first;
        let expected = if well { vec![] } else { vec![(other, seq, 1)] };
        assert_eq!(room.offers(), expected);
    }
}

#[test]
fn worker_reports_of_numbers_to_come_are_ignored() {
    let mut room = Room::new(2);
    room.answer(2, Some("q"), &[], &[1]);
    let later = Request::Answered { stream: room.tag, seq: 1, failed: false, silent: true };
    room.request(2, later).unwrap();
    let seq = room.ask(false);
    assert_eq!(seq, 1);
    assert_eq!(room.offers(), [(2, seq, 0)]);
}

#[test]
fn job_in_a_deleted_room_is_refused() {
    let mut room = Room::new(1);
    let counter = room.say(1, None);
    room.hub.end_turn(room.now);
    let name = RoomName::new("dev").unwrap();
    room.try_request(1, Request::DeleteRoom { room: name });
    room.events();
    let refused = room.request(1, Request::Ask { counter, again: false }).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Absent);
}
