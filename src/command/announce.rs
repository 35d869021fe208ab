//! `moot announce`: tells everybody, and says honestly who was reached.

use std::time::{Duration, Instant};

use super::{
    args::{AnnounceArgs, Require},
    connect::Context,
    exit::{Exit, Failure},
    json, render,
    send::whole,
};
use crate::{
    chat::verbs::{Event, ReceiptInfo, Reply, Request},
    client::{Link, LinkError, Told},
    limits::RECEIPT_MS_DEFAULT,
};

pub(super) fn run(context: &mut Context, args: &AnnounceArgs) -> Result<Exit, Failure> {
    let text = whole(&args.text)?;
    let report_at = match args.require {
        Some(Require::Count(count)) => count,
        Some(Require::All) | None => u32::MAX,
    };
    let mut link = context.link()?;
    let request =
        Request::Announce { level: args.level.into(), room: args.to.clone(), text, report_at };
    let Reply::Announced { number, members } = link.ask(&request)? else {
        return Err(Failure::new(Exit::Failed, "unexpected answer to announce"));
    };
    if members > 0 {
        let default = Duration::from_millis(RECEIPT_MS_DEFAULT);
        let wait = context.global.timeout.map_or(default, Duration::from);
        wait_until_covered(&mut link, number, Instant::now() + wait)?;
    }
    link.set_deadline(Some(Instant::now() + Duration::from_millis(RECEIPT_MS_DEFAULT)));
    let receipt = whole_receipt(&mut link, number)?;
    link.quit();
    match context.global.json {
        true => context.out.json(&json::receipt(&receipt))?,
        false => context.out.line(&render::receipt(&receipt, false))?,
    }
    let required = match args.require {
        None => 0,
        Some(Require::All) => receipt.members,
        Some(Require::Count(count)) => count,
    };
    if receipt.reached >= required {
        return Ok(Exit::Done);
    }
    let text = format!("reached {}, and {required} were required", receipt.reached);
    Err(Failure::new(Exit::TooFew, text))
}

/// Waits for the server's word that there is nothing more to wait for, or for the time to be out.
fn wait_until_covered(link: &mut Link, number: u64, until: Instant) -> Result<(), Failure> {
    let covers = |event: &Event| matches!(event, Event::Covered { number: n } if *n == number);
    if link.take_events().iter().any(covers) {
        return Ok(());
    }
    link.set_deadline(Some(until));
    loop {
        match link.wait() {
            Ok(Told::Event(event)) if covers(&event) => return Ok(()),
            Ok(_) => {}
            Err(LinkError::TimedOut) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

/// The receipt with all its missing members, however many frames that takes.
fn whole_receipt(link: &mut Link, number: u64) -> Result<ReceiptInfo, Failure> {
    let mut whole: Option<ReceiptInfo> = None;
    loop {
        let skip = whole.as_ref().map_or(0, |w| w.missing.len() as u32);
        let Reply::Receipt(page) = link.ask(&Request::Receipt { number, skip })? else {
            return Err(Failure::new(Exit::Failed, "unexpected answer to receipt"));
        };
        let (more, empty) = (page.missing_more, page.missing.is_empty());
        let mut all = whole.take().map_or_else(Vec::new, |w| w.missing);
        all.extend(page.missing.iter().cloned());
        // Members reached while the pages came are no longer missing: the last word counts.
        let missing = page.members - page.reached;
        let settled = more == 0 || empty;
        if settled && all.len() as u32 == missing {
            return Ok(ReceiptInfo { missing: all, missing_more: 0, ..page });
        }
        if settled {
            whole = None;
            continue;
        }
        whole = Some(ReceiptInfo { missing: all, ..page });
    }
}
