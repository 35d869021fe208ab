//! Checks of this machine and of the environment of commands.

use super::{facts::Facts, finding::Finding, server_checks::status};
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
            format!("user id {} has no usable name; others see #{0}", facts.uid),
            "add the user to the user database (in a container: /etc/passwd)",
        ),
    }
}

pub(super) fn place(facts: &Facts) -> Finding {
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

pub(super) fn runtime_wish(facts: &Facts) -> Finding {
    const NAME: &str = "runtime-directory";
    let instead = match &facts.places {
        Ok(places) => format!("; sockets are in {}", places.runtime.display()),
        Err(_) => String::new(),
    };
    match &facts.machine.runtime_wish {
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

pub(super) fn configuration(facts: &Facts) -> Finding {
    match &facts.config {
        Ok(_) => Finding::ok("configuration", "valid, or none"),
        Err(why) => Finding::problem(
            "configuration",
            why.clone(),
            "correct the file; until then no server starts (`moot serve --check` checks it)",
        ),
    }
}

pub(super) fn program(facts: &Facts) -> Finding {
    const NAME: &str = "program";
    match &facts.machine.program {
        Ok(()) => Finding::ok(NAME, "commands can start a server"),
        Err(why) => Finding::problem(
            NAME,
            format!("commands can't start a server: the program file can't be found ({why})"),
            "mount /proc (mount -t proc proc /proc), or run `moot serve` yourself",
        ),
    }
}

pub(super) fn broadcast(facts: &Facts) -> Finding {
    const NAME: &str = "broadcast";
    const ALSO: &str = "no message is lost: messages go by session";
    if facts.config.as_ref().is_ok_and(is_off) {
        return Finding::ok(NAME, "off by configuration");
    }
    if let Err(why) = &facts.machine.channel {
        let advice = match facts.machine.loopback_is_up {
            Some(false) => "the loopback interface is down: ip link set lo up".to_owned(),
            Some(true) | None => {
                "check that no filter drops multicast on lo (nft list ruleset)".to_owned()
            }
        };
        return Finding::warning(NAME, format!("{why}; {ALSO}"), advice);
    }
    if facts.server.shares_network == Some(false) {
        return Finding::warning(
            NAME,
            format!("the server has another network namespace: no broadcasts arrive; {ALSO}"),
            "if speed matters, use one network for both (in a container: that of the host)",
        );
    }
    match status(facts) {
        Some(status) => match &status.broadcast_failure {
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

pub(super) fn descriptors(facts: &Facts) -> Finding {
    const NAME: &str = "descriptors";
    match facts.machine.descriptors_max {
        None => Finding::skipped(NAME, "no limit on this system"),
        Some(max) if max < DESCRIPTORS_LOW => Finding::warning(
            NAME,
            format!("a process may have {max} open files: few sessions for a server started here"),
            "raise the limit (ulimit -Hn, /etc/security/limits.conf, LimitNOFILE= of a service)",
        ),
        Some(max) => Finding::ok(NAME, format!("a process may have {max} open files")),
    }
}

pub(super) fn receive_buffer(facts: &Facts) -> Finding {
    const NAME: &str = "receive-buffer";
    match facts.machine.receive_buffer_bytes_max {
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

pub(super) fn process_watch(facts: &Facts) -> Finding {
    const NAME: &str = "process-watch";
    match facts.machine.watches_processes {
        None => Finding::skipped(NAME, "not needed on this system"),
        Some(true) => Finding::ok(NAME, "the kernel reports the end of a process at once"),
        Some(false) => Finding::warning(
            NAME,
            "no process descriptors: a killed member leaves when its connection ends",
            "use Linux 5.3 or later; in a container, allow pidfd_open (seccomp)",
        ),
    }
}
