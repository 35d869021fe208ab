//! Checks of this machine and of the environment of commands.

use super::{
    facts::Facts,
    finding::Finding,
    server_checks::{is_of_broadcast, status},
};
use crate::{
    config::Settings,
    limits::{DESCRIPTORS_LOW, WINDOW_CHARGE_BYTES_MIN},
    os::{PlaceError, RuntimeWish},
};

pub(super) fn user(facts: &Facts) -> Finding {
    match &facts.user {
        Some(name) => Finding::ok("user", format!("{name} (user id {})", facts.uid)),
        None => Finding::warning(
            "user",
            format!("user id {} has no name that can be shown; others see #{0}", facts.uid),
            "have it entered in the user database (in a container: in /etc/passwd)",
        ),
    }
}

pub(super) fn place(facts: &Facts) -> Finding {
    match &facts.places {
        Ok(places) if places.host => {
            Finding::ok("place", format!("the host's server, in {}", places.runtime.display()))
        }
        Ok(places) if places.runtime == places.state => {
            Finding::ok("place", format!("the server in {}", places.state.display()))
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
                PlaceError::TooLong { .. } => "name a shorter directory with --server DIR/",
                PlaceError::NoHome => "set HOME, or name a directory with --server DIR/",
                PlaceError::Name { .. } => {
                    "name another server with --server, or unset MOOT_SERVER"
                }
                PlaceError::Unsafe { .. }
                | PlaceError::Taken { .. }
                | PlaceError::Network { .. }
                | PlaceError::Unusable { .. }
                | PlaceError::Io { .. } => "name another directory with --server DIR/",
            };
            Finding::problem("place", e.to_string(), advice)
        }
    }
}

pub(super) fn runtime_wish(facts: &Facts) -> Finding {
    const NAME: &str = "runtime-directory";
    let instead = match &facts.places {
        Ok(places) => format!("; sockets are in {}", places.runtime.display()),
        Err(_) => String::new(),
    };
    match &facts.machine.runtime_wish {
        _ if facts.named => Finding::skipped(NAME, "it does not decide: the server is named"),
        RuntimeWish::None => Finding::skipped(NAME, "there is none on this system"),
        RuntimeWish::Good(dir) => {
            Finding::ok(NAME, format!("XDG_RUNTIME_DIR is {}", dir.display()))
        }
        RuntimeWish::Unset => Finding::warning(
            NAME,
            format!("XDG_RUNTIME_DIR is not set{instead}"),
            "log in by the system's own way (pam_systemd sets it), or set it in this environment",
        ),
        RuntimeWish::Bad(dir, why) => Finding::warning(
            NAME,
            format!("XDG_RUNTIME_DIR is {}, which can't be used: {why}{instead}", dir.display()),
            "unset it, or set it to a directory of yours (after `su` or `sudo` it is another \
             user's)",
        ),
    }
}

pub(super) fn configuration(facts: &Facts) -> Finding {
    match &facts.config {
        Ok(_) => Finding::ok("configuration", "it can be read, or there is none"),
        Err(why) => Finding::problem(
            "configuration",
            why.clone(),
            "correct it; until then no server starts (`moot serve --check` tries it again)",
        ),
    }
}

pub(super) fn program(facts: &Facts) -> Finding {
    const NAME: &str = "program";
    match &facts.machine.program {
        Ok(()) => Finding::ok(NAME, "commands find the program that they start a server with"),
        Err(why) => Finding::problem(
            NAME,
            format!("commands can't start a server: the program's own file can't be found ({why})"),
            "have /proc mounted and readable (mount -t proc proc /proc), or run `moot serve` \
             yourself",
        ),
    }
}

pub(super) fn broadcast(facts: &Facts) -> Finding {
    const NAME: &str = "broadcast";
    const ALSO: &str = "nothing is lost by it, what is said goes by session";
    if facts.config.as_ref().is_ok_and(is_off) {
        return Finding::ok(NAME, "it is off by configuration");
    }
    if let Err(why) = &facts.machine.channel {
        let advice = match facts.machine.loopback_is_up {
            Some(false) => "the loopback interface is down: ip link set lo up".to_owned(),
            Some(true) | None => {
                "see that no filter drops multicast on lo (nft list ruleset)".to_owned()
            }
        };
        return Finding::warning(NAME, format!("{why}; {ALSO}"), advice);
    }
    if facts.server.shares_network == Some(false) {
        return Finding::warning(
            NAME,
            format!("the server is in another network namespace, and is not heard here; {ALSO}"),
            "let both have one network (a container: the host's), if speed matters",
        );
    }
    match status(facts) {
        Some(status) => match status.degraded.iter().find(|what| is_of_broadcast(what)) {
            Some(why) => Finding::warning(
                NAME,
                format!("it works here, and the server found: {why}; {ALSO}"),
                "restart the server: it tries again",
            ),
            None => Finding::ok(NAME, format!("it works; the server uses {}", status.broadcast)),
        },
        None => Finding::ok(NAME, "it works"),
    }
}

fn is_off(settings: &Settings) -> bool {
    !settings.broadcast.auto()
}

pub(super) fn descriptors(facts: &Facts) -> Finding {
    const NAME: &str = "descriptors";
    match facts.machine.descriptors_max {
        None => Finding::skipped(NAME, "this system has no limit"),
        Some(max) if max < DESCRIPTORS_LOW => Finding::warning(
            NAME,
            format!(
                "a process may have {max} open files: a server started here takes few sessions"
            ),
            "raise the hard limit (ulimit -Hn, /etc/security/limits.conf, LimitNOFILE= of a \
             service)",
        ),
        Some(max) => Finding::ok(NAME, format!("a process may have {max} open files")),
    }
}

pub(super) fn receive_buffer(facts: &Facts) -> Finding {
    const NAME: &str = "receive-buffer";
    match facts.machine.receive_buffer_bytes_max {
        None => Finding::skipped(NAME, "the system does not tell"),
        // The kernel doubles what is asked for.
        Some(max) if max.saturating_mul(2) < WINDOW_CHARGE_BYTES_MIN as u64 => Finding::warning(
            NAME,
            format!(
                "members get {max} bytes of buffer for broadcasts: they miss some, which is sent \
                 again"
            ),
            "sysctl -w net.core.rmem_max=1048576",
        ),
        Some(max) => Finding::ok(NAME, format!("members may have {max} bytes")),
    }
}

pub(super) fn process_watch(facts: &Facts) -> Finding {
    const NAME: &str = "process-watch";
    match facts.machine.watches_processes {
        None => Finding::skipped(NAME, "this system has another way"),
        Some(true) => Finding::ok(NAME, "the kernel tells at once when a process ends"),
        Some(false) => Finding::warning(
            NAME,
            "the kernel hands out no process descriptors: a killed member is seen when its \
             connection ends",
            "Linux 5.3 or later has them; in a container they may be filtered (seccomp: \
             pidfd_open)",
        ),
    }
}
