//! `moot serve`: runs the server.

use std::{io::IsTerminal, time::Duration};

use super::{
    args::{Broadcast, OnOff, ServeArgs},
    connect::Context,
    exit::{Exit, Failure},
    interrupt,
};
use crate::{
    config::{Settings, TomlFile as _},
    os::{self, Places},
    server::{self, Log, Options, ServerError, Stop},
};

pub(super) fn run(context: &mut Context, args: &ServeArgs) -> Result<Exit, Failure> {
    // First of all: this process has no threads yet that could look at its environment.
    let refused = |e| {
        Failure::new(Exit::Failed, format!("can't use what the service manager handed over: {e}"))
    };
    let (manager, handed_over) = os::ServiceManager::from_environment().map_err(refused)?;
    let places =
        os::resolve_own(context.global.server.as_deref(), &os::Env::from_process(), args.system)?;
    // Before anything is made: the manager's unit may name another directory.
    handed_over
        .as_ref()
        .map_or(Ok(()), |handed| handed.check(&places.socket()))
        .map_err(refused)?;
    let settings = Settings::load(context.global.config.as_deref(), &os::config_path(args.system))
        .map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
    if args.check {
        match context.global.json {
            true => context.out.ok("serve --check", &[])?,
            false => context.out.line("the configuration is good")?,
        }
        return Ok(Exit::Done);
    }
    let log = match args.detached {
        true => {
            os::prepare(&places, args.system)?;
            Log::file(&places.log()).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?
        }
        false => Log::stderr(context.global.verbose),
    };
    let broadcast = match args.broadcast {
        Some(choice) => choice == Broadcast::Auto,
        None => settings.broadcast.auto(),
    };
    let idle_exit = args.idle_exit.map(Duration::from).or(settings.idle_exit().ok().flatten());
    let history = args.history.map_or(settings.history.enabled, |choice| choice == OnOff::On);
    let options = Options {
        places,
        settings,
        system: args.system,
        broadcast,
        history,
        idle_exit,
        manager,
        handed_over,
    };
    let stop = Stop::default();
    stop_on_signal(&stop);
    let detached = args.detached;
    let ready = |places: &Places| say_ready(context, places, detached);
    match server::run(options, log, &stop, ready) {
        Ok(()) => Ok(Exit::Done),
        Err(ServerError::Place(e)) => Err(e.into()),
        Err(e) => Err(Failure::new(Exit::Failed, e.to_string())),
    }
}

/// On standard error for people; on standard output too if that is a pipe or a file: whoever started
/// the server reads there that it is ready.
fn say_ready(context: &mut Context, places: &Places, detached: bool) {
    let line = format!("listening on {}", places.socket().display());
    if detached || !std::io::stdout().is_terminal() {
        // A closed pipe is no reason to end.
        let _ = context.out.line(&line).and_then(|()| context.out.flush());
    }
    if detached {
        os::let_go_of_starter();
    } else {
        context.out.note(&line);
    }
}

fn stop_on_signal(stop: &Stop) {
    // Without that, or without a thread, the server runs, and `moot stop` ends it.
    let Ok(wish) = interrupt::catch_for_good() else { return };
    let stop = stop.clone();
    let waiter = std::thread::Builder::new().name("moot-stop".to_owned()).spawn(move || {
        while wish.recv().is_some() {
            stop.stop();
        }
    });
    drop(waiter);
}
