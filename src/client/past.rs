//! History over a [`Link`]: spans, pages and search.

use super::link::{Link, LinkError};
use crate::{
    chat::{
        batch::{MessageRef, Reader},
        message::{BootId, Message, MessageId, StreamName},
        names::{Target, UserName},
        reply::{MarkInfo, Page, Reply, SpanInfo},
        request::{HistoryRequest, Request, SearchRequest},
        stream_id::StreamLabel,
        text::mentions,
    },
    limits::SEARCH_HITS_MAX,
};

/// Words to search for, with conditions. See [`Link::search`].
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Words, each of which has to occur, as a part of a word or more.
    pub text: String,
    /// Only in this target's stream.
    pub target: Option<Target>,
    /// Sender to find; none: all.
    pub from: Option<UserName>,
    /// Time of the oldest message to find, microseconds since 1970.
    pub since_us: Option<i64>,
    /// Maximum number of messages, the newest.
    pub limit: usize,
}

impl From<&StreamLabel> for StreamName {
    fn from(label: &StreamLabel) -> Self {
        match label {
            StreamLabel::Room(room) => Self::Room(room.clone()),
            StreamLabel::Direct(user) => Self::Direct(user.clone()),
            StreamLabel::Announcements => Self::Announcements,
        }
    }
}

/// A message of a body as its reader is shown it.
pub(super) fn message_of(
    stream: &StreamName,
    run: Option<BootId>,
    reader: &str,
    message: &MessageRef<'_>,
) -> Option<Message> {
    let notice = match &message.notice {
        None => None,
        Some(notice) => Some(notice.to_notice().ok()?),
    };
    let text = message.text.read().ok()?;
    Some(Message {
        id: MessageId { stream: stream.clone(), run, seq: message.seq },
        wall_us: message.wall_us,
        from: message.from.to_member().ok()?,
        reply_to: message.reply_to,
        mention: mentions(text, reader),
        notice,
        will: message.will,
        origin: message.origin,
        text: text.to_owned(),
    })
}

impl Page {
    /// Returns the messages of a page of a stored stream, without those that are withheld.
    #[must_use]
    #[doc(hidden)]
    pub fn messages(&self, stream: &StreamName) -> Vec<Message> {
        let messages = Reader::new(&self.body).into_iter().flatten().map_while(Result::ok);
        let shown = messages.filter(|message| !message.withheld);
        shown.filter_map(|message| message_of(stream, None, "", &message)).collect()
    }
}

fn unexpected(reply: &Reply) -> LinkError {
    LinkError::Protocol(format!("an answer that does not fit: {reply:?}"))
}

impl Link {
    /// The numbers of a room or conversation that can be read.
    ///
    /// # Errors
    /// Returns a refusal if there is none, or the connection's failure.
    pub fn span(&mut self, target: &Target) -> Result<SpanInfo, LinkError> {
        match self.ask(&Request::History(HistoryRequest::Span { target: target.clone() }))? {
            Reply::Span(span) => Ok(span),
            other => Err(unexpected(&other)),
        }
    }

    /// The first number from which on no message is of an earlier time (microseconds since 1970);
    /// one after the newest if that is.
    ///
    /// # Errors
    /// As [`Link::span`].
    pub fn number_at(&mut self, target: &Target, wall_us: i64) -> Result<u64, LinkError> {
        match self
            .ask(&Request::History(HistoryRequest::NumberAt { target: target.clone(), wall_us }))?
        {
            Reply::Number(number) => Ok(number),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives messages `first` to `last` to `each`, in order, until it gives an error; numbers that
    /// are gone are passed over.
    ///
    /// # Errors
    /// As [`Link::span`], and the error of `each`.
    pub fn messages<E: From<LinkError>>(
        &mut self,
        target: &Target,
        span: &SpanInfo,
        (first, last): (u64, u64),
        mut each: impl FnMut(Message) -> Result<(), E>,
    ) -> Result<(), E> {
        let welcome = self.welcome()?;
        let user = welcome.user.clone();
        let run = (!span.stored).then_some(welcome.run);
        let stream = StreamName::from(&span.name);
        let mut next = first.max(1);
        while next <= last {
            let request = Request::History(HistoryRequest::Page {
                target: target.clone(),
                first: next,
                last,
            });
            let page = match self.ask(&request)? {
                Reply::Page(page) => page,
                other => return Err(unexpected(&other).into()),
            };
            let Page { body, last: upto, .. } = page;
            if upto == 0 {
                return Ok(());
            }
            let malformed = |_| LinkError::Protocol("a page that can't be read".to_owned());
            for message in Reader::new(&body).map_err(malformed)? {
                let message = message.map_err(malformed)?;
                if (next..=last).contains(&message.seq)
                    && !message.withheld
                    && let Some(message) = message_of(&stream, run, &user, &message)
                {
                    each(message)?;
                }
            }
            next = upto + 1;
        }
        Ok(())
    }

    /// The newest messages that have all words of a text, oldest first.
    ///
    /// # Errors
    /// As [`Link::span`].
    pub fn search(&mut self, search: &Search) -> Result<Vec<Message>, LinkError> {
        let user = self.welcome()?.user.clone();
        let limit = search.limit.min(SEARCH_HITS_MAX);
        // Newest first, page by page.
        let mut found: Vec<Message> = Vec::new();
        let mut before = 0;
        while found.len() < limit {
            let request = Request::History(HistoryRequest::Search(SearchRequest {
                text: search.text.clone(),
                target: search.target.clone(),
                from: search.from.clone(),
                since_us: search.since_us,
                before,
                limit: u32::try_from(limit - found.len()).unwrap_or(u32::MAX),
            }));
            let (hits, more) = match self.ask(&request)? {
                Reply::Hits { hits, more } => (hits, more),
                other => return Err(unexpected(&other)),
            };
            for hit in hits.iter().rev() {
                let stream = StreamName::from(&hit.name);
                let messages = Reader::new(&hit.body).into_iter().flatten().flatten();
                found.extend(messages.filter_map(|m| message_of(&stream, None, &user, &m)));
            }
            match hits.first() {
                Some(oldest) if more => before = oldest.id,
                Some(_) | None => break,
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Returns the unread counts of this name: in these streams, or in all that it follows.
    ///
    /// # Errors
    /// As [`Link::span`].
    pub fn unread(&mut self, targets: &[Target]) -> Result<Vec<MarkInfo>, LinkError> {
        let mut all: Vec<MarkInfo> = Vec::new();
        if targets.is_empty() {
            self.unread_in(None, &mut all)?;
        }
        for target in targets {
            self.unread_in(Some(target), &mut all)?;
        }
        Ok(all)
    }

    /// Adds what is unread in a stream, or in all; nothing twice.
    fn unread_in(
        &mut self,
        target: Option<&Target>,
        all: &mut Vec<MarkInfo>,
    ) -> Result<(), LinkError> {
        let mut skip = 0;
        loop {
            let request =
                Request::History(HistoryRequest::Unread { target: target.cloned(), skip });
            let (marks, more) = match self.ask(&request)? {
                Reply::Marks { marks, more } => (marks, more),
                other => return Err(unexpected(&other)),
            };
            skip += u32::try_from(marks.len()).unwrap_or(u32::MAX);
            let more = more && !marks.is_empty();
            for mark in marks {
                if !all.iter().any(|known| known.name == mark.name) {
                    all.push(mark);
                }
            }
            if !more {
                return Ok(());
            }
        }
    }
}
