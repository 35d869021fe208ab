//! Times as users write them and as they are shown.
//!
//! Every option that takes a time reads it here: a [`Moment`], or a [`When`] where a message id is
//! possible as well. `FORMS` is what help and manual pages say of both.

use std::{str::FromStr, time::Duration};

use jiff::{
    Timestamp,
    civil::{self, DateTime},
    tz::{Offset, TimeZone},
};

use crate::{
    chat::message::{MessageId, StreamName},
    config,
};

/// The forms of a time, for help and manual pages.
pub(super) const FORMS: &[(&str, &str)] = &[
    ("18:00, 18:00:30", "local time: most recent for --since and --until, today for --at"),
    ("2026-12-24", "start of that day, local time"),
    ("2026-12-24 18:00", "local time; also 2026-12-24T18:00:30.5"),
    ("today, yesterday 18:00", "day by name, alone or with a time; also tomorrow, now"),
    ("...Z, ...+09:00", "time with an offset (RFC 3339)"),
    ("... Asia/Seoul", "time in that time zone; also 2026-12-24 18:00[Asia/Seoul]"),
    ("90s, 1h30m, 2w", "duration ago (w, d, h, m, s, ms); for --in, from now"),
];

/// The same for an error, in one line.
const FORMS_SHORT: &str = "use a time such as 18:00, 2026-12-24, '2026-12-24 18:00' \
    (followed by Z, +09:00 or Asia/Seoul if not local), yesterday, 'tomorrow 18:00', now, or 1h30m \
    (ago)";

/// A point in time, as a user writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Microseconds since 1970.
    At(i64),
    /// A duration before now.
    Ago(Duration),
    /// A time of a day that counts from today, in a zone; without a day, the one that the option
    /// means.
    Of {
        /// -1 for yesterday, 0 for today, 1 for tomorrow.
        day: Option<i8>,
        /// Time of that day.
        time: civil::Time,
        /// Time zone of the day and of the time.
        zone: TimeZone,
    },
}

impl Moment {
    /// Microseconds since 1970 for a question about the past: a time without a day is the last one.
    #[must_use]
    pub fn past_us(&self, now_us: i64) -> i64 {
        match self.wall_us(now_us) {
            at_us if at_us > now_us && matches!(self, Self::Of { day: None, .. }) => {
                self.on_day(now_us, -1)
            }
            at_us => at_us,
        }
    }

    /// Microseconds since 1970; a time without a day is today's.
    #[must_use]
    pub fn wall_us(&self, now_us: i64) -> i64 {
        match self {
            Self::At(wall_us) => *wall_us,
            Self::Ago(ago) => {
                now_us.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX))
            }
            Self::Of { day, .. } => self.on_day(now_us, day.unwrap_or(0)),
        }
    }

    /// The time of a day that counts from today.
    fn on_day(&self, now_us: i64, day: i8) -> i64 {
        let Self::Of { time, zone, .. } = self else { return self.wall_us(now_us) };
        let today = zone.to_datetime(timestamp(now_us)).date();
        let date = today.saturating_add(jiff::Span::new().days(day));
        moment_in(date.to_datetime(*time), zone).unwrap_or(now_us)
    }

    /// Reads a time; `here` is the zone of times without one.
    fn parse(written: &str, here: &TimeZone) -> Result<Self, String> {
        if let Ok(ago) = config::duration(written) {
            return Ok(Self::Ago(ago));
        }
        if written.eq_ignore_ascii_case("now") {
            return Ok(Self::Ago(Duration::ZERO));
        }
        let wrong = || FORMS_SHORT.to_owned();
        let parts = Parts::split(written).ok_or_else(wrong)?;
        let time = parts.time.unwrap_or(civil::Time::midnight());
        let named = match parts.zone {
            None => None,
            Some(name) => {
                let found = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
                Some(found.ok_or_else(|| format!("unknown time zone {name}"))?)
            }
        };
        let fixed = parts.offset.map(TimeZone::fixed);
        let zone = fixed.as_ref().or(named.as_ref()).unwrap_or(here).clone();
        let date = match parts.day {
            None | Some(Day::FromToday(_)) if fixed.is_some() && named.is_some() => {
                return Err(wrong());
            }
            None => return Ok(Self::Of { day: None, time, zone }),
            Some(Day::FromToday(day)) => return Ok(Self::Of { day: Some(day), time, zone }),
            Some(Day::Date(date)) => date,
        };
        let out_of_range = || format!("the time {written} is out of range");
        let at_us = moment_in(date.to_datetime(time), &zone).ok_or_else(out_of_range)?;
        // With both, they have to agree.
        if let (Some(offset), Some(named)) = (parts.offset, named)
            && named.to_offset(timestamp(at_us)) != offset
        {
            return Err(format!("the offset and the time zone of {written} disagree"));
        }
        Ok(Self::At(at_us))
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        Self::parse(written, &TimeZone::system())
    }
}

/// Microseconds since 1970 of a local time. One that a change of the clocks leaves out is moved
/// behind the change; of one that occurs twice it is the first.
fn moment_in(local: DateTime, zone: &TimeZone) -> Option<i64> {
    zone.to_ambiguous_timestamp(local).compatible().ok().map(|at| at.as_microsecond())
}

#[derive(Debug, Clone, Copy)]
enum Day {
    Date(civil::Date),
    FromToday(i8),
}

/// The parts of a written time, each read to its end.
#[derive(Debug, Default)]
struct Parts<'a> {
    day: Option<Day>,
    time: Option<civil::Time>,
    offset: Option<Offset>,
    zone: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// `DAY`, `TIME`, `DAY TIME` or `DATETTIME`; behind that an offset, a zone, or both.
    fn split(written: &'a str) -> Option<Self> {
        let mut parts = Self::default();
        let mut written = written;
        if let Some(bracketed) = written.strip_suffix(']') {
            let (before, zone) = bracketed.split_once('[')?;
            parts.zone = Some(zone);
            written = before.strip_suffix(' ').unwrap_or(before);
        }
        for word in written.split(' ') {
            let is_zone =
                parts.zone.is_none() && word.starts_with(|c: char| c.is_ascii_alphabetic());
            let has_begun = parts.day.is_some() || parts.time.is_some();
            if !has_begun && let Some(day) = day_by_name(word) {
                parts.day = Some(Day::FromToday(day));
            } else if !has_begun && let Some((date, time)) = split_date(word) {
                parts.day = Some(Day::Date(date?));
                time.map_or(Some(()), |time| parts.clock(time))?;
            } else if parts.time.is_none() && !is_zone {
                parts.clock(word)?;
            } else if parts.offset.is_none() && parts.zone.is_none() && word.starts_with(['+', '-'])
            {
                parts.offset = Some(offset(word)?);
            } else if is_zone && has_begun {
                parts.zone = Some(word);
            } else {
                return None;
            }
        }
        (parts.day.is_some() || parts.time.is_some()).then_some(parts)
    }

    /// A time of the day, with an offset if it ends so.
    fn clock(&mut self, word: &str) -> Option<()> {
        let end = word.find(['Z', 'z', '+', '-']).unwrap_or(word.len());
        let (clock, behind) = word.split_at(end);
        if !behind.is_empty() {
            self.offset = Some(offset(behind)?);
        }
        let mut fields = clock.split(':');
        let hour = number(fields.next()?, 1..=2)?;
        // An hour alone is a time only behind a date.
        let minute = match fields.next() {
            Some(minute) => number(minute, 2..=2)?,
            None if matches!(self.day, Some(Day::Date(_))) => 0,
            None => return None,
        };
        let (second, fraction) = match fields.next() {
            None => (0, 0),
            Some(second) => match second.split_once(['.', ',']) {
                None => (number(second, 2..=2)?, 0),
                Some((second, fraction)) => {
                    let digits = u32::try_from(fraction.len()).ok()?;
                    let nanos = number(fraction, 1..=9)? * 10_i32.pow(9 - digits);
                    (number(second, 2..=2)?, nanos)
                }
            },
        };
        if fields.next().is_some() {
            return None;
        }
        let [hour, minute, second] = [hour, minute, second].map(|field| i8::try_from(field).ok());
        self.time = Some(civil::Time::new(hour?, minute?, second?, fraction).ok()?);
        Some(())
    }
}

fn day_by_name(word: &str) -> Option<i8> {
    let names = [("yesterday", -1), ("today", 0), ("tomorrow", 1)];
    names.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, day)| *day)
}

/// Splits `2026-12-24` or `2026-12-24T18:00`; the inner none is a date that no calendar has.
fn split_date(word: &str) -> Option<(Option<civil::Date>, Option<&str>)> {
    let (date, behind) = word.split_at_checked(10)?;
    let fields: Vec<_> = date.split('-').collect();
    let [year, month, day] = fields[..] else { return None };
    let (year, month, day) = (number(year, 4..=4)?, number(month, 2..=2)?, number(day, 2..=2)?);
    let time = match behind {
        "" => None,
        behind => Some(behind.strip_prefix(['T', 't'])?),
    };
    let date = || {
        civil::Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()
    };
    Some((date(), time))
}

/// `Z`, `+09`, `+0900` or `+09:00`.
fn offset(written: &str) -> Option<Offset> {
    if written.eq_ignore_ascii_case("z") {
        return Some(Offset::UTC);
    }
    let (sign, digits) = match written.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(both) => both,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "00"),
    };
    let (hours, minutes) = (number(hours, 2..=2)?, number(minutes, 2..=2)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

/// A number of that many digits.
fn number(written: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i32> {
    let is_number = digits.contains(&written.len()) && written.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| written.parse().ok()).flatten()
}

/// A time or a message id: a word can be both, and the rooms that a command names decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    moment: Result<Moment, String>,
    id: Option<MessageId>,
    looks_like_time: bool,
}

/// The meaning of a [`When`] in one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// At a time.
    Time(&'a Moment),
    /// After a message.
    After(&'a MessageId),
}

impl When {
    /// The meaning where a command names these streams: an id of one of them before a time.
    ///
    /// # Errors
    /// Returns the forms if it is written like a time, is none, and is not of these streams.
    pub fn among(&self, streams: &[StreamName]) -> Result<Meaning<'_>, String> {
        match (&self.moment, &self.id) {
            (_, Some(id)) if streams.contains(&id.stream) => Ok(Meaning::After(id)),
            (Ok(moment), _) => Ok(Meaning::Time(moment)),
            (Err(_), Some(id)) if !self.looks_like_time => Ok(Meaning::After(id)),
            (Err(e), _) => Err(e.clone()),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let moment: Result<Moment, _> = written.parse();
        match (&moment, written.parse().ok()) {
            (Err(e), None) => Err(format!("{e}; or a message id such as dev:42")),
            (_, id) => Ok(Self { moment, id, looks_like_time: looks_like_time(written) }),
        }
    }
}

/// Returns true if a slip of the finger in a time could have made it: `25:00`, `2026-13-01T10:00`.
fn looks_like_time(written: &str) -> bool {
    let is_clock = written
        .split_once(':')
        .is_some_and(|(hour, minute)| number(hour, 1..=2).and(number(minute, 2..=2)).is_some());
    is_clock || written.split_at_checked(10).is_some_and(|(date, _)| split_date(date).is_some())
}

fn timestamp(wall_us: i64) -> Timestamp {
    Timestamp::from_microsecond(wall_us).unwrap_or_default()
}

/// RFC 3339 in UTC with microseconds.
#[must_use]
pub fn rfc3339(wall_us: i64) -> String {
    timestamp(wall_us).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The reader's clock: times are shown in its zone, and without a date if that is today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Show times in UTC, with a Z.
    pub utc: bool,
    /// Now, microseconds since 1970.
    pub now_us: i64,
}

impl Clock {
    /// Hours and minutes, after the date if that is not today.
    #[must_use]
    pub fn short(self, wall_us: i64) -> String {
        self.short_in(wall_us, &self.zone())
    }

    fn short_in(self, wall_us: i64, zone: &TimeZone) -> String {
        let day = |us| zone.to_datetime(timestamp(us)).date();
        let is_today = day(wall_us) == day(self.now_us);
        self.shown(wall_us, if is_today { "%H:%M" } else { "%Y-%m-%d %H:%M" }, zone)
    }

    /// Date, hours and minutes.
    #[must_use]
    pub fn full(self, wall_us: i64) -> String {
        self.shown(wall_us, "%Y-%m-%d %H:%M", &self.zone())
    }

    fn zone(self) -> TimeZone {
        if self.utc { TimeZone::UTC } else { TimeZone::system() }
    }

    fn shown(self, wall_us: i64, format: &str, zone: &TimeZone) -> String {
        let z = if self.utc { "Z" } else { "" };
        format!("{}{z}", timestamp(wall_us).to_zoned(zone.clone()).strftime(format))
    }
}

/// A duration in its two largest units: `3m`, `2h 5m`, `4d 1h`.
#[must_use]
pub fn short(seconds: u64) -> String {
    let (m, h, d) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: u64, a: char, small: u64, b: char| match small {
        0 => format!("{large}{a}"),
        small => format!("{large}{a} {small}{b}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{m}m"),
        3600..86_400 => two(h, 'h', m % 60, 'm'),
        _ => two(d, 'd', h % 24, 'h'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::names::RoomName;
    use jiff::civil::date;

    fn seoul() -> TimeZone {
        TimeZone::get("Asia/Seoul").unwrap()
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    /// 2026-12-24 12:46 in Berlin.
    const NOW_US: i64 = 1_798_112_760_000_000;

    /// What a text means in Berlin: for a question about the past, and for an announcement.
    fn read(written: &str) -> Result<(String, String), String> {
        let moment = Moment::parse(written, &berlin())?;
        let local = |us| berlin().to_datetime(timestamp(us)).strftime("%F %T%.f").to_string();
        Ok((local(moment.past_us(NOW_US)), local(moment.wall_us(NOW_US))))
    }

    #[test]
    fn each_form_of_a_time_means_what_is_written() {
        for (written, past, coming) in [
            ("12:45", "2026-12-24 12:45:00", "2026-12-24 12:45:00"),
            ("12:46", "2026-12-24 12:46:00", "2026-12-24 12:46:00"),
            ("18:00", "2026-12-23 18:00:00", "2026-12-24 18:00:00"),
            ("7:05", "2026-12-24 07:05:00", "2026-12-24 07:05:00"),
            ("18:00:30", "2026-12-23 18:00:30", "2026-12-24 18:00:30"),
            ("18:00 Asia/Seoul", "2026-12-24 10:00:00", "2026-12-24 10:00:00"),
            ("18:00Z", "2026-12-23 19:00:00", "2026-12-24 19:00:00"),
            ("18:00[Asia/Seoul]", "2026-12-24 10:00:00", "2026-12-24 10:00:00"),
            ("22:00 Asia/Seoul", "2026-12-23 14:00:00", "2026-12-24 14:00:00"),
            ("now", "2026-12-24 12:46:00", "2026-12-24 12:46:00"),
            ("today", "2026-12-24 00:00:00", "2026-12-24 00:00:00"),
            ("Today 18:00", "2026-12-24 18:00:00", "2026-12-24 18:00:00"),
            ("yesterday", "2026-12-23 00:00:00", "2026-12-23 00:00:00"),
            ("yesterday 9:30", "2026-12-23 09:30:00", "2026-12-23 09:30:00"),
            ("tomorrow 18:00", "2026-12-25 18:00:00", "2026-12-25 18:00:00"),
            ("tomorrow 18:00 Asia/Seoul", "2026-12-25 10:00:00", "2026-12-25 10:00:00"),
            ("90s", "2026-12-24 12:44:30", "2026-12-24 12:44:30"),
            ("1h30m", "2026-12-24 11:16:00", "2026-12-24 11:16:00"),
            ("2w", "2026-12-10 12:46:00", "2026-12-10 12:46:00"),
        ] {
            assert_eq!(read(written), Ok((past.into(), coming.into())), "{written}");
        }
        for (written, at) in [
            ("2026-12-24", "2026-12-24 00:00:00"),
            ("2026-12-24 18:00", "2026-12-24 18:00:00"),
            ("2026-12-24T18:00", "2026-12-24 18:00:00"),
            ("2026-12-24t18:00:30", "2026-12-24 18:00:30"),
            ("2026-12-24 18:00:30.25", "2026-12-24 18:00:30.25"),
            ("2026-12-24T18", "2026-12-24 18:00:00"),
            ("2026-12-24 9:30", "2026-12-24 09:30:00"),
            ("2026-12-24T18:00Z", "2026-12-24 19:00:00"),
            ("2026-12-24T18:00:00+09:00", "2026-12-24 10:00:00"),
            ("2026-12-24 18:00:00 -0500", "2026-12-25 00:00:00"),
            ("2026-12-24T18:00+09", "2026-12-24 10:00:00"),
            ("2026-12-24 18:00[Asia/Seoul]", "2026-12-24 10:00:00"),
            ("2026-12-24 18:00 Europe/Berlin", "2026-12-24 18:00:00"),
            ("2026-12-24 Asia/Seoul", "2026-12-23 16:00:00"),
            ("2026-12-24 18:00 UTC", "2026-12-24 19:00:00"),
            ("2026-12-24T18:00:00+09:00[Asia/Seoul]", "2026-12-24 10:00:00"),
            ("2026-11-30T03:33:07,123456789+00:00", "2026-11-30 04:33:07.123456"),
            ("1969-12-31 23:59", "1969-12-31 23:59:00"),
            // The clocks change: 02:30 is left out, and occurs twice.
            ("2026-03-29 02:30", "2026-03-29 03:30:00"),
            ("2026-10-25T02:30+01:00", "2026-10-25 02:30:00"),
        ] {
            assert_eq!(read(written), Ok((at.into(), at.into())), "{written}");
        }
        let twice = |written| Moment::parse(written, &berlin()).unwrap().wall_us(NOW_US);
        assert_eq!(twice("2026-10-25 02:30"), twice("2026-10-25T02:30+02:00"), "the first");
    }

    #[test]
    fn last_clock_time_is_looked_for_where_clocks_change() {
        let zone = berlin();
        let now = moment_in(date(2026, 3, 30).at(2, 0, 0, 0), &zone).unwrap();
        let at = Moment::parse("02:30", &zone).unwrap().past_us(now);
        assert_eq!(at, moment_in(date(2026, 3, 29).at(3, 30, 0, 0), &zone).unwrap());
        let now = moment_in(date(2026, 1, 1).at(0, 1, 0, 0), &seoul()).unwrap();
        let at = Moment::parse("22:00", &seoul()).unwrap().past_us(now);
        assert_eq!(at, moment_in(date(2025, 12, 31).at(22, 0, 0, 0), &seoul()).unwrap());
    }

    #[test]
    fn unknown_form_of_a_time_is_refused() {
        for bad in [
            "",
            " ",
            "9",
            "dev",
            "25:00",
            "18:60",
            "18:00:60",
            "24:00",
            "18:0",
            "1800",
            "9:05pm",
            "1.5h",
            "1798110360",
            "@1798110360",
            "2026-13-01",
            "2026-02-30",
            "2026-12-24 25:00",
            "9999-12-31",
            "9999-12-31 23:00",
            "2026-12-24T",
            "2026-12-24 ",
            " 2026-12-24",
            "2026-12-24  18:00",
            "2026-12-24 18:00 x",
            "2026-12-24 18:00 19:00",
            "2026-12-24 18:00[Nowhere/City]",
            "2026-12-24 18:00 Nowhere/City",
            "2026-12-24 18:00[Asia/Seoul",
            "2026-12-24 18:00[]",
            "2026-11-21T18:30+99",
            "2026-11-21T18:30+09:60",
            "2026-11-21T18:30+9",
            "2026-12-24T18:00:00+09:00[Europe/Berlin]",
            "2026-12-24T18:00ZZ",
            "2026-12-24Z",
            "2026-12-24 today",
            "today 2026-12-24",
            "today tomorrow",
            "now 18:00",
            "18:00 today",
            "Asia/Seoul",
            "18:00+09:00[Asia/Seoul]",
            "1h30",
            "30m1h",
            "-1h",
            "1h ago",
            "26-12-24",
            "12/24/2026",
            "2026-12-24T18:00:00.",
            "2026-12-24T18:00:00.1234567890",
            "18:00.5",
            "２０２６-12-24",
            "18：00",
        ] {
            assert!(read(bad).is_err(), "{bad}: {:?}", read(bad));
        }
        assert!(read("9999-12-31").unwrap_err().contains("9999-12-31 is out of range"));
        assert!(read("18:00 Mars/City").unwrap_err().contains("unknown time zone Mars/City"));
        assert!(read("soon").unwrap_err().contains("2026-12-24 18:00"));
    }

    #[test]
    fn word_with_two_meanings_fits_the_named_room() {
        let room = |name: &str| StreamName::Room(RoomName::new(name).unwrap());
        let is_id = |written: &str, rooms: &[StreamName]| {
            matches!(written.parse::<When>().unwrap().among(rooms), Ok(Meaning::After(_)))
        };
        for (written, of) in [("23:18", "23"), ("7:05", "7"), ("2026-12-24T18:00", "2026-12-24t18")]
        {
            assert!(is_id(written, &[room("dev"), room(of)]), "{written}");
            assert!(!is_id(written, &[room("dev")]), "{written}");
            assert!(!is_id(written, &[]), "{written}");
        }
        assert!(is_id("25:00", &[room("25")]));
        for written in ["dev:42", "ci:10", "dev:3f9a01b2.42", "@ann:7", "7:5", "2026:5"] {
            assert!(is_id(written, &[room("ops")]), "{written}");
        }
        for written in ["25:00", "18:99", "2026-12-24T25:00", "2026-13-01T10:00"] {
            let error = written.parse::<When>().unwrap().among(&[room("ops")]).unwrap_err();
            assert!(error.contains("use a time such as"), "{written}: {error}");
        }
        for bad in ["", "9", "dev", "soon", "2026-13-01"] {
            assert!(bad.parse::<When>().unwrap_err().contains("dev:42"), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn written_local_time_is_exactly_the_moment(
            day in 0_i32..36_500, second in 0_i32..86_400, micro in 0_i32..1_000_000, form in 0..6,
        ) {
            let zone = [berlin(), seoul(), TimeZone::UTC, TimeZone::get("America/New_York").unwrap()]
                [(day % 4) as usize].clone();
            let date = date(1975, 1, 1).saturating_add(jiff::Span::new().days(day));
            let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
            let fraction = if form % 2 == 0 { micro } else { 0 };
            let time = civil::time(h as i8, m as i8, s as i8, fraction * 1000);
            let local = date.to_datetime(time);
            let ambiguous = zone.to_ambiguous_timestamp(local);
            proptest::prop_assume!(!ambiguous.is_ambiguous());
            let at = ambiguous.compatible().unwrap();
            let name = zone.iana_name().unwrap();
            let offset = zone.to_offset(at).seconds() / 60;
            let sign = if offset < 0 { '-' } else { '+' };
            let offset = format!("{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60);
            let clock = format!("{h:02}:{m:02}:{s:02}");
            let written = match form {
                0 => format!("{date} {clock}.{micro:06}"),
                1 => format!("{date}T{clock}"),
                2 => format!("{date}T{clock}.{micro:06}{offset}"),
                3 => format!("{date} {clock} {name}"),
                4 => format!("{date}T{clock}.{micro:06}{offset}[{name}]"),
                _ => format!("{date} {clock}[{name}]"),
            };
            let here = if matches!(form, 0 | 1) { zone } else { TimeZone::fixed(Offset::constant(5)) };
            let read = Moment::parse(&written, &here);
            proptest::prop_assert_eq!(read, Ok(Moment::At(at.as_microsecond())), "{}", written);
        }
    }

    #[test]
    fn times_have_six_digits_and_durations_two_units() {
        assert_eq!(rfc3339(1_795_251_600_000_000), "2026-11-21T09:00:00.000000Z");
        assert_eq!(rfc3339(1_795_251_600_000_007), "2026-11-21T09:00:00.000007Z");
        assert_eq!(short(5), "5s");
        assert_eq!(short(185), "3m");
        assert_eq!(short(7500), "2h 5m");
        assert_eq!(short(7200), "2h");
        assert_eq!(short(90_000), "1d 1h");
    }

    #[test]
    fn shown_time_has_a_date_if_it_is_not_today() {
        let clock = Clock { utc: false, now_us: NOW_US };
        let ago = |s: i64| NOW_US - s * 1_000_000;
        assert_eq!(clock.short_in(ago(60), &berlin()), "12:45");
        assert_eq!(clock.short_in(ago(13 * 3600), &berlin()), "2026-12-23 23:46");
        assert_eq!(clock.short_in(ago(-86_400), &berlin()), "2026-12-25 12:46");
        assert_eq!(clock.short_in(ago(365 * 86_400), &berlin()), "2025-12-24 12:46");
        let utc = Clock { utc: true, ..clock };
        assert_eq!(utc.short(ago(60)), "11:45Z");
        assert_eq!(utc.full(ago(60)), "2026-12-24 11:45Z");
        // What is shown can be typed.
        assert_eq!(read(&utc.full(ago(60))).unwrap().0, "2026-12-24 12:45:00");
    }
}
