//! One key with its modifiers in a canonical form: terminals and systems report the same key
//! differently.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{hangul, nearest::nearest};

/// A key with its modifiers, in the canonical form of all terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Chord {
    code: KeyCode,
    held: KeyModifiers,
}

impl Chord {
    /// Returns the chord of a key, as the terminal sent it or as the settings name it.
    pub(super) fn new(code: KeyCode, held: KeyModifiers) -> Self {
        match code {
            KeyCode::BackTab => Self { code: KeyCode::Tab, held: held | KeyModifiers::SHIFT },
            KeyCode::Null => Self::of_char(' ', held | KeyModifiers::CONTROL),
            KeyCode::Char(c) => Self::of_char(c, held),
            code => Self { code, held },
        }
    }

    /// Returns the chord of a character; Shift is part of the character. With Ctrl or Alt, a Hangul
    /// letter means the Latin letter on the same key.
    fn of_char(c: char, held: KeyModifiers) -> Self {
        let command = held.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        let mut c = if command { hangul::latin_key(c).unwrap_or(c) } else { c };
        let shift = held.contains(KeyModifiers::SHIFT);
        if held.contains(KeyModifiers::CONTROL) {
            c = control(c.to_ascii_lowercase(), shift);
        } else if shift {
            c = c.to_ascii_uppercase();
        }
        Self { code: KeyCode::Char(c), held: held - KeyModifiers::SHIFT }
    }

    /// Parses `alt-enter`, `ctrl-j`, `f1`, `alt-A`.
    pub(super) fn parse(written: &str) -> Result<Self, String> {
        let (mut held, mut key) = (KeyModifiers::NONE, written);
        while let Some((before, rest)) = key.split_once('-')
            && !rest.is_empty()
            && let Some((_, flag)) = HELD.iter().find(|(name, _)| before.eq_ignore_ascii_case(name))
        {
            held |= *flag;
            key = rest;
        }
        let chord = Self::new(code(key).ok_or_else(|| no_such_key(written, key))?, held);
        refuse_what_never_comes(written, chord)?;
        Ok(chord)
    }

    /// Returns the chord without Shift and Caps Lock, to try if this one has no action: Shift may
    /// have been held a moment too long.
    pub(super) fn plainer(self) -> Option<Self> {
        match self.code {
            KeyCode::Char(c) if c.is_ascii_uppercase() => {
                Some(Self { code: KeyCode::Char(c.to_ascii_lowercase()), ..self })
            }
            KeyCode::Char(_) => None,
            _ if self.held.contains(KeyModifiers::SHIFT) => {
                Some(Self { held: self.held - KeyModifiers::SHIFT, ..self })
            }
            _ => None,
        }
    }

    /// Returns the chord as people write it: `Alt-A`, `Alt-Shift-A`, `PageUp`.
    pub(super) fn shown(self) -> String {
        let mut held = self.held;
        let key = match self.code {
            KeyCode::Char(' ') => "Space".to_owned(),
            KeyCode::Char(c) => {
                if c.is_ascii_uppercase() {
                    held |= KeyModifiers::SHIFT;
                }
                c.to_uppercase().collect()
            }
            KeyCode::F(n) => format!("F{n}"),
            code => {
                let name = NAMED.iter().find(|(_, named, _)| *named == code);
                name.map_or_else(|| format!("{code:?}"), |(_, _, shown)| (*shown).to_owned())
            }
        };
        let held = HELD.iter().filter(|(_, flag)| held.contains(*flag)).map(|(name, _)| *name);
        held.map(|name| format!("{name}-")).collect::<String>() + &key
    }
}

/// Returns the canonical key of a control character. Several keys send the same one: Ctrl-7 and
/// Ctrl-/ send the character of Ctrl-_.
fn control(c: char, shift: bool) -> char {
    match c {
        '2' | '@' => ' ',
        '4' => '\\',
        '5' => ']',
        '6' => '^',
        '7' | '/' => '_',
        // Windows reports the key and not the character.
        '-' if shift => '_',
        c => c,
    }
}

/// Modifiers, in the order in which they are written.
const HELD: [(&str, KeyModifiers); 3] =
    [("Ctrl", KeyModifiers::CONTROL), ("Alt", KeyModifiers::ALT), ("Shift", KeyModifiers::SHIFT)];

/// Keys with their names in the settings and for people.
const NAMED: &[(&str, KeyCode, &str)] = &[
    ("enter", KeyCode::Enter, "Enter"),
    ("tab", KeyCode::Tab, "Tab"),
    ("esc", KeyCode::Esc, "Esc"),
    ("backspace", KeyCode::Backspace, "Backspace"),
    ("delete", KeyCode::Delete, "Delete"),
    ("insert", KeyCode::Insert, "Insert"),
    ("up", KeyCode::Up, "Up"),
    ("down", KeyCode::Down, "Down"),
    ("left", KeyCode::Left, "Left"),
    ("right", KeyCode::Right, "Right"),
    ("home", KeyCode::Home, "Home"),
    ("end", KeyCode::End, "End"),
    ("page-up", KeyCode::PageUp, "PageUp"),
    ("page-down", KeyCode::PageDown, "PageDown"),
    ("space", KeyCode::Char(' '), "Space"),
];

fn code(key: &str) -> Option<KeyCode> {
    let mut chars = key.chars();
    if let (Some(c), None) = (chars.next(), chars.next()) {
        return Some(KeyCode::Char(c));
    }
    let key = key.to_ascii_lowercase();
    if let Some(n) = key.strip_prefix('f').and_then(|n| n.parse().ok()) {
        return (1..=24).contains(&n).then_some(KeyCode::F(n));
    }
    NAMED.iter().find(|(name, ..)| *name == key).map(|(_, code, _)| *code)
}

fn no_such_key(written: &str, key: &str) -> String {
    let named = NAMED.iter().map(|(name, ..)| *name);
    match nearest(key, named.clone()) {
        Some(near) => format!("{written:?}: unknown key {key:?}; did you mean {near:?}?"),
        None => {
            let named = named.collect::<Vec<_>>().join(", ");
            format!(
                "{written:?}: unknown key {key:?}; keys are characters, f1 to f24, {named}, \
                 with ctrl-, alt- or shift- before them"
            )
        }
    }
}

/// Refuses chords that never arrive, or that arrive as another one.
fn refuse_what_never_comes(written: &str, chord: Chord) -> Result<(), String> {
    let KeyCode::Char(c) = chord.code else { return Ok(()) };
    let ctrl = chord.held.contains(KeyModifiers::CONTROL);
    let same = match c {
        _ if chord.held.is_empty() => {
            return Err(format!(
                "a plain character can't be a key binding ({written:?}); use ctrl-x or alt-x"
            ));
        }
        'i' if ctrl => "tab",
        'm' if ctrl => "enter",
        '[' | '3' if ctrl => "esc",
        '8' | '?' if ctrl => "backspace",
        '[' | 'O' if chord.held == KeyModifiers::ALT => "the start of other keys, such as up",
        _ => return Ok(()),
    };
    Err(format!("{written:?} can't be a key binding: terminals send the same for {same}"))
}

/// Returns the character that a key types; none if it types none.
pub(super) fn char_of(key: &KeyEvent) -> Option<char> {
    let KeyCode::Char(c) = key.code else { return None };
    if key.kind == KeyEventKind::Release || c.is_control() {
        return None;
    }
    match key.modifiers - KeyModifiers::SHIFT {
        KeyModifiers::NONE => Some(c),
        // AltGr, which Windows reports as Ctrl and Alt: `@`, `{`, `€`, `ą`. Letters, digits and
        // space with these are Ctrl-Alt chords, or control characters of terminals.
        held if held == KeyModifiers::CONTROL | KeyModifiers::ALT => {
            let command = c.is_ascii_alphanumeric() || c == ' ' || hangul::latin_key(c).is_some();
            (!command).then_some(c)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CTRL: KeyModifiers = KeyModifiers::CONTROL;
    const ALT: KeyModifiers = KeyModifiers::ALT;
    const SHIFT: KeyModifiers = KeyModifiers::SHIFT;
    const NONE: KeyModifiers = KeyModifiers::NONE;

    #[test]
    fn only_plain_characters_and_altgr_type() {
        let typed = |c, held| char_of(&KeyEvent::new(KeyCode::Char(c), held));
        assert_eq!(typed('a', NONE), Some('a'));
        assert_eq!(typed('A', SHIFT), Some('A'));
        assert_eq!(typed('한', NONE), Some('한'));
        assert_eq!(typed('@', CTRL | ALT), Some('@'), "AltGr");
        assert_eq!(typed('ą', CTRL | ALT), Some('ą'), "AltGr");
        assert_eq!(typed('q', CTRL | ALT), None);
        assert_eq!(typed('7', CTRL | ALT), None, "Ctrl-Alt-_");
        assert_eq!(typed('a', ALT), None);
        assert_eq!(typed('a', CTRL), None);
        assert_eq!(typed('a', KeyModifiers::SUPER), None);
        assert_eq!(typed('\u{1b}', NONE), None);
        assert_eq!(char_of(&KeyEvent::new(KeyCode::Enter, NONE)), None);
        assert_eq!(typed('ㅁ', NONE), Some('ㅁ'));
        let released = KeyEvent::new_with_kind(KeyCode::Char('a'), NONE, KeyEventKind::Release);
        assert_eq!(char_of(&released), None);
    }

    #[test]
    fn parsed_chord_is_shown_as_people_write_it() {
        for (written, shown) in [
            ("alt-a", "Alt-A"),
            ("alt-A", "Alt-Shift-A"),
            ("Alt-Shift-a", "Alt-Shift-A"),
            ("ctrl-A", "Ctrl-A"),
            ("ctrl-/", "Ctrl-_"),
            ("ctrl--", "Ctrl--"),
            ("alt-ㅁ", "Alt-A"),
            ("shift-tab", "Shift-Tab"),
            ("PAGE-UP", "PageUp"),
            ("alt-ctrl-f12", "Ctrl-Alt-F12"),
        ] {
            assert_eq!(Chord::parse(written).unwrap().shown(), shown);
        }
    }
}
