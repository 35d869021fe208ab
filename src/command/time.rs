//! Times as they are shown.

use jiff::{Timestamp, tz::TimeZone};

fn timestamp(wall_us: i64) -> Timestamp {
    Timestamp::from_microsecond(wall_us).unwrap_or_default()
}

/// RFC 3339 in UTC with microseconds.
pub(super) fn rfc3339(wall_us: i64) -> String {
    timestamp(wall_us).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Hours and minutes where the reader is.
pub(super) fn clock(wall_us: i64) -> String {
    timestamp(wall_us).to_zoned(TimeZone::system()).strftime("%H:%M").to_string()
}

/// Date, hours and minutes where the reader is.
pub(super) fn date_and_clock(wall_us: i64) -> String {
    timestamp(wall_us).to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// A duration in its two largest units: `3m`, `2h 5m`, `4d 1h`.
pub(super) fn short(seconds: u64) -> String {
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
