//! `moot history`, `moot search`, `moot read`: what was said before.

use std::time::Duration;

use super::{
    args::{ExportArgs, HistoryArgs, ReadArgs, SearchArgs},
    connect::Context,
    exit_code::{Exit, Failure},
    json, rooms,
    time::Meaning,
};
use crate::{
    chat::{
        event::GapReason,
        message::{Message, MessageId, StreamName},
        names::{Label, Target},
        reply::{MarkInfo, SpanInfo},
        request::Request,
        stream_id::StreamLabel,
    },
    client::{Event, Link, Search},
    os,
};

pub(super) fn history(context: &mut Context, args: &HistoryArgs) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    let target = &args.target;
    let span = link.span(target)?;
    let mut first = span.first.max(1);
    let mut last = span.head;
    if let Some(since) = &args.since {
        first = after(&mut link, target, &span, since.among(&[StreamName::from(target)])?)? + 1;
    }
    if let Some(until) = &args.until {
        let until_us = until.past_us(os::wall_us());
        last = last.min(link.number_at(target, until_us.saturating_add(1))?.saturating_sub(1));
    }
    if let Some(before) = &args.before {
        last = last.min(number_of(&mut link, &span, before)?.saturating_sub(1));
    }
    if let Some(count) = args.last {
        first = first.max((last + 1).saturating_sub(count));
    }
    tell_gap(context, &span, first)?;
    link.messages(target, &span, (first, last), |message| {
        context.out.event(&Event::Message(message), false)
    })?;
    link.quit();
    Ok(Exit::Done)
}

/// Prints messages as JSON: of streams that are named, or of all that this user may read.
pub(super) fn export(context: &mut Context, args: &ExportArgs) -> Result<Exit, Failure> {
    context.out.print_json();
    let mut link = context.link()?;
    let mut targets = args.targets.clone();
    if args.all {
        let rooms = rooms::all_rooms(&mut link)?;
        targets.extend(rooms.into_iter().map(|room| Target::Room(room.name)));
        let directs = link.unread(&[])?.into_iter().filter_map(|mark| match mark.name {
            StreamLabel::Direct(user) => Some(Target::User { user, label: None }),
            StreamLabel::Room(_) | StreamLabel::Announcements => None,
        });
        targets.extend(directs);
    }
    for target in targets {
        let span = link.span(&target)?;
        link.messages(&target, &span, (span.first.max(1), span.head), |message| {
            context.out.event(&Event::Message(message), false)
        })?;
    }
    if args.all {
        for notice in link.notices()? {
            context.out.json(&json::notice(&notice))?;
        }
    }
    link.quit();
    Ok(Exit::Done)
}

/// Reports messages that were asked for and are no longer kept.
fn tell_gap(context: &mut Context, span: &SpanInfo, first: u64) -> Result<(), Failure> {
    if first >= span.first || first > span.head {
        return Ok(());
    }
    let stream = StreamName::from(&span.name);
    let reason = if span.stored { GapReason::Retention } else { GapReason::Backlog };
    let range = Some((first, span.first - 1));
    context.out.event(&Event::Gap { stream, range, reason }, false)
}

/// The number after which something begins.
pub(super) fn after(
    link: &mut Link,
    target: &Target,
    span: &SpanInfo,
    since: Meaning<'_>,
) -> Result<u64, Failure> {
    match since {
        Meaning::After(id) => number_of(link, span, id),
        Meaning::Time(time) => {
            let wall_us = time.past_us(os::wall_us());
            Ok(link.number_at(target, wall_us)?.saturating_sub(1))
        }
    }
}

/// The number that an id names, if it is of this stream and this run.
fn number_of(link: &mut Link, span: &SpanInfo, id: &MessageId) -> Result<u64, Failure> {
    let stream = StreamName::from(&span.name);
    if id.stream != stream {
        return Err(Failure::new(Exit::Absent, format!("{id} is not a message in {stream}")));
    }
    let run = link.welcome()?.run;
    if !span.stored && id.run.is_some_and(|of| of != run) {
        let text = format!("message {id} was lost when the server restarted");
        return Err(Failure::new(Exit::Absent, text));
    }
    if id.seq > span.head {
        return Err(Failure::new(Exit::Absent, format!("message {id} does not exist yet")));
    }
    Ok(id.seq)
}

pub(super) fn search(context: &mut Context, args: &SearchArgs) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    let room = args.room.clone().map(StreamName::Room);
    let since = args.since.as_ref().map(|since| since.among(room.as_slice())).transpose()?;
    let since = match since {
        Some(Meaning::After(id)) => Some(said_after(&mut link, id)?),
        Some(Meaning::Time(time)) => Some((time.past_us(os::wall_us()), None)),
        None => None,
    };
    let mut found = link.search(&Search {
        text: args.text.join(" "),
        target: args.room.clone().map(Target::Room),
        from: args.from.clone(),
        since_us: since.as_ref().map(|(at_us, _)| *at_us),
        limit: usize::try_from(args.last).unwrap_or(usize::MAX),
    })?;
    link.quit();
    if let Some((_, Some(after))) = since {
        found.retain(|m| m.id.stream != after.stream || m.id.seq > after.seq);
    }
    if let (Some(user), true) = (&args.from, found.is_empty()) {
        super::who::check_known(context, user)?;
    }
    let exit = if found.is_empty() { Exit::Failed } else { Exit::Done };
    for message in found {
        context.out.event(&Event::Message(message), true)?;
    }
    Ok(exit)
}

/// When a message was said, and its number: what came after it is not older, and in its own stream
/// has a higher number.
fn said_after(link: &mut Link, id: &MessageId) -> Result<(i64, Option<MessageId>), Failure> {
    let absent = || Failure::new(Exit::Absent, format!("message {id} does not exist"));
    let target = match &id.stream {
        StreamName::Room(room) => Target::Room(room.clone()),
        StreamName::Direct(user) => Target::User { user: user.clone(), label: None },
        StreamName::Announcements => return Err(absent()),
    };
    let span = link.span(&target)?;
    let seq = number_of(link, &span, id)?;
    let mut at = None;
    link.messages(&target, &span, (seq, seq), |message| {
        at = Some((message.wall_us, Some(message.id)));
        Ok::<(), Failure>(())
    })?;
    at.ok_or_else(absent)
}

pub(super) fn read(context: &mut Context, args: &ReadArgs) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    let marks = link.unread(&args.targets)?;
    for mark in marks.iter().filter(|mark| mark.head > mark.mark) {
        read_one(context, &mut link, mark, args.peek)?;
    }
    link.quit();
    Ok(Exit::Done)
}

fn read_one(
    context: &mut Context,
    link: &mut Link,
    mark: &MarkInfo,
    peek: bool,
) -> Result<(), Failure> {
    let target = match &mark.name {
        StreamLabel::Room(room) => Target::Room(room.clone()),
        StreamLabel::Direct(user) => Target::User { user: user.clone(), label: None },
        StreamLabel::Announcements => return Ok(()),
    };
    // Those that are left out are the name's own: they are looked through all the same, since what
    // is unread is counted up to a bound.
    let span = link.span(&target)?;
    tell_gap(context, &span, mark.mark + 1)?;
    let uid = link.welcome()?.uid;
    let label = context.global.label.clone();
    let own = move |m: &Message| m.from.uid == uid && m.from.label == label;
    link.messages(&target, &span, (mark.mark + 1, mark.head), |message| {
        if own(&message) { Ok(()) } else { context.out.event(&Event::Message(message), true) }
    })?;
    // What could not be printed was not read.
    context.out.flush()?;
    if !peek {
        link.ask(&Request::MarkRead { target, seq: mark.head })?;
    }
    Ok(())
}

/// One short line for a prompt.
pub(super) fn badge(context: &mut Context) -> Result<Exit, Failure> {
    // A prompt must not fail or wait.
    let counts = counts(context).unwrap_or_default();
    let parts = [
        (counts.unread, "✉"),
        (counts.mentions, "@"),
        (counts.direct, "✎"),
        (counts.announcements, "!"),
    ];
    let shown: Vec<_> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, sign)| format!("{sign}{n}")).collect();
    if context.global.json {
        let object = serde_json::json!({
            "type": "badge",
            "unread": counts.unread,
            "mentions": counts.mentions,
            "direct": counts.direct,
            "announcements": counts.announcements,
        });
        context.out.json(&object)?;
    } else if !shown.is_empty() {
        context.out.line(&shown.join(" "))?;
    }
    Ok(Exit::Done)
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    unread: u64,
    mentions: u64,
    direct: u64,
    announcements: u64,
}

/// Time that a prompt waits for a system server.
const BADGE_WITHIN: Duration = Duration::from_millis(100);

fn counts(context: &Context) -> Result<Counts, Failure> {
    let label: Option<&Label> = context.global.label.as_ref();
    let places = context.places()?;
    // A label that was never seen has no place in the table.
    if !places.host
        && let Some(badge) = crate::presence::badge(&places, label)
    {
        return Ok(Counts {
            unread: badge.unread,
            mentions: badge.mentions,
            direct: badge.direct,
            announcements: badge.announcements,
        });
    }
    if !places.host && label.is_none() {
        return Ok(Counts::default());
    }
    let mut link = context.link_within(BADGE_WITHIN)?;
    let mut counts = Counts::default();
    for mark in link.unread(&[])? {
        counts.mentions += mark.mentions;
        match mark.name {
            StreamLabel::Direct(_) => counts.direct += mark.unread,
            StreamLabel::Room(_) => counts.unread += mark.unread,
            StreamLabel::Announcements => counts.announcements += mark.unread,
        }
    }
    link.quit();
    Ok(counts)
}
