//! `moot send`: sends a message, once, and ends when it is acknowledged.

use std::io::Read;

use super::{
    args::SendArgs,
    connect::Context,
    exit_code::{Exit, Failure},
    input, json, lines,
    past::stream_of,
    render,
    submits::{address, checked_reply, reached, unsendable},
};
use crate::{
    chat::{
        event::Event,
        frames::{Frame, Line, Submit},
        member::Kind,
        names::Target,
        text::Text,
    },
    client::{Link, LinkError, Sent, id_of},
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
    let lines = vec![Line { reply_to, text: text.borrowed() }];
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
            Frame::Ack(ack) => {
                let id = id_of(stream_of(&target), &ack, link.welcome()?.run);
                return Ok(Sent { id, members: ack.members, counter: ack.first });
            }
            Frame::Nack { refusal, .. } => return Err(LinkError::Refusal(refusal)),
            Frame::Event(Event::Spelled(room)) => target = Target::Room(room),
            Frame::Event(Event::Slowed) => {
                // It goes on, only slower.
                link.set_deadline(Some(context.deadline()));
                context.out.note(render::SLOWED);
            }
            Frame::Reply { .. } | Frame::Event(_) => {}
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
