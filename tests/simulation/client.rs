//! A member and sender: the product's own state without I/O, in a process that stops, breaks and is killed.

use std::{collections::VecDeque, rc::Rc};

use moot::{
    chat::{
        member::{Kind, SessionId},
        message::AnnouncementId,
        names::{Label, RoomName, Target, UserName},
        request::{Begin, Follow, Request},
        text::Text,
    },
    client::member_state::{Follows, MemberState},
    wire::hello::Hello,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::checker::{Place, Process, TextId};

/// Bytes that a socket takes before its server reads it.
const UP_BYTES: usize = 200_000;

/// What a request was for; each gets one answer.
#[derive(Debug)]
pub enum Ask {
    /// Opens a conversation, to submit a text there.
    Open {
        with: u32,
        label: Option<&'static str>,
        bytes: usize,
    },
    Announce(TextId),
    Other,
}

pub struct Client {
    pub at: usize,
    pub uid: u32,
    pub label: Option<&'static str>,
    /// How many processes it had.
    pub life: u32,
    pub state: MemberState,
    pub session: Option<SessionId>,
    pub connects_at_us: u64,
    /// Not scheduled: it neither reads nor writes.
    pub stopped: bool,
    /// Gets no datagram.
    pub deaf: bool,
    /// Broadcast groups that it joined.
    pub groups: FxHashSet<u32>,
    pub datagrams: VecDeque<(u64, Rc<[u8]>)>,
    pub datagrams_charge: usize,
    /// Rooms that it is to follow.
    pub rooms: Vec<RoomName>,
    pub follows_all_direct: bool,
    pub will: Option<TextId>,
    pub asks: FxHashMap<u32, Ask>,
    /// Texts by counters.
    pub submitted: FxHashMap<u64, TextId>,
    /// Announcements of the present session.
    pub announced: Vec<u64>,
    /// Streams of the present session.
    pub places: FxHashMap<Place, u32>,
    /// Streams that are new in this session, until it is ready: one that breaks earlier never began.
    pub new_places: Vec<Place>,
}

/// Process id of a process.
pub fn pid_of(process: Process) -> u32 {
    100 + process
}

pub fn user_name(uid: u32) -> UserName {
    UserName::new(&format!("user{uid}")).expect("a name")
}

pub fn uid_of(user: &UserName) -> u32 {
    let digits = user.as_str().trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.parse().expect("a user of this world")
}

impl Client {
    pub fn new(at: usize, uid: u32, label: Option<&'static str>, rooms: Vec<RoomName>) -> Self {
        let hello = Hello::new(None, Kind::Script, [1; 16]);
        Self {
            at,
            uid,
            label,
            life: 0,
            state: MemberState::new(hello, Follows::default()),
            session: None,
            connects_at_us: 0,
            stopped: false,
            deaf: false,
            groups: FxHashSet::default(),
            datagrams: VecDeque::new(),
            datagrams_charge: 0,
            rooms,
            follows_all_direct: true,
            will: None,
            asks: FxHashMap::default(),
            submitted: FxHashMap::default(),
            announced: Vec::new(),
            places: FxHashMap::default(),
            new_places: Vec::new(),
        }
    }

    /// The process that it is now.
    pub fn process(&self) -> Process {
        self.at as u32 * 1_000 + self.life
    }

    /// Whether it has something to write, and its socket takes it.
    pub fn may_write(&self, up_bytes: usize) -> bool {
        !self.state.out.is_empty() && up_bytes < UP_BYTES
    }

    pub fn pid(&self) -> u32 {
        pid_of(self.process())
    }

    /// Begins another process: nothing of the last one is known to it.
    pub fn start(&mut self, last: u64, will: Option<(TextId, &str)>) {
        self.life += 1;
        let mut instance = [0; 16];
        instance[..4].copy_from_slice(&(self.process() + 1).to_le_bytes());
        instance[8] = 1;
        let label = self.label.map(|label| Label::new(label).expect("a name"));
        let hello = Hello::new(label, Kind::Script, instance);
        let mut follow: Vec<_> = self.rooms.iter().cloned().map(Follow::Room).collect();
        follow.push(Follow::Announcements);
        follow.push(if self.follows_all_direct { Follow::AllDirect } else { Follow::ToMe });
        let follows = Follows {
            follow,
            begin: if last == 0 { Begin::Now } else { Begin::Last(last) },
            begin_of: Vec::new(),
            membership: true,
            keep: self.at.is_multiple_of(2),
            will: will.map(|(_, text)| Text::new(text).expect("a text")),
        };
        self.will = will.map(|(text, _)| text);
        self.state = MemberState::new(hello, follows);
        self.state.bears_refusals = true;
        self.stopped = false;
        self.asks.clear();
        self.submitted.clear();
        self.forget_session();
    }

    /// The session is gone; the process goes on.
    pub fn forget_session(&mut self) {
        self.session = None;
        self.announced.clear();
        self.places.clear();
        self.new_places.clear();
        self.groups.clear();
        self.datagrams.clear();
        self.datagrams_charge = 0;
    }

    pub fn ask(&mut self, request: &Request, ask: Ask) {
        let serial = self.state.ask(request);
        self.asks.insert(serial, ask);
    }

    pub fn ask_receipt(&mut self, number: u64) {
        let request = Request::Receipt { id: AnnouncementId::Number(number), skip: 0 };
        self.ask(&request, Ask::Other);
    }

    pub fn say(&mut self, to: Target, reply_to: Option<u64>, number: TextId, bytes: usize) {
        let counter =
            self.state.say(to, reply_to, text_of(number, bytes).try_into().expect("a text"));
        self.submitted.insert(counter, number);
    }

    pub fn is_idle(&self) -> bool {
        self.session.is_some()
            && self.state.is_ready()
            && self.state.unacked() == 0
            && self.asks.is_empty()
    }

    /// When it has something to do, if nothing more comes; `down`: when its session brings something.
    pub fn due_us(&self, down: Option<u64>) -> Option<u64> {
        if self.stopped {
            return None;
        }
        if self.session.is_none() {
            return Some(self.connects_at_us);
        }
        let datagram = self.datagrams.front().map(|(due, _)| *due);
        [down, datagram, self.state.tick_at_us()].into_iter().flatten().min()
    }
}

/// A text that begins with its number, of about so many bytes.
pub fn text_of(number: TextId, bytes: usize) -> String {
    let mut text = format!("{number} ");
    text.extend(std::iter::repeat_n('x', bytes));
    text
}
