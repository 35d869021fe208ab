//! Sentences that the screen and line mode share.

use crate::chat::{
    event::GapReason,
    member::{EndCause, Member},
    message::StreamName,
    names::{RoomName, UserName},
    text::shown,
};

/// Notice to a sender whose messages wait.
pub(crate) const THROTTLED: &str = "rate limit reached; sending more slowly";

/// Error of a command that needs a room, outside of all rooms.
pub(crate) const NO_ROOM: &str = "this command needs a room; /join ROOM first";
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

/// Returns the sentence about an announcement that was taken back.
pub(crate) fn cancelled(number: u64, by: &UserName) -> String {
    format!("{by} canceled announcement !{number}")
}

/// Returns the sentence about a room that was deleted.
pub(crate) fn deleted(room: &RoomName) -> String {
    format!("{room} was deleted")
}

/// Returns the sentence for a member that was removed from a room.
pub(crate) fn removed(room: &RoomName, by: &UserName, banned: bool) -> String {
    let how = if banned { "banned" } else { "removed" };
    format!("{by} {how} you from {room}")
}

/// Returns the sentence about a worker that ended before it replied.
pub(crate) fn abandoned(room: &RoomName, seq: u64, by: &Member, cause: EndCause) -> String {
    let (pid, cause) = (by.pid, cause.word());
    format!("{by} (pid {pid}) ended without a reply to {room}:{seq} ({cause}); still waiting")
}

/// Returns the sentence about sequence numbers that no longer exist; without a range the stream
/// starts over.
pub(crate) fn gap(stream: &StreamName, range: Option<(u64, u64)>, reason: GapReason) -> String {
    let why = match reason {
        GapReason::Run => "the server restarted",
        GapReason::Retention => "removed by retention",
        GapReason::Backlog => "dropped from the backlog",
        GapReason::Damage => "the history is damaged",
    };
    match range {
        None => format!("{stream} starts over: {why}, and earlier messages are lost"),
        Some((first, last)) if first >= last => {
            format!("message {first} of {stream} is lost: {why}")
        }
        Some((first, last)) => {
            let count = (last - first).saturating_add(1);
            format!("{count} messages of {stream} ({first} to {last}) are lost: {why}")
        }
    }
}
