//! The frames of a server, decoded in one place.

use super::{
    control,
    frame::Kind,
    hello::{self, Bye, Refused, Welcome},
};
use crate::chat::{frames::Frame, varint::Malformed};

/// Frame from a server.
#[derive(Debug)]
pub enum ServerFrame<'a> {
    /// The session begins.
    Welcome(Welcome),
    /// The session does not begin, or the server refuses to stop.
    Refused(Refused),
    /// The session ends.
    Bye(Bye),
    /// State of the server, a JSON object.
    Status(&'a [u8]),
    /// Encoded messages of one stream.
    Batch(&'a [u8]),
    /// Reply, event, or the fate of submits.
    Session(Frame),
}

/// Reason why the body of a frame can't be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Body that this protocol does not write.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Frozen body that is not the JSON object of its kind.
    #[error("{0}")]
    Frozen(String),
    /// Kind that goes to the other side.
    #[error("a frame of the other side")]
    Direction,
}

impl<'a> ServerFrame<'a> {
    /// Decodes the body of a frame.
    ///
    /// # Errors
    /// Returns an error if the frame is for servers, or its body was not written by a server.
    pub fn read(kind: Kind, body: &'a [u8]) -> Result<Self, BodyError> {
        Ok(match kind {
            Kind::Welcome => Self::Welcome(hello::read(body).map_err(BodyError::Frozen)?),
            Kind::Refused => Self::Refused(hello::read(body).map_err(BodyError::Frozen)?),
            Kind::Bye => Self::Bye(hello::read(body).map_err(BodyError::Frozen)?),
            Kind::StatusReply => Self::Status(body),
            Kind::Batch => Self::Batch(body),
            Kind::Reply => Self::Session(control::read_reply(body)?),
            Kind::Event => Self::Session(control::read_event(body)?),
            Kind::Ack => Self::Session(control::read_ack(body)?),
            Kind::Nack => Self::Session(control::read_nack(body)?),
            Kind::Hello
            | Kind::Stop
            | Kind::Status
            | Kind::Request
            | Kind::Submit
            | Kind::Report
            | Kind::Repair
            | Kind::Pong => return Err(BodyError::Direction),
        })
    }
}
