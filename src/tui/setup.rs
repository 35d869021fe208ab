//! Interface of the screen: settings, input, the way it ended.

use std::{io, time::Instant};

use crossterm::event::Event as Key;
use jiff::tz::TimeZone;

use super::{
    keys::Keys,
    model::{Look, Options},
    paint::{Depth, Paint},
};
use crate::{
    chat::{
        message::Message,
        names::{Label, RoomName},
    },
    config::screen::{Joins, ScreenSettings},
    os::Places,
    wire::hello::Refused,
};

/// Maximum number of inputs that wait for the loop.
pub(crate) const INPUTS_MAX: usize = 16;

/// Input of the loop beside the session.
#[derive(Debug)]
pub(crate) enum Input {
    /// Batch of keys from the terminal; none once it is gone.
    Keys(Vec<Key>),
    /// A signal, or the terminal was closed.
    Leave,
    /// The pager or the editor has ended, with the edited text.
    Back(Result<Option<String>, String>),
}

/// Shows a message on the desktop.
pub(crate) type Show = Box<dyn FnMut(&Message)>;

/// Parts of the screen that its caller gives.
pub(crate) struct Setup {
    /// Settings of the file.
    pub(crate) settings: ScreenSettings,
    /// Paths of the server.
    pub(crate) places: Places,
    /// Name of the server for the user.
    pub(crate) server: String,
    /// Label of `--as`.
    pub(crate) label: Option<Label>,
    /// Rooms to open; the first one is shown.
    pub(crate) rooms: Vec<RoomName>,
    /// True if other rooms that the name follows are not opened.
    pub(crate) only_named: bool,
    /// True if nothing can be sent.
    pub(crate) read_only: bool,
    /// True if times are shown in UTC.
    pub(crate) utc: bool,
    /// `--color`: always, never; otherwise the terminal and the settings decide.
    pub(crate) color: Option<bool>,
    /// Time to end.
    pub(crate) until: Option<Instant>,
    /// Shows a message on the desktop, if there is one.
    pub(crate) notifier: Option<Show>,
    /// Leaves signals to the program that has the terminal, or handles them again.
    pub(crate) signals_to_child: fn(bool),
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("rooms", &self.rooms).finish_non_exhaustive()
    }
}

/// End of the screen.
#[derive(Debug)]
pub(crate) enum End {
    /// The user left.
    Quit,
    /// Ctrl-C or a signal.
    Interrupted,
    /// The given time has passed.
    TimedOut,
    /// The server does not admit the user again.
    Refused(Refused),
}

/// Result of the screen, once the terminal is restored.
#[derive(Debug)]
pub(crate) struct Farewell {
    /// End of the screen.
    pub(crate) end: End,
    /// Messages that the user has to know.
    pub(crate) notes: Vec<String>,
}

/// Reason why no screen could be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScreenError {
    /// A key of the settings.
    #[error("{0}")]
    Settings(String),
    /// An error of the terminal.
    #[error("can't use the terminal: {0}")]
    Terminal(#[from] io::Error),
}

pub(super) fn options(setup: &Setup, user: &str) -> Result<Options, ScreenError> {
    let settings = &setup.settings;
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let wish = match setup.color {
        Some(false) => "none",
        Some(true) | None => settings.colors.depth.word(),
    };
    let no_color = env("NO_COLOR").is_some() && setup.color != Some(true);
    let depth = Depth::detect(wish, no_color, env("TERM").as_deref(), env("COLORTERM").as_deref());
    Ok(Options {
        keys: Keys::new(&settings.keys).map_err(ScreenError::Settings)?,
        look: Look {
            paint: Paint::new(depth, settings.colors.names),
            zone: if setup.utc { TimeZone::UTC } else { TimeZone::system() },
            time_format: settings.times.format.clone(),
            date_format: settings.times.date.clone(),
            plain: false,
            links: settings.colors.links,
            hide_moves: settings.history.joins == Joins::Hide,
            user: user.to_owned(),
            words: Vec::new(),
        },
        rooms_panel: settings.panels.rooms,
        members_panel: settings.panels.members,
        rooms_columns: settings.panels.rooms_columns.into(),
        members_columns: settings.panels.members_columns.into(),
        bell: settings.bell.when,
        notify: settings.notify.when,
        paste_lines: settings.input.paste_lines.into(),
        mouse: settings.input.mouse,
        lines: usize::try_from(settings.history.lines).unwrap_or(usize::MAX),
        only_named: setup.only_named,
        read_only: setup.read_only,
        label: setup.label.clone(),
        server: setup.server.clone(),
    })
}

/// Checks the keys of the settings, before the screen opens.
///
/// # Errors
/// Returns an error if a name or a key is unknown, or if a key has two actions.
pub fn check(settings: &ScreenSettings) -> Result<(), String> {
    Keys::new(&settings.keys).map(drop)
}
