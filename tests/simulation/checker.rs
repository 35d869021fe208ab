//! What must hold, told by what was submitted, acknowledged and shown. Knows nothing of hub or inbox.

use std::collections::{HashMap, HashSet};

/// A stream by a name of the checker's own.
pub type Place = String;

#[derive(Default)]
pub struct Checker {
    /// Which text stands under a number, by whoever saw it first.
    standing: HashMap<(Place, u64), String>,
    /// Where a text stands.
    home: HashMap<String, (Place, u64)>,
    acked: HashMap<String, (Place, u64)>,
    refused: HashSet<String>,
    committed: Option<HashSet<String>>,
    may_gap: bool,
    persistent: bool,
    /// Next number of a member in a stream.
    next: HashMap<(usize, Place), u64>,
    /// Who may read a conversation, by user.
    pub shown: HashMap<(usize, Place), HashSet<u64>>,
}

impl Checker {
    pub fn new(may_gap: bool, persistent: bool, store: bool) -> Self {
        Self { may_gap, persistent, committed: store.then(HashSet::new), ..Self::default() }
    }

    /// A member begins to listen, and was told which number comes first.
    pub fn begins(&mut self, member: usize, place: &str, first: u64) {
        let key = (member, place.to_owned());
        match self.next.get(&key) {
            Some(next) => assert!(
                first <= *next,
                "member {member} goes on in {place} at {first}, after {next}: a hidden hole"
            ),
            None => {
                self.next.insert(key, first);
            }
        }
    }

    /// A member is shown a message.
    pub fn shows(&mut self, member: usize, place: &str, seq: u64, text: &str) {
        let next = self.next.get_mut(&(member, place.to_owned())).expect("it listens");
        assert_eq!(seq, *next, "member {member} in {place}: shown {seq}, expected {next}");
        *next += 1;
        self.stands(place, seq, text);
        assert!(!self.refused.contains(text), "{text} was refused and is shown");
        if let Some(committed) = &self.committed
            && place != "memory"
        {
            assert!(committed.contains(text), "{text} is shown before it was stored");
        }
        self.shown.entry((member, place.to_owned())).or_default().insert(seq);
    }

    fn stands(&mut self, place: &str, seq: u64, text: &str) {
        let key = (place.to_owned(), seq);
        let first = self.standing.entry(key.clone()).or_insert_with(|| text.to_owned());
        assert_eq!(first, text, "two texts for number {seq} of {place}");
        let home = self.home.entry(text.to_owned()).or_insert_with(|| key.clone());
        assert_eq!(*home, key, "{text} stands twice");
    }

    /// A member is told that numbers will never come.
    pub fn gap(&mut self, member: usize, place: &str, first: u64, last: u64) {
        // What is on the disk is never lost; what is in memory may fall out of a small backlog.
        let may = self.may_gap && !(self.persistent && place != "memory");
        assert!(may, "member {member}: gap {first} to {last} of {place} without need");
        let next = self.next.get_mut(&(member, place.to_owned())).expect("it listens");
        assert_eq!(first, *next, "member {member}: a gap that does not begin where it stands");
        *next = last + 1;
    }

    /// A sender is told that its text stands.
    pub fn acks(&mut self, text: &str, place: &str, seq: u64) {
        self.stands(place, seq, text);
        let key = (place.to_owned(), seq);
        let before = self.acked.insert(text.to_owned(), key.clone());
        assert!(before.is_none_or(|b| b == key), "{text} was acknowledged with two numbers");
        assert!(!self.refused.contains(text), "{text} was refused and acknowledged");
        if let Some(committed) = &self.committed
            && place != "memory"
        {
            assert!(committed.contains(text), "{text} is acknowledged before it was stored");
        }
    }

    /// A sender is told that its text was refused.
    pub fn refuses(&mut self, text: &str, why: &str) {
        assert!(!self.home.contains_key(text), "{text} stands and was refused: {why}");
        self.refused.insert(text.to_owned());
    }

    /// The store has a text.
    pub fn commits(&mut self, text: &str) {
        if let Some(committed) = &mut self.committed {
            committed.insert(text.to_owned());
        }
    }

    /// Newest number that a member was shown, or told to be gone.
    pub fn seen(&self, member: usize, place: &str) -> Option<u64> {
        self.next.get(&(member, place.to_owned())).map(|next| next - 1)
    }

    /// Newest number that anybody knows of.
    pub fn newest(&self, place: &str) -> u64 {
        self.standing.keys().filter(|(p, _)| p == place).map(|(_, seq)| *seq).max().unwrap_or(0)
    }
}
