//! Settings of the operator: a TOML file over the defaults of `limits`, each value within its
//! bounds.

#[cfg(feature = "cli")]
pub mod screen;

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    chat::names::{RoomName, UserName},
    limits, os,
};

/// Reason why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error from the system.
        source: io::Error,
    },
    /// It is not TOML, or has an unknown key.
    #[error("{}: {text}", .path.display())]
    Syntax {
        /// Path of the file.
        path: PathBuf,
        /// Place and error, in one line.
        text: String,
    },
    /// A value that is not allowed.
    #[error("{}: {key} = {value}: {why}", .path.display())]
    Value {
        /// Path of the file.
        path: PathBuf,
        /// Key with its table.
        key: &'static str,
        /// Value in the file.
        value: String,
        /// Values that are allowed.
        why: String,
    },
}

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
const ROOM_OPERATORS: &str = "rooms.NAME.operators";

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
    /// Users who may connect to a host's server: `@user`, `%group`; empty: every user.
    pub allow: Vec<String>,
    /// Server of commands while the system server does not run: `never` use the user's own server,
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
}

impl Policy {
    /// All lists with their keys.
    #[must_use]
    pub fn lists(&self) -> [(&'static str, &Vec<String>); 7] {
        [
            ("policy.operators", &self.operators),
            ("policy.announce_info", &self.announce_info),
            ("policy.announce_notice", &self.announce_notice),
            ("policy.announce_warning", &self.announce_warning),
            ("policy.announce_critical", &self.announce_critical),
            ("policy.create_rooms", &self.create_rooms),
            ("policy.join", &self.join),
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
    /// Bytes of texts of one user of a host's server above which more are refused; 0: no bound.
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
    /// Sessions of one user (of one process on a user's own server).
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
    /// Messages a second of one user of a host's server; 0: without end.
    pub messages_per_second_per_user: u64,
    /// Bytes of messages a second of one user of a host's server; 0: without end.
    pub bytes_per_second_per_user: u64,
    /// Bytes sent again a second to one user of a host's server; 0: without end.
    pub repair_bytes_per_second_per_user: u64,
    /// New connections a second of one user of a host's server; 0: without end.
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

/// A value that is not allowed: its key, itself as it is written, and what would be allowed.
#[derive(Debug)]
pub struct Wrong {
    key: &'static str,
    value: String,
    why: String,
}

/// Settings over defaults, as a TOML file has them.
pub trait TomlFile: Default + DeserializeOwned {
    /// Checks that each value is within its bounds.
    ///
    /// # Errors
    /// Returns the first value that is not.
    fn check(&self) -> Result<(), Wrong>;

    /// Reads the file that was named, else the usual one if it exists, else takes the defaults. A
    /// file that was named has to exist.
    ///
    /// # Errors
    /// As [`TomlFile::parse`], and if the file can't be read.
    fn load(named: Option<&Path>, fall_back: &Path) -> Result<Self, ConfigError> {
        match read(named, fall_back)? {
            Some(text) => Self::parse(&text, named.unwrap_or(fall_back)),
            None => Ok(Self::default()),
        }
    }

    /// Takes settings from a text; `path` is named in errors.
    ///
    /// # Errors
    /// If the text is not TOML, has an unknown key, or a value out of its bounds.
    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let settings: Self = toml::from_str(text).map_err(|e| ConfigError::Syntax {
            path: path.to_owned(),
            text: in_one_line(&e, text),
        })?;
        let wrong = |Wrong { key, value, why }| ConfigError::Value {
            path: path.to_owned(),
            key,
            value,
            why,
        };
        settings.check().map_err(wrong)?;
        Ok(settings)
    }
}

/// Returns place and error, in one line for any output.
fn in_one_line(e: &toml::de::Error, text: &str) -> String {
    let at = e.span().map_or(0, |span| span.start).min(text.len());
    let (number, line) =
        text[..text.ceil_char_boundary(at)].split('\n').enumerate().last().unwrap_or_default();
    let whole = text.lines().nth(number).unwrap_or_default().trim();
    let whole = &whole[..whole.floor_char_boundary(limits::ECHO_BYTES_MAX)];
    let why = e.message().trim_end().replace('\n', "; ");
    format!("line {}, column {}: {whole}: {why}", number + 1, line.chars().count() + 1)
}

impl TomlFile for Settings {
    fn check(&self) -> Result<(), Wrong> {
        let wrong = |key, value, why| Err(Wrong { key, value, why });
        let (l, d) = (&self.limits, Limits::default());
        let ranges = [
            ("limits.sessions", l.sessions, 1, limits::SESSIONS_MAX),
            ("limits.sessions_per_user", l.sessions_per_user, 1, d.sessions_per_user),
            ("limits.rooms", l.rooms, 1, limits::ROOMS_MAX),
            ("limits.rooms_per_user", l.rooms_per_user, 1, limits::ROOMS_MAX),
            (
                "limits.backlog_bytes",
                l.backlog_bytes,
                2 * limits::SESSION_WINDOW_BYTES,
                limits::BACKLOG_BYTES_MAX,
            ),
            (
                "limits.backlog_total_bytes",
                l.backlog_total_bytes,
                d.backlog_bytes,
                d.backlog_total_bytes,
            ),
            (
                "limits.in_flight_bytes_per_user",
                l.in_flight_bytes_per_user,
                2 * limits::TEXT_BYTES_MAX,
                d.in_flight_bytes_per_user,
            ),
            ("broadcast.members_min", self.broadcast.members_min, 1, limits::SESSIONS_MAX),
        ];
        let rates = [
            ("limits.messages_per_second_per_user", l.messages_per_second_per_user, 100),
            ("limits.bytes_per_second_per_user", l.bytes_per_second_per_user, 64 * 1024),
            (
                "limits.repair_bytes_per_second_per_user",
                l.repair_bytes_per_second_per_user,
                64 * 1024,
            ),
            ("limits.connections_per_second_per_user", l.connections_per_second_per_user, 1),
        ];
        for (key, value, min) in rates {
            if value > 0 && value < min {
                let why = format!("use {min} or more, or 0 for no limit");
                return wrong(key, value.to_string(), why);
            }
        }
        for (key, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                return wrong(key, value.to_string(), format!("use {min} to {max}"));
            }
        }
        if !matches!(self.broadcast.mode.as_str(), "auto" | "off") {
            let why = "use \"auto\" or \"off\"".to_owned();
            return wrong("broadcast.mode", format!("{:?}", self.broadcast.mode), why);
        }
        if !matches!(self.server.fallback.as_str(), "never" | "own") {
            let why = "use \"never\" or \"own\"".to_owned();
            return wrong("server.fallback", format!("{:?}", self.server.fallback), why);
        }
        if self.idle_exit().is_err() {
            let why = "use a duration such as \"15m\" or \"1h30m\", or \"\"".to_owned();
            return wrong("server.idle_exit", format!("{:?}", self.server.idle_exit), why);
        }
        if !matches!(self.history.sync.as_str(), "normal" | "full") {
            let why = "use \"normal\" or \"full\"".to_owned();
            return wrong("history.sync", format!("{:?}", self.history.sync), why);
        }
        if self.history.keep().is_err() {
            let why = "use a duration such as \"90d\" or \"12w\", or \"\"".to_owned();
            return wrong("history.keep", format!("{:?}", self.history.keep), why);
        }
        if self.rooms.len() > l.rooms {
            let why = format!("use at most {} rooms (limits.rooms)", l.rooms);
            return wrong("rooms", self.rooms.len().to_string(), why);
        }
        if let Some((name, e)) =
            self.rooms.keys().find_map(|name| Some((name, RoomName::new(name).err()?)))
        {
            return wrong("rooms", format!("{name:?}"), e.to_string());
        }
        for (key, who) in
            self.name_lists().flat_map(|(key, list)| list.iter().map(move |who| (key, who)))
        {
            let name = who.strip_prefix('@').or_else(|| who.strip_prefix('%'));
            let of_users = matches!(key, "server.allow" | "policy.operators" | ROOM_OPERATORS);
            let group = who == "operators" && !of_users;
            if !group && name.is_none_or(|name| UserName::new(name).is_err()) {
                let why = match of_users {
                    true => "use \"@user\" or \"%group\"",
                    false => "use \"@user\", \"%group\" or \"operators\"",
                };
                return wrong(key, format!("{who:?}"), why.to_owned());
            }
        }
        Ok(())
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

    fn name_lists(&self) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
        let rooms = self.rooms.values().map(|room| (ROOM_OPERATORS, &room.operators));
        let own = [("server.allow", &self.server.allow)].into_iter();
        own.chain(self.policy.lists()).chain(rooms)
    }

    /// Users and groups that the system does not know, each in words: a typo admits no user.
    #[must_use]
    pub fn unknown_names(&self) -> Vec<String> {
        let all = self.name_lists().flat_map(|(key, list)| list.iter().map(move |who| (key, who)));
        let unknown = all.filter_map(|(key, who)| {
            let (kind, is_known) = match who.split_at_checked(1)? {
                ("@", user) => ("user", os::user_id(user).is_some()),
                ("%", group) => ("group", os::is_group(group)),
                _ => return None,
            };
            (!is_known).then(|| format!("{key}: {kind} {who} does not exist on this system"))
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

/// The text of the file that was named, else of the usual one; none if that does not exist.
fn read(named: Option<&Path>, fall_back: &Path) -> Result<Option<String>, ConfigError> {
    let path = named.unwrap_or(fall_back);
    let failed = |source| ConfigError::Io { path: path.to_owned(), source };
    let file = match os::open_to_read(path) {
        Ok(file) => file,
        // Accounts of services have HOME=/dev/null, below which no file can exist.
        Err(e)
            if named.is_none()
                && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(failed(e)),
    };
    let mut text = String::new();
    let read = file.take(limits::CONFIG_BYTES_MAX + 1).read_to_string(&mut text);
    let bytes = read.map_err(failed)?;
    if bytes as u64 > limits::CONFIG_BYTES_MAX {
        let text = format!("the file has more than {} bytes", limits::CONFIG_BYTES_MAX);
        return Err(ConfigError::Syntax { path: path.to_owned(), text });
    }
    Ok(Some(text))
}

/// Not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; use 500ms, 90s, 10m, 1h30m, 7d or 2w, at most 100 years")]
pub struct DurationError(String);

/// Units of durations in milliseconds, the largest first.
const UNITS: [(&str, u64); 6] = [
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration: `500ms`, `90s`, `1h30m`, `2w`. Each unit occurs once, the largest first; there
/// may be one space between two of them.
///
/// # Errors
/// If the text is not a duration, or one of a hundred years or more.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    // More than a hundred years is a slip of the finger.
    let ms = milliseconds(text).filter(|ms| *ms < 100 * 366 * 86_400_000);
    ms.map(Duration::from_millis).ok_or_else(|| DurationError(text.to_owned()))
}

fn milliseconds(text: &str) -> Option<u64> {
    let (mut rest, mut units, mut total) = (text, &UNITS[..], 0_u64);
    loop {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let at = units.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(units[at].1)?)?;
        if behind.is_empty() {
            return Some(total);
        }
        units = &units[at + 1..];
        rest = behind.strip_prefix(' ').unwrap_or(behind);
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(keys("policy").len(), 7);
        assert_eq!(keys("limits").len(), 11);
    }

    #[test]
    fn wrong_setting_is_named() {
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

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(duration("1w"), duration("7d"));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("1h 30m"), duration("90m"));
        assert_eq!(duration("1d2h3m4s5ms"), Ok(Duration::from_millis(93_784_005)));
        for bad in [
            "",
            "5",
            "s",
            "-5s",
            "1.5s",
            "5 s",
            "99999999999999999999s",
            "9999999999999d",
            "1h30",
            "30m1h",
            "1h1h",
            "h30m",
            "1h  30m",
            "1h ",
            " 1h",
            "1H",
            "1M",
            "1y",
            "99y1h",
            "5218w9999999d",
            "1h,30m",
            "18446744073709551615ms",
            "1\u{666}s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
