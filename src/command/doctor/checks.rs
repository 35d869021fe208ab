//! Meaning of the facts, each check in plain words. Pure: the same facts give the same findings.

use std::path::PathBuf;

use super::{
    advice::{chown, place_remedy},
    facts::{Answer, Dir, Facts, Holder, Thing, is_left_over},
};
use crate::{
    config::Settings,
    history::{Examined, HistoryError},
    limits::{
        DESCRIPTORS_LOW, DISK_FREE_BYTES_LOW, DISK_FREE_BYTES_MIN, LOG_BYTES_MAX,
        WINDOW_CHARGE_BYTES_MIN,
    },
    os::{FileKind, PlaceError, Places, RuntimeWish},
    server::Status,
};

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Warning,
    Problem,
    Fixed,
    /// It could not be looked at, or does not matter here.
    Skipped,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Fixed => "fixed",
            Self::Skipped => "skipped",
        }
    }
}

/// Something that is safe to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fix {
    Mode(PathBuf, u32),
    /// While the lock is held, so that no server is there or starts.
    Remove(Vec<PathBuf>),
    /// The server of a lock, which no client can connect to.
    End(PathBuf),
}

/// Finding of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) text: String,
    /// Advice to the user; empty if none is needed.
    pub(super) advice: String,
    pub(super) fix: Option<Fix>,
}

impl Finding {
    fn new(name: &'static str, state: State, text: impl Into<String>) -> Self {
        Self { name, state, text: text.into(), advice: String::new(), fix: None }
    }

    fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, State::Ok, text)
    }

    fn warning(name: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..Self::new(name, State::Warning, text) }
    }

    fn problem(name: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..Self::new(name, State::Problem, text) }
    }

    fn skipped(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, State::Skipped, text)
    }

    fn fixed_by(self, fix: Option<Fix>) -> Self {
        Self { fix, ..self }
    }

    /// With what is safe to do, if this process may do it.
    fn fixed_in(self, facts: &Facts, fix: Option<Fix>) -> Self {
        match facts.foreign_owner() {
            _ if facts.may_change() => self.fixed_by(fix),
            Some(uid) if facts.uid == 0 && uid != 0 => {
                let advice = &self.advice;
                let advice =
                    format!("{advice}, as user id {uid}: sudo -u '#{uid}' moot doctor --fix");
                Self { advice, ..self }
            }
            Some(_) | None => self,
        }
    }

    /// Returns true if something is still wrong.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Warning | State::Problem)
    }
}

type Check = fn(&Facts, &Places) -> Vec<Finding>;

/// Checks of a server's places, in the order of the report.
const OF_PLACES: [Check; 11] = [
    directories,
    network_file_system,
    server,
    version,
    remains,
    strays,
    owners,
    modes,
    space,
    history,
    log,
];

/// Returns the findings of all checks.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut all = vec![user(facts), place(facts), runtime_wish(facts), configuration(facts)];
    if let Ok(places) = &facts.places {
        all.extend(OF_PLACES.iter().flat_map(|check| check(facts, places)));
    }
    all.push(program(facts));
    all.extend([broadcast(facts), descriptors(facts), receive_buffer(facts)]);
    all.push(process_watch(facts));
    all
}

fn user(facts: &Facts) -> Finding {
    match &facts.user {
        Some(name) => Finding::ok("user", format!("{name} (user id {})", facts.uid)),
        None => Finding::warning(
            "user",
            format!("user id {} has no usable name; others see #{0}", facts.uid),
            "add the user to the user database (in a container: /etc/passwd)",
        ),
    }
}

fn place(facts: &Facts) -> Finding {
    match &facts.places {
        Ok(places) if places.host => {
            Finding::ok("place", format!("system server in {}", places.runtime.display()))
        }
        Ok(places) if places.runtime == places.state => {
            Finding::ok("place", format!("server in {}", places.state.display()))
        }
        Ok(places) => Finding::ok(
            "place",
            format!(
                "socket in {}, history in {}",
                places.runtime.display(),
                places.state.display()
            ),
        ),
        Err(e) => {
            let advice = match e {
                PlaceError::TooLong { .. } => "use a shorter directory with --server DIR/",
                PlaceError::NoHome => "set HOME, or use a directory with --server DIR/",
                PlaceError::Name { .. } => "use another server with --server, or unset MOOT_SERVER",
                PlaceError::Unsafe { .. }
                | PlaceError::Taken { .. }
                | PlaceError::Network { .. }
                | PlaceError::Unusable { .. }
                | PlaceError::Io { .. } => "use another directory with --server DIR/",
            };
            Finding::problem("place", e.to_string(), advice)
        }
    }
}

fn runtime_wish(facts: &Facts) -> Finding {
    const NAME: &str = "runtime-directory";
    let instead = match &facts.places {
        Ok(places) => format!("; sockets are in {}", places.runtime.display()),
        Err(_) => String::new(),
    };
    match &facts.runtime_wish {
        _ if facts.named => Finding::skipped(NAME, "not used: the server was chosen by name"),
        RuntimeWish::None => Finding::skipped(NAME, "not used on this system"),
        RuntimeWish::Good(dir) => {
            Finding::ok(NAME, format!("XDG_RUNTIME_DIR is {}", dir.display()))
        }
        RuntimeWish::Unset => Finding::warning(
            NAME,
            format!("XDG_RUNTIME_DIR is not set{instead}"),
            "log in through the system (pam_systemd sets the variable), or set it yourself",
        ),
        RuntimeWish::Bad(dir, why) => Finding::warning(
            NAME,
            format!("XDG_RUNTIME_DIR is {}, which can't be used: {why}{instead}", dir.display()),
            "unset XDG_RUNTIME_DIR, or set it to a directory of yours (`su` may keep it)",
        ),
    }
}

fn configuration(facts: &Facts) -> Finding {
    match &facts.config {
        Ok(_) => Finding::ok("configuration", "valid, or none"),
        Err(why) => Finding::problem(
            "configuration",
            why.clone(),
            "correct the file; until then no server starts (`moot serve --check` checks it)",
        ),
    }
}

fn directories(facts: &Facts, _places: &Places) -> Vec<Finding> {
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

fn network_file_system(facts: &Facts, _places: &Places) -> Vec<Finding> {
    let advice = "set XDG_STATE_HOME, or use a directory on a local disk with --server DIR/";
    let problem = |why: &String| Finding::problem("network-file-system", why.clone(), advice);
    facts.network_file_system.iter().map(problem).collect()
}

fn server(facts: &Facts, places: &Places) -> Vec<Finding> {
    const NAME: &str = "server";
    let who = |pid: Option<u32>| pid.map_or("unknown".to_owned(), |pid| pid.to_string());
    let pid = match &facts.holder {
        Holder::Unknown(why) => {
            let advice = format!(
                "check the owner (ls -l); a server of another user can't be examined; if `sudo \
                 moot` left the files: {}",
                chown(facts, &places.state.display().to_string())
            );
            return vec![Finding::problem(NAME, format!("can't tell who serves: {why}"), advice)];
        }
        Holder::Nobody if facts.is_listening => {
            let text =
                "none runs; a service manager holds the socket, and starts one at a connection";
            return vec![Finding::ok(NAME, text)];
        }
        // What a dead one left says it already.
        Holder::Nobody if places.host && is_left(facts, places) => {
            return vec![Finding::ok(NAME, "none runs")];
        }
        Holder::Nobody if places.host => {
            let text = "the system server does not run: commands end with exit code 3, and do not \
                        use your own";
            let advice = format!(
                "start it (systemctl start moot), or use your own (--server own); to uninstall it, \
                 remove {}, {} and its configuration",
                places.runtime.display(),
                places.state.display()
            );
            return vec![Finding::problem(NAME, text, advice)];
        }
        Holder::Nobody => {
            return vec![Finding::ok(NAME, "none runs; `moot join` and `moot send` start one")];
        }
        Holder::Server(pid) => *pid,
    };
    match &facts.answer {
        Some(Answer::Status(status)) => answered(status),
        Some(Answer::Silence) | None if facts.is_stopped => {
            let text = format!("process {} was stopped by a signal, and does not serve", who(pid));
            vec![Finding::problem(NAME, text, format!("kill -CONT {}", who(pid)))]
        }
        Some(Answer::Silence) | None => {
            let text = format!("process {} holds the lock and does not respond", who(pid));
            let advice = format!(
                "kill {0}; if that fails: kill -KILL {0} (acknowledged messages are not lost)",
                who(pid)
            );
            vec![Finding::problem(NAME, text, advice)]
        }
        Some(Answer::Denied) => {
            let text = "the server does not admit you: commands end with exit code 4";
            let advice = "use your own server (--server own), or ask an operator to admit you \
                          (`allow` in moot.toml)";
            vec![Finding::problem(NAME, text, advice)]
        }
        Some(Answer::Failed(why)) => {
            let text = format!("process {} holds the lock, and can't be reached: {why}", who(pid));
            let advice = format!(
                "if it has just started, try again; else end it (kill {}) and start another: its \
                 socket may have been removed",
                who(pid)
            );
            let fix = (facts.is_unreachable && facts.may_change()).then(|| Fix::End(places.lock()));
            vec![Finding::problem(NAME, text, advice).fixed_by(fix)]
        }
    }
}

fn is_left(facts: &Facts, places: &Places) -> bool {
    facts.things.iter().any(|thing| [places.socket(), places.table()].contains(&thing.path))
}

fn answered(status: &Status) -> Vec<Finding> {
    let text = format!(
        "process {} serves since {} s; sessions: {}",
        status.pid, status.uptime_s, status.sessions
    );
    let mut all = vec![Finding::ok("server", text)];
    // Statements about broadcast are reported there.
    for what in status.degraded.iter().filter(|what| !is_of_broadcast(what)) {
        let advice = "check the free disk space (below) and the log";
        all.push(Finding::problem("server", format!("degraded: {what}"), advice));
    }
    all
}

fn is_of_broadcast(what: &str) -> bool {
    what.starts_with("broadcast is off")
}

fn status(facts: &Facts) -> Option<&Status> {
    match &facts.answer {
        Some(Answer::Status(status)) => Some(status),
        Some(Answer::Silence | Answer::Denied | Answer::Failed(_)) | None => None,
    }
}

fn version(facts: &Facts, _places: &Places) -> Vec<Finding> {
    const OWN: &str = env!("CARGO_PKG_VERSION");
    let Some(status) = status(facts) else { return Vec::new() };
    if status.version == OWN {
        return vec![Finding::ok("version", format!("server and program are moot {OWN}"))];
    }
    let text = format!("the server is moot {}, and this program is moot {OWN}", status.version);
    let advice = "end it with `moot stop`; the next one has this version (a service: restart it)";
    vec![Finding::warning("version", text, advice)]
}

fn remains(facts: &Facts, places: &Places) -> Vec<Finding> {
    const NAME: &str = "stale-files";
    if facts.holder != Holder::Nobody || facts.is_listening {
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

fn strays(facts: &Facts, _places: &Places) -> Vec<Finding> {
    if facts.strays.is_empty() {
        return Vec::new();
    }
    let names: Vec<_> = facts.strays.iter().map(|path| path.display().to_string()).collect();
    let text = format!("servers that were killed while they started left {}", names.join(", "));
    let fix = Some(Fix::Remove(facts.strays.clone()));
    vec![Finding::warning("stray-files", text, "remove the files").fixed_in(facts, fix)]
}

/// Files of another user in a directory of this one: no server can open them.
fn owners(facts: &Facts, places: &Places) -> Vec<Finding> {
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

fn program(facts: &Facts) -> Finding {
    const NAME: &str = "program";
    match &facts.program {
        Ok(()) => Finding::ok(NAME, "commands can start a server"),
        Err(why) => Finding::problem(
            NAME,
            format!("commands can't start a server: the program file can't be found ({why})"),
            "mount /proc (mount -t proc proc /proc), or run `moot serve` yourself",
        ),
    }
}

fn modes(facts: &Facts, _places: &Places) -> Vec<Finding> {
    let all: Vec<_> = facts.things.iter().filter_map(|thing| mode(facts, thing)).collect();
    match all.as_slice() {
        [] if facts.things.is_empty() => Vec::new(),
        [] => vec![Finding::ok("permissions", "no file is open to others without need")],
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

fn space(facts: &Facts, places: &Places) -> Vec<Finding> {
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

fn history(facts: &Facts, _places: &Places) -> Vec<Finding> {
    const NAME: &str = "history";
    vec![match &facts.history {
        None => match facts.dirs.iter().find_map(|dir| dir.foreign.as_deref()) {
            Some(why) => Finding::skipped(NAME, format!("not opened: {why}")),
            None if facts.holder == Holder::Nobody => Finding::skipped(NAME, "not examined"),
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

fn log(facts: &Facts, places: &Places) -> Vec<Finding> {
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

fn broadcast(facts: &Facts) -> Finding {
    const NAME: &str = "broadcast";
    const ALSO: &str = "no message is lost: messages go by session";
    if facts.config.as_ref().is_ok_and(is_off) {
        return Finding::ok(NAME, "off by configuration");
    }
    if let Err(why) = &facts.channel {
        let advice = match facts.loopback_is_up {
            Some(false) => "the loopback interface is down: ip link set lo up".to_owned(),
            Some(true) | None => {
                "check that no filter drops multicast on lo (nft list ruleset)".to_owned()
            }
        };
        return Finding::warning(NAME, format!("{why}; {ALSO}"), advice);
    }
    if facts.shares_network == Some(false) {
        return Finding::warning(
            NAME,
            format!("the server has another network namespace: no broadcasts arrive; {ALSO}"),
            "if speed matters, use one network for both (in a container: that of the host)",
        );
    }
    match status(facts) {
        Some(status) => match status.degraded.iter().find(|what| is_of_broadcast(what)) {
            Some(why) => Finding::warning(
                NAME,
                format!("works for this program, but the server reports: {why}; {ALSO}"),
                "restart the server",
            ),
            None => Finding::ok(NAME, format!("works; the server uses {}", status.broadcast)),
        },
        None => Finding::ok(NAME, "works"),
    }
}

fn is_off(settings: &Settings) -> bool {
    !settings.broadcast.auto()
}

fn descriptors(facts: &Facts) -> Finding {
    const NAME: &str = "descriptors";
    match facts.descriptors_max {
        None => Finding::skipped(NAME, "no limit on this system"),
        Some(max) if max < DESCRIPTORS_LOW => Finding::warning(
            NAME,
            format!("a process may have {max} open files: few sessions for a server started here"),
            "raise the limit (ulimit -Hn, /etc/security/limits.conf, LimitNOFILE= of a service)",
        ),
        Some(max) => Finding::ok(NAME, format!("a process may have {max} open files")),
    }
}

fn receive_buffer(facts: &Facts) -> Finding {
    const NAME: &str = "receive-buffer";
    match facts.receive_buffer_bytes_max {
        None => Finding::skipped(NAME, "unknown on this system"),
        // The kernel doubles what is asked for.
        Some(max) if max.saturating_mul(2) < WINDOW_CHARGE_BYTES_MIN as u64 => Finding::warning(
            NAME,
            format!("members get {max} bytes of receive buffer: missed broadcasts are sent again"),
            "sysctl -w net.core.rmem_max=1048576",
        ),
        Some(max) => Finding::ok(NAME, format!("members can use {max} bytes")),
    }
}

fn process_watch(facts: &Facts) -> Finding {
    const NAME: &str = "process-watch";
    match facts.watches_processes {
        None => Finding::skipped(NAME, "not needed on this system"),
        Some(true) => Finding::ok(NAME, "the kernel reports the end of a process at once"),
        Some(false) => Finding::warning(
            NAME,
            "no process descriptors: a killed member leaves when its connection ends",
            "use Linux 5.3 or later; in a container, allow pidfd_open (seccomp)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::os::{Look, Space};

    fn fixes(finding: &Finding) -> Option<&Path> {
        match finding.fix.as_ref()? {
            Fix::Mode(path, _) => Some(path),
            Fix::Remove(paths) => paths.first().map(PathBuf::as_path),
            Fix::End(lock) => Some(lock),
        }
    }

    fn healthy() -> Facts {
        let places = Places { runtime: "/r".into(), state: "/s".into(), host: false };
        Facts {
            places: Ok(places),
            named: false,
            uid: 1000,
            user: Some("ann".to_owned()),
            home: Some("/home/ann".into()),
            runtime_wish: RuntimeWish::Good("/r".into()),
            everybody: false,
            dirs: Vec::new(),
            unfit: None,
            network_file_system: None,
            holder: Holder::Nobody,
            is_stopped: false,
            program: Ok(()),
            answer: None,
            is_listening: false,
            is_unreachable: false,
            things: Vec::new(),
            strays: Vec::new(),
            config: Ok(Settings::default()),
            channel: Ok(()),
            loopback_is_up: Some(true),
            shares_network: None,
            descriptors_max: Some(1 << 20),
            receive_buffer_bytes_max: Some(212_992),
            watches_processes: Some(true),
            space: Some(Ok(Space { free_bytes: 1 << 40, total_bytes: 1 << 41 })),
            history: Some(Ok(Examined::Good)),
            log_was_full: false,
        }
    }

    #[track_caller]
    fn only(facts: &Facts, name: &str, state: State, words: &str) -> Finding {
        let wrong: Vec<_> = all(facts).into_iter().filter(Finding::is_open).collect();
        let [finding] = wrong.as_slice() else { panic!("{wrong:#?}") };
        assert_eq!((finding.name, finding.state), (name, state), "{finding:?}");
        assert!(finding.text.contains(words) || finding.advice.contains(words), "{finding:?}");
        assert!(!finding.advice.is_empty(), "what is to be done about it?");
        finding.clone()
    }

    fn thing(path: &str, mode: u32) -> Thing {
        let look = Look { kind: FileKind::File, uid: 1000, mode: Some(mode), bytes: 5 };
        Thing { what: "thing", path: path.into(), look, shared: true }
    }

    #[test]
    fn a_healthy_machine_has_nothing_wrong() {
        assert!(all(&healthy()).iter().all(|finding| !finding.is_open()));
    }

    #[test]
    fn faults_that_no_test_can_make_are_found() {
        let nfs = Facts { network_file_system: Some("/s is on NFS".to_owned()), ..healthy() };
        only(&nfs, "network-file-system", State::Problem, "XDG_STATE_HOME");
        let buffer = Facts { receive_buffer_bytes_max: Some(65_536), ..healthy() };
        only(&buffer, "receive-buffer", State::Warning, "sysctl");
        let old = Facts { watches_processes: Some(false), ..healthy() };
        only(&old, "process-watch", State::Warning, "Linux 5.3");
        let space = Space { free_bytes: DISK_FREE_BYTES_LOW - 1, total_bytes: 1 << 40 };
        let low = Facts { space: Some(Ok(space)), ..healthy() };
        only(&low, "disk", State::Warning, "127 of");
        let filtered = Facts { channel: Err("silent".to_owned()), ..healthy() };
        only(&filtered, "broadcast", State::Warning, "nft");
        let container = Facts { shares_network: Some(false), ..healthy() };
        only(&container, "broadcast", State::Warning, "namespace");
    }

    #[test]
    fn files_that_sudo_left_are_told_with_the_command_that_mends_it() {
        let of_root = |path: &str| {
            let look = Look { uid: 0, ..thing(path, 0o600).look };
            Thing { look, ..thing(path, 0o600) }
        };
        let places = Places { runtime: "/r it's".into(), ..healthy().places.unwrap() };
        let things = vec![thing("/s/history.db", 0o600), of_root("/s/lock")];
        let left = Facts { things, places: Ok(places), ..healthy() };
        let finding = only(&left, "owner", State::Problem, "/s/lock");
        assert_eq!(finding.advice, "sudo chown -R ann /s; sudo chown -R ann '/r it'\\''s'");
        let unreadable =
            Facts { holder: Holder::Unknown("/s/lock: denied".to_owned()), ..healthy() };
        only(&unreadable, "server", State::Problem, "sudo chown -R ann /s");
    }

    #[test]
    fn program_that_can_not_be_found_is_a_problem() {
        let lost = Facts { program: Err("no /proc/self/exe".to_owned()), ..healthy() };
        only(&lost, "program", State::Problem, "/proc");
    }

    #[test]
    fn a_dead_hosts_server_is_a_problem_and_ones_own_is_none() {
        let things = vec![thing("/r/socket", 0o600), thing("/r/presence", 0o600)];
        let own = Facts { things: things.clone(), ..healthy() };
        let finding = only(&own, "stale-files", State::Warning, "/r/socket and /r/presence");
        assert_eq!(fixes(&finding), Some(Path::new("/r/socket")));
        let places = Places { host: true, ..healthy().places.unwrap() };
        let host = Facts { places: Ok(places), things: things.clone(), uid: 1, ..healthy() };
        let host = Facts { everybody: true, ..host };
        let finding = only(&host, "stale-files", State::Problem, "exit code 3");
        assert_eq!(finding.fix, None, "it is another user's");
        let activated = Facts { is_listening: true, things, ..healthy() };
        assert!(all(&activated).iter().all(|finding| !finding.is_open()), "nothing is stale");
    }

    #[test]
    fn files_of_a_hosts_server_may_be_seen_but_not_its_history() {
        let shared = thing("/r/presence", 0o644);
        let own = Thing { shared: false, ..thing("/s/history.db", 0o644) };
        let both = vec![shared, own];
        let host = Facts {
            everybody: true,
            holder: Holder::Server(Some(1)),
            answer: Some(Answer::Silence),
            things: both,
            ..healthy()
        };
        let wrong: Vec<_> = all(&host).into_iter().filter(|f| f.name == "permissions").collect();
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].fix, Some(Fix::Mode("/s/history.db".into(), 0o600)));
    }
}
