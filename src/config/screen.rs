//! Settings of a user's screen: a TOML file over defaults, each value within its bounds.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use unicode_width::UnicodeWidthStr;

use super::{TomlFile, Wrong};

/// Columns of the terminal from which on the list of rooms is there by itself.
pub const ROOMS_PANEL_FROM: usize = 70;
/// The same of the members: they are looked at less often, and take their columns from the text.
pub const MEMBERS_PANEL_FROM: usize = 110;
/// Columns that a panel may have: a short name fits, and the text keeps some.
const PANEL_COLUMNS: (u16, u16) = (8, 60);
/// Lines of a room that may be kept in memory.
const LINES: (u32, u32) = (100, 1_000_000);
/// Lines of a paste above which a question may be asked.
const PASTE_LINES: (u16, u16) = (1, 10_000);
/// Columns of the time before each line; more would leave no room for messages.
const TIME_COLUMNS_MAX: usize = 20;
/// Columns of a date line on a small terminal, with its rule.
const DATE_COLUMNS_MAX: usize = 36;

/// All settings of the screen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScreenSettings {
    /// Colors and links.
    pub colors: Colors,
    /// Panels beside the room.
    pub panels: Panels,
    /// The terminal's bell.
    pub bell: Bell,
    /// Notifications of the desktop.
    pub notify: Notify,
    /// Formats of times.
    pub times: Times,
    /// Typing, pasting, pointing.
    pub input: Input,
    /// Lines kept of a room.
    pub history: Lines,
    /// Keys by the action's name, in the place of that action's own.
    #[serde(deserialize_with = "keys")]
    pub keys: BTreeMap<String, Vec<String>>,
}

/// The table `[colors]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Colors {
    /// Number of colors.
    pub depth: ColorDepth,
    /// Each name has one of its own.
    pub names: bool,
    /// Links can be clicked (OSC 8).
    pub links: bool,
}

impl Default for Colors {
    fn default() -> Self {
        Self { depth: ColorDepth::Auto, names: true, links: true }
    }
}

/// Colors that the terminal is taken to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorDepth {
    /// As many as it says.
    #[default]
    Auto,
    /// Bold, underlined and reversed text only.
    None,
    /// 16 colors of the terminal.
    Sixteen,
    /// 256 colors, by index.
    Indexed,
    /// 24 bits for each color.
    True,
}

impl ColorDepth {
    const ALL: [Self; 5] = [Self::Auto, Self::None, Self::Sixteen, Self::Indexed, Self::True];

    /// The word of the settings.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Sixteen => "16",
            Self::Indexed => "256",
            Self::True => "true",
        }
    }
}

impl<'de> Deserialize<'de> for ColorDepth {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(DepthVisitor)
    }
}

/// Takes `256` and `true` without quotes as well: that is how people write them.
struct DepthVisitor;

impl Visitor<'_> for DepthVisitor {
    type Value = ColorDepth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of \"auto\", \"none\", \"16\", \"256\", \"true\"")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<ColorDepth, E> {
        let known = ColorDepth::ALL.into_iter().find(|depth| depth.word() == word);
        known.ok_or_else(|| E::invalid_value(de::Unexpected::Str(word), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ColorDepth, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<ColorDepth, E> {
        Ok(if on { ColorDepth::True } else { ColorDepth::None })
    }
}

/// The table `[panels]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Panels {
    /// The list of rooms.
    pub rooms: PanelWish,
    /// The members of the room.
    pub members: PanelWish,
    /// Columns of the list of rooms.
    pub rooms_columns: u16,
    /// Columns of the members.
    pub members_columns: u16,
}

impl Default for Panels {
    fn default() -> Self {
        Self {
            rooms: PanelWish::Auto,
            members: PanelWish::Auto,
            rooms_columns: 20,
            members_columns: 22,
        }
    }
}

/// Setting for the visibility of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PanelWish {
    /// Shown if the terminal is wide enough.
    #[default]
    Auto,
    /// Always, at first.
    On,
    /// Not until its key is pressed.
    Off,
}

/// Messages that notify the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyWish {
    /// No message at all.
    Off,
    /// Messages that mention the user, and direct messages.
    Mentions,
    /// Every single message.
    All,
}

impl NotifyWish {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Mentions, Self::All];

    /// The word of settings and commands.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Mentions => "mentions",
            Self::All => "all",
        }
    }

    /// Returns the setting of a word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wish| wish.word() == word)
    }
}

/// The table `[bell]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bell {
    /// Messages that ring it.
    pub when: NotifyWish,
}

impl Default for Bell {
    fn default() -> Self {
        Self { when: NotifyWish::Mentions }
    }
}

/// The table `[notify]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// Messages shown on the desktop.
    pub when: NotifyWish,
    /// Way of showing them.
    pub by: NotifyBy,
}

impl Default for Notify {
    fn default() -> Self {
        Self { when: NotifyWish::Mentions, by: NotifyBy::Auto }
    }
}

/// Way of showing a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyBy {
    /// The tool where there is a desktop, else nothing.
    #[default]
    Auto,
    /// The program `notify-send` or `osascript`.
    Tool,
    /// The terminal (OSC 9): over ssh it is the one with the desktop.
    Terminal,
}

/// The table `[times]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Times {
    /// The time before a line, as strftime writes it, in at most 20 columns; empty: none.
    pub format: String,
    /// The date above a day's first line, as strftime writes it, in at most 36 columns.
    pub date: String,
}

impl Default for Times {
    fn default() -> Self {
        Self { format: "%H:%M".to_owned(), date: "%Y-%m-%d %a".to_owned() }
    }
}

/// The table `[input]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Input {
    /// A paste of more lines is asked about.
    pub paste_lines: u16,
    /// The wheel scrolls, and a click in the list opens that room.
    pub mouse: bool,
}

impl Default for Input {
    fn default() -> Self {
        Self { paste_lines: 20, mouse: true }
    }
}

/// The table `[history]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lines {
    /// Lines of one room in memory.
    pub lines: u32,
    /// Display of joins and leaves.
    pub joins: Joins,
}

impl Default for Lines {
    fn default() -> Self {
        Self { lines: 10_000, joins: Joins::Fold }
    }
}

/// Display of members who join and leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Joins {
    /// One line for as many as come and go between two messages.
    #[default]
    Fold,
    /// No line at all.
    Hide,
}

/// The keys of one action: one, or a list.
struct KeyList(Vec<String>);

impl<'de> Deserialize<'de> for KeyList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(KeyListVisitor)
    }
}

struct KeyListVisitor;

impl<'de> Visitor<'de> for KeyListVisitor {
    type Value = KeyList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key such as \"ctrl-t\", or a list of keys")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<KeyList, E> {
        Ok(KeyList(vec![key.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<KeyList, A::Error> {
        let mut keys = Vec::new();
        while let Some(key) = list.next_element()? {
            keys.push(key);
        }
        Ok(KeyList(keys))
    }
}

fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let keys = BTreeMap::<String, KeyList>::deserialize(from)?;
    Ok(keys.into_iter().map(|(action, KeyList(keys))| (action, keys)).collect())
}

impl ScreenSettings {
    /// Returns the path of the file: beside the user's own configuration of a server.
    #[must_use]
    pub fn beside(config: &Path) -> PathBuf {
        config.with_file_name("screen.toml")
    }
}

impl TomlFile for ScreenSettings {
    fn check(&self) -> Result<(), Wrong> {
        let wrong = |key, value, why| Err(Wrong { key, value, why });
        let panel = (u32::from(PANEL_COLUMNS.0), u32::from(PANEL_COLUMNS.1));
        let paste = (u32::from(PASTE_LINES.0), u32::from(PASTE_LINES.1));
        let ranges = [
            ("panels.rooms_columns", u32::from(self.panels.rooms_columns), panel),
            ("panels.members_columns", u32::from(self.panels.members_columns), panel),
            ("input.paste_lines", u32::from(self.input.paste_lines), paste),
            ("history.lines", self.history.lines, LINES),
        ];
        for (key, value, (min, max)) in ranges {
            if !(min..=max).contains(&value) {
                return wrong(key, value.to_string(), format!("use {min} to {max}"));
            }
        }
        let formats = [
            ("times.format", &self.times.format, TIME_COLUMNS_MAX),
            ("times.date", &self.times.date, DATE_COLUMNS_MAX),
        ];
        for (key, format, columns_max) in formats {
            if let Err(why) = check_format(format, columns_max) {
                return wrong(key, format!("{format:?}"), why);
            }
        }
        if self.times.date.trim().is_empty() {
            let why = "a date line needs a date, such as \"%Y-%m-%d\"".to_owned();
            return wrong("times.date", format!("{:?}", self.times.date), why);
        }
        Ok(())
    }
}

/// Tries a format: one that can't be written once never can, and the error is better reported at
/// the start.
fn check_format(format: &str, columns_max: usize) -> Result<(), String> {
    // A Wednesday in September: names of days and months are never longer.
    let longest = jiff::civil::date(2026, 9, 30).at(22, 58, 58, 0);
    let longest = longest.to_zoned(jiff::tz::TimeZone::UTC).map_err(|e| e.to_string())?;
    let shown = jiff::fmt::strtime::format(format, &longest).map_err(|e| e.to_string())?;
    if shown.chars().any(crate::chat::text::is_unsafe_to_show) {
        return Err("line ends, tabs and invisible characters can't be used".to_owned());
    }
    match shown.width() {
        columns if columns > columns_max => {
            Err(format!("{shown:?} takes {columns} columns (limit {columns_max})"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../config/screen.toml");

    fn parse(text: &str) -> Result<ScreenSettings, String> {
        ScreenSettings::parse(text, Path::new("screen.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn the_commented_file_has_every_setting_with_its_default() {
        let settings = parse(EXAMPLE).unwrap();
        // That its keys are the defaults is seen where the defaults are.
        assert!(!settings.keys.is_empty());
        let without_keys = ScreenSettings { keys: BTreeMap::new(), ..settings };
        assert_eq!(without_keys, ScreenSettings::default());
        let table: toml::Table = EXAMPLE.parse().unwrap();
        let keys =
            |section: &str| table[section].as_table().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys("colors"), ["depth", "links", "names"]);
        assert_eq!(keys("panels"), ["members", "members_columns", "rooms", "rooms_columns"]);
        assert_eq!(keys("bell"), ["when"]);
        assert_eq!(keys("notify"), ["by", "when"]);
        assert_eq!(keys("times"), ["date", "format"]);
        assert_eq!(keys("input"), ["mouse", "paste_lines"]);
        assert_eq!(keys("history"), ["joins", "lines"]);
        assert_eq!(table.len(), 8);
    }

    #[test]
    fn wrong_setting_is_named_with_file_key_and_value() {
        let said = |text: &str, words: &[&str]| {
            let error = parse(text).unwrap_err();
            for word in ["screen.toml"].iter().chain(words) {
                assert!(error.contains(word), "{word} in {error}");
            }
        };
        said("[colours]\n", &["colours", "colors"]);
        said("[colors]\ndepth = \"many\"", &["depth", "many", "256"]);
        said("[panels]\nrooms = \"left\"", &["rooms", "left", "auto"]);
        said("[panels]\nrooms_columns = 3", &["panels.rooms_columns = 3", "8 to 60"]);
        said("[bell]\nwhen = \"loud\"", &["loud", "mentions"]);
        said("[history]\nlines = 0", &["history.lines = 0", "100 to 1000000"]);
        said("[input]\npaste_lines = 0", &["input.paste_lines = 0"]);
        said("[keys]\nsend = 5", &["send", "a key such as"]);
        said("[times]\nformat = \"%H:%\"", &["times.format = \"%H:%\""]);
        said("[times]\nformat = \"%H%n%M\"", &["times.format", "line ends"]);
        said("[times]\nformat = \"%A, %-d %B %Y %H:%M\"", &["times.format", "limit 20"]);
        said("[times]\ndate = \"\"", &["times.date"]);
    }

    #[test]
    fn a_key_or_a_list_of_keys_or_none() {
        let text = "[keys]\nsearch = \"ctrl-t\"\nhelp = [\"f1\", \"alt-h\"]\nplain = []";
        let keys = parse(text).unwrap().keys;
        assert_eq!(keys["search"], ["ctrl-t"]);
        assert_eq!(keys["help"], ["f1", "alt-h"]);
        assert!(keys["plain"].is_empty());
    }

    #[test]
    fn colours_are_read_with_and_without_quotes() {
        for (written, depth) in [
            ("\"16\"", ColorDepth::Sixteen),
            ("256", ColorDepth::Indexed),
            ("true", ColorDepth::True),
            ("\"true\"", ColorDepth::True),
            ("\"none\"", ColorDepth::None),
        ] {
            let settings = parse(&format!("[colors]\ndepth = {written}")).unwrap();
            assert_eq!(settings.colors.depth, depth, "{written}");
        }
    }

    #[test]
    fn times_are_written_as_people_do() {
        for (format, date) in
            [("", "%Y년 %-m월 %-d일"), ("%-I:%M %p", "%A, %-d %B %Y"), ("%T", "%a %b %e")]
        {
            let text = format!("[times]\nformat = {format:?}\ndate = {date:?}");
            assert_eq!(parse(&text).unwrap().times.date, date);
        }
    }

    #[test]
    fn without_a_file_there_are_defaults_unless_it_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = ScreenSettings::beside(&dir.path().join("moot.toml"));
        assert_eq!(path, dir.path().join("screen.toml"));
        assert_eq!(ScreenSettings::load(None, &path).unwrap(), ScreenSettings::default());
        assert!(ScreenSettings::load(Some(&path), &path).is_err());
        std::fs::write(&path, "[bell]\nwhen = \"all\"").unwrap();
        let settings = ScreenSettings::load(None, &path).unwrap();
        assert_eq!(settings.bell.when, NotifyWish::All);
    }
}
