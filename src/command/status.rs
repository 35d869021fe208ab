//! `moot status` and `moot stop`: how the server is, and its end. Both speak frozen frames only.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use super::{
    args::StatusArgs,
    connect::{Context, open},
    exit_code::{Exit, Failure},
    json, metrics,
    output::Output,
    render,
};
use crate::{
    chat::{reply::Reply, request::Request, text::shown},
    client::{Link, LinkError},
    limits::ANSWER_MS_DEFAULT,
    os::{self, Places},
    server::Status,
    session::{ConnectError, Connection},
};

/// Interval between looks of `--watch`; next, that of `stop` until the server has ended.
const WATCH_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// After what time `stop` says what it waits for.
const NOTED_AFTER: Duration = Duration::from_secs(1);
/// Maximum time for a healthy server to report its state.
const HEALTHY_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn status(context: &mut Context, args: &StatusArgs) -> Result<Exit, Failure> {
    match args {
        StatusArgs { audit: true, .. } => audit(context),
        StatusArgs { metrics: true, .. } => show_metrics(context),
        StatusArgs { watch: true, .. } => watch(context),
        StatusArgs { audit: false, metrics: false, watch: false } => {
            let status = look(context)?;
            show(context, &status)?;
            for what in &status.degraded {
                context.out.note(&format!("degraded: {what}"));
            }
            Ok(exit_of(&status))
        }
    }
}

fn exit_of(status: &Status) -> Exit {
    if status.degraded.is_empty() { Exit::Done } else { Exit::Failed }
}

fn show(context: &mut Context, status: &Status) -> Result<(), Failure> {
    match context.global.json {
        true => context.out.json(&json::status(status)),
        false => context.out.lines(&render::status(status)),
    }
}

/// For a collector: who has no server, or one that hangs, learns that in the same form.
fn show_metrics(context: &mut Context) -> Result<Exit, Failure> {
    let status = look(context);
    match &status {
        Ok(status) => context.out.lines(&metrics::metrics(Some(status)))?,
        Err(failure) if is_down(failure) => context.out.lines(&metrics::metrics(None))?,
        Err(_) => {}
    }
    let status = status?;
    for what in &status.degraded {
        context.out.note(&format!("degraded: {what}"));
    }
    Ok(exit_of(&status))
}

fn is_down(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::NoServer | Exit::Failed)
}

/// Shows it again and again. There has to be a server at first; when it goes, the next one is
/// waited for.
fn watch(context: &mut Context) -> Result<Exit, Failure> {
    let since = Instant::now();
    let mut last = Ok(look(context)?);
    let mut is_first = true;
    loop {
        match &last {
            Ok(status) => show_again(context, status, is_first)?,
            Err(Failure { text, .. }) if context.out.redraws() => context.out.redraw(text)?,
            Err(_) => {}
        }
        is_first = false;
        if context.is_late(since) {
            return Ok(Exit::TimedOut);
        }
        let left =
            context.global.timeout.map(|t| Duration::from(t).saturating_sub(since.elapsed()));
        std::thread::sleep(left.map_or(WATCH_EVERY, |left| left.min(WATCH_EVERY)));
        let was_there = last.is_ok();
        last = look(context);
        match &last {
            Err(failure) if !is_down(failure) => return Err(failure.clone()),
            // Said once; then it is quiet until there is something to show.
            Err(failure) if was_there && !context.out.redraws() => {
                Output::error(failure, context.global.json);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

fn show_again(context: &mut Context, status: &Status, is_first: bool) -> Result<(), Failure> {
    if context.global.json {
        return show(context, status);
    }
    let degraded = status.degraded.iter();
    let degraded: String =
        degraded.map(|what| format!("{:<11} {}\n", "degraded", shown(what, false))).collect();
    let block = render::status(status) + &degraded;
    if context.out.redraws() {
        return context.out.redraw(&block);
    }
    if !is_first {
        context.out.line("")?;
    }
    context.out.lines(&block)
}

/// Prints the actions of operators, oldest first.
fn audit(context: &mut Context) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    let mut all = Vec::new();
    loop {
        let skip = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let Reply::Audit { entries, more } = link.ask(&Request::Audit { skip })? else {
            return Err(Failure::new(Exit::Failed, "unexpected reply to audit"));
        };
        all.extend(entries);
        if !more {
            break;
        }
    }
    link.quit();
    for entry in all.iter().rev() {
        match context.global.json {
            true => context.out.json(&json::audit(entry))?,
            false => context.out.line(&render::audit(entry, &context.out.style(false)))?,
        }
    }
    Ok(Exit::Done)
}

/// Returns the state that the server reports.
fn look(context: &Context) -> Result<Status, Failure> {
    let places = context.places()?;
    let wait = context.global.timeout.map_or(HEALTHY_WITHIN, Duration::from);
    ask(&places, wait).map_err(|e| match e {
        e if is_silence(&e) => {
            // It holds its lock and does not answer: it hangs, or was stopped by a signal.
            Failure::new(Exit::Failed, "degraded: server not responding")
        }
        LinkError::Connect(e) => context.no_connection(e, &places),
        e => e.into(),
    })
}

/// Returns true if the server does not answer in time.
pub(super) fn is_silence(e: &LinkError) -> bool {
    matches!(e, LinkError::TimedOut | LinkError::Connect(ConnectError::TimedOut(_)))
}

/// Asks the server of these places how it is, in frames that every version answers.
pub(super) fn ask(places: &Places, wait: Duration) -> Result<Status, LinkError> {
    // A connection that does not shake hands: an old server answers the frozen kinds all the same.
    let mut link = Link::bare(open(places, wait)?);
    link.set_deadline(Some(Instant::now() + wait));
    serde_json::from_slice(&link.status()?).map_err(|e| LinkError::Protocol(e.to_string()))
}

fn ask_to_end(connection: Connection, deadline: Instant) -> Result<(), Failure> {
    let mut link = Link::bare(connection);
    link.set_deadline(Some(deadline));
    Ok(link.stop()?)
}

pub(super) fn stop(context: &mut Context) -> Result<Exit, Failure> {
    let places = context.places()?;
    let deadline = context.deadline();
    let wait = deadline.saturating_duration_since(Instant::now());
    match open(&places, wait) {
        Ok(connection) => ask_to_end(connection, deadline)?,
        // Its socket was removed and stays away: its process is asked.
        Err(ConnectError::NoServer(_)) if os::end_holder(&places.lock()).is_ok() => {}
        Err(e) => return Err(context.no_connection(e, &places)),
    }
    wait_for_end(context, &places, deadline)?;
    context.out.ok("stop", &[])?;
    Ok(Exit::Done)
}

/// Waits until a server that is ending has put everything away: its lock goes last. Without
/// `--timeout`, as long as it works on its files.
fn wait_for_end(context: &Context, places: &Places, deadline: Instant) -> Result<(), Failure> {
    let patience = Duration::from_millis(ANSWER_MS_DEFAULT);
    let (since, mut until, mut is_noted) = (Instant::now(), deadline, false);
    let mut seen = traces_of_work(places);
    while os::is_served(places) {
        let now = Instant::now();
        if context.global.timeout.is_none() && !is_noted && now - since >= NOTED_AFTER {
            is_noted = true;
            context.out.note("the server is writing its history to disk; waiting");
        }
        let new = traces_of_work(places);
        if context.global.timeout.is_none() && new != seen {
            seen = new;
            until = until.max(now + patience);
        }
        if now >= until {
            let text = "the server was asked to stop, and still runs; `moot stop` waits again";
            return Err(Failure::new(Exit::TimedOut, text));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Sizes and times of the files that a server writes before it ends.
fn traces_of_work(places: &Places) -> Vec<(u64, Option<SystemTime>)> {
    let history = places.history();
    let index = history.with_file_name("search.db");
    let logs = [&history, &index].map(|path| {
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        log.into()
    });
    let files = [history, index].into_iter().chain(logs);
    let look = |path: PathBuf| path.symlink_metadata().ok();
    files.filter_map(look).map(|meta| (meta.len(), meta.modified().ok())).collect()
}
