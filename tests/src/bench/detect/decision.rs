//! When the daemon decided, by its own log.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::Moved;

const DAY_US: u64 = 86_400_000_000;

/// A decision and the change that it led to are never this far apart.
const APART_US_MAX: u64 = 1_000_000;

/// A decision, in microseconds since midnight, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fall {
    /// When an uplink was found to be down.
    pub(super) decided_us: u64,
    /// When the log says that a change of a route was acknowledged after it: the kernel had made it by then.
    pub(super) made_us: Option<u64>,
}

/// What the log says of an uplink that went down.
pub(super) fn falls(log: &str, uplink: &str) -> Vec<Fall> {
    let name = format!("uplink=\"{uplink}\"");
    let mut falls: Vec<Fall> = Vec::new();
    let mut is_open = false;
    for line in log.lines() {
        if line.contains("uplink changed") {
            is_open = line.contains(&name) && line.contains("to=Down");
            let decided =
                time_of(line).and_then(|told| Some((told + DAY_US - ago_us(line)?) % DAY_US));
            if let Some(decided_us) = decided.filter(|_| is_open) {
                falls.push(Fall {
                    decided_us,
                    made_us: None,
                });
            }
        } else if is_open
            && line.contains("daemon::routing: route ")
            && let Some(fall) = falls.last_mut()
        {
            fall.made_us = time_of(line);
            is_open = false;
        }
    }
    falls
}

/// How long before the line the decision was: the daemon changes routes before it writes.
fn ago_us(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(" us_ago=")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// For each move of the route the time since the decision before it. The kernel has moved it when the first of two has seen that: the
/// monitor, which has to be woken for it, or the daemon, which reads the kernel's acknowledgement.
pub(super) fn latencies_us(falls: &[Fall], moves: &[Moved]) -> Vec<f64> {
    let of = |moved: &Moved| {
        let since = |fall: &Fall, us: u64| (us + DAY_US - fall.decided_us) % DAY_US;
        let before = falls
            .iter()
            .map(|fall| (since(fall, moved.of_day_us), fall));
        let (latency, fall) = before.min_by_key(|(latency, _)| *latency)?;
        let told = fall.made_us.map(|made_us| since(fall, made_us));
        (latency < APART_US_MAX).then(|| told.map_or(latency, |told| told.min(latency)))
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
        2026-11-21T23:59:59.999970Z  INFO pingu::daemon::routing: route deleted: default via 10.0.2.1 dev wan2\n\
        2026-11-22T00:00:00.5Z  INFO pingu::daemon: uplink changed uplink=\"wan1\" from=Down to=Up reason=\"\" us_ago=9\n\
        2026-11-22T00:00:00.500020Z  INFO pingu::daemon::routing: route added: default via 10.0.1.1 dev wan1\n";

    fn moved(of_day_us: u64) -> Moved {
        Moved {
            took_ms: 1.0,
            of_day_us,
        }
    }

    #[test]
    fn a_decision_is_the_last_fall_before_the_move_even_across_midnight() {
        let falls = falls(LOG, "wan1");
        let expected = Fall {
            decided_us: DAY_US - 130,
            made_us: None,
        };
        assert_eq!(falls, [expected]);
        assert_eq!(latencies_us(&falls, &[moved(50)]), [180.0]);
    }

    #[test]
    fn whoever_sees_the_change_first_tells_when_it_was_made() {
        let falls = falls(LOG, "wan2");
        let expected = Fall {
            decided_us: DAY_US - 57,
            made_us: Some(DAY_US - 30),
        };
        assert_eq!(falls, [expected]);
        assert_eq!(latencies_us(&falls, &[moved(50)]), [27.0]);
        assert_eq!(latencies_us(&falls, &[moved(DAY_US - 37)]), [20.0]);
    }

    #[test]
    fn a_move_without_a_decision_has_no_latency() {
        let fall = Fall {
            decided_us: 5_000_000,
            made_us: Some(5_000_090),
        };
        assert!(latencies_us(&[fall], &[moved(50)]).is_empty());
    }
}
