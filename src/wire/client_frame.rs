//! The frames of a client, decoded in one place.

use super::{
    control,
    frame::Kind,
    hello::{self, Hello},
    server_frame::BodyError,
};
use crate::chat::{
    frames::{Report, Submit},
    request::Request,
    stream_id::StreamId,
};

/// Frame from a client.
#[derive(Debug)]
pub enum ClientFrame<'a> {
    /// The client wants a session.
    Hello(Hello),
    /// The server is to end.
    Stop,
    /// The client wants the server's state.
    Status,
    /// A request, with the serial number of its reply.
    Request(u32, Request),
    /// Texts for one stream.
    Submit(Submit<'a>),
    /// Statement of what was delivered.
    Report(Report),
    /// Sequence numbers of a stream that are missing: the first and the last.
    Repair(StreamId, u64, u64),
    /// A sign of life.
    Pong,
}

impl<'a> ClientFrame<'a> {
    /// Decodes the body of a frame.
    ///
    /// # Errors
    /// Returns an error if the frame is for clients, or its body was not written by a client.
    pub fn read(kind: Kind, body: &'a [u8]) -> Result<Self, BodyError> {
        Ok(match kind {
            Kind::Hello => Self::Hello(hello::read(body).map_err(BodyError::Frozen)?),
            Kind::Stop => Self::Stop,
            Kind::Status => Self::Status,
            Kind::Request => {
                let (serial, request) = control::read_request(body)?;
                Self::Request(serial, request)
            }
            Kind::Submit => Self::Submit(control::read_submit(body)?),
            Kind::Report => Self::Report(control::read_report(body)?),
            Kind::Repair => {
                let (stream, first, last) = control::read_repair(body)?;
                Self::Repair(stream, first, last)
            }
            Kind::Pong => Self::Pong,
            Kind::Welcome
            | Kind::Refused
            | Kind::StatusReply
            | Kind::Bye
            | Kind::Reply
            | Kind::Batch
            | Kind::Ack
            | Kind::Nack
            | Kind::Event => return Err(BodyError::Direction),
        })
    }
}
