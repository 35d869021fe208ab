//! The promises, checked by a book of its own: who submitted, who was present and allowed, what was committed and shown.
//! Shares no code with hub or inbox.

use moot::chat::{message::BootId, names::RoomName};
use rustc_hash::{FxHashMap, FxHashSet};

/// One process of a client; a process that was killed never comes back.
pub type Process = u32;
/// Number of a text, which it begins with.
pub type TextId = u32;
/// Number of a stream in this book.
pub type Place = usize;

/// Permanent identity of a stream; with the boot where its numbers start over with each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    Room(RoomName, Option<BootId>),
    Pair(u32, u32, Option<BootId>),
    Announcements(Option<BootId>),
}

impl Key {
    fn is_stored(&self) -> bool {
        match self {
            Self::Room(_, run) | Self::Pair(_, _, run) | Self::Announcements(run) => run.is_none(),
        }
    }
}

/// Destination of a text, as its sender meant it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// A room, in the place and incarnation that the sender was in; none: the room of that name.
    Room(RoomName, Option<(Place, u32)>),
    /// Conversation of two users, and a label of the second.
    Pair(u32, u32, Option<&'static str>),
    /// An announcement to every member.
    All,
    /// An announcement to the members of a room.
    Members(RoomName),
    /// A last will, for rooms.
    Will,
}

/// What became of a text, as its sender knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Open,
    Acked(Place, u64),
    Refused,
    /// The sender can't know: it was killed, or the server does not know.
    Unknown,
}

#[derive(Debug)]
pub struct Said {
    pub to: To,
    pub fate: Fate,
    home: Option<(Place, u64)>,
    /// It need not be shown: it expires, or was cancelled.
    pub may_be_hidden: bool,
    /// An announcement: not before that time, wall clock microseconds.
    pub not_before_us: i64,
    /// A scheduled announcement that the server promised to publish.
    pub promised: bool,
}

#[derive(Debug)]
struct Stream {
    key: Key,
    /// Text of each number, as far as known; 0: none.
    texts: Vec<TextId>,
    /// Newest number that was published.
    newest: u64,
    /// Numbers below were taken by retention.
    kept_from: u64,
    /// Numbers up to here belonged to rooms of this name that were deleted.
    deleted_upto: u64,
    incarnation: u32,
}

impl Stream {
    fn text(&self, seq: u64) -> TextId {
        self.texts.get(seq as usize).copied().unwrap_or(0)
    }
}

/// One process in one stream.
#[derive(Debug)]
struct Reading {
    next: u64,
    /// Only direct messages to this label are for it.
    label: Option<Option<&'static str>>,
}

/// An announcement at the moment of its publication.
pub struct Published {
    pub by: Process,
    pub by_session: u64,
    pub room: Option<RoomName>,
    /// Sessions that should get it, each with its process.
    pub recipients: Vec<(u64, Process)>,
    /// Those of them that ended, or left the room, since.
    pub left: FxHashSet<u64>,
}

#[derive(Default)]
pub struct Checker {
    texts: Vec<Said>,
    streams: Vec<Stream>,
    places: FxHashMap<Key, Place>,
    reading: FxHashMap<(Process, Place), Reading>,
    uids: FxHashMap<Process, u32>,
    /// Memory rooms may lose what falls out of a small backlog.
    pub backlog_is_small: bool,
    /// How often a will may come to a room, and how often it has to.
    wills: FxHashMap<(TextId, Place), (u32, u32)>,
    /// Announcements of this boot, by number.
    pub published: FxHashMap<u64, Published>,
}

/// The number that a text begins with; none if it is not one of this world's.
fn number_of(text: &str) -> Option<TextId> {
    text.split(' ').next()?.parse().ok()
}

impl Checker {
    pub fn new() -> Self {
        let mut checker = Self::default();
        // Number 0 is no text.
        checker.says(To::Will);
        checker
    }

    pub fn begins_process(&mut self, process: Process, uid: u32) {
        self.uids.insert(process, uid);
    }

    /// A text is submitted; returns its number.
    pub fn says(&mut self, to: To) -> TextId {
        let said = Said {
            to,
            fate: Fate::Open,
            home: None,
            may_be_hidden: false,
            not_before_us: i64::MIN,
            promised: false,
        };
        self.texts.push(said);
        (self.texts.len() - 1) as TextId
    }

    pub fn said(&self, text: TextId) -> &Said {
        &self.texts[text as usize]
    }

    pub fn said_mut(&mut self, text: TextId) -> &mut Said {
        &mut self.texts[text as usize]
    }

    pub fn place(&mut self, key: Key) -> Place {
        let streams = &mut self.streams;
        *self.places.entry(key).or_insert_with_key(|key| {
            streams.push(Stream {
                key: key.clone(),
                texts: Vec::new(),
                newest: 0,
                kept_from: 1,
                deleted_upto: 0,
                incarnation: 0,
            });
            streams.len() - 1
        })
    }

    pub fn key(&self, place: Place) -> &Key {
        &self.streams[place].key
    }

    pub fn newest(&self, place: Place) -> u64 {
        self.streams[place].newest
    }

    pub fn incarnation(&self, place: Place) -> u32 {
        self.streams[place].incarnation
    }

    // ---- texts and numbers -------------------------------------------------------------------

    /// The store has a message.
    pub fn commits(&mut self, key: Key, seq: u64, text: &str, wall_us: i64) {
        let place = self.place(key);
        self.exists(place, seq, text, wall_us);
    }

    /// A message exists under a number: one text for each number, one number for each text.
    fn exists(&mut self, place: Place, seq: u64, text: &str, wall_us: i64) -> TextId {
        let stream = &self.streams[place];
        let Some(number) = number_of(text).filter(|n| (*n as usize) < self.texts.len()) else {
            panic!("{:?} {seq}: {text:?} was never submitted", stream.key);
        };
        let known = stream.text(seq);
        assert!(
            known == 0 || known == number,
            "two texts for number {seq} of {:?}: {known} and {number}",
            stream.key
        );
        if known == number {
            return number;
        }
        let fits = match (&self.texts[number as usize].to, &stream.key) {
            (To::Room(to, incarnation), Key::Room(of, _)) => {
                // Without a store the checker learns of a message late, maybe after the deletion.
                let same = |(of, i)| of != place || i == stream.incarnation;
                to == of && (!stream.key.is_stored() || incarnation.is_none_or(same))
            }
            (To::Pair(a, b, _), Key::Pair(low, high, _)) => (a.min(b), a.max(b)) == (low, high),
            (To::All | To::Members(_), Key::Announcements(_)) | (To::Will, Key::Room(..)) => true,
            _ => false,
        };
        let said = &mut self.texts[number as usize];
        assert!(
            fits,
            "{number} is in {:?} (incarnation {}) and was meant for {:?}",
            stream.key, stream.incarnation, said.to
        );
        assert!(
            said.fate != Fate::Refused,
            "{number} was refused and exists at {:?} {seq}",
            stream.key
        );
        assert!(wall_us >= said.not_before_us, "{number} was announced before its time");
        if said.to == To::Will {
            let (may, must) = self.wills.entry((number, place)).or_default();
            assert!(*may > 0, "a will came to {:?} and no session ended", stream.key);
            (*may, *must) = (*may - 1, must.saturating_sub(1));
        } else {
            // A server without a store knows nothing of what its last boot published.
            let is_other_boot = said.home.is_some_and(|(before, _)| {
                before != place && !self.streams[before].key.is_stored() && !stream.key.is_stored()
            });
            assert!(
                said.home.is_none() || is_other_boot,
                "{number} exists twice: {:?} and {:?} {seq}",
                said.home.map(|(place, seq)| (&self.streams[place].key, seq)),
                self.streams[place].key
            );
            said.home = Some((place, seq));
        }
        let stream = &mut self.streams[place];
        let is_current = seq > stream.deleted_upto || !stream.key.is_stored();
        assert!(is_current, "{:?} {seq} belongs to a deleted room", stream.key);
        if stream.texts.len() <= seq as usize {
            stream.texts.resize(seq as usize + 1, 0);
        }
        stream.texts[seq as usize] = number;
        number
    }

    /// Messages published in all streams.
    pub fn texts_published(&self) -> u64 {
        self.streams.iter().map(|stream| stream.newest).sum()
    }

    /// The server published numbers up to this one.
    pub fn publishes(&mut self, place: Place, upto: u64) {
        let stream = &mut self.streams[place];
        stream.newest = stream.newest.max(upto);
    }

    pub fn acks(&mut self, text: TextId, place: Place, seq: u64) {
        let stream = &self.streams[place];
        let known = stream.text(seq);
        // What is stored is committed first; in memory the ack may be the first word of it.
        if stream.key.is_stored() {
            assert_eq!(
                known, text,
                "{text} is acknowledged as {:?} {seq} before its commit",
                stream.key
            );
        } else {
            self.exists(place, seq, &text.to_string(), i64::MAX);
        }
        let said = &mut self.texts[text as usize];
        let is_same = said.fate == Fate::Acked(place, seq);
        assert!(said.fate == Fate::Open || is_same, "{text}: {:?}, then acknowledged", said.fate);
        said.fate = Fate::Acked(place, seq);
        self.publishes(place, seq);
    }

    pub fn refuses(&mut self, text: TextId, why: &str) {
        let said = &mut self.texts[text as usize];
        assert!(said.home.is_none(), "{text} exists at {:?} and was refused: {why}", said.home);
        assert_eq!(said.fate, Fate::Open, "{text} was refused: {why}");
        said.fate = Fate::Refused;
    }

    pub fn loses_sight(&mut self, text: TextId) {
        let said = &mut self.texts[text as usize];
        if said.fate == Fate::Open {
            said.fate = Fate::Unknown;
        }
    }

    // ---- readers -----------------------------------------------------------------------------

    /// A process learns which number of a stream comes first; returns true if it is new there.
    pub fn begins(
        &mut self,
        process: Process,
        place: Place,
        first: u64,
        label: Option<Option<&'static str>>,
    ) -> bool {
        match self.reading.get(&(process, place)) {
            Some(reading) => {
                let (next, label) = (reading.next, reading.label);
                let hole = (next..first).find(|n| self.must_show(process, place, *n, label));
                let key = &self.streams[place].key;
                assert!(
                    hole.is_none(),
                    "process {process} goes on in {key:?} at {first} after {}: a hidden hole",
                    next - 1
                );
                false
            }
            None => {
                self.reading.insert((process, place), Reading { next: first, label });
                true
            }
        }
    }

    /// A process no longer follows a stream.
    pub fn leaves(&mut self, process: Process, place: Place) {
        self.reading.remove(&(process, place));
    }

    /// Whether a message has to be shown to a reader.
    fn must_show(
        &self,
        process: Process,
        place: Place,
        seq: u64,
        label: Option<Option<&str>>,
    ) -> bool {
        let text = self.streams[place].text(seq);
        if text == 0 {
            // Nobody saw it yet; in memory that is possible.
            return self.streams[place].key.is_stored();
        }
        let said = &self.texts[text as usize];
        let uid = self.uids[&process];
        match &said.to {
            To::Room(..) | To::Will => true,
            To::All => !said.may_be_hidden,
            To::Members(_) => false,
            To::Pair(_, with, to_label) => match label {
                None => true,
                Some(own) => {
                    let to_me = *with == uid;
                    to_me && (to_label.is_none() || *to_label == own)
                }
            },
        }
    }

    pub fn shows(&mut self, process: Process, place: Place, seq: u64, text: &str, wall_us: i64) {
        let stream = &self.streams[place];
        let known = stream.text(seq);
        let is_known = known != 0 || !stream.key.is_stored();
        assert!(is_known, "{:?} {seq} is shown before its commit", stream.key);
        let number = self.exists(place, seq, text, wall_us);
        let key = &self.streams[place].key;
        let uid = self.uids[&process];
        let said = &self.texts[number as usize];
        if let To::Pair(from, with, to_label) = &said.to {
            assert!(uid == *from || uid == *with, "{number} of {key:?} is shown to {uid}");
            if let Some(Some(own)) = self.reading.get(&(process, place)).map(|r| r.label) {
                let is_for = to_label.is_none() || *to_label == own;
                assert!(is_for && *with == uid, "{number} of {key:?} is shown to {uid}/{own:?}");
            }
        }
        let Some(reading) = self.reading.get(&(process, place)) else {
            panic!("process {process} is shown {key:?} {seq} and does not follow it");
        };
        let (next, label) = (reading.next, reading.label);
        assert!(seq >= next, "process {process} in {key:?}: {seq} is shown after {}", next - 1);
        if let Some(skipped) = (next..seq).find(|n| self.must_show(process, place, *n, label)) {
            panic!("process {process} in {key:?}: {seq} is shown, {skipped} is not");
        }
        self.reading.get_mut(&(process, place)).expect("it was there").next = seq + 1;
        self.publishes(place, seq);
    }

    /// A retained announcement, beside the stream's order.
    pub fn shows_retained(&mut self, place: Place, seq: u64, text: &str) {
        self.exists(place, seq, text, i64::MAX);
    }

    /// Whether a number is behind what a process reads now.
    pub fn is_past(&self, process: Process, place: Place, seq: u64) -> bool {
        self.reading.get(&(process, place)).is_none_or(|reading| seq < reading.next)
    }

    /// A server without a store forgets what it was to announce.
    pub fn forgets_schedules(&mut self) {
        for said in &mut self.texts {
            said.promised = false;
        }
    }

    /// A process learns that numbers never come.
    pub fn gap(&mut self, process: Process, place: Place, first: u64, last: u64) {
        let stream = &self.streams[place];
        let key = &stream.key;
        let is_due = match key.is_stored() {
            true => last < stream.kept_from,
            false => self.backlog_is_small,
        };
        assert!(
            is_due,
            "process {process}: gap {first} to {last} of {key:?}, kept from {}",
            stream.kept_from
        );
        let Some(reading) = self.reading.get(&(process, place)) else { return };
        let (next, label) = (reading.next, reading.label);
        let hole = (next..first).find(|seq| self.must_show(process, place, *seq, label));
        assert!(
            first >= next && hole.is_none(),
            "process {process} in {key:?}: a gap from {first} after {}",
            next - 1
        );
        self.reading.insert((process, place), Reading { next: last + 1, label });
    }

    /// Retention took what is older.
    pub fn retains(&mut self, key: Key, first: u64) {
        let place = self.place(key);
        let stream = &mut self.streams[place];
        stream.kept_from = stream.kept_from.max(first);
    }

    /// The first number that a reader lacks and should have.
    pub fn lacks(&self, process: Process, place: Place) -> Option<u64> {
        let reading = self.reading.get(&(process, place))?;
        let stream = &self.streams[place];
        (reading.next..=stream.newest)
            .find(|seq| self.must_show(process, place, *seq, reading.label))
    }

    /// Numbers between what a process was shown and the newest.
    pub fn behind(&self, process: Process, place: Place) -> u64 {
        let next = self.reading.get(&(process, place)).map_or(0, |reading| reading.next);
        (self.streams[place].newest + 1).saturating_sub(next)
    }

    // ---- rooms -------------------------------------------------------------------------------

    /// A room is deleted: its numbers and texts are gone.
    pub fn deletes(&mut self, key: Key) {
        let place = self.place(key);
        let stream = &mut self.streams[place];
        stream.deleted_upto = stream.deleted_upto.max(stream.texts.len().saturating_sub(1) as u64);
        stream.deleted_upto = stream.deleted_upto.max(stream.newest);
        stream.incarnation += 1;
    }

    /// The server hands numbers of a stream to a session.
    pub fn gives(&mut self, place: Place, first: u64, last: u64) {
        let stream = &self.streams[place];
        assert!(
            first > stream.deleted_upto || last < first,
            "{:?} {first}..{last} is given out after the room was deleted (up to {})",
            stream.key,
            stream.deleted_upto
        );
    }

    // ---- wills -------------------------------------------------------------------------------

    /// A session with a will ended without a goodbye in a room; `has_to`: nothing keeps the will from coming.
    pub fn owes_will(&mut self, text: TextId, place: Place, has_to: bool) {
        let (may, must) = self.wills.entry((text, place)).or_default();
        (*may, *must) = (*may + 1, *must + u32::from(has_to));
    }

    /// What was not committed is lost, and a will is not tried again.
    pub fn forgives_wills(&mut self) {
        for (_, must) in self.wills.values_mut() {
            *must = 0;
        }
    }

    pub fn will_that_is_due(&self) -> Option<(TextId, &Key)> {
        let mut due = self.wills.iter().filter(|(_, (_, must))| *must > 0).map(|(of, _)| of);
        let stored = due.find(|(_, place)| self.streams[*place].key.is_stored());
        stored.map(|(text, place)| (*text, &self.streams[*place].key))
    }

    // ---- announcements -----------------------------------------------------------------------

    /// A scheduled announcement whose time has passed and that does not exist.
    pub fn missed(&self, now_us: i64) -> Option<TextId> {
        let missed =
            |said: &Said| said.promised && said.not_before_us <= now_us && said.home.is_none();
        self.texts.iter().position(missed).map(|at| at as TextId)
    }
}
