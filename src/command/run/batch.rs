//! Way of a command's output into a room: bytes in, texts out. Pure: time is an argument.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    time::{Duration, Instant},
};

use super::{
    amount::{Amount, line_ends},
    plain::Plain,
    words,
};
use crate::{
    chat::text::{shown, without_colors},
    limits::{
        RUN_EVERY_MS, RUN_GATHER_MS, RUN_PARTIAL_MS, RUN_PARTIAL_MS_MAX, RUN_WAITING_BYTES_MAX,
        TEXT_BYTES_MAX,
    },
};

/// Maximum bytes of a shown byte: a control character is written out in six.
const SHOWN_BYTES_PER_BYTE: usize = 6;

/// Output that a command wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Output = 0,
    Error = 1,
}

/// Part of the output that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All, as it comes.
    All,
    /// The last N lines, at the end.
    Last(u64),
}

/// A line that has no end yet.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    /// When the first and the last of these bytes came.
    came: Option<(Instant, Instant)>,
    /// The beginning of this line was said.
    is_continued: bool,
}

impl Partial {
    fn due(&self) -> Option<Instant> {
        let (first, last) = self.came?;
        let quiet = last + Duration::from_millis(RUN_PARTIAL_MS);
        Some(quiet.min(first + Duration::from_millis(RUN_PARTIAL_MS_MAX)))
    }

    /// Takes what can be said of it: a character that is not complete stays.
    fn take(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(whole_characters(&self.bytes));
        self.is_continued = true;
        self.came = None;
        std::mem::replace(&mut self.bytes, rest)
    }
}

/// Output that waits to be said.
#[derive(Debug)]
pub(super) struct Batch {
    keep: Keep,
    /// Removes escape sequences, if the output is for a terminal.
    plain: Option<Plain>,
    partials: [Partial; 2],
    /// Whole lines, each with its end.
    waiting: VecDeque<u8>,
    /// Since when the oldest of them is to be said.
    since: Option<Instant>,
    /// Nothing is said before.
    not_before: Option<Instant>,
    /// Dropped output that was not reported yet.
    left_out: Amount,
    /// All that was dropped.
    lost: Amount,
    /// All that came.
    total: Amount,
    ended: bool,
}

impl Batch {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            plain: None,
            partials: Default::default(),
            waiting: VecDeque::new(),
            since: None,
            not_before: None,
            left_out: Amount::default(),
            lost: Amount::default(),
            total: Amount::default(),
            ended: false,
        }
    }

    /// The output is for a terminal, and of one stream: escape sequences are removed from now on.
    pub(super) fn expect_terminal_output(&mut self) {
        self.plain = Some(Plain::default());
    }

    /// All that came; a line without its end counts once the output has ended.
    pub(super) fn total(&self) -> Amount {
        self.total
    }

    /// Returns the amount that was dropped and should have been sent.
    pub(super) fn lost(&self) -> Amount {
        self.lost
    }

    /// Takes what the command wrote; whether something is due earlier than before.
    pub(super) fn push(&mut self, now: Instant, stream: Stream, bytes: &[u8]) -> bool {
        let before = self.due();
        self.total.add(Amount::of(bytes));
        let text = self.plain.as_mut().map(|plain| plain.text(bytes));
        let bytes = text.as_deref().unwrap_or(bytes);
        let rest = match bytes.iter().rposition(|b| *b == b'\n') {
            None => bytes,
            Some(end) => {
                let (lines, rest) = bytes.split_at(end + 1);
                self.end_line(now, stream, lines);
                rest
            }
        };
        self.begin_line(now, stream, rest);
        match (before, self.due()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(due)) => due < before,
        }
    }

    /// The line that was begun ends, and whole ones follow.
    fn end_line(&mut self, now: Instant, stream: Stream, lines: &[u8]) {
        let partial = std::mem::take(&mut self.partials[stream as usize]);
        let end = lines.strip_prefix(b"\r").unwrap_or(lines).strip_prefix(b"\n");
        let lines = match end {
            // All of that line was said.
            Some(others) if partial.is_continued && partial.bytes.is_empty() => others,
            _ => lines,
        };
        self.waiting.extend(&partial.bytes);
        self.queue(now, lines);
    }

    fn begin_line(&mut self, now: Instant, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let partial = &mut self.partials[stream as usize];
        partial.bytes.extend_from_slice(bytes);
        partial.came = Some((partial.came.map_or(now, |(first, _)| first), now));
        if partial.bytes.len() <= TEXT_BYTES_MAX {
            return;
        }
        // Of a progress bar only the last state counts.
        let state = last_state(&partial.bytes);
        partial.bytes.drain(..state.start);
        while self.partials[stream as usize].bytes.len() > TEXT_BYTES_MAX {
            self.cut_line(now, stream);
        }
    }

    /// A line that no message holds is said in pieces.
    fn cut_line(&mut self, now: Instant, stream: Stream) {
        let partial = &mut self.partials[stream as usize];
        let cut = whole_characters(&partial.bytes[..TEXT_BYTES_MAX]);
        let rest = partial.bytes.split_off(cut);
        let mut piece = std::mem::replace(&mut partial.bytes, rest);
        partial.is_continued = true;
        piece.push(b'\n');
        self.queue(now, &piece);
    }

    fn queue(&mut self, now: Instant, lines: &[u8]) {
        self.waiting.extend(lines);
        if !self.waiting.is_empty() {
            self.since.get_or_insert(now);
        }
        if self.waiting.len() > RUN_WAITING_BYTES_MAX {
            self.drop_oldest(self.waiting.len() - RUN_WAITING_BYTES_MAX);
        }
    }

    /// Drops whole lines of at least `bytes` bytes.
    fn drop_oldest(&mut self, bytes: usize) {
        let end = self.waiting.range(bytes - 1..).position(|b| *b == b'\n');
        let bytes = end.map_or(self.waiting.len(), |end| bytes + end);
        let (first, second) = self.waiting.as_slices();
        let of_first = bytes.min(first.len());
        let lines = line_ends(&first[..of_first]) + line_ends(&second[..bytes - of_first]);
        self.waiting.drain(..bytes);
        let dropped = Amount { lines, bytes: bytes as u64 };
        self.left_out.add(dropped);
        if self.keep == Keep::All {
            self.lost.add(dropped);
        }
    }

    /// When there is something to be said.
    pub(super) fn due(&self) -> Option<Instant> {
        if matches!(self.keep, Keep::Last(_)) && !self.ended {
            return None;
        }
        let lines = self.since.map(|since| since + Duration::from_millis(RUN_GATHER_MS));
        let partials = self.partials.iter().filter_map(Partial::due);
        let due = partials.chain(lines).min()?;
        Some(self.not_before.map_or(due, |at| due.max(at)))
    }

    /// Returns the text that is due now. Once the output has ended, everything is, at once.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        if !self.ended {
            self.due().filter(|due| *due <= now)?;
            self.take_partials(now);
        }
        let text = self.text();
        if text.is_some() {
            self.not_before = Some(now + Duration::from_millis(RUN_EVERY_MS));
        }
        // What could not be said just now has waited long enough.
        self.since = (!self.waiting.is_empty()).then_some(now);
        text
    }

    fn take_partials(&mut self, now: Instant) {
        for at in 0..self.partials.len() {
            if self.partials[at].due().is_some_and(|due| due <= now) {
                let mut line = self.partials[at].take();
                if !line.is_empty() {
                    line.push(b'\n');
                    self.queue(now, &line);
                }
            }
        }
    }

    /// Ends the output: the rest of it is to be sent.
    pub(super) fn end(&mut self, now: Instant) {
        self.ended = true;
        for at in 0..self.partials.len() {
            let mut partial = std::mem::take(&mut self.partials[at]);
            if !partial.bytes.is_empty() || partial.is_continued {
                self.total.lines += 1;
            }
            if !partial.bytes.is_empty() {
                partial.bytes.push(b'\n');
                self.queue(now, &partial.bytes);
            }
        }
        if let Keep::Last(lines) = self.keep {
            self.keep_last(lines);
        }
    }

    /// Drops the rest: it is not to be sent.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.since = None;
        self.left_out = Amount::default();
        self.lost = Amount::default();
    }

    fn keep_last(&mut self, lines: u64) {
        let here = self.waiting.iter().filter(|b| **b == b'\n').count() as u64;
        if here < lines {
            // Some of the last ones were dropped: those are reported.
            let lacks = self.left_out.lines.min(lines - here);
            self.left_out = Amount { lines: lacks, bytes: 0 };
            self.lost = self.left_out;
            return;
        }
        self.left_out = Amount::default();
        let mut skip = here - lines;
        let end = self.waiting.iter().position(|b| {
            skip -= u64::from(skip > 0 && *b == b'\n');
            skip == 0
        });
        // The byte where it was found is the end of the last line to go.
        match end {
            _ if here == lines => {}
            Some(end) if lines > 0 => drop(self.waiting.drain(..=end)),
            Some(_) | None => self.waiting.clear(),
        }
    }

    /// The next lines, as many as a message holds; none if there is nothing in them.
    fn text(&mut self) -> Option<String> {
        loop {
            let text = self.lines();
            match text {
                Some(text) if text.is_empty() => {}
                text => return text,
            }
        }
    }

    fn lines(&mut self) -> Option<String> {
        let told = std::mem::take(&mut self.left_out);
        let mut text = words::left_out(told);
        let mut has_lines = !text.is_empty();
        while let Some(end) = self.waiting.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.waiting.range(..end).copied().collect();
            let state = last_state(&line);
            let as_shown = made_visible(&line[state.clone()]);
            if text.len() + usize::from(has_lines) + as_shown.len() <= TEXT_BYTES_MAX {
                if has_lines {
                    text.push('\n');
                }
                text.push_str(&as_shown);
                has_lines = true;
                self.waiting.drain(..=end);
                continue;
            }
            if !has_lines {
                // The rest of it is the next line.
                let (piece, bytes) = first_piece(&line[state.clone()]);
                text = piece;
                has_lines = true;
                self.waiting.drain(..state.start + bytes);
            }
            break;
        }
        has_lines.then_some(text)
    }
}

/// The beginning of a line that fits into a message, and its bytes before it was made visible.
fn first_piece(line: &[u8]) -> (String, usize) {
    for most in [TEXT_BYTES_MAX, TEXT_BYTES_MAX / SHOWN_BYTES_PER_BYTE] {
        let bytes = whole_characters(&line[..most.min(line.len())]);
        let text = made_visible(&line[..bytes]);
        if text.len() <= TEXT_BYTES_MAX {
            return (text, bytes);
        }
    }
    unreachable!("no byte takes more to be shown")
}

/// Returns the range of a line's last state: text that was written over with carriage returns is
/// not seen.
fn last_state(line: &[u8]) -> std::ops::Range<usize> {
    let end = line.iter().rposition(|b| *b != b'\r').map_or(0, |at| at + 1);
    let start = line[..end].iter().rposition(|b| *b == b'\r').map_or(0, |at| at + 1);
    start..end
}

/// Returns the number of bytes before a character that is not complete.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len() - bytes.len().min(3);
    for at in (tail..bytes.len()).rev() {
        let wants = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return if at + wants > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}

/// Returns bytes as they are shown in a room: invalid UTF-8 as `\xNN`, control characters as
/// everywhere.
fn made_visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&shown(&without_colors(chunk.valid()), true));
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// All that is left to be said after its end.
    fn rest(batch: &mut Batch, now: Instant) -> Vec<String> {
        batch.end(now);
        std::iter::from_fn(|| batch.take(now)).collect()
    }

    fn said(keep: Keep, pieces: &[&[u8]]) -> Vec<String> {
        let (mut batch, now) = (Batch::new(keep), Instant::now());
        for piece in pieces {
            batch.push(now, Stream::Output, piece);
        }
        rest(&mut batch, now)
    }

    #[test]
    fn lines_that_come_together_are_one_message_and_more_wait() {
        let (mut batch, start) = (Batch::new(Keep::All), Instant::now());
        assert!(batch.push(start, Stream::Output, b"one\n"), "it is to be woken");
        assert!(!batch.push(start + ms(1), Stream::Error, b"two\n"), "it is awake");
        assert_eq!(batch.take(start + ms(1)), None);
        let due = batch.due().unwrap();
        assert_eq!(due, start + ms(RUN_GATHER_MS));
        assert_eq!(batch.take(due).unwrap(), "one\ntwo");
        assert_eq!(batch.due(), None);
        batch.push(due + ms(1), Stream::Output, b"three\n");
        assert_eq!(batch.due(), Some(due + ms(RUN_EVERY_MS)));
        assert_eq!(batch.take(due + ms(RUN_GATHER_MS + 2)), None);
        assert_eq!(batch.take(due + ms(RUN_EVERY_MS)).unwrap(), "three");
        assert_eq!(batch.total(), Amount { lines: 3, bytes: 14 });
    }

    #[test]
    fn a_chatty_build_costs_few_messages() {
        let (mut batch, start) = (Batch::new(Keep::All), Instant::now());
        let mut messages = Vec::new();
        for at in 0..10_000 {
            let now = start + ms(at);
            batch.push(now, Stream::Output, format!("line {at}\n").as_bytes());
            messages.extend(batch.take(now));
        }
        assert!(messages.len() <= 4 * 10 + 1, "{}", messages.len());
        messages.extend(rest(&mut batch, start + ms(10_000)));
        let lines: Vec<_> = messages.iter().flat_map(|m| m.lines()).collect();
        assert_eq!(lines.len(), 10_000);
        assert!(lines.iter().enumerate().all(|(at, line)| *line == format!("line {at}")));
    }

    #[test]
    fn a_prompt_is_said_after_a_while_and_its_line_goes_on() {
        let (mut batch, start) = (Batch::new(Keep::All), Instant::now());
        assert!(batch.push(start, Stream::Output, b"name? "));
        assert_eq!(batch.take(start + ms(RUN_PARTIAL_MS - 1)), None);
        assert_eq!(batch.take(start + ms(RUN_PARTIAL_MS)).unwrap(), "name? ");
        let later = start + ms(10_000);
        batch.push(later, Stream::Output, b"\nhello ann\n");
        assert_eq!(batch.take(later + ms(RUN_EVERY_MS)).unwrap(), "hello ann");
        assert_eq!(batch.total().lines, 2);
    }

    #[test]
    fn of_a_progress_bar_the_last_state_is_said_now_and_then() {
        let (mut batch, start) = (Batch::new(Keep::All), Instant::now());
        let mut messages = Vec::new();
        for at in 0..100 {
            let now = start + ms(at * 100);
            batch.push(now, Stream::Error, format!("\r{at}%").as_bytes());
            messages.extend(batch.take(now));
        }
        batch.push(start + ms(10_000), Stream::Error, b"\r100%\r\ndone\r\n");
        messages.extend(rest(&mut batch, start + ms(10_000)));
        assert_eq!(messages, ["50%", "100%\ndone"]);
        assert_eq!(said(Keep::All, &[b"1%\r2%\r3%\r"]), ["3%"]);
        assert_eq!(said(Keep::All, &[b"\r\r\r"]), Vec::<String>::new());
    }

    #[test]
    fn terminal_output_is_said_as_text_with_last_states_only() {
        let (mut batch, now) = (Batch::new(Keep::All), Instant::now());
        batch.expect_terminal_output();
        let mut bytes = 0;
        for at in 0..100_000 {
            let state = format!("\r\x1b[K\x1b[32m[{at:6}]\x1b[0m \x1b]0;title\x07working");
            batch.push(now, Stream::Output, state.as_bytes());
            bytes += state.len();
            assert!(batch.partials[0].bytes.len() <= TEXT_BYTES_MAX);
        }
        batch.push(now, Stream::Output, b"\r\x1b[K\x1b[1mdone\x1b[m\r\n");
        assert_eq!(rest(&mut batch, now), ["done"]);
        assert_eq!(batch.total(), Amount { lines: 1, bytes: bytes as u64 + 17 });
    }

    #[test]
    fn streams_do_not_cut_each_others_lines() {
        let (mut batch, now) = (Batch::new(Keep::All), Instant::now());
        batch.push(now, Stream::Output, b"out ");
        batch.push(now, Stream::Error, b"err\n");
        batch.push(now, Stream::Output, b"put\n");
        assert_eq!(rest(&mut batch, now), ["err\nout put"]);
    }

    #[test]
    fn bytes_that_are_not_text_are_shown() {
        let pieces: [&[u8]; 3] =
            [b"a\xffb \x1b[31mred\x1b[0m\x1b[2K\tx\0\n", "한".as_bytes(), b"\n\xed"];
        assert_eq!(said(Keep::All, &pieces), ["a\\xffb red\\u{1b}[2K\tx\\u{0}\n한\n\\xed"]);
    }

    #[test]
    fn a_character_that_comes_in_two_parts_is_whole() {
        let (mut batch, start) = (Batch::new(Keep::All), Instant::now());
        let bytes = "회의".as_bytes();
        batch.push(start, Stream::Output, &bytes[..4]);
        assert_eq!(batch.take(start + ms(RUN_PARTIAL_MS)).unwrap(), "회");
        batch.push(start + ms(2_000), Stream::Output, &bytes[4..]);
        assert_eq!(batch.take(start + ms(9_000)).unwrap(), "의");
    }

    #[test]
    fn oldest_surplus_lines_are_left_out_and_counted() {
        let line = |n: usize| format!("{n:09}\n");
        let (mut batch, now) = (Batch::new(Keep::All), Instant::now());
        let lines = RUN_WAITING_BYTES_MAX / 10 + 1_000;
        for n in 0..lines {
            batch.push(now, Stream::Output, line(n).as_bytes());
        }
        let lost = batch.lost();
        assert!(lost.lines >= 1_000 && lost.bytes == lost.lines * 10, "{lost:?}");
        let messages = rest(&mut batch, now);
        let told = format!("… {} lines (10 kB) were left out …", lost.lines);
        let first: Vec<_> = messages[0].lines().take(2).collect();
        assert_eq!(first, [told.as_str(), line(lost.lines as usize).trim_end()]);
        let kept = messages.iter().flat_map(|m| m.lines()).count() - 1;
        assert_eq!(kept, lines - lost.lines as usize);
        assert!(messages.last().unwrap().ends_with(line(lines - 1).trim_end()));
    }

    #[test]
    fn of_the_tail_the_last_lines_are_said_at_the_end() {
        let pieces: [&[u8]; 2] = [b"1\n2\n3\n", b"4\n5"];
        assert_eq!(said(Keep::Last(2), &pieces), ["4\n5"]);
        assert_eq!(said(Keep::Last(5), &pieces), ["1\n2\n3\n4\n5"]);
        assert_eq!(said(Keep::Last(9), &pieces), ["1\n2\n3\n4\n5"]);
        assert_eq!(said(Keep::Last(0), &pieces), Vec::<String>::new());
        assert_eq!(said(Keep::Last(2), &[]), Vec::<String>::new());
        let (mut batch, now) = (Batch::new(Keep::Last(1)), Instant::now());
        assert!(!batch.push(now, Stream::Output, b"1\n"));
        assert_eq!((batch.due(), batch.take(now + ms(60_000))), (None, None));
    }

    #[test]
    fn a_tail_that_is_too_much_says_so() {
        let (mut batch, now) = (Batch::new(Keep::Last(100)), Instant::now());
        let long = [vec![b'x'; TEXT_BYTES_MAX - 100], b"\n".to_vec()].concat();
        for _ in 0..90 {
            batch.push(now, Stream::Output, &long);
        }
        let messages = rest(&mut batch, now);
        let lost = 90 - RUN_WAITING_BYTES_MAX / long.len();
        assert_eq!(messages[0].lines().next().unwrap(), format!("… {lost} lines were left out …"));
        assert_eq!(messages.len(), 90 - lost);
    }

    #[test]
    fn a_line_that_no_message_holds_comes_in_pieces() {
        let long = vec![b'x'; 3 * TEXT_BYTES_MAX + 7];
        let whole = [long.clone(), b"\nend\n".to_vec()].concat();
        for pieces in [vec![&whole[..]], whole.chunks(1000).collect()] {
            let messages = said(Keep::All, &pieces);
            assert_eq!(messages.concat().replace("\nend", ""), String::from_utf8_lossy(&long));
            assert!(messages.iter().all(|m| m.len() <= TEXT_BYTES_MAX) && messages.len() == 4);
        }
        let escapes = vec![0x1b; TEXT_BYTES_MAX];
        let messages = said(Keep::All, &[&escapes]);
        assert_eq!(messages.concat().len(), 6 * TEXT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn no_message_is_empty_too_long_or_commands_however_it_comes(
            pieces in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200), 0..2_000u64), 0..40,
            ),
        ) {
            let (mut batch, mut now) = (Batch::new(Keep::All), Instant::now());
            let mut messages = Vec::new();
            let mut seen = 0;
            for (is_error, bytes, pause) in &pieces {
                let stream = if *is_error { Stream::Error } else { Stream::Output };
                batch.push(now, stream, bytes);
                seen += bytes.len() as u64;
                now += ms(*pause);
                messages.extend(batch.take(now));
            }
            messages.extend(rest(&mut batch, now));
            prop_assert_eq!(batch.total().bytes, seen);
            for message in &messages {
                prop_assert!(!message.is_empty() && message.len() <= TEXT_BYTES_MAX);
                prop_assert_eq!(&*shown(message, true), message.as_str(), "nothing commands");
            }
            prop_assert_eq!((batch.take(now), batch.due()), (None, None));
        }
    }
}
