//! Checks of a server's directories and files.

use super::{
    advice::{chown, place_remedy},
    facts::{Dir, Facts, Holder, Thing},
    finding::{Finding, Fix},
};
use crate::{
    history::{Examined, HistoryError},
    limits::{DISK_FREE_BYTES_LOW, DISK_FREE_BYTES_MIN, LOG_BYTES_MAX},
    os::{FileKind, Places},
};

pub(super) fn directories(facts: &Facts, _places: &Places) -> Vec<Finding> {
    let mut all: Vec<_> = facts.dirs.iter().map(|dir| directory(facts, dir)).collect();
    if let Some(why) = &facts.unfit
        && !all.iter().any(Finding::is_open)
        && facts.network_file_system.is_none()
    {
        let missing = facts.dirs.iter().find(|dir| dir.look.is_none());
        let text = match missing {
            Some(dir) => {
                format!("the {} {} can't be created: {why}", dir.what, dir.path.display())
            }
            None => why.clone(),
        };
        let nearest = facts.dirs.iter().find_map(|dir| dir.nearest.as_ref());
        all.push(Finding::problem("directory", text, place_remedy(facts, nearest)));
    }
    all
}

fn directory(facts: &Facts, dir: &Dir) -> Finding {
    const NAME: &str = "directory";
    let at = format!("the {} {}", dir.what, dir.path.display());
    if let Some(why) = &dir.unsafe_above {
        let advice =
            "as the owner of that directory: chmod go-w; or use another one with --server DIR/";
        return Finding::problem(NAME, format!("{at}: {why}"), advice);
    }
    let look = match &dir.look {
        None if facts.unfit.is_some() => {
            return Finding::skipped(NAME, format!("{at} does not exist"));
        }
        None => return Finding::ok(NAME, format!("{at} is created when a server starts")),
        Some(Err(why)) => {
            let advice = "check the permissions of the directories above (namei -l)";
            return Finding::problem(NAME, format!("{at}: {why}"), advice);
        }
        Some(Ok(look)) => look,
    };
    if look.kind != FileKind::Directory {
        let advice = "use a directory with --server DIR/, or move the file away";
        return Finding::problem(NAME, format!("{at} is not a directory"), advice);
    }
    let is_own = look.uid == facts.uid;
    if !is_own && facts.uid == 0 {
        return Finding::ok(NAME, format!("{at} belongs to user id {}; root only reads", look.uid));
    }
    if !is_own && !facts.everybody {
        let text = format!("{at} belongs to user id {}, not to you", look.uid);
        let advice = match facts.named {
            true => "use a directory of your own with --server DIR/".to_owned(),
            false => {
                format!("if `sudo moot` left it: {}", chown(facts, &dir.path.display().to_string()))
            }
        };
        return Finding::problem(NAME, text, advice);
    }
    let Some(mode) = look.mode else { return Finding::ok(NAME, format!("{at} is safe")) };
    let closed = |bits: u32| is_own.then(|| Fix::Mode(dir.path.clone(), mode & !bits));
    if mode & 0o022 != 0 && mode & 0o7000 != 0 {
        // A place that several share on purpose.
        let text = format!("others may write to {at} (mode {mode:o}): no server starts there");
        return Finding::problem(NAME, text, "use a directory of your own with --server DIR/");
    }
    if mode & 0o022 != 0 {
        let text = format!("others may write to {at} (mode {mode:o}): no server starts there");
        return Finding::problem(NAME, text, format!("chmod go-w {}", dir.path.display()))
            .fixed_by(closed(0o022));
    }
    let holds_socket = dir.what == "runtime directory";
    if holds_socket && !facts.everybody && mode & 0o077 != 0 {
        let text = format!("others may read {at} (mode {mode:o})");
        return Finding::warning(NAME, text, format!("chmod 700 {}", dir.path.display()))
            .fixed_by(closed(0o077));
    }
    Finding::ok(NAME, format!("{at} is safe"))
}

pub(super) fn network_file_system(facts: &Facts, _places: &Places) -> Vec<Finding> {
    let advice = "set XDG_STATE_HOME, or use a directory on a local disk with --server DIR/";
    let problem = |why: &String| Finding::problem("network-file-system", why.clone(), advice);
    facts.network_file_system.iter().map(problem).collect()
}

/// Files of another user in a directory of this one: no server can open them.
pub(super) fn owners(facts: &Facts, places: &Places) -> Vec<Finding> {
    const NAME: &str = "owner";
    if facts.everybody || !facts.may_change() {
        return Vec::new();
    }
    // A server of another user here may hold a socket for this user.
    let is_foreign =
        |thing: &&Thing| thing.look.uid != facts.uid && thing.look.kind == FileKind::File;
    let foreign: Vec<_> = facts.things.iter().filter(is_foreign).collect();
    let Some(first) = foreign.first() else { return Vec::new() };
    let names: Vec<_> = foreign.iter().map(|thing| thing.path.display().to_string()).collect();
    let text = format!(
        "user id {} owns {}: no server of yours can start",
        first.look.uid,
        names.join(", ")
    );
    let mut dirs = vec![places.state.display().to_string()];
    if !places.runtime.starts_with(&places.state) {
        dirs.push(places.runtime.display().to_string());
    }
    let commands: Vec<_> = dirs.iter().map(|dir| chown(facts, dir)).collect();
    vec![Finding::problem(NAME, text, commands.join("; "))]
}

pub(super) fn modes(facts: &Facts, _places: &Places) -> Vec<Finding> {
    let all: Vec<_> = facts.things.iter().filter_map(|thing| mode(facts, thing)).collect();
    match all.as_slice() {
        [] if facts.things.is_empty() => Vec::new(),
        [] => {
            vec![Finding::ok("permissions", "other users have no access that they should not have")]
        }
        _ => all,
    }
}

fn mode(facts: &Facts, thing: &Thing) -> Option<Finding> {
    const NAME: &str = "permissions";
    let at = format!("the {} {}", thing.what, thing.path.display());
    if thing.look.kind == FileKind::Other {
        let advice = "check the target of the link, and remove it";
        return Some(Finding::problem(NAME, format!("{at} is a link or a device"), advice));
    }
    let mode = thing.look.mode?;
    let may = match (facts.everybody && thing.shared, thing.look.kind) {
        (true, FileKind::Socket) => 0o666,
        (true, _) => 0o644,
        (false, _) => 0o600,
    };
    let over = mode & 0o777 & !may & !0o100;
    if over == 0 {
        return None;
    }
    let is_own = thing.look.uid == facts.uid;
    let text = format!("{at} is open to others (mode {mode:o}, {may:o} suffices)");
    let fix = is_own.then(|| Fix::Mode(thing.path.clone(), mode & 0o777 & may));
    let advice = format!("chmod {:o} {}", mode & 0o777 & may, thing.path.display());
    Some(Finding::problem(NAME, text, advice).fixed_in(facts, fix))
}

pub(super) fn space(facts: &Facts, places: &Places) -> Vec<Finding> {
    const NAME: &str = "disk";
    let at = places.state.display();
    let found = match &facts.space {
        None => return Vec::new(),
        Some(Err(why)) => return vec![Finding::skipped(NAME, format!("{at}: {why}"))],
        Some(Ok(space)) => space,
    };
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let text =
        format!("{} of {} MiB are free at {at}", mib(found.free_bytes), mib(found.total_bytes));
    let advice = "free space, or store less (`keep` and `bytes_max` under [history] in moot.toml)";
    vec![match found.free_bytes {
        free if free < DISK_FREE_BYTES_MIN => Finding::problem(
            NAME,
            format!("{text}: messages are refused when the disk is full"),
            advice,
        ),
        free if free < DISK_FREE_BYTES_LOW => Finding::warning(NAME, text, advice),
        _ => Finding::ok(NAME, text),
    }]
}

pub(super) fn history(facts: &Facts, _places: &Places) -> Vec<Finding> {
    const NAME: &str = "history";
    vec![match &facts.history {
        None => match facts.dirs.iter().find_map(|dir| dir.foreign.as_deref()) {
            Some(why) => Finding::skipped(NAME, format!("not opened: {why}")),
            None if facts.server.holder == Holder::None => Finding::skipped(NAME, "not examined"),
            None => Finding::skipped(NAME, "a server has it open"),
        },
        Some(Ok(Examined::Absent)) => Finding::ok(NAME, "none yet"),
        Some(Ok(Examined::Good)) => Finding::ok(NAME, "intact"),
        Some(Ok(Examined::Long)) => Finding::ok(NAME, "intact as far as it was examined"),
        Some(Err(e)) if e.is_busy() => Finding::problem(
            NAME,
            format!("locked by another program: {e}"),
            "end that program (fuser -v shows it); until then no server starts",
        ),
        Some(Err(e @ HistoryError::Newer { .. })) => {
            let advice = "use the newer moot, or another directory with --server DIR/";
            Finding::problem(NAME, e.to_string(), advice)
        }
        Some(Err(e @ HistoryError::Damaged { .. })) => {
            let advice = "move it away with its -wal and -shm files, or restore a backup (`moot \
                          restore FILE`)";
            Finding::problem(NAME, e.to_string(), advice)
        }
        Some(Err(e)) => Finding::problem(NAME, e.to_string(), "check the permissions (ls -l)"),
    }]
}

pub(super) fn log(facts: &Facts, places: &Places) -> Vec<Finding> {
    let path = places.log();
    let Some(log) = facts.things.iter().find(|thing| thing.path == path) else {
        return Vec::new();
    };
    let at = path.display();
    vec![if log.look.bytes > LOG_BYTES_MAX {
        Finding::warning(
            "log",
            format!("{at} has {} bytes (limit {LOG_BYTES_MAX})", log.look.bytes),
            format!("another program writes to it, or a server can't rename it: mv {at} {at}.old"),
        )
    } else if facts.log_was_full {
        Finding::ok("log", format!("{at}; earlier lines are in {at}.old"))
    } else {
        Finding::ok("log", at.to_string())
    }]
}
