//! Sentences that the screen and line mode share.

use crate::chat::{names::RoomName, text::shown};

/// Error of a command that needs a room, outside of all rooms.
pub(crate) const NO_ROOM: &str = "not in a room; /join ROOM first";
/// Error of a command that has nothing to work on in line mode.
pub(crate) const ON_SCREEN_ONLY: &str =
    "works on the screen only; /help lists the commands of line mode";
/// Error of a request without a server.
pub(crate) const NOT_CONNECTED: &str = "not connected to the server";
/// Error of an acknowledgment without an announcement.
pub(crate) const NOTHING_TO_ACK: &str = "no announcement is waiting for acknowledgment";

/// Returns the sentence about a topic that was set or removed.
pub(crate) fn new_topic(room: &RoomName, topic: &str) -> String {
    match topic {
        "" => format!("the topic of {room} was removed"),
        topic => format!("topic of {room}: {}", shown(topic, false)),
    }
}

/// Returns the sentence about the topic that a room has.
pub(crate) fn current_topic(room: &RoomName, topic: &str) -> String {
    match topic {
        "" => format!("{room} has no topic; /topic TEXT sets one"),
        topic => new_topic(room, topic),
    }
}
