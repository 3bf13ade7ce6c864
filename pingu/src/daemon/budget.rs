//! How fast routes may be written, whatever happens: a fight with another program must not become a storm.

use std::time::Instant;

/// Writes allowed at once, beyond what every uplink may need.
const BURST: f64 = 64.0;

/// Writes allowed at once for each object that there may be: an addition and a deletion, twice.
const BURST_PER_OBJECT: f64 = 4.0;

/// Writes allowed each second in the long run, whatever there is.
const PER_SECOND: f64 = 2.0;

/// Within this time all objects may be written once more in the long run.
const ALL_WITHIN_SECONDS: f64 = 30.0;

/// A token bucket.
#[derive(Debug)]
pub(super) struct WriteBudget {
    capacity: f64,
    per_second: f64,
    left: f64,
    refilled: Instant,
}

impl WriteBudget {
    /// `objects` is how many routes, rules and nexthop objects there may be.
    pub(super) fn new(objects: usize, now: Instant) -> Self {
        let capacity = BURST + BURST_PER_OBJECT * objects as f64;
        Self {
            capacity,
            per_second: PER_SECOND.max(objects as f64 / ALL_WITHIN_SECONDS),
            left: capacity,
            refilled: now,
        }
    }

    /// Gives one back: nothing was written.
    pub(super) fn refund(&mut self) {
        self.left += 1.0;
    }

    /// Takes one write, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.left = (self.left + passed * self.per_second).min(self.capacity);
        let taken = self.left >= 1.0;
        self.left -= if taken { 1.0 } else { 0.0 };
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_storm_is_cut_to_the_long_run_rate() {
        let start = crate::engine::test_clock();
        let mut budget = WriteBudget::new(2, start);
        assert_eq!((0..1000).filter(|_| budget.take(start)).count(), 72);
        let later = start + Duration::from_secs(3);
        assert_eq!((0..1000).filter(|_| budget.take(later)).count(), 6);
        budget.refund();
        assert_eq!((0..1000).filter(|_| budget.take(later)).count(), 1);
    }
}
