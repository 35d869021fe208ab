//! Counters and health of a running server.

use super::{
    core::Core,
    status::{Heavy, Status},
};
use crate::{
    chat::text::counted,
    history::History,
    limits::{HEAVIEST_MAX, STATUS_OLD_MS_MAX},
    os,
    server::status::HistoryStatus,
};

fn heaviest(core: &Core) -> Vec<Heavy> {
    let hub = &core.inner.borrow().hub;
    let heavy = hub.heaviest(HEAVIEST_MAX).into_iter().map(|usage| Heavy {
        user: hub.user_name(usage.uid).map_or_else(|| format!("#{}", usage.uid), |u| u.to_string()),
        usage,
        history_bytes: core.history.as_ref().map_or(0, |h| h.bytes_of(usage.uid)),
    });
    heavy.collect()
}

/// Answers a user's question. Counting walks all sessions, so an answer is reused for twenty times
/// as long as it took, up to `STATUS_OLD_MS_MAX`.
pub(super) fn status_for(core: &Core, uid: u32) -> Status {
    let now_us = os::monotonic_us();
    let last = core.health.last_status.borrow().clone().filter(|(until_us, _)| now_us < *until_us);
    let mut status = last.map_or_else(
        || {
            let status = status(core);
            let took_us = os::monotonic_us() - now_us;
            let until_us = now_us + (20 * took_us).min(STATUS_OLD_MS_MAX * 1000);
            core.health.last_status.replace(Some((until_us, status.clone())));
            status
        },
        |(_, status)| status,
    );
    if !core.inner.borrow().hub.may_see_usage(uid) {
        let own = core.inner.borrow().hub.user_name(uid).map(|name| name.to_string());
        status.users.retain(|heavy| Some(&heavy.user) == own.as_ref());
    }
    status
}

fn status(core: &Core) -> Status {
    let counters = core.inner.borrow().hub.counters();
    let mut degraded = Vec::from_iter(core.health.broadcast_failure.clone());
    if core.history.as_ref().is_some_and(History::is_failing) {
        degraded.push("the history can't be written: messages are refused".to_owned());
    }
    degraded.extend(core.health.files.borrow().clone());
    degraded.extend(core.history.iter().flat_map(History::troubles));
    let on_disk = core.history.as_ref().map_or((0, 0), History::bytes_on_disk);
    let unshown = core.inner.borrow().table.unshown();
    if unshown > 0 {
        degraded.push(format!(
            "the presence table is full: `who` does not show {}; free space on the \
             file system of {}",
            counted(unshown as u64, "session"),
            core.dir.borrow()
        ));
    }
    Status {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: (os::monotonic_us() - core.boot.started_mono_us) / 1_000_000,
        dir: core.dir.borrow().clone(),
        sessions: counters.sessions,
        members: core.inner.borrow().hub.member_count() as u64,
        rooms: counters.rooms,
        messages: counters.messages,
        broadcast: core.broadcast_word().to_owned(),
        broadcast_sent: counters.broadcast_sent,
        repaired: counters.repaired,
        lagging: counters.lagging,
        deaf: counters.deaf,
        stored: HistoryStatus {
            history: core.history.is_some(),
            history_messages: core.history.as_ref().map_or(0, History::messages),
            history_bytes: core.history.as_ref().map_or(0, History::bytes),
            history_disk_bytes: on_disk.0,
            index_disk_bytes: on_disk.1,
        },
        users: heaviest(core),
        broadcast_failure: core.health.broadcast_failure.clone(),
        degraded,
    }
}
