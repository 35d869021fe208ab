//! Durations as settings and options have them: `1h30m`.

use std::time::Duration;

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
