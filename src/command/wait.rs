//! `moot wait`: ends when a message comes, or when a user is here or gone.

use std::time::{Duration, Instant};

use super::{
    args::{ExecArgs, ListenArgs, ListenTarget, Somebody, WaitArgs},
    connect::Context,
    exit_code::{Exit, Failure},
    json, listen, rooms,
    run::{RunResult, title},
    who,
};
use crate::{
    chat::{names::RoomName, presence_row::Row},
    client::Link,
    limits::REASK_AFTER_MS,
    os::{self, ProcessWatch},
    presence::{ReadError, ServerState, Snapshot},
};

/// Interval between looks at the presence table: shared memory, which costs other processes
/// nothing.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Interval between questions to the server about a room of which the table says nothing.
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
    let run = args.run.as_deref().map(|given| title(Some(given), &[]));
    // Only that user knows how their command ended.
    let by_default = || run.as_ref().and_then(|_| os::user_name(os::own_uid()));
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
        run: run.clone(),
        from: args.from.clone().or_else(by_default),
        notify: false,
        raw: args.raw,
        exec: ExecArgs::default(),
        remote: false,
        fail_fast: false,
        no_reconnect: false,
        will: None,
        kind: None,
    };
    // Without a server no message can come.
    let connection = context.connect()?;
    let places = context.places()?;
    let mut text = String::new();
    let exit = listen::listen(context, &listen, None, (connection, places), Some(&mut text))?;
    let result = run.and_then(|_| RunResult::parse(&text));
    match result.filter(|_| exit == Exit::Done) {
        None => Ok(exit),
        Some(result) => {
            context.out.flush()?;
            std::process::exit(result.exit_code())
        }
    }
}

/// Processes of a user that were here.
#[derive(Default)]
struct SeenProcesses {
    running: Vec<SeenProcess>,
    /// At least one was seen.
    any: bool,
}

impl SeenProcesses {
    fn add(&mut self, row: &Row) {
        self.any = true;
        // Of a process that the kernel does not name only its row is known.
        if row.pid == 0 {
            return;
        }
        if !self.running.iter().any(|seen| (seen.pid, seen.start) == (row.pid, row.start)) {
            let watch = ProcessWatch::of_process(row.pid, row.start).ok();
            self.running.push(SeenProcess { pid: row.pid, start: row.start, watch });
        }
    }

    /// Returns true if all of them have ended.
    fn have_ended(&mut self) -> bool {
        self.running.retain(|seen| !seen.has_ended());
        self.running.is_empty()
    }
}

/// A process that was here.
struct SeenProcess {
    pid: u32,
    start: u64,
    /// None if it can't be watched: then its row has to do.
    watch: Option<ProcessWatch>,
}

impl SeenProcess {
    fn has_ended(&self) -> bool {
        match &self.watch {
            Some(watch) => watch.ended().unwrap_or(true),
            None => os::start_of(self.pid).is_none_or(|start| start != self.start),
        }
    }
}

/// Looks at the presence table until the user is there, or until all of their processes have ended.
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
            let text = "--here and --gone take a room as target, not a user";
            return Err(Failure::new(Exit::Usage, text));
        }
    };
    let since = Instant::now();
    let mut look = WaitLook::new(whom, room);
    check_possible(context, &mut look, here)?;
    let mut seen = SeenProcesses::default();
    loop {
        let found = look.rows(context)?;
        if here {
            if let Some(rows) = found.filter(|rows| !rows.is_empty()) {
                who::show_rows(context, &rows)?;
                return Ok(Exit::Done);
            }
        } else if look.have_left(found.as_deref(), &mut seen) {
            show_gone(context, whom, room)?;
            return Ok(Exit::Done);
        }
        if context.is_late(since) {
            return Ok(Exit::TimedOut);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Refuses to wait for what can't be: an unknown user, a room that is missing, no server.
fn check_possible(
    context: &mut Context,
    look: &mut WaitLook<'_>,
    here: bool,
) -> Result<(), Failure> {
    let whom = look.whom;
    let is_empty = look.rows(context)?.is_none_or(|rows| rows.is_empty());
    if is_empty {
        who::check_known(context, &whom.user)?;
    }
    if let (Some(room), false) = (look.room, here) {
        // A user can't be gone from a room that is not there, or not for this user.
        let mut link = context.link()?;
        rooms::members(&mut link, room)?;
        link.quit();
    }
    if look.rows(context)?.is_none() && !os::is_served(&context.places()?) {
        return Err(context.no_server()?);
    }
    if is_empty && !here {
        // A slip of the finger in a label looks the same.
        context.out.note(&format!("{whom} has no session now"));
    }
    Ok(())
}

/// Sessions of a user, in a room or anywhere; none if no server runs.
struct WaitLook<'a> {
    whom: &'a Somebody,
    room: Option<&'a RoomName>,
    /// For rooms of which the table says nothing.
    link: Option<Link>,
    asked: Option<Instant>,
    said: Option<Vec<Row>>,
    /// The server's process, and since when it is this one.
    server: Option<(u64, Instant)>,
    /// It is not the first one.
    is_another: bool,
    /// It was reported that the server does not respond.
    is_warned: bool,
}

impl<'a> WaitLook<'a> {
    fn new(whom: &'a Somebody, room: Option<&'a RoomName>) -> Self {
        Self {
            whom,
            room,
            link: None,
            asked: None,
            said: None,
            server: None,
            is_another: false,
            is_warned: false,
        }
    }

    /// Returns true if the user has left: the room, or this machine with all processes.
    fn have_left(&self, found: Option<&[Row]>, seen: &mut SeenProcesses) -> bool {
        if self.room.is_some() {
            // Nothing is known of a room while no server runs.
            return found.is_some_and(<[Row]>::is_empty) && self.is_settled();
        }
        found.into_iter().flatten().for_each(|row| seen.add(row));
        // While no server runs, those who are known to have been here have to do.
        seen.have_ended() && found.map_or(seen.any, <[Row]>::is_empty)
    }

    fn rows(&mut self, context: &Context) -> Result<Option<Vec<Row>>, Failure> {
        let snapshot = match Snapshot::read(&context.places()?) {
            Ok(snapshot) if snapshot.server != ServerState::Alive => {
                if snapshot.server == ServerState::NotResponding && !self.is_warned {
                    self.is_warned = true;
                    context.out.warn("server not responding");
                }
                return Ok(None);
            }
            Ok(snapshot) => snapshot,
            Err(ReadError::NoServer { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if self.server.is_none_or(|(pid, _)| pid != snapshot.pid) {
            self.is_another = self.server.is_some();
            self.server = Some((snapshot.pid, Instant::now()));
        }
        let mut rows = snapshot.rows;
        if let Some(room) = self.room {
            if !rows.iter().any(|row| row.rooms.contains(room)) {
                // It is empty, or private, or not there yet.
                match self.ask(context, room) {
                    Some(said) => rows = said,
                    None => return Ok(None),
                }
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

    /// Returns true if all have had time to come back to a server that restarted.
    fn is_settled(&self) -> bool {
        let back_after = Duration::from_millis(REASK_AFTER_MS);
        !self.is_another || self.server.is_some_and(|(_, since)| since.elapsed() >= back_after)
    }

    /// Asks the server for the members of a room; none if it does not answer.
    fn ask(&mut self, context: &Context, room: &RoomName) -> Option<Vec<Row>> {
        if self.asked.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return self.said.clone();
        }
        self.asked = Some(Instant::now());
        self.said = None;
        if self.link.is_none() {
            self.link = context.link().ok();
        }
        let link = self.link.as_mut()?;
        link.set_deadline(Some(context.deadline()));
        self.said = match rooms::members(link, room) {
            Ok(members) => Some(members.into_iter().map(|info| who::row(info, room)).collect()),
            // A room that is not there has no members.
            Err(failure) if failure.exit == Exit::Absent => Some(Vec::new()),
            Err(_) => {
                self.link = None;
                None
            }
        };
        self.said.clone()
    }
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
