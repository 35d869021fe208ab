//! `moot send`: sends a message, once, and ends when it is acknowledged.

use std::{io::Read, time::Instant};

use super::{
    args::SendArgs,
    connect::Context,
    exit_code::{Exit, Failure},
    input, json, lines, render,
    submits::{check_reply, reached, unsendable},
};
use crate::{
    chat::{member::Kind, names::Target, text::Text},
    client::{LinkError, Pipeline, Progress, Sent},
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
    check_reply(args.reply_to.as_ref(), &args.target)?;
    let (hello, deadline) = (context.hello(Kind::Script)?, context.deadline());
    let (target, reply_to) = (args.target.clone(), args.reply_to.clone());
    let mut pipeline = Pipeline::open(connection, hello, target, reply_to, deadline)?;
    pipeline.push(text);
    let sent =
        wait_for_ack(context, &mut pipeline, deadline).map_err(|e| unanswered(e, &args.target))?;
    pipeline.quit();
    if context.global.json {
        context.out.json(&json::sent(&sent))?;
    }
    reached(args.require, true, sent.members)
}

/// Submits the message, and waits until it is stored.
fn wait_for_ack(
    context: &Context,
    pipeline: &mut Pipeline,
    mut deadline: Instant,
) -> Result<Sent, LinkError> {
    pipeline.flush(deadline)?;
    loop {
        match pipeline.wait(deadline)? {
            Progress::Acked(ack) => return Ok(pipeline.sent(&ack, ack.first)),
            Progress::Refused(_, refusal) => return Err(LinkError::Refusal(refusal)),
            Progress::Slowed => {
                // It goes on, only slower.
                deadline = context.deadline();
                context.out.note(render::SLOWED);
            }
            Progress::Other => {}
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
