//! What became of one path's probes over the last seconds. It has no clock.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::script::probe::{Loss, Outcome};

/// So many outcomes of a path are kept at most, whatever `num_seconds` says: 65,536 take 2 MB, and are more than an hour at 15 a second.
const OUTCOMES_MAX: usize = 65_536;

/// The outcomes of one path's probes within the window, in the order in which they became known.
#[derive(Debug, Default)]
pub(super) struct Results {
    outcomes: VecDeque<Known>,
    /// How many of them are losses.
    lost: usize,
    /// When the latest loss became known, and why it was.
    latest_loss: Option<(Instant, Loss)>,
    source: Option<IpAddr>,
}

#[derive(Debug)]
struct Known {
    at: Instant,
    rtt: Option<Duration>,
}

/// Round-trip times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RttSummary {
    pub(super) min: f64,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
    /// Smoothed as RFC 3550 section 6.4.1 does, over consecutive answers.
    pub(super) jitter: f64,
}

impl Results {
    /// Adds what became known at `now`.
    pub(super) fn push(&mut self, outcome: &Outcome, now: Instant, window: Duration) {
        let rtt = outcome.result.ok();
        self.outcomes.push_back(Known { at: now, rtt });
        self.source = outcome.source.or(self.source);
        if let Err(loss) = outcome.result {
            self.lost += 1;
            self.latest_loss = Some((now, loss));
        }
        if self.outcomes.len() > OUTCOMES_MAX {
            self.forget_oldest();
        }
        self.forget_old(now, window);
    }

    /// Forgets what is older than the window; the latest outcome stays, since a path that is probed rarely is not a good one because of
    /// that.
    pub(super) fn forget_old(&mut self, now: Instant, window: Duration) {
        let is_old = |known: &Known| now.saturating_duration_since(known.at) >= window;
        while self.outcomes.len() > 1 && self.outcomes.front().is_some_and(is_old) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.outcomes.pop_front() {
            self.lost -= usize::from(oldest.rtt.is_none());
        }
    }

    /// How many outcomes are in the window.
    pub(super) fn count(&self) -> usize {
        self.outcomes.len()
    }

    /// How many of them are losses.
    pub(super) fn lost(&self) -> usize {
        self.lost
    }

    /// The share of losses from 0 to 100; 0 before the first outcome.
    pub(super) fn loss_percent(&self) -> f64 {
        100.0 * self.lost as f64 / self.outcomes.len().max(1) as f64
    }

    /// Why the latest of the window's losses was one.
    pub(super) fn cause(&self) -> Option<Loss> {
        let oldest = self.outcomes.front()?.at;
        let (at, loss) = self.latest_loss?;
        (at >= oldest).then_some(loss)
    }

    /// The address that the latest probe left with of which that is known.
    pub(super) fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// The round-trip times in the window, in order.
    pub(super) fn rtts(&self) -> Vec<Duration> {
        self.outcomes.iter().filter_map(|known| known.rtt).collect()
    }
}

/// What round-trip times amount to; nothing without any.
pub(super) fn summary(rtts: &[Duration]) -> Option<RttSummary> {
    let ms = |rtt: &Duration| rtt.as_secs_f64() * 1000.0;
    let mut jitter = 0.0;
    for pair in rtts.windows(2) {
        jitter += ((ms(&pair[1]) - ms(&pair[0])).abs() - jitter) / 16.0;
    }
    let mut sorted = rtts.to_vec();
    sorted.sort_unstable();
    let rank = |percent: usize| ms(&sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]);
    Some(RttSummary {
        min: ms(sorted.first()?),
        mean: sorted.iter().map(ms).sum::<f64>() / sorted.len() as f64,
        p50: rank(50),
        p99: rank(99),
        max: ms(sorted.last()?),
        jitter,
    })
}
