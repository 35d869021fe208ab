use super::*;
use crate::{
    chat::{
        batch::{Builder, Draft},
        clock::Now,
        event::{Event as ServerEvent, GapReason},
        frames::{Ack, Destination, Frame},
        hub::{Action, Chunk, Hub, HubConfig},
        inbox::Via,
        member::{EndCause, Kind as MemberKind, Level, Member, Peer, SessionId},
        message::BootId,
        names::{Target, UserName},
        reply::{Reply, StreamInfo},
        request::Announce,
        stream_id::{RoomId, RoomIdentity, StreamLabel},
    },
    limits::UNACKED_SUBMITS_MAX,
    wire::{control, frame::PROTOCOL_VERSION},
};

fn text_of(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn welcome() -> Welcome {
    Welcome {
        protocol: PROTOCOL_VERSION,
        version: String::new(),
        run: BootId(1),
        session: 1,
        pid: 1,
        user: "ann".to_owned(),
        uid: 1,
        broadcast: "session".to_owned(),
        epoch: 0,
        source_port: None,
    }
}

#[test]
fn a_room_that_is_left_while_it_is_joined_is_not_followed() {
    let room = RoomName::new("dev").unwrap();
    let hello = Hello::new(None, MemberKind::Person, [1; 16]);
    let mut state = MemberState::new(hello, Follows::default());
    state.begin(&welcome());
    state.follow(Follow::Room(room.clone()));
    assert!(state.part(&room, true));
    assert!(!state.part(&room, true), "once");
    let (serial, _) = state.calls.joins().next().unwrap();
    state.out.clear();
    let info = StreamInfo {
        tag: StreamId(5),
        name: StreamLabel::Room(room.clone()),
        head: 0,
        next: 1,
        new_run: false,
        stored: true,
        members: 1,
        topic: String::new(),
        channel: None,
        room: None,
    };
    state.take_reply(serial, Ok(Reply::Joined(vec![info]))).unwrap();
    assert_eq!(state.tag_of(&room), None);
    let first = frame::parse(&state.out).unwrap().unwrap();
    let (_, request) = control::read_request(first.body).unwrap();
    assert!(matches!(request, Request::Part { stream: StreamId(5), forget: true }), "{request:?}");
}

#[test]
fn request_without_session_is_not_sent_in_the_next_one() {
    let room = RoomName::new("dev").unwrap();
    let follow = vec![Follow::Room(room.clone())];
    let follows = Follows { follow, ..Follows::default() };
    let mut state = MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
    let serial = state.ask(&Request::Topic { room, topic: "stale".to_owned() });
    assert!(matches!(state.next_event(), Some(Event::Reply(s, Err(_))) if s == serial));
    state.begin(&welcome());
    let first = frame::parse(&state.out).unwrap().unwrap();
    let (_, request) = control::read_request(first.body).unwrap();
    assert!(matches!(request, Request::Join { .. }), "{request:?}");
    assert_eq!(first.bytes, state.out.len(), "and nothing else");
}

#[test]
fn whole_conversations_are_told_from_messages_to_one_label() {
    let (bob, carol) = (UserName::new("bob").unwrap(), UserName::new("carol").unwrap());
    let followed = |follow| {
        let follows = Follows { follow: vec![follow], ..Follows::default() };
        let state = MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
        state.follows_all_of(&bob)
    };
    assert!(followed(Follow::AllDirect) && followed(Follow::With(bob.clone())));
    assert!(!followed(Follow::With(carol)) && !followed(Follow::ToMe));
    assert!(!followed(Follow::Announcements));
    assert!(!followed(Follow::Room(RoomName::new("bob").unwrap())));
}

/// A state that follows a room, whose id is 7, and is ready.
fn ready_in(room: &RoomName, lasts: bool) -> MemberState {
    let follow = vec![Follow::Room(room.clone())];
    let follows = Follows { follow, ..Follows::default() };
    let mut state = MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
    state.begin(&welcome());
    answer_join(&mut state, Ok(info(room, 7, lasts)));
    state
}

fn info(room: &RoomName, id: u64, lasts: bool) -> StreamInfo {
    StreamInfo {
        tag: StreamId(id as u32),
        name: StreamLabel::Room(room.clone()),
        head: 0,
        next: 1,
        new_run: false,
        stored: lasts,
        members: 1,
        topic: String::new(),
        channel: None,
        room: Some(RoomIdentity { id: RoomId(id), lasts }),
    }
}

fn answer_join(state: &mut MemberState, answer: Result<StreamInfo, Refusal>) {
    let (serial, _) = state.calls.joins().next().unwrap();
    state.take_reply(serial, answer.map(|info| Reply::Joined(vec![info]))).unwrap();
}

/// Breaks the session and begins one of the next boot.
fn reconnect(state: &mut MemberState) {
    state.end("lost");
    state.begin(&Welcome { run: BootId(2), ..welcome() });
}

/// Where the next submits go; empties the output.
fn submits(state: &mut MemberState) -> Vec<Destination> {
    let (mut all, out) = (Vec::new(), std::mem::take(&mut state.out));
    let mut rest = &out[..];
    while let Some(parsed) = frame::parse(rest).unwrap() {
        if parsed.kind == Kind::Submit {
            all.push(control::read_submit(parsed.body).unwrap().to);
        }
        rest = &rest[parsed.bytes..];
    }
    all
}

fn events(state: &mut MemberState) -> Vec<Event> {
    std::iter::from_fn(|| state.next_event()).collect()
}

#[test]
fn unknown_submit_is_reported_and_never_repeated() {
    let room = RoomName::new("dev").unwrap();
    let mut state = ready_in(&room, true);
    let say = |state: &mut MemberState, text: &str| {
        state.say(Target::Room(room.clone()), None, text_of(text));
    };
    let come = |state: &mut MemberState, wall_us| {
        state.take_bytes(Now { mono_us: 1, wall_us }, &[]).unwrap();
    };
    let stated = |state: &MemberState| (state.hello.submitted, state.hello.submitted_since_us);
    assert_eq!(stated(&state), (0, 0));
    come(&mut state, 50);
    say(&mut state, "one");
    come(&mut state, 60);
    say(&mut state, "two\nlines");
    reconnect(&mut state);
    assert_eq!(stated(&state), (2, 50));
    // What is said meanwhile was not submitted before.
    say(&mut state, "three");
    come(&mut state, 70);
    answer_join(&mut state, Ok(info(&room, 7, true)));
    assert_eq!(submits(&mut state).len(), 3);
    events(&mut state);
    let refusal = Refusal::new(RefusalCode::UnknownSubmit, "too old");
    let mut bytes = Vec::new();
    control::put_frame(&mut bytes, Frame::Nack { first: 1, count: 2, refusal });
    state.take_bytes(Now { mono_us: 1, wall_us: 80 }, &bytes).unwrap();
    for (text, event) in ["\"one\"", "\"two…\""].iter().zip(events(&mut state)) {
        let Event::Rejected(refusal) = event else { panic!("{event:?}") };
        assert_eq!(refusal.code, RefusalCode::UnknownSubmit);
        assert!(refusal.text.contains(text) && refusal.text.contains("moot history dev"));
    }
    assert_eq!(state.take_refused(), [1, 2]);
    reconnect(&mut state);
    assert_eq!(stated(&state), (3, 70));
    answer_join(&mut state, Ok(info(&room, 7, true)));
    assert_eq!(submits(&mut state).len(), 1, "only the third");
}

#[test]
fn texts_go_to_the_room_they_were_written_in() {
    let room = RoomName::new("dev").unwrap();
    let to = Target::Room(room.clone());
    let mut state = ready_in(&room, true);
    submits(&mut state);
    state.say(to.clone(), None, text_of("one"));
    assert_eq!(submits(&mut state), [Destination::Known(RoomId(7))]);
    // Written while the member has no session.
    state.end("lost");
    state.say(to.clone(), None, text_of("two"));
    state.begin(&Welcome { run: BootId(2), ..welcome() });
    let request = |state: &MemberState| {
        let first = frame::parse(&state.out).unwrap().unwrap();
        control::read_request(first.body).unwrap().1
    };
    let Request::Join { begin: Begin::Resume { room: of, .. }, .. } = request(&state) else {
        panic!("{:?}", request(&state));
    };
    assert_eq!(of, RoomId(7));
    // The room is gone: the server is asked about both texts under the old identity, and
    // nothing else.
    answer_join(&mut state, Err(Refusal::new(RefusalCode::Absent, "there is no room dev")));
    assert_eq!(submits(&mut state), vec![Destination::Known(RoomId(7)); 2]);
    let is_deleted = |e: &Event| matches!(e, Event::Deleted { room: of } if *of == room);
    assert_eq!(events(&mut state).iter().filter(|event| is_deleted(event)).count(), 1);
    // What is written now was written in no room.
    let counter = state.say(to, None, text_of("three"));
    assert_eq!(submits(&mut state), []);
    assert_eq!(state.take_refused(), [counter]);
    assert!(matches!(events(&mut state)[..], [Event::Rejected(_)]));
}

#[test]
fn server_without_history_gets_its_rooms_again() {
    let room = RoomName::new("dev").unwrap();
    let mut state = ready_in(&room, false);
    state.say(Target::Room(room.clone()), None, text_of("one"));
    reconnect(&mut state);
    submits(&mut state);
    answer_join(&mut state, Ok(info(&room, 8, false)));
    assert_eq!(submits(&mut state), [Destination::Known(RoomId(8))]);
}

#[test]
fn text_waits_for_the_join_of_its_room() {
    let (dev, ops) = (RoomName::new("dev").unwrap(), RoomName::new("ops").unwrap());
    for joins in [true, false] {
        let mut state = ready_in(&dev, true);
        submits(&mut state);
        state.follow(Follow::Room(ops.clone()));
        let counter = state.say(Target::Room(ops.clone()), None, text_of("one"));
        assert_eq!(submits(&mut state), []);
        let refusal = Refusal::new(RefusalCode::Denied, "you are banned from ops");
        answer_join(&mut state, if joins { Ok(info(&ops, 9, true)) } else { Err(refusal) });
        match joins {
            true => assert_eq!(submits(&mut state), [Destination::Known(RoomId(9))]),
            false => assert_eq!(state.take_refused(), [counter]),
        }
    }
}

/// Answers the request for a conversation that was written last.
fn answer_open(state: &mut MemberState, tag: u32, answer: Result<(), Refusal>) {
    let (serial, user) = state.calls.openings().max().unwrap();
    let name = StreamLabel::Direct(user.clone());
    let info = StreamInfo { name, tag: StreamId(tag), room: None, ..info(&dev(), 1, true) };
    state.take_reply(serial, answer.map(|()| Reply::Opened(info))).unwrap();
}

fn dev() -> RoomName {
    RoomName::new("dev").unwrap()
}

fn bob() -> UserName {
    UserName::new("bob").unwrap()
}

fn to_bob() -> Target {
    Target::User { user: bob(), label: None }
}

fn ack_of(counter: u64, seq: u64) -> Ack {
    Ack { first: counter, count: 1, seq, members: 0, stored: true }
}

#[test]
fn direct_message_goes_to_the_conversation_of_this_boot() {
    // A member that follows nothing has no stream that tells the boots apart.
    let mut state =
        MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), Follows::default());
    state.begin(&welcome());
    state.become_ready();
    let first = state.say(to_bob(), None, text_of("one"));
    let second = state.say(to_bob(), None, text_of("two"));
    assert_eq!(submits(&mut state), [], "the conversation is not open");
    answer_open(&mut state, 9, Ok(()));
    assert_eq!(submits(&mut state), vec![Destination::Stream(StreamId(9)); 2]);
    state.take_ack(&ack_of(first, 1));
    // An address that is kept over a restart; what is on its way goes with it.
    reconnect(&mut state);
    state.become_ready();
    let third = state.say(to_bob(), None, text_of("three"));
    assert_eq!(submits(&mut state), []);
    answer_open(&mut state, 4, Ok(()));
    assert_eq!(submits(&mut state), vec![Destination::Stream(StreamId(4)); 2]);
    // In the same boot it has the same number.
    state.end("lost");
    state.begin(&Welcome { run: BootId(2), ..welcome() });
    state.become_ready();
    assert_eq!(submits(&mut state), vec![Destination::Stream(StreamId(4)); 2]);
    // What can't be opened is refused; it may be stored if it was submitted earlier.
    state.end("lost");
    state.begin(&Welcome { run: BootId(3), ..welcome() });
    state.become_ready();
    let fourth = state.say(to_bob(), None, text_of("four"));
    events(&mut state);
    let absent = Refusal::new(RefusalCode::Absent, "there is no user bob on this host");
    answer_open(&mut state, 0, Err(absent));
    assert_eq!(submits(&mut state), []);
    assert_eq!(state.take_refused(), [second, third, fourth]);
    assert_eq!(
        refusals(&mut state),
        [RefusalCode::UnknownSubmit, RefusalCode::UnknownSubmit, RefusalCode::Absent]
    );
}

#[test]
fn direct_messages_keep_their_order_while_a_conversation_opens() {
    let mut state = ready_in(&dev(), true);
    submits(&mut state);
    let first = state.say(to_bob(), None, text_of("one"));
    // Another member of this user opened it meanwhile.
    let name = StreamLabel::Direct(bob());
    let info = StreamInfo { name, tag: StreamId(9), room: None, ..info(&dev(), 9, true) };
    state.take_event(Now { mono_us: 1, wall_us: 1 }, ServerEvent::Opened(info));
    let second = state.say(to_bob(), None, text_of("two"));
    answer_open(&mut state, 9, Ok(()));
    assert_eq!(submits(&mut state), vec![Destination::Stream(StreamId(9)); 2]);
    state.take_ack(&Ack { count: 2, ..ack_of(first, 1) });
    assert_eq!((second, state.unacked()), (first + 1, 0));
}

/// Codes of the refusals among the events.
fn refusals(state: &mut MemberState) -> Vec<RefusalCode> {
    let rejected = events(state).into_iter().filter_map(|event| {
        if let Event::Rejected(refusal) = event { Some(refusal.code) } else { None }
    });
    rejected.collect()
}

#[test]
fn submitted_text_is_never_reported_as_not_sent() {
    // Nothing outlives this server: its rooms and numbers are others after a restart.
    for (follows_again, reply_to) in [(true, Some(1)), (false, None), (false, Some(1))] {
        let mut state = ready_in(&dev(), false);
        let say = |state: &mut MemberState| {
            state.say(Target::Room(dev()), reply_to, text_of("one"));
        };
        say(&mut state);
        assert_eq!(submits(&mut state).len(), 1);
        state.end("lost");
        say(&mut state);
        state.begin(&Welcome { run: BootId(2), ..welcome() });
        events(&mut state);
        let refusal = Refusal::new(RefusalCode::Denied, "you are banned from dev");
        let answer = if follows_again { Ok(info(&dev(), 8, false)) } else { Err(refusal) };
        answer_join(&mut state, answer);
        assert_eq!(submits(&mut state), []);
        assert_eq!(
            refusals(&mut state),
            [RefusalCode::UnknownSubmit, RefusalCode::Absent],
            "{follows_again} {reply_to:?}"
        );
    }
}

#[test]
fn reply_to_a_user_is_not_sent_to_another_message() {
    let mut state = ready_in(&dev(), true);
    state.say(to_bob(), Some(5), text_of("one"));
    answer_open(&mut state, 9, Ok(()));
    reconnect(&mut state);
    answer_join(&mut state, Ok(info(&dev(), 7, true)));
    // Whether the new boot still has message 5 is not known: the conversation is not followed.
    assert_eq!(refusals(&mut state), [RefusalCode::UnknownSubmit]);
    assert_eq!(state.calls.openings().count(), 0);
}

#[test]
fn text_far_from_the_oldest_one_waits_for_its_answer() {
    let (dev, ops) = (dev(), RoomName::new("ops").unwrap());
    let follow = vec![Follow::Room(dev.clone()), Follow::Room(ops.clone())];
    let follows = Follows { follow, ..Follows::default() };
    let mut state = MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
    state.begin(&welcome());
    let join_both = |state: &mut MemberState| {
        for (room, id) in [(&dev, 7), (&ops, 8)] {
            answer_join(state, Ok(info(room, id, true)));
        }
    };
    join_both(&mut state);
    submits(&mut state);
    let say = |state: &mut MemberState, room: &RoomName| {
        state.say(Target::Room(room.clone()), None, text_of("x"))
    };
    let slow = say(&mut state, &dev);
    let most = UNACKED_SUBMITS_MAX as u64;
    for _ in 0..2 * most {
        let counter = say(&mut state, &ops);
        if submits(&mut state).contains(&Destination::Known(RoomId(8))) {
            assert!(counter - slow < most, "the server forgets {slow}");
            state.take_ack(&ack_of(counter, counter));
        }
        if state.unacked() == UNACKED_SUBMITS_MAX {
            break;
        }
    }
    assert_eq!(state.unacked(), UNACKED_SUBMITS_MAX);
    // Over a break as well.
    reconnect(&mut state);
    join_both(&mut state);
    assert_eq!(submits(&mut state), [Destination::Known(RoomId(7))]);
    assert_eq!(state.hello.submitted, slow + most - 1);
    // Its answer lets all others go, whatever it is.
    let refusal = Refusal::new(RefusalCode::Denied, "you are muted in dev");
    state.take_frame(Now::default(), Frame::Nack { first: slow, count: 1, refusal }).unwrap();
    assert_eq!(submits(&mut state).len(), UNACKED_SUBMITS_MAX - 1);
}

// ---- what a session learns before it is ready --------------------------------------------

#[test]
fn news_of_a_session_that_never_was_ready_is_reported() {
    let (dev, ops) = (dev(), RoomName::new("ops").unwrap());
    let mut state = ready_in(&dev, true);
    state.follow(Follow::Room(ops.clone()));
    answer_join(&mut state, Ok(info(&ops, 8, true)));
    let counters: Vec<_> =
        (0..3).map(|_| state.say(Target::Room(dev.clone()), None, text_of("x"))).collect();
    state.end("lost");
    events(&mut state);
    state.follow(Follow::Room(RoomName::new("den").unwrap()));
    state.begin(&Welcome { run: BootId(2), ..welcome() });
    let asked = state.ask(&Request::Rooms { skip: 0 });
    let now = Now { mono_us: 1, wall_us: 1 };
    let tell = |state: &mut MemberState, frame| state.take_frame(now, frame).unwrap();
    let refusal = |text: &str| Refusal::new(RefusalCode::Denied, text);
    answer_join(&mut state, Ok(info(&dev, 7, true)));
    answer_join(&mut state, Ok(info(&ops, 8, true)));
    tell(&mut state, Frame::Ack(ack_of(counters[0], 5)));
    let muted = Frame::Nack { first: counters[1], count: 1, refusal: refusal("muted") };
    tell(&mut state, muted);
    let rooms = Reply::Rooms { rooms: Vec::new(), more: false };
    tell(&mut state, Frame::Reply { serial: asked, result: Ok(rooms) });
    let removed = ServerEvent::Removed { stream: StreamId(8), by: bob(), banned: false };
    tell(&mut state, Frame::Event(removed));
    tell(&mut state, Frame::Event(ServerEvent::Deleted { stream: StreamId(7) }));
    let gap = ServerEvent::Gap { stream: StreamId(7), first: 1, last: 2, reason: GapReason::Run };
    tell(&mut state, Frame::Event(gap));
    // The last join is refused only in the next session.
    state.end("lost again");
    let seen = format!("{:?}", events(&mut state));
    let expected = ["Sent(", "Rejected(", "Reply(", "Removed {", "Deleted {"];
    let mut rest = seen.as_str();
    for word in expected {
        let at = rest.find(word).unwrap_or_else(|| panic!("no {word} in {seen}"));
        rest = &rest[at + word.len()..];
    }
    assert_eq!(seen.matches("Gap").count() + seen.matches("Ready").count(), 0, "{seen}");
    // The third text is open, and nothing is followed but the room whose join had no answer.
    assert_eq!(state.unacked(), 1);
    state.begin(&Welcome { run: BootId(2), ..welcome() });
    assert_eq!(state.calls.joins().count(), 1);
    state.follow(Follow::Room(ops));
    answer_join(&mut state, Err(refusal("banned from den")));
    assert!(!state.is_ready());
    state.end("lost");
    assert!(matches!(events(&mut state)[..], [Event::NotFollowed(..)]));
}

/// A batch of a stream with one text for each sequence number.
fn batch_of(tag: StreamId, seqs: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    let mut builder = Builder::default();
    builder.begin(0, tag, *seqs.start());
    for _ in seqs {
        let draft = Draft {
            from: &Member::nobody(),
            wall_us: 1,
            reply_to: None,
            to_label: None,
            notice: None,
            will: None,
            origin: None,
            withheld: false,
            text: "x",
        };
        assert!(builder.push(0, &draft));
    }
    builder.bytes().to_vec()
}

#[test]
fn tap_gets_each_message_once_over_breaks_before_ready() {
    let (dev, ops) = (dev(), RoomName::new("ops").unwrap());
    let follow = vec![Follow::Room(dev.clone()), Follow::Room(ops.clone())];
    let follows = Follows { follow, ..Follows::default() };
    let mut state = MemberState::new(Hello::new(None, MemberKind::Script, [1; 16]), follows);
    let (seen, sees) = std::sync::mpsc::channel();
    state.tap = Some(Box::new(move |message| seen.send(message.seq).unwrap()));
    for breaks in [true, true, false] {
        state.begin(&welcome());
        answer_join(&mut state, Ok(StreamInfo { head: 3, ..info(&dev, 7, true) }));
        let now = Now { mono_us: 1, wall_us: 1 };
        state.take_body(now, Via::Session, &batch_of(StreamId(7), 1..=3));
        assert_eq!(sees.try_iter().count(), 0, "not before it is ready");
        if breaks {
            state.end("lost");
        }
    }
    answer_join(&mut state, Ok(info(&ops, 8, true)));
    assert_eq!(sees.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    let now = Now { mono_us: 2, wall_us: 2 };
    state.take_body(now, Via::Session, &batch_of(StreamId(7), 4..=5));
    assert_eq!(sees.try_iter().collect::<Vec<_>>(), [4, 5]);
}

// ---- with the hub --------------------------------------------------------------------------

/// A state whose sessions are of a real hub, and an operator's session there.
struct Together {
    hub: Hub,
    state: MemberState,
    now: Now,
    session: SessionId,
}

impl Together {
    const OPERATOR: SessionId = SessionId(1);

    fn new(follow: Vec<Follow>) -> Self {
        let hello = Hello::new(None, MemberKind::Script, [1; 16]);
        let follows = Follows { follow, ..Follows::default() };
        let mut together = Self {
            hub: Hub::new(HubConfig::new(BootId(1), 0, frame::batch_header)),
            state: MemberState::new(hello, follows),
            now: Now { mono_us: 1_000_000, wall_us: 1_000_000 },
            session: Self::OPERATOR,
        };
        let hello = Hello::new(None, MemberKind::Person, [2; 16]);
        together.open(Self::OPERATOR, hello);
        together
    }

    fn open(&mut self, id: SessionId, hello: Hello) {
        let user = UserName::new("ann").unwrap();
        let peer = Peer { uid: 0, user, pid: id.0 as u32, start: 0 };
        self.hub.open(self.now, id, peer, hello.for_hub()).unwrap();
    }

    fn connect(&mut self) {
        self.session.0 += 1;
        let hello = self.state.hello.clone();
        self.open(self.session, hello);
        self.state.begin(&welcome());
        self.exchange();
    }

    fn break_off(&mut self) {
        self.hub.close(self.now, self.session, EndCause::Closed);
        self.state.end("lost");
        self.exchange();
    }

    fn operator(&mut self, request: Request) {
        self.hub.request(self.now, Self::OPERATOR, 1, request);
        self.exchange();
    }

    fn announce(&mut self, to: &RoomName, text: &str) {
        let announce = Announce::new(Level::Info, Text::new(text).unwrap());
        let (room, retain) = (Some(to.clone()), true);
        self.operator(Request::Announce(Announce { room, retain, ..announce }));
    }

    /// Carries frames to and fro until there are none.
    fn exchange(&mut self) {
        loop {
            let (out, mut rest) = (std::mem::take(&mut self.state.out), 0);
            while let Some(parsed) = frame::parse(&out[rest..]).unwrap() {
                rest += parsed.bytes;
                if parsed.kind == Kind::Request {
                    let (serial, request) = control::read_request(parsed.body).unwrap();
                    self.hub.request(self.now, self.session, serial, request);
                }
            }
            self.hub.end_turn(self.now);
            let (mut bytes, mut chunks) = (Vec::new(), Vec::new());
            for action in self.hub.actions() {
                if let Action::Send(to, frame) = action
                    && to == self.session
                {
                    control::put_frame(&mut bytes, frame);
                }
            }
            self.hub.pull(self.now, self.session, usize::MAX, &mut chunks);
            for chunk in chunks {
                match chunk {
                    Chunk::Batch(frame) => bytes.extend_from_slice(&frame),
                    Chunk::Event(event) => control::put_event(&mut bytes, &event),
                }
            }
            if bytes.is_empty() && out.is_empty() {
                return;
            }
            self.state.take_bytes(self.now, &bytes).unwrap();
        }
    }

    /// Texts that were shown since this was last asked.
    fn shown(&mut self) -> Vec<String> {
        let texts = events(&mut self.state).into_iter().filter_map(|event| {
            if let Event::Message(message) = event { Some(message.text) } else { None }
        });
        texts.collect()
    }
}

#[test]
fn room_joined_during_a_break_brings_its_retained_announcements() {
    let (dev, den) = (dev(), RoomName::new("den").unwrap());
    let follow = vec![Follow::Announcements, Follow::Room(dev.clone())];
    let mut together = Together::new(follow);
    for room in [&dev, &den] {
        let (history, private, read_only) = (false, false, false);
        let room = room.clone();
        together.operator(Request::CreateRoom { room, history, private, read_only });
    }
    together.announce(&dev, "dev before");
    together.announce(&den, "den before");
    together.connect();
    assert_eq!(together.shown(), ["dev before"]);
    together.break_off();
    together.announce(&dev, "dev meanwhile");
    together.announce(&den, "den meanwhile");
    together.state.follow(Follow::Room(den.clone()));
    together.connect();
    let mut shown = together.shown();
    shown.sort();
    assert_eq!(shown, ["den before", "den meanwhile", "dev meanwhile"]);
    together.break_off();
    together.connect();
    assert_eq!(together.shown(), [""; 0], "nothing twice");
    together.announce(&den, "den after");
    assert_eq!(together.shown(), ["den after"]);
}

#[test]
fn announcements_are_joined_where_each_room_gets_its_own() {
    let (dev, den) = (Follow::Room(dev()), Follow::Room(RoomName::new("den").unwrap()));
    let follow = vec![dev.clone(), Follow::Announcements];
    for (epoch, expected) in [
        (0, [dev.clone(), Follow::Announcements, den.clone()]),
        // Of an older history that was put back each room brings what is retained.
        (1, [Follow::Announcements, dev, den.clone()]),
    ] {
        let mut together = Together::new(follow.clone());
        together.connect();
        together.break_off();
        together.state.follow(den.clone());
        together.state.begin(&Welcome { epoch, ..welcome() });
        let order: Vec<_> =
            together.state.calls.joins().map(|(_, follow)| follow.clone()).collect();
        assert_eq!(order, expected);
    }
}
