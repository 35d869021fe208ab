//! Typed lines, read as a text or a command.

use super::{
    commands::{COMMANDS, CommandInfo, begin, unknown},
    plan::ServerCommand,
};
use crate::{
    chat::{
        member::Level,
        names::{Handle, RoomName, Target, UserName},
        rules::Role,
        text::{Text, TextRef},
    },
    config::screen::NotifyWish,
    tui::{hangul, sentences::ON_SCREEN_ONLY},
};

/// Meaning of a typed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Text to send.
    Say(String),
    /// Chat command to execute.
    Do(Slash),
}

/// Chat command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Slash {
    /// Shows the help of one command, or of all.
    Help(Option<&'static CommandInfo>),
    /// Joins a room, or shows it.
    Join(RoomName),
    /// Leaves a room; none: the current one.
    Part(Option<RoomName>),
    /// Sends a direct message; without a text, opens the conversation.
    Message {
        /// Recipient, always a user.
        to: Target,
        text: Option<String>,
    },
    /// Sends this text, which begins with `/me `: readers see it as an action ([`action_of`]).
    Me(String),
    /// Sends a reply.
    Reply {
        /// Number of the message in the current room.
        seq: u64,
        text: String,
    },
    /// Sends a request to the server.
    Ask(ServerCommand),
    /// Changes the screen itself.
    Screen(ScreenCommand),
    /// Leaves the program.
    Quit,
}

/// Chat command that works on the screen only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScreenCommand {
    /// Chooses the messages of this room that the desktop shows; none: shows the choice.
    Notify(Option<NotifyWish>),
    /// Chooses the messages of this room that ring the bell; none: shows the choice.
    Bell(Option<NotifyWish>),
    /// Hides the messages of a user, or of one label; none: lists the ignored.
    Ignore(Option<Handle>),
    /// Shows the messages of a user again.
    Unignore(Handle),
    /// Empties the screen of this room; nothing is lost.
    Clear,
    /// Marks this room as read.
    Read,
    /// Searches in the room; empty: opens the search.
    Search(String),
}

/// Reads a line that was typed on the screen.
pub(crate) fn parse(line: &str) -> Result<Line, String> {
    read(line, false)
}

/// Reads a line of line mode, where commands of the screen are refused.
pub(crate) fn parse_line_mode(line: &str) -> Result<Line, String> {
    read(line, true)
}

/// Returns the action in a text, if it is one: `waves` of `/me waves` (XEP-0245). It may have been
/// sent as `//me waves`, which looks the same.
pub(crate) fn action_of(text: &str) -> Option<&str> {
    text.strip_prefix("/me ").filter(|action| !action.trim().is_empty())
}

fn read(line: &str, line_mode: bool) -> Result<Line, String> {
    let Some(typed) = line.strip_prefix('/') else { return Ok(Line::Say(line.to_owned())) };
    if typed.starts_with('/') {
        return Ok(Line::Say(typed.to_owned()));
    }
    let end = typed.find(char::is_whitespace).unwrap_or(typed.len());
    let (word, rest) = typed.split_at(end);
    if word.is_empty() || !word.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '?'))
    {
        return Err(format!("/{} is not a command; /{} sends it", begin(word), begin(line)));
    }
    let Some(command) = named(word) else { return Err(unknown(word, line_mode)) };
    if line_mode && !command.line_mode {
        return Err(format!("/{} {ON_SCREEN_ONLY}", command.name));
    }
    let slash = arguments(command, text_of(rest))?;
    if line_mode && matches!(slash, Slash::Message { text: None, .. }) {
        return Err(command.wrong());
    }
    Ok(Line::Do(slash))
}

/// Returns the command of a name, typed on either keyboard layout.
fn named(word: &str) -> Option<&'static CommandInfo> {
    COMMANDS.iter().find(|command| hangul::types(word, command.name))
}

/// Returns the text behind a command's word. If it begins in the next line it keeps its
/// indentation: it is often pasted.
fn text_of(rest: &str) -> &str {
    let rest = rest.trim_end();
    let same_line = rest.trim_start_matches([' ', '\t']);
    match same_line.strip_prefix("\r\n").or_else(|| same_line.strip_prefix('\n')) {
        Some(below) => below.trim_start_matches(['\r', '\n']),
        None => same_line.trim_start(),
    }
}

fn arguments(command: &'static CommandInfo, rest: &str) -> Result<Slash, String> {
    let wrong = || command.wrong();
    let some = || (!rest.is_empty()).then(|| rest.to_owned());
    let name = || one_word(command, rest);
    let role = |role, on| {
        let user = user(command, name()?)?;
        Ok::<_, String>(Slash::Ask(ServerCommand::Role { user, role, on }))
    };
    Ok(match command.name {
        "help" if rest.is_empty() => Slash::Help(None),
        "help" => Slash::Help(Some(help_on(name()?)?)),
        "join" => Slash::Join(room(command, name()?)?),
        "part" => Slash::Part(maybe_room(command, name()?)?),
        "msg" => message(command, rest)?,
        "me" => Slash::Me(checked(format!("/me {}", some().ok_or_else(wrong)?))?),
        "reply" => reply(command, rest)?,
        "who" => Slash::Ask(ServerCommand::Who(maybe_room(command, name()?)?)),
        "topic" => Slash::Ask(ServerCommand::Topic(match rest {
            "--clear" => Some(String::new()),
            _ => some(),
        })),
        "away" => Slash::Ask(ServerCommand::Away(some())),
        "announce" => announce(command, rest)?,
        "ack" => Slash::Ask(ServerCommand::Ack(match name()? {
            "" => None,
            id => Some(id.parse().map_err(|e| format!("{:?}: {e}", begin(id)))?),
        })),
        "invite" => role(Role::Invited, true)?,
        "ban" => role(Role::Banned, true)?,
        "unban" => role(Role::Banned, false)?,
        "mute" => role(Role::Muted, true)?,
        "unmute" => role(Role::Muted, false)?,
        "op" => role(Role::Operator, true)?,
        "deop" => role(Role::Operator, false)?,
        "kick" => Slash::Ask(ServerCommand::Kick(handle(command, name()?)?)),
        "notify" => Slash::Screen(ScreenCommand::Notify(wish(command, rest)?)),
        "bell" => Slash::Screen(ScreenCommand::Bell(wish(command, rest)?)),
        "ignore" if rest.is_empty() => Slash::Screen(ScreenCommand::Ignore(None)),
        "ignore" => Slash::Screen(ScreenCommand::Ignore(Some(handle(command, name()?)?))),
        "unignore" => Slash::Screen(ScreenCommand::Unignore(handle(command, name()?)?)),
        "search" => Slash::Screen(ScreenCommand::Search(rest.to_owned())),
        // An argument that a command does not expect may be intended for another one.
        _ if !rest.is_empty() => return Err(wrong()),
        "rooms" => Slash::Ask(ServerCommand::Rooms),
        "back" => Slash::Ask(ServerCommand::Back),
        "clear" => Slash::Screen(ScreenCommand::Clear),
        "read" => Slash::Screen(ScreenCommand::Read),
        "quit" => Slash::Quit,
        name => return Err(unknown(name, false)),
    })
}

fn help_on(name: &str) -> Result<&'static CommandInfo, String> {
    let name = name.strip_prefix('/').unwrap_or(name);
    named(name).ok_or_else(|| unknown(name, false))
}

/// Returns the argument of a command that takes one name.
fn one_word<'a>(command: &CommandInfo, rest: &'a str) -> Result<&'a str, String> {
    if rest.contains(char::is_whitespace) { Err(command.wrong()) } else { Ok(rest) }
}

fn checked(text: String) -> Result<String, String> {
    TextRef::new(&text).map_err(|e| e.to_string())?;
    Ok(text)
}

/// Reads the name of a room; the `#` of IRC may be there.
fn room(command: &CommandInfo, written: &str) -> Result<RoomName, String> {
    if written.is_empty() {
        return Err(command.wrong());
    }
    let name = written.strip_prefix('#').unwrap_or(written);
    name.parse::<RoomName>().map_err(|e| match written.starts_with('@') {
        true => {
            format!("{} is not a room; /msg {} talks to a user", begin(written), begin(written))
        }
        false => format!("{}: {e}; usage: {}", begin(written), command.usage()),
    })
}

fn maybe_room(command: &CommandInfo, written: &str) -> Result<Option<RoomName>, String> {
    if written.is_empty() { Ok(None) } else { room(command, written).map(Some) }
}

/// Reads `@user` or `@user/label`; the `@` may be left out.
fn handle(command: &CommandInfo, written: &str) -> Result<Handle, String> {
    if written.is_empty() {
        return Err(command.wrong());
    }
    let with_at = format!("@{}", written.strip_prefix('@').unwrap_or(written));
    match with_at.parse() {
        Ok(Target::User { user, label }) => Ok(Handle { user, label }),
        Ok(Target::Room(_)) => Err(command.wrong()),
        Err(e) => Err(format!("{}: {e}; usage: {}", begin(written), command.usage())),
    }
}

/// Reads a user, for a rule that holds with any label.
fn user(command: &CommandInfo, written: &str) -> Result<UserName, String> {
    match handle(command, written)? {
        Handle { user, label: None } => Ok(user),
        Handle { user, label: Some(_) } => {
            let name = command.name;
            Err(format!("/{name} takes a user without a label: /{name} @{user}"))
        }
    }
}

fn message(command: &CommandInfo, rest: &str) -> Result<Slash, String> {
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let Handle { user, label } = handle(command, &rest[..end])?;
    let text = match text_of(&rest[end..]) {
        "" => None,
        text => Some(checked(text.to_owned())?),
    };
    Ok(Slash::Message { to: Target::User { user, label }, text })
}

fn reply(command: &CommandInfo, rest: &str) -> Result<Slash, String> {
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let seq = rest[..end].parse().map_err(|_| command.wrong())?;
    match text_of(&rest[end..]) {
        "" => Err(command.wrong()),
        text => Ok(Slash::Reply { seq, text: checked(text.to_owned())? }),
    }
}

fn wish(command: &CommandInfo, written: &str) -> Result<Option<NotifyWish>, String> {
    if written.is_empty() {
        return Ok(None);
    }
    let known = NotifyWish::of_word(&written.to_ascii_lowercase());
    known.map(Some).ok_or_else(|| command.wrong())
}

/// Reads an announcement: flags come first, and `--` ends them.
fn announce(command: &CommandInfo, rest: &str) -> Result<Slash, String> {
    let (mut level, mut ack, mut retain, mut rest) = (Level::Notice, false, false, rest);
    while rest.starts_with("--") {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (flag, after) = rest.split_at(end);
        rest = text_of(after);
        match flag.split_once('=').unwrap_or((flag, "")) {
            ("--", "") => break,
            ("--ack", "") => ack = true,
            ("--retain", "") => retain = true,
            ("--level", "") => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                level = level_of(&rest[..end])?;
                rest = text_of(&rest[end..]);
            }
            ("--level", word) => level = level_of(word)?,
            _ => return Err(format!("unknown flag {}; {}", begin(flag), command.wrong())),
        }
    }
    if rest.is_empty() {
        return Err(command.wrong());
    }
    let text = Text::new(rest).map_err(|e| e.to_string())?;
    Ok(Slash::Ask(ServerCommand::Announce { level, ack, retain, text }))
}

fn level_of(word: &str) -> Result<Level, String> {
    let known = Level::ALL.into_iter().find(|level| level.word().eq_ignore_ascii_case(word));
    known.ok_or_else(|| {
        let words = Level::ALL.map(Level::word).join(", ");
        format!("unknown level {:?}; levels are {words}", begin(word))
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::commands::{help, help_of},
        *,
    };
    use crate::chat::{message::AnnouncementId, names::Label};

    fn command(line: &str) -> Slash {
        match parse(line) {
            Ok(Line::Do(slash)) => slash,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn asks(line: &str) -> ServerCommand {
        match command(line) {
            Slash::Ask(command) => command,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn shows(line: &str) -> ScreenCommand {
        match command(line) {
            Slash::Screen(command) => command,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str, words: &[&str]) {
        let error = parse(line).expect_err(line);
        for word in words {
            assert!(error.contains(word), "{word} in {error}");
        }
    }

    fn said(line: &str) -> String {
        match parse(line) {
            Ok(Line::Say(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn ann() -> UserName {
        UserName::new("ann").unwrap()
    }

    fn dev() -> RoomName {
        RoomName::new("dev").unwrap()
    }

    #[test]
    fn text_without_command_is_sent_unchanged() {
        for text in ["hello", " /join dev", "a /b", "", "한글", "1/2", "two\n/lines"] {
            assert_eq!(said(text), text);
        }
        assert_eq!(said("//join dev"), "/join dev");
        assert_eq!(said("///"), "//");
        assert_eq!(said("//me waves"), "/me waves", "and is shown as something that one does");
    }

    #[test]
    fn text_with_unknown_command_is_never_sent() {
        refused("/jion dev", &["unknown command /jion", "did you mean /join?", "//jion"]);
        refused("/frobnicate", &["unknown command /frobnicate", "/help"]);
        refused(
            "/etc/passwd is gone",
            &["/etc/passwd is not a command", "//etc/passwd is gone sends it"],
        );
        refused("/", &["not a command"]);
        refused("/ join", &["not a command", "// join sends it"]);
        refused("/usr: full", &["/usr: is not a command"]);
        refused("/\u{1b}[2J", &["\\u{1b}"]);
        refused("/leave", &["did you mean /part?"]);
        refused("/query ann", &["did you mean /msg?"]);
        refused("/?", &["did you mean /help?"]);
        refused("/j dev", &["did you mean /join?"]);
        refused("/ㅓㅑㅐㅜ dev", &["unknown command /ㅓㅑㅐㅜ", "did you mean /join?"]);
        refused("/ㅓ dev", &["did you mean /join?"]);
        assert!(parse(&format!("/{}", "x".repeat(40_000))).unwrap_err().len() < 200);
    }

    #[test]
    fn a_command_is_known_on_the_korean_layout() {
        assert_eq!(asks("/개ㅐㅡㄴ"), ServerCommand::Rooms);
        assert_eq!(asks("/좨 dev"), ServerCommand::Who(Some(dev())));
        assert_eq!(command("/ㅓㅐㅑㅜ 회의"), Slash::Join(RoomName::new("회의").unwrap()));
        assert_eq!(command("/ㅡㄷ 손을 흔든다"), Slash::Me("/me 손을 흔든다".to_owned()));
        assert_eq!(command("/ㅗ디ㅔ 벼ㅑㅅ"), command("/help quit"));
        assert_eq!(parse_line_mode("/벼ㅑㅅ"), Ok(Line::Do(Slash::Quit)));
        assert!(
            parse_line_mode("/ㅠ디ㅣ all").unwrap_err().starts_with("/bell works on the screen")
        );
        assert_eq!(said("벼ㅑㅅ"), "벼ㅑㅅ");
        assert_eq!(said("//벼ㅑㅅ"), "/벼ㅑㅅ");
    }

    #[test]
    fn second_name_is_refused_with_usage() {
        for line in ["/ban @nobody extra", "/invite bob, ann", "/unignore ann bob", "/kick ann bob"]
        {
            let name = line[1..].split(' ').next().unwrap();
            refused(line, &[&format!("usage: /{name} @USER (")]);
        }
        refused("/join dev ops", &["usage: /join ROOM ("]);
        refused("/part dev ops", &["usage: /part [ROOM] ("]);
        refused("/who dev ops", &["usage: /who [ROOM] ("]);
        refused("/ignore ann bob", &["usage: /ignore [@USER] ("]);
        refused("/ack !3 !4", &["usage: /ack [ID] ("]);
        refused("/help join part", &["usage: /help [COMMAND] ("]);
    }

    #[test]
    fn rooms_are_entered_and_left() {
        assert_eq!(command("/join dev"), Slash::Join(dev()));
        assert_eq!(command("/JOIN  #dev "), Slash::Join(dev()));
        assert_eq!(command("/join 회의"), Slash::Join(RoomName::new("회의").unwrap()));
        assert_eq!(command("/part"), Slash::Part(None));
        assert_eq!(command("/part dev"), Slash::Part(Some(dev())));
        assert_eq!(asks("/who"), ServerCommand::Who(None));
        assert_eq!(asks("/who dev"), ServerCommand::Who(Some(dev())));
        refused("/join", &["/join ROOM"]);
        refused("/join a b", &["/join ROOM"]);
        refused("/join @ann", &["/msg @ann"]);
    }

    #[test]
    fn messages_keep_their_lines() {
        let to = |label: Option<&str>| Target::User {
            user: ann(),
            label: label.map(|label| Label::new(label).unwrap()),
        };
        let message = |to, text: Option<&str>| Slash::Message { to, text: text.map(str::to_owned) };
        assert_eq!(command("/msg @ann hi"), message(to(None), Some("hi")));
        assert_eq!(command("/msg ann  hi  there "), message(to(None), Some("hi  there")));
        assert_eq!(command("/msg @ann/ci hi"), message(to(Some("ci")), Some("hi")));
        assert_eq!(command("/msg @ann"), message(to(None), None));
        assert_eq!(command("/msg @ann a\n b"), message(to(None), Some("a\n b")));
        assert_eq!(command("/msg @ann\n  x = 1"), message(to(None), Some("  x = 1")));
        assert_eq!(command("/me waves\ntwice"), Slash::Me("/me waves\ntwice".to_owned()));
        let reply = Slash::Reply { seq: 42, text: "yes".to_owned() };
        assert_eq!(command("/reply 42 yes"), reply);
        refused("/msg", &["/msg @USER [TEXT]"]);
        refused("/msg @", &["/msg @USER [TEXT]"]);
        refused("/me", &["/me TEXT"]);
        refused("/reply yes", &["/reply NUMBER TEXT"]);
        refused("/reply 42", &["/reply NUMBER TEXT"]);
        refused(&format!("/msg ann {}", "x".repeat(40_000)), &["32768"]);
    }

    #[test]
    fn rules_are_for_users() {
        for (line, role, on) in [
            ("/invite @ann", Role::Invited, true),
            ("/ban ann", Role::Banned, true),
            ("/unban @ann", Role::Banned, false),
            ("/mute @ann", Role::Muted, true),
            ("/unmute @ann", Role::Muted, false),
            ("/op @ann", Role::Operator, true),
            ("/deop @ann", Role::Operator, false),
        ] {
            assert_eq!(asks(line), ServerCommand::Role { user: ann(), role, on });
        }
        refused("/ban @ann/ci", &["/ban @ann"]);
        refused("/ban", &["/ban @USER"]);
        refused("/kick @ann he shouts", &["/kick @USER"]);
        let label = Some(Label::new("ci").unwrap());
        assert_eq!(asks("/kick @ann/ci"), ServerCommand::Kick(Handle { user: ann(), label }));
        assert_eq!(shows("/ignore"), ScreenCommand::Ignore(None));
        assert_eq!(
            shows("/ignore @ann"),
            ScreenCommand::Ignore(Some(Handle { user: ann(), label: None }))
        );
        assert_eq!(
            shows("/unignore ann"),
            ScreenCommand::Unignore(Handle { user: ann(), label: None })
        );
        refused("/unignore", &["/unignore @USER"]);
    }

    #[test]
    fn announcements_have_flags_before_their_text() {
        let announce = |level, ack, retain, text: &str| ServerCommand::Announce {
            level,
            ack,
            retain,
            text: Text::new(text).unwrap(),
        };
        let plain = announce(Level::Notice, false, false, "lunch --now");
        assert_eq!(asks("/announce lunch --now"), plain);
        let all = announce(Level::Critical, true, true, "fire");
        assert_eq!(asks("/announce --level critical --ack --retain fire"), all);
        assert_eq!(asks("/announce --retain --level=CRITICAL --ack fire"), all);
        let flag = announce(Level::Notice, false, false, "--ack is a flag");
        assert_eq!(asks("/announce -- --ack is a flag"), flag);
        refused("/announce", &["/announce [--level L]"]);
        refused("/announce --ack", &["/announce [--level L]"]);
        refused("/announce --level loud x", &["loud", "info, notice, warning, critical"]);
        refused("/announce --loud x", &["unknown flag --loud"]);
        assert_eq!(asks("/ack"), ServerCommand::Ack(None));
        assert_eq!(asks("/ack !3"), ServerCommand::Ack(Some(AnnouncementId::Number(3))));
        refused("/ack x", &["\"x\"", "!3"]);
    }

    #[test]
    fn the_rest_of_the_commands() {
        assert_eq!(asks("/topic"), ServerCommand::Topic(None));
        assert_eq!(asks("/topic  plans "), ServerCommand::Topic(Some("plans".to_owned())));
        assert_eq!(asks("/topic --clear"), ServerCommand::Topic(Some(String::new())));
        assert_eq!(asks("/away"), ServerCommand::Away(None));
        assert_eq!(asks("/away 점심"), ServerCommand::Away(Some("점심".to_owned())));
        assert_eq!(asks("/back"), ServerCommand::Back);
        assert_eq!(shows("/notify Mentions"), ScreenCommand::Notify(Some(NotifyWish::Mentions)));
        assert_eq!(shows("/notify"), ScreenCommand::Notify(None));
        assert_eq!(shows("/bell off"), ScreenCommand::Bell(Some(NotifyWish::Off)));
        assert_eq!(shows("/search a b"), ScreenCommand::Search("a b".to_owned()));
        assert_eq!(shows("/search"), ScreenCommand::Search(String::new()));
        assert_eq!(asks("/rooms"), ServerCommand::Rooms);
        assert_eq!(shows("/read"), ScreenCommand::Read);
        assert_eq!(shows("/clear"), ScreenCommand::Clear);
        assert_eq!(command("/quit"), Slash::Quit);
        assert_eq!(command("/help"), Slash::Help(None));
        refused("/notify loud", &["/notify [off|mentions|all]"]);
        refused("/quit now", &["/quit"]);
        refused("/help jion", &["did you mean /join?"]);
    }

    #[test]
    fn each_command_is_read_and_helped() {
        for info in COMMANDS {
            assert_eq!(command(&format!("/help {}", info.name)), Slash::Help(Some(info)));
            assert_eq!(command(&format!("/help /{}", info.name)), Slash::Help(Some(info)));
            assert!(help_of(info).starts_with(&info.usage()));
            let samples = ["", " x", " 1 x"];
            let read = samples.iter().any(|args| parse(&format!("/{}{args}", info.name)).is_ok());
            assert!(read, "/{} has no meaning", info.name);
            assert!(help(false).contains(&info.usage()));
            let first = format!("/{}", info.name);
            let told = help(true).lines().any(|line| line.split(' ').next() == Some(&first));
            assert_eq!(told, info.line_mode, "{first}");
        }
    }

    #[test]
    fn line_mode_refuses_commands_of_the_screen() {
        for line in ["/clear", "/bell off", "/search x", "/reply 1 x"] {
            assert!(parse_line_mode(line).unwrap_err().contains("line mode"), "{line}");
        }
        assert!(parse_line_mode("/msg @ann").unwrap_err().contains("/msg @USER"));
        assert!(parse_line_mode("/msg @ann hi").is_ok());
        assert!(parse_line_mode("/me waves").is_ok());
        assert_eq!(parse_line_mode("//x"), Ok(Line::Say("/x".to_owned())));
    }

    #[test]
    fn actions_are_told_apart_from_texts() {
        assert_eq!(action_of("/me waves"), Some("waves"));
        assert_eq!(action_of("/me waves\ntwice"), Some("waves\ntwice"));
        for text in ["/me", "/me ", "/me  \n", "/mean", " /me waves", "/ME waves", ""] {
            assert_eq!(action_of(text), None, "{text:?}");
        }
    }
}
