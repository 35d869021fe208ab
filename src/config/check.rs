//! Checks of a server's settings.

use super::{
    file::{TomlFile, Wrong},
    settings::{Limits, ROOM_OPERATORS, Settings},
};
use crate::{
    chat::names::{RoomName, UserName},
    limits,
};

impl TomlFile for Settings {
    fn check(&self) -> Result<(), Wrong> {
        check_rates(&self.limits)?;
        check_ranges(self)?;
        check_words(self)?;
        check_rooms(self)?;
        check_names(self)
    }
}

fn wrong(key: &'static str, value: String, why: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong { key, value, why: why.into() })
}

/// Checks numbers per second, which may be without bound.
fn check_rates(l: &Limits) -> Result<(), Wrong> {
    let rates = [
        ("limits.messages_per_second_per_user", l.messages_per_second_per_user, 100),
        ("limits.bytes_per_second_per_user", l.bytes_per_second_per_user, 64 * 1024),
        ("limits.repair_bytes_per_second_per_user", l.repair_bytes_per_second_per_user, 64 * 1024),
        ("limits.connections_per_second_per_user", l.connections_per_second_per_user, 1),
    ];
    for (key, value, min) in rates {
        if value > 0 && value < min {
            let why = format!("use {min} or more, or 0 for no limit");
            return wrong(key, value.to_string(), why);
        }
    }
    Ok(())
}

/// Checks numbers that have a minimum and a maximum.
fn check_ranges(settings: &Settings) -> Result<(), Wrong> {
    let (l, d) = (&settings.limits, Limits::default());
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
        ("broadcast.members_min", settings.broadcast.members_min, 1, limits::SESSIONS_MAX),
    ];
    for (key, value, min, max) in ranges {
        if !(min..=max).contains(&value) {
            return wrong(key, value.to_string(), format!("use {min} to {max}"));
        }
    }
    Ok(())
}

/// Checks values that are one of a few words, and durations.
fn check_words(settings: &Settings) -> Result<(), Wrong> {
    let Settings { broadcast, server, history, .. } = settings;
    let words = [
        ("broadcast.mode", &broadcast.mode, ["auto", "off"]),
        ("server.fallback", &server.fallback, ["never", "own"]),
        ("history.sync", &history.sync, ["normal", "full"]),
    ];
    for (key, value, [one, other]) in words {
        if value != one && value != other {
            let why = format!("use {one:?} or {other:?}");
            return wrong(key, format!("{value:?}"), why);
        }
    }
    let durations = [
        ("server.idle_exit", &server.idle_exit, settings.idle_exit(), ["15m", "1h30m"]),
        ("history.keep", &history.keep, history.keep(), ["90d", "12w"]),
    ];
    for (key, value, parsed, [one, other]) in durations {
        if parsed.is_err() {
            let why = format!("use a duration such as {one:?} or {other:?}, or \"\"");
            return wrong(key, format!("{value:?}"), why);
        }
    }
    Ok(())
}

/// Checks number and names of the configured rooms.
fn check_rooms(settings: &Settings) -> Result<(), Wrong> {
    let (rooms, max) = (&settings.rooms, settings.limits.rooms);
    if rooms.len() > max {
        let why = format!("use at most {max} rooms (limits.rooms)");
        return wrong("rooms", rooms.len().to_string(), why);
    }
    for name in rooms.keys() {
        if let Err(e) = RoomName::new(name) {
            return wrong("rooms", format!("{name:?}"), e.to_string());
        }
    }
    Ok(())
}

/// Checks the form of each name in the lists of users and groups.
fn check_names(settings: &Settings) -> Result<(), Wrong> {
    for (key, listed) in settings.listed_names() {
        let name = listed.strip_prefix('@').or_else(|| listed.strip_prefix('%'));
        let of_users =
            matches!(key, "server.allow" | "policy.operators" | "policy.link" | ROOM_OPERATORS);
        let group = listed == "operators" && !of_users;
        if !group && name.is_none_or(|name| UserName::new(name).is_err()) {
            let why = match of_users {
                true => "use \"@user\" or \"%group\"",
                false => "use \"@user\", \"%group\" or \"operators\"",
            };
            return wrong(key, format!("{listed:?}"), why);
        }
    }
    Ok(())
}
