//! Chat commands by name: help, completion, and suggestions for unknown ones.

use crate::tui::{hangul, nearest::nearest, wrap::entry};

/// First argument of a command, for completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArgKind {
    /// Name of a room.
    Room,
    /// `@user` or `@user/label`.
    Member,
    /// `@user`: all sessions, so a label is refused.
    User,
    /// An announcement: `!3`.
    Notice,
    /// The number of a message, and then free text.
    Number,
    /// Name of a command.
    Command,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Flags before a text, one of them with a word.
    Flags {
        /// All flags of the command.
        all: &'static [&'static str],
        /// The flag with a word behind it.
        with_word: &'static str,
        /// Words that this flag takes.
        words: &'static [&'static str],
    },
    /// Free text of any length.
    Words,
    /// No argument at all.
    Nothing,
}

/// Description of a command, for help and completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandInfo {
    /// Name without the `/`.
    pub(crate) name: &'static str,
    /// Arguments as in the usage line.
    pub(crate) args: &'static str,
    /// Description in one line.
    pub(crate) about: &'static str,
    /// Completion of its argument.
    pub(crate) arg: ArgKind,
    /// True if line mode has it as well.
    pub(crate) line_mode: bool,
}

impl CommandInfo {
    /// Returns the usage line: `/join ROOM`.
    pub(crate) fn usage(&self) -> String {
        match self.args {
            "" => format!("/{}", self.name),
            args => format!("/{} {args}", self.name),
        }
    }

    /// Returns the error for arguments that do not fit.
    pub(super) fn wrong(&self) -> String {
        format!("usage: {} ({})", self.usage(), self.about)
    }
}

const WISHES: ArgKind = ArgKind::Choice(&["off", "mentions", "all"]);
const FLAGS: ArgKind = ArgKind::Flags {
    all: &["--level", "--ack", "--retain"],
    with_word: "--level",
    words: &["info", "notice", "warning", "critical"],
};

/// Returns a command of the screen and of line mode.
const fn both(
    name: &'static str,
    args: &'static str,
    about: &'static str,
    arg: ArgKind,
) -> CommandInfo {
    CommandInfo { name, args, about, arg, line_mode: true }
}

impl CommandInfo {
    /// Returns the command without line mode.
    const fn on_screen(self) -> Self {
        Self { line_mode: false, ..self }
    }
}

/// All commands, in the order of the help.
pub(crate) const COMMANDS: &[CommandInfo] = &[
    both("help", "[COMMAND]", "list all commands, or describe one", ArgKind::Command),
    both("join", "ROOM", "join a room and show it", ArgKind::Room),
    both("part", "[ROOM]", "leave a room", ArgKind::Room),
    both("msg", "@USER [TEXT]", "send a direct message", ArgKind::Member),
    both("me", "TEXT", "send an action: \"* ann waves\"", ArgKind::Words),
    both("reply", "NUMBER TEXT", "reply to the message with that number", ArgKind::Number)
        .on_screen(),
    both("who", "[ROOM]", "list the members of the room", ArgKind::Room),
    both("rooms", "", "list all rooms", ArgKind::Nothing),
    both(
        "topic",
        "[TEXT|--clear]",
        "show, set or remove the room's topic",
        ArgKind::Choice(&["--clear"]),
    ),
    both("away", "[TEXT]", "mark yourself as away", ArgKind::Words),
    both("back", "", "mark yourself as back", ArgKind::Nothing),
    both(
        "announce",
        "[--level L] [--ack] [--retain] TEXT",
        "announce a text to all members",
        FLAGS,
    ),
    both("ack", "[ID]", "acknowledge an announcement", ArgKind::Notice),
    both("invite", "@USER", "invite a user (grants access to a private room)", ArgKind::User),
    both("kick", "@USER", "remove a user from the room", ArgKind::Member),
    both("ban", "@USER", "ban a user from the room", ArgKind::User),
    both("unban", "@USER", "lift the ban of a user", ArgKind::User),
    both("mute", "@USER", "mute a user in the room", ArgKind::User),
    both("unmute", "@USER", "unmute a user", ArgKind::User),
    both("op", "@USER", "make a user an operator of the room", ArgKind::User),
    both("deop", "@USER", "revoke the operator role", ArgKind::User),
    both("notify", "[off|mentions|all]", "choose desktop notifications for this room", WISHES)
        .on_screen(),
    both("bell", "[off|mentions|all]", "choose messages of this room that ring the bell", WISHES)
        .on_screen(),
    both("ignore", "[@USER]", "ignore a user, or list ignored users", ArgKind::Member).on_screen(),
    both("unignore", "@USER", "stop ignoring a user", ArgKind::Member).on_screen(),
    both("read", "", "mark this room as read", ArgKind::Nothing).on_screen(),
    both("search", "[TEXT]", "search in the room", ArgKind::Words).on_screen(),
    both("clear", "", "clear the view of this room; nothing is lost", ArgKind::Nothing).on_screen(),
    both("quit", "", "leave moot", ArgKind::Nothing),
];

/// Columns of the help where the width of the output is unknown.
const HELP_COLUMNS: usize = 79;

/// Commands of other programs, with those of moot. They are suggested, not executed.
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

/// Returns all commands with their descriptions.
pub(crate) fn help(line_mode: bool) -> String {
    let rows = entries(line_mode).flat_map(|(usage, about)| entry(&usage, about, HELP_COLUMNS));
    rows.collect::<Vec<_>>().join("\n")
}

/// Returns usage and description of each command.
pub(crate) fn entries(line_mode: bool) -> impl Iterator<Item = (String, &'static str)> {
    let here = COMMANDS.iter().filter(move |command| command.line_mode || !line_mode);
    let commands = here.map(|command| (command.usage(), command.about));
    commands.chain([("//TEXT".to_owned(), "send /TEXT")])
}

/// Returns a command's usage with its description.
pub(crate) fn help_of(command: &CommandInfo) -> String {
    format!("{}: {}", command.usage(), about(command))
}

/// Returns the whole description of a command.
pub(crate) fn about(command: &CommandInfo) -> String {
    let more = match command.name {
        "announce" => {
            "; L is info, notice, warning or critical, --ack asks to be acknowledged, --retain \
             shows it to later members"
        }
        "ack" => "; without ID, the last one that asks for it",
        "msg" => "; on the screen, without TEXT, opens the conversation",
        _ => "",
    };
    format!("{}{more}", command.about)
}

/// Returns the error for an unknown command.
pub(super) fn unknown(word: &str, line_mode: bool) -> String {
    let here = || COMMANDS.iter().filter(|c| c.line_mode || !line_mode).map(|c| c.name);
    let elsewhere = |word: &str| {
        let meant = MEANT.iter().find(|(typed, _)| typed.eq_ignore_ascii_case(word));
        meant.map(|(_, meant)| *meant).filter(|meant| here().any(|name| name == *meant))
    };
    // A word typed with the Korean layout on, which the user did not see before.
    let latin = hangul::latin_keys(word);
    let typed = latin.as_deref().unwrap_or(word);
    let near = if typed.chars().any(|c| c != '?') { elsewhere(typed) } else { Some("help") };
    let word = begin(word);
    match near.or_else(|| nearest(typed, here())) {
        Some(near) => {
            format!("unknown command /{word}; did you mean /{near}? (//{word} sends \"/{word}\")")
        }
        None => {
            format!("unknown command /{word}; /help lists all, //{word} sends \"/{word}\"")
        }
    }
}

/// Returns the beginning of a typed text, to be named in an error.
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
    fn commands_of_other_programs_get_a_suggestion() {
        for (typed, meant) in MEANT {
            assert!(COMMANDS.iter().any(|command| command.name == *meant), "{meant}");
            assert!(!COMMANDS.iter().any(|command| command.name == *typed), "{typed}");
        }
    }

    #[test]
    fn suggested_commands_exist() {
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
        assert!(help(true).ends_with("send /TEXT"));
        assert!(help(true).contains("\n/announce [--level L] [--ack] [--retain] TEXT\n"));
    }
}
