//! `moot join` on a terminal: the screen, with what it needs from the command line.

use std::{io::IsTerminal, time::Instant};

use super::{
    args::{Color, JoinArgs},
    connect::Context,
    exit_code::{Exit, Failure},
    interrupt::{self, Leave},
    notify::Notifier,
    output,
};
use crate::{
    chat::names::RoomName,
    client::{Member, WakeReceiver},
    config::{
        TomlFile as _,
        screen::{NotifyBy, ScreenSettings},
    },
    os::{self, Places},
    tui::{self, End, Farewell, Input, ScreenError, Setup},
};

/// Returns true if the terminal can show a screen.
pub(super) fn is_possible(context: &Context) -> bool {
    !context.global.plain
        && !context.global.json
        && std::io::stdin().is_terminal()
        && std::io::stdout().is_terminal()
        && !output::is_dumb()
}

/// Reads the file of settings; wrong settings are reported before anything is begun.
pub(super) fn settings(args: &JoinArgs) -> Result<ScreenSettings, Failure> {
    let path = ScreenSettings::beside(&os::config_path(false));
    let settings = ScreenSettings::load(args.settings.as_deref(), &path)
        .map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
    tui::check(&settings).map_err(|text| {
        let path = args.settings.as_deref().unwrap_or(&path);
        Failure::new(Exit::Usage, format!("{}: {text}", path.display()))
    })?;
    Ok(settings)
}

/// Shows the screen until its user leaves.
pub(super) fn run(
    context: &mut Context,
    args: &JoinArgs,
    settings: ScreenSettings,
    rooms: Vec<RoomName>,
    (member, places): (Member, Places),
    interrupted: WakeReceiver<Leave>,
) -> Result<Exit, Failure> {
    let failed = |e| Failure::new(Exit::Failed, format!("can't wait for input: {e}"));
    let (to_loop, inputs) = WakeReceiver::new(tui::INPUTS_MAX).map_err(failed)?;
    interrupt::forward(interrupted, to_loop.clone(), |_| Input::Leave)?;
    let timeout = context.global.timeout;
    let setup = Setup {
        notifier: notifier(&settings),
        server: name_of(context, &places),
        settings,
        places,
        label: context.global.label.clone(),
        rooms,
        // The will is for these rooms, and for no others.
        only_named: args.will.is_some(),
        read_only: args.read_only,
        utc: context.global.utc,
        color: match context.global.color {
            Color::Auto => None,
            Color::Always => Some(true),
            Color::Never => Some(false),
        },
        until: timeout.map(|t| Instant::now() + t.into()),
        signals_to_child: interrupt::leave_to_child_for_now,
    };
    let Farewell { end, notes } =
        tui::run(member, setup, &inputs, to_loop).map_err(|e| match e {
            ScreenError::Settings(text) => Failure::new(Exit::Usage, text),
            e @ ScreenError::Terminal(_) => Failure::new(Exit::Failed, e.to_string()),
        })?;
    for note in &notes {
        context.out.warn(note);
    }
    match end {
        End::Quit => Ok(Exit::Done),
        End::Interrupted => Ok(Exit::Interrupted),
        End::TimedOut => Ok(Exit::TimedOut),
        End::Refused(e) => Err(e.into()),
    }
}

/// As people name the server.
fn name_of(context: &Context, places: &Places) -> String {
    match &context.global.server {
        Some(server) => server.clone(),
        None if places.host => "host".to_owned(),
        None => String::new(),
    }
}

fn notifier(settings: &ScreenSettings) -> Option<tui::Show> {
    let is_wanted = match settings.notify.by {
        NotifyBy::Tool => true,
        NotifyBy::Terminal => false,
        // Without a desktop the tool would fail each time.
        NotifyBy::Auto => os::has_desktop(),
    };
    if !is_wanted {
        return None;
    }
    let notifier = Notifier::find().ok()?;
    Some(Box::new(move |message| notifier.show(message)))
}
