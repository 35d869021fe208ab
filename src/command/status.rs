//! `moot status` and `moot stop`: how the server is, and its end. Both speak frozen frames only.

use std::time::{Duration, Instant};

use super::{
    args::StatusArgs,
    connect::Context,
    exit::{Exit, Failure},
    json, render,
};
use crate::{
    chat::verbs::{Reply, Request},
    client::{Link, LinkError, Told},
    os::{self, Places},
    server::Status,
    session::{ConnectError, Connection},
    wire::frame::Kind,
};

/// How often `--watch` looks, and how often `stop` looks whether the server has ended.
const WATCH_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a healthy server may take to say how it is.
const HEALTHY_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn status(context: &mut Context, args: &StatusArgs) -> Result<Exit, Failure> {
    if args.audit {
        return audit(context);
    }
    let since = Instant::now();
    loop {
        let exit = show(context)?;
        if !args.watch {
            return Ok(exit);
        }
        context.out.flush()?;
        if context.is_late(since) {
            return Ok(Exit::TimedOut);
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

/// What operators did, oldest first.
fn audit(context: &mut Context) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    let mut all = Vec::new();
    loop {
        let skip = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let Reply::Audit { entries, more } = link.ask(&Request::Audit { skip })? else {
            return Err(Failure::new(Exit::Failed, "unexpected answer to audit"));
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
            false => context.out.line(&render::audit(entry))?,
        }
    }
    Ok(Exit::Done)
}

fn show(context: &mut Context) -> Result<Exit, Failure> {
    let places = context.places()?;
    let status = match ask(context, &places) {
        Ok(status) => status,
        Err(LinkError::TimedOut | LinkError::Connect(ConnectError::TimedOut(_))) => {
            // It holds its lock and does not answer: it hangs, or was stopped by a signal.
            return Err(Failure::new(Exit::Failed, "degraded: server not responding"));
        }
        Err(e) => return Err(e.into()),
    };
    match context.global.json {
        true => context.out.json(&json::status(&status))?,
        false => context.out.lines(&render::status(&status))?,
    }
    for what in &status.degraded {
        context.out.note(&format!("degraded: {what}"));
    }
    Ok(if status.degraded.is_empty() { Exit::Done } else { Exit::Failed })
}

fn ask(context: &Context, places: &Places) -> Result<Status, LinkError> {
    let wait = context.global.timeout.map_or(HEALTHY_WITHIN, Duration::from);
    // A connection that does not shake hands: an old server answers the frozen kinds all the same.
    let mut link = Link::bare(Connection::open(&places.socket(), wait)?);
    link.set_deadline(Some(Instant::now() + wait));
    link.queue_frozen(Kind::Status);
    loop {
        if let Told::Status(body) = link.wait()? {
            return serde_json::from_slice(&body).map_err(|e| LinkError::Protocol(e.to_string()));
        }
    }
}

pub(super) fn stop(context: &mut Context) -> Result<Exit, Failure> {
    let places = context.places()?;
    let deadline = context.deadline();
    let connection = context.connect()?;
    let mut link = Link::bare(connection);
    link.set_deadline(Some(deadline));
    link.queue_frozen(Kind::Stop);
    loop {
        match link.wait() {
            Ok(_) => {}
            Err(LinkError::Ended(_) | LinkError::Io(_)) => break,
            Err(e) => return Err(e.into()),
        }
    }
    // Its lock goes last, when everything is put away.
    while os::is_served(&places) {
        if Instant::now() >= deadline {
            return Err(Failure::new(Exit::TimedOut, "the server has not ended yet"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(Exit::Done)
}
