//! The input itself: a draft with its cursor, and the texts that were sent before.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    ops::Range,
};

use unicode_segmentation::UnicodeSegmentation as _;

use super::{
    draft::{Draft, cleaned, next, previous},
    layout::Layout,
    words::{line_at, or_further, word_before, word_behind},
};

/// Sent texts that can be recalled; the oldest go first.
const HISTORY_MAX: usize = 500;

/// Change of a text, or move of the cursor, without typing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::tui) enum Edit {
    Left,
    Right,
    WordLeft,
    WordRight,
    /// Start of the line, as for the variants that follow; a wrapped line is one.
    Start,
    End,
    DeleteBack,
    DeleteForward,
    KillWordBack,
    KillWordForward,
    /// Kills the rest of the line; at its end, the line end itself.
    KillToEnd,
    KillToStart,
    /// Inserts the text that was killed last.
    Yank,
    /// Swaps the clusters before and behind the cursor.
    Transpose,
    Undo,
    Redo,
}

/// Last change, as far as the next one may continue it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Last {
    #[default]
    Other,
    Typed,
    Killed,
    Replaced,
}

/// The input. Sent texts and the killed text are the same for all drafts.
#[derive(Debug, Clone, Default)]
pub(in crate::tui) struct Editor {
    draft: Draft,
    /// Sent texts, the oldest first.
    history: VecDeque<String>,
    /// Index of the sent text that is shown; their count for the one being written.
    shown: usize,
    /// Changed copies of sent texts by their index, and under their count the text being written,
    /// while another one is shown.
    left: BTreeMap<usize, Draft>,
    killed: String,
    last: Last,
    /// The column that `up` and `down` keep to through shorter rows.
    column: Option<usize>,
}

impl Editor {
    /// Returns the text in the input.
    pub(in crate::tui) fn text(&self) -> &str {
        self.draft.text()
    }

    /// Returns true if nothing is written.
    pub(in crate::tui) fn is_empty(&self) -> bool {
        self.text().is_empty()
    }

    /// Returns the place of the cursor, in bytes.
    pub(in crate::tui) fn cursor(&self) -> usize {
        self.draft.cursor()
    }

    /// Returns the text being written, also while a sent text is shown.
    pub(in crate::tui) fn written(&self) -> &str {
        self.left.get(&self.history.len()).unwrap_or(&self.draft).text()
    }

    /// Returns changed copies of sent texts that were not sent, the oldest first.
    pub(in crate::tui) fn remade(&self) -> Vec<String> {
        let here =
            (self.shown < self.history.len() && !self.is_recalled_as_sent()).then_some(&self.draft);
        let above = self.left.range(..self.shown).map(|(_, draft)| draft);
        let below = self.left.range(self.shown..self.history.len()).map(|(_, draft)| draft);
        let texts = above.chain(here).chain(below).map(Draft::text);
        texts.filter(|text| !text.trim().is_empty()).map(str::to_owned).collect()
    }

    /// Replaces the whole text; can be undone.
    pub(in crate::tui) fn set(&mut self, text: &str) {
        self.begin();
        self.draft.change(0..self.text().len(), &cleaned(text));
    }

    /// Takes the text, which can be recalled. The input is empty then, or has the text that was
    /// being written while another one was recalled and sent.
    pub(in crate::tui) fn take(&mut self) -> String {
        self.begin();
        let text = mem::take(&mut self.draft).into_text();
        self.draft = self.left.remove(&self.history.len()).unwrap_or_default();
        // Changed copies of other sent texts are nowhere else.
        for left in mem::take(&mut self.left).into_values() {
            self.remember(left.into_text());
        }
        self.remember(text.clone());
        self.shown = self.history.len();
        text
    }

    /// Changes to the draft of another room. Returns the text being written here, and the changed
    /// copies of sent texts.
    pub(in crate::tui) fn swap(&mut self, draft: Draft) -> (Draft, Vec<String>) {
        self.begin();
        let remade = self.remade();
        let current = mem::replace(&mut self.draft, draft);
        let written = self.left.remove(&self.history.len()).unwrap_or(current);
        self.left.clear();
        self.shown = self.history.len();
        (written, remade)
    }

    /// Inserts a text that was typed or pasted.
    pub(in crate::tui) fn insert(&mut self, text: &str) {
        let last = self.begin();
        let text = cleaned(text);
        if text.is_empty() {
            return;
        }
        let is_one = text.graphemes(true).nth(1).is_none();
        let goes_on = is_one && last == Last::Typed && !text.starts_with(char::is_whitespace);
        if !(goes_on && self.draft.go_on(&text)) {
            let at = self.cursor();
            self.draft.change(at..at, &text);
        }
        if is_one {
            self.last = Last::Typed;
        }
    }

    /// Inserts one character that was typed.
    pub(in crate::tui) fn insert_char(&mut self, c: char) {
        self.insert(c.encode_utf8(&mut [0; 4]));
    }

    /// Replaces a part by a text, the cursor behind it. If that is replaced in turn, it is the same
    /// step, so that a completion is undone as a whole.
    pub(in crate::tui) fn replace(&mut self, range: Range<usize>, with: &str) {
        let last = self.begin();
        let with = cleaned(with);
        let end = self.text().floor_char_boundary(range.end);
        let start = self.text().floor_char_boundary(range.start).min(end);
        if !(last == Last::Replaced && self.draft.instead(start..end, &with)) {
            self.draft.change(start..end, &with);
        }
        self.last = Last::Replaced;
    }

    /// Applies an edit; nothing changes if it has nothing to work on.
    pub(in crate::tui) fn apply(&mut self, edit: Edit) {
        let last = self.begin();
        let (text, at) = (self.text(), self.cursor());
        match edit {
            Edit::Left => self.draft.go(previous(text, at)),
            Edit::Right => self.draft.go(next(text, at)),
            Edit::WordLeft => self.draft.go(word_before(text, at)),
            Edit::WordRight => self.draft.go(word_behind(text, at)),
            Edit::Start => self.draft.go(line_at(text, at).start),
            Edit::End => self.draft.go(line_at(text, at).end),
            Edit::DeleteBack => self.draft.change(previous(text, at)..at, ""),
            Edit::DeleteForward => self.draft.change(at..next(text, at), ""),
            Edit::KillWordBack => self.kill(word_before(text, at)..at, last),
            Edit::KillWordForward => self.kill(at..word_behind(text, at), last),
            Edit::KillToEnd => {
                self.kill(at..or_further(line_at(text, at).end, at, next, text), last);
            }
            Edit::KillToStart => {
                self.kill(or_further(line_at(text, at).start, at, previous, text)..at, last);
            }
            Edit::Yank => self.draft.change(at..at, &self.killed),
            Edit::Transpose => self.transpose(),
            Edit::Undo => self.draft.undo(),
            Edit::Redo => self.draft.redo(),
        }
    }

    /// Moves the cursor a row up, as laid out in these columns; false in the first row.
    pub(in crate::tui) fn up(&mut self, columns: usize) -> bool {
        let layout = self.layout(columns);
        let above = (0..layout.cursor.1).rev();
        self.go_to_row(&layout, above)
    }

    /// Moves the cursor a row down, as laid out in these columns; false in the last row.
    pub(in crate::tui) fn down(&mut self, columns: usize) -> bool {
        let layout = self.layout(columns);
        let below = layout.cursor.1 + 1..layout.rows.len();
        self.go_to_row(&layout, below)
    }

    /// Recalls the previous sent text; the text being written returns at the end.
    pub(in crate::tui) fn history_back(&mut self) {
        if let Some(older) = self.shown.checked_sub(1) {
            self.recall(older);
        }
    }

    /// Recalls the next sent text, and at last the text being written.
    pub(in crate::tui) fn history_forward(&mut self) {
        if self.shown < self.history.len() {
            self.recall(self.shown + 1);
        }
    }

    /// Returns the layout of the text in these columns.
    pub(in crate::tui) fn layout(&self, columns: usize) -> Layout {
        Layout::of(self.text(), self.cursor(), columns)
    }

    /// Begins a change other than `up` and `down`; returns the change before it.
    fn begin(&mut self) -> Last {
        self.column = None;
        mem::take(&mut self.last)
    }

    fn kill(&mut self, range: Range<usize>, last: Last) {
        if range.is_empty() {
            self.last = last;
            return;
        }
        if last != Last::Killed {
            self.killed.clear();
        }
        let end = if range.end == self.cursor() { 0 } else { self.killed.len() };
        self.killed.insert_str(end, &self.draft.text()[range.clone()]);
        self.draft.change(range, "");
        self.last = Last::Killed;
    }

    fn transpose(&mut self) {
        let (text, at) = (self.text(), self.cursor());
        let line = line_at(text, at);
        // At the end of a line the two clusters before the cursor are swapped: the mistake is
        // visible there.
        let middle = if at == line.end { previous(text, at) } else { at };
        if middle <= line.start || line.is_empty() {
            return;
        }
        let (start, end) = (previous(text, middle), next(text, middle));
        let swapped = [&text[middle..end], &text[start..middle]].concat();
        self.draft.change(start..end, &swapped);
    }

    /// Moves the cursor to the first of these rows that has a place for it; false without one.
    fn go_to_row(&mut self, layout: &Layout, mut rows: impl Iterator<Item = usize>) -> bool {
        self.last = Last::Other;
        let column = self.column.unwrap_or(layout.cursor.0);
        let Some(place) = rows.find_map(|row| layout.place(column, row)) else {
            return false;
        };
        self.column = Some(column);
        self.draft.go(place);
        true
    }

    /// Returns true if a sent text is shown without a change.
    fn is_recalled_as_sent(&self) -> bool {
        self.history.get(self.shown).is_some_and(|sent| sent == self.text())
    }

    fn recall(&mut self, nth: usize) {
        self.begin();
        let sent = || self.history.get(nth).map_or("", String::as_str);
        let draft = self.left.remove(&nth).unwrap_or_else(|| Draft::of(sent()));
        let as_sent = self.is_recalled_as_sent();
        let left = mem::replace(&mut self.draft, draft);
        if !as_sent {
            self.left.insert(self.shown, left);
        }
        self.shown = nth;
    }

    fn remember(&mut self, text: String) {
        if text.trim().is_empty() || self.history.back() == Some(&text) {
            return;
        }
        self.history.push_back(text);
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An input with that text, the cursor at `|`.
    fn editor(text: &str) -> Editor {
        let mut draft = Draft::of(&text.replace('|', ""));
        draft.go(text.find('|').unwrap_or(draft.text().len()));
        Editor { draft, ..Editor::default() }
    }

    /// The text, with `|` for the cursor.
    fn seen(editor: &Editor) -> String {
        let mut text = editor.text().to_owned();
        text.insert(editor.cursor(), '|');
        text
    }

    fn after(text: &str, edits: &[Edit]) -> String {
        let mut editor = editor(text);
        edits.iter().for_each(|edit| editor.apply(*edit));
        seen(&editor)
    }

    fn send(editor: &mut Editor, text: &str) {
        editor.insert(text);
        assert_eq!(editor.take(), text);
    }

    #[test]
    fn cursor_moves_by_grapheme_clusters() {
        let family = "👩\u{200d}👩\u{200d}👧";
        for one in [family, "🇰🇷", "e\u{301}", "\u{1112}\u{1161}\u{11ab}", "한", "\n"] {
            assert_eq!(after(&format!("a{one}|b"), &[Edit::Left]), format!("a|{one}b"));
            assert_eq!(after(&format!("a|{one}b"), &[Edit::Right]), format!("a{one}|b"));
            assert_eq!(after(&format!("a{one}|b"), &[Edit::DeleteBack]), "a|b");
            assert_eq!(after(&format!("a|{one}b"), &[Edit::DeleteForward]), "a|b");
        }
        assert_eq!(after("|a", &[Edit::Left]), "|a");
        assert_eq!(after("a|", &[Edit::Right]), "a|");
        assert_eq!(after("|a", &[Edit::DeleteBack]), "|a");
        assert_eq!(after("a|", &[Edit::DeleteForward]), "a|");
    }

    #[test]
    fn joined_cluster_moves_the_cursor_behind_itself() {
        let mut editor = editor("|\u{301}b");
        editor.insert("e");
        assert_eq!(seen(&editor), "e\u{301}|b");
    }

    #[test]
    fn words_are_eojeol_and_emoji_and_what_has_letters() {
        assert_eq!(after("회의는 내일 오후에|", &[Edit::WordLeft]), "회의는 내일 |오후에");
        assert_eq!(after("|회의는 내일", &[Edit::WordRight]), "회의는| 내일");
        assert_eq!(after("so, well|", &[Edit::WordLeft, Edit::WordLeft]), "|so, well");
        assert_eq!(after("so|, well", &[Edit::WordRight]), "so, well|");
        assert_eq!(after("hi 👩\u{200d}👧 |", &[Edit::WordLeft]), "hi |👩\u{200d}👧 ");
        assert_eq!(after("one two  |", &[Edit::KillWordBack]), "one |");
        assert_eq!(after("one| two x", &[Edit::KillWordForward]), "one| x");
    }

    #[test]
    fn start_and_end_are_those_of_the_line() {
        assert_eq!(after("one\ntwo| x\n3", &[Edit::Start]), "one\n|two x\n3");
        assert_eq!(after("one\ntw|o x\n3", &[Edit::End]), "one\ntwo x|\n3");
        assert_eq!(after("one\ntw|o\n3", &[Edit::KillToEnd]), "one\ntw|\n3");
        assert_eq!(after("one\ntw|o\n3", &[Edit::KillToEnd; 2]), "one\ntw|3");
        assert_eq!(after("one\ntw|o\n3", &[Edit::KillToStart]), "one\n|o\n3");
        assert_eq!(after("one\ntw|o\n3", &[Edit::KillToStart; 2]), "one|o\n3");
    }

    #[test]
    fn consecutive_kills_are_yanked_as_one() {
        use Edit::{KillToEnd, KillWordBack, KillWordForward, Left, Start, Yank};
        assert_eq!(after("one two|", &[KillWordBack, KillWordBack, Yank]), "one two|");
        assert_eq!(
            after("one| two three", &[KillWordForward, KillToEnd, Start, Yank]),
            " two three|one"
        );
        assert_eq!(after("one two|", &[KillWordBack, Left, KillWordBack, Yank]), "one| ");
        assert_eq!(after("a|", &[Yank]), "a|");
    }

    #[test]
    fn two_clusters_change_places() {
        assert_eq!(after("ab|c", &[Edit::Transpose]), "acb|");
        assert_eq!(after("abc|", &[Edit::Transpose]), "acb|");
        assert_eq!(after("한e\u{301}|", &[Edit::Transpose]), "e\u{301}한|");
        for same in ["|ab", "a|", "|", "ab\n|cd", "ab\nc|"] {
            assert_eq!(after(same, &[Edit::Transpose]), same);
        }
    }

    #[test]
    fn typed_letters_are_undone_word_by_word() {
        let mut editor = Editor::default();
        for letter in "오늘 회의".chars() {
            editor.insert(letter.encode_utf8(&mut [0; 4]));
        }
        editor.insert("pasted text");
        editor.insert("x");
        for expected in ["오늘 회의pasted text|", "오늘 회의|", "오늘|", "|", "|"] {
            editor.apply(Edit::Undo);
            assert_eq!(seen(&editor), expected);
        }
        for expected in ["오늘|", "오늘 회의|", "오늘 회의pasted text|"] {
            editor.apply(Edit::Redo);
            assert_eq!(seen(&editor), expected);
        }
        editor.insert("y");
        editor.apply(Edit::Redo);
        assert_eq!(seen(&editor), "오늘 회의pasted texty|");
    }

    #[test]
    fn a_move_ends_the_word_that_is_typed() {
        let mut editor = Editor::default();
        editor.insert("a");
        editor.apply(Edit::Left);
        editor.apply(Edit::Right);
        editor.insert("b");
        editor.apply(Edit::Undo);
        assert_eq!(seen(&editor), "a|");
    }

    #[test]
    fn completion_is_undone_as_a_whole() {
        let mut editor = editor("hi an| there");
        editor.replace(3..5, "@ann");
        editor.replace(3..7, "@andrea");
        assert_eq!(seen(&editor), "hi @andrea| there");
        editor.apply(Edit::Undo);
        assert_eq!(seen(&editor), "hi an| there");
        editor.replace(90..99, "!");
        assert_eq!(seen(&editor), "hi an there!|", "a place that is gone is the end");
    }

    #[test]
    fn undo_steps_are_bounded() {
        let mut editor = Editor::default();
        let long = "x".repeat(400_000);
        for _ in 0..3 {
            editor.set("");
            editor.insert(&long);
        }
        for _ in 0..10 {
            editor.apply(Edit::Undo);
        }
        assert_eq!(editor.text().len(), long.len(), "two steps of that size are kept");
    }

    #[test]
    fn pasted_text_loses_control_characters() {
        let mut editor = Editor::default();
        editor.insert("a\r\nb\rc\td\u{1b}[0m\u{7}\u{85}");
        assert_eq!(editor.text(), "a\nb\nc\td[0m");
        assert_eq!(Draft::of("a\r\nb\0").text(), "a\nb");
    }

    #[test]
    fn sent_texts_are_recalled_and_the_draft_returns() {
        let mut editor = Editor::default();
        for text in ["one", "two", "two", " "] {
            send(&mut editor, text);
        }
        editor.insert("not yet");
        editor.apply(Edit::Left);
        editor.history_back();
        assert_eq!((seen(&editor).as_str(), editor.written()), ("two|", "not yet"));
        assert!(editor.remade().is_empty());
        editor.insert("!");
        assert_eq!((editor.written(), editor.remade()), ("not yet", vec!["two!".to_owned()]));
        editor.history_back();
        assert_eq!(seen(&editor), "one|");
        editor.history_back();
        assert_eq!(seen(&editor), "one|");
        assert_eq!((editor.written(), editor.remade()), ("not yet", vec!["two!".to_owned()]));
        editor.history_forward();
        assert_eq!(seen(&editor), "two!|", "what was changed is still there");
        editor.history_forward();
        assert_eq!(seen(&editor), "not ye|t");
        editor.history_forward();
        assert_eq!(seen(&editor), "not ye|t");
        editor.apply(Edit::Undo);
        assert!(editor.is_empty(), "its steps are its own");
    }

    #[test]
    fn sending_a_recalled_text_loses_nothing() {
        let mut editor = Editor::default();
        send(&mut editor, "one");
        editor.insert("not yet");
        editor.history_back();
        editor.insert("!");
        assert_eq!(editor.take(), "one!");
        assert_eq!(editor.text(), "not yet", "it is written on");
        editor.history_back();
        editor.insert("?");
        editor.history_back();
        editor.insert(".");
        assert_eq!(editor.take(), "one.");
        assert_eq!(editor.text(), "not yet");
        for expected in ["one.", "one!?", "one!", "one"] {
            editor.history_back();
            assert_eq!(editor.text(), expected);
        }
    }

    #[test]
    fn the_history_is_bounded() {
        let mut editor = Editor::default();
        for nth in 0..HISTORY_MAX + 10 {
            send(&mut editor, &nth.to_string());
        }
        for _ in 0..2 * HISTORY_MAX {
            editor.history_back();
        }
        assert_eq!(editor.text(), "10");
    }

    #[test]
    fn each_room_has_its_draft_and_all_have_one_history() {
        let mut editor = Editor::default();
        send(&mut editor, "sent");
        editor.insert("for dev");
        editor.apply(Edit::Left);
        let (dev, _) = editor.swap(Draft::default());
        assert_eq!((seen(&editor).as_str(), dev.text()), ("|", "for dev"));
        editor.insert("for ops");
        editor.history_back();
        let (ops, remade) = editor.swap(dev);
        assert_eq!(ops.text(), "for ops", "a recalled text is not what was being written");
        assert!(remade.is_empty());
        assert_eq!(seen(&editor), "for de|v");
        editor.apply(Edit::Undo);
        assert!(editor.is_empty());
        editor.apply(Edit::Redo);
        editor.history_back();
        editor.insert("!");
        let (dev, remade) = editor.swap(ops);
        assert_eq!((dev.text(), remade), ("for dev", vec!["sent!".to_owned()]), "neither is lost");
        editor.history_back();
        assert_eq!(editor.text(), "sent");
    }

    #[test]
    fn text_that_is_not_recalled_can_be_undone() {
        let mut editor = editor("/secret");
        editor.set("");
        editor.history_back();
        assert!(editor.is_empty());
        editor.apply(Edit::Undo);
        assert_eq!(editor.text(), "/secret");
    }

    #[test]
    fn up_and_down_keep_their_column_through_short_rows() {
        let mut editor = editor("long line\nab\nanother|");
        assert!(editor.up(20));
        assert_eq!(seen(&editor), "long line\nab|\nanother");
        assert!(editor.up(20));
        assert_eq!(seen(&editor), "long li|ne\nab\nanother");
        assert!(!editor.up(20));
        assert!(editor.down(20) && editor.down(20));
        assert_eq!(seen(&editor), "long line\nab\nanother|");
        assert!(!editor.down(20));
        editor.apply(Edit::Start);
        assert!(editor.up(20));
        assert_eq!(seen(&editor), "long line\n|ab\nanother");
    }

    #[test]
    fn up_and_down_go_by_rows_as_they_are_shown() {
        let mut editor = editor("aaaa bbbb cc|");
        assert!(editor.up(5));
        assert_eq!(seen(&editor), "aaaa bb|bb cc");
        assert!(editor.up(5));
        assert_eq!(seen(&editor), "aa|aa bbbb cc");
        let mut wide = self::editor("회의가\nab|cd");
        assert!(wide.up(6));
        assert_eq!(seen(&wide), "회|의가\nabcd");
    }

    #[derive(Debug, Clone)]
    enum Do {
        Insert(String),
        Apply(Edit),
        Replace(usize, usize, String),
        Set(String),
        Up,
        Down,
        Back,
        Forward,
        Take,
    }

    fn text() -> impl Strategy<Value = String> {
        let pieces = [
            "a",
            "b",
            " ",
            "\n",
            "\t",
            "한",
            "개발 ",
            "\u{1112}",
            "\u{1161}",
            "\u{11ab}",
            "👩",
            "\u{200d}",
            "🇰",
            "🇷",
            "\u{301}",
            "漢",
            "。",
            "\u{202e}",
            "\u{600}",
            "\u{e0067}",
            "क",
            "\u{94d}",
            "ﾞ",
            "\u{3164}",
            "\r",
            "\u{1b}",
            ".",
            "word",
        ];
        let piece = proptest::sample::select(pieces.to_vec());
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    fn step() -> impl Strategy<Value = Do> {
        use Edit::*;
        let edits = vec![
            Left,
            Right,
            WordLeft,
            WordRight,
            Start,
            End,
            DeleteBack,
            DeleteForward,
            KillWordBack,
            KillWordForward,
            KillToEnd,
            KillToStart,
            Yank,
            Transpose,
            Undo,
            Redo,
        ];
        prop_oneof![
            4 => text().prop_map(Do::Insert),
            8 => proptest::sample::select(edits).prop_map(Do::Apply),
            1 => (0usize..40, 0usize..40, text()).prop_map(|(a, b, with)| Do::Replace(a, b, with)),
            1 => text().prop_map(Do::Set),
            2 => Just(Do::Up),
            2 => Just(Do::Down),
            1 => Just(Do::Back),
            1 => Just(Do::Forward),
            1 => Just(Do::Take),
        ]
    }

    fn act(editor: &mut Editor, step: Do, columns: usize) {
        match step {
            Do::Insert(text) => editor.insert(&text),
            Do::Apply(edit) => editor.apply(edit),
            Do::Replace(a, b, with) => editor.replace(a..b, &with),
            Do::Set(text) => editor.set(&text),
            Do::Up => drop(editor.up(columns)),
            Do::Down => drop(editor.down(columns)),
            Do::Back => editor.history_back(),
            Do::Forward => editor.history_forward(),
            Do::Take => drop(editor.take()),
        }
    }

    proptest! {
        #[test]
        fn cursor_stays_between_clusters_and_on_the_screen(
            steps in proptest::collection::vec(step(), 0..40),
            columns in 0usize..12,
        ) {
            let mut editor = Editor::default();
            for step in steps {
                act(&mut editor, step, columns);
                let (text, cursor) = (editor.text(), editor.cursor());
                let mut ends = text.grapheme_indices(true).map(|(at, _)| at).chain([text.len()]);
                prop_assert!(ends.any(|at| at == cursor), "{:?}", seen(&editor));
                editor.layout(columns).check(text, columns);
            }
        }

        #[test]
        fn undo_leads_to_the_beginning_and_redo_to_the_end(
            start in text(),
            steps in proptest::collection::vec(step(), 0..40),
        ) {
            let mut editor = Editor::default();
            editor.swap(Draft::of(&start));
            let start = editor.text().to_owned();
            let stays = |step: &Do| !matches!(step, Do::Take | Do::Back | Do::Forward);
            for step in steps.into_iter().filter(stays) {
                act(&mut editor, step, 10);
            }
            (0..100).for_each(|_| editor.apply(Edit::Redo));
            let end = editor.text().to_owned();
            (0..100).for_each(|_| editor.apply(Edit::Undo));
            prop_assert_eq!(editor.text(), start);
            (0..100).for_each(|_| editor.apply(Edit::Redo));
            prop_assert_eq!(editor.text(), end);
        }

        #[test]
        fn up_and_down_reach_every_row(text in text(), columns in 1usize..8) {
            let mut editor = Editor::default();
            editor.set(&text);
            let mut rows = 1;
            while editor.up(columns) {
                rows += 1;
                prop_assert!(rows < 200);
            }
            prop_assert_eq!(editor.layout(columns).cursor.1, 0);
            while editor.down(columns) {
                rows -= 1;
                prop_assert!(rows > -200);
            }
        }
    }
}
