//! Messages on their way: numbered, and not published yet.

use std::sync::Arc;

use super::{accounts::AccountId, instances::InstanceKey};
use crate::chat::{
    linked::ImportedFrom,
    member::{EndCause, Member},
    message::Notice,
    names::Label,
    store::Entry,
    text::SharedText,
};

/// Cost of a message in flight beside its text, bytes.
pub(super) const MESSAGE_OVERHEAD_BYTES: usize = 400;

/// A numbered message that is not published yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) entry: Entry,
    /// The client instance that submitted it, and its counter.
    pub(super) submit: Option<(InstanceKey, u64)>,
    pub(super) account: AccountId,
    pub(super) bytes: usize,
}

/// A message before it has its number.
pub(super) struct EntryDraft {
    pub(super) from: Arc<Member>,
    pub(super) reply_to: Option<u64>,
    pub(super) to_label: Option<Label>,
    pub(super) notice: Option<Box<Notice>>,
    pub(super) will: Option<EndCause>,
    pub(super) origin: Option<ImportedFrom>,
    pub(super) text: SharedText,
    pub(super) submit: Option<(InstanceKey, u64)>,
}

impl EntryDraft {
    /// A text that the server sends for a member.
    pub(super) fn new(from: Arc<Member>, text: SharedText) -> Self {
        Self {
            from,
            text,
            reply_to: None,
            to_label: None,
            notice: None,
            will: None,
            origin: None,
            submit: None,
        }
    }
}
