//! Desktop notifications, by the tool that the system has for them.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crossbeam_channel::{Sender, bounded};

use super::exit_code::{Exit, Failure};
use crate::chat::{
    member::Level,
    message::{Message, StreamName},
    text::shown,
};

/// Characters of a text that a notification shows.
const TEXT_CHARS_MAX: usize = 500;

/// Notifications that may wait for the tool; what comes while it does not keep up is not shown by
/// it.
const WAITING_MAX: usize = 16;

/// The tool that shows notifications, and the thread that runs it.
#[derive(Debug)]
pub(super) struct Notifier {
    tool: Tool,
    to_tool: Sender<Command>,
}

#[derive(Debug)]
enum Tool {
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
            .map(Tool::NotifySend)
            .or_else(|| tool("osascript").map(Tool::Osascript));
        let Some(tool) = found else {
            let text = "no program for notifications found; install notify-send or osascript";
            return Err(Failure::new(Exit::Failed, text));
        };
        let (to_tool, waiting) = bounded::<Command>(WAITING_MAX);
        let show = move || {
            for mut command in waiting {
                // It ends when it likes to; some wait until the notification is closed.
                let _ = command.status();
            }
        };
        let thread = std::thread::Builder::new().name("moot-notify".to_owned()).spawn(show);
        thread.map_err(|e| Failure::new(Exit::Failed, format!("can't start a thread: {e}")))?;
        Ok(Self { tool, to_tool })
    }

    /// Hands over a message. The desktop may show it or not; moot does not wait for it.
    pub(super) fn show(&self, message: &Message) {
        let (title, text) = (title(message), body(message));
        let mut command = match &self.tool {
            Tool::NotifySend(tool) => {
                let mut command = Command::new(tool);
                command.args(["--app-name=moot", urgency(message)]);
                // The text may be markup there.
                command.args(["--", &title, &escaped(&text)]);
                command
            }
            Tool::Osascript(tool) => {
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
        let _ = self.to_tool.try_send(command);
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
