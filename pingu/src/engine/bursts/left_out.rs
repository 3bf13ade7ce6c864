//! Bursts that are due and left out: for traffic that proves life, or for a budget.

use std::time::{Duration, Instant};

use crate::engine::{burst::Outcome, bursts::Bursts};

impl Bursts {
    /// When the last burst began, if a regular one is due that may be left out; the first, extra ones and those that somebody waits for
    /// may not.
    pub(crate) fn may_leave_out(&self, now: Instant) -> Option<Instant> {
        self.last_burst
            .filter(|_| now >= self.next_burst && self.extra_burst.is_none() && !self.awaited)
    }

    /// Leaves out what is due.
    pub(crate) fn leave_out(&mut self, period: Duration, now: Instant) {
        while self.next_burst <= now {
            self.next_burst += period;
        }
    }

    /// A probe of the bursts on their way was not answered.
    pub(crate) fn misses(&self) -> bool {
        let is_missing =
            |outcome: &Outcome| matches!(outcome, Outcome::Lost(..) | Outcome::NoNeighbour);
        self.bursts
            .iter()
            .any(|burst| burst.outcomes.iter().any(is_missing))
    }

    /// When the last burst began.
    pub(crate) fn last_began(&self) -> Option<Instant> {
        self.last_burst
    }
}
