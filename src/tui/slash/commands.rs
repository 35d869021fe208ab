//! The commands by name: help, completion, and what was meant by one that there is none of.

use crate::tui::{hangul, nearest::nearest, wrap::entry};

/// What stands first behind a command, for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArgKind {
    /// A room.
    Room,
    /// `@user` or `@user/label`.
    Member,
    /// `@user`: all that he is, so a label is refused.
    User,
    /// An announcement: `!3`.
    Notice,
    /// The number of a message, and then free text.
    Number,
    /// A command.
    Command,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Flags before a text, and what stands behind one of them.
    Flags {
        /// All of them.
        all: &'static [&'static str],
        /// The one with a word behind it.
        with_word: &'static str,
        /// Which words.
        words: &'static [&'static str],
    },
    /// Free text.
    Words,
    /// Nothing.
    Nothing,
}

/// A command, for help and completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandInfo {
    /// Without the `/`.
    pub(crate) name: &'static str,
    /// As the usage line has them.
    pub(crate) args: &'static str,
    /// One line.
    pub(crate) about: &'static str,
    /// What completes behind it.
    pub(crate) arg: ArgKind,
    /// It is there in line mode as well.
    pub(crate) line_mode: bool,
}

impl CommandInfo {
    /// `/join ROOM`
    pub(crate) fn usage(&self) -> String {
        match self.args {
            "" => format!("/{}", self.name),
            args => format!("/{} {args}", self.name),
        }
    }

    /// What is said of arguments that do not fit.
    pub(super) fn wrong(&self) -> String {
        format!("it is written {}: {}", self.usage(), self.about)
    }
}

const WISHES: ArgKind = ArgKind::Choice(&["off", "mentions", "all"]);
const FLAGS: ArgKind = ArgKind::Flags {
    all: &["--level", "--ack", "--retain"],
    with_word: "--level",
    words: &["info", "notice", "warning", "critical"],
};

/// One that is there on the screen and in line mode.
const fn both(
    name: &'static str,
    args: &'static str,
    about: &'static str,
    arg: ArgKind,
) -> CommandInfo {
    CommandInfo { name, args, about, arg, line_mode: true }
}

impl CommandInfo {
    /// One that has nothing to work on in line mode.
    const fn on_screen(self) -> Self {
        Self { line_mode: false, ..self }
    }
}

/// All commands, in the order of the help.
pub(crate) const COMMANDS: &[CommandInfo] = &[
    both("help", "[COMMAND]", "this, or one command", ArgKind::Command),
    both("join", "ROOM", "listen to one more room and talk there", ArgKind::Room),
    both("part", "[ROOM]", "leave a room", ArgKind::Room),
    both("msg", "@USER [TEXT]", "say something to one user", ArgKind::Member),
    both("me", "TEXT", "say what you do: \"* ann waves\"", ArgKind::Words),
    both("reply", "NUMBER TEXT", "reply to the message with that number", ArgKind::Number)
        .on_screen(),
    both("who", "[ROOM]", "who is in the room", ArgKind::Room),
    both("rooms", "", "all rooms", ArgKind::Nothing),
    both(
        "topic",
        "[TEXT|--clear]",
        "show the room's topic, set or remove it",
        ArgKind::Choice(&["--clear"]),
    ),
    both("away", "[TEXT]", "say that you are away", ArgKind::Words),
    both("back", "", "say that you are back", ArgKind::Nothing),
    both("announce", "[--level L] [--ack] [--retain] TEXT", "tell everybody", FLAGS),
    both("ack", "[ID]", "say that you have seen an announcement", ArgKind::Notice),
    both("invite", "@USER", "let somebody into the room, or tell him of it", ArgKind::User),
    both("kick", "@USER", "take somebody out of the room", ArgKind::Member),
    both("ban", "@USER", "keep somebody out of the room", ArgKind::User),
    both("unban", "@USER", "let him in again", ArgKind::User),
    both("mute", "@USER", "let somebody say nothing more in the room", ArgKind::User),
    both("unmute", "@USER", "let him speak again", ArgKind::User),
    both("op", "@USER", "make somebody an operator of the room", ArgKind::User),
    both("deop", "@USER", "he is one no more", ArgKind::User),
    both("notify", "[off|mentions|all]", "what of this room the desktop shows", WISHES).on_screen(),
    both("bell", "[off|mentions|all]", "what of this room rings the bell", WISHES).on_screen(),
    both("ignore", "[@USER]", "hide what somebody says; alone, whom you ignore", ArgKind::Member)
        .on_screen(),
    both("unignore", "@USER", "show it again", ArgKind::Member).on_screen(),
    both("read", "", "all here is read", ArgKind::Nothing).on_screen(),
    both("search", "[TEXT]", "search in the room", ArgKind::Words).on_screen(),
    both("clear", "", "empty the screen of this room; nothing is lost", ArgKind::Nothing)
        .on_screen(),
    both("quit", "", "leave moot", ArgKind::Nothing),
];

/// Columns of the help where nobody knows how many there are.
const HELP_COLUMNS: usize = 79;

/// What fingers from elsewhere type. They are told, and nothing is done.
const MEANT: &[(&str, &str)] = &[
    ("bye", "quit"),
    ("channels", "rooms"),
    ("close", "part"),
    ("dm", "msg"),
    ("exit", "quit"),
    ("find", "search"),
    ("j", "join"),
    ("leave", "part"),
    ("list", "rooms"),
    ("logout", "quit"),
    ("members", "who"),
    ("names", "who"),
    ("notice", "announce"),
    ("query", "msg"),
    ("tell", "msg"),
    ("users", "who"),
    ("w", "msg"),
    ("wall", "announce"),
    ("wc", "part"),
    ("whisper", "msg"),
    ("win", "rooms"),
];

/// All commands with what they do.
pub(crate) fn help(line_mode: bool) -> String {
    let rows = entries(line_mode).flat_map(|(usage, about)| entry(&usage, about, HELP_COLUMNS));
    rows.collect::<Vec<_>>().join("\n")
}

/// How each command is written, and what it does.
pub(crate) fn entries(line_mode: bool) -> impl Iterator<Item = (String, &'static str)> {
    let here = COMMANDS.iter().filter(move |command| command.line_mode || !line_mode);
    let commands = here.map(|command| (command.usage(), command.about));
    commands.chain([("//TEXT".to_owned(), "says /TEXT")])
}

/// Returns a command's usage with its description.
pub(crate) fn help_of(command: &CommandInfo) -> String {
    format!("{}: {}", command.usage(), about(command))
}

/// Returns the whole description of a command.
pub(crate) fn about(command: &CommandInfo) -> String {
    let more = match command.name {
        "announce" => {
            "; L is info, notice, warning or critical, --ack asks to be acknowledged, --retain shows it \
             to those who come later"
        }
        "ack" => "; without ID, the last one that asked for it",
        "msg" => "; on the screen, without TEXT, opens the conversation",
        _ => "",
    };
    format!("{}{more}", command.about)
}

/// What is said of a command that there is none of.
pub(super) fn unknown(word: &str, line_mode: bool) -> String {
    let here = || COMMANDS.iter().filter(|c| c.line_mode || !line_mode).map(|c| c.name);
    let elsewhere = |word: &str| {
        let meant = MEANT.iter().find(|(typed, _)| typed.eq_ignore_ascii_case(word));
        meant.map(|(_, meant)| *meant).filter(|meant| here().any(|name| name == *meant))
    };
    // Typed with the Korean layout on, which nobody sees before it is typed.
    let latin = hangul::latin_keys(word);
    let typed = latin.as_deref().unwrap_or(word);
    let near = if typed.chars().any(|c| c != '?') { elsewhere(typed) } else { Some("help") };
    let word = begin(word);
    match near.or_else(|| nearest(typed, here())) {
        Some(near) => format!("there is no /{word}; did you mean /{near}? (//{word} says /{word})"),
        None => format!("there is no /{word}; /help lists what there is, //{word} says /{word}"),
    }
}

/// Beginning of what was typed, to be named in an error.
pub(super) fn begin(typed: &str) -> String {
    let first = typed.lines().next().unwrap_or_default();
    let cut: String = first.chars().take(24).collect();
    let more = if cut.len() < typed.len() { "…" } else { "" };
    crate::chat::text::shown(&format!("{cut}{more}"), false).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::member::Level;

    #[test]
    fn who_types_a_word_from_elsewhere_is_told_a_command() {
        for (typed, meant) in MEANT {
            assert!(COMMANDS.iter().any(|command| command.name == *meant), "{meant}");
            assert!(!COMMANDS.iter().any(|command| command.name == *typed), "{typed}");
        }
    }

    #[test]
    fn no_command_is_named_that_is_not_there() {
        assert!(unknown("find", false).contains("/search"));
        assert!(!unknown("find", true).contains("/search"));
    }

    #[test]
    fn the_words_behind_level_are_all_levels() {
        let ArgKind::Flags { words, .. } = FLAGS else { panic!("flags") };
        assert_eq!(words, Level::ALL.map(Level::word));
    }

    #[test]
    fn the_help_fits_a_terminal() {
        assert!(help(true).lines().chain(help(false).lines()).all(|line| line.len() < 80));
        assert!(help(true).ends_with("says /TEXT"));
        assert!(help(true).contains("\n/announce [--level L] [--ack] [--retain] TEXT\n"));
    }
}
