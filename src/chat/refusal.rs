//! Why a request or a submit is refused.

use serde::{Deserialize, Serialize};

use super::names::RoomName;

/// Why a request was not done; an expected answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Kind of refusal: decides the exit code.
    pub code: RefusalCode,
    /// Text that says what happened, to which thing, and what to do next.
    pub text: String,
}

impl Refusal {
    /// A refusal of a kind with its words.
    pub fn new(code: RefusalCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Kinds of refusals; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// It failed, or a limit is reached.
    Failed,
    /// It can't be sent as it is.
    Input,
    /// This user may not.
    Denied,
    /// No such room, member or id.
    Absent,
    /// The submit is too old to tell whether it was stored.
    UnknownSubmit,
}

/// Returns a refusal as the result of a request.
///
/// # Errors
/// Always.
pub fn refuse<T>(code: RefusalCode, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(code, text))
}

/// Returns the refusal of a request about a room that does not exist.
///
/// # Errors
/// Always.
pub fn no_room<T>(room: &RoomName) -> Result<T, Refusal> {
    refuse(RefusalCode::Absent, format!("room {room} does not exist"))
}
