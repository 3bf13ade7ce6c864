//! Hysteresis: bursts in a row turn a target up or down, and targets together turn an uplink.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::config::HealthConfig;

/// What is known of a target or an uplink. Unknown is never treated as up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Enough good bursts in a row.
    Up,
    /// Enough bad bursts in a row, or no way to send.
    Down,
    /// Not enough is known yet.
    Unknown,
}

/// What one whole burst says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least one reply, losses and mean RTT within their limits.
    Good,
    /// Anything else that was really tried.
    Bad,
    /// Nothing: the probes never left for reasons of this machine.
    Blind,
}

/// A target's state and the bursts in a row that lead to the next.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    state: State,
    good_in_a_row: u16,
    bad_in_a_row: u16,
    good_since: Option<Instant>,
}

impl Health {
    /// Nothing known.
    pub(crate) fn unknown() -> Self {
        Self {
            state: State::Unknown,
            good_in_a_row: 0,
            bad_in_a_row: 0,
            good_since: None,
        }
    }

    /// The state.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Since when every burst was good.
    pub(crate) fn good_since(&self) -> Option<Instant> {
        self.good_since
    }

    /// Takes a burst's verdict, reached at `now`.
    pub(crate) fn judge(&mut self, verdict: Verdict, limits: &HealthConfig, now: Instant) {
        match verdict {
            Verdict::Good => {
                self.bad_in_a_row = 0;
                self.good_in_a_row = self.good_in_a_row.saturating_add(1);
                self.good_since.get_or_insert(now);
                if self.good_in_a_row >= limits.rise {
                    self.state = State::Up;
                }
            }
            Verdict::Bad => {
                self.good_in_a_row = 0;
                self.good_since = None;
                self.bad_in_a_row = self.bad_in_a_row.saturating_add(1);
                if self.bad_in_a_row >= limits.fall {
                    self.state = State::Down;
                }
            }
            Verdict::Blind => {}
        }
    }
}

/// The state of several targets together: one that answers proves the way there, and a dead target is not a dead uplink.
pub(crate) fn any_up(states: impl Iterator<Item = State>) -> State {
    let mut all = State::Down;
    for state in states {
        match state {
            State::Up => return State::Up,
            State::Unknown => all = State::Unknown,
            State::Down => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: HealthConfig = HealthConfig {
        max_lost: 0,
        max_delay: Duration::from_millis(1),
        fall: 3,
        rise: 2,
        hold_down: Duration::ZERO,
    };

    fn after(verdicts: &[Verdict]) -> Health {
        let start = crate::engine::test_clock();
        let mut health = Health::unknown();
        for (n, &verdict) in verdicts.iter().enumerate() {
            health.judge(verdict, &LIMITS, start + Duration::from_secs(n as u64));
        }
        health
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
    fn one_answering_target_is_enough() {
        assert_eq!(any_up([State::Down, State::Up].into_iter()), State::Up);
        assert_eq!(
            any_up([State::Down, State::Unknown].into_iter()),
            State::Unknown
        );
        assert_eq!(any_up([State::Down, State::Down].into_iter()), State::Down);
    }
}
