//! Checks of a running server, and of the remains of a dead one.

use super::{
    advice::chown,
    facts::{Answer, Facts, Holder, Thing, is_left_over},
    finding::{Finding, Fix},
};
use crate::{os::Places, server::Status};

const SERVER: &str = "server";

pub(super) fn server(facts: &Facts, places: &Places) -> Vec<Finding> {
    match &facts.server.holder {
        Holder::Unknown(why) => {
            let advice = format!(
                "check the owner (ls -l); a server of another user can't be examined; if `sudo \
                 moot` left the files: {}",
                chown(facts, &places.state.display().to_string())
            );
            vec![Finding::problem(SERVER, format!("can't tell who serves: {why}"), advice)]
        }
        Holder::None => vec![no_server(facts, places)],
        Holder::Server(pid) => running_server(facts, places, *pid),
    }
}

fn no_server(facts: &Facts, places: &Places) -> Finding {
    if facts.server.is_listening {
        let text = "none runs; a service manager holds the socket, and starts one at a connection";
        return Finding::ok(SERVER, text);
    }
    if !places.host {
        return Finding::ok(SERVER, "none runs; `moot join` and `moot send` start one");
    }
    // Another check reports the remains of a dead one.
    if is_left(facts, places) {
        return Finding::ok(SERVER, "none runs");
    }
    let text = "the system server does not run: commands end with exit code 3, and do not use \
                your own";
    let advice = format!(
        "start it (systemctl start moot), or use your own (--server own); to uninstall it, remove \
         {}, {} and its configuration",
        places.runtime.display(),
        places.state.display()
    );
    Finding::problem(SERVER, text, advice)
}

fn running_server(facts: &Facts, places: &Places, pid: Option<u32>) -> Vec<Finding> {
    let pid = pid.map_or("unknown".to_owned(), |pid| pid.to_string());
    let (text, advice) = match &facts.server.answer {
        Some(Answer::Status(status)) => return answered(status),
        Some(Answer::Silence) | None if facts.server.is_stopped => (
            format!("process {pid} was stopped by a signal, and does not serve"),
            format!("kill -CONT {pid}"),
        ),
        Some(Answer::Silence) | None => (
            format!("process {pid} holds the lock and does not respond"),
            format!(
                "kill {pid}; if that fails: kill -KILL {pid} (acknowledged messages are not lost)"
            ),
        ),
        Some(Answer::Denied) => (
            "the server does not admit you: commands end with exit code 4".to_owned(),
            "use your own server (--server own), or ask an operator to admit you (`allow` in \
             its moot.toml)"
                .to_owned(),
        ),
        Some(Answer::Failed(why)) => (
            format!("process {pid} holds the lock, and can't be reached: {why}"),
            format!(
                "if it has just started, try again; else end it (kill {pid}) and start another: \
                 its socket may have been removed"
            ),
        ),
    };
    let can_end = facts.server.is_unreachable && facts.may_change();
    let fix = can_end.then(|| Fix::End(places.lock()));
    vec![Finding::problem(SERVER, text, advice).fixed_by(fix)]
}

fn is_left(facts: &Facts, places: &Places) -> bool {
    facts.things.iter().any(|thing| [places.socket(), places.table()].contains(&thing.path))
}

fn answered(status: &Status) -> Vec<Finding> {
    let text = format!(
        "process {} serves since {} s; sessions: {}",
        status.pid, status.uptime_s, status.sessions
    );
    let mut all = vec![Finding::ok(SERVER, text)];
    // The check of the broadcast channel reports its failure.
    let rest =
        status.degraded.iter().filter(|what| Some(*what) != status.broadcast_failure.as_ref());
    for what in rest {
        let advice = "check the free disk space (below) and the log";
        all.push(Finding::problem(SERVER, format!("degraded: {what}"), advice));
    }
    all
}

pub(super) fn status(facts: &Facts) -> Option<&Status> {
    match &facts.server.answer {
        Some(Answer::Status(status)) => Some(status),
        Some(Answer::Silence | Answer::Denied | Answer::Failed(_)) | None => None,
    }
}

pub(super) fn version(facts: &Facts, _places: &Places) -> Vec<Finding> {
    const OWN: &str = env!("CARGO_PKG_VERSION");
    let Some(status) = status(facts) else { return Vec::new() };
    if status.version == OWN {
        return vec![Finding::ok("version", format!("server and program are moot {OWN}"))];
    }
    let text = format!("the server is moot {}, and this program is moot {OWN}", status.version);
    let advice = "end it with `moot stop`; the next one has this version (a service: restart it)";
    vec![Finding::warning("version", text, advice)]
}

pub(super) fn remains(facts: &Facts, places: &Places) -> Vec<Finding> {
    const NAME: &str = "stale-files";
    if facts.server.holder != Holder::None || facts.server.is_listening {
        return Vec::new();
    }
    let left: Vec<&Thing> = facts
        .things
        .iter()
        .filter(|thing| thing.path == places.socket() || thing.path == places.table())
        // Of another kind it is not replaced: no server starts.
        .filter(|thing| is_left_over(places, &thing.path, &thing.look))
        .collect();
    if left.is_empty() {
        return vec![Finding::ok(NAME, "none")];
    }
    let what: Vec<_> = left.iter().map(|thing| thing.path.display().to_string()).collect();
    let what = what.join(" and ");
    let is_own = left.iter().all(|thing| thing.look.uid == facts.uid);
    let paths = left.iter().map(|thing| thing.path.clone()).collect();
    let fix = is_own.then_some(Fix::Remove(paths));
    let finding = if places.host {
        Finding::problem(
            NAME,
            format!(
                "the system server is dead and left {what}: commands end with exit code 3, and do \
                 not use your own server"
            ),
            "start the server (systemctl start moot), or remove the files",
        )
    } else {
        Finding::warning(
            NAME,
            format!("a server was killed and left {what}; the next server replaces them"),
            "remove the files",
        )
    };
    vec![finding.fixed_in(facts, fix)]
}

pub(super) fn strays(facts: &Facts, _places: &Places) -> Vec<Finding> {
    if facts.strays.is_empty() {
        return Vec::new();
    }
    let names: Vec<_> = facts.strays.iter().map(|path| path.display().to_string()).collect();
    let text = format!("servers that were killed while they started left {}", names.join(", "));
    let fix = Some(Fix::Remove(facts.strays.clone()));
    vec![Finding::warning("stray-files", text, "remove the files").fixed_in(facts, fix)]
}
