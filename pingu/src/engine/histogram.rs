//! All round-trip times of one path since the start, in buckets whose width grows with what they hold: an HDR histogram's layout
//! (<https://hdrhistogram.github.io/HdrHistogram/>), of which only buckets that were ever hit take memory.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets in each power of two. A bucket is at most 1/32 as wide as the smallest value in it: whoever takes its upper bound for a
/// value says at most 3.2 % too much.
const PER_OCTAVE: u64 = 1 << PER_OCTAVE_BITS;

const PER_OCTAVE_BITS: u32 = 5;

/// A bucket's number stands above its count: eight bytes a bucket. 2^48 counts last for 89,000 years at 100 a second.
const COUNT_BITS: u32 = 48;

/// How many round-trip times fell into each bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// Number and count of each bucket that was ever hit, by number. Bounded by the number of buckets below the longest timeout,
    /// about a thousand; a path in use has some twenty.
    buckets: Vec<u64>,
    sum_ns: u64,
}

/// The round-trip times of a path since the daemon started. Buckets that were never hit are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RttHistogram {
    /// The sum of all of them in microseconds.
    pub sum_us: f64,
    /// Of each bucket its upper bound in microseconds, exclusive, and how many fell into it, in ascending order. A bucket's width is
    /// at most 1/32 of the smallest value in it.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Counts a round-trip time.
    pub(crate) fn push(&mut self, rtt: Duration) {
        let rtt_ns = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns = self.sum_ns.saturating_add(rtt_ns);
        let number = number(rtt_ns);
        match self
            .buckets
            .binary_search_by_key(&number, |bucket| bucket >> COUNT_BITS)
        {
            Ok(place) => self.buckets[place] += 1,
            Err(place) => {
                // Doubling would waste half: new buckets are rare.
                if self.buckets.len() == self.buckets.capacity() {
                    self.buckets.reserve_exact(GROWTH);
                }
                self.buckets.insert(place, number << COUNT_BITS | 1);
            }
        }
    }

    /// What is published.
    pub(crate) fn published(&self) -> RttHistogram {
        let bucket = |bucket: &u64| {
            let upper_us = upper_ns(bucket >> COUNT_BITS) as f64 / 1000.0;
            (upper_us, bucket & ((1 << COUNT_BITS) - 1))
        };
        RttHistogram {
            sum_us: self.sum_ns as f64 / 1000.0,
            buckets: self.buckets.iter().map(bucket).collect(),
        }
    }
}

/// So many buckets are made room for at a time.
const GROWTH: usize = 8;

/// The bucket of a value: below [`PER_OCTAVE`] each has its own; above, the leading bits count.
fn number(ns: u64) -> u64 {
    if ns < PER_OCTAVE {
        return ns;
    }
    let shift = ns.ilog2() - PER_OCTAVE_BITS;
    u64::from(shift) * PER_OCTAVE + (ns >> shift)
}

/// The first value behind a bucket.
fn upper_ns(number: u64) -> u64 {
    if number < 2 * PER_OCTAVE {
        return number + 1;
    }
    let shift = number / PER_OCTAVE - 1;
    let lower = PER_OCTAVE + number % PER_OCTAVE;
    (lower + 1).checked_shl(shift as u32).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_below_its_buckets_upper_bound_by_a_32nd_at_most() {
        let mut random = crate::engine::Random(3);
        let around = (0..40).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        let any = (0..100_000).map(|_| random.next() >> (24 + random.below(40)));
        let values: Vec<u64> = around.chain(any).collect();
        for ns in values {
            let upper = upper_ns(number(ns));
            assert!(ns < upper, "{ns} {upper}");
            assert!((upper - 1 - ns) * PER_OCTAVE <= ns, "{ns} {upper}");
            assert_eq!(number(upper), number(ns) + 1, "{ns}: no gap, no overlap");
        }
    }

    #[test]
    fn all_are_counted_in_ascending_buckets() {
        let mut histogram = Histogram::default();
        for us in [200, 10, 10, 70_000, 200, 10] {
            histogram.push(Duration::from_micros(us));
        }
        let published = histogram.published();
        assert_eq!(published.sum_us, 70_430.0);
        let counts: Vec<u64> = published.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [3, 2, 1]);
        assert!(published.buckets.is_sorted_by(|(a, _), (b, _)| a < b));
        let uppers: Vec<f64> = published.buckets.iter().map(|(upper, _)| *upper).collect();
        for (upper, us) in uppers.into_iter().zip([10.0, 200.0, 70_000.0]) {
            assert!(upper > us && upper < us * 1.032, "{upper} {us}");
        }
    }

    #[test]
    fn twenty_buckets_take_two_hundred_bytes() {
        let mut histogram = Histogram::default();
        for round in 0..1000 {
            histogram.push(Duration::from_micros(100 + 10 * (round % 10)));
            histogram.push(Duration::from_micros(1000 + 100 * (round % 10)));
        }
        assert_eq!(histogram.buckets.len(), 20);
        assert!(histogram.buckets.capacity() * 8 + size_of::<Histogram>() <= 24 * 8 + 32);
    }
}
