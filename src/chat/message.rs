//! A message as a member sees it, and the ids by which people and scripts name it.

use std::{fmt, str::FromStr};

use super::{
    member::{EndCause, Level, Member},
    names::{NameError, RoomName, Target, UserName},
};

/// Number of one run of the server, fresh at each start; part of the ids of what is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct BootId(pub u32);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The stream that a message belongs to, as its reader calls it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StreamName {
    Room(RoomName),
    /// The conversation with a user.
    Direct(UserName),
    /// The announcements of the server.
    Announcements,
}

impl From<&Target> for StreamName {
    fn from(target: &Target) -> Self {
        match target {
            Target::Room(room) => Self::Room(room.clone()),
            Target::User { user, .. } => Self::Direct(user.clone()),
        }
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(room) => write!(f, "{room}"),
            Self::Direct(user) => write!(f, "@{user}"),
            Self::Announcements => f.write_str("!"),
        }
    }
}

/// Id of a message: `dev:42`, `dev:3f9a01b2.42` in a room without history, `@ann:7`, `!3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// Stream of the message.
    pub stream: StreamName,
    /// The run it belongs to; none for stored messages and announcements.
    pub run: Option<BootId>,
    /// Its number in the stream.
    pub seq: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.stream, self.run) {
            (StreamName::Announcements, _) => write!(f, "!{}", self.seq),
            (stream, None) => write!(f, "{stream}:{}", self.seq),
            (stream, Some(run)) => write!(f, "{stream}:{run}.{}", self.seq),
        }
    }
}

/// Reason why a text is not a message id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The part before the colon is not a room or user.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The part after the colon is not a number.
    #[error("a message id ends with a number, as in dev:42")]
    Number,
}

impl FromStr for MessageId {
    type Err = IdError;

    fn from_str(written: &str) -> Result<Self, IdError> {
        if let Some(number) = written.strip_prefix('!') {
            let seq = number.parse().map_err(|_| IdError::Number)?;
            return Ok(Self { stream: StreamName::Announcements, run: None, seq });
        }
        let (stream, number) = written.rsplit_once(':').ok_or(IdError::Number)?;
        let (run, number) = match number.split_once('.') {
            None => (None, number),
            Some((run, number)) => {
                let run = u32::from_str_radix(run, 16).map_err(|_| IdError::Number)?;
                (Some(BootId(run)), number)
            }
        };
        let seq = number.parse().map_err(|_| IdError::Number)?;
        let stream = match stream.strip_prefix('@').or_else(|| stream.strip_prefix("user:")) {
            Some(user) => StreamName::Direct(UserName::new(user)?),
            None => StreamName::Room(stream.parse()?),
        };
        Ok(Self { stream, run, seq })
    }
}

/// Name of an announcement, as people write it: `!3`, or `!+2` while it waits for its time. The `!`
/// may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum AnnouncementId {
    /// By its number among the announcements.
    Number(u64),
    /// By its number among the scheduled ones.
    Scheduled(u64),
}

impl fmt::Display for AnnouncementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "!{number}"),
            Self::Scheduled(number) => write!(f, "!+{number}"),
        }
    }
}

/// Not the id of an announcement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the id of an announcement is !3, or !+2 if it is scheduled")]
pub struct AnnouncementIdError;

impl FromStr for AnnouncementId {
    type Err = AnnouncementIdError;

    fn from_str(written: &str) -> Result<Self, AnnouncementIdError> {
        let id = written.strip_prefix('!').unwrap_or(written);
        let (digits, scheduled) = match id.strip_prefix('+') {
            Some(digits) => (digits, true),
            None => (id, false),
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AnnouncementIdError);
        }
        let number = digits.parse().map_err(|_| AnnouncementIdError)?;
        Ok(if scheduled { Self::Scheduled(number) } else { Self::Number(number) })
    }
}

/// Properties of an announcement beyond those of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Level of the announcement.
    pub level: Level,
    /// The room it is for; none: all members.
    pub room: Option<RoomName>,
    /// Wall clock at which it expires, microseconds since 1970.
    pub expires_wall_us: Option<i64>,
    /// Shown to members that come later.
    pub retained: bool,
    /// Asks people to acknowledge.
    pub ack: bool,
}

/// Origin of a message of a linked host, whose name is part of its sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// Its number in the room of this name at its host.
    pub seq: u64,
    /// Wall clock of its host when it was numbered there, microseconds since 1970.
    pub wall_us: i64,
}

/// One message, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Id of the message.
    pub id: MessageId,
    /// Wall clock of the server when it numbered it, microseconds since 1970.
    pub wall_us: i64,
    /// Sender, from the kernel.
    pub from: Member,
    /// The number of the message in the same stream that it replies to.
    pub reply_to: Option<u64>,
    /// Speaks to the reader (`@user` in the text).
    pub mention: bool,
    /// Present in announcements.
    pub notice: Option<Notice>,
    /// Said by the server in the place of a session that ended: how it ended.
    pub will: Option<EndCause>,
    /// Present in messages of a linked host.
    pub origin: Option<Origin>,
    /// Text of the message, unchanged.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for id in ["dev:42", "dev:3f9a01b2.42", "@ann:7", "!3", "회의:1"] {
            assert_eq!(id.parse::<MessageId>().unwrap().to_string(), id);
        }
        for (written, id) in [
            ("!3", AnnouncementId::Number(3)),
            ("3", AnnouncementId::Number(3)),
            ("!+2", AnnouncementId::Scheduled(2)),
            ("+2", AnnouncementId::Scheduled(2)),
        ] {
            assert_eq!(written.parse(), Ok(id));
        }
        for bad in ["", "!", "!!3", "-3", "dev:3", "++3", "!+"] {
            assert_eq!(bad.parse::<AnnouncementId>(), Err(AnnouncementIdError), "{bad}");
        }
        assert_eq!("user:ann:7".parse::<MessageId>().unwrap().to_string(), "@ann:7");
        for bad in ["", "dev", "dev:", "dev:x", ":1", "dev:zz.1", "!", "!x", "@:1", "dev:-1"] {
            assert!(bad.parse::<MessageId>().is_err(), "{bad}");
        }
    }
}
