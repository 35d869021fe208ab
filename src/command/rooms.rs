//! `moot rooms`, `moot room …`, `moot away`, `moot back`: one question each.

use super::{
    args::{RoomUser, RoomVerb, Somebody, Words},
    connect::Context,
    exit::{Exit, Failure},
    json, render,
};
use crate::{
    chat::{
        member::SessionId,
        names::RoomName,
        rules::Role,
        verbs::{MarkInfo, Reply, Request, RoomInfo, StreamLabel, WhoInfo},
    },
    client::Link,
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
    if context.global.json {
        for room in &rooms {
            context.out.json(&json::room(room, unread(room)))?;
        }
    } else {
        let rooms: Vec<_> = rooms.iter().map(|room| (room, unread(room))).collect();
        context.out.lines(&render::rooms(&rooms, &context.out.style(false)))?;
    }
    Ok(Exit::Done)
}

/// All rooms this user may see.
pub(super) fn all_rooms(link: &mut Link) -> Result<Vec<RoomInfo>, Failure> {
    let mut all = Vec::new();
    loop {
        let skip = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let Reply::Rooms { rooms, more } = link.ask(&Request::Rooms { skip })? else {
            return Err(Failure::new(Exit::Failed, "unexpected answer to rooms"));
        };
        all.extend(rooms);
        if !more {
            return Ok(all);
        }
    }
}

pub(super) fn room(context: &mut Context, verb: &RoomVerb) -> Result<Exit, Failure> {
    let request = match verb {
        RoomVerb::Create { room, no_history, private, read_only } => Request::CreateRoom {
            room: room.clone(),
            history: !no_history,
            private: *private,
            read_only: *read_only,
        },
        RoomVerb::Invite(of) => of.role(Role::Invited, true),
        RoomVerb::Ban(of) => of.role(Role::Banned, true),
        RoomVerb::Unban(of) => of.role(Role::Banned, false),
        RoomVerb::Mute(of) => of.role(Role::Muted, true),
        RoomVerb::Unmute(of) => of.role(Role::Muted, false),
        RoomVerb::Op(of) => of.role(Role::Operator, true),
        RoomVerb::Deop(of) => of.role(Role::Operator, false),
        RoomVerb::Kick { room, who } => Request::KickFromRoom {
            room: room.clone(),
            user: who.user.clone(),
            label: who.label.clone(),
        },
        RoomVerb::Topic { room, text } => {
            Request::Topic { room: room.clone(), topic: text.join(" ") }
        }
        RoomVerb::Delete { room } => Request::DeleteRoom { room: room.clone() },
        RoomVerb::Leave { room } => Request::Unfollow { room: room.clone() },
    };
    ask(context, &request)
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
            return Err(Failure::new(Exit::Failed, "unexpected answer to who"));
        };
        all.extend(who);
        if !more {
            return Ok(all);
        }
    }
}

pub(super) fn kick(context: &mut Context, who: &Somebody) -> Result<Exit, Failure> {
    ask(context, &Request::Kick { user: who.user.clone(), label: who.label.clone() })
}

pub(super) fn drop_session(context: &mut Context, session: u64) -> Result<Exit, Failure> {
    ask(context, &Request::Drop { session: SessionId(session) })
}

pub(super) fn away(context: &mut Context, args: &Words) -> Result<Exit, Failure> {
    let text = if args.text.is_empty() { "away".to_owned() } else { args.text.join(" ") };
    let label = context.global.label.clone();
    ask(context, &Request::Away { label, text })
}

pub(super) fn back(context: &mut Context) -> Result<Exit, Failure> {
    let label = context.global.label.clone();
    ask(context, &Request::Back { label })
}

fn ask(context: &mut Context, request: &Request) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    link.ask(request)?;
    link.quit();
    Ok(Exit::Done)
}
