//! When the daemon decided, by its own log.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::Moved;

const DAY_US: u64 = 86_400_000_000;

/// A decision and the change that it led to are never this far apart.
const APART_US_MAX: u64 = 1_000_000;

/// Microseconds since midnight, UTC, at which the log says that an uplink went down.
pub(super) fn falls(log: &str, uplink: &str) -> Vec<u64> {
    let name = format!("uplink=\"{uplink}\"");
    let is_fall = |line: &&str| {
        line.contains("uplink changed") && line.contains(&name) && line.contains("to=Down")
    };
    let decided = |line: &str| {
        let told = time_of(line)?;
        Some((told + DAY_US - ago_us(line)?) % DAY_US)
    };
    log.lines().filter(is_fall).filter_map(decided).collect()
}

/// How long before the line the decision was: the daemon changes routes before it writes.
fn ago_us(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(" us_ago=")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// For each move of the route the time since the decision before it.
pub(super) fn latencies_us(falls: &[u64], moves: &[Moved]) -> Vec<f64> {
    let of = |moved: &Moved| {
        let before = falls
            .iter()
            .map(|fall| (moved.of_day_us + DAY_US - fall) % DAY_US);
        before.min().filter(|latency| *latency < APART_US_MAX)
    };
    let latencies = moves.iter().filter_map(of);
    latencies.map(|latency| latency as f64).collect()
}

pub(super) fn since_midnight_us(time: SystemTime) -> Result<u64> {
    let since = time.duration_since(UNIX_EPOCH)?;
    Ok(since.as_micros() as u64 % DAY_US)
}

/// The time of day of a line that begins as `2026-11-21T13:54:40.123456Z`.
fn time_of(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once('T')?;
    let (clock, _) = rest.split_once('Z')?;
    let (seconds, fraction) = clock.split_once('.')?;
    let mut total = 0;
    for part in seconds.split(':') {
        total = total * 60 + part.parse::<u64>().ok()?;
    }
    let micros = format!("{fraction:0<6}");
    Some(total * 1_000_000 + micros.get(..6)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-21T23:59:59.999900Z  INFO pingu::daemon: uplink changed uplink=\"wan1\" \
                       from=Up to=Down reason=\"lost\" us_ago=30\n\
        2026-11-21T23:59:59.999950Z  INFO pingu::daemon: uplink changed uplink=\"wan2\" from=Up to=Down reason=\"lost\" us_ago=7\n\
        2026-11-21T00:00:00.5Z  INFO pingu::daemon: uplink changed uplink=\"wan1\" from=Down to=Up reason=\"\" us_ago=9\n";

    #[test]
    fn a_decision_is_the_last_fall_before_the_move_even_across_midnight() {
        let falls = falls(LOG, "wan1");
        assert_eq!(falls, [DAY_US - 130]);
        let moved = Moved {
            took_ms: 1.0,
            of_day_us: 50,
        };
        assert_eq!(latencies_us(&falls, &[moved]), [180.0]);
    }

    #[test]
    fn a_move_without_a_decision_has_no_latency() {
        let moved = Moved {
            took_ms: 1.0,
            of_day_us: 50,
        };
        assert!(latencies_us(&[5_000_000], &[moved]).is_empty());
    }
}
