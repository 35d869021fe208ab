//! `moot send --lines`: one message for each line of standard input, each stored once, over
//! restarts of the server.
//!
//! The texts go through a [`Pipeline`]; a line stays in a bounded queue until it and those before
//! it have their answers. The input is not read while the queue is full.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};

use super::{
    args::SendArgs,
    connect::Context,
    exit_code::{Exit, Failure},
    input, json, render,
    submits::{check_reply, reached, unsendable},
};
use crate::{
    chat::{
        frames::Ack,
        member::Kind,
        refusal::{Refusal, RefusalCode},
        text::{Text, TextError, counted, without_colors},
    },
    client::{LinkError, Pipeline, Progress},
    limits::{TEXT_BYTES_MAX, UNACKED_SUBMITS_MAX},
    os::{self, Places},
    session::{ConnectError, Connection},
};

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of texts without an answer above which reading of the input stops.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// First and longest pause between tries to reconnect.
const RECONNECT_MS: (u64, u64) = (50, 1_000);

pub(super) fn run(context: &mut Context, args: &SendArgs) -> Result<Exit, Failure> {
    let (connection, places) = context.connect_or_start()?;
    check_reply(args.reply_to.as_ref(), &args.target)?;
    let (hello, deadline) = (context.hello(Kind::Script)?, context.deadline());
    let (target, reply_to) = (args.target.clone(), args.reply_to.clone());
    let mut pipeline = Pipeline::open(connection, hello, target, reply_to, deadline)?;
    // No program knows when the first line comes, and a server does not wait long for a handshake.
    pipeline.welcome()?;
    let mut sender = LineSender {
        args,
        places,
        pipeline,
        lines: VecDeque::new(),
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
    let result = sender.result();
    sender.pipeline.quit();
    result
}

/// A line of the input until it has its answer, and those before it have theirs.
#[derive(Debug)]
struct WaitingLine {
    /// Its number, from 1.
    line: u64,
    /// Counter of its text; 0 if it is not sent.
    counter: u64,
    /// It has its answer: a JSON object if the caller wants one.
    answer: Option<Option<serde_json::Value>>,
}

struct LineSender<'a> {
    args: &'a SendArgs,
    places: Places,
    pipeline: Pipeline,
    lines: VecDeque<WaitingLine>,
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

impl LineSender<'_> {
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
        let is_full = self.lines.len() >= UNACKED_SUBMITS_MAX
            || self.pipeline.bytes() + line.len() > WAITING_BYTES_MAX;
        if is_full {
            self.submit(context)?;
            self.wait_for_room(context)?;
        }
        let number = self.read;
        let (counter, answer) = match text {
            Ok(text) => (self.pipeline.push(text), None),
            Err(e) => {
                // One bad line of a log does not end the stream; the exit code tells of it. A log
                // has empty lines, and there is nothing to say in them.
                let is_empty = e == TextError::Empty;
                let why = format!("line {number} is left out: {}", unsendable(e).text);
                if !is_empty {
                    self.unsendable += 1;
                    self.warn(context, &why);
                }
                (0, Some(self.error(context, Exit::Usage, &why)))
            }
        };
        self.lines.push_back(WaitingLine { line: number, counter, answer });
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
        match self.pipeline.flush(context.deadline()) {
            Ok(()) => Ok(()),
            Err(e) => self.lose(context, e),
        }
    }

    /// Waits until half of the queue is free.
    fn wait_for_room(&mut self, context: &mut Context) -> Result<(), Failure> {
        // Lines that were never sent wait for no frame.
        self.answer(context)?;
        while self.lines.len() > UNACKED_SUBMITS_MAX / 2
            || self.pipeline.bytes() > WAITING_BYTES_MAX / 2
        {
            match self.pipeline.is_connected() {
                true => self.take_answer(context)?,
                false => self.reconnect(context)?,
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
        while !self.pipeline.is_empty() {
            match self.pipeline.is_connected() {
                true => self.take_answer(context)?,
                false if has_more() => return Ok(()),
                false => self.reconnect(context)?,
            }
        }
        self.answer(context)
    }

    fn take_answer(&mut self, context: &mut Context) -> Result<(), Failure> {
        match self.pipeline.wait(context.deadline()) {
            Ok(Progress::Acked(ack)) => self.take_ack(context, &ack),
            Ok(Progress::Refused(refused, refusal)) => {
                self.take_refusal(context, refused, refusal)?;
            }
            // It goes on, only slower.
            Ok(Progress::Slowed) => context.out.note(render::SLOWED),
            Ok(Progress::Other) => {}
            Err(e) => self.lose(context, e)?,
        }
        self.answer(context)
    }

    fn take_ack(&mut self, context: &Context, ack: &Ack) {
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
            let sent = || json::sent(&self.pipeline.sent(ack, waiting.counter));
            waiting.answer = Some(context.global.json.then(sent));
        }
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
        self.pipeline.lose();
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
        if let Err(e) = self.pipeline.resume(connection, context.deadline()) {
            return self.lose(context, e);
        }
        if self.pipeline.is_empty() {
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
            let what = if self.pipeline.may_be_stored(waiting.counter) {
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
