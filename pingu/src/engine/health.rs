//! Hysteresis: verdicts in a row, or in a window, turn a path up or down.

use std::{collections::VecDeque, time::Instant};

use serde::{Deserialize, Serialize};

use crate::config::Rule;

/// What is known of a target or an uplink. Unknown is never treated as up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Enough good bursts.
    Up,
    /// Enough bad bursts, or no way to send.
    Down,
    /// Not enough is known yet.
    Unknown,
}

/// What one whole burst says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least one reply; losses, mean RTT and jitter within their limits.
    Good,
    /// Anything else that was really tried.
    Bad,
    /// Nothing: the probes never left for reasons of this machine.
    Blind,
}

/// A path's state and the verdicts that lead to the next.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    state: State,
    /// Since when; none while nothing is known.
    since: Option<Instant>,
    good_in_a_row: u16,
    bad_in_a_row: u16,
    good_since: Option<Instant>,
    /// Whether each of the last verdicts was bad, the oldest first; empty unless the rule has a window.
    failed: VecDeque<bool>,
}

impl Health {
    /// Nothing known.
    pub(crate) fn unknown() -> Self {
        Self {
            state: State::Unknown,
            since: None,
            good_in_a_row: 0,
            bad_in_a_row: 0,
            good_since: None,
            failed: VecDeque::new(),
        }
    }

    /// The state.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Since when it has been in it; none while nothing is known.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// How many more bad verdicts take it down, if it is up and the last one was bad.
    pub(crate) fn suspected(&self, rule: &Rule) -> Option<u16> {
        if self.state != State::Up || self.bad_in_a_row == 0 {
            return None;
        }
        Some(match *rule {
            Rule::InARow { fall, .. } => fall.saturating_sub(self.bad_in_a_row),
            Rule::Window { max_failed, .. } => {
                let failed = self.failed.iter().filter(|failed| **failed).count() as u16;
                (max_failed + 1).saturating_sub(failed)
            }
        })
    }

    /// Whether one more bad verdict may take it down.
    pub(crate) fn may_fall(&self, rule: &Rule) -> bool {
        let failed = || self.failed.iter().filter(|failed| **failed).count();
        self.state == State::Up
            && match *rule {
                Rule::InARow { fall, .. } => self.bad_in_a_row + 1 >= fall,
                Rule::Window { max_failed, .. } => failed() >= usize::from(max_failed),
            }
    }

    /// Since when every burst was good.
    pub(crate) fn good_since(&self) -> Option<Instant> {
        self.good_since
    }

    /// Nothing is known any more, and only fresh bursts tell. A window keeps its failures: they are still among the last verdicts.
    pub(crate) fn start_over(&mut self) {
        let failed = std::mem::take(&mut self.failed);
        *self = Self {
            failed,
            ..Self::unknown()
        };
    }

    /// Takes a burst's verdict, reached at `now`.
    pub(crate) fn judge(&mut self, verdict: Verdict, rule: &Rule, now: Instant) {
        match verdict {
            Verdict::Good => {
                self.bad_in_a_row = 0;
                self.good_in_a_row = self.good_in_a_row.saturating_add(1);
                self.good_since.get_or_insert(now);
            }
            Verdict::Bad => {
                self.good_in_a_row = 0;
                self.good_since = None;
                self.bad_in_a_row = self.bad_in_a_row.saturating_add(1);
            }
            Verdict::Blind => return,
        }
        let before = self.state;
        match *rule {
            Rule::InARow { fall, rise } => {
                if self.good_in_a_row >= rise {
                    self.state = State::Up;
                } else if self.bad_in_a_row >= fall {
                    self.state = State::Down;
                }
            }
            Rule::Window {
                window,
                max_failed,
                min_consecutive,
            } => {
                if self.failed.len() == usize::from(window) {
                    self.failed.pop_front();
                }
                self.failed.push_back(verdict == Verdict::Bad);
                self.state = self.in_window(max_failed, min_consecutive);
            }
        }
        if self.state != before {
            self.since = Some(now);
        }
    }

    /// A window that is not full yet is judged as it is. Without any failure, too few verdicts are not down but unknown: after a
    /// restart that takes nothing from an uplink that works.
    fn in_window(&self, max_failed: u16, min_consecutive: u16) -> State {
        let failed = self.failed.iter().filter(|failed| **failed).count();
        if failed <= usize::from(max_failed) && self.good_in_a_row > min_consecutive {
            State::Up
        } else if failed == 0 {
            State::Unknown
        } else {
            State::Down
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RULE: Rule = Rule::InARow { fall: 3, rise: 2 };

    fn after_by(rule: Rule, verdicts: &[Verdict]) -> Health {
        let start = crate::engine::test_clock();
        let mut health = Health::unknown();
        for (n, &verdict) in verdicts.iter().enumerate() {
            health.judge(verdict, &rule, start + Duration::from_secs(n as u64));
        }
        health
    }

    fn after(verdicts: &[Verdict]) -> Health {
        after_by(RULE, verdicts)
    }

    #[test]
    fn it_takes_rise_good_bursts_in_a_row_to_come_up() {
        use Verdict::{Bad, Good};
        assert_eq!(after(&[Good]).state(), State::Unknown);
        assert_eq!(after(&[Good, Bad, Good]).state(), State::Unknown);
        assert_eq!(after(&[Good, Good]).state(), State::Up);
    }

    #[test]
    fn it_takes_fall_bad_bursts_in_a_row_to_go_down() {
        use Verdict::{Bad, Good};
        assert_eq!(
            after(&[Good, Good, Bad, Bad, Good, Bad, Bad]).state(),
            State::Up
        );
        assert_eq!(after(&[Good, Good, Bad, Bad, Bad]).state(), State::Down);
        assert_eq!(after(&[Bad, Bad, Bad]).state(), State::Down);
    }

    #[test]
    fn a_blind_burst_changes_nothing() {
        use Verdict::{Bad, Blind, Good};
        assert_eq!(after(&[Good, Blind, Good]).state(), State::Up);
        assert_eq!(after(&[Bad, Bad, Blind, Blind]).state(), State::Unknown);
    }

    #[test]
    fn one_bad_burst_ends_the_good_time_even_before_the_fall() {
        use Verdict::{Bad, Good};
        assert!(after(&[Good, Good, Bad]).good_since().is_none());
        assert!(after(&[Good, Good]).good_since().is_some());
    }

    #[test]
    fn a_window_that_is_not_full_is_judged_as_it_is() {
        use State::{Down, Unknown, Up};
        use Verdict::{Bad, Blind, Good};
        let rule = Rule::Window {
            window: 5,
            max_failed: 1,
            min_consecutive: 1,
        };
        for (verdicts, state) in [
            (&[][..], Unknown),
            (&[Blind], Unknown),
            (&[Good], Unknown),
            (&[Good, Good], Up),
            (&[Good, Blind, Good], Up),
            (&[Bad], Down),
            (&[Good, Good, Bad], Down),
            (&[Bad, Good], Down),
            (&[Bad, Good, Good], Up),
            (&[Bad, Bad, Good, Good, Good], Down),
            (&[Bad, Bad, Good, Good, Good, Good], Up),
        ] {
            assert_eq!(after_by(rule, verdicts).state(), state, "{verdicts:?}");
        }
    }

    #[test]
    fn a_window_forgets_no_failure_when_its_path_was_blocked_but_needs_fresh_successes() {
        use Verdict::{Bad, Good};
        let rule = Rule::Window {
            window: 4,
            max_failed: 0,
            min_consecutive: 0,
        };
        let mut health = after_by(rule, &[Good, Bad, Good, Good]);
        health.start_over();
        assert_eq!(health.state(), State::Unknown);
        let now = crate::engine::test_clock();
        for state in [State::Down, State::Up] {
            health.judge(Good, &rule, now);
            assert_eq!(health.state(), state);
        }
    }

    /// The formula written down a second time, over all verdicts so far.
    fn reliable(verdicts: &[Verdict], window: u16, max_failed: u16, min_consecutive: u16) -> bool {
        let told: Vec<bool> = verdicts
            .iter()
            .filter(|verdict| **verdict != Verdict::Blind)
            .map(|verdict| *verdict == Verdict::Good)
            .collect();
        let last = &told[told.len().saturating_sub(usize::from(window))..];
        let failed = last.iter().filter(|good| !**good).count();
        let consecutive = last.iter().rev().take_while(|good| **good).count();
        failed <= usize::from(max_failed) && consecutive > usize::from(min_consecutive)
    }

    #[test]
    fn over_random_verdicts_a_window_is_the_formula() {
        let mut random = crate::engine::Random(1);
        for _ in 0..300 {
            let window = 1 + random.below(12) as u16;
            let max_failed = random.below(u64::from(window) + 1) as u16;
            let min_consecutive = random.below(u64::from(window)) as u16;
            let rule = Rule::Window {
                window,
                max_failed,
                min_consecutive,
            };
            let bad_percent = random.below(60);
            let mut health = Health::unknown();
            let mut verdicts = Vec::new();
            for _ in 0..100 {
                let verdict = match random.below(100) {
                    chance if chance < bad_percent => Verdict::Bad,
                    chance if chance < 95 => Verdict::Good,
                    _ => Verdict::Blind,
                };
                verdicts.push(verdict);
                health.judge(verdict, &rule, crate::engine::test_clock());
                assert_eq!(
                    health.state() == State::Up,
                    reliable(&verdicts, window, max_failed, min_consecutive),
                    "{rule:?} {verdicts:?}"
                );
            }
        }
    }

    #[test]
    fn over_random_verdicts_nothing_falls_or_rises_before_its_fresh_verdicts() {
        let mut random = crate::engine::Random(2);
        for _ in 0..300 {
            let (fall, rise) = (1 + random.below(6) as u16, 1 + random.below(6) as u16);
            let rule = Rule::InARow { fall, rise };
            let mut health = Health::unknown();
            let (mut good, mut bad) = (0, 0);
            for _ in 0..200 {
                let before = health.state();
                let verdict = [Verdict::Good, Verdict::Bad][random.below(2) as usize];
                health.judge(verdict, &rule, crate::engine::test_clock());
                (good, bad) = match verdict {
                    Verdict::Good => (good + 1, 0),
                    Verdict::Bad | Verdict::Blind => (0, bad + 1),
                };
                if health.state() != before {
                    assert!(health.state() != State::Down || bad >= fall);
                    assert!(health.state() != State::Up || good >= rise);
                }
            }
        }
    }
}
