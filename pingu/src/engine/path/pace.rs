//! Bursts that are due and left out: for traffic that proves life, or for a budget.

use std::time::{Duration, Instant};

use crate::engine::{health::State, path::Path};

impl Path {
    /// When the last burst began, if a regular one is due that may be left out; the first, extra ones and those that somebody waits for
    /// may not.
    pub(crate) fn may_leave_out(&self, now: Instant) -> Option<Instant> {
        let due = now >= self.next_burst && !self.is_blocked();
        self.last_burst
            .filter(|_| due && self.extra_burst.is_none() && !self.awaited)
    }

    /// Leaves out what is due.
    pub(crate) fn leave_out(&mut self, period: Duration, now: Instant) {
        while self.next_burst <= now {
            self.next_burst += period;
        }
        self.skipped += 1;
    }

    /// What the last burst said is not what it counts for yet: the next one may change its state.
    pub(crate) fn is_undecided(&self) -> bool {
        match self.health.state() {
            State::Up => self.evidence.is_bad(),
            State::Down => self.evidence.is_good(),
            State::Unknown => true,
        }
    }

    /// When the last burst began.
    pub(crate) fn last_burst(&self) -> Option<Instant> {
        self.last_burst
    }

    /// Probes that left, and replies to them.
    pub(crate) fn packets(&self) -> u64 {
        let tally = &self.tally;
        (tally.sent - tally.not_sent) + tally.answered + tally.late
    }
}
