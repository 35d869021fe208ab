//! The needs of the screen and its results: settings, input, the way it ended.

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

/// What is pressed or comes besides, waiting for the loop.
pub(crate) const INPUTS_MAX: usize = 16;

/// What comes to the loop besides the session.
#[derive(Debug)]
pub(crate) enum Input {
    /// From the terminal; none once it is gone.
    Keys(Vec<Key>),
    /// A signal, or nobody is there any more.
    Leave,
    /// The pager or the editor has ended: what became of the text.
    Back(Result<Option<String>, String>),
}

/// Shows a message on the desktop.
pub(crate) type Show = Box<dyn FnMut(&Message)>;

/// What the screen needs from its caller.
pub(crate) struct Setup {
    /// What is set in the file.
    pub(crate) settings: ScreenSettings,
    /// Where the server lives.
    pub(crate) places: Places,
    /// As it is named to the user.
    pub(crate) server: String,
    /// Of `--as`.
    pub(crate) label: Option<Label>,
    /// To begin with; the first one is shown.
    pub(crate) rooms: Vec<RoomName>,
    /// Other rooms that the name follows are not opened.
    pub(crate) only_named: bool,
    /// Nothing is said.
    pub(crate) read_only: bool,
    /// Times are shown in UTC.
    pub(crate) utc: bool,
    /// `--color`: always, never; else as the terminal and the settings say.
    pub(crate) color: Option<bool>,
    /// When to end.
    pub(crate) until: Option<Instant>,
    /// Shows a message on the desktop, if there is one.
    pub(crate) notifier: Option<Show>,
    /// Says whether signals are the affair of a program that has the terminal now.
    pub(crate) signals_to_child: fn(bool),
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("rooms", &self.rooms).finish_non_exhaustive()
    }
}

/// How the screen ended.
#[derive(Debug)]
pub(crate) enum End {
    /// As its user wished.
    Quit,
    /// By Ctrl-C or a signal.
    Interrupted,
    /// The time that was given is over.
    TimedOut,
    /// The server will not have it again.
    Refused(Refused),
}

/// What is to be said once the terminal is as it was.
#[derive(Debug)]
pub(crate) struct Farewell {
    /// How it ended.
    pub(crate) end: End,
    /// Something that the user has to know.
    pub(crate) notes: Vec<String>,
}

/// Why there is no screen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScreenError {
    /// A key of the settings.
    #[error("{0}")]
    Settings(String),
    /// The terminal.
    #[error("the terminal: {0}")]
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

/// Checks what the settings say of keys, before anything is begun.
///
/// # Errors
/// If a name or a key is not known, or a key does two things.
pub fn check(settings: &ScreenSettings) -> Result<(), String> {
    Keys::new(&settings.keys).map(drop)
}
