//! Probes that are due and left out: for traffic that proves life, or for a budget.

use std::time::{Duration, Instant};

use super::{Rolling, sliding::Fate};
use crate::engine::health::State;

impl Rolling {
    /// When the last probe was sent, if a regular one is due that may be left out. Only where the last one said again what the state
    /// is: after a miss the next ones follow, in the window in which misses count together.
    pub(crate) fn may_leave_out(&self, state: State, now: Instant) -> Option<Instant> {
        // Where so much was left out that the window is empty, nothing has contradicted the state since.
        let said_again = match (state, self.probes.newest().map(|newest| newest.fate)) {
            (State::Up, Some(Fate::Received { is_late, .. })) => !is_late,
            (State::Down, Some(Fate::Lost(_) | Fate::NoNeighbour)) => true,
            (State::Up | State::Down, None) => true,
            (State::Up | State::Down | State::Unknown, _) => false,
        };
        let regular = now >= self.next_send && !self.extra && self.awaited.is_none();
        self.last_sent.filter(|_| regular && said_again)
    }

    /// Leaves out what is due.
    pub(crate) fn leave_out(&mut self, interval: Duration, now: Instant) {
        while self.next_send <= now {
            self.next_send += interval;
        }
    }

    /// When the last probe was sent.
    pub(crate) fn last_sent(&self) -> Option<Instant> {
        self.last_sent
    }

    /// The last probe was not answered.
    pub(crate) fn misses(&self) -> bool {
        let newest = self.probes.newest();
        newest.is_some_and(|newest| matches!(newest.fate, Fate::Lost(_) | Fate::NoNeighbour))
    }
}
