//! `moot rooms`, `moot room …`, `moot away`, `moot back`: one question each.

use serde_json::{Value, json};

use super::{
    args::{RoomUser, RoomVerb, Somebody, Words},
    connect::Context,
    exit_code::{Exit, Failure},
    json, render,
};
use crate::{
    chat::{
        member::{Kind, SessionId},
        names::{RoomName, UserName},
        presence_row::Row,
        reply::{MarkInfo, Reply, RoomInfo, WhoInfo},
        request::Request,
        rules::Role,
        stream_id::StreamLabel,
        text::shown,
    },
    client::Link,
    presence::Snapshot,
};

pub(super) fn rooms(context: &mut Context) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    let rooms = all_rooms(&mut link)?;
    let unread = link.unread(&[])?;
    link.quit();
    let unread = |room: &RoomInfo| {
        let is_it =
            |m: &&MarkInfo| matches!(&m.name, StreamLabel::Room(name) if *name == room.name);
        unread.iter().find(is_it).map_or(0, |mark| mark.unread)
    };
    let rooms: Vec<_> = rooms.iter().map(|room| (room, unread(room))).collect();
    show(context, &rooms)?;
    Ok(Exit::Done)
}

/// Prints rooms with their numbers of unread messages.
pub(super) fn show(context: &mut Context, rooms: &[(&RoomInfo, u64)]) -> Result<(), Failure> {
    if !context.global.json {
        return context.out.lines(&render::rooms(rooms, &context.out.style(false)));
    }
    for (room, unread) in rooms {
        context.out.json(&json::room(room, *unread))?;
    }
    Ok(())
}

/// All rooms this user may see.
pub(super) fn all_rooms(link: &mut Link) -> Result<Vec<RoomInfo>, Failure> {
    let mut all = Vec::new();
    loop {
        let skip = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let Reply::Rooms { rooms, more } = link.ask(&Request::Rooms { skip })? else {
            return Err(Failure::new(Exit::Failed, "unexpected reply to rooms"));
        };
        all.extend(rooms);
        if !more {
            return Ok(all);
        }
    }
}

pub(super) fn room(context: &mut Context, verb: &RoomVerb) -> Result<Exit, Failure> {
    let (command, request) = match verb {
        RoomVerb::Create { room, no_history, private, read_only } => (
            "room create",
            Request::CreateRoom {
                room: room.clone(),
                history: !no_history,
                private: *private,
                read_only: *read_only,
            },
        ),
        RoomVerb::Invite(of) => ("room invite", of.role(Role::Invited, true)),
        RoomVerb::Ban(of) => ("room ban", of.role(Role::Banned, true)),
        RoomVerb::Unban(of) => ("room unban", of.role(Role::Banned, false)),
        RoomVerb::Mute(of) => ("room mute", of.role(Role::Muted, true)),
        RoomVerb::Unmute(of) => ("room unmute", of.role(Role::Muted, false)),
        RoomVerb::Op(of) => ("room op", of.role(Role::Operator, true)),
        RoomVerb::Deop(of) => ("room deop", of.role(Role::Operator, false)),
        RoomVerb::Kick { room, who } => (
            "room kick",
            Request::KickFromRoom {
                room: room.clone(),
                user: who.user.clone(),
                label: who.label.clone(),
            },
        ),
        RoomVerb::Topic { room, text, clear: false } if text.is_empty() => {
            return show_topic(context, room);
        }
        RoomVerb::Topic { room, text, clear } => {
            let topic = text.join(" ");
            if topic.trim().is_empty() && !clear {
                return Err(Failure::new(
                    Exit::Usage,
                    "the topic is empty; use --clear to remove it",
                ));
            }
            ("room topic", Request::Topic { room: room.clone(), topic })
        }
        RoomVerb::Delete { room } => ("room delete", Request::DeleteRoom { room: room.clone() }),
        RoomVerb::Leave { room } => ("room leave", Request::Unfollow { room: room.clone() }),
    };
    let (room, user) = verb.subject();
    let mut of = vec![("room", json!(room.as_str()))];
    of.extend(user.map(|user| ("user", json!(user.as_str()))));
    ask(context, &request, command, &of)
}

fn show_topic(context: &mut Context, room: &RoomName) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    let rooms = all_rooms(&mut link)?;
    link.quit();
    let Some(info) = rooms.into_iter().find(|info| info.name == *room) else {
        return Err(Failure::new(Exit::Absent, format!("room {room} does not exist")));
    };
    if context.global.json {
        context.out.json(&json::topic(&info.name, &info.topic))?;
    } else if info.topic.is_empty() {
        context.out.note(&format!("{room} has no topic; set one: moot room topic {room} TEXT"));
    } else {
        context.out.line(&shown(&info.topic, false))?;
    }
    Ok(Exit::Done)
}

impl RoomVerb {
    /// The room and the user that it is about.
    fn subject(&self) -> (&RoomName, Option<&UserName>) {
        match self {
            Self::Create { room, .. }
            | Self::Topic { room, .. }
            | Self::Delete { room }
            | Self::Leave { room } => (room, None),
            Self::Kick { room, who } => (room, Some(&who.user)),
            Self::Invite(of)
            | Self::Ban(of)
            | Self::Unban(of)
            | Self::Mute(of)
            | Self::Unmute(of)
            | Self::Op(of)
            | Self::Deop(of) => (&of.room, Some(&of.user)),
        }
    }
}

impl RoomUser {
    fn role(&self, role: Role, on: bool) -> Request {
        Request::Role { room: self.room.clone(), user: self.user.clone(), role, on }
    }
}

/// Members of a room, from the server: of one that is not in the presence table.
pub(super) fn members(link: &mut Link, room: &RoomName) -> Result<Vec<WhoInfo>, Failure> {
    let mut all = Vec::new();
    loop {
        let skip = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let Reply::Who { who, more } = link.ask(&Request::Who { room: room.clone(), skip })? else {
            return Err(Failure::new(Exit::Failed, "unexpected reply to who"));
        };
        all.extend(who);
        if !more {
            return Ok(all);
        }
    }
}

pub(super) fn kick(context: &mut Context, who: &Somebody) -> Result<Exit, Failure> {
    let request = Request::Kick { user: who.user.clone(), label: who.label.clone() };
    ask(context, &request, "kick", &[("user", json!(who.user.as_str()))])
}

pub(super) fn drop_session(context: &mut Context, session: u64) -> Result<Exit, Failure> {
    let request = Request::Drop { session: SessionId(session) };
    ask(context, &request, "drop", &[("session", json!(session))])
}

pub(super) fn away(context: &mut Context, args: &Words) -> Result<Exit, Failure> {
    let text = if args.text.is_empty() { "away".to_owned() } else { args.text.join(" ") };
    let label = context.global.label.clone();
    set_state(context, "away", &Request::Away { label, text })
}

pub(super) fn back(context: &mut Context) -> Result<Exit, Failure> {
    let label = context.global.label.clone();
    set_state(context, "back", &Request::Back { label })
}

/// Sets the state of a user's sessions that are persons, and says if there is none of them now.
fn set_state(context: &mut Context, command: &str, request: &Request) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    link.ask(request)?;
    let uid = link.welcome()?.uid;
    link.quit();
    let label = context.global.label.as_ref();
    let is_meant = |row: &&Row| {
        row.uid == uid
            && row.kind == Kind::Person
            && !row.visitor
            && label.is_none_or(|label| row.label.as_ref() == Some(label))
    };
    // Without the table nothing is known of them, and nothing is said.
    let snapshot = Snapshot::read(&context.places()?).ok();
    let sessions = snapshot.map(|snapshot| snapshot.rows.iter().filter(is_meant).count());
    if sessions == Some(0) {
        context.out.note(&format!(
            "{command}: you have no session of kind person now; later ones will show it"
        ));
    }
    context.out.ok(command, &[("sessions", json!(sessions))])?;
    Ok(Exit::Done)
}

fn ask(
    context: &mut Context,
    request: &Request,
    command: &str,
    of: &[(&str, Value)],
) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    link.ask(request)?;
    link.quit();
    context.out.ok(command, of)?;
    Ok(Exit::Done)
}
