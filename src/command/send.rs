//! `moot send`: says something, once, and ends when it stands.

use std::io::{BufRead, BufReader, Read};

use super::{
    args::SendArgs,
    connect::Context,
    exit::{Exit, Failure},
    json, render,
};
use crate::{
    chat::{
        hub::{Line, Submit, SubmitTo},
        member::Kind,
        message::{MessageId, StreamName},
        names::{Label, Target},
        text::{Text, TextError},
        verbs::{Event, Reply, Request},
    },
    client::{Link, Sent, Told, id_of},
    limits::{FRAME_BYTES_MAX, SUBMIT_MESSAGES_MAX, TEXT_BYTES_MAX, UNACKED_SUBMITS_MAX},
    os,
    wire::control::LINE_OVERHEAD_BYTES,
};

/// What is read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of texts that go into one submit frame.
const SUBMIT_BYTES_MAX: usize = FRAME_BYTES_MAX - 512;

pub(super) fn run(context: &mut Context, args: &SendArgs) -> Result<Exit, Failure> {
    let text = match (args.lines, args.text.as_slice()) {
        (false, words) => Some(whole(words)?),
        (true, []) => None,
        (true, [dash]) if dash == "-" => None,
        (true, _) => {
            let text = "--lines sends what comes on standard input, not words of the command line";
            return Err(Failure::new(Exit::Usage, text));
        }
    };
    let (connection, _) = context.connect_or_start()?;
    let mut link = Link::open(connection, &context.hello(Kind::Script)?);
    link.set_deadline(Some(context.deadline()));
    let (to, to_label) = address(&mut link, &args.target)?;
    let mut sender = Sender {
        link,
        to,
        to_label,
        target: args.target.clone(),
        counter: 0,
        open: 0,
        least: u32::MAX,
        unsendable: 0,
    };
    let reply_to = sender.reply_to(args.reply_to.as_ref())?;
    let least = match text {
        Some(text) => sender.send(context, &[Line { reply_to, text: text.as_str() }])?,
        None => sender.send_lines(context, reply_to)?,
    };
    let sent = sender.counter;
    sender.link.quit();
    if sender.unsendable > 0 {
        let text = format!("{} lines can't be sent and were left out", sender.unsendable);
        return Err(Failure::new(Exit::Usage, text));
    }
    match args.require {
        // Nothing was sent: nobody got it.
        Some(required) if sent == 0 && required > 0 => {
            Err(Failure::new(Exit::TooFew, "there was nothing to send"))
        }
        Some(required) if least < required => {
            let text = format!("sent, but to {least} other sessions, and {required} were required");
            Err(Failure::new(Exit::TooFew, text))
        }
        Some(_) | None => Ok(Exit::Done),
    }
}

/// The message: the words of the command line, or standard input without its last line end.
pub(super) fn whole(text: &[String]) -> Result<Text, Failure> {
    let words = match text {
        [] => None,
        [dash] if dash == "-" => None,
        words => Some(words.join(" ")),
    };
    let bytes = match words {
        Some(words) => words.into_bytes(),
        None => read_input()?,
    };
    Text::from_bytes(&bytes).map_err(unsendable)
}

fn read_input() -> Result<Vec<u8>, Failure> {
    // One more than fits, and its line end, are enough to know that it does not.
    let mut bytes = Vec::new();
    let mut input = std::io::stdin().lock().take(TEXT_BYTES_MAX as u64 + 2);
    input
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::new(Exit::Failed, format!("can't read standard input: {e}")))?;
    drop_line_end(&mut bytes);
    Ok(bytes)
}

fn drop_line_end(bytes: &mut Vec<u8>) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
}

fn unsendable(e: TextError) -> Failure {
    let text = match e {
        // What was read was cut: its length is not known.
        TextError::TooLong { bytes } if bytes > TEXT_BYTES_MAX => {
            format!("the text is too long: a message has at most {TEXT_BYTES_MAX} bytes")
        }
        e => e.to_string(),
    };
    Failure::new(Exit::Usage, text)
}

/// Where a target's messages are submitted to. A room needs no question; a user has to be here.
fn address(link: &mut Link, target: &Target) -> Result<(SubmitTo, Option<Label>), Failure> {
    match target {
        Target::Room(room) => Ok((SubmitTo::Room(room.clone()), None)),
        Target::User { label, .. } => match link.ask(&Request::Open { target: target.clone() })? {
            Reply::Opened(info) => Ok((SubmitTo::Stream(info.tag), label.clone())),
            other => Err(Failure::new(Exit::Failed, format!("unexpected answer: {other:?}"))),
        },
    }
}

struct Sender {
    link: Link,
    to: SubmitTo,
    to_label: Option<Label>,
    target: Target,
    counter: u64,
    /// Submitted and not acknowledged yet.
    open: u64,
    /// The fewest other sessions that got any of it.
    least: u32,
    /// Lines that were left out.
    unsendable: u64,
}

impl Sender {
    fn stream(&self) -> StreamName {
        match &self.target {
            Target::Room(room) => StreamName::Room(room.clone()),
            Target::User { user, .. } => StreamName::Direct(user.clone()),
        }
    }

    /// The number that a reply names, if it is of this target and this run.
    fn reply_to(&mut self, id: Option<&MessageId>) -> Result<Option<u64>, Failure> {
        let Some(id) = id else { return Ok(None) };
        if id.stream != self.stream() {
            let text = format!("{id} is no message of {}", self.target);
            return Err(Failure::new(Exit::Absent, text));
        }
        let run = self.link.welcome()?.run;
        if id.run.is_some_and(|of| of != run) {
            return Err(Failure::new(
                Exit::Absent,
                format!("{id} is of an earlier run of the server"),
            ));
        }
        Ok(Some(id.seq))
    }

    /// Sends some texts in one frame and waits until all stand; gives the fewest members of any.
    fn send(&mut self, context: &mut Context, lines: &[Line<'_>]) -> Result<u32, Failure> {
        self.submit(context, lines)?;
        self.wait_until(context, 0)?;
        Ok(self.least)
    }

    /// Sends some texts in one frame, once so many others stand that there is room for them.
    fn submit(&mut self, context: &mut Context, lines: &[Line<'_>]) -> Result<(), Failure> {
        self.wait_until(context, (UNACKED_SUBMITS_MAX - lines.len()) as u64)?;
        let submit = Submit {
            first: self.counter + 1,
            to: self.to.clone(),
            to_label: self.to_label.clone(),
            lines: lines.to_vec(),
        };
        self.link.set_deadline(Some(context.deadline()));
        self.link.queue_submit(&submit);
        self.link.flush()?;
        self.counter += lines.len() as u64;
        self.open += lines.len() as u64;
        Ok(())
    }

    /// Waits until no more than so many are still to be acknowledged.
    fn wait_until(&mut self, context: &mut Context, most: u64) -> Result<(), Failure> {
        self.link.set_deadline(Some(context.deadline()));
        while self.open > most {
            match self.link.wait()? {
                Told::Ack(ack) => {
                    self.open = self.open.saturating_sub(ack.count.into());
                    self.least = self.least.min(ack.members);
                    self.link.set_deadline(Some(context.deadline()));
                    self.tell(context, &ack)?;
                }
                Told::Nack { refusal, .. } => return Err(refusal.into()),
                Told::Event(Event::Spelled(room)) => self.target = Target::Room(room),
                Told::Event(Event::Slowed) => {
                    // It goes on, only slower.
                    self.link.set_deadline(Some(context.deadline()));
                    context.out.note(render::SLOWED);
                }
                Told::Reply(..) | Told::Event(_) | Told::Batch(_) | Told::Status(_) => {}
            }
        }
        Ok(())
    }

    fn tell(&mut self, context: &mut Context, ack: &crate::chat::hub::Ack) -> Result<(), Failure> {
        if !context.global.json {
            return Ok(());
        }
        let run = self.link.welcome()?.run;
        for at in 0..u64::from(ack.count) {
            let one = crate::chat::hub::Ack { seq: ack.seq + at, ..*ack };
            let counter = ack.first + at;
            let sent = Sent { id: id_of(self.stream(), &one, run), members: ack.members, counter };
            context.out.json(&json::sent(&sent))?;
        }
        Ok(())
    }

    /// One message a line, as it comes: whatever is there at once goes in one frame.
    fn send_lines(&mut self, context: &mut Context, reply_to: Option<u64>) -> Result<u32, Failure> {
        let input = os::standard_input()
            .map_err(|e| Failure::new(Exit::Failed, format!("can't read standard input: {e}")))?;
        let mut input = BufReader::with_capacity(READ_BYTES, input);
        let mut partial: Vec<u8> = Vec::new();
        let mut line_number = 0u64;
        // Nobody knows when the first line comes, and a server does not wait long for a handshake.
        self.link.welcome()?;
        loop {
            let here = input.fill_buf().map_err(|e| {
                Failure::new(Exit::Failed, format!("can't read standard input: {e}"))
            })?;
            let ended = here.is_empty();
            let whole = here.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let (lines, rest) = here.split_at(whole);
            let mut block = std::mem::take(&mut partial);
            block.extend_from_slice(lines);
            if ended || whole > 0 {
                self.send_block(context, &block, &mut line_number, reply_to)?;
                partial.extend_from_slice(rest);
            } else {
                block.extend_from_slice(rest);
                partial = block;
            }
            let read = here.len();
            input.consume(read);
            // While more is there at once, the next block does not wait for this one.
            if ended || !os::has_input(input.get_ref()) {
                self.wait_until(context, 0)?;
            }
            if ended {
                return Ok(self.least);
            }
            if partial.len() > TEXT_BYTES_MAX {
                // What is kept of a line that is too long is enough to know that it is.
                partial.truncate(TEXT_BYTES_MAX + 1);
            }
        }
    }

    fn send_block(
        &mut self,
        context: &mut Context,
        block: &[u8],
        line_number: &mut u64,
        reply_to: Option<u64>,
    ) -> Result<(), Failure> {
        let mut lines: Vec<Line<'_>> = Vec::new();
        let mut bytes = 0;
        for line in block.split_inclusive(|b| *b == b'\n') {
            *line_number += 1;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            // A log has empty lines; there is nothing to say in them.
            if line.is_empty() {
                continue;
            }
            let text = match checked(line) {
                Ok(text) => text,
                Err(e) => {
                    // One bad line of a log does not end the stream; the exit code tells of it.
                    self.unsendable += 1;
                    let text = unsendable(e).text;
                    context.out.warn(&format!("line {line_number} is left out: {text}"));
                    continue;
                }
            };
            let cost = line.len() + LINE_OVERHEAD_BYTES;
            if bytes + cost > SUBMIT_BYTES_MAX || lines.len() == SUBMIT_MESSAGES_MAX {
                if !lines.is_empty() {
                    self.submit(context, &lines)?;
                }
                lines.clear();
                bytes = 0;
            }
            lines.push(Line { reply_to, text });
            bytes += cost;
        }
        if !lines.is_empty() {
            self.submit(context, &lines)?;
        }
        Ok(())
    }
}

fn checked(line: &[u8]) -> Result<&str, TextError> {
    if line.len() > TEXT_BYTES_MAX {
        return Err(TextError::TooLong { bytes: line.len() });
    }
    std::str::from_utf8(line).map_err(|e| TextError::NotUtf8 { at: e.valid_up_to() })
}
