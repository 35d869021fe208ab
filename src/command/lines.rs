//! `moot send --lines`: one message for each line of standard input, each stored once, over
//! restarts of the server.
//!
//! A line stays in a bounded queue until it has its answer. When the connection breaks, the lines
//! without one are submitted again, with the same client instance and counters: the server stores
//! none of them twice, and says which ones it can't tell. The input is not read while the queue is
//! full.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};

use super::{
    args::SendArgs,
    connect::Context,
    exit_code::{Exit, Failure},
    input, json,
    past::stream_of,
    render,
    submits::{address, checked_reply, reached, unsendable},
};
use crate::{
    chat::{
        event::Event,
        frames::{Ack, Frame, Line, Submit, SubmitTo},
        member::Kind,
        names::{Label, Target},
        refusal::{Refusal, RefusalCode},
        text::{Text, TextError, counted, without_colors},
    },
    client::{Link, LinkError, Sent, id_of},
    limits::{FRAME_BYTES_MAX, SUBMIT_MESSAGES_MAX, TEXT_BYTES_MAX, UNACKED_SUBMITS_MAX},
    os::{self, Places},
    session::{ConnectError, Connection},
    wire::{control::LINE_OVERHEAD_BYTES, hello::Hello},
};

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of texts that go into one submit frame.
const SUBMIT_BYTES_MAX: usize = FRAME_BYTES_MAX - 512;
/// Bytes of texts without an answer above which reading of the input stops.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// First and longest pause between tries to reconnect.
const RECONNECT_MS: (u64, u64) = (50, 1_000);

pub(super) fn run(context: &mut Context, args: &SendArgs) -> Result<Exit, Failure> {
    let (connection, places) = context.connect_or_start()?;
    let hello = context.hello(Kind::Script)?;
    let mut link = Link::open(connection, &hello);
    link.set_deadline(Some(context.deadline()));
    // No program knows when the first line comes, and a server does not wait long for a handshake.
    let run = link.welcome()?.run;
    let (to, to_label) = address(&mut link, &args.target)?;
    let reply_to = checked_reply(run, args.reply_to.as_ref(), &args.target)?;
    let mut sender = Sender {
        args,
        places,
        hello,
        link: Some(link),
        to,
        to_label,
        target: args.target.clone(),
        reply_to,
        lines: VecDeque::new(),
        bytes: 0,
        counter: 0,
        reached: 0,
        read: 0,
        last_stored: 0,
        least: u32::MAX,
        unsendable: 0,
        unknown: 0,
        has_ended: false,
        is_away: false,
        pause_ms: 0,
        give_up_at: None,
    };
    if let Err(failure) = sender.send_all(context) {
        return Err(sender.give_up(context, failure)?);
    }
    if let Some(link) = sender.link.take() {
        link.quit();
    }
    sender.result()
}

/// A line of the input until it has its answer, and those before it have theirs.
#[derive(Debug)]
struct Waiting {
    /// Its number, from 1.
    line: u64,
    /// Rises by one with each line that is submitted.
    counter: u64,
    /// None if it can't be sent.
    text: Option<Text>,
    /// Wall clock when it was first submitted, microseconds since 1970; 0 before.
    since_us: i64,
    /// It has its answer: a JSON object if the caller wants one.
    answer: Option<Option<serde_json::Value>>,
}

struct Sender<'a> {
    args: &'a SendArgs,
    places: Places,
    hello: Hello,
    /// None while disconnected.
    link: Option<Link>,
    to: SubmitTo,
    to_label: Option<Label>,
    target: Target,
    reply_to: Option<u64>,
    lines: VecDeque<Waiting>,
    /// Of the texts in `lines`.
    bytes: usize,
    counter: u64,
    /// Counters up to here were submitted in this session.
    reached: u64,
    /// Lines that were read.
    read: u64,
    /// The last line that was stored; 0 before the first.
    last_stored: u64,
    /// The fewest other sessions that got any of it.
    least: u32,
    /// Lines that were left out.
    unsendable: u64,
    /// Lines of which the server can't tell whether they are stored.
    unknown: u64,
    /// The input has ended.
    has_ended: bool,
    /// The session is lost, and that was reported.
    is_away: bool,
    /// Before the next try to come back.
    pause_ms: u64,
    /// Time at which it ends if no server runs by then; none: never.
    give_up_at: Option<Instant>,
}

impl Sender<'_> {
    /// One message a line, as it comes: what is there at once goes in one frame.
    fn send_all(&mut self, context: &mut Context) -> Result<(), Failure> {
        let unreadable = |e| Failure::new(Exit::Failed, format!("can't read standard input: {e}"));
        let input = os::standard_input().map_err(unreadable)?;
        let mut input = BufReader::with_capacity(READ_BYTES, input);
        let mut partial: Vec<u8> = Vec::new();
        loop {
            let here = input.fill_buf().map_err(unreadable)?;
            let ended = here.is_empty();
            let whole = here.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let (lines, rest) = here.split_at(whole);
            let mut block = std::mem::take(&mut partial);
            block.extend_from_slice(lines);
            if ended || whole > 0 {
                self.take_block(context, &block)?;
                partial.extend_from_slice(rest);
            } else {
                block.extend_from_slice(rest);
                partial = block;
            }
            // What is kept of a line that is too long is enough to know that it is.
            partial.truncate(TEXT_BYTES_MAX + 6);
            let read = here.len();
            input.consume(read);
            // While more is there at once, the next block does not wait for this one.
            let has_more = |input: &BufReader<os::Input>| os::has_input(input.get_ref());
            if ended {
                self.has_ended = true;
                if self.is_away {
                    self.give_up_at = Some(context.deadline());
                }
                return self.wait_for_all(context, || false);
            }
            if !has_more(&input) {
                // Without a connection it reads on, to see the end of the input.
                self.wait_for_all(context, || has_more(&input))?;
            }
        }
    }

    fn take_block(&mut self, context: &mut Context, block: &[u8]) -> Result<(), Failure> {
        for line in block.split_inclusive(|b| *b == b'\n') {
            let line = if self.read == 0 { input::without_mark(line) } else { line };
            self.read += 1;
            self.take_line(context, input::without_line_end(line))?;
        }
        self.submit(context)?;
        self.answer(context)
    }

    fn take_line(&mut self, context: &mut Context, line: &[u8]) -> Result<(), Failure> {
        let text = checked(line);
        let is_full =
            self.lines.len() >= UNACKED_SUBMITS_MAX || self.bytes + line.len() > WAITING_BYTES_MAX;
        if is_full {
            self.submit(context)?;
            self.wait_for_room(context)?;
        }
        let number = self.read;
        let (counter, text, answer) = match text {
            Ok(text) => {
                self.counter += 1;
                (self.counter, Some(text), None)
            }
            Err(e) => {
                // One bad line of a log does not end the stream; the exit code tells of it. A log
                // has empty lines, and there is nothing to say in them.
                let is_empty = e == TextError::Empty;
                let why = format!("line {number} is left out: {}", unsendable(e).text);
                if !is_empty {
                    self.unsendable += 1;
                    self.warn(context, &why);
                }
                (self.counter, None, Some(self.error(context, Exit::Usage, &why)))
            }
        };
        self.bytes += text.as_ref().map_or(0, |text| text.len());
        self.lines.push_back(Waiting { line: number, counter, text, since_us: 0, answer });
        Ok(())
    }

    /// The answer to a line that is not stored, for a program that reads those.
    fn error(&self, context: &Context, exit: Exit, why: &str) -> Option<serde_json::Value> {
        context.global.json.then(|| json::error(exit.code(), why))
    }

    /// With --json the answer to the line says it.
    fn warn(&self, context: &Context, text: &str) {
        if !context.global.json {
            context.out.warn(text);
        }
    }

    // ---- the server --------------------------------------------------------------------------

    /// Submits what was not submitted in this session.
    fn submit(&mut self, context: &mut Context) -> Result<(), Failure> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let now_us = os::wall_us();
        let begin = self.lines.partition_point(|line| line.counter <= self.reached);
        let mut frame: Vec<Line<'_>> = Vec::new();
        let (mut first, mut bytes) = (0, 0);
        let mut queue = |lines: &mut Vec<Line<'_>>, first: u64| {
            if !lines.is_empty() {
                let (to, to_label) = (self.to.clone(), self.to_label.clone());
                let lines = std::mem::take(lines);
                link.queue_submit(&Submit { first, to, to_label, lines });
            }
        };
        for waiting in self.lines.range_mut(begin..) {
            let Some(text) = waiting.text.as_ref().filter(|_| waiting.answer.is_none()) else {
                continue;
            };
            let cost = text.len() + LINE_OVERHEAD_BYTES;
            let is_next = first + frame.len() as u64 == waiting.counter;
            if !is_next || bytes + cost > SUBMIT_BYTES_MAX || frame.len() == SUBMIT_MESSAGES_MAX {
                queue(&mut frame, first);
                (first, bytes) = (waiting.counter, 0);
            }
            if waiting.since_us == 0 {
                waiting.since_us = now_us;
            }
            bytes += cost;
            self.reached = waiting.counter;
            frame.push(Line { reply_to: self.reply_to, text: text.borrowed() });
        }
        queue(&mut frame, first);
        link.set_deadline(Some(context.deadline()));
        match link.flush() {
            Ok(()) => Ok(()),
            Err(e) => self.lose(context, e),
        }
    }

    /// Waits until half of the queue is free.
    fn wait_for_room(&mut self, context: &mut Context) -> Result<(), Failure> {
        while self.lines.len() > UNACKED_SUBMITS_MAX / 2 || self.bytes > WAITING_BYTES_MAX / 2 {
            match self.link {
                Some(_) => self.take_answer(context)?,
                None => self.reconnect(context)?,
            }
        }
        Ok(())
    }

    /// Waits until each line has its answer. While disconnected it returns as soon as more input is
    /// there; after the end of the input a server has to come back within the time for an answer.
    fn wait_for_all(
        &mut self,
        context: &mut Context,
        has_more: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        while self.lines.iter().any(|line| line.answer.is_none()) {
            match self.link {
                Some(_) => self.take_answer(context)?,
                None if has_more() => return Ok(()),
                None => self.reconnect(context)?,
            }
        }
        self.answer(context)
    }

    fn take_answer(&mut self, context: &mut Context) -> Result<(), Failure> {
        let Some(link) = &mut self.link else { return Ok(()) };
        link.set_deadline(Some(context.deadline()));
        match link.wait() {
            Ok(Frame::Ack(ack)) => self.take_ack(context, &ack)?,
            Ok(Frame::Nack { first, count, refusal }) => {
                self.take_refusal(context, first..first.saturating_add(count.into()), refusal)?;
            }
            Ok(Frame::Event(Event::Spelled(room))) => self.target = Target::Room(room),
            // It goes on, only slower.
            Ok(Frame::Event(Event::Slowed)) => context.out.note(render::SLOWED),
            Ok(Frame::Reply { .. } | Frame::Event(_)) => {}
            Err(e) => self.lose(context, e)?,
        }
        self.answer(context)
    }

    fn take_ack(&mut self, context: &mut Context, ack: &Ack) -> Result<(), Failure> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let run = link.welcome()?.run;
        let acked = ack.first..ack.first.saturating_add(ack.count.into());
        self.come_back();
        self.least = self.least.min(ack.members);
        for waiting in &mut self.lines {
            if waiting.counter >= acked.end {
                break;
            }
            if waiting.answer.is_some() || !acked.contains(&waiting.counter) {
                continue;
            }
            self.last_stored = self.last_stored.max(waiting.line);
            waiting.answer = Some(context.global.json.then(|| {
                let counter = waiting.counter;
                let one = Ack { seq: ack.seq.saturating_add(counter - ack.first), ..*ack };
                let id = id_of(stream_of(&self.target), &one, run);
                json::sent(&Sent { id, members: ack.members, counter })
            }));
        }
        Ok(())
    }

    /// Reports lines whose fate the server does not know, and does not send them again; any other
    /// refusal would meet the next lines too.
    fn take_refusal(
        &mut self,
        context: &Context,
        refused: std::ops::Range<u64>,
        refusal: Refusal,
    ) -> Result<(), Failure> {
        let is_unknown = refusal.code == RefusalCode::UnknownSubmit;
        let goes_on = is_unknown || refusal.code == RefusalCode::Input;
        let exit = Failure::from(refusal.clone()).exit;
        let mut lines = Vec::new();
        for waiting in &mut self.lines {
            if waiting.answer.is_none() && refused.contains(&waiting.counter) {
                let why = format!("line {}: {}", waiting.line, refusal.text);
                waiting.answer = Some(context.global.json.then(|| json::error(exit.code(), &why)));
                lines.push(why);
            }
        }
        if !goes_on {
            return Err(refusal.into());
        }
        for why in &lines {
            self.warn(context, why);
        }
        *(if is_unknown { &mut self.unknown } else { &mut self.unsendable }) += lines.len() as u64;
        Ok(())
    }

    /// Prints the answers to lines, in order.
    fn answer(&mut self, context: &mut Context) -> Result<(), Failure> {
        while self.lines.front().is_some_and(|line| line.answer.is_some()) {
            let Some(line) = self.lines.pop_front() else { break };
            self.bytes -= line.text.as_ref().map_or(0, |text| text.len());
            if let Some(answer) = line.answer.flatten() {
                context.out.json(&json::of_line(answer, line.line))?;
            }
        }
        Ok(())
    }

    // ---- broken connections ------------------------------------------------------------------

    /// The connection broke: it comes back, unless it would break again for the same reason.
    fn lose(&mut self, context: &Context, e: LinkError) -> Result<(), Failure> {
        let comes_back = match &e {
            LinkError::Ended(_) | LinkError::Io(_) => true,
            LinkError::Refused(refused) => !refused.code.is_final(),
            LinkError::Connect(_)
            | LinkError::Refusal(_)
            | LinkError::TimedOut
            | LinkError::Protocol(_) => false,
        };
        let is_over = self.give_up_at.is_some_and(|at| at <= Instant::now());
        if !comes_back || self.args.no_reconnect || is_over {
            return Err(e.into());
        }
        let open = || self.lines.iter().filter(|line| line.answer.is_none());
        let unsent = open().find(|line| line.since_us == 0);
        self.hello.submitted = unsent.map_or(self.counter, |line| line.counter - 1);
        let oldest = open().map(|line| line.since_us).filter(|since_us| *since_us > 0).min();
        self.hello.submitted_since_us = oldest.unwrap_or_else(os::wall_us);
        self.link = None;
        self.reached = 0;
        if !self.is_away {
            self.is_away = true;
            let is_bounded = self.has_ended || context.global.timeout.is_some();
            self.give_up_at = is_bounded.then(|| context.deadline());
            context.out.note(&format!("{e}; waiting for the server to come back"));
        }
        Ok(())
    }

    /// Tries once to come back, after a pause if the last try failed.
    fn reconnect(&mut self, context: &mut Context) -> Result<(), Failure> {
        std::thread::sleep(Duration::from_millis(self.pause_ms));
        self.pause_ms = (self.pause_ms * 2).clamp(RECONNECT_MS.0, RECONNECT_MS.1);
        // A server that was started meanwhile may be found elsewhere.
        let places = os::located(&self.places);
        match Connection::open(&places.socket(), Duration::from_millis(RECONNECT_MS.1)) {
            Ok(connection) => self.resume(context, connection),
            Err(
                e @ (ConnectError::NoServer(_)
                | ConnectError::TimedOut(_)
                | ConnectError::Io { .. }),
            ) => match self.give_up_at {
                Some(at) if at <= Instant::now() => Err(context.no_connection(e, &places)),
                Some(_) | None => Ok(()),
            },
            Err(
                e @ (ConnectError::Denied(_)
                | ConnectError::Untrusted { .. }
                | ConnectError::Place(_)),
            ) => Err(e.into()),
        }
    }

    /// The server is of use again: one that ends each session at once is not.
    fn come_back(&mut self) {
        self.is_away = false;
        self.pause_ms = 0;
        self.give_up_at = None;
    }

    /// Submits again what has no answer yet.
    fn resume(&mut self, context: &mut Context, connection: Connection) -> Result<(), Failure> {
        let mut link = Link::open(connection, &self.hello);
        link.set_deadline(Some(context.deadline()));
        let begun = link.welcome().map(|welcome| welcome.run);
        let begun = begun.and_then(|run| Ok((run, address(&mut link, &self.target)?)));
        let run = match begun {
            Ok((run, to)) => {
                (self.to, self.to_label) = to;
                run
            }
            Err(e) => return self.lose(context, e),
        };
        self.reply_to = checked_reply(run, self.args.reply_to.as_ref(), &self.target)?;
        self.link = Some(link);
        if self.lines.iter().all(|line| line.answer.is_some()) {
            self.come_back();
        }
        self.submit(context)
    }

    // ---- the end -----------------------------------------------------------------------------

    fn result(&self) -> Result<Exit, Failure> {
        if self.unknown > 0 {
            let text =
                format!("can't tell whether all is stored: {}", counted(self.unknown, "line"));
            return Err(Failure::new(Exit::Failed, text));
        }
        if self.unsendable > 0 {
            let count = counted(self.unsendable, "line");
            let text = format!("{count} left out: can't be sent");
            return Err(Failure::new(Exit::Usage, text));
        }
        reached(self.args.require, self.last_stored > 0, self.least)
    }

    /// Says what became of the lines that were read: to the end of the message, and as the answer
    /// to each.
    fn give_up(&mut self, context: &mut Context, failure: Failure) -> Result<Failure, Failure> {
        if failure.text.is_empty() {
            return Ok(failure);
        }
        let (mut open, mut unsent) = (Vec::new(), Vec::new());
        for waiting in self.lines.iter_mut().filter(|waiting| waiting.answer.is_none()) {
            let what = if waiting.since_us > 0 {
                open.push(waiting.line);
                "may still be stored"
            } else {
                unsent.push(waiting.line);
                "was not sent"
            };
            let why = format!("line {} {what}: {}", waiting.line, failure.text);
            waiting.answer =
                Some(context.global.json.then(|| json::error(failure.exit.code(), &why)));
        }
        self.answer(context)?;
        let mut text = failure.text;
        text += &match self.last_stored {
            0 => "; no line was acknowledged".to_owned(),
            last => format!("; line {last} is the last one that was stored"),
        };
        if let Some(lines) = lines(&open) {
            text += &format!("; {lines} may still be stored: look before sending again");
        }
        if let Some(lines) = lines(&unsent) {
            text += &format!("; not sent: {lines}");
        }
        Ok(Failure::new(failure.exit, text))
    }
}

/// Numbers of lines, in order, in words.
fn lines(numbers: &[u64]) -> Option<String> {
    match numbers {
        [] => None,
        [line] => Some(format!("line {line}")),
        [first, .., last] => Some(format!("lines {first} to {last}")),
    }
}

fn checked(line: &[u8]) -> Result<Text, TextError> {
    if line.len() > TEXT_BYTES_MAX {
        return Err(TextError::TooLong { bytes: line.len() });
    }
    let text = std::str::from_utf8(line).map_err(|e| TextError::NotUtf8 { at: e.valid_up_to() })?;
    Text::new(&without_colors(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_checked_and_has_no_colors() {
        assert_eq!(checked(b"\x1b[32mok\x1b[0m \x1b[K").unwrap().as_str(), "ok \x1b[K");
        assert_eq!(checked(b""), Err(TextError::Empty));
        assert_eq!(checked(b"\x1b[0m"), Err(TextError::Empty));
        assert_eq!(checked(b"a\xff"), Err(TextError::NotUtf8 { at: 1 }));
        let long = vec![b'x'; TEXT_BYTES_MAX + 1];
        assert_eq!(checked(&long), Err(TextError::TooLong { bytes: TEXT_BYTES_MAX + 1 }));
        assert!(checked(&long[1..]).is_ok());
    }
}
