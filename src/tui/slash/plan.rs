//! Plans of chat commands: the request that each one sends, and the purpose of its reply.

use crate::{
    chat::{
        member::Level,
        message::AnnouncementId,
        names::{Handle, Label, RoomName, UserName},
        reply::{RoomInfo, WhoInfo},
        request::{Announce, Request},
        rules::Role,
        text::Text,
    },
    tui::sentences,
};

/// Chat command that is one request to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerCommand {
    /// Lists the members of a room; none: the current one.
    Who(Option<RoomName>),
    /// Lists all rooms.
    Rooms,
    /// Shows the room's topic, sets it, or removes it (empty).
    Topic(Option<String>),
    /// Marks the user as away, with a reason.
    Away(Option<String>),
    /// Marks the user as back.
    Back,
    /// Changes a role of a user in the current room.
    Role {
        user: UserName,
        role: Role,
        /// Grants the role, or revokes it.
        on: bool,
    },
    /// Removes a user from the current room, or only the sessions with a label.
    Kick(Handle),
    /// Announces a text to all members.
    Announce {
        level: Level,
        /// Asks members to acknowledge.
        ack: bool,
        /// Shown to later members as well.
        retain: bool,
        text: Text,
    },
    /// Acknowledges an announcement; none: the last one that asks for acknowledgment.
    Ack(Option<AnnouncementId>),
}

impl ServerCommand {
    /// Returns true if other users notice the command.
    pub(crate) fn is_public(&self) -> bool {
        match self {
            Self::Topic(topic) => topic.is_some(),
            Self::Role { .. } | Self::Kick { .. } | Self::Announce { .. } => true,
            Self::Who(_) | Self::Rooms | Self::Away(_) | Self::Back | Self::Ack(_) => false,
        }
    }
}

/// Place where a chat command was typed.
#[derive(Debug)]
pub(crate) struct CommandPlace<'a> {
    /// Current room; none in a conversation, or outside of all rooms.
    pub(crate) room: Option<&'a RoomName>,
    /// Label of this session.
    pub(crate) label: Option<&'a Label>,
    /// Number of the last announcement that waits for acknowledgment.
    pub(crate) to_ack: Option<u64>,
}

impl CommandPlace<'_> {
    fn room(&self) -> Result<RoomName, String> {
        self.room.cloned().ok_or_else(|| sentences::NO_ROOM.to_owned())
    }
}

/// Purpose of a request: decides the meaning of its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandPurpose {
    /// A change that has an event of its own.
    Quiet,
    /// The user is away from now on, or back.
    Away(bool),
    /// A change with its sentence.
    Change(String),
    /// The list of rooms, with those of earlier pages.
    Rooms(Vec<RoomInfo>),
    /// The list of a room's members, with those of earlier pages.
    Members(RoomName, Vec<WhoInfo>),
    /// The topic of a room, to be shown; number of rooms in earlier pages.
    ShowTopic(RoomName, u32),
    /// The new topic of a room.
    SetTopic(RoomName, String),
    /// An announcement, whose number and recipients the reply has.
    Announce,
    /// The acknowledgment of an announcement, by its number.
    Acknowledge(u64),
}

impl CommandPurpose {
    /// Returns the request for the list of rooms.
    pub(crate) fn rooms() -> (Request, Self) {
        Self::more_rooms(Vec::new())
    }

    pub(super) fn more_rooms(known: Vec<RoomInfo>) -> (Request, Self) {
        (Request::Rooms { skip: count(&known) }, Self::Rooms(known))
    }

    /// Returns the request for the members of a room.
    pub(crate) fn members(room: RoomName) -> (Request, Self) {
        Self::more_members(room, Vec::new())
    }

    pub(super) fn more_members(room: RoomName, known: Vec<WhoInfo>) -> (Request, Self) {
        let request = Request::Who { room: room.clone(), skip: count(&known) };
        (request, Self::Members(room, known))
    }

    /// Returns the request for the topic of a room, which is in the list of rooms.
    pub(super) fn show_topic(room: RoomName, skip: u32) -> (Request, Self) {
        (Request::Rooms { skip }, Self::ShowTopic(room, skip))
    }

    /// Returns the request that acknowledges an announcement.
    pub(crate) fn acknowledge(number: u64) -> (Request, Self) {
        (Request::AckNotice { id: AnnouncementId::Number(number) }, Self::Acknowledge(number))
    }
}

/// Returns the length of a list, as requests for its next page have it.
pub(super) fn count<T>(known: &[T]) -> u32 {
    u32::try_from(known.len()).unwrap_or(u32::MAX)
}

/// Returns the request of a command, with its purpose.
///
/// # Errors
/// Returns a sentence if the command makes no sense where it was typed.
pub(crate) fn plan(
    command: ServerCommand,
    place: &CommandPlace<'_>,
) -> Result<(Request, CommandPurpose), String> {
    let label = || place.label.cloned();
    Ok(match command {
        ServerCommand::Who(room) => CommandPurpose::members(room.map_or_else(|| place.room(), Ok)?),
        ServerCommand::Rooms => CommandPurpose::rooms(),
        ServerCommand::Topic(None) => CommandPurpose::show_topic(place.room()?, 0),
        ServerCommand::Topic(Some(topic)) => {
            let room = place.room()?;
            let purpose = CommandPurpose::SetTopic(room.clone(), topic.clone());
            (Request::Topic { room, topic }, purpose)
        }
        ServerCommand::Away(text) => {
            let text = text.unwrap_or_else(|| "away".to_owned());
            (Request::Away { label: label(), text }, CommandPurpose::Away(true))
        }
        ServerCommand::Back => (Request::Back { label: label() }, CommandPurpose::Away(false)),
        ServerCommand::Role { user, role, on } => {
            let room = place.room()?;
            let purpose = role_changed(&user, role, on, &room);
            (Request::Role { room, user, role, on }, purpose)
        }
        ServerCommand::Kick(handle) => {
            let room = place.room()?;
            let purpose = CommandPurpose::Change(format!("{handle} was removed from {room}"));
            let Handle { user, label } = handle;
            (Request::KickFromRoom { room, user, label }, purpose)
        }
        ServerCommand::Announce { level, ack, retain, text } => {
            let announce = Announce { ack, retain, ..Announce::new(level, text) };
            (Request::Announce(announce), CommandPurpose::Announce)
        }
        ServerCommand::Ack(None) => {
            CommandPurpose::acknowledge(place.to_ack.ok_or(sentences::NOTHING_TO_ACK)?)
        }
        ServerCommand::Ack(Some(AnnouncementId::Number(number))) => {
            CommandPurpose::acknowledge(number)
        }
        // The server knows if it is published by now, and its number.
        ServerCommand::Ack(Some(id @ AnnouncementId::Scheduled(_))) => {
            (Request::AckNotice { id }, CommandPurpose::Quiet)
        }
    })
}

/// Returns the purpose of a changed role; an invitation has its own event.
fn role_changed(user: &UserName, role: Role, on: bool, room: &RoomName) -> CommandPurpose {
    CommandPurpose::Change(match (role, on) {
        (Role::Invited, true) => return CommandPurpose::Quiet,
        (Role::Invited, false) => format!("{user} is no longer invited to {room}"),
        (Role::Operator, true) => format!("{user} is an operator of {room}"),
        (Role::Operator, false) => format!("{user} is no longer an operator of {room}"),
        (Role::Banned, true) => format!("{user} is banned from {room}"),
        (Role::Banned, false) => format!("{user} is no longer banned from {room}"),
        (Role::Muted, true) => format!("{user} is muted in {room}"),
        (Role::Muted, false) => format!("{user} is no longer muted in {room}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev() -> RoomName {
        RoomName::new("dev").unwrap()
    }

    fn planned(command: ServerCommand, room: Option<&RoomName>) -> Result<Request, String> {
        let place = CommandPlace { room, label: None, to_ack: None };
        plan(command, &place).map(|(request, _)| request)
    }

    #[test]
    fn command_without_room_uses_current_room() {
        let topic = || ServerCommand::Topic(Some("plans".to_owned()));
        let request = Request::Topic { room: dev(), topic: "plans".to_owned() };
        assert_eq!(planned(topic(), Some(&dev())), Ok(request));
        assert_eq!(planned(topic(), None), Err(sentences::NO_ROOM.to_owned()));
        let who = ServerCommand::Who(Some(dev()));
        assert_eq!(planned(who, None), Ok(Request::Who { room: dev(), skip: 0 }));
        assert_eq!(planned(ServerCommand::Who(None), None), Err(sentences::NO_ROOM.to_owned()));
    }

    #[test]
    fn ack_without_id_takes_last_open_announcement() {
        let mut place = CommandPlace { room: None, label: None, to_ack: None };
        let ack = |place: &CommandPlace<'_>, id| plan(ServerCommand::Ack(id), place);
        assert_eq!(ack(&place, None), Err(sentences::NOTHING_TO_ACK.to_owned()));
        let id = AnnouncementId::Scheduled(1);
        assert_eq!(
            ack(&place, Some(id)),
            Ok((Request::AckNotice { id }, CommandPurpose::Quiet)),
            "it may be published by now"
        );
        place.to_ack = Some(3);
        assert_eq!(ack(&place, None), Ok(CommandPurpose::acknowledge(3)));
        assert_eq!(
            ack(&place, Some(AnnouncementId::Number(2))),
            Ok(CommandPurpose::acknowledge(2))
        );
    }
}
