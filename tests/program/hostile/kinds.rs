//! Attacks that one user, or a few, run at full speed.

use std::{collections::VecDeque, path::Path};

use moot::{
    chat::{
        frames::Destination,
        member::{Kind, Level, SessionId},
        names::{Label, Target, UserName},
        reply::Reply,
        request::{
            Announce, Answering, Begin, Follow, HistoryRequest, Request, SearchRequest,
            SessionRequest,
        },
        rules::Role,
        stream_id::StreamId,
        text::Text,
    },
    limits::{ANSWERERS_PER_ROOM_MAX, CONVERSATIONS_PER_USER_MAX, FRAME_BYTES_MAX},
    wire::{
        control,
        frame::{self, Kind as FrameKind},
    },
};

use super::{
    raw::{Flood, Raw, bytes_of, connect, join, report, request, room, submit},
    victim::QUIET,
};

/// The user who attacks.
const UID: u32 = 65_534;
/// Users who help.
const HELPERS: [u32; 3] = [70_001, 70_002, 70_003];

/// Does a part of an attack; returns false once there is nothing left to do.
pub type Round = Box<dyn FnMut() -> bool + Send>;

/// One kind of attack.
pub struct Attack {
    pub name: &'static str,
    /// Prepares the attack; returns what is then repeated, each in a thread of its own.
    pub begin: fn(&Scene<'_>) -> Vec<Round>,
}

/// Server and size of an attack.
pub struct Scene<'a> {
    pub socket: &'a Path,
    /// Divides the number of sessions, rooms and texts.
    pub divisor: usize,
    /// Uid of the user beside the attack.
    pub victim: u32,
}

impl Scene<'_> {
    fn of(&self, count: usize) -> usize {
        (count / self.divisor).max(2)
    }

    fn open(&self) -> Raw {
        Raw::open(self.socket, UID, None)
    }

    fn open_all(&self, count: usize) -> Vec<Raw> {
        Raw::open_all(self.socket, UID, Kind::Script, self.of(count))
    }

    /// Sessions that are in a room, each with the room's number.
    fn members(&self, name: &str, count: usize) -> Vec<(Raw, StreamId)> {
        let joined = |mut raw: Raw| {
            let tag = raw.join(name, false)?.tag;
            Some((raw, tag))
        };
        self.open_all(count).into_iter().filter_map(joined).collect()
    }

    /// Submits texts in a room.
    fn fill(&self, name: &str, text: &str, count: usize) {
        self.open().submit_all(&Destination::Room(room(name)), 1, text, self.of(count) as u64);
    }
}

/// Every attack.
pub const ATTACKS: &[Attack] = &[
    Attack { name: "unread", begin: unread },
    Attack { name: "away", begin: away },
    Attack { name: "kick", begin: kick },
    Attack { name: "removals", begin: removals },
    Attack { name: "deletions", begin: deletions },
    Attack { name: "reports", begin: reports },
    Attack { name: "pongs", begin: pongs },
    Attack { name: "repairs", begin: repairs },
    Attack { name: "rooms", begin: rooms },
    Attack { name: "who", begin: who },
    Attack { name: "past", begin: past },
    Attack { name: "searches", begin: searches },
    Attack { name: "status", begin: status },
    Attack { name: "backlog", begin: backlog },
    Attack { name: "joins", begin: joins },
    Attack { name: "channels", begin: channels },
    Attack { name: "vanish", begin: vanish },
    Attack { name: "wills", begin: wills },
    Attack { name: "stall", begin: stall },
    Attack { name: "made-rooms", begin: made_rooms },
    Attack { name: "conversations", begin: conversations },
    Attack { name: "users", begin: users },
    Attack { name: "answerers", begin: answerers },
    Attack { name: "jobs", begin: jobs },
    Attack { name: "announcements", begin: announcements },
    Attack { name: "unheard", begin: unheard },
    Attack { name: "records", begin: records },
    Attack { name: "roles", begin: roles },
    Attack { name: "invitations", begin: invitations },
    Attack { name: "refusals", begin: refusals },
    Attack { name: "texts", begin: texts },
    Attack { name: "direct", begin: direct },
    Attack { name: "connects", begin: connects },
    Attack { name: "hellos", begin: hellos },
    Attack { name: "half-frames", begin: half_frames },
    Attack { name: "never-read", begin: never_read },
];

/// One thread that repeats something until a session ended.
fn again(mut act: impl FnMut() -> Option<()> + Send + 'static) -> Vec<Round> {
    vec![Box::new(move || act().is_some())]
}

/// One thread that writes to all of these sessions.
fn flood(sessions: impl IntoIterator<Item = (Raw, Vec<u8>)>) -> Vec<Round> {
    let mut flood = Flood::new(sessions);
    vec![Box::new(move || flood.pass())]
}

/// Some sessions that send the same requests without waiting for replies.
fn pipelines(scene: &Scene<'_>, requests: &[Request]) -> Vec<Round> {
    let sessions = Raw::open_all(scene.socket, UID, Kind::Script, 8);
    let frames: Vec<u8> = requests.iter().flat_map(request).collect();
    flood(sessions.into_iter().map(|raw| (raw, frames.clone())))
}

fn create(name: &str, history: bool) -> Request {
    Request::CreateRoom { room: room(name), history, private: false, read_only: false }
}

fn target(name: &str) -> Target {
    Target::Room(room(name))
}

fn user(uid: u32) -> Target {
    Target::User { user: UserName::of_uid(uid), label: None }
}

fn search(text: &str) -> Request {
    Request::History(HistoryRequest::Search(SearchRequest {
        text: text.to_owned(),
        target: None,
        from: None,
        since_us: None,
        before: 0,
        limit: 10_000,
    }))
}

fn own_name() -> UserName {
    moot::os::user_name(UID).unwrap_or_else(|| UserName::of_uid(UID))
}

// ---- requests --------------------------------------------------------------------------------

/// Counts the unread messages of rooms that are full of mentions.
fn unread(scene: &Scene<'_>) -> Vec<Round> {
    const AT_ONCE: usize = 30;
    let (mut reader, mut writer) = (scene.open(), Raw::open(scene.socket, UID, Some("w")));
    let (text, texts) = ("@".repeat(32_000), scene.of(130) as u64);
    for n in 0..scene.of(60) as u64 {
        let name = format!("m{n}");
        let (follow, begin) = (Follow::Room(room(&name)), Begin::Now);
        let keep = Request::Join { follow, begin, membership: false, keep: true };
        let replies = reader.ask_all(&[create(&name, false), keep]);
        if let Some(Ok(Reply::Joined(infos))) = replies.last() {
            reader.ask(&Request::Part { stream: infos[0].tag, forget: false });
        }
        writer.submit_all(&Destination::Room(room(&name)), 1 + n * texts, &text, texts);
    }
    let all = vec![Request::History(HistoryRequest::Unread { target: None, skip: 0 }); AT_ONCE];
    again(move || (reader.ask_all(&all).len() == AT_ONCE).then_some(()))
}

/// Changes the status of many sessions in many rooms.
fn away(scene: &Scene<'_>) -> Vec<Round> {
    let mut sessions = Raw::open_all(scene.socket, UID, Kind::Person, scene.of(1_500));
    let joins: Vec<_> = (0..scene.of(60)).map(|n| join(&format!("a{n}"), false)).collect();
    sessions.iter_mut().for_each(|raw| drop(raw.ask_all(&joins)));
    let set = |n: usize| Request::Away { label: None, text: format!("t{n}") };
    let all: Vec<_> = (0..60).map(set).chain([Request::Back { label: None }]).collect();
    again(move || {
        sessions.iter_mut().skip(1).for_each(Raw::drain);
        (sessions[0].ask_all(&all).len() == all.len()).then_some(())
    })
}

/// Ends many sessions in many rooms at once.
fn kick(scene: &Scene<'_>) -> Vec<Round> {
    let (socket, count) = (scene.socket.to_owned(), scene.of(500));
    let joins: Vec<_> = (0..scene.of(100)).map(|n| join(&format!("k{n}"), true)).collect();
    again(move || {
        let mut sessions = Raw::open_all(&socket, UID, Kind::Script, count);
        sessions.iter_mut().for_each(|raw| drop(raw.ask_all(&joins)));
        let mut last = Raw::open(&socket, UID, None);
        last.write(&request(&Request::Kick { user: own_name(), label: None }));
        sessions.iter_mut().for_each(Raw::until_ended);
        Some(())
    })
}

/// Removes many sessions from many rooms, one room after another.
fn removals(scene: &Scene<'_>) -> Vec<Round> {
    let names: Vec<_> = (0..scene.of(60)).map(|n| format!("v{n}")).collect();
    let joins: Vec<_> = names.iter().map(|name| join(name, true)).collect();
    let remove = |name| Request::KickFromRoom { room: room(name), user: own_name(), label: None };
    let removals: Vec<_> = names.iter().map(|name| remove(name)).collect();
    let (mut sessions, mut operator) = (scene.open_all(1_900), scene.open());
    again(move || {
        sessions
            .iter_mut()
            .for_each(|raw| raw.write(&joins.iter().flat_map(request).collect::<Vec<_>>()));
        sessions.iter_mut().for_each(Raw::drain);
        (operator.ask_all(&removals).len() == removals.len()).then_some(())
    })
}

/// Deletes rooms that are full of members.
fn deletions(scene: &Scene<'_>) -> Vec<Round> {
    let (mut sessions, mut operator) = (scene.open_all(1_900), scene.open());
    let mut n = 0;
    again(move || {
        let name = format!("d{n}");
        n += 1;
        operator.ask(&create(&name, n % 2 == 0))?.ok();
        let join = request(&join(&name, true));
        sessions.iter_mut().for_each(|raw| raw.write(&join));
        sessions.iter_mut().for_each(Raw::drain);
        operator.ask(&Request::DeleteRoom { room: room(&name) }).map(drop)
    })
}

/// Lists many rooms.
fn rooms(scene: &Scene<'_>) -> Vec<Round> {
    for uid in [UID].into_iter().chain(HELPERS) {
        let all: Vec<_> =
            (0..scene.of(500)).map(|n| create(&format!("r{uid}-{n}"), false)).collect();
        Raw::open(scene.socket, uid, None).ask_all(&all);
    }
    pipelines(scene, &[Request::Rooms { skip: 0 }])
}

/// Lists the members of a large room.
fn who(scene: &Scene<'_>) -> Vec<Round> {
    let members = scene.members("crowd", 1_000);
    let mut rounds = pipelines(scene, &[Request::Who { room: room("crowd"), skip: 0 }]);
    let mut pass = rounds.remove(0);
    vec![Box::new(move || !members.is_empty() && pass())]
}

/// Asks for the past in every way.
fn past(scene: &Scene<'_>) -> Vec<Round> {
    scene.fill("past", &"the quick brown fox ".repeat(50), 4_000);
    let target = || target("past");
    pipelines(
        scene,
        &[
            search("no such words"),
            search("fo"),
            Request::History(HistoryRequest::Page { target: target(), first: 1, last: u64::MAX }),
            Request::History(HistoryRequest::NumberAt { target: target(), wall_us: 1 }),
            Request::History(HistoryRequest::Span { target: target() }),
            Request::History(HistoryRequest::Unread { target: None, skip: 0 }),
        ],
    )
}

/// Searches as several users, for what is often said and for what is not.
fn searches(scene: &Scene<'_>) -> Vec<Round> {
    scene.fill("found", &"the quick brown fox ".repeat(50), 4_000);
    let frames = [search("fox"), search("t"), search("no such words")];
    let frames: Vec<u8> = frames.iter().flat_map(request).collect();
    let open = |uid| Raw::open_all(scene.socket, uid, Kind::Script, 8);
    flood(HELPERS.into_iter().flat_map(open).map(|raw| (raw, frames.clone())).collect::<Vec<_>>())
}

/// Requests the state of the server, with many subscriptions to count.
fn status(scene: &Scene<'_>) -> Vec<Round> {
    let mut sessions = scene.open_all(1_900);
    let joins: Vec<_> = (0..scene.of(60)).map(|n| join(&format!("s{n}"), false)).collect();
    sessions.iter_mut().for_each(|raw| drop(raw.ask_all(&joins)));
    let ask = bytes_of(|to| frame::put(to, FrameKind::Status, |_| {}));
    flood(sessions.into_iter().map(|raw| (raw, ask.clone())))
}

/// Joins with the whole backlog, and leaves.
fn backlog(scene: &Scene<'_>) -> Vec<Round> {
    scene.fill("long", &"x".repeat(1_000), 3_000);
    let sessions = scene.members("long", 40).into_iter().map(|(raw, tag)| {
        let (follow, begin) = (Follow::Room(room("long")), Begin::Last(u64::MAX));
        let again = Request::Join { follow, begin, membership: true, keep: false };
        let frames =
            [request(&Request::Part { stream: tag, forget: false }), request(&again)].concat();
        (raw, frames)
    });
    flood(sessions.collect::<Vec<_>>())
}

/// Joins and leaves a room whose members are notified.
fn joins(scene: &Scene<'_>) -> Vec<Round> {
    let sessions = scene.members("door", 500).into_iter().map(|(raw, tag)| {
        let part = Request::Part { stream: tag, forget: false };
        (raw, [request(&part), request(&join("door", true))].concat())
    });
    flood(sessions.collect::<Vec<_>>())
}

/// Opens and closes broadcast channels.
fn channels(scene: &Scene<'_>) -> Vec<Round> {
    let sessions = scene.members("air", 100).into_iter().map(|(raw, stream)| {
        let listening =
            Request::Session(SessionRequest::Listening { stream, charge_bytes: 1, slot: [0; 16] });
        let deaf = Request::Session(SessionRequest::Deaf { stream });
        (raw, [request(&listening), report(stream, 1), request(&deaf)].concat())
    });
    flood(sessions.collect::<Vec<_>>())
}

/// Changes records, each of which is a part of a transaction.
fn records(scene: &Scene<'_>) -> Vec<Round> {
    scene.fill("mine", "a text", 10);
    let role = |on| Request::Role { room: room("mine"), user: own_name(), role: Role::Muted, on };
    let mut all: Vec<_> = (0..20)
        .map(|n| Request::Topic { room: room("mine"), topic: format!("{n}").repeat(500) })
        .collect();
    all.extend((0..10).map(|seq| Request::MarkRead { target: target("mine"), seq }));
    all.extend([role(true), role(false), Request::Unfollow { room: room("mine") }]);
    pipelines(scene, &all)
}

/// Gives roles to many users and takes them, from many sessions.
fn roles(scene: &Scene<'_>) -> Vec<Round> {
    scene.fill("ranks", "a text", 1);
    let role = |(n, on): (u32, bool)| {
        let user = UserName::of_uid(100_000 + n);
        Request::Role { room: room("ranks"), user, role: Role::Muted, on }
    };
    let all: Vec<_> = (0..20).map(|n| (n, true)).chain((0..20).map(|n| (n, false))).collect();
    let frames: Vec<u8> = all.into_iter().map(role).flat_map(|role| request(&role)).collect();
    flood(scene.open_all(300).into_iter().map(|raw| (raw, frames.clone())))
}

/// Invites the victim to many rooms, and takes the invitations back.
fn invitations(scene: &Scene<'_>) -> Vec<Round> {
    let names: Vec<_> = (0..scene.of(100)).map(|n| format!("i{n}")).collect();
    let mut first = scene.open();
    let make = |name: &String| Request::CreateRoom {
        room: room(name),
        history: false,
        private: true,
        read_only: false,
    };
    first.ask_all(&names.iter().map(make).collect::<Vec<_>>());
    let user = moot::os::user_name(scene.victim).unwrap_or_else(|| UserName::of_uid(scene.victim));
    let invite = |name: &String, on| {
        let (user, role) = (user.clone(), Role::Invited);
        request(&Request::Role { room: room(name), user, role, on })
    };
    let frames: Vec<u8> =
        names.iter().flat_map(|name| [invite(name, true), invite(name, false)].concat()).collect();
    flood(scene.open_all(100).into_iter().map(|raw| (raw, frames.clone())))
}

/// Sends requests that are refused.
fn refusals(scene: &Scene<'_>) -> Vec<Round> {
    let stream = StreamId(99_999);
    pipelines(
        scene,
        &[
            Request::Part { stream, forget: true },
            Request::Take { stream, seq: 1 },
            Request::Answered { stream, seq: 1, failed: true, silent: true },
            Request::Drop { session: SessionId(1) },
            Request::Kick { user: UserName::of_uid(0), label: None },
            Request::Audit { skip: 0 },
            Request::DeleteRoom { room: room("none") },
            Request::Receipt { id: moot::chat::message::AnnouncementId::Number(9), skip: 0 },
            Request::Ask { counter: 7, again: true },
            Request::Session(SessionRequest::Active),
        ],
    )
}

// ---- other frames ----------------------------------------------------------------------------

/// Sends reports without a pause.
fn reports(scene: &Scene<'_>) -> Vec<Round> {
    let members = scene.members("lobby", 900).into_iter();
    flood(members.map(|(raw, tag)| (raw, report(tag, 1))))
}

/// Sends signs of life without a pause.
fn pongs(scene: &Scene<'_>) -> Vec<Round> {
    let pong = bytes_of(|to| frame::put(to, FrameKind::Pong, |_| {}));
    flood(scene.open_all(900).into_iter().map(|raw| (raw, pong.clone())))
}

/// Requests repairs of everything without a pause.
fn repairs(scene: &Scene<'_>) -> Vec<Round> {
    scene.fill("again", &"x".repeat(1_000), 2_000);
    let members = scene.members("again", 200).into_iter();
    let repair = |tag| bytes_of(|to| control::put_repair(to, tag, 1, u64::MAX));
    flood(members.map(|(raw, tag)| (raw, repair(tag))))
}

/// Submits texts without a pause.
fn texts(scene: &Scene<'_>) -> Vec<Round> {
    let sessions = Raw::open_all(scene.socket, UID, Kind::Script, 8);
    let speak = |(at, mut raw): (usize, Raw)| -> Round {
        let (mut counter, to) = (1, Destination::Room(room(&format!("loud{at}"))));
        Box::new(move || {
            raw.write(&submit(counter, to.clone(), &["a line of a build that prints a lot"; 256]));
            counter += 256;
            raw.drain();
            raw.alive
        })
    };
    let mut speakers: Vec<Round> = sessions.into_iter().enumerate().map(speak).collect();
    vec![Box::new(move || {
        speakers.retain_mut(|speaker| speaker());
        !speakers.is_empty()
    })]
}

/// Sends direct messages that many sessions of the attacker receive.
fn direct(scene: &Scene<'_>) -> Vec<Round> {
    let all = Request::Join {
        follow: Follow::AllDirect,
        begin: Begin::Now,
        membership: false,
        keep: false,
    };
    let mut members = scene.open_all(1_900);
    members.iter_mut().for_each(|raw| drop(raw.ask(&all)));
    let mut rounds: Vec<Round> = vec![Box::new(move || {
        members.iter_mut().for_each(Raw::drain);
        !members.is_empty()
    })];
    let (mut writer, mut counter) = (scene.open(), 1);
    let opens: Vec<_> = (0..64).map(|n| Request::Open { target: user(100_000 + n) }).collect();
    let opened = writer.ask_all(&opens).into_iter().filter_map(|reply| match reply {
        Ok(Reply::Opened(info)) => Some(info.tag),
        _ => None,
    });
    let streams: Vec<_> = opened.collect();
    rounds.push(Box::new(move || {
        for tag in &streams {
            writer.write(&submit(counter, Destination::Stream(*tag), &["a text"]));
            counter += 1;
            writer.drain();
        }
        writer.alive
    }));
    rounds
}

/// Connects and disconnects.
fn connects(scene: &Scene<'_>) -> Vec<Round> {
    let socket = scene.socket.to_owned();
    again(move || (0..64).try_for_each(|_| connect(&socket, UID).map(drop)))
}

/// Sends handshakes that are as long as a frame, and invalid.
fn hellos(scene: &Scene<'_>) -> Vec<Round> {
    let socket = scene.socket.to_owned();
    let body = format!(r#"{{"protocol":1,"kind":"{}"}}"#, "A".repeat(65_000));
    let hello = bytes_of(|to| frame::put(to, FrameKind::Hello, |b| b.extend(body.as_bytes())));
    again(move || {
        use std::io::Write;
        let all: Vec<_> = (0..32).filter_map(|_| connect(&socket, UID)).collect();
        for mut stream in &all {
            // It may be closed already.
            let _ = stream.write_all(&hello);
        }
        Some(())
    })
}

/// Begins frames that never end.
fn half_frames(scene: &Scene<'_>) -> Vec<Round> {
    let (socket, most) = (scene.socket.to_owned(), scene.of(900));
    let length = FRAME_BYTES_MAX - 8;
    let mut part = frame::header(FrameKind::Submit, length).to_vec();
    part.resize(FRAME_BYTES_MAX - 1, 0);
    let mut begun = VecDeque::new();
    again(move || {
        let mut raw = Raw::open(&socket, UID, None);
        raw.write(&part);
        begun.push_back(raw);
        if begun.len() > most {
            begun.pop_front();
        }
        Some(())
    })
}

/// Requests all messages of a room, and reads none.
fn never_read(scene: &Scene<'_>) -> Vec<Round> {
    scene.fill("heavy", &"x".repeat(30_000), 500);
    let (follow, begin) = (Follow::Room(room("heavy")), Begin::Last(1 << 60));
    let all = request(&Request::Join { follow, begin, membership: true, keep: false });
    let mut deaf = scene.open_all(900);
    for raw in &mut deaf {
        raw.push(&all);
        raw.push(&request(&join(QUIET, true)));
    }
    let (mut writer, mut counter) = (scene.open(), 1);
    let text = "x".repeat(30_000);
    again(move || {
        deaf.retain(|raw| raw.alive);
        writer.submit_all(&Destination::Room(room("heavy")), counter, &text, 8);
        counter += 8;
        writer.alive.then_some(())
    })
}

// ---- sessions that come and go ---------------------------------------------------------------

/// Many members of the victim's room end at once.
fn vanish(scene: &Scene<'_>) -> Vec<Round> {
    let (socket, count) = (scene.socket.to_owned(), scene.of(900));
    again(move || {
        let mut sessions = Raw::open_all(&socket, UID, Kind::Script, count);
        sessions.iter_mut().try_for_each(|raw| raw.join(QUIET, true).map(drop))
    })
}

/// Many sessions with last wills end without a good-bye.
fn wills(scene: &Scene<'_>) -> Vec<Round> {
    let (socket, count) = (scene.socket.to_owned(), scene.of(200));
    let mut all: Vec<_> = (0..8).map(|n| join(&format!("w{n}"), true)).collect();
    all.push(Request::Will { text: Text::new("gone").ok() });
    again(move || {
        let mut sessions = Raw::open_all(&socket, UID, Kind::Script, count);
        sessions.iter_mut().for_each(|raw| drop(raw.ask_all(&all)));
        Some(())
    })
}

/// New members of the victim's room, each of which holds its window shut for as long as it may.
fn stall(scene: &Scene<'_>) -> Vec<Round> {
    let (socket, mut writer) = (scene.socket.to_owned(), scene.open());
    let (to, text, mut counter) = (Destination::Room(room(QUIET)), "x".repeat(30_000), 1);
    again(move || {
        let mut raw = Raw::open(&socket, UID, None);
        raw.join(QUIET, false)?;
        writer.submit_all(&to, counter, &text, 40);
        counter += 40;
        writer.alive.then_some(())
    })
}

// ---- fixed bounds -----------------------------------------------------------

/// Creates rooms and deletes them.
fn made_rooms(scene: &Scene<'_>) -> Vec<Round> {
    let (mut raw, mut n) = (scene.open(), 0);
    let most = scene.of(20_000);
    again(move || {
        let both = |n| {
            [create(&format!("g{n}"), false), Request::DeleteRoom { room: room(&format!("g{n}")) }]
        };
        let all: Vec<_> = (n..n + 32).flat_map(both).collect();
        n += 32;
        (n < most && raw.ask_all(&all).len() == all.len()).then_some(())
    })
}

/// Opens conversations with users who do not exist, and creates as many rooms as one may.
fn conversations(scene: &Scene<'_>) -> Vec<Round> {
    let mut raw = scene.open();
    let opens =
        (0..CONVERSATIONS_PER_USER_MAX as u32).map(|n| Request::Open { target: user(100_000 + n) });
    raw.ask_all(&opens.collect::<Vec<_>>());
    let rooms = (0..510).map(|n| create(&format!("c{n}"), false));
    raw.ask_all(&rooms.collect::<Vec<_>>());
    let mut n = 200_000;
    again(move || {
        n += 32;
        let opens: Vec<_> = (n..n + 32).map(|uid| Request::Open { target: user(uid) }).collect();
        (raw.ask_all(&opens).len() == opens.len()).then_some(())
    })
}

/// Asks for users who do not exist.
fn users(scene: &Scene<'_>) -> Vec<Round> {
    let (mut raw, mut n) = (scene.open(), 100_000);
    again(move || {
        n += 64;
        let all: Vec<_> = (n..n + 64)
            .map(|uid| Request::History(HistoryRequest::Span { target: user(uid) }))
            .collect();
        (raw.ask_all(&all).len() == all.len()).then_some(())
    })
}

/// Fills a room with workers, up to its bound.
fn answerers(scene: &Scene<'_>) -> Vec<Round> {
    let mut all = Raw::open_all(scene.socket, UID, Kind::Script, ANSWERERS_PER_ROOM_MAX);
    let mut frames = Vec::new();
    for raw in &mut all {
        let Some(info) = raw.join("jobs", false) else { continue };
        let answer = answer(info.tag, "zzz", 1);
        raw.ask(&answer);
        frames = request(&answer);
    }
    flood(all.into_iter().map(|raw| (raw, frames.clone())))
}

fn answer(stream: StreamId, queue: &str, jobs: u32) -> Request {
    let queue = Label::new(queue).ok();
    Request::Answer(Answering { stream, queue, jobs, holding: Vec::new(), done: Vec::new() })
}

/// Many jobs for many queues, none of which is ever done.
fn jobs(scene: &Scene<'_>) -> Vec<Round> {
    let mut workers = scene.members("work", 200);
    for (at, (raw, tag)) in workers.iter_mut().enumerate() {
        raw.ask(&answer(*tag, &format!("q{at}"), 1));
    }
    let (mut asker, mut counter) = (scene.open(), 1);
    let to = Destination::Room(room("work"));
    again(move || {
        asker.submit_all(&to, counter, "a job", 32);
        let ask = |counter| Request::Ask { counter, again: false };
        let all: Vec<_> = (counter..counter + 32).map(ask).collect();
        counter += 32;
        workers.iter_mut().for_each(|(raw, _)| raw.drain());
        (asker.ask_all(&all).len() == all.len()).then_some(())
    })
}

/// Announces to many sessions, each of which reports one announcement after another.
fn announcements(scene: &Scene<'_>) -> Vec<Round> {
    let (follow, begin) = (Follow::Announcements, Begin::Now);
    let all = Request::Join { follow, begin, membership: false, keep: false };
    let mut members = scene.open_all(900);
    members.iter_mut().for_each(|raw| drop(raw.ask(&all)));
    let mut announcer = scene.open();
    let text = Text::new("hear, hear").expect("a text");
    let announce = Request::Announce(Announce::new(Level::Info, text));
    let mut number = 0;
    again(move || {
        announcer.ask(&announce)?.ok();
        number += 1;
        for raw in &mut members {
            raw.push(&report(StreamId(0), number));
            raw.drain();
        }
        Some(())
    })
}

/// Announces to many sessions, none of which ever reports or reads.
fn unheard(scene: &Scene<'_>) -> Vec<Round> {
    let (follow, begin) = (Follow::Announcements, Begin::Now);
    let all = Request::Join { follow, begin, membership: false, keep: false };
    let mut members = scene.open_all(1_900);
    members.iter_mut().for_each(|raw| drop(raw.ask(&all)));
    let text = Text::new("hear, hear").expect("a text");
    let announce = Request::Announce(Announce::new(Level::Info, text));
    let mut rounds = pipelines(scene, &[announce]);
    let mut pass = rounds.remove(0);
    vec![Box::new(move || {
        members.retain(|raw| raw.alive);
        pass()
    })]
}
