//! The lines of one room that are in memory: a bounded window over its history, extended at both
//! ends while the user scrolls.

use std::collections::VecDeque;

use crate::{
    chat::{
        member::{EndCause, Kind, Level, Member},
        message::Message,
    },
    limits::TEXT_BYTES_MAX,
};

/// Multiple of the bound while the user scrolls, so that the visible lines are not removed.
const SLACK: usize = 2;
/// Average bytes of a line, for the bound of all lines: a user may send long texts only.
const LINE_BYTES: usize = 2 * 1024;
/// Minimum of the bound in bytes: a page of the longest texts fits.
const BYTES_MIN: usize = 200 * TEXT_BYTES_MAX;
/// Maximum number of remembered gaps; the oldest are forgotten first.
const GAPS_MAX: usize = 100;
/// Maximum names in a folded line of joins and leaves.
const FOLDED_MAX: usize = 50;

/// One line of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A message of the room.
    Said(Said),
    /// Members that joined and left, one after the other.
    Moves(Moves),
    /// A note about an event.
    Note(Note),
}

/// A message as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) seq: u64,
    /// Time in microseconds since 1970.
    pub(super) wall_us: i64,
    /// `ann` or `ann/ci`.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// True if this name sent it.
    pub(super) own: bool,
    pub(super) mention: bool,
    pub(super) reply_to: Option<u64>,
    /// Cause, if it is the last will of a session that ended.
    pub(super) will: Option<EndCause>,
    pub(super) text: String,
}

/// Members that joined and left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Moves {
    pub(super) wall_us: i64,
    /// Moves in order; the same name may occur again.
    pub(super) all: VecDeque<Move>,
    /// Number of earlier moves whose names were dropped.
    pub(super) more: usize,
}

/// One member that joined or left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) name: String,
    /// Cause of the end; none: joined.
    pub(super) left: Option<EndCause>,
}

/// A note about an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) wall_us: i64,
    pub(super) kind: NoteKind,
    /// Text, possibly of several lines; made safe where it is shown.
    pub(super) text: String,
}

/// Kind of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoteKind {
    /// Topics, invitations, connections.
    Info,
    /// Messages that can't be shown.
    Gap,
    /// A refused request or text.
    Error,
    /// An announcement of this level.
    Notice(Level),
}

impl Line {
    /// Returns the time, microseconds since 1970.
    pub(super) fn wall_us(&self) -> i64 {
        match self {
            Self::Said(said) => said.wall_us,
            Self::Moves(moves) => moves.wall_us,
            Self::Note(note) => note.wall_us,
        }
    }

    pub(super) fn said(&self) -> Option<&Said> {
        match self {
            Self::Said(said) => Some(said),
            Self::Moves(_) | Self::Note(_) => None,
        }
    }

    /// Adds a move to a line of moves.
    fn add_move(&mut self, at_us: i64, one: Move) {
        let Self::Moves(Moves { wall_us, all, more }) = self else { return };
        if all.len() == FOLDED_MAX {
            all.pop_front();
            *more += 1;
        }
        *wall_us = at_us;
        all.push_back(one);
    }

    /// Returns the bytes in memory beside the fixed size of a line.
    fn bytes(&self) -> usize {
        match self {
            Self::Said(said) => said.bytes(),
            Self::Moves(moves) => {
                moves.all.iter().map(|one| size_of::<Move>() + one.name.len()).sum()
            }
            Self::Note(note) => note.text.len(),
        }
    }
}

impl Said {
    /// Returns a message as it is shown to a name.
    pub(super) fn of(message: Message, own: bool) -> Self {
        Self {
            seq: message.id.seq,
            wall_us: message.wall_us,
            name: message.from.name(),
            kind: message.from.kind,
            own,
            mention: message.mention && !own,
            reply_to: message.reply_to,
            will: message.will,
            text: message.text,
        }
    }

    fn bytes(&self) -> usize {
        self.name.len() + self.text.len()
    }
}

/// Visible part of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Place {
    /// The end, which moves with new lines.
    #[default]
    End,
    /// The lowest visible row: a row (from 0) of a line.
    At {
        /// Id of the line.
        id: i64,
        /// Row of the line.
        row: usize,
    },
}

/// The lines of one room that are in memory. Each has an id; ids rise by one from line to line, and
/// are constant when lines are added at either end.
#[derive(Debug)]
pub(super) struct Scrollback {
    lines: VecDeque<Line>,
    /// Id of the first line.
    first_id: i64,
    /// Bytes of all lines.
    bytes: usize,
    /// Maximum number of lines.
    bound: usize,
    /// True if new messages are added; otherwise the window ends before the newest message.
    attached: bool,
    /// True if nothing older can be read.
    at_beginning: bool,
    /// Sequence number from which all messages were requested, visible or not.
    reach: Option<u64>,
    /// Sequence number up to which all were requested, for a window that is not at the newest
    /// message.
    reach_end: Option<u64>,
    /// Gaps: the last number of each, and its note. A note is shown again with the lines around it.
    gaps: VecDeque<(u64, Note)>,
}

impl Scrollback {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            first_id: 0,
            bytes: 0,
            bound,
            attached: true,
            at_beginning: false,
            reach: None,
            reach_end: None,
            gaps: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Line> {
        self.lines.get(index)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Line> {
        self.lines.iter()
    }

    pub(super) fn id_of(&self, index: usize) -> i64 {
        self.first_id + i64::try_from(index).unwrap_or(i64::MAX / 2)
    }

    /// Returns the index of a line; the nearest one if it was removed.
    pub(super) fn index_of(&self, id: i64) -> usize {
        let index = usize::try_from(id - self.first_id).unwrap_or(0);
        index.min(self.lines.len().saturating_sub(1))
    }

    pub(super) fn is_attached(&self) -> bool {
        self.attached
    }

    pub(super) fn is_at_beginning(&self) -> bool {
        self.at_beginning
    }

    pub(super) fn note_beginning(&mut self) {
        self.at_beginning = true;
    }

    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    fn bytes_bound(&self) -> usize {
        (self.bound * LINE_BYTES).max(BYTES_MIN)
    }

    fn is_over(&self, times: usize) -> bool {
        self.lines.len() > self.bound * times || self.bytes > self.bytes_bound() * times
    }

    /// Returns true if at least one more message fits at the beginning.
    pub(super) fn has_room(&self) -> bool {
        self.lines.len() < self.bound * SLACK
            && self.bytes + TEXT_BYTES_MAX <= self.bytes_bound() * SLACK
    }

    fn push_back(&mut self, line: Line) {
        self.bytes += line.bytes();
        self.lines.push_back(line);
    }

    /// Returns the number before which older messages are requested; none if the window is empty.
    pub(super) fn asked_from(&self) -> Option<u64> {
        [self.first_seq(), self.reach].into_iter().flatten().min()
    }

    /// Returns the number after which newer messages are requested.
    pub(super) fn asked_to(&self) -> u64 {
        self.last_seq().max(self.reach_end).unwrap_or(0)
    }

    /// Records that all messages from this number on were requested.
    pub(super) fn note_reach(&mut self, first: u64) {
        self.reach = Some(first);
    }

    /// Returns the index of a line, if it still exists.
    pub(super) fn find(&self, id: i64) -> Option<usize> {
        let index = usize::try_from(id - self.first_id).ok()?;
        (index < self.lines.len()).then_some(index)
    }

    /// Returns the number of the oldest message in memory.
    pub(super) fn first_seq(&self) -> Option<u64> {
        self.lines.iter().find_map(Line::said).map(|said| said.seq)
    }

    /// Returns the number of the newest message in memory.
    pub(super) fn last_seq(&self) -> Option<u64> {
        self.lines.iter().rev().find_map(Line::said).map(|said| said.seq)
    }

    /// Returns the index of a message, or of the next one if it was removed; none outside of the
    /// window.
    pub(super) fn index_of_seq(&self, seq: u64) -> Option<usize> {
        if self.first_seq().is_none_or(|first| seq < first) {
            return None;
        }
        // From the newest on: most lookups are there.
        let at = self.lines.iter().rposition(|line| line.said().is_some_and(|s| s.seq <= seq))?;
        let is_it = self.lines[at].said().is_some_and(|said| said.seq == seq);
        if is_it {
            return Some(at);
        }
        (at + 1..self.lines.len()).find(|&next| self.lines[next].said().is_some())
    }

    /// Adds a new line. Returns false if the window does not end at the newest message. While the
    /// user reads further up the window grows for a while, and then stops there: visible lines are
    /// not removed.
    pub(super) fn push(&mut self, line: Line, is_scrolled: bool) -> bool {
        if !self.attached {
            return false;
        }
        self.push_back(line);
        self.trim(is_scrolled);
        self.attached
    }

    /// Adds a gap up to a number.
    pub(super) fn push_gap(&mut self, last: u64, note: Note, is_scrolled: bool) {
        self.gaps.push_back((last, note.clone()));
        if self.gaps.len() > GAPS_MAX {
            self.gaps.pop_front();
        }
        self.push(Line::Note(note), is_scrolled);
    }

    /// Returns the gaps between two messages.
    fn gaps_between(&self, after: u64, before: u64) -> Vec<Note> {
        let here = self.gaps.iter().filter(|(last, _)| (after..before).contains(last));
        here.map(|(_, note)| note.clone()).collect()
    }

    /// Adds a move, to the previous line if that is one of moves as well.
    pub(super) fn push_move(
        &mut self,
        wall_us: i64,
        member: &Member,
        left: Option<EndCause>,
        is_scrolled: bool,
    ) {
        if !self.attached {
            return;
        }
        let one = Move { name: member.name(), left };
        if !matches!(self.lines.back(), Some(Line::Moves(_))) {
            self.push_back(Line::Moves(Moves { wall_us, ..Moves::default() }));
        }
        if let Some(line) = self.lines.back_mut() {
            let before = line.bytes();
            line.add_move(wall_us, one);
            self.bytes = self.bytes + line.bytes() - before;
        }
        self.trim(is_scrolled);
    }

    fn trim(&mut self, is_scrolled: bool) {
        if is_scrolled {
            self.trim_back();
        } else {
            self.trim_front(1);
        }
    }

    /// Removes the oldest lines.
    fn trim_front(&mut self, times: usize) {
        while self.is_over(times) {
            let Some(line) = self.lines.pop_front() else { return };
            self.bytes -= line.bytes();
            self.first_id += 1;
            self.at_beginning = false;
            self.reach = None;
        }
    }

    /// Removes the newest lines; they are requested again when the user scrolls there.
    fn trim_back(&mut self) {
        while self.is_over(SLACK) {
            let Some(line) = self.lines.pop_back() else { return };
            self.bytes -= line.bytes();
            self.attached = false;
            self.reach_end = None;
        }
    }

    fn push_front(&mut self, line: Line) {
        self.bytes += line.bytes();
        self.lines.push_front(line);
        self.first_id -= 1;
    }

    /// Adds older messages, oldest first, at the beginning; known ones are left out. The window is
    /// then cut at its end; with `keeps_end` the oldest of them are dropped instead.
    pub(super) fn prepend(&mut self, mut older: Vec<Said>, first: u64, keeps_end: bool) {
        let known = self.first_seq();
        older.retain(|said| known.is_none_or(|known| said.seq < known));
        // The lines before the first message may name the gap already.
        let there: Vec<_> = self.lines.iter().take_while(|line| line.said().is_none()).collect();
        let is_there = |note: &Note| there.contains(&&Line::Note(note.clone()));
        let mut lines = Vec::new();
        let mut before = known;
        for said in older.into_iter().rev() {
            if let Some(before) = before {
                let missing = self.gaps_between(said.seq, before);
                lines.extend(
                    missing.into_iter().filter(|note| !is_there(note)).map(Line::Note).rev(),
                );
            }
            before = Some(said.seq);
            lines.push(Line::Said(said));
        }
        if let Some(before) = before.filter(|before| first < *before) {
            let missing = self.gaps_between(first, before);
            lines.extend(missing.into_iter().filter(|note| !is_there(note)).map(Line::Note).rev());
        }
        self.reach = Some(first);
        for line in lines {
            self.push_front(line);
            if keeps_end && self.is_over(SLACK) {
                return self.trim_front(SLACK);
            }
        }
        self.trim_back();
    }

    /// Adds newer messages, oldest first, at the end of a window that is not at the newest message;
    /// all from `first` to `last` were requested.
    pub(super) fn append(
        &mut self,
        newer: Vec<Said>,
        (first, last): (u64, u64),
        reaches_end: bool,
    ) {
        let known = self.asked_to();
        let mut after = known.max(first.saturating_sub(1));
        for said in newer.into_iter().filter(|said| said.seq > known) {
            for note in self.gaps_between(after, said.seq) {
                self.push_back(Line::Note(note));
            }
            after = said.seq;
            self.push_back(Line::Said(said));
        }
        self.attached |= reaches_end;
        self.reach_end = (!self.attached).then_some(last);
        self.trim_front(SLACK);
    }

    /// Empties the window; with `attached` new messages are added to it.
    pub(super) fn clear(&mut self, attached: bool) {
        self.first_id += i64::try_from(self.lines.len()).unwrap_or(0);
        self.lines.clear();
        self.bytes = 0;
        self.attached = attached;
        self.at_beginning = false;
        self.reach = None;
        self.reach_end = None;
    }

    /// Empties the window of a room whose sequence numbers start over.
    pub(super) fn begin_anew(&mut self) {
        self.clear(true);
        self.gaps.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{member::SessionId, names::UserName};

    fn said(seq: u64) -> Said {
        Said {
            seq,
            wall_us: 0,
            name: "ann".to_owned(),
            kind: Kind::Person,
            own: false,
            mention: false,
            reply_to: None,
            will: None,
            text: seq.to_string(),
        }
    }

    fn filled(bound: usize, seqs: impl Iterator<Item = u64>) -> Scrollback {
        let mut back = Scrollback::new(bound);
        for seq in seqs {
            back.push(Line::Said(said(seq)), false);
        }
        back
    }

    fn seqs(back: &Scrollback) -> Vec<u64> {
        back.iter().filter_map(Line::said).map(|said| said.seq).collect()
    }

    fn member(name: &str) -> Member {
        Member {
            session: SessionId(1),
            uid: 1,
            pid: 1,
            kind: Kind::Person,
            user: UserName::new(name).unwrap(),
            label: None,
        }
    }

    #[test]
    fn ids_stay_when_lines_are_added_at_either_end_or_taken_away() {
        let mut back = filled(10, 11..=15);
        let id = back.id_of(2);
        back.prepend((5..=12).map(said).collect(), 5, false);
        assert_eq!(seqs(&back), (5..=15).collect::<Vec<_>>(), "what was there is not doubled");
        assert_eq!(back.get(back.index_of(id)).unwrap().said().unwrap().seq, 13);
        for seq in 16..=22 {
            back.push(Line::Said(said(seq)), false);
        }
        assert_eq!(back.len(), 10);
        assert_eq!(back.get(back.index_of(id)).unwrap().said().unwrap().seq, 13);
        assert_eq!(back.index_of(id - 100), 0, "what is gone is the oldest that is there");
    }

    #[test]
    fn visible_lines_stay_and_memory_is_bounded() {
        let mut back = filled(10, 1..=10);
        for seq in 11..=1_000 {
            let pushed = back.push(Line::Said(said(seq)), true);
            assert_eq!(pushed, seq <= 20);
        }
        assert_eq!(seqs(&back), (1..=20).collect::<Vec<_>>());
        assert_eq!((back.is_attached(), back.asked_to()), (false, 20));
        // A reader who scrolls on gets the next ones.
        back.append((21..=30).map(said).collect(), (21, 30), false);
        assert_eq!(seqs(&back), (11..=30).collect::<Vec<_>>());
    }

    #[test]
    fn hidden_messages_are_not_requested_again() {
        let mut back = filled(10, 1..=25);
        back.clear(false);
        back.append((101..=105).map(said).collect(), (101, 105), false);
        back.append(Vec::new(), (106, 305), false);
        assert_eq!(back.asked_to(), 305);
        back.append(vec![said(310)], (306, 400), true);
        assert_eq!(seqs(&back), [101, 102, 103, 104, 105, 310]);
        assert!(back.is_attached());
    }

    #[test]
    fn gap_is_shown_wherever_the_window_is() {
        let gap = |text: &str| Note { wall_us: 0, kind: NoteKind::Gap, text: text.to_owned() };
        let shown = |back: &Scrollback| -> Vec<String> {
            let text = |line: &Line| match line {
                Line::Said(said) => said.text.clone(),
                Line::Note(note) => note.text.clone(),
                Line::Moves(_) => String::new(),
            };
            back.iter().map(text).collect()
        };
        let mut back = filled(100, 1..=3);
        back.push_gap(6, gap("gap 4-6"), false);
        for seq in 7..=9 {
            back.push(Line::Said(said(seq)), false);
        }
        let all = ["1", "2", "3", "gap 4-6", "7", "8", "9"];
        assert_eq!(shown(&back), all);
        // Emptied, and loaded from the end.
        back.clear(true);
        back.prepend(vec![said(8), said(9)], 8, true);
        back.prepend([1, 2, 3, 7].map(said).into(), 1, true);
        assert_eq!(shown(&back), all);
        // In pages that end and begin at the gap.
        for first in [4, 5, 6, 7] {
            back.clear(true);
            back.prepend((7..=9).map(said).collect(), first, true);
            back.prepend((1..=3).map(said).collect(), 1, true);
            assert_eq!(shown(&back), all, "{first}");
        }
        // And forwards.
        back.clear(false);
        back.append((1..=3).map(said).collect(), (1, 4), false);
        back.append((7..=9).map(said).collect(), (5, 9), true);
        assert_eq!(shown(&back), all);
        // The gap only, wherever it begins.
        back.clear(false);
        back.append((8..=9).map(said).collect(), (8, 9), true);
        assert_eq!(shown(&back), ["8", "9"]);
        // The window is elsewhere when the gap arrives.
        back.clear(false);
        back.append((1..=3).map(said).collect(), (1, 3), false);
        back.push_gap(11, gap("gap 10-11"), true);
        back.append([7, 8, 9, 12].map(said).into(), (4, 12), true);
        assert_eq!(shown(&back)[3..], ["gap 4-6", "7", "8", "9", "gap 10-11", "12"]);
    }

    #[test]
    fn long_texts_are_fewer_lines() {
        let long = |seq| Said { text: "x".repeat(TEXT_BYTES_MAX), ..said(seq) };
        let mut back = Scrollback::new(10);
        for seq in 1_000..1_500 {
            back.push(Line::Said(long(seq)), false);
            let held: usize = back.iter().map(Line::bytes).sum();
            assert_eq!(held, back.bytes);
            assert!(held <= BYTES_MIN);
        }
        assert_eq!(back.len(), 10, "few lines");
        let mut back = Scrollback::new(10_000);
        for seq in 1_000..2_000 {
            back.push(Line::Said(long(seq)), false);
        }
        let fits = 10_000 * LINE_BYTES / long(1).bytes();
        assert_eq!((back.len(), back.last_seq()), (fits, Some(1_999)));
        // While the end is visible, older ones are added as long as they fit.
        let first = back.first_seq().unwrap();
        while back.has_room() {
            let next = back.asked_from().unwrap();
            back.prepend((next - 200..next).map(long).collect(), next - 200, true);
        }
        assert!(back.is_attached() && back.first_seq().unwrap() < first);
        assert!(back.len().abs_diff(2 * fits) <= 1, "{}", back.len());
        // A user who scrolls up sees them in place of the newest.
        let next = back.first_seq().unwrap();
        back.prepend((next - 200..next).map(long).collect(), next - 200, false);
        assert_eq!(back.first_seq(), Some(next - 200));
        assert!(!back.is_attached() && back.len().abs_diff(2 * fits) <= 1);
        assert_eq!(back.bytes, back.iter().map(Line::bytes).sum::<usize>());
    }

    #[test]
    fn window_grown_far_back_ends_before_the_newest_message() {
        let mut back = filled(10, 91..=100);
        back.prepend((81..=90).map(said).collect(), 81, false);
        assert!(back.is_attached());
        back.prepend((71..=80).map(said).collect(), 71, false);
        assert!(!back.is_attached());
        assert_eq!(seqs(&back), (71..=90).collect::<Vec<_>>());
        assert!(!back.push(Line::Said(said(101)), true), "elsewhere");
        back.append((91..=101).map(said).collect(), (91, 101), true);
        assert!(back.is_attached());
        assert_eq!(back.last_seq(), Some(101));
    }

    #[test]
    fn removed_lines_are_requested_again() {
        let mut back = filled(100, 201..=220);
        back.prepend((1..=200).map(said).collect(), 1, true);
        assert_eq!(back.asked_from(), Some(21), "as many as may be here, the newest of them");
        let mut back = filled(100, 150..=160);
        back.prepend((100..=149).map(said).collect(), 100, false);
        assert_eq!(back.asked_from(), Some(100));
        for seq in 161..=500 {
            back.push(Line::Said(said(seq)), false);
        }
        assert_eq!(back.asked_from(), Some(401));
    }

    #[test]
    fn numbers_are_found_among_notes_and_gaps() {
        let mut back = filled(100, [3, 4, 7].into_iter());
        let note = Note { wall_us: 0, kind: NoteKind::Info, text: "topic".to_owned() };
        back.push(Line::Note(note), false);
        back.push(Line::Said(said(8)), false);
        assert_eq!(back.index_of_seq(2), None);
        assert_eq!(back.index_of_seq(3), Some(0));
        assert_eq!(back.index_of_seq(5), Some(2), "the next one");
        assert_eq!(back.index_of_seq(8), Some(4));
        assert_eq!(back.index_of_seq(9), None);
    }

    #[test]
    fn joins_and_leaves_share_a_line_until_a_message() {
        let mut back = Scrollback::new(100);
        back.push_move(1, &member("ann"), None, false);
        back.push_move(2, &member("bob"), None, false);
        back.push_move(3, &member("ann"), Some(EndCause::Quit), false);
        assert_eq!(back.len(), 1);
        back.push(Line::Said(said(1)), false);
        back.push_move(4, &member("cid"), None, false);
        assert_eq!(back.len(), 3);
        for _ in 0..FOLDED_MAX + 5 {
            back.push_move(5, &member("dan"), None, false);
        }
        let Some(Line::Moves(moves)) = back.get(2) else { panic!("moves") };
        assert_eq!((moves.all.len(), moves.more), (FOLDED_MAX, 6));
    }
}
