//! `moot who`: the presence table, read without a word to the server.

use std::time::{Duration, Instant};

use super::{
    args::WhoArgs,
    connect::{Context, LOOK_EVERY, OWN_INSTEAD, no_server_in},
    exit_code::{Exit, Failure},
    json, render, rooms,
};
use crate::{
    chat::{
        member::{Kind, State},
        names::{RoomName, UserName},
        presence_row::Row,
        reply::WhoInfo,
        text::counted,
    },
    limits::{IDLE_AFTER_MS, REPAIR_MS_MAX},
    os::{self, Places},
    presence::{ReadError, ServerState, Snapshot},
};

/// Interval between looks of `--watch`.
const WATCH_EVERY: Duration = Duration::from_millis(250);

pub(super) fn run(context: &mut Context, args: &WhoArgs) -> Result<Exit, Failure> {
    let (snapshot, exit) = read(context)?;
    let mut rows = chosen(&snapshot, args);
    if let Some(room) = &args.room
        && rows.is_empty()
        && snapshot.server == ServerState::Alive
    {
        rows = members(context, args, room)?;
    }
    if let (Some(user), true) = (&args.user, rows.is_empty()) {
        check_known(context, user)?;
    }
    show(context, args, &rows)?;
    if args.watch {
        return watch(context, args, rows);
    }
    match exit {
        // What is shown is true, and it is not everything.
        Exit::Done if snapshot.unshown > 0 => Ok(Exit::Failed),
        Exit::Done if rows.is_empty() && args.user.is_some() && !args.count => Ok(Exit::Failed),
        exit => Ok(exit),
    }
}

/// Refuses a user that neither this host nor the presence table knows.
pub(super) fn check_known(context: &Context, user: &UserName) -> Result<(), Failure> {
    let is_listed = || {
        let snapshot = Snapshot::read(&context.places().ok()?).ok()?;
        snapshot.rows.iter().any(|row| row.user == *user).then_some(())
    };
    // Of a linked host nothing is known before its users are here.
    if user.host().is_some() || os::user_id(user.as_str()).is_some() || is_listed().is_some() {
        return Ok(());
    }
    Err(Failure::new(Exit::Absent, format!("user {user} does not exist on this host")))
}

/// Prints the members of a room, as the server described them.
pub(super) fn show_members(
    context: &mut Context,
    room: &RoomName,
    members: Vec<WhoInfo>,
) -> Result<(), Failure> {
    let rows: Vec<_> = members.into_iter().map(|info| row(info, room)).collect();
    show_rows(context, &rows)
}

/// The table as it is; exit 3 with its rows if the server is dead.
fn read(context: &mut Context) -> Result<(Snapshot, Exit), Failure> {
    let places = context.places()?;
    let snapshot = snapshot(&places)?;
    if snapshot.damaged > 0 {
        let text = format!(
            "the presence table is damaged: {} can't be read",
            counted(snapshot.damaged as u64, "row")
        );
        context.out.note(&text);
    }
    if snapshot.unshown > 0 {
        context.out.warn(&format!(
            "{} not shown: the file system of {} is full",
            counted(snapshot.unshown, "session"),
            places.table().display()
        ));
    }
    let exit = match snapshot.server {
        ServerState::Alive => Exit::Done,
        ServerState::NotResponding => {
            context.out.warn("server not responding");
            Exit::Done
        }
        ServerState::Dead => {
            context.out.warn("the server is dead; showing its last state");
            Exit::NoServer
        }
    };
    Ok((snapshot, exit))
}

/// The table of a server; one that makes it again is waited for.
fn snapshot(places: &Places) -> Result<Snapshot, Failure> {
    let until = Instant::now() + Duration::from_millis(REPAIR_MS_MAX);
    loop {
        match Snapshot::read(&os::located(places)) {
            Err(ReadError::NoServer { .. }) if Instant::now() < until && os::is_served(places) => {
                std::thread::sleep(LOOK_EVERY);
            }
            Err(e @ ReadError::NoServer { .. }) if places.host => {
                return Err(Failure { text: no_server_in(places), ..e.into() });
            }
            Err(e @ ReadError::Denied { .. }) if places.host => {
                let text = format!("{e}: the system server does not admit you; {OWN_INSTEAD}");
                return Err(Failure::new(Exit::Denied, text));
            }
            done => return Ok(done?),
        }
    }
}

fn chosen(snapshot: &Snapshot, args: &WhoArgs) -> Vec<Row> {
    let wanted = |row: &&Row| {
        (args.all || !row.visitor)
            && args.room.as_ref().is_none_or(|room| row.rooms.contains(room))
            && args.user.as_ref().is_none_or(|user| row.user == *user)
    };
    snapshot.rows.iter().filter(wanted).cloned().collect()
}

/// Returns the members of a room of which the table says nothing: it is empty, or private and this
/// user may know, or missing. Only the server can tell.
fn members(context: &Context, args: &WhoArgs, room: &RoomName) -> Result<Vec<Row>, Failure> {
    let mut link = context.link()?;
    let members = rooms::members(&mut link, room)?;
    link.quit();
    let rows = members.into_iter().map(|info| row(info, room));
    Ok(rows.filter(|row| args.user.as_ref().is_none_or(|user| row.user == *user)).collect())
}

pub(super) fn row(info: WhoInfo, room: &RoomName) -> Row {
    let WhoInfo { member, state, status, since_wall_us, active_mono_us } = info;
    let idle_since_us = os::monotonic_us().saturating_sub(active_mono_us);
    let idle = idle_since_us >= IDLE_AFTER_MS * 1000 && member.kind == Kind::Person;
    let state = if idle && state == State::Online { State::Idle } else { state };
    Row {
        session: member.session,
        uid: member.uid,
        pid: member.pid,
        start: 0,
        kind: member.kind,
        state,
        visitor: false,
        since_wall_us,
        active_mono_us,
        user: member.user,
        label: member.label,
        status: status.into(),
        rooms: vec![room.clone()],
    }
}

fn show(context: &mut Context, args: &WhoArgs, rows: &[Row]) -> Result<(), Failure> {
    match (args.count, context.global.json) {
        (false, _) => show_rows(context, rows),
        (true, true) => context.out.json(&json::count(rows.len())),
        (true, false) => context.out.line(&rows.len().to_string()),
    }
}

pub(super) fn show_rows(context: &mut Context, rows: &[Row]) -> Result<(), Failure> {
    let now_us = os::monotonic_us();
    if context.global.json {
        for row in rows {
            context.out.json(&json::session(row, now_us))?;
        }
        return context.out.flush();
    }
    let style = context.out.style(false);
    context.out.lines(&render::who(rows, now_us, &style))
}

/// Shows the table again whenever it says something else.
fn watch(context: &mut Context, args: &WhoArgs, mut shown: Vec<Row>) -> Result<Exit, Failure> {
    let since = Instant::now();
    loop {
        context.out.flush()?;
        if context.is_late(since) {
            return Ok(Exit::TimedOut);
        }
        std::thread::sleep(WATCH_EVERY);
        let (snapshot, exit) = read(context)?;
        let rows = chosen(&snapshot, args);
        if exit != Exit::Done {
            show(context, args, &rows)?;
            return Ok(exit);
        }
        if rows != shown {
            if !context.global.json {
                context.out.line("")?;
            }
            show(context, args, &rows)?;
            shown = rows;
        }
    }
}
