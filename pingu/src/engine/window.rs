//! The recent round-trip times of one path, and what they amount to.

use std::time::Duration;

/// How many round-trip times are kept: more than [`RECENT_MAX`], of which a 99th percentile is the second longest.
const SAMPLES_MAX: usize = 128;

/// Round-trip times are kept in this many nanoseconds: finer than any stamp, and 429 seconds fit into 32 bits.
const SAMPLE_NS: u64 = 100;

/// A sliding window over the last [`SAMPLES_MAX`] round-trip times, and the running jitter. It grows as answers come: 512 bytes at most.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// A ring once it is full.
    samples: Vec<u32>,
    /// The next place to be written in a full ring: the oldest.
    next: u8,
    previous_ns: u64,
    jitter_ns: f64,
}

/// What became of the last [`RECENT_MAX`] judged probes of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recent {
    /// A bit for each, the newest lowest: 1 for one that was not answered in time.
    missing: u128,
    count: u32,
}

/// So many probes make a loss that one can read in percent.
const RECENT_MAX: u32 = 100;

impl Recent {
    /// Adds so many probes of one outcome.
    pub(crate) fn push(&mut self, probes: u32, is_missing: bool) {
        for _ in 0..probes.min(RECENT_MAX) {
            self.missing = (self.missing << 1 | u128::from(is_missing)) & ((1 << RECENT_MAX) - 1);
        }
        self.count = (self.count.saturating_add(probes)).min(RECENT_MAX);
    }

    /// The share of them that was missing, in percent; none before the first.
    pub(crate) fn loss_percent(&self) -> Option<f64> {
        let missing = f64::from(self.missing.count_ones());
        (self.count > 0).then(|| 100.0 * missing / f64::from(self.count))
    }
}

/// Round-trip times in microseconds over the recent answered probes.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RttSummary {
    /// The shortest.
    pub min: f64,
    /// The median (nearest rank).
    pub p50: f64,
    /// The 90th percentile (nearest rank).
    #[serde(default)]
    pub p90: f64,
    /// The 99th percentile (nearest rank).
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// Interarrival jitter as RFC 3550 section 6.4.1 smooths it, from each reply to the one that came next; also from those before the
    /// window.
    pub jitter: f64,
}

impl Window {
    /// Adds the round-trip time of an answered probe, as its reply came.
    pub(crate) fn push(&mut self, rtt: Duration) {
        let rtt_ns = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
        if !self.samples.is_empty() {
            self.jitter_ns += (rtt_ns.abs_diff(self.previous_ns) as f64 - self.jitter_ns) / 16.0;
        }
        self.previous_ns = rtt_ns;
        let sample = u32::try_from((rtt_ns + SAMPLE_NS / 2) / SAMPLE_NS).unwrap_or(u32::MAX);
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(sample);
        } else {
            self.samples[usize::from(self.next)] = sample;
            self.next = (self.next + 1) % SAMPLES_MAX as u8;
        }
    }

    /// The mean of the last [`RECENT_MAX`], or none before the first.
    pub(crate) fn recent_mean(&self) -> Option<Duration> {
        let (newer, older) = self.samples.split_at(usize::from(self.next));
        let from_new = newer.iter().rev().chain(older.iter().rev());
        let recent = || from_new.clone().take(RECENT_MAX as usize);
        let count = recent().count() as u64;
        let sum: u64 = recent().map(|&sample| u64::from(sample)).sum();
        (count > 0).then(|| Duration::from_nanos(sum * SAMPLE_NS / count))
    }

    /// The figures, or none before the first answer.
    pub(crate) fn summary(&self) -> Option<RttSummary> {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let us = |sample: u32| f64::from(sample) * SAMPLE_NS as f64 / 1000.0;
        let rank = |percent: usize| us(sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]);
        let sum: f64 = sorted.iter().map(|&sample| f64::from(sample)).sum();
        Some(RttSummary {
            min: us(*sorted.first()?),
            p50: rank(50),
            p90: rank(90),
            p99: rank(99),
            max: us(*sorted.last()?),
            mean: sum / sorted.len() as f64 * SAMPLE_NS as f64 / 1000.0,
            jitter: self.jitter_ns / 1000.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rtts_us: impl IntoIterator<Item = u64>) -> Window {
        let mut window = Window::default();
        rtts_us
            .into_iter()
            .for_each(|us| window.push(Duration::from_micros(us)));
        window
    }

    #[test]
    fn an_empty_window_has_no_figures() {
        assert_eq!(Window::default().summary(), None);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let summary = filled(1..=100).summary().expect("filled");
        assert_eq!(
            [
                summary.min,
                summary.p50,
                summary.p90,
                summary.p99,
                summary.max
            ],
            [1.0, 50.0, 90.0, 99.0, 100.0]
        );
        assert_eq!(summary.mean, 50.5);
    }

    #[test]
    fn only_the_recent_samples_count() {
        let summary = filled((0..600).map(|n| if n < 600 - 128 { 9_000 } else { 10 }))
            .summary()
            .expect("filled");
        assert_eq!((summary.min, summary.max), (10.0, 10.0));
    }

    #[test]
    fn a_recent_mean_is_that_of_the_last_hundred_however_often_the_ring_went_round() {
        for end in [90, 100, 128, 129, 200, 255, 256, 300, 1000_u64] {
            let first = end.saturating_sub(100);
            let mean_us = (first + end - 1) as f64 / 2.0;
            let mean = filled(0..end).recent_mean().expect("filled");
            assert!(
                (mean.as_secs_f64() * 1e6 - mean_us).abs() < 0.2,
                "{end}: {mean:?}"
            );
        }
    }

    #[test]
    fn jitter_smooths_as_rfc_3550() {
        let summary = filled([100, 116, 116]).summary().expect("filled");
        assert_eq!(summary.jitter, 1.0 - 1.0 / 16.0);
    }

    #[test]
    fn loss_is_that_of_the_last_hundred_probes() {
        let mut recent = Recent::default();
        assert_eq!(recent.loss_percent(), None);
        recent.push(30, false);
        recent.push(10, true);
        assert_eq!(recent.loss_percent(), Some(25.0));
        recent.push(1000, true);
        assert_eq!(recent.loss_percent(), Some(100.0));
        recent.push(99, false);
        assert_eq!(recent.loss_percent(), Some(1.0));
    }
}
