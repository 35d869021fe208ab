//! `moot announce` and `moot notices`: sends an announcement, and reports honestly who was reached.

use std::{collections::HashSet, time::Duration};

use super::{
    args::{AnnounceArgs, NoticeVerb, Require, WaitArg},
    connect::Context,
    exit_code::{Exit, Failure},
    json, render,
    send::whole,
    time::{Clock, Moment},
};
use crate::{
    chat::{
        linked::RemoteReceipt,
        message::AnnouncementId,
        reply::{AnnouncementState, HostReceiptInfo, Missing, ReceiptInfo, Reply},
        request::{Announce, Request, Wait},
        text::{counted, shown},
    },
    client::{Announced, Link},
    limits::{ACKED_MS_DEFAULT, RECEIPT_MS_DEFAULT, SCHEDULE_MS_MAX},
    os,
};

pub(super) fn run(context: &mut Context, args: &AnnounceArgs) -> Result<Exit, Failure> {
    let text = whole(&args.text)?;
    if args.expires.is_some_and(|expires| Duration::from(expires).is_zero()) {
        return Err(Failure::new(
            Exit::Usage,
            "--expires 0s shows it to no member; use a longer time",
        ));
    }
    let at_us = at(args, os::wall_us())?;
    let mut link = context.link()?;
    let (wait, default_ms) = match args.wait {
        WaitArg::Reached => (Wait::Reached, RECEIPT_MS_DEFAULT),
        WaitArg::Acked if args.require_users.is_some() => (Wait::AckedUsers, ACKED_MS_DEFAULT),
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
        report_at: match (wait, args.require, args.require_users) {
            // One of them says when to look, and both have to hold then.
            (Wait::AckedUsers, None, Some(Require::Count(count)))
            | (Wait::Reached | Wait::Acked, Some(Require::Count(count)), None) => count,
            _ => u32::MAX,
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
                    context.out.line(&render::scheduled(id, at_us, &context.out.style(false)))?;
                }
            }
            if !kept {
                let text = "no history: the announcement is lost if the server ends before";
                context.out.note(text);
            }
            Ok(Exit::Done)
        }
        Announced::WouldReach { members, users } => {
            match context.global.json {
                true => context.out.json(&json::would_reach(members, users))?,
                false => {
                    let members = counted(members.into(), "member");
                    let text =
                        format!("would reach {members} of {}", counted(users.into(), "user"));
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
        // As it is shown it can be typed.
        let time = passed.split_once(' ').map_or("18:00", |(_, time)| time);
        return usage(format!(
            "{passed} has passed; write 'tomorrow {time}', a later date, or --in 10m"
        ));
    }
    if at_us.saturating_sub(now_us) > max_us {
        return usage("an announcement can wait a year at most".into());
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
        false => context.out.line(&render::receipt(receipt, acks, &context.out.style(false)))?,
    }
    let word = match args.wait {
        WaitArg::Reached => "reached",
        WaitArg::Acked => "acknowledged by",
    };
    for (required, covered, all, of) in [
        (args.require, covered(args.wait, receipt), recipients(receipt), "session"),
        (args.require_users, users_covered(args.wait, receipt), receipt.users, "user"),
    ] {
        let required = match required {
            None => continue,
            // All of none is not a success.
            Some(Require::All) => all.max(1),
            Some(Require::Count(count)) => count,
        };
        if covered < required {
            let text = match recipients(receipt) {
                0 if args.retain => "no member is present; later members will see it".to_owned(),
                0 => "no member is present; --retain shows it to later members".to_owned(),
                _ => format!(
                    "{word} {}, and {required} {} required",
                    counted(covered.into(), of),
                    if required == 1 { "is" } else { "are" }
                ),
            };
            return Err(Failure::new(Exit::TooFew, text));
        }
    }
    Ok(Exit::Done)
}

/// Sessions that it was for, on all hosts. A host that reported nothing counts as one: it is
/// missing.
fn recipients(receipt: &ReceiptInfo) -> u32 {
    let of = |host: &HostReceiptInfo| host.receipt.map_or(1, |receipt| receipt.members);
    receipt.members + receipt.hosts.iter().map(of).sum::<u32>()
}

fn covered(wait: WaitArg, receipt: &ReceiptInfo) -> u32 {
    let remote = |of: fn(&RemoteReceipt) -> u32| {
        receipt.hosts.iter().filter_map(|host| host.receipt.as_ref()).map(of).sum::<u32>()
    };
    match wait {
        WaitArg::Reached => receipt.reached + remote(|of| of.reached),
        WaitArg::Acked => receipt.acked + remote(|of| of.acked),
    }
}

/// Number of users all of whose sessions have it, or who acknowledged it.
fn users_covered(wait: WaitArg, receipt: &ReceiptInfo) -> u32 {
    match wait {
        WaitArg::Acked => receipt.users_acked,
        WaitArg::Reached => {
            let user = |missing: &Missing| missing.name.split('/').next().map(str::to_owned);
            let missing: HashSet<_> = receipt.missing.iter().map(user).collect();
            receipt.users.saturating_sub(u32::try_from(missing.len()).unwrap_or(u32::MAX))
        }
    }
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
                ack(context, &mut link, *id)?;
            }
        }
        NoticeVerb::Cancel { id } => {
            link.ask(&Request::CancelNotice { id: *id })?;
            context.out.ok("notices cancel", &[("id", id.to_string().into())])?;
        }
    }
    link.quit();
    Ok(Exit::Done)
}

/// Acknowledges, and says for whom that counts.
fn ack(context: &mut Context, link: &mut Link, id: AnnouncementId) -> Result<(), Failure> {
    link.ask(&Request::AckNotice { id })?;
    let Reply::Notice(notice) = link.ask(&Request::Notice { id })? else {
        return Err(Failure::new(Exit::Failed, "unexpected reply about the announcement"));
    };
    let user = link.welcome()?.user.clone();
    if context.global.json {
        return context.out.json(&json::acknowledged(&notice, &user));
    }
    let (acked, of) = (notice.acked, counted(notice.members.into(), "session"));
    context.out.line(&format!(
        "acknowledged {} for all sessions of {}; acknowledged by {acked} of {of}",
        notice.id,
        shown(&user, false)
    ))
}

fn show(context: &mut Context, link: &mut Link, id: AnnouncementId) -> Result<(), Failure> {
    let Reply::Notice(notice) = link.ask(&Request::Notice { id })? else {
        return Err(Failure::new(Exit::Failed, "unexpected reply about the announcement"));
    };
    if notice.standing == AnnouncementState::Waiting {
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
    context.out.line(&render::receipt(&receipt, notice.ack || notice.acks > 0, &style))
}
