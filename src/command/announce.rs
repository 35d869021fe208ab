//! `moot announce` and `moot notices`: tells everybody, and says honestly who was reached.

use std::time::Duration;

use super::{
    args::{AnnounceArgs, NoticeVerb, Require, WaitArg},
    connect::Context,
    exit::{Exit, Failure},
    json, render,
    send::whole,
    time::{Clock, Moment},
};
use crate::{
    chat::{
        message::NoticeId,
        verbs::{Announce, NoticeStanding, ReceiptInfo, Reply, Request, Wait},
    },
    client::Announced,
    limits::{ACKED_MS_DEFAULT, RECEIPT_MS_DEFAULT, SCHEDULE_MS_MAX},
    os,
};

pub(super) fn run(context: &mut Context, args: &AnnounceArgs) -> Result<Exit, Failure> {
    let text = whole(&args.text)?;
    if args.expires.is_some_and(|expires| Duration::from(expires).is_zero()) {
        return Err(Failure::new(Exit::Usage, "with --expires 0s nobody would be shown it"));
    }
    let at_us = at(args, os::wall_us())?;
    let mut link = context.link()?;
    let (wait, default_ms) = match args.wait {
        WaitArg::Reached => (Wait::Reached, RECEIPT_MS_DEFAULT),
        WaitArg::Acked => (Wait::Acked, ACKED_MS_DEFAULT),
    };
    let time = context.global.timeout.map_or(Duration::from_millis(default_ms), Duration::from);
    let expires = args.expires.map(Duration::from);
    let announce = Announce {
        level: args.level.into(),
        room: args.to.clone(),
        text,
        expires_us: expires.map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)),
        retain: args.retain,
        ack: args.ack,
        at_us,
        wait,
        report_at: match args.require {
            Some(Require::Count(count)) => count,
            Some(Require::All) | None => u32::MAX,
        },
        dry_run: args.dry_run,
    };
    let announced = link.announce(announce, time)?;
    link.quit();
    match announced {
        Announced::Receipt(receipt) => show_receipt(context, args, &receipt),
        Announced::Scheduled { id, at_us, kept } => {
            match context.global.json {
                true => context.out.json(&json::scheduled(id, at_us))?,
                false => {
                    context.out.line(&render::scheduled(id, at_us, &context.out.style(false)))?
                }
            }
            if !kept {
                let text = "this server keeps nothing: it is lost if the server ends before";
                context.out.note(text);
            }
            Ok(Exit::Done)
        }
        Announced::WouldReach { members, users } => {
            match context.global.json {
                true => context.out.json(&json::would_reach(members, users))?,
                false => {
                    let text = format!("would reach {members} members of {users} users");
                    context.out.line(&text)?;
                }
            }
            Ok(Exit::Done)
        }
    }
}

/// When it is to be announced; none: now.
fn at(args: &AnnounceArgs, now_us: i64) -> Result<Option<i64>, Failure> {
    let usage = |text: String| Err(Failure::new(Exit::Usage, text));
    let max_us = SCHEDULE_MS_MAX.cast_signed() * 1000;
    let at_us = match (&args.at, args.within) {
        (None, None) => return Ok(None),
        (_, Some(within)) => {
            let us = i64::try_from(Duration::from(within).as_micros()).unwrap_or(i64::MAX);
            now_us.saturating_add(us)
        }
        // `now`.
        (Some(Moment::Ago(Duration::ZERO)), None) => return Ok(None),
        (Some(Moment::Ago(_)), None) => {
            return usage(
                "--at takes a time such as 18:00; for a duration from now use --in".into(),
            );
        }
        (Some(moment), None) => moment.wall_us(now_us),
    };
    if at_us < now_us {
        let passed = Clock { utc: false, now_us }.full(at_us);
        return usage(format!(
            "{passed} has passed; write a later time, such as 'tomorrow 18:00' or '2026-12-24 18:00', \
             or --in 10m"
        ));
    }
    if at_us.saturating_sub(now_us) > max_us {
        return usage("an announcement can be put off by a year at most".into());
    }
    Ok(Some(at_us))
}

fn show_receipt(
    context: &mut Context,
    args: &AnnounceArgs,
    receipt: &ReceiptInfo,
) -> Result<Exit, Failure> {
    let acks = args.ack || args.wait == WaitArg::Acked || receipt.acked > 0;
    match context.global.json {
        true => context.out.json(&json::receipt(receipt))?,
        false => context.out.line(&render::receipt(receipt, acks))?,
    }
    let (covered, word) = match args.wait {
        WaitArg::Reached => (receipt.reached, "reached"),
        WaitArg::Acked => (receipt.acked, "acknowledged by"),
    };
    let required = match args.require {
        None => 0,
        Some(Require::All) => receipt.members,
        Some(Require::Count(count)) => count,
    };
    if covered >= required {
        return Ok(Exit::Done);
    }
    Err(Failure::new(Exit::TooFew, format!("{word} {covered}, and {required} were required")))
}

pub(super) fn notices(context: &mut Context, verb: &NoticeVerb) -> Result<Exit, Failure> {
    let mut link = context.link()?;
    match verb {
        NoticeVerb::List => {
            let notices = link.notices()?;
            if context.global.json {
                for notice in &notices {
                    context.out.json(&json::notice(notice))?;
                }
            } else {
                context.out.lines(&render::notices(&notices, &context.out.style(false)))?;
            }
        }
        NoticeVerb::Show { id } => show(context, &mut link, *id)?,
        NoticeVerb::Ack { ids } => {
            for id in ids {
                link.ask(&Request::AckNotice { id: *id })?;
            }
        }
        NoticeVerb::Cancel { id } => {
            link.ask(&Request::CancelNotice { id: *id })?;
        }
    }
    link.quit();
    Ok(Exit::Done)
}

fn show(
    context: &mut Context,
    link: &mut crate::client::Link,
    id: NoticeId,
) -> Result<(), Failure> {
    let Reply::Notice(notice) = link.ask(&Request::Notice { id })? else {
        return Err(Failure::new(Exit::Failed, "unexpected answer to notices"));
    };
    if notice.standing == NoticeStanding::Waiting {
        return match context.global.json {
            true => context.out.json(&json::notice(&notice)),
            false => {
                let style = context.out.style(false);
                context.out.line(&render::notice(&notice, &style))
            }
        };
    }
    let receipt = link.receipt(notice.id)?;
    if context.global.json {
        return context.out.json(&json::notice_and_receipt(&notice, &receipt));
    }
    let style = context.out.style(false);
    context.out.line(&render::notice(&notice, &style))?;
    context.out.line(&render::receipt(&receipt, notice.ack || notice.acks > 0))
}
