//! Desktop notifications, by the tool that the system has for them.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use super::exit::{Exit, Failure};
use crate::chat::{
    member::Level,
    message::{Message, StreamName},
    text::shown,
};

/// Characters of a text that a notification shows.
const TEXT_CHARS_MAX: usize = 500;

/// A tool that shows notifications.
#[derive(Debug, Clone)]
pub(super) enum Notifier {
    /// `notify-send`, of the desktops of Linux and the BSDs.
    NotifySend(PathBuf),
    /// `osascript`, of macOS.
    Osascript(PathBuf),
}

impl Notifier {
    /// The tool of this system.
    pub(super) fn find() -> Result<Self, Failure> {
        let tool = |name: &str| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
        };
        let found = tool("notify-send")
            .map(Self::NotifySend)
            .or_else(|| tool("osascript").map(Self::Osascript));
        found.ok_or_else(|| {
            let text = "no tool for notifications was found (notify-send, osascript)";
            Failure::new(Exit::Failed, text)
        })
    }

    /// Shows a message. Whether the desktop does is its own affair; nobody waits for it.
    pub(super) fn show(&self, message: &Message) {
        let (title, text) = (title(message), body(message));
        let mut command = match self {
            Self::NotifySend(tool) => {
                let mut command = Command::new(tool);
                command.args(["--app-name=moot", urgency(message)]);
                // The text may be markup there.
                command.args(["--", &title, &escaped(&text)]);
                command
            }
            Self::Osascript(tool) => {
                let mut command = Command::new(tool);
                command.args(["-e", "on run argv"]);
                command.args([
                    "-e",
                    "display notification (item 2 of argv) with title (item 1 of argv)",
                ]);
                command.args(["-e", "end run", "--", &title, &text]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let show = move || {
            let _ = command.status();
        };
        // It waits for the tool to end, which takes as long as it takes.
        let _ = std::thread::Builder::new().name("moot-notify".to_owned()).spawn(show);
    }
}

fn title(message: &Message) -> String {
    match (&message.notice, &message.id.stream) {
        (Some(notice), _) => format!("{} from {}", notice.level.word(), message.from),
        (None, StreamName::Room(room)) => format!("{} in {room}", message.from),
        (None, StreamName::Direct(_) | StreamName::Announcements) => message.from.to_string(),
    }
}

fn body(message: &Message) -> String {
    shown(&message.text, true).chars().take(TEXT_CHARS_MAX).collect()
}

fn urgency(message: &Message) -> &'static str {
    match message.notice.as_ref().map(|notice| notice.level) {
        Some(Level::Critical) => "--urgency=critical",
        Some(Level::Info) => "--urgency=low",
        Some(Level::Notice | Level::Warning) | None => "--urgency=normal",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
