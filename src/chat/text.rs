//! A text as it may be said: UTF-8, not empty, at most [`TEXT_BYTES_MAX`] bytes; and how it is
//! shown safely.

use std::{
    borrow::Cow,
    fmt::Write as _,
    ops::{Deref, Range},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, de};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::limits::{MENTIONS_LOOKED_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};

/// Why a text can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing to say.
    #[error("the text is empty")]
    Empty,
    /// Longer than the limit.
    #[error("the text has {bytes} bytes; a message has at most {TEXT_BYTES_MAX}")]
    TooLong {
        /// Bytes that were given.
        bytes: usize,
    },
    /// The bytes are not UTF-8.
    #[error("the text is not UTF-8: byte {at} is wrong")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        at: usize,
    },
}

/// A text that may be sent. It goes through unchanged: nothing is normalised or stripped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Text(Box<str>);

impl Text {
    /// Checks a text.
    ///
    /// # Errors
    /// Returns an error if it is empty or too long.
    pub fn new(text: &str) -> Result<Self, TextError> {
        TextRef::new(text).map(Self::from)
    }

    /// Checks bytes from outside.
    ///
    /// # Errors
    /// Returns an error if they are empty, too long, or not UTF-8 (with the offset).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TextError> {
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(TextError::TooLong { bytes: bytes.len() });
        }
        let text =
            std::str::from_utf8(bytes).map_err(|e| TextError::NotUtf8 { at: e.valid_up_to() })?;
        Self::new(text)
    }

    /// Returns the text as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text without a copy.
    #[must_use]
    pub fn borrowed(&self) -> TextRef<'_> {
        TextRef(&self.0)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Text {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        TextRef::new(&text)?;
        Ok(Self(text.into()))
    }
}

impl From<TextRef<'_>> for Text {
    fn from(text: TextRef<'_>) -> Self {
        Self(text.0.into())
    }
}

/// A text that may be sent, within bytes of another owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRef<'a>(&'a str);

impl<'a> TextRef<'a> {
    /// Checks a text.
    ///
    /// # Errors
    /// Returns an error if it is empty or too long.
    pub fn new(text: &'a str) -> Result<Self, TextError> {
        match text.len() {
            0 => Err(TextError::Empty),
            bytes if bytes > TEXT_BYTES_MAX => Err(TextError::TooLong { bytes }),
            _ => Ok(Self(text)),
        }
    }

    /// Returns the text as a string slice.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl<'a> TryFrom<&'a str> for TextRef<'a> {
    type Error = TextError;

    fn try_from(text: &'a str) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// A text within a longer one that others have parts of as well: many are handed on without a copy
/// each.
#[derive(Debug, Clone)]
pub struct SharedText {
    all: Arc<str>,
    from: usize,
    to: usize,
}

impl SharedText {
    /// Returns a part of `all`.
    ///
    /// # Panics
    /// Panics if the range is outside of `all`, or begins or ends within a character.
    #[must_use]
    pub fn part(all: &Arc<str>, part: Range<usize>) -> Self {
        assert!(all.get(part.clone()).is_some(), "a part of it");
        Self { all: Arc::clone(all), from: part.start, to: part.end }
    }
}

impl Deref for SharedText {
    type Target = str;
    fn deref(&self) -> &str {
        &self.all[self.from..self.to]
    }
}

impl From<&str> for SharedText {
    fn from(text: &str) -> Self {
        Self { all: text.into(), from: 0, to: text.len() }
    }
}

impl PartialEq for SharedText {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SharedText {}

/// A number of things, as `1 session` or `2 sessions`.
#[must_use]
pub fn counted(count: u64, of: &str) -> String {
    format!("{count} {}", plural(count, of))
}

/// The word for a number of things, without the number.
#[must_use]
pub fn plural(count: u64, of: &str) -> String {
    if count == 1 { of.to_owned() } else { format!("{of}s") }
}

/// Returns true if a character could command a terminal, turn the order of others, or is an
/// invisible letter: control characters, line and paragraph separators, fillers, and invisible
/// format characters other than those that have a place in writing (see [`shown`]).
#[must_use]
pub fn is_unsafe_to_show(c: char) -> bool {
    if (' '..='~').contains(&c) {
        return false;
    }
    match c {
        c if has_place_in_writing(c) => false,
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => true,
        _ => matches!(
            c.general_category(),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
                | GeneralCategory::Surrogate
        ),
    }
}

/// Invisible characters that spell words, flags and emoji beside some characters, and hide a text
/// elsewhere.
fn has_place_in_writing(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200c}'..='\u{200f}' | '\u{2800}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{e0020}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}'
    )
}

/// Tag characters of the flag of a region, with the one that ends it.
const REGION_TAGS_MAX: u8 = 7;

/// Returns true if such a character is between characters where it belongs. A run of them never is.
fn is_in_place(c: char, before: Option<char>, after: Option<char>, flag: bool) -> bool {
    if !flag && before.is_some_and(has_place_in_writing) {
        return false;
    }
    let right_to_left = |c: char| matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}');
    let braille = |c: char| matches!(c, '\u{2801}'..='\u{28ff}');
    let is_beside = |is: fn(char) -> bool| before.is_some_and(is) || after.is_some_and(is);
    let is_behind = |is: fn(char) -> bool| before.is_some_and(is);
    match c {
        // Tag characters spell the flags of regions, behind a black one.
        '\u{e0020}'..='\u{e007f}' => flag,
        // A hyphen that is seen at the end of a line only.
        '\u{ad}' => is_behind(char::is_alphabetic) && after.is_some_and(char::is_alphabetic),
        // Marks of direction, beside letters that have one.
        '\u{61c}' | '\u{200e}' | '\u{200f}' => is_beside(right_to_left),
        '\u{180b}'..='\u{180f}' => is_behind(|c| matches!(c, '\u{1800}'..='\u{18af}')),
        // Joiner and non-joiner spell words (Persian, Hindi) and emoji families.
        '\u{200c}' | '\u{200d}' => is_behind(|c| !c.is_ascii() && !c.is_whitespace()),
        '\u{2800}' => is_beside(braille),
        // Other looks of ideographs and emoji; digits have one, letters have none.
        _ => is_behind(|c| {
            (!c.is_ascii() && !c.is_whitespace()) || c.is_ascii_digit() || matches!(c, '#' | '*')
        }),
    }
}

/// A text made fit for a terminal: what could command it or hide something is written out
/// (`\u{1b}`), line ends and tabs stay if `multiline`.
#[must_use]
pub fn shown(text: &str, multiline: bool) -> Cow<'_, str> {
    let is_plain = |c: char| {
        (!is_unsafe_to_show(c) && !has_place_in_writing(c))
            || (multiline && matches!(c, '\n' | '\t'))
    };
    if text.chars().all(is_plain) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    // Tags that may follow a black flag.
    let (mut before, mut tags) = (None, 0);
    let is_seen = |c: &char| !is_unsafe_to_show(*c) && !has_place_in_writing(*c);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let after = rest.peek().copied().filter(is_seen);
        let is_in_place = has_place_in_writing(c)
            && (is_in_place(c, before, after, tags > 0)
                // The joiner of an emoji family follows its look.
                || (c == '\u{200d}' && before == Some('\u{fe0f}')));
        tags = match c {
            '\u{1f3f4}' => REGION_TAGS_MAX,
            '\u{e0020}'..='\u{e007e}' => tags.saturating_sub(1),
            _ => 0,
        };
        if is_plain(c) || is_in_place {
            out.push(c);
            before = Some(c);
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "{}", c.escape_default());
            // What follows is judged by what is seen: it stays as it is when the result is shown.
            before = out.chars().next_back();
        }
    }
    // Callers tell by that whether something was written out.
    if out == text { text.into() } else { out.into() }
}

/// A text without its well-formed color sequences (`ESC [ 1;32 m`); all else stays.
#[must_use]
pub fn without_colors(text: &str) -> Cow<'_, str> {
    const BEGIN: &str = "\x1b[";
    if !text.contains(BEGIN) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split(BEGIN);
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let is_parameter = |c: char| c.is_ascii_digit() || matches!(c, ';' | ':');
        match part.trim_start_matches(is_parameter).strip_prefix('m') {
            Some(rest) => plain.push_str(rest),
            None => {
                plain.push_str(BEGIN);
                plain.push_str(part);
            }
        }
    }
    plain.into()
}

/// Bytes from a program as a text: what is not UTF-8 is written out (`\\xff`).
#[must_use]
pub fn written_out(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Returns true if a text mentions a user: `@name` with no letter or digit around it, among its
/// first `MENTIONS_LOOKED_MAX` `@`s.
#[must_use]
pub fn mentions(text: &str, user: &str) -> bool {
    mentions_in(text, user).next().is_some()
}

/// Returns the mentions of a user in a text, as byte ranges with the `@`, in order.
#[must_use]
pub fn mention_ranges(text: &str, user: &str) -> Vec<Range<usize>> {
    mentions_in(text, user).collect()
}

/// Copies what [`mentions`] looks at: the `@`s of a text with what follows them. It is short, and
/// gives the same answer for every name; none if the text has no `@`.
#[must_use]
pub fn mention_excerpt(text: &str) -> Option<Box<str>> {
    let (mut excerpt, mut upto) = (String::new(), 0);
    for (at, _) in text.match_indices('@').take(MENTIONS_LOOKED_MAX) {
        let before = text[..at].char_indices().next_back().map_or(0, |(before, _)| before);
        // The longest name, and the two characters behind it that tell where it ends.
        let end = text.floor_char_boundary(at + 1 + NAME_BYTES_MAX + 8).max(upto);
        excerpt.push_str(&text[before.max(upto)..end]);
        upto = end;
    }
    (!excerpt.is_empty()).then(|| excerpt.into())
}

fn mentions_in(text: &str, user: &str) -> impl Iterator<Item = Range<usize>> {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    text.match_indices('@').take(MENTIONS_LOOKED_MAX).filter_map(move |(at, _)| {
        let after = &text[at + 1..];
        let tail = after.strip_prefix(user)?;
        let ends = match tail.chars().next() {
            None => true,
            // `@ann.` at the end of a sentence is ann; `@ann.b` is another user.
            Some('.') => !tail[1..].chars().next().is_some_and(word),
            // `@ann@db1` is a user of another host.
            Some('@') => !tail[1..].chars().next().is_some_and(word),
            // Korean writes particles without a space: `@ann님` is ann.
            Some(c) => !word(c) || (user.is_ascii() && !c.is_ascii()),
        };
        let begins = !text[..at].chars().next_back().is_some_and(word);
        (begins && ends).then(|| at..text.len() - tail.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn color_sequence_is_removed_and_any_other_stays() {
        for (text, plain) in [
            ("\x1b[32mtest ok\x1b[0m", "test ok"),
            ("\x1b[m\x1b[38;5;4ma\x1b[38:2::1:2:3mb\x1b[K", "ab\x1b[K"),
            ("\x1b[2J\x1b[31", "\x1b[2J\x1b[31"),
            ("\x1b[?25m\x1b]0;m\x07\x1bm[1m", "\x1b[?25m\x1b]0;m\x07\x1bm[1m"),
            ("\x1b\x1b[1m[1m", "\x1b[1m"),
            ("회\x1b[1m의", "회의"),
        ] {
            assert_eq!(without_colors(text), plain);
        }
    }

    #[test]
    fn the_longest_text_goes_and_one_byte_more_does_not() {
        assert!(Text::new(&"x".repeat(TEXT_BYTES_MAX)).is_ok());
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(Text::new(&long), Err(TextError::TooLong { bytes: TEXT_BYTES_MAX + 1 }));
        assert_eq!(
            Text::from_bytes(long.as_bytes()),
            Err(TextError::TooLong { bytes: TEXT_BYTES_MAX + 1 })
        );
        assert_eq!(Text::new(""), Err(TextError::Empty));
        assert_eq!(Text::from_bytes(b"ab\xffc"), Err(TextError::NotUtf8 { at: 2 }));
    }

    #[test]
    fn terminal_commands_are_escaped() {
        assert_eq!(shown("plain 한글 👩‍👩‍👧 नमस्ते", false), "plain 한글 👩‍👩‍👧 नमस्ते");
        assert_eq!(shown("a\u{1b}[2Jb", true), "a\\u{1b}[2Jb");
        assert_eq!(shown("a\u{202e}b\u{2066}c", true), "a\\u{202e}b\\u{2066}c");
        assert_eq!(shown("a\nb\tc", true), "a\nb\tc");
        assert_eq!(shown("a\nb", false), "a\\nb");
        assert_eq!(shown("\u{9b}31m\u{85}\r\u{7f}", true), "\\u{9b}31m\\u{85}\\r\\u{7f}");
        assert_eq!(shown("\u{feff}\u{200b}\u{2028}", true), "\\u{feff}\\u{200b}\\u{2028}");
    }

    #[test]
    fn invisible_characters_are_shown_where_they_hide_something() {
        let scotland = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}";
        for harmless in [
            scotland,
            "שלום\u{200f} abc",
            "سلام\u{200e}!",
            "\u{61c}سلام",
            "Donau\u{ad}dampf",
            "می\u{200c}خواهم",
            "❤\u{fe0f}\u{200d}🔥",
            "1\u{fe0f}\u{20e3}",
            "葛\u{e0100}城",
            "⠓\u{2800}⠊",
            "ᠬᠠᠷ\u{180e}ᠠ",
        ] {
            assert_eq!(shown(harmless, true), harmless, "{harmless:?}");
        }
        for (hidden, seen) in [
            ("ok \u{e0072}\u{e006d}", "ok \\u{e0072}\\u{e006d}"),
            ("a\u{3164}b\u{115f}\u{1160}\u{ffa0}", "a\\u{3164}b\\u{115f}\\u{1160}\\u{ffa0}"),
            ("a\u{2800}b", "a\\u{2800}b"),
            ("a\u{fe00}", "a\\u{fe00}"),
            ("❤\u{fe0f}\u{fe01}", "❤\u{fe0f}\\u{fe01}"),
            ("\u{fe0f}x", "\\u{fe0f}x"),
            ("a\u{200f}b", "a\\u{200f}b"),
            ("pass\u{ad}", "pass\\u{ad}"),
            ("a\u{200d}\u{200c}b", "a\\u{200d}\\u{200c}b"),
            ("שלום\u{200f}\u{200e}\u{200f}", "שלום\u{200f}\\u{200e}\\u{200f}"),
        ] {
            assert_eq!(shown(hidden, true), seen, "{hidden:?}");
        }
        for text in ["\u{9b}\u{200d}x", "a\u{ad}\u{3164}", "\u{1b}\u{fe0f}\u{fe01}"] {
            let once = shown(text, true);
            assert_eq!(shown(&once, true), once, "{text:?} is safe already");
        }
        let long = format!("\u{1f3f4}{}", "\u{e0061}".repeat(8));
        assert!(shown(&long, true).ends_with("\\u{e0061}"), "no flag is that long");
        let twice = format!("{scotland}\u{e0041}");
        assert_eq!(shown(&twice, true), format!("{scotland}\\u{{e0041}}"), "the flag has ended");
    }

    #[test]
    fn counts_have_a_plural() {
        let all = [0, 1, 2].map(|count| counted(count, "session"));
        assert_eq!(all, ["0 sessions", "1 session", "2 sessions"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_written_out() {
        assert_eq!(written_out("한글 ok\n".as_bytes()), "한글 ok\n");
        assert_eq!(written_out(b"a\xff\xed\x95b"), "a\\xff\\xed\\x95b");
    }

    #[test]
    fn a_mention_is_a_word_of_its_own() {
        for yes in
            ["@ann", "hi @ann!", "(@ann)", "@ann, @bob", "@ann님 안녕", "ask @ann.", "@bob @ann"]
        {
            assert!(mentions(yes, "ann"), "{yes}");
        }
        for no in ["ann", "@anna", "x@ann", "@ann-b", "@ann.b", "@", "@@", "mail@ann.org"] {
            assert!(!mentions(no, "ann"), "{no}");
        }
    }

    #[test]
    fn mentions_are_looked_for_among_the_first_only() {
        let text = "@ann ".repeat(MENTIONS_LOOKED_MAX) + "@bob";
        assert!(mentions(&text, "ann") && !mentions(&text, "bob"));
        let many = "@".repeat(TEXT_BYTES_MAX);
        assert!(mention_excerpt(&many).unwrap().len() <= MENTIONS_LOOKED_MAX + NAME_BYTES_MAX + 8);
        assert_eq!(mention_excerpt("nobody is named"), None);
    }

    proptest::proptest! {
        #[test]
        fn an_excerpt_mentions_whom_the_text_mentions(
            parts in proptest::collection::vec("(@| |\\.|-|a|ann|anna|님|철수|x{60,80})", 0..300),
        ) {
            let text = parts.concat();
            let excerpt = mention_excerpt(&text).unwrap_or_default();
            for user in ["a", "ann", "anna", "철수", &"x".repeat(64)] {
                assert_eq!(mentions(&excerpt, user), mentions(&text, user), "{user} in {text}");
            }
        }
    }

    #[test]
    fn a_mention_is_found_where_it_stands() {
        assert_eq!(mention_ranges("ask @ann, @ann님, @anna. @ann", "ann"), [4..8, 10..14, 26..30]);
        assert_eq!(mention_ranges("철수 @철수! @철수", "철수"), [7..14, 16..23]);
        assert_eq!(mention_ranges("@@ann @ann", "ann"), [1..5, 6..10]);
        assert!(mention_ranges("ann", "ann").is_empty());
    }
}
