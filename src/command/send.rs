//! `moot send`: says something, once, and ends when it stands.

use std::io::Read;

use super::{
    args::SendArgs,
    connect::Context,
    exit_code::{Exit, Failure},
    input, json, lines,
    past::stream_of,
    render,
};
use crate::{
    chat::{
        event::Event,
        frames::{Line, Submit, SubmitTo},
        member::Kind,
        message::{MessageId, RunId},
        names::{Label, Target},
        reply::Reply,
        request::Request,
        text::{Text, TextError},
    },
    client::{Link, LinkError, Sent, ServerFrame, id_of},
    limits::TEXT_BYTES_MAX,
};

pub(super) fn run(context: &mut Context, args: &SendArgs) -> Result<Exit, Failure> {
    let text = match (args.lines, args.text.as_slice()) {
        (false, words) => whole(words)?,
        (true, []) => return lines::run(context, args),
        (true, [dash]) if dash == "-" => return lines::run(context, args),
        (true, _) => {
            let text = "--lines sends what comes on standard input, not words of the command line";
            return Err(Failure::new(Exit::Usage, text));
        }
    };
    let (connection, _) = context.connect_or_start()?;
    let mut link = Link::open(connection, &context.hello(Kind::Script)?);
    link.set_deadline(Some(context.deadline()));
    let (to, to_label) = address(&mut link, &args.target)?;
    let reply_to = match &args.reply_to {
        Some(id) => checked_reply(link.welcome()?.run, Some(id), &args.target)?,
        None => None,
    };
    let lines = vec![Line { reply_to, text: text.as_str() }];
    link.queue_submit(&Submit { first: 1, to, to_label, lines });
    let sent = wait_for_ack(context, &mut link, args).map_err(|e| unanswered(e, &args.target))?;
    link.quit();
    if context.global.json {
        context.out.json(&json::sent(&sent))?;
    }
    reached(args.require, true, sent.members)
}

/// Waits until the message is stored.
fn wait_for_ack(context: &Context, link: &mut Link, args: &SendArgs) -> Result<Sent, LinkError> {
    let mut target = args.target.clone();
    loop {
        match link.wait()? {
            ServerFrame::Ack(ack) => {
                let id = id_of(stream_of(&target), &ack, link.welcome()?.run);
                return Ok(Sent { id, members: ack.members, counter: ack.first });
            }
            ServerFrame::Nack { refusal, .. } => return Err(LinkError::Refusal(refusal)),
            ServerFrame::Event(Event::Spelled(room)) => target = Target::Room(room),
            ServerFrame::Event(Event::Slowed) => {
                // It goes on, only slower.
                link.set_deadline(Some(context.deadline()));
                context.out.note(render::SLOWED);
            }
            ServerFrame::Reply(..)
            | ServerFrame::Event(_)
            | ServerFrame::Batch(_)
            | ServerFrame::Status(_) => {}
        }
    }
}

/// The message was submitted, and what became of it is not known.
fn unanswered(e: LinkError, target: &Target) -> Failure {
    let is_open = matches!(e, LinkError::TimedOut | LinkError::Ended(_) | LinkError::Io(_));
    let failure = Failure::from(e);
    if !is_open {
        return failure;
    }
    let text = format!(
        "{}; the message may still be sent: look with `moot history {target}` before sending it again",
        failure.text
    );
    Failure::new(failure.exit, text)
}

/// The result, by how many other sessions got it at least.
pub(super) fn reached(required: Option<u32>, is_sent: bool, members: u32) -> Result<Exit, Failure> {
    match required {
        // Nothing was sent: nobody got it.
        Some(1..) if !is_sent => Err(Failure::new(Exit::TooFew, "there was nothing to send")),
        Some(required) if is_sent && members < required => {
            let text =
                format!("sent, but to {members} other sessions, and {required} were required");
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
    // More than fits, in line ends of Windows and with a mark, is enough to know that it does not.
    let mut bytes = Vec::new();
    let mut from = std::io::stdin().lock().take(2 * TEXT_BYTES_MAX as u64 + 6);
    from.read_to_end(&mut bytes)
        .map_err(|e| Failure::new(Exit::Failed, format!("can't read standard input: {e}")))?;
    Ok(input::whole(&bytes).into_owned())
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

/// Where a target's messages are submitted to. A room needs no question; a user has to be here.
pub(super) fn address(
    link: &mut Link,
    target: &Target,
) -> Result<(SubmitTo, Option<Label>), LinkError> {
    match target {
        Target::Room(room) => Ok((SubmitTo::Room(room.clone()), None)),
        Target::User { label, .. } => match link.ask(&Request::Open { target: target.clone() })? {
            Reply::Opened(info) => Ok((SubmitTo::Stream(info.tag), label.clone())),
            other => Err(LinkError::Protocol(format!("unexpected answer: {other:?}"))),
        },
    }
}

/// The number that a reply names, if it is of this target and this boot of the server.
pub(super) fn checked_reply(
    run: RunId,
    id: Option<&MessageId>,
    target: &Target,
) -> Result<Option<u64>, Failure> {
    let Some(id) = id else { return Ok(None) };
    if id.stream != stream_of(target) {
        let text = format!("{id} is no message of {target}");
        return Err(Failure::new(Exit::Absent, text));
    }
    if id.run.is_some_and(|of| of != run) {
        let text = format!("{id} is of an earlier run of the server");
        return Err(Failure::new(Exit::Absent, text));
    }
    Ok(Some(id.seq))
}
