//! Decisions of a link, without I/O: the continuation of an export, the value of a batch.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::batch::{BatchMessage, ExportBatch};
use crate::chat::{
    linked::{ExportInfo, Import, LinkPosition, LinkedStream},
    message::Message,
    names::HostName,
};

/// Continuation of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Continuation {
    /// After this position.
    After(LinkPosition),
    /// A new generation, after the last message that both have: the numbers have other messages
    /// than the exported ones.
    NewGeneration,
}

/// Returns the continuation of an export. `tail`: newest batch on its subject; `is_same`: false if
/// its last message differs from that of the history.
pub(super) fn continuation(
    info: &ExportInfo,
    tail: Option<LinkPosition>,
    is_same: bool,
) -> Continuation {
    match tail {
        // The carrier lost everything, or nothing was published yet: the history has it.
        None => Continuation::After(info.after),
        Some(tail) if tail.generation == info.after.generation => {
            match is_same && tail.seq <= info.head && tail.seq >= info.after.seq {
                true => Continuation::After(tail),
                false => Continuation::NewGeneration,
            }
        }
        // Nothing was published since it was renewed. Messages that were not exported follow now.
        Some(tail) if tail.generation < info.after.generation => {
            let LinkPosition { generation, seq } = info.after;
            Continuation::After(LinkPosition { generation, seq: seq.min(tail.seq) })
        }
        // Published by a history that knew of a later generation: this one is an older copy.
        Some(_) => Continuation::NewGeneration,
    }
}

/// Returns the number of exported messages that are those of the history: the first ones, since
/// both were the same until the history was replaced.
pub(super) fn common<E>(
    exported: usize,
    mut is_same: impl FnMut(usize) -> Result<bool, E>,
) -> Result<usize, E> {
    let (mut same, mut end) = (0, exported);
    while same < end {
        let middle = same + (end - same) / 2;
        match is_same(middle)? {
            true => same = middle + 1,
            false => end = middle,
        }
    }
    Ok(same)
}

/// Value of a batch for an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// All its messages are known.
    Known,
    /// It follows the known messages, or is the first of all.
    Next,
    /// Messages before it are missing.
    Missing,
}

/// Returns the value of a batch, given the newest known position of its stream.
pub(super) fn value(batch: &ExportBatch, known: Option<LinkPosition>) -> Value {
    // The carrier may have earlier batches of an unknown host.
    let Some(known) = known else { return Value::Missing };
    if batch.end() <= known {
        Value::Known
    } else if batch.prev <= known.seq {
        // Of a later generation too: its host went back to a number that is known.
        Value::Next
    } else {
        Value::Missing
    }
}

/// Returns the parts of a batch, each small enough for one request, in order.
pub(super) fn parts(mut batch: ExportBatch, part_bytes: usize) -> Vec<ExportBatch> {
    let mut parts = Vec::new();
    let messages = std::mem::take(&mut batch.messages);
    let mut part = batch.clone();
    let mut bytes = 0;
    for message in messages {
        let size = message.bytes();
        if bytes + size > part_bytes && !part.messages.is_empty() {
            let last = part.messages.last().map_or(part.prev, |message| message.seq);
            let next = ExportBatch { prev: last, ..batch.clone() };
            parts.push(ExportBatch { last, ..std::mem::replace(&mut part, next) });
            bytes = 0;
        }
        bytes += size;
        part.messages.push(message);
    }
    parts.push(part);
    parts
}

/// Returns the request for a part of a batch, without its messages.
pub(super) fn import_of(
    part: &ExportBatch,
    host: &HostName,
    stream: &LinkedStream,
    gap_after: Option<LinkPosition>,
) -> Import {
    Import {
        host: host.clone(),
        stream: stream.clone(),
        prev: LinkPosition { generation: part.generation, seq: part.prev },
        upto: part.last,
        gap_after,
        messages: Vec::new(),
    }
}

/// Time and hash of a message: two of one number with the same are the same.
pub(super) type Print = (i64, u64);

fn print(time_us: i64, text: &str) -> Print {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    (time_us, hasher.finish())
}

/// Returns the number and the print of an exported message.
pub(super) fn print_of(message: &BatchMessage) -> (u64, Print) {
    (message.seq, print(message.time_us, message.text.as_str()))
}

/// Returns the print of a message of the history.
pub(super) fn print_of_local(message: &Message) -> Print {
    print(message.wall_us, &message.text)
}

/// Returns true if two messages of one number are the same one.
pub(super) fn is_same(exported: &BatchMessage, local: &Message) -> bool {
    exported.time_us == local.wall_us && exported.text.as_str() == local.text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{member::Kind, names::UserName, text::Text};

    fn at(generation: u64, seq: u64) -> LinkPosition {
        LinkPosition { generation, seq }
    }

    #[test]
    fn export_continues_after_what_carrier_and_history_have() {
        use Continuation::{After, NewGeneration};
        let info = ExportInfo { after: at(5, 10), first: 1, head: 50 };
        for (tail, same, expected) in [
            (None, true, After(at(5, 10))),
            (Some(at(5, 10)), true, After(at(5, 10))),
            (Some(at(5, 40)), true, After(at(5, 40))),
            (Some(at(5, 40)), false, NewGeneration),
            (Some(at(5, 60)), true, NewGeneration),
            (Some(at(5, 9)), true, NewGeneration),
            (Some(at(4, 99)), false, After(at(5, 10))),
            (Some(at(4, 7)), true, After(at(5, 7))),
            (Some(at(6, 20)), true, NewGeneration),
        ] {
            assert_eq!(continuation(&info, tail, same), expected, "{tail:?} {same}");
        }
    }

    #[test]
    fn common_messages_are_found_in_few_steps() {
        for exported in 0..40 {
            for same in 0..=exported {
                let mut steps = 0;
                let found = common(exported, |at| {
                    steps += 1;
                    Ok::<_, ()>(at < same)
                });
                assert_eq!(found, Ok(same));
                assert!(steps <= 6, "{exported}: {steps}");
            }
        }
    }

    fn batch(generation: u64, prev: u64, last: u64) -> ExportBatch {
        ExportBatch { last, ..ExportBatch::new(1, None, at(generation, prev)) }
    }

    #[test]
    fn batch_is_known_next_or_after_a_hole() {
        for (batch, known, expected) in [
            (batch(5, 9, 12), None, Value::Missing),
            (batch(5, 9, 12), Some(at(5, 12)), Value::Known),
            (batch(5, 9, 12), Some(at(6, 1)), Value::Known),
            (batch(5, 9, 12), Some(at(5, 9)), Value::Next),
            (batch(5, 9, 12), Some(at(5, 11)), Value::Next),
            (batch(5, 9, 12), Some(at(5, 8)), Value::Missing),
            (batch(5, 9, 12), Some(at(4, 30)), Value::Next),
            (batch(5, 9, 12), Some(at(4, 8)), Value::Missing),
        ] {
            assert_eq!(value(&batch, known), expected, "{batch:?} {known:?}");
        }
    }

    #[test]
    fn parts_are_small_and_leave_nothing_out() {
        let message = |seq: u64| BatchMessage {
            seq,
            user: UserName::new("ann").unwrap(),
            label: None,
            kind: Kind::Person,
            time_us: 0,
            reply_to: None,
            notice: None,
            text: Text::new(&"x".repeat(1_000)).unwrap(),
        };
        let messages: Vec<_> = (11..=60).map(message).collect();
        let whole = ExportBatch { messages: messages.clone(), ..batch(5, 9, 70) };
        let parts = parts(whole, 10_000);
        assert!(parts.len() > 5);
        let (mut prev, mut all) = (9, Vec::new());
        for part in &parts {
            assert_eq!((part.generation, part.prev), (5, prev));
            assert!(part.messages.iter().map(BatchMessage::bytes).sum::<usize>() <= 10_000);
            prev = part.last;
            all.extend(part.messages.clone());
        }
        assert_eq!((prev, all), (70, messages));
        assert_eq!(super::parts(batch(5, 9, 12), 10), [batch(5, 9, 12)]);
    }
}
