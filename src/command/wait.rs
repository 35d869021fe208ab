//! `moot wait`: ends when something is said, or when somebody is here or gone.

use std::time::{Duration, Instant};

use super::{
    args::{ExecArgs, ListenArgs, ListenTarget, Somebody, WaitArgs},
    connect::Context,
    exit::{Exit, Failure},
    json, listen, render, rooms, who,
};
use crate::{
    chat::{names::RoomName, roster::Row},
    client::Link,
    os::{self, ProcessWatch},
    presence::{ReadError, ServerState, Snapshot},
};

/// How often it looks at the presence table: shared memory, which costs nobody anything.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often it asks the server about a room of which the table says nothing.
const ASK_EVERY: Duration = Duration::from_millis(250);

pub(super) fn run(context: &mut Context, args: &WaitArgs) -> Result<Exit, Failure> {
    match (&args.gone, &args.here) {
        (Some(whom), _) => until(context, args, whom, false),
        (None, Some(whom)) => until(context, args, whom, true),
        (None, None) => message(context, args),
    }
}

/// Listens until enough has been said.
fn message(context: &mut Context, args: &WaitArgs) -> Result<Exit, Failure> {
    let listen = ListenArgs {
        targets: args.target.iter().cloned().collect(),
        announcements: false,
        level: None,
        count: Some(args.count),
        idle: None,
        last: None,
        since: args.since.clone(),
        mentions: false,
        matches: args.matches.clone(),
        from: args.from.clone(),
        notify: false,
        raw: args.raw,
        exec: ExecArgs::default(),
        fail_fast: false,
        no_reconnect: false,
        will: None,
        kind: None,
    };
    // What nobody serves, nobody will say.
    let connection = context.connect()?;
    let places = context.places()?;
    listen::listen(context, &listen, connection, places, true)
}

/// A process that was here.
struct Seen {
    pid: u32,
    start: u64,
    /// None if it can't be watched: then its row has to do.
    watch: Option<ProcessWatch>,
}

impl Seen {
    fn has_ended(&self) -> bool {
        match &self.watch {
            Some(watch) => watch.ended().unwrap_or(true),
            None => os::start_of(self.pid).is_none_or(|start| start != self.start),
        }
    }
}

/// Looks at the presence table until somebody is there, or until all of their processes have ended.
fn until(
    context: &mut Context,
    args: &WaitArgs,
    whom: &Somebody,
    here: bool,
) -> Result<Exit, Failure> {
    let room = match &args.target {
        None => None,
        Some(ListenTarget::Room(room)) => Some(room),
        Some(ListenTarget::With(_) | ListenTarget::ToMe) => {
            let text = "--here and --gone can be narrowed to a room, and to nothing else";
            return Err(Failure::new(Exit::Usage, text));
        }
    };
    let since = Instant::now();
    let mut look = Look { whom, room, link: None, asked: None, said: Vec::new() };
    let mut seen: Vec<Seen> = Vec::new();
    if look.rows(context)?.is_none() {
        return Err(context.no_server()?);
    }
    loop {
        let found = look.rows(context)?;
        if here {
            if let Some(rows) = found.as_deref().filter(|rows| !rows.is_empty()) {
                show_rows(context, rows)?;
                return Ok(Exit::Done);
            }
        } else {
            // In a room it is enough to have left it; else the process has to be gone.
            for row in found.iter().flatten().filter(|_| room.is_none()) {
                if !seen.iter().any(|seen| (seen.pid, seen.start) == (row.pid, row.start)) {
                    let watch = ProcessWatch::of_process(row.pid, row.start).ok();
                    seen.push(Seen { pid: row.pid, start: row.start, watch });
                }
            }
            seen.retain(|seen| !seen.has_ended());
            if seen.is_empty() && found.as_ref().is_none_or(Vec::is_empty) {
                show_gone(context, whom, room)?;
                return Ok(Exit::Done);
            }
        }
        if context.is_late(since) {
            return Ok(Exit::TimedOut);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Sessions of somebody, in a room or anywhere; none if there is no server (any more).
struct Look<'a> {
    whom: &'a Somebody,
    room: Option<&'a RoomName>,
    /// For rooms of which the table says nothing.
    link: Option<Link>,
    asked: Option<Instant>,
    said: Vec<Row>,
}

impl Look<'_> {
    fn rows(&mut self, context: &Context) -> Result<Option<Vec<Row>>, Failure> {
        let snapshot = match Snapshot::read(&context.places()?) {
            Ok(snapshot) if snapshot.server == ServerState::Dead => return Ok(None),
            Ok(snapshot) => snapshot,
            Err(ReadError::NoServer { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let mut rows = snapshot.rows;
        if let Some(room) = self.room {
            if !rows.iter().any(|row| row.rooms.contains(room)) {
                // It is empty, or private, or not there yet.
                rows = self.ask(context, room);
            }
            rows.retain(|row| row.rooms.contains(room));
        }
        let whom = self.whom;
        rows.retain(|row| {
            // Who is called by a label may be one that only passes by.
            row.user == whom.user
                && match &whom.label {
                    None => !row.visitor,
                    label => row.label == *label,
                }
        });
        Ok(Some(rows))
    }

    fn ask(&mut self, context: &Context, room: &RoomName) -> Vec<Row> {
        if self.asked.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return self.said.clone();
        }
        self.asked = Some(Instant::now());
        if self.link.is_none() {
            self.link = context.link().ok();
        }
        let members = self.link.as_mut().map(|link| {
            link.set_deadline(Some(context.deadline()));
            rooms::members(link, room)
        });
        self.said = match members {
            Some(Ok(members)) => members.into_iter().map(|info| who::row(info, room)).collect(),
            Some(Err(failure)) => {
                // Nobody is in a room that is not there; after anything else it is asked anew.
                if failure.exit != Exit::Absent {
                    self.link = None;
                }
                Vec::new()
            }
            None => Vec::new(),
        };
        self.said.clone()
    }
}

fn show_rows(context: &mut Context, rows: &[Row]) -> Result<(), Failure> {
    let now_us = os::monotonic_us();
    if !context.global.json {
        let style = context.out.style(false);
        return context.out.lines(&render::who(rows, now_us, &style));
    }
    for row in rows {
        context.out.json(&json::session(row, now_us))?;
    }
    Ok(())
}

fn show_gone(
    context: &mut Context,
    whom: &Somebody,
    room: Option<&RoomName>,
) -> Result<(), Failure> {
    if context.global.json {
        return context.out.json(&json::gone(whom, room));
    }
    let place = room.map(|room| format!(" from {room}")).unwrap_or_default();
    context.out.line(&format!("{whom} is gone{place}"))
}
