//! Keys and their actions.

use std::collections::{BTreeMap, HashMap};

use crossterm::event::{KeyEvent, KeyEventKind};

use super::{chord::Chord, editor::Edit, nearest::nearest};

/// Action of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// Edit of the input: moves, deletes, recalls.
    Edit(Edit),
    Send,
    NewLine,
    Complete,
    CompleteBack,
    /// Moves up a line; from the first one, recalls the previous sent text.
    Up,
    Down,
    HistoryBack,
    HistoryForward,
    DeleteOrLeave,
    PageUp,
    PageDown,
    LineUp,
    LineDown,
    Top,
    Bottom,
    /// Room with this number in the list, from 0.
    Room(u8),
    PreviousRoom,
    NextRoom,
    NextUnread,
    PreviousUnread,
    Switch,
    Search,
    /// Next hit within a search.
    SearchNewer,
    JumpUnread,
    MarkRead,
    MarkAllRead,
    Acknowledge,
    RoomsPanel,
    MembersPanel,
    Plain,
    SelectUp,
    SelectDown,
    Reply,
    Pager,
    Copy,
    Editor,
    Help,
    Redraw,
    Suspend,
    Leave,
    Escape,
}

/// All actions, under the headings of the help.
pub(super) const GROUPS: &[(&str, &[Action])] = &[
    (
        "Write",
        &[
            Action::Send,
            Action::NewLine,
            Action::Complete,
            Action::CompleteBack,
            Action::Up,
            Action::Down,
            Action::HistoryBack,
            Action::HistoryForward,
            Action::Editor,
        ],
    ),
    (
        "Read",
        &[
            Action::PageUp,
            Action::PageDown,
            Action::LineUp,
            Action::LineDown,
            Action::Top,
            Action::Bottom,
            Action::JumpUnread,
            Action::Search,
            Action::SearchNewer,
            Action::MarkRead,
            Action::MarkAllRead,
            Action::Acknowledge,
        ],
    ),
    (
        "Selected message",
        &[
            Action::SelectUp,
            Action::SelectDown,
            Action::Reply,
            Action::Pager,
            Action::Copy,
            Action::Plain,
        ],
    ),
    (
        "Rooms",
        &[
            Action::Room(0),
            Action::Room(1),
            Action::Room(2),
            Action::Room(3),
            Action::Room(4),
            Action::Room(5),
            Action::Room(6),
            Action::Room(7),
            Action::Room(8),
            Action::Room(9),
            Action::PreviousRoom,
            Action::NextRoom,
            Action::NextUnread,
            Action::PreviousUnread,
            Action::Switch,
            Action::RoomsPanel,
            Action::MembersPanel,
        ],
    ),
    (
        "Screen",
        &[
            Action::Help,
            Action::Escape,
            Action::Redraw,
            Action::Suspend,
            Action::Leave,
            Action::DeleteOrLeave,
        ],
    ),
    (
        "Input",
        &[
            Action::Edit(Edit::Left),
            Action::Edit(Edit::Right),
            Action::Edit(Edit::WordLeft),
            Action::Edit(Edit::WordRight),
            Action::Edit(Edit::Start),
            Action::Edit(Edit::End),
            Action::Edit(Edit::DeleteBack),
            Action::Edit(Edit::DeleteForward),
            Action::Edit(Edit::KillWordBack),
            Action::Edit(Edit::KillWordForward),
            Action::Edit(Edit::KillToEnd),
            Action::Edit(Edit::KillToStart),
            Action::Edit(Edit::Yank),
            Action::Edit(Edit::Transpose),
            Action::Edit(Edit::Undo),
            Action::Edit(Edit::Redo),
        ],
    ),
];

/// Actions without which a user could not send, leave or close anything.
const NEEDED: [Action; 3] = [Action::Send, Action::Leave, Action::Escape];

/// Name of an action in the settings, its default keys, and its line in the help.
type About = (&'static str, &'static [&'static str], &'static str);

const ROOMS: [(&str, &[&str]); 10] = [
    ("room-1", &["alt-1"]),
    ("room-2", &["alt-2"]),
    ("room-3", &["alt-3"]),
    ("room-4", &["alt-4"]),
    ("room-5", &["alt-5"]),
    ("room-6", &["alt-6"]),
    ("room-7", &["alt-7"]),
    ("room-8", &["alt-8"]),
    ("room-9", &["alt-9"]),
    ("room-10", &["alt-0"]),
];

impl Action {
    /// Returns true if the action leads to another room.
    pub(super) fn goes_elsewhere(self) -> bool {
        matches!(
            self,
            Self::Room(_)
                | Self::PreviousRoom
                | Self::NextRoom
                | Self::NextUnread
                | Self::PreviousUnread
                | Self::Switch
        )
    }

    fn all() -> impl Iterator<Item = Self> {
        GROUPS.iter().flat_map(|(_, actions)| actions.iter().copied())
    }

    /// Returns the name in the settings.
    pub(super) fn name(self) -> &'static str {
        self.entry().0
    }

    /// Returns the line of the help.
    pub(super) fn about(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> About {
        match self {
            Self::Edit(edit) => entry_of_edit(edit),
            Self::Room(n) => {
                let (name, keys) = ROOMS[usize::from(n).min(ROOMS.len() - 1)];
                (name, keys, "go to the room with that number")
            }
            Self::Send => ("send", &["enter"], "send"),
            // Windows reports Shift-Enter as a key of its own; some terminals can be configured to.
            Self::NewLine => {
                ("new-line", &["alt-enter", "ctrl-j", "shift-enter"], "start a new line")
            }
            Self::Complete => ("complete", &["tab"], "complete a name, room or command"),
            Self::CompleteBack => ("complete-back", &["shift-tab"], "previous completion"),
            Self::Up => ("up", &["up"], "line up; in the first line, previous sent text"),
            Self::Down => ("down", &["down"], "line down; in the last line, next sent text"),
            Self::HistoryBack => ("history-back", &["ctrl-p"], "previous sent text"),
            Self::HistoryForward => ("history-forward", &["ctrl-n"], "next sent text"),
            Self::DeleteOrLeave => (
                "delete-or-leave",
                &["ctrl-d"],
                "delete a character; leave moot if nothing is typed",
            ),
            Self::PageUp => ("page-up", &["page-up"], "page up; older messages load automatically"),
            Self::PageDown => ("page-down", &["page-down"], "page down"),
            Self::LineUp => ("line-up", &["shift-up"], "line up"),
            Self::LineDown => ("line-down", &["shift-down"], "line down"),
            Self::Top => ("top", &["ctrl-home", "alt-home"], "oldest loaded message"),
            Self::Bottom => ("bottom", &["ctrl-end", "alt-end"], "newest message"),
            Self::PreviousRoom => ("previous-room", &["alt-up"], "previous room in the list"),
            Self::NextRoom => ("next-room", &["alt-down"], "next room in the list"),
            Self::NextUnread => ("next-unread", &["alt-a"], "next unread room, mentions first"),
            Self::PreviousUnread => ("previous-unread", &["alt-A"], "previous unread room"),
            Self::Switch => ("switch", &["alt-g", "f2"], "find a room or user by name"),
            Self::Search => ("search", &["ctrl-r"], "search in this room; again: older match"),
            Self::SearchNewer => ("search-newer", &["ctrl-s"], "newer match of a search"),
            Self::JumpUnread => ("jump-unread", &["alt-u"], "first unread message"),
            Self::MarkRead => ("mark-read", &["alt-r"], "mark this room as read"),
            Self::MarkAllRead => ("mark-all-read", &["alt-R"], "mark all rooms as read"),
            Self::Acknowledge => ("acknowledge", &["f8", "alt-k"], "acknowledge the announcement"),
            Self::RoomsPanel => ("rooms-panel", &["f5"], "show or hide the rooms"),
            Self::MembersPanel => ("members-panel", &["f6"], "show or hide the members"),
            Self::Plain => ("plain", &["f7"], "plain text, for copying with the mouse"),
            Self::SelectUp => ("select-up", &["ctrl-up"], "select the message above"),
            Self::SelectDown => ("select-down", &["ctrl-down"], "select the message below"),
            Self::Reply => ("reply", &["alt-q"], "reply to the selected message"),
            Self::Pager => ("pager", &["alt-p"], "open the selected message in $PAGER"),
            Self::Copy => ("copy", &["alt-y"], "copy the selected message"),
            Self::Editor => ("editor", &["alt-e"], "write in $EDITOR"),
            Self::Help => ("help", &["f1"], "show this help; also ? if nothing is typed"),
            Self::Redraw => ("redraw", &["ctrl-l"], "redraw the screen"),
            Self::Suspend => ("suspend", &["ctrl-z"], "suspend; fg in the shell resumes"),
            Self::Leave => ("leave", &["ctrl-c"], "leave moot"),
            Self::Escape => ("escape", &["esc"], "close help, search or selection"),
        }
    }
}

fn entry_of_edit(edit: Edit) -> About {
    match edit {
        Edit::Left => ("left", &["left", "ctrl-b"], "character left"),
        Edit::Right => ("right", &["right", "ctrl-f"], "character right"),
        Edit::WordLeft => ("word-left", &["alt-b", "alt-left", "ctrl-left"], "word left"),
        Edit::WordRight => ("word-right", &["alt-f", "alt-right", "ctrl-right"], "word right"),
        Edit::Start => ("start", &["home", "ctrl-a"], "start of the line"),
        Edit::End => ("end", &["end", "ctrl-e"], "end of the line"),
        Edit::DeleteBack => {
            ("delete-back", &["backspace", "ctrl-h"], "delete the character before the cursor")
        }
        Edit::DeleteForward => {
            ("delete-forward", &["delete"], "delete the character at the cursor")
        }
        // Few terminals report Ctrl-Backspace as a key of its own; there it deletes a word.
        Edit::KillWordBack => (
            "kill-word-back",
            &["ctrl-w", "alt-backspace", "ctrl-backspace"],
            "cut the word before the cursor",
        ),
        Edit::KillWordForward => {
            ("kill-word-forward", &["alt-d", "ctrl-delete"], "cut the word after the cursor")
        }
        Edit::KillToEnd => ("kill-to-end", &["ctrl-k"], "cut to the end of the line"),
        Edit::KillToStart => ("kill-to-start", &["ctrl-u"], "cut to the start of the line"),
        Edit::Yank => ("yank", &["ctrl-y"], "paste the last cut text"),
        Edit::Transpose => ("transpose", &["ctrl-t"], "swap two characters"),
        Edit::Undo => ("undo", &["ctrl-_"], "undo"),
        Edit::Redo => ("redo", &["alt-_"], "redo"),
    }
}

/// Returns the default keys by heading, as the help shows them.
pub(crate) fn default_help() -> Vec<(&'static str, Vec<(String, &'static str)>)> {
    Keys::new(&BTreeMap::new()).map(|keys| keys.help()).unwrap_or_default()
}

/// Keys and their actions.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    by_chord: HashMap<Chord, Action>,
    /// Chords in the order in which they are written.
    by_action: HashMap<Action, Vec<Chord>>,
}

impl Keys {
    /// Returns the default keys, except for the actions in `given`: these have the given keys, and
    /// take them from other actions that have them by default.
    pub(super) fn new(given: &BTreeMap<String, Vec<String>>) -> Result<Self, String> {
        let mut keys = Self { by_chord: HashMap::new(), by_action: HashMap::new() };
        for (name, written) in given {
            let action = action_of(name)?;
            keys.by_action.insert(action, Vec::new());
            for written in written {
                let chord = Chord::parse(written).map_err(|e| format!("keys.{name}: {e}"))?;
                if let Some(other) = keys.by_chord.get(&chord).filter(|other| **other != action) {
                    let other = other.name();
                    return Err(format!("keys.{name}: {written:?} is also the key of {other}"));
                }
                keys.bind(chord, action);
            }
        }
        for action in Action::all().filter(|action| !given.contains_key(action.name())) {
            for written in action.entry().1 {
                let chord = Chord::parse(written).expect("a default is well written");
                if !keys.by_chord.contains_key(&chord) {
                    keys.bind(chord, action);
                }
            }
        }
        match NEEDED.into_iter().find(|action| keys.shown(*action).is_empty()) {
            Some(action) if given.contains_key(action.name()) => {
                Err(format!("keys.{}: no key; this action needs one", action.name()))
            }
            Some(action) => Err(keys.all_taken(action)),
            None => Ok(keys),
        }
    }

    /// Returns the error for an action whose keys were all taken, with the actions that have them.
    fn all_taken(&self, action: Action) -> String {
        let taken = action.entry().1.iter().filter_map(|written| {
            let other = self.by_chord.get(&Chord::parse(written).ok()?)?;
            Some(format!("keys.{} has taken {written:?}", other.name()))
        });
        let taken = taken.collect::<Vec<_>>().join(", ");
        format!("keys.{}: no key; this action needs one ({taken})", action.name())
    }

    fn bind(&mut self, chord: Chord, action: Action) {
        if self.by_chord.insert(chord, action).is_none() {
            self.by_action.entry(action).or_default().push(chord);
        }
    }

    /// Returns the action of a key; checked before the character that it types.
    pub(super) fn action(&self, key: &KeyEvent) -> Option<Action> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let chord = Chord::new(key.code, key.modifiers);
        let plainer = || chord.plainer().and_then(|chord| self.by_chord.get(&chord));
        self.by_chord.get(&chord).or_else(plainer).copied()
    }

    /// Returns the first key of an action, as people write it: `Alt-A`; empty if it has none.
    pub(super) fn shown(&self, action: Action) -> String {
        let first = self.by_action.get(&action).and_then(|chords| chords.first());
        first.map_or_else(String::new, |chord| chord.shown())
    }

    /// Returns all keys of an action: `Alt-G, F2`.
    fn shown_all(&self, action: Action) -> String {
        let chords = self.by_action.get(&action).map_or(&[][..], Vec::as_slice);
        chords.iter().map(|chord| chord.shown()).collect::<Vec<_>>().join(", ")
    }

    /// Returns the help: headings, and under each the keys with their actions. Actions without keys
    /// are left out, and the numbers of the rooms take one line.
    pub(super) fn help(&self) -> Vec<(&'static str, Vec<(String, &'static str)>)> {
        let line = |action: &Action| {
            let keys = match action {
                Action::Room(0) => self.room_keys(),
                Action::Room(_) => String::new(),
                action => self.shown_all(*action),
            };
            (!keys.is_empty()).then(|| (keys, action.about()))
        };
        GROUPS.iter().map(|(head, all)| (*head, all.iter().filter_map(line).collect())).collect()
    }

    fn room_keys(&self) -> String {
        let shown: Vec<_> = (0..10).map(|n| self.shown(Action::Room(n))).collect();
        let mut shown = shown.into_iter().filter(|key| !key.is_empty());
        match (shown.next(), shown.next_back()) {
            (Some(first), Some(last)) => format!("{first} … {last}"),
            (first, _) => first.unwrap_or_default(),
        }
    }
}

fn action_of(name: &str) -> Result<Action, String> {
    if let Some(action) = Action::all().find(|action| action.name() == name) {
        return Ok(action);
    }
    let names = || Action::all().map(Action::name);
    Err(match nearest(name, names()) {
        Some(near) => format!("keys.{name}: unknown action; did you mean {near}?"),
        None => {
            let names = names().collect::<Vec<_>>().join(", ");
            format!("keys.{name}: unknown action; actions are {names}")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, path::Path};

    use crossterm::event::{KeyCode, KeyModifiers};

    use super::*;
    use crate::config::{TomlFile as _, screen::ScreenSettings};

    const CTRL: KeyModifiers = KeyModifiers::CONTROL;
    const ALT: KeyModifiers = KeyModifiers::ALT;
    const SHIFT: KeyModifiers = KeyModifiers::SHIFT;
    const NONE: KeyModifiers = KeyModifiers::NONE;

    fn given(pairs: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        pairs.iter().map(|(name, keys)| ((*name).to_owned(), owned(keys))).collect()
    }

    fn with(pairs: &[(&str, &[&str])]) -> Result<Keys, String> {
        Keys::new(&given(pairs))
    }

    fn defaults() -> Keys {
        with(&[]).unwrap()
    }

    fn does(keys: &Keys, code: KeyCode, held: KeyModifiers) -> Option<&'static str> {
        keys.action(&KeyEvent::new(code, held)).map(Action::name)
    }

    #[test]
    fn the_commented_file_has_each_action_with_its_keys() {
        let text = include_str!("../../config/screen.toml");
        let settings = ScreenSettings::parse(text, Path::new("screen.toml")).unwrap();
        for action in Action::all() {
            let keys = settings.keys.get(action.name());
            let written: Vec<_> = keys.into_iter().flatten().map(String::as_str).collect();
            assert_eq!(written, action.entry().1, "{}", action.name());
        }
        assert_eq!(settings.keys.len(), Action::all().count());
        assert_eq!(Keys::new(&settings.keys).unwrap().by_chord, defaults().by_chord);
    }

    #[test]
    fn each_action_has_a_name_and_no_key_has_two() {
        let names: HashSet<_> = Action::all().map(Action::name).collect();
        assert_eq!(names.len(), Action::all().count());
        let written: usize = Action::all().map(|action| action.entry().1.len()).sum();
        assert_eq!(defaults().by_chord.len(), written, "a default is another one's");
        assert!(Action::all().all(|action| !defaults().shown(action).is_empty()));
    }

    #[test]
    fn keys_of_terminals_have_their_actions() {
        let keys = defaults();
        for (code, held, action) in [
            (KeyCode::Enter, NONE, "send"),
            (KeyCode::Enter, ALT, "new-line"),
            (KeyCode::Enter, SHIFT, "new-line"),
            (KeyCode::Char('j'), CTRL, "new-line"),
            (KeyCode::Tab, NONE, "complete"),
            (KeyCode::BackTab, SHIFT, "complete-back"),
            (KeyCode::BackTab, NONE, "complete-back"),
            (KeyCode::Backspace, NONE, "delete-back"),
            (KeyCode::Backspace, SHIFT, "delete-back"),
            (KeyCode::Char('h'), CTRL, "delete-back"),
            (KeyCode::Backspace, ALT, "kill-word-back"),
            (KeyCode::Char('7'), CTRL, "undo"),
            (KeyCode::Char('_'), CTRL, "undo"),
            (KeyCode::Char('/'), CTRL, "undo"),
            (KeyCode::Char('-'), CTRL | SHIFT, "undo"),
            (KeyCode::Char('_'), ALT, "redo"),
            (KeyCode::Char('_'), ALT | SHIFT, "redo"),
            (KeyCode::Char('a'), ALT, "next-unread"),
            (KeyCode::Char('A'), ALT, "previous-unread"),
            (KeyCode::Char('A'), ALT | SHIFT, "previous-unread"),
            (KeyCode::Char('a'), ALT | SHIFT, "previous-unread"),
            (KeyCode::Char('A'), CTRL | SHIFT, "start"),
            (KeyCode::Char('1'), ALT, "room-1"),
            (KeyCode::Char('0'), ALT, "room-10"),
            (KeyCode::Up, SHIFT, "line-up"),
            (KeyCode::Up, CTRL, "select-up"),
            (KeyCode::Left, SHIFT, "left"),
            (KeyCode::Home, CTRL, "top"),
            (KeyCode::F(8), NONE, "acknowledge"),
            (KeyCode::Esc, NONE, "escape"),
        ] {
            assert_eq!(does(&keys, code, held), Some(action), "{code:?} {held:?}");
        }
    }

    #[test]
    fn caps_lock_falls_back_to_the_plain_key() {
        let keys = defaults();
        assert_eq!(does(&keys, KeyCode::Char('K'), ALT | SHIFT), Some("acknowledge"));
        assert_eq!(does(&keys, KeyCode::Char('R'), ALT | SHIFT), Some("mark-all-read"));
    }

    #[test]
    fn on_a_korean_layout_keys_do_the_same() {
        let keys = defaults();
        for (c, held, action) in [
            ('ㅁ', ALT, "next-unread"),
            ('ㅁ', ALT | SHIFT, "previous-unread"),
            ('ㄲ', ALT, "mark-all-read"),
            ('ㅎ', ALT, "switch"),
            ('ㅊ', CTRL, "leave"),
            ('ㄱ', CTRL, "search"),
            ('ㅛ', CTRL, "yank"),
        ] {
            assert_eq!(does(&keys, KeyCode::Char(c), held), Some(action), "{c} {held:?}");
        }
        assert_eq!(does(&keys, KeyCode::Char('ㅁ'), NONE), None, "typed");
    }

    #[test]
    fn key_release_does_nothing_and_key_repeat_acts_again() {
        let event = |kind| KeyEvent::new_with_kind(KeyCode::Enter, NONE, kind);
        assert_eq!(defaults().action(&event(KeyEventKind::Release)), None);
        assert_eq!(defaults().action(&event(KeyEventKind::Repeat)), Some(Action::Send));
    }

    #[test]
    fn given_keys_replace_the_defaults() {
        let keys = with(&[("search", &["Ctrl-T", "alt-/"]), ("plain", &[])]).unwrap();
        assert_eq!(does(&keys, KeyCode::Char('t'), CTRL), Some("search"), "taken from transpose");
        assert_eq!(does(&keys, KeyCode::Char('/'), ALT), Some("search"));
        assert_eq!(does(&keys, KeyCode::Char('r'), CTRL), None);
        assert_eq!(does(&keys, KeyCode::F(7), NONE), None);
        assert_eq!(keys.shown(Action::Edit(Edit::Transpose)), "");
        assert!(with(&[("new-line", &["ctrl--", "alt-shift-n", "ctrl-space", "F12"])]).is_ok());
    }

    #[test]
    fn error_in_given_keys_is_named() {
        let said = |name: &str, key: &str, words: &[&str]| {
            let error = with(&[(name, &[key])]).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{word} in {error}");
            }
        };
        said("serach", "f9", &["keys.serach", "did you mean search?"]);
        said("frobnicate", "f9", &["actions are send, new-line"]);
        said("search", "ctrl-pageup", &["keys.search", "ctrl-pageup", "page-up"]);
        said("search", "hyper-x", &["hyper-x", "f1 to f24"]);
        said("search", "", &["keys.search"]);
        said("search", "ctrl-", &["keys.search", "ctrl-"]);
        said("search", "f25", &["f25"]);
        said("search", "x", &["plain character"]);
        said("search", "shift-x", &["plain character"]);
        said("search", "ctrl-i", &["tab"]);
        said("search", "ctrl-m", &["enter"]);
        said("search", "alt-[", &["other keys"]);
        said("search", "한글", &["한글"]);
        let both = with(&[("search", &["f9"]), ("switch", &["f9"])]).unwrap_err();
        assert!(both.contains("keys.switch") && both.contains("search"), "{both}");
        for needed in ["send", "leave", "escape"] {
            assert!(with(&[(needed, &[])]).unwrap_err().contains(needed));
        }
        let taken = with(&[("switch", &["enter"])]).unwrap_err();
        assert_eq!(
            taken,
            "keys.send: no key; this action needs one (keys.switch has taken \"enter\")"
        );
    }

    #[test]
    fn keys_are_shown_as_people_write_them() {
        let keys = defaults();
        for (action, shown) in [
            (Action::NextUnread, "Alt-A"),
            (Action::PreviousUnread, "Alt-Shift-A"),
            (Action::NewLine, "Alt-Enter"),
            (Action::CompleteBack, "Shift-Tab"),
            (Action::PageUp, "PageUp"),
            (Action::Edit(Edit::Undo), "Ctrl-_"),
            (Action::Help, "F1"),
            (Action::Room(9), "Alt-0"),
        ] {
            assert_eq!(keys.shown(action), shown);
        }
        let keys = with(&[("help", &["ctrl-alt-space"])]).unwrap();
        assert_eq!(keys.shown(Action::Help), "Ctrl-Alt-Space");
    }

    #[test]
    fn help_has_one_line_for_rooms_and_none_for_unbound_actions() {
        let keys = with(&[("plain", &[])]).unwrap();
        let help = keys.help();
        let lines: Vec<_> = help.iter().flat_map(|(_, lines)| lines).collect();
        assert_eq!(lines.iter().filter(|(keys, _)| keys == "Alt-1 … Alt-0").count(), 1);
        assert!(lines.iter().any(|(keys, _)| keys == "Alt-G, F2"));
        assert!(!lines.iter().any(|(_, about)| *about == Action::Plain.about()));
        assert!(!lines.iter().any(|(keys, _)| keys == "Alt-2"));
    }
}
