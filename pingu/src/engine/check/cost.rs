//! What checks cost their uplinks, and how much further apart a budget has them run.

use std::time::{Duration, Instant};

use crate::{
    config::CheckKind,
    engine::{Engine, State, check::RunId},
    units::UplinkId,
};

/// What was sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// IP packets.
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
}

impl Engine {
    /// Takes what a run has cost, before what it came to.
    pub fn check_cost(&mut self, run: RunId, id: UplinkId, cost: Cost) {
        let spending = &mut self.uplinks[id.index()].spending;
        let bytes = spending.charge(cost);
        let Some(&index) = self.checks.running.get(&run) else {
            return;
        };
        let check = &mut self.checks.list[index];
        if !matches!(check.config.kind, CheckKind::Exec(_)) {
            check.cost_bytes = Some(bytes);
        }
        let checks = self.checks.of(id).iter();
        let per_second = checks.map(|check| {
            let bytes = check.cost_bytes.unwrap_or(0) as f64;
            bytes / check.config.every.as_secs_f64()
        });
        spending.check_bytes_per_s = per_second.sum();
    }

    /// How long after this run the next of its check begins, in the long run; none if nobody waits for it any more.
    pub(super) fn pause_of(&mut self, run: RunId, now: Instant) -> Option<Duration> {
        let check = &self.checks.list[*self.checks.running.get(&run)?];
        let every = check.config.every;
        // What may be about to fall is asked as often as it is to be, as probes are.
        let is_undecided = match check.verdicts.state() {
            State::Up => check.told.is_some_and(|told| !told.good),
            State::Down => check.told.is_some_and(|told| told.good),
            State::Unknown => true,
        };
        let id = check.uplink;
        let uplink = &mut self.uplinks[id.index()];
        if is_undecided || uplink.spending.budget().is_none() {
            return Some(every);
        }
        uplink.count_spending(&self.paths);
        let probe = &self.config.uplinks[id.index()].probe;
        let failing = uplink.state_noted != State::Up;
        let stretch = uplink.spending.stretch(probe, uplink.round, failing, now);
        Some(stretched(every, stretch, probe.passive.at_least))
    }
}

/// A period so many times as long, but no longer than `at_least` unless it is itself.
fn stretched(every: Duration, times: f64, at_least: Duration) -> Duration {
    let longest = every.max(at_least);
    // Compared as numbers: a duration takes no infinity.
    let wanted_s = every.as_secs_f64() * times.max(1.0);
    if wanted_s < longest.as_secs_f64() {
        Duration::from_secs_f64(wanted_s)
    } else {
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretched_period_is_within_its_limits() {
        let seconds = Duration::from_secs;
        let at_least = seconds(300);
        for (every, times, expected) in [
            (30, 0.0, 30),
            (30, 1.0, 30),
            (30, 2.0, 60),
            (30, 1e300, 300),
            (30, f64::INFINITY, 300),
            (3600, 5.0, 3600),
        ] {
            let found = stretched(seconds(every), times, at_least);
            assert_eq!(found, seconds(expected), "{every} {times}");
        }
    }
}
