//! Budgets as people write them: a number of bytes with its unit, and the time in which they may be spent, `50MB/month`.

use std::{fmt, time::Duration};

/// What messages say of it.
pub(super) const ALLOWED: &str = "bytes in a time, such as \"50MB/month\": a number with kB, MB, GB, KiB, MiB or GiB, then /hour, /day, \
                                  /week or /month";

/// The units, and how many bytes each has; what is written comes first among equals.
const UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

const TIMES: [(&str, BudgetTime); 4] = [
    ("hour", BudgetTime::Hour),
    ("day", BudgetTime::Day),
    ("week", BudgetTime::Week),
    ("month", BudgetTime::Month),
];

/// A petabyte: beyond it sums of 64 bits would have to be watched.
const BYTES_MAX: u64 = 1_000_000_000_000_000;

/// What may be spent on probing in a time (`budget`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of probes and their replies; at least 1.
    pub bytes: u64,
    /// In each of these.
    pub per: BudgetTime,
}

/// The time of a budget, of the calendar in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetTime {
    /// From hour to hour.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to the first of the next.
    Month,
}

impl BudgetTime {
    /// How long the longest of them is.
    pub fn length_max(self) -> Duration {
        let hours = match self {
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::Month => 31 * 24,
        };
        Duration::from_secs(hours * 3600)
    }
}

impl fmt::Display for BudgetTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, _) = TIMES
            .iter()
            .find(|(_, time)| time == self)
            .expect("every time has its word");
        f.write_str(word)
    }
}

impl fmt::Display for Budget {
    /// In the largest unit that needs no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", write_size(self.bytes), self.per)
    }
}

/// Reads a budget; none if it is not one, or without any byte, or more than a petabyte.
pub(super) fn parse(text: &str) -> Option<Budget> {
    let (amount, time) = text.split_once('/')?;
    let time = time.trim();
    let (_, per) = TIMES.iter().find(|(word, _)| *word == time)?;
    let bytes = parse_size(amount)?;
    Some(Budget { bytes, per: *per })
}

/// Reads a number of bytes with its unit; none if it is not one, or without any byte, or more than a petabyte.
pub(super) fn parse_size(amount: &str) -> Option<u64> {
    let amount = amount.trim();
    let digits_end = amount.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = amount.split_at(digits_end);
    let unit = unit.trim_start();
    let (_, unit_bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let mut bytes = whole.parse::<u64>().ok()?.checked_mul(*unit_bytes)?;
    let mut place = *unit_bytes as f64;
    for digit in fraction.bytes() {
        place /= 10.0;
        bytes = bytes.checked_add((f64::from(digit - b'0') * place).round() as u64)?;
    }
    (1..=BYTES_MAX).contains(&bytes).then_some(bytes)
}

/// A number of bytes in the largest unit that needs no fraction.
pub(super) fn write_size(bytes: u64) -> String {
    let (unit, unit_bytes) = UNITS
        .iter()
        .filter(|(_, unit_bytes)| bytes.is_multiple_of(*unit_bytes))
        .max_by_key(|(_, unit_bytes)| *unit_bytes)
        .expect("every number is a multiple of one");
    format!("{}{unit}", bytes / unit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_a_time_are_a_budget() {
        for (text, bytes, per) in [
            ("50MB/month", 50_000_000, BudgetTime::Month),
            ("1GiB/week", 1 << 30, BudgetTime::Week),
            ("1.5 GB / day", 1_500_000_000, BudgetTime::Day),
            ("64KiB/hour", 65_536, BudgetTime::Hour),
            ("10kB/hour", 10_000, BudgetTime::Hour),
            ("10KB/hour", 10_000, BudgetTime::Hour),
            ("2MiB/day", 2 << 20, BudgetTime::Day),
            ("1B/day", 1, BudgetTime::Day),
        ] {
            assert_eq!(parse(text), Some(Budget { bytes, per }), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "50MB",
            "50/month",
            "MB/month",
            "50MB/year",
            "50 MB per month",
            "-5MB/month",
            "0MB/month",
            "0.0B/day",
            "1.2.3MB/day",
            "5.MB/day",
            "50mb/month",
            "50MB/month/day",
            "99999999999GB/month",
            "5０MB/month",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for bytes in [1, 999, 1000, 1024, 50_000_000, 50 << 20, 3 << 30, 123_457] {
            for (_, per) in TIMES {
                let budget = Budget { bytes, per };
                assert_eq!(parse(&budget.to_string()), Some(budget), "{budget}");
            }
        }
        assert_eq!(parse("50MB/month").unwrap().to_string(), "50MB/month");
    }
}
