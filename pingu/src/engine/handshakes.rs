//! What became of TCP handshakes over an uplink: whether they succeed where pings are lost, or fail where pings are answered.
//!
//! Only numbers are known, of SYNs that left and SYN-ACKs that came in: not whose they were, so that a host behind the uplink's own
//! gateway, or a box on the way that answers for others, looks like the Internet.

use std::time::{Duration, Instant};

use crate::{engine::passive::Sample, probe::Traffic};

/// A handshake may take so long before it counts as not answered; TCP repeats its SYN after this (RFC 6298).
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Handshakes that are longer ago tell nothing.
pub(crate) const EVIDENCE_TIME: Duration = Duration::from_secs(60);

/// Where handshakes keep an uplink up, those of this time must succeed as well.
pub(crate) const RECENT: Duration = Duration::from_secs(3);

/// Where pings fail to bring an uplink down only because traffic still comes in, handshakes get so long to tell.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// If handshakes were lost like pings, their success would be as unlikely as one in 150 (the logarithm of that).
const SURPRISE_MIN: f64 = 5.0;

/// So many of the last ones tell that it is over.
const RECENT_MIN: u64 = 3;

/// None of so many handshakes answered, over so long, is a portal: a client repeats its SYN five to seven times.
const PORTAL_BEGUN: u64 = 10;
const PORTAL_TIME: Duration = Duration::from_secs(10);

/// With so many, each to another address than the one before, one in twenty may be answered.
const PORTAL_BEGUN_MANY: u64 = 40;
const PORTAL_ANSWERED_ONE_IN: u64 = 20;

/// Without further handshakes a portal is believed in for so long; then the uplink gets another chance.
const PORTAL_REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// Handshakes in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) begun: u64,
    pub(crate) answered: u64,
    /// Those that were begun with another address than the one before.
    pub(crate) elsewhere: u64,
}

impl Count {
    pub(crate) fn between(first: &Sample, last: &Sample) -> Self {
        let passed = last.since(first).unwrap_or_default();
        Self {
            begun: passed.handshakes_begun,
            answered: passed.handshakes_answered,
            elsewhere: passed.handshakes_elsewhere,
        }
    }

    /// More answers came in than there were questions: these leave by another uplink, and nothing can be said.
    pub(crate) fn is_asymmetric(self) -> bool {
        self.answered > self.begun + self.begun / 4 + 3
    }
}

/// Pings that were lost, and those that were answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pings {
    pub(crate) lost: u64,
    pub(crate) answered: u64,
}

impl Pings {
    /// The share of all that is lost, as far as so few tell (Laplace's rule of succession).
    pub(crate) fn lost_share(self) -> f64 {
        (self.lost + 1) as f64 / (self.lost + self.answered + 2) as f64
    }
}

/// Whether handshakes succeed while this share of pings is lost: `whole` since the pings were lost, of which `due` have had time to be
/// answered, and those of the last seconds.
pub(crate) fn succeed(whole: Count, due: u64, recent: Count, lost_share: f64) -> bool {
    let answered = whole.answered.min(whole.begun);
    let surprise = answered as f64 * -(1.0 - lost_share).ln();
    let failed = due.saturating_sub(whole.answered);
    let ended = recent.begun >= RECENT_MIN && recent.answered * 2 < recent.begun;
    surprise >= SURPRISE_MIN
        && answered * 2 >= whole.begun
        && failed as f64 * 4.0 <= whole.begun as f64 * lost_share
        && !whole.is_asymmetric()
        && !ended
}

/// The handshakes that nobody answers.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    /// Since the last answer, or the beginning.
    begun: u64,
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Unanswered {
    /// Takes what passed since the last look.
    pub(crate) fn take(&mut self, passed: &Traffic, now: Instant) {
        if self
            .last
            .is_some_and(|last| now >= last + PORTAL_REMEMBERED)
        {
            *self = Self::default();
        }
        if passed.handshakes_answered > 0 {
            *self = Self::default();
        } else if passed.handshakes_begun > 0 {
            self.begun += passed.handshakes_begun;
            self.since.get_or_insert(now);
            self.last = Some(now);
        }
    }

    /// Since when handshakes have failed, if they look like those at a portal. `minute`: those of the last minute.
    pub(crate) fn failing_since(&self, minute: Count, now: Instant) -> Option<(Instant, u64)> {
        let since = self.since?;
        let long = now >= since + PORTAL_TIME;
        let rare = minute.answered.saturating_mul(PORTAL_ANSWERED_ONE_IN) < minute.elsewhere;
        let many = minute.elsewhere >= PORTAL_BEGUN_MANY && rare;
        if long && self.begun >= PORTAL_BEGUN {
            Some((since, self.begun))
        } else if many {
            Some((since, minute.begun))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
