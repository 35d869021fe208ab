//! The end of one subject, from which an export continues.

use super::{client::Carrier, consume::Filter, error::ConsumeError, message::ExportCursor};

/// End of one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Sequence of the last message; 0 if there is none.
    pub sequence: u64,
    /// Cursor of the last message that has one.
    pub cursor: Option<ExportCursor>,
}

impl Carrier {
    /// Returns the sequence that the next publication on `subject` has to expect, and the newest
    /// cursor there.
    ///
    /// The two usually belong to one message. But NATS lets a host have a reply of the server
    /// stored on the subject of another host, as the reply subject of a request; such a message
    /// has no cursor. Then the subject is read from its beginning.
    ///
    /// # Errors
    /// As [`Carrier::last`] and [`Carrier::consume`].
    pub async fn tail(&self, subject: &str) -> Result<Tail, ConsumeError> {
        let Some(last) = self.last(subject).await? else { return Ok(Tail::default()) };
        let mut tail = Tail { sequence: last.sequence, cursor: last.cursor };
        if tail.cursor.is_some() {
            return Ok(tail);
        }
        let filter = Filter::Subjects(vec![subject.to_owned()]);
        let mut messages = self.consume(filter, 0).await?;
        while let Some(stored) = messages.next().await.transpose()? {
            tail.cursor = stored.cursor.or(tail.cursor);
            if stored.sequence >= last.sequence {
                tail.sequence = stored.sequence;
                break;
            }
        }
        Ok(tail)
    }
}
