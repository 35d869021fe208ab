//! Times as they are written and shown.

use std::{str::FromStr, time::Duration};

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::{chat::message::MessageId, config};

/// A point in the past, as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Microseconds since 1970.
    At(i64),
    /// So long ago.
    Ago(Duration),
    /// At this time of the day, today, where the reader is.
    Today(civil::Time),
    /// After a message.
    Id(MessageId),
}

impl When {
    /// Microseconds since 1970; a message is of no time.
    #[must_use]
    pub fn wall_us(&self, now_us: i64) -> i64 {
        match self {
            Self::At(wall_us) => *wall_us,
            Self::Today(time) => {
                let today = timestamp(now_us).to_zoned(TimeZone::system());
                // A time that a change of the clocks leaves out is the one after it.
                let at = today.with().time(*time).build().unwrap_or(today);
                at.timestamp().as_microsecond()
            }
            Self::Ago(ago) => {
                now_us.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX))
            }
            Self::Id(_) => now_us,
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        if let Ok(ago) = config::duration(written) {
            return Ok(Self::Ago(ago));
        }
        if let Ok(at) = written.parse::<Timestamp>() {
            return Ok(Self::At(at.as_microsecond()));
        }
        // A civil time is parsed from a longer text as well: an offset or a zone would be passed over.
        let is_local =
            written.bytes().all(|b| matches!(b, b'0'..=b'9' | b'-' | b':' | b'.' | b'T' | b' '));
        if is_local
            && let Ok(local) = written.parse::<civil::DateTime>()
            && let Ok(at) = local.to_zoned(TimeZone::system())
        {
            return Ok(Self::At(at.timestamp().as_microsecond()));
        }
        // A room may have two letters: `ci:10` is a message.
        let clock = |text: &[u8]| {
            text.len() == 5 && text[2] == b':' && text[..2].iter().all(u8::is_ascii_digit)
        };
        if clock(written.as_bytes()) {
            let time = civil::Time::strptime("%H:%M", written);
            return time.map(Self::Today).map_err(|_| format!("{written} is no time of day"));
        }
        written.parse().map(Self::Id).map_err(|_| {
            "a time is written 2026-11-21T09:00:00Z, 2026-11-21, 09:00 (today), 2h (ago), or as a message \
             id (dev:42)"
                .to_owned()
        })
    }
}

fn timestamp(wall_us: i64) -> Timestamp {
    Timestamp::from_microsecond(wall_us).unwrap_or_default()
}

/// RFC 3339 in UTC with microseconds.
#[must_use]
pub fn rfc3339(wall_us: i64) -> String {
    timestamp(wall_us).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Hours and minutes where the reader is.
#[must_use]
pub fn clock(wall_us: i64) -> String {
    timestamp(wall_us).to_zoned(TimeZone::system()).strftime("%H:%M").to_string()
}

/// Date, hours and minutes where the reader is.
#[must_use]
pub fn date_and_clock(wall_us: i64) -> String {
    timestamp(wall_us).to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
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

    #[test]
    fn points_in_the_past_are_read() {
        assert_eq!("2h".parse(), Ok(When::Ago(Duration::from_secs(7200))));
        assert_eq!("2026-11-21T09:00:00Z".parse(), Ok(When::At(1_795_251_600_000_000)));
        assert_eq!("2026-11-21T18:00:00+09:00".parse(), Ok(When::At(1_795_251_600_000_000)));
        assert_eq!("09:30".parse(), Ok(When::Today(civil::time(9, 30, 0, 0))));
        assert!(matches!("dev:42".parse(), Ok(When::Id(_))));
        assert!(matches!("ci:10".parse(), Ok(When::Id(_))), "not a time of day");
        assert!(matches!("dev:3f9a01b2.42".parse(), Ok(When::Id(_))));
        for bad in ["", "yesterday", "25:00", "9", "dev"] {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
        assert_eq!(When::Ago(Duration::from_secs(1)).wall_us(5_000_000), 4_000_000);
    }

    #[test]
    fn date_with_or_without_time_is_the_readers_own() {
        let here = |local: civil::DateTime| {
            let at = local.to_zoned(TimeZone::system()).unwrap();
            Ok(When::At(at.timestamp().as_microsecond()))
        };
        let day = civil::date(2026, 11, 21);
        assert_eq!("2026-11-21".parse(), here(day.at(0, 0, 0, 0)));
        assert_eq!("2026-11-21T18:30".parse(), here(day.at(18, 30, 0, 0)), "not midnight");
        assert_eq!("2026-11-21 18:30:05".parse(), here(day.at(18, 30, 5, 0)));
        for bad in ["2026-11-21T18:30[Asia/Seoul]", "2026-11-21T18:30+99", "2026-11-32"] {
            assert!(bad.parse::<When>().is_err(), "{bad}: no zone is passed over");
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
}
