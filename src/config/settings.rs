//! Settings of a server.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{
    duration::{DurationError, duration},
    file::TomlFile,
};
use crate::{limits, os};

/// All settings of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Table `[server]`: access and life of the server.
    pub server: Server,
    /// The broadcast channel.
    pub broadcast: Broadcast,
    /// Table `[history]`: messages on disk.
    pub history: History,
    /// Table `[policy]`: rights of users.
    pub policy: Policy,
    /// Rooms that exist from the start.
    pub rooms: BTreeMap<String, Room>,
    /// Table `[limits]`: bounds of memory and work.
    pub limits: Limits,
}

/// Key of the operators of a room.
pub(super) const ROOM_OPERATORS: &str = "rooms.NAME.operators";

/// One table `[rooms.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Room {
    /// Operators of the room, beside those of the server: `@user`, `%group`.
    pub operators: Vec<String>,
}

/// The table `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Users who may connect to a system server: `@user`, `%group`; empty: every user.
    pub allow: Vec<String>,
    /// Server of commands while the system server does not run: `never` use the user server,
    /// or use their `own`.
    pub fallback: String,
    /// Time without sessions after which the server ends; empty: never.
    pub idle_exit: String,
}

impl Default for Server {
    fn default() -> Self {
        Self { allow: Vec::new(), fallback: "never".to_owned(), idle_exit: String::new() }
    }
}

/// The table `[policy]`: `@user`, `%group`, and in all but the first `operators`; an empty list is
/// every user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Operators beside the server's own user and root; empty: no others.
    pub operators: Vec<String>,
    /// Users who may announce at level info.
    pub announce_info: Vec<String>,
    /// The same, notice.
    pub announce_notice: Vec<String>,
    /// The same, warning.
    pub announce_warning: Vec<String>,
    /// The same, critical.
    pub announce_critical: Vec<String>,
    /// Users who may create rooms.
    pub create_rooms: Vec<String>,
    /// Users who may listen to rooms and read them.
    pub join: Vec<String>,
    /// Users who may link the server with other hosts; empty: only the server's user and root.
    pub link: Vec<String>,
}

impl Policy {
    /// All lists with their keys.
    #[must_use]
    pub fn lists(&self) -> [(&'static str, &Vec<String>); 8] {
        [
            ("policy.operators", &self.operators),
            ("policy.announce_info", &self.announce_info),
            ("policy.announce_notice", &self.announce_notice),
            ("policy.announce_warning", &self.announce_warning),
            ("policy.announce_critical", &self.announce_critical),
            ("policy.create_rooms", &self.create_rooms),
            ("policy.join", &self.join),
            ("policy.link", &self.link),
        ]
    }
}

/// The table `[broadcast]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Broadcast {
    /// `auto` or `off`.
    pub mode: String,
    /// Rooms with fewer members go by session.
    pub members_min: usize,
}

impl Default for Broadcast {
    fn default() -> Self {
        Self { mode: "auto".to_owned(), members_min: limits::BROADCAST_MEMBERS_MIN }
    }
}

impl Broadcast {
    /// Returns true if the channel is used where the machine has one.
    #[must_use]
    pub fn auto(&self) -> bool {
        self.mode == "auto"
    }
}

/// The table `[history]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Messages are stored on disk.
    pub enabled: bool,
    /// `normal`: survives the death of the server; `full`: a power cut as well.
    pub sync: String,
    /// Age up to which messages are kept; empty: no limit.
    pub keep: String,
    /// Bytes of the database above which the oldest messages go; 0: no bound.
    pub bytes_max: u64,
    /// Bytes of texts of one user of a system server above which more are refused; 0: no bound.
    pub user_bytes_max: u64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            enabled: true,
            sync: "normal".to_owned(),
            keep: String::new(),
            bytes_max: 0,
            user_bytes_max: limits::HISTORY_BYTES_PER_USER_MAX,
        }
    }
}

impl History {
    /// Returns the age up to which messages are kept; none: no limit.
    ///
    /// # Errors
    /// If the setting is not a duration.
    pub fn keep(&self) -> Result<Option<Duration>, DurationError> {
        match self.keep.as_str() {
            "" => Ok(None),
            text => duration(text).map(Some),
        }
    }
}

/// The table `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sessions of the server.
    pub sessions: usize,
    /// Sessions of one user (of one process on a user server).
    pub sessions_per_user: usize,
    /// Rooms of the server.
    pub rooms: usize,
    /// Rooms made by one user.
    pub rooms_per_user: usize,
    /// Bytes of recent messages kept for one room.
    pub backlog_bytes: usize,
    /// Bytes of recent messages kept for all rooms.
    pub backlog_total_bytes: usize,
    /// Bytes taken from one user and not published yet.
    pub in_flight_bytes_per_user: usize,
    /// Messages a second of one user of a system server; 0: without end.
    pub messages_per_second_per_user: u64,
    /// Bytes of messages a second of one user of a system server; 0: without end.
    pub bytes_per_second_per_user: u64,
    /// Bytes sent again a second to one user of a system server; 0: without end.
    pub repair_bytes_per_second_per_user: u64,
    /// New connections a second of one user of a system server; 0: without end.
    pub connections_per_second_per_user: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: limits::SESSIONS_MAX,
            sessions_per_user: limits::SESSIONS_PER_USER_MAX,
            rooms: limits::ROOMS_MAX,
            rooms_per_user: limits::ROOMS_PER_USER_MAX,
            backlog_bytes: limits::BACKLOG_BYTES_MAX,
            backlog_total_bytes: limits::BACKLOG_TOTAL_BYTES_MAX,
            in_flight_bytes_per_user: limits::IN_FLIGHT_BYTES_PER_USER_MAX,
            messages_per_second_per_user: limits::MESSAGES_PER_SECOND_PER_USER,
            bytes_per_second_per_user: limits::BYTES_PER_SECOND_PER_USER,
            repair_bytes_per_second_per_user: limits::REPAIR_BYTES_PER_SECOND_PER_USER,
            connections_per_second_per_user: limits::CONNECTIONS_PER_SECOND_PER_USER,
        }
    }
}

/// Returns the settings that decide where servers are, with the policy of the host.
#[must_use]
pub fn environment() -> os::Env {
    os::Env::from_process().falling_back_by(|path| {
        Settings::load(None, path).is_ok_and(|settings| settings.server.fallback == "own")
    })
}

impl Settings {
    /// Keys of settings that differ and hold until the server is started again.
    #[must_use]
    pub fn fixed_differences(&self, new: &Self) -> Vec<&'static str> {
        let (own, other) = (&self.limits, &new.limits);
        [
            ("server.idle_exit", self.server.idle_exit != new.server.idle_exit),
            ("broadcast.mode", self.broadcast.mode != new.broadcast.mode),
            ("history.enabled", self.history.enabled != new.history.enabled),
            ("history.sync", self.history.sync != new.history.sync),
            ("history.keep", self.history.keep != new.history.keep),
            ("history.bytes_max", self.history.bytes_max != new.history.bytes_max),
            ("limits.backlog_bytes", own.backlog_bytes != other.backlog_bytes),
            ("limits.backlog_total_bytes", own.backlog_total_bytes != other.backlog_total_bytes),
            (
                "limits.in_flight_bytes_per_user",
                own.in_flight_bytes_per_user != other.in_flight_bytes_per_user,
            ),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }

    /// Returns all listed users and groups, each with the key of its list.
    pub(super) fn listed_names(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let rooms = self.rooms.values().map(|room| (ROOM_OPERATORS, &room.operators));
        let own = [("server.allow", &self.server.allow)].into_iter();
        let lists = own.chain(self.policy.lists()).chain(rooms);
        lists.flat_map(|(key, list)| list.iter().map(move |name| (key, name)))
    }

    /// Users and groups that the system does not know, each in words: a typo admits no user.
    #[must_use]
    pub fn unknown_names(&self) -> Vec<String> {
        let unknown = self.listed_names().filter_map(|(key, who)| {
            let (kind, is_known) = match who.split_at_checked(1)? {
                ("@", user) => ("user", os::user_id(user).is_some()),
                ("%", group) => ("group", os::is_group(group)),
                _ => return None,
            };
            (!is_known).then(|| format!("{key}: unknown {kind} {who}"))
        });
        unknown.collect()
    }

    /// Returns the time without sessions after which the server ends.
    ///
    /// # Errors
    /// If the setting is not a duration.
    pub fn idle_exit(&self) -> Result<Option<Duration>, DurationError> {
        match self.server.idle_exit.as_str() {
            "" => Ok(None),
            text => duration(text).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("moot.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn the_commented_file_has_every_key_with_its_default() {
        let text = include_str!("../../config/moot.toml");
        assert_eq!(parse(text).unwrap(), Settings::default());
        let table: toml::Table = text.parse().unwrap();
        let keys =
            |section: &str| table[section].as_table().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys("server"), ["allow", "fallback", "idle_exit"]);
        assert_eq!(keys("broadcast"), ["members_min", "mode"]);
        assert_eq!(keys("history"), ["bytes_max", "enabled", "keep", "sync", "user_bytes_max"]);
        assert_eq!(keys("policy").len(), 8);
        assert_eq!(keys("limits").len(), 11);
    }

    #[test]
    fn wrong_values_are_named() {
        assert!(parse("[server]\ncolour = 1").unwrap_err().contains("colour"));
        assert!(parse("[limits]\nsessions = 0").unwrap_err().contains("limits.sessions = 0"));
        assert!(parse("[limits]\nsessions = \"x\"").is_err());
        assert!(parse("[broadcast]\nmode = \"on\"").unwrap_err().contains("auto"));
        assert!(parse("[server]\nidle_exit = \"5 minutes\"").unwrap_err().contains("15m"));
        assert!(parse("[server]\nallow = [\"ann\"]").unwrap_err().contains("@user"));
        assert!(parse("[policy]\njoin = [\"operators\", \"%staff\"]").is_ok());
        assert!(parse("[policy]\noperators = [\"operators\"]").unwrap_err().contains("@user"));
        assert!(parse("[rooms.ops]\noperators = [\"@ann\", \"%ops\"]\n[rooms.dev]").is_ok());
        assert!(parse("[rooms.\"a b\"]").unwrap_err().contains("rooms"));
        assert!(parse("[rooms.ops]\noperators = [\"operators\"]").unwrap_err().contains("@user"));
        assert!(parse("[rooms.ops]\nprivate = true").unwrap_err().contains("private"));
        assert!(parse("[server").is_err());
        assert!(
            parse("[server]\nallow = 7\n")
                .unwrap_err()
                .starts_with("moot.toml: line 2, column 9: ")
        );
    }

    #[test]
    fn settings_that_need_a_start_are_named() {
        let old = Settings::default();
        let new = parse("[server]\nallow = [\"@ann\"]\n[policy]\njoin = [\"@ann\"]").unwrap();
        assert_eq!(old.fixed_differences(&new), [""; 0]);
        let new = parse("[history]\nkeep = \"9d\"\n[broadcast]\nmode = \"off\"").unwrap();
        assert_eq!(old.fixed_differences(&new), ["broadcast.mode", "history.keep"]);
    }

    #[test]
    fn names_that_the_system_does_not_know_are_listed() {
        let text = "[server]\nallow = [\"@root\", \"@nosuch\", \"%nosuch\"]\n\
                    [policy]\njoin = [\"operators\", \"@nosuch\"]";
        if cfg!(unix) {
            let unknown = parse(text).unwrap().unknown_names();
            let keys: Vec<_> = unknown.iter().map(|of| of.split_once(':').unwrap().0).collect();
            assert_eq!(keys, ["server.allow", "server.allow", "policy.join"], "{unknown:?}");
        }
    }
}
