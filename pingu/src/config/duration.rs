//! Durations as people write them: a number and a unit, `5s`, `20ms`, `1.5s`.

use std::time::Duration;

/// The units, and how many nanoseconds each has.
const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration; none if it is not a decimal number followed by a unit, or too long to count in nanoseconds.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits_end);
    let unit = unit.trim_start();
    let (_, unit_ns) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let whole_ns = whole.parse::<u64>().ok()?.checked_mul(*unit_ns)?;
    let mut fraction_ns = 0;
    let mut place_ns = *unit_ns as f64;
    for digit in fraction.bytes() {
        place_ns /= 10.0;
        fraction_ns += (f64::from(digit - b'0') * place_ns).round() as u64;
    }
    whole_ns.checked_add(fraction_ns).map(Duration::from_nanos)
}

/// Writes a duration in the largest unit that needs no fraction.
pub(super) fn write(duration: Duration) -> String {
    let ns = duration.as_nanos();
    if ns == 0 {
        return "0s".to_owned();
    }
    let fits = |(_, unit_ns): &&(&str, u64)| ns.is_multiple_of(u128::from(*unit_ns));
    let (unit, unit_ns) = UNITS
        .iter()
        .rev()
        .find(fits)
        .expect("every duration is a whole number of nanoseconds");
    format!("{}{unit}", ns / u128::from(*unit_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_durations() {
        for (text, ns) in [
            ("5s", 5_000_000_000),
            ("20ms", 20_000_000),
            ("1.5s", 1_500_000_000),
            ("500us", 500_000),
            ("2m", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("0s", 0),
            ("10 ms", 10_000_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(ns)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "5",
            "s",
            ".5s",
            "5.s",
            "1.2.3s",
            "-5s",
            "5 s s",
            "5sec",
            "1e3s",
            "99999999999h",
            "５s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for ns in [
            0,
            1,
            999,
            1_500_000,
            60_000_000_000,
            90_000_000_000,
            3_600_000_000_000,
        ] {
            let duration = Duration::from_nanos(ns);
            assert_eq!(parse(&write(duration)), Some(duration));
        }
        assert_eq!(write(Duration::from_secs(90)), "90s");
    }
}
