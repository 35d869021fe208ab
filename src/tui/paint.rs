//! Colors. They are readable on dark and on light backgrounds, since terminals can't be asked which
//! one they have. Each color is also shown by an attribute or a letter.

use ratatui::style::{Color, Modifier, Style};

use crate::chat::member::Level;

/// Number of colors of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// No colors, only attributes.
    None,
    /// 16 colors, whose shades the user chooses.
    Ansi,
    /// 256 colors of a fixed table.
    Indexed,
    True,
}

impl Depth {
    /// Returns the depth of a setting `wish` (`auto`, `none`, `16`, `256`, `true`). `NO_COLOR` is
    /// for all programs, so the setting of this one wins; `term` and `colorterm` are `TERM` and
    /// `COLORTERM`.
    pub(super) fn detect(
        wish: &str,
        no_color: bool,
        term: Option<&str>,
        colorterm: Option<&str>,
    ) -> Self {
        match wish {
            "none" => Self::None,
            "16" => Self::Ansi,
            "256" => Self::Indexed,
            "true" => Self::True,
            _ if no_color => Self::None,
            // Only Windows has none, and its consoles support colors.
            _ => Self::of_terminal(term.unwrap_or_default(), colorterm),
        }
    }

    fn of_terminal(term: &str, colorterm: Option<&str>) -> Self {
        let knows = |names: &[&str]| names.iter().any(|name| term.contains(name));
        // GNU screen passes the outer terminal's COLORTERM on and does not support true color.
        let is_screen = term.starts_with("screen");
        let told = matches!(colorterm, Some("truecolor" | "24bit")) && !is_screen;
        if term == "dumb" || term.starts_with("vt") {
            Self::None
        // Over ssh only TERM is passed, and these terminals have true color.
        } else if told || knows(&["direct", "kitty", "alacritty", "foot", "wezterm", "ghostty"]) {
            Self::True
        } else if knows(&["256color"]) {
            Self::Indexed
        } else {
            Self::Ansi
        }
    }
}

/// Role of a text, which decides its style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Text,
    /// Less important than text.
    Dim,
    Time,
    /// Name of the current user.
    Me,
    /// Mention of the current user.
    Mention,
    Link,
    /// Words of the search.
    Found,
    /// Line where unread messages start.
    Marker,
    Date,
    Title,
    Bar,
    /// Bar that needs attention.
    BarAlert,
    /// Room with unread messages.
    Unread,
    UnreadMention,
    /// Selected message or choice.
    Selected,
    /// The current room.
    Current,
    /// Text that is not acknowledged yet.
    Pending,
    Error,
    /// An announcement of this level.
    Level(Level),
    Away,
    /// Frames and headings of panels.
    Panel,
    Help,
}

/// One color for each depth.
#[derive(Debug)]
struct Tone {
    ansi: Color,
    /// True if its bright variant is readable as well: many terminals show that for bold.
    bold: bool,
    indexed: u8,
    rgb: (u8, u8, u8),
}

const RED: Tone = Tone { ansi: Color::Red, bold: true, indexed: 160, rgb: (0xd7, 0x00, 0x00) };
const ORANGE: Tone =
    Tone { ansi: Color::Magenta, bold: false, indexed: 166, rgb: (0xd7, 0x5f, 0x00) };
const PINK: Tone =
    Tone { ansi: Color::Magenta, bold: false, indexed: 162, rgb: (0xd7, 0x00, 0x87) };
const BLUE: Tone =
    Tone { ansi: Color::LightBlue, bold: true, indexed: 33, rgb: (0x00, 0x87, 0xff) };
const GREY: u8 = 243;
const GREY_RGB: (u8, u8, u8) = (0x76, 0x76, 0x76);

/// Colors of names with a depth of 16. Without yellow, which is invisible on white, and with light
/// blue, since blue is invisible on black.
const NAMES_ANSI: [Color; 5] =
    [Color::Red, Color::Green, Color::LightBlue, Color::Magenta, Color::Cyan];

/// Colors of names with more: of 256, and true. Each has a contrast of at least 3 to black and to
/// white (WCAG 2.2, for large text). The true ones are every 30° of hue at one lightness (0.615) in
/// OKLCH, with a chroma of 0.2 or the maximum of sRGB; the others are near them.
const NAMES: [(u8, (u8, u8, u8)); 12] = [
    (167, (0xe4, 0x3f, 0x50)),
    (166, (0xce, 0x61, 0x02)),
    (136, (0xac, 0x7b, 0x06)),
    (100, (0x8a, 0x8b, 0x01)),
    (28, (0x2f, 0x9f, 0x00)),
    (29, (0x0a, 0x9b, 0x7a)),
    (30, (0x04, 0x97, 0x9d)),
    (31, (0x03, 0x91, 0xbf)),
    (69, (0x32, 0x7e, 0xfa)),
    (99, (0x87, 0x67, 0xf2)),
    (134, (0xb7, 0x52, 0xcd)),
    (162, (0xd6, 0x42, 0x95)),
];

/// Styles of everything on one terminal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    depth: Depth,
    names: bool,
}

impl Paint {
    /// Returns the styles for a terminal; `names`: names have different colors.
    pub(super) fn new(depth: Depth, names: bool) -> Self {
        Self { depth, names }
    }

    /// Returns the style of a role. Text keeps the terminal's default colors, and bars reverse
    /// them: no background is assumed.
    pub(super) fn style(&self, role: Role) -> Style {
        let plain = Style::new();
        match role {
            Role::Text | Role::Help | Role::Level(Level::Info) => plain,
            Role::Dim | Role::Time | Role::Date | Role::Away | Role::Panel | Role::Pending => {
                self.dim()
            }
            // Without colors other names are bold, and the user's own name is not.
            Role::Me if self.depth == Depth::None => plain,
            Role::Me | Role::Title | Role::Unread | Role::Level(Level::Notice) => plain.bold(),
            Role::Bar | Role::Selected | Role::Current => plain.reversed(),
            // It has to show within the selected message as well.
            Role::Found => plain.bold().underlined().reversed(),
            Role::Link => self.toned(&BLUE, Modifier::UNDERLINED),
            Role::Marker | Role::Error => self.toned(&RED, Modifier::BOLD),
            Role::Mention => self.toned(&PINK, Modifier::BOLD | Modifier::REVERSED),
            Role::UnreadMention => self.toned(&PINK, Modifier::BOLD | Modifier::UNDERLINED),
            Role::Level(Level::Warning) => {
                self.toned(&ORANGE, Modifier::BOLD | Modifier::UNDERLINED)
            }
            Role::BarAlert | Role::Level(Level::Critical) => {
                self.toned(&RED, Modifier::BOLD | Modifier::REVERSED)
            }
        }
    }

    /// Returns the style of a member's name. All members of a user have one color, on every screen
    /// and every day.
    pub(super) fn name(&self, name: &str) -> Style {
        let hash = hash(name.split('/').next().unwrap_or(name));
        let plain = Style::new();
        if !self.names {
            return plain.bold();
        }
        match self.depth {
            Depth::None => plain.bold(),
            // Not bold: many terminals would show bright green and cyan, which are invisible on
            // white.
            Depth::Ansi => plain.fg(NAMES_ANSI[slot(hash, NAMES_ANSI.len())]),
            Depth::Indexed => plain.bold().fg(Color::Indexed(NAMES[slot(hash, NAMES.len())].0)),
            Depth::True => plain.bold().fg(true_color(NAMES[slot(hash, NAMES.len())].1)),
        }
    }

    fn dim(&self) -> Style {
        match self.depth {
            Depth::None | Depth::Ansi => Style::new().dim(),
            Depth::Indexed => Style::new().fg(Color::Indexed(GREY)),
            Depth::True => Style::new().fg(true_color(GREY_RGB)),
        }
    }

    fn toned(&self, tone: &Tone, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        match self.depth {
            Depth::None => style,
            Depth::Ansi if tone.bold => style.fg(tone.ansi),
            Depth::Ansi => Style::new().add_modifier(modifier - Modifier::BOLD).fg(tone.ansi),
            Depth::Indexed => style.fg(Color::Indexed(tone.indexed)),
            Depth::True => style.fg(true_color(tone.rgb)),
        }
    }
}

fn true_color((red, green, blue): (u8, u8, u8)) -> Color {
    Color::Rgb(red, green, blue)
}

/// Returns the FNV-1a hash with the last step of `MurmurHash3`, since short names differ in their
/// low bits only.
fn hash(name: &str) -> u32 {
    let fnv = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let mut hash = name.bytes().fold(0x811c_9dc5, fnv);
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

fn slot(hash: u32, slots: usize) -> usize {
    hash as usize % slots
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const DEPTHS: [Depth; 4] = [Depth::None, Depth::Ansi, Depth::Indexed, Depth::True];

    fn roles() -> Vec<Role> {
        let mut roles = vec![
            Role::Text,
            Role::Dim,
            Role::Time,
            Role::Me,
            Role::Mention,
            Role::Link,
            Role::Found,
            Role::Marker,
            Role::Date,
            Role::Title,
            Role::Bar,
            Role::BarAlert,
            Role::Unread,
            Role::UnreadMention,
            Role::Selected,
            Role::Current,
            Role::Pending,
            Role::Error,
            Role::Away,
            Role::Panel,
            Role::Help,
        ];
        roles.extend(Level::ALL.map(Role::Level));
        roles
    }

    /// The cube of 256 colors in xterm.
    fn rgb(color: Color) -> (u8, u8, u8) {
        let step = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
        match color {
            Color::Rgb(red, green, blue) => (red, green, blue),
            Color::Indexed(n @ 16..=231) => {
                let n = n - 16;
                (step(n / 36), step(n / 6 % 6), step(n % 6))
            }
            Color::Indexed(n @ 232..) => {
                (8 + 10 * (n - 232), 8 + 10 * (n - 232), 8 + 10 * (n - 232))
            }
            other => panic!("{other} has no fixed shade"),
        }
    }

    /// Returns <https://www.w3.org/TR/WCAG22/#dfn-relative-luminance>.
    fn luminance((red, green, blue): (u8, u8, u8)) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    /// Returns the smaller one of the contrasts to black and to white.
    fn contrast(color: Color) -> f64 {
        let here = luminance(rgb(color)) + 0.05;
        (here / 0.05).min(1.05 / here)
    }

    fn hue(color: Color) -> f64 {
        let (red, green, blue) = rgb(color);
        let [red, green, blue] = [red, green, blue].map(f64::from);
        let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
        let sixth = if most == red {
            (green - blue) / (most - least)
        } else if most == green {
            2.0 + (blue - red) / (most - least)
        } else {
            4.0 + (red - green) / (most - least)
        };
        (60.0 * sixth).rem_euclid(360.0)
    }

    #[test]
    fn each_color_is_readable_on_black_and_white() {
        for depth in [Depth::Indexed, Depth::True] {
            let paint = Paint::new(depth, true);
            let names = (0..500).map(|n| paint.name(&format!("user{n}")));
            for style in roles().into_iter().map(|role| paint.style(role)).chain(names) {
                assert_eq!(style.bg, None);
                if let Some(color) = style.fg {
                    assert!(contrast(color) >= 3.0, "{color}: {}", contrast(color));
                }
            }
        }
    }

    #[test]
    fn colors_of_names_are_far_apart() {
        let tables = [NAMES.map(|(n, _)| Color::Indexed(n)), NAMES.map(|(_, c)| true_color(c))];
        for table in tables {
            for (at, one) in table.iter().enumerate() {
                for other in &table[at + 1..] {
                    let apart = (hue(*one) - hue(*other)).abs();
                    let apart = apart.min(360.0 - apart);
                    assert!(apart >= 12.0, "{one} {other}: {apart}");
                }
            }
        }
    }

    #[test]
    fn each_of_16_colors_shows_on_black_and_white() {
        let lost = [
            Color::Black,
            Color::White,
            Color::Gray,
            Color::Yellow,
            Color::LightYellow,
            Color::Blue,
        ];
        let paint = Paint::new(Depth::Ansi, true);
        let names = (0..500).map(|n| paint.name(&format!("user{n}")));
        for style in roles().into_iter().map(|role| paint.style(role)).chain(names) {
            assert_eq!(style.bg, None);
            assert!(style.fg.is_none_or(|color| !lost.contains(&color)), "{style:?}");
        }
    }

    #[test]
    fn each_color_has_an_attribute_as_well() {
        let plain = Style::new();
        let told = [
            Role::Mention,
            Role::Link,
            Role::Found,
            Role::Bar,
            Role::BarAlert,
            Role::Unread,
            Role::UnreadMention,
            Role::Selected,
            Role::Current,
            Role::Level(Level::Warning),
            Role::Level(Level::Critical),
        ];
        for depth in DEPTHS {
            let paint = Paint::new(depth, true);
            for role in told {
                assert!(!paint.style(role).add_modifier.is_empty(), "{depth:?} {role:?}");
            }
            // Neighbors differ.
            let modifiers = |role| paint.style(role).add_modifier;
            assert_ne!(modifiers(Role::UnreadMention), modifiers(Role::Unread));
            assert_ne!(modifiers(Role::UnreadMention), modifiers(Role::Current));
            // One within the other.
            assert_ne!(
                modifiers(Role::Selected) | modifiers(Role::Found),
                modifiers(Role::Selected)
            );
            let levels: HashSet<_> =
                Level::ALL.map(|level| paint.style(Role::Level(level))).into_iter().collect();
            assert_eq!(levels.len(), Level::ALL.len(), "{depth:?}");
        }
        let paint = Paint::new(Depth::None, true);
        let styles = roles().into_iter().map(|role| paint.style(role)).chain([paint.name("ann")]);
        assert!({ styles }.all(|style| style.fg.is_none() && style.bg.is_none()));
        assert_eq!(paint.style(Role::Mention), plain.bold().reversed());
        assert_eq!(paint.style(Role::Me), plain);
    }

    #[test]
    fn user_has_one_color_everywhere() {
        for depth in DEPTHS {
            let paint = Paint::new(depth, true);
            assert_eq!(paint.name("철수"), paint.name("철수/봇"));
            assert_eq!(paint.name("ann/cron"), paint.name("ann/agent"));
        }
        // A user's color should not change with the next version.
        let paint = Paint::new(Depth::Indexed, true);
        let colors = ["ann", "bob", "철수"].map(|name| paint.name(name).fg);
        assert_eq!(colors, [29, 134, 167].map(|n| Some(Color::Indexed(n))));
    }

    #[test]
    fn names_spread_over_all_colors() {
        for (depth, colors) in [(Depth::Ansi, 5), (Depth::Indexed, 12), (Depth::True, 12)] {
            let paint = Paint::new(depth, true);
            let names = (b'a'..=b'z').flat_map(|c| [char::from(c).to_string(), format!("{c}")]);
            let seen: HashSet<_> = names.map(|name| paint.name(&name).fg).collect();
            assert_eq!(seen.len(), colors, "{depth:?}");
        }
        let plain = Paint::new(Depth::True, false);
        assert_eq!(plain.name("ann"), Style::new().bold(), "unless names have colors");
    }

    #[test]
    fn depth_is_that_of_the_terminal() {
        let auto = |term, colorterm| Depth::detect("auto", false, term, colorterm);
        assert_eq!(auto(Some("xterm-256color"), Some("truecolor")), Depth::True);
        assert_eq!(auto(Some("xterm-256color"), Some("24bit")), Depth::True);
        assert_eq!(auto(Some("xterm-256color"), Some("yes")), Depth::Indexed);
        assert_eq!(auto(Some("tmux-256color"), Some("truecolor")), Depth::True);
        assert_eq!(auto(Some("screen.xterm-256color"), Some("truecolor")), Depth::Indexed);
        assert_eq!(auto(Some("screen"), Some("truecolor")), Depth::Ansi);
        assert_eq!(auto(Some("xterm-kitty"), None), Depth::True);
        assert_eq!(auto(Some("linux"), None), Depth::Ansi);
        assert_eq!(auto(Some("dumb"), Some("truecolor")), Depth::None);
        assert_eq!(auto(Some("vt100"), None), Depth::None);
        assert_eq!(auto(None, None), Depth::Ansi);
    }

    #[test]
    fn no_color_holds_unless_a_setting_overrides_it() {
        let told = |wish| Depth::detect(wish, true, Some("xterm-256color"), Some("truecolor"));
        let wishes = ["auto", "none", "16", "256", "true"].map(told);
        assert_eq!(wishes, [Depth::None, Depth::None, Depth::Ansi, Depth::Indexed, Depth::True]);
    }
}
