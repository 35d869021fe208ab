//! Submits of `send`: their reply, their result, and errors.

use super::exit_code::{Exit, Failure};
use crate::{
    chat::{
        message::{MessageId, StreamName},
        names::Target,
        text::TextError,
    },
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

/// Checks that a reply is to a message of the target.
pub(super) fn check_reply(id: Option<&MessageId>, target: &Target) -> Result<(), Failure> {
    let Some(id) = id.filter(|id| id.stream != StreamName::from(target)) else { return Ok(()) };
    let text = format!("{id} is not a message in {target}");
    Err(Failure::new(Exit::Absent, text))
}
