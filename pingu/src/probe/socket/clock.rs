//! Sockets tell times of `CLOCK_REALTIME`, which people and programs set. Here they become times of `CLOCK_MONOTONIC`, and a time that
//! may be of before or after a step says nothing.
//!
//! Both clocks are slewed alike, so their difference only changes when the one is set (or while the machine sleeps).

use std::{collections::VecDeque, io, mem};

/// Differences that are this near to each other are the same one, read twice.
const STEP_NS_MIN: i64 = 20_000;

/// A look at both clocks that took longer was interrupted, and is taken again.
const LOOK_NS_MAX: u64 = 1_000;

/// Most looks in a row: on a machine that is so busy the shortest one of these must do.
const LOOKS_MAX: usize = 8;

/// Steps that are remembered while packets of before them may be waiting.
const STEPS_MAX: usize = 4;

/// How far outside its window a time may lie: the clocks' difference is known to less than a microsecond.
const SLACK_NS: u64 = 2_000;

/// Both clocks, read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// `CLOCK_MONOTONIC`.
    pub(crate) monotonic_ns: u64,
    /// `CLOCK_REALTIME` at the same instant.
    pub(crate) real_ns: u64,
    /// How long reading them took, which is how far apart they may be.
    pub(crate) took_ns: u64,
}

impl Look {
    /// Reads both clocks.
    pub(crate) fn take() -> Self {
        let mut best: Option<Self> = None;
        for _ in 0..LOOKS_MAX {
            let before = read(libc::CLOCK_MONOTONIC);
            let real_ns = read(libc::CLOCK_REALTIME);
            let after = read(libc::CLOCK_MONOTONIC);
            let look = Self {
                monotonic_ns: before + (after - before) / 2,
                real_ns,
                took_ns: after - before,
            };
            if best.is_none_or(|best| look.took_ns < best.took_ns) {
                best = Some(look);
            }
            if look.took_ns <= LOOK_NS_MAX {
                break;
            }
        }
        best.expect("there was at least one look")
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    // SAFETY: plain numbers, for which zero is a value.
    let mut time: libc::timespec = unsafe { mem::zeroed() };
    // SAFETY: the time outlives the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(
        result,
        0,
        "a clock that every kernel has: {}",
        io::Error::last_os_error()
    );
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What is known of the two clocks' difference.
#[derive(Debug)]
pub(crate) struct Clock {
    /// `CLOCK_REALTIME` less `CLOCK_MONOTONIC`.
    difference_ns: i64,
    took_ns: u64,
    /// What it was before the last steps, newest first, while there may be times of then.
    before: VecDeque<i64>,
}

impl Clock {
    pub(crate) fn new(look: Look) -> Self {
        Self {
            difference_ns: difference(look),
            took_ns: look.took_ns,
            before: VecDeque::new(),
        }
    }

    /// Takes a look into account. Must come before any time that was told after it.
    pub(crate) fn note(&mut self, look: Look) {
        let seen_ns = difference(look);
        let tolerance_ns = STEP_NS_MIN + (look.took_ns + self.took_ns) as i64;
        if (seen_ns - self.difference_ns).abs() > tolerance_ns {
            self.before.push_front(self.difference_ns);
            self.before.truncate(STEPS_MAX);
            self.difference_ns = seen_ns;
            self.took_ns = look.took_ns;
        } else if look.took_ns < self.took_ns {
            self.difference_ns = seen_ns;
            self.took_ns = look.took_ns;
        }
    }

    /// Nothing waits any more that has a time of before the last step.
    pub(crate) fn forget_steps(&mut self) {
        self.before.clear();
    }

    /// A told time as `CLOCK_MONOTONIC` had it; it is known to lie in the window. None if it could be of before or after a step, or
    /// of neither.
    pub(crate) fn monotonic(&self, real_ns: u64, from_ns: u64, to_ns: u64) -> Option<u64> {
        let window = from_ns.saturating_sub(SLACK_NS)..=to_ns.saturating_add(SLACK_NS);
        let mut found: Option<u64> = None;
        for difference_ns in std::iter::once(&self.difference_ns).chain(&self.before) {
            let Some(time_ns) = (real_ns as i64)
                .checked_sub(*difference_ns)
                .and_then(|time_ns| u64::try_from(time_ns).ok())
                .filter(|time_ns| window.contains(time_ns))
            else {
                continue;
            };
            match found {
                Some(other) if other.abs_diff(time_ns) > STEP_NS_MIN as u64 => return None,
                Some(_) => {}
                None => found = Some(time_ns),
            }
        }
        found.map(|time_ns| time_ns.clamp(from_ns, to_ns.max(from_ns)))
    }
}

fn difference(look: Look) -> i64 {
    look.real_ns as i64 - look.monotonic_ns as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const EPOCH: u64 = 1_700_000_000_000_000_000;

    fn look(monotonic_ns: u64, real_ns: u64) -> Look {
        Look {
            monotonic_ns,
            real_ns,
            took_ns: 60,
        }
    }

    #[test]
    fn without_a_step_a_time_is_what_the_other_clock_had() {
        let mut clock = Clock::new(look(0, EPOCH));
        clock.note(look(900 * MS, EPOCH + 900 * MS + 300));
        assert_eq!(
            clock.monotonic(EPOCH + 7 * MS, 5 * MS, 900 * MS),
            Some(7 * MS)
        );
    }

    #[test]
    fn a_time_beyond_its_window_says_nothing() {
        let clock = Clock::new(look(0, EPOCH));
        assert_eq!(clock.monotonic(EPOCH + 4 * MS, 5 * MS, 900 * MS), None);
        assert_eq!(clock.monotonic(EPOCH + 901 * MS, 5 * MS, 900 * MS), None);
        assert_eq!(
            clock.monotonic(5, 5 * MS, 900 * MS),
            None,
            "before the machine started"
        );
        let nearly = EPOCH + 5 * MS - 500;
        assert_eq!(
            clock.monotonic(nearly, 5 * MS, 900 * MS),
            Some(5 * MS),
            "no negative RTT"
        );
    }

    #[test]
    fn after_a_step_beyond_the_window_times_of_both_sides_are_told_apart() {
        for step in [
            3_600_000 * MS as i64,
            -3_600_000 * (MS as i64),
            10 * 365 * 86_400_000 * MS as i64,
        ] {
            let stepped = |ns: u64| (ns as i64 + step) as u64;
            let mut clock = Clock::new(look(0, EPOCH));
            clock.note(look(200 * MS, stepped(EPOCH + 200 * MS)));
            let window = (100 * MS, 200 * MS);
            let before = EPOCH + 120 * MS;
            assert_eq!(clock.monotonic(before, window.0, window.1), Some(120 * MS));
            let after = stepped(EPOCH + 160 * MS);
            assert_eq!(clock.monotonic(after, window.0, window.1), Some(160 * MS));
        }
    }

    #[test]
    fn a_step_smaller_than_the_window_leaves_times_in_doubt_until_it_is_forgotten() {
        let mut clock = Clock::new(look(0, EPOCH));
        clock.note(look(200 * MS, EPOCH + 201 * MS));
        let real_ns = EPOCH + 150 * MS;
        assert_eq!(clock.monotonic(real_ns, 100 * MS, 200 * MS), None);
        let at_the_edge = EPOCH + 200 * MS + MS / 2;
        assert_eq!(
            clock.monotonic(at_the_edge, 100 * MS, 200 * MS),
            Some(199 * MS + MS / 2),
            "by the difference of before it would lie in the future"
        );
        clock.forget_steps();
        assert_eq!(clock.monotonic(real_ns, 100 * MS, 200 * MS), Some(149 * MS));
    }

    #[test]
    fn the_machines_own_clocks_agree_with_themselves() {
        let mut clock = Clock::new(Look::take());
        let first = Look::take();
        clock.note(first);
        let time_ns = clock.monotonic(first.real_ns, first.monotonic_ns, first.monotonic_ns);
        assert_eq!(time_ns, Some(first.monotonic_ns));
    }
}
