//! Submits of `send`: their stream, their reply, and errors.

use super::{
    exit_code::{Exit, Failure},
    past::stream_of,
};
use crate::{
    chat::{
        frames::SubmitTo,
        message::{MessageId, RunId},
        names::{Label, Target},
        reply::Reply,
        request::Request,
        text::TextError,
    },
    client::{Link, LinkError},
    limits::TEXT_BYTES_MAX,
};

/// The result, by how many other sessions got it at least.
pub(super) fn reached(required: Option<u32>, is_sent: bool, members: u32) -> Result<Exit, Failure> {
    match required {
        // No text was sent, so no session got it.
        Some(1..) if !is_sent => Err(Failure::new(Exit::TooFew, "no message was sent")),
        Some(required) if is_sent && members < required => {
            let text =
                format!("sent, but to {members} other sessions, and {required} were required");
            Err(Failure::new(Exit::TooFew, text))
        }
        Some(_) | None => Ok(Exit::Done),
    }
}

pub(super) fn unsendable(e: TextError) -> Failure {
    let text = match e {
        // What was read was cut: its length is not known.
        TextError::TooLong { bytes } if bytes > TEXT_BYTES_MAX => {
            format!("the text is too long: a message has at most {TEXT_BYTES_MAX} bytes")
        }
        e => e.to_string(),
    };
    Failure::new(Exit::Usage, text)
}

/// Returns the stream for a target. A room needs no question; a user has to be here.
pub(super) fn address(
    link: &mut Link,
    target: &Target,
) -> Result<(SubmitTo, Option<Label>), LinkError> {
    match target {
        Target::Room(room) => Ok((SubmitTo::Room(room.clone()), None)),
        Target::User { label, .. } => match link.ask(&Request::Open { target: target.clone() })? {
            Reply::Opened(info) => Ok((SubmitTo::Stream(info.tag), label.clone())),
            other => Err(LinkError::Protocol(format!("unexpected reply: {other:?}"))),
        },
    }
}

/// The number that a reply names, if it is of this target and this boot of the server.
pub(super) fn checked_reply(
    run: RunId,
    id: Option<&MessageId>,
    target: &Target,
) -> Result<Option<u64>, Failure> {
    let Some(id) = id else { return Ok(None) };
    if id.stream != stream_of(target) {
        let text = format!("{id} is not a message in {target}");
        return Err(Failure::new(Exit::Absent, text));
    }
    if id.run.is_some_and(|of| of != run) {
        let text = format!("message {id} was lost when the server restarted");
        return Err(Failure::new(Exit::Absent, text));
    }
    Ok(Some(id.seq))
}
