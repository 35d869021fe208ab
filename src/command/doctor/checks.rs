//! Meaning of the facts, each check in plain words. Pure: the same facts give the same findings.

use super::{
    facts::Facts,
    file_checks::{directories, history, log, modes, network_file_system, owners, space},
    finding::Finding,
    machine_checks::{
        broadcast, configuration, descriptors, place, process_watch, program, receive_buffer,
        runtime_wish, user,
    },
    server_checks::{remains, server, strays, version},
};
use crate::os::Places;

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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::{
        command::doctor::{
            facts::{Answer, Holder, MachineFacts, ServerFacts, Thing},
            finding::{Fix, State},
        },
        config::Settings,
        history::Examined,
        limits::DISK_FREE_BYTES_LOW,
        os::{FileKind, Look, RuntimeWish, Space},
    };

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
            machine: MachineFacts {
                runtime_wish: RuntimeWish::Good("/r".into()),
                program: Ok(()),
                channel: Ok(()),
                loopback_is_up: Some(true),
                descriptors_max: Some(1 << 20),
                receive_buffer_bytes_max: Some(212_992),
                watches_processes: Some(true),
            },
            server: ServerFacts::none(),
            everybody: false,
            dirs: Vec::new(),
            unfit: None,
            network_file_system: None,
            things: Vec::new(),
            strays: Vec::new(),
            config: Ok(Settings::default()),
            space: Some(Ok(Space { free_bytes: 1 << 40, total_bytes: 1 << 41 })),
            history: Some(Ok(Examined::Good)),
            log_was_full: false,
        }
    }

    fn on(machine: MachineFacts) -> Facts {
        Facts { machine, ..healthy() }
    }

    fn with(server: ServerFacts) -> Facts {
        Facts { server, ..healthy() }
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
        let buffer =
            on(MachineFacts { receive_buffer_bytes_max: Some(65_536), ..healthy().machine });
        only(&buffer, "receive-buffer", State::Warning, "sysctl");
        let old = on(MachineFacts { watches_processes: Some(false), ..healthy().machine });
        only(&old, "process-watch", State::Warning, "Linux 5.3");
        let space = Space { free_bytes: DISK_FREE_BYTES_LOW - 1, total_bytes: 1 << 40 };
        let low = Facts { space: Some(Ok(space)), ..healthy() };
        only(&low, "disk", State::Warning, "127 of");
        let filtered = on(MachineFacts { channel: Err("silent".to_owned()), ..healthy().machine });
        only(&filtered, "broadcast", State::Warning, "nft");
        let container = with(ServerFacts { shares_network: Some(false), ..ServerFacts::none() });
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
        let unreadable = with(ServerFacts {
            holder: Holder::Unknown("/s/lock: denied".to_owned()),
            ..ServerFacts::none()
        });
        only(&unreadable, "server", State::Problem, "sudo chown -R ann /s");
    }

    #[test]
    fn program_that_can_not_be_found_is_a_problem() {
        let lost =
            on(MachineFacts { program: Err("no /proc/self/exe".to_owned()), ..healthy().machine });
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
        let activated =
            Facts { things, ..with(ServerFacts { is_listening: true, ..ServerFacts::none() }) };
        assert!(all(&activated).iter().all(|finding| !finding.is_open()), "nothing is stale");
    }

    #[test]
    fn files_of_a_hosts_server_may_be_seen_but_not_its_history() {
        let shared = thing("/r/presence", 0o644);
        let own = Thing { shared: false, ..thing("/s/history.db", 0o644) };
        let both = vec![shared, own];
        let host = Facts {
            everybody: true,
            server: ServerFacts {
                holder: Holder::Server(Some(1)),
                answer: Some(Answer::Silence),
                ..ServerFacts::none()
            },
            things: both,
            ..healthy()
        };
        let wrong: Vec<_> = all(&host).into_iter().filter(|f| f.name == "permissions").collect();
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].fix, Some(Fix::Mode("/s/history.db".into(), 0o600)));
    }
}
