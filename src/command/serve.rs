//! `moot serve`: runs the server.

use std::{io::IsTerminal, time::Duration};

use super::{
    args::{Broadcast, OnOff, ServeArgs},
    connect::Context,
    exit_code::{Exit, Failure},
    interrupt,
};
use crate::{
    client::SERVED,
    config::{ConfigError, Settings, TomlFile as _},
    os::{self, Places},
    server::{self, Log, Options, ServerError, Stop},
};

pub(super) fn run(context: &mut Context, args: &ServeArgs) -> Result<Exit, Failure> {
    // First of all: this process has no threads yet that could look at its environment.
    let refused =
        |e| Failure::new(Exit::Failed, format!("can't use the socket of the service manager: {e}"));
    let (manager, handed_over) = os::ServiceManager::from_environment().map_err(refused)?;
    let places =
        os::resolve_own(context.global.server.as_deref(), &os::Env::from_process(), args.system)?;
    // Before anything is made: the manager's unit may name another directory.
    handed_over
        .as_ref()
        .map_or(Ok(()), |handed| handed.check(&places.socket()))
        .map_err(refused)?;
    let load = loader(context, args.system)?;
    let settings = load().map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
    if args.check {
        settings.unknown_names().iter().for_each(|what| context.out.warn(what));
        match context.global.json {
            true => context.out.ok("serve --check", &[])?,
            false => context.out.line("the configuration is valid")?,
        }
        return Ok(Exit::Done);
    }
    let log = match args.detached {
        true => {
            os::prepare(&places, args.system)?;
            let path = places.log();
            let failed = |e| Failure::new(Exit::Failed, format!("{}: {e}", path.display()));
            Log::file(&path).map_err(failed)?
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
    stop.reload_by(load);
    stop_on_signal(&stop, args);
    let detached = args.detached;
    let ready = |places: &Places| say_ready(context, places, detached);
    match server::run(options, log, &stop, ready) {
        Ok(()) => Ok(Exit::Done),
        Err(ServerError::Place(e)) => Err(e.into()),
        Err(e @ ServerError::Running { .. }) if detached => {
            // For the process that started this one; its pipe may be closed.
            let _ = context.out.line(SERVED).and_then(|()| context.out.flush());
            Err(Failure::new(Exit::Failed, e.to_string()))
        }
        Err(e) => Err(Failure::new(Exit::Failed, e.to_string())),
    }
}

/// On standard error for people; on standard output too if that is a pipe or a file: the process
/// that started the server reads there that it is ready.
fn say_ready(context: &mut Context, places: &Places, detached: bool) {
    let line = format!("listening on {}", places.socket().display());
    if detached || !std::io::stdout().is_terminal() {
        // A closed pipe does not end the server.
        let _ = context.out.line(&line).and_then(|()| context.out.flush());
    }
    if detached {
        os::let_go_of_starter();
    } else {
        context.out.note(&line);
    }
}

/// Reads the configuration, also when the working directory is another one.
fn loader(
    context: &Context,
    system: bool,
) -> Result<impl Fn() -> Result<Settings, ConfigError> + Send + Sync + 'static, Failure> {
    let named = context.global.config.as_deref().map(std::path::absolute).transpose();
    let named = named.map_err(|e| Failure::new(Exit::Usage, format!("--config: {e}")))?;
    let usual = os::config_path(system);
    Ok(move || Settings::load(named.as_deref(), &usual))
}

fn stop_on_signal(stop: &Stop, args: &ServeArgs) {
    let of_hangup = stop.clone();
    // Daemons read their configuration again; a server in the background belongs to no terminal.
    let done = match (args.system, args.detached) {
        (true, _) => os::on_hangup(true, move || of_hangup.reload()),
        (false, true) => os::on_hangup(true, || {}),
        (false, false) => os::on_hangup(false, move || {
            of_hangup.stop_since("its terminal closed, or another process sent SIGHUP");
        }),
    };
    // Without it SIGHUP ends the server like any other program.
    drop(done);
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
