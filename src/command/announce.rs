//! `moot announce`: tells everybody, and says honestly who was reached.

use std::time::Duration;

use super::{
    args::{AnnounceArgs, Require},
    connect::Context,
    exit::{Exit, Failure},
    json, render,
    send::whole,
};
use crate::{client::Announcement, limits::RECEIPT_MS_DEFAULT};

pub(super) fn run(context: &mut Context, args: &AnnounceArgs) -> Result<Exit, Failure> {
    let text = whole(&args.text)?;
    let report_at = match args.require {
        Some(Require::Count(count)) => count,
        Some(Require::All) | None => u32::MAX,
    };
    let mut link = context.link()?;
    let default = Duration::from_millis(RECEIPT_MS_DEFAULT);
    let wait = context.global.timeout.map_or(default, Duration::from);
    let (level, room) = (args.level.into(), args.to.clone());
    let receipt = link.announce(Announcement { level, room, text, report_at }, wait)?;
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
