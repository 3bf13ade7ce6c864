//! What the results of one check come to.

use std::time::{Duration, Instant};

use crate::{
    config::CheckConfig,
    engine::{
        State,
        check::{Cause, CheckOutcome},
    },
};

/// A check's state, the results that lead to the next, and the last one.
#[derive(Clone, Debug)]
pub(crate) struct Verdicts {
    state: State,
    since: Instant,
    good_in_a_row: u16,
    bad_in_a_row: u16,
    good_since: Option<Instant>,
    /// It is down, and has failed often enough since that was last in doubt.
    is_confirmed: bool,
    last: Option<(CheckOutcome, Duration)>,
}

impl Verdicts {
    pub(crate) fn unknown(now: Instant) -> Self {
        Self {
            state: State::Unknown,
            since: now,
            good_in_a_row: 0,
            bad_in_a_row: 0,
            good_since: None,
            is_confirmed: false,
            last: None,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// It is down beyond doubt.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    /// Failures so far say nothing: it takes as many new ones as to fall.
    pub(crate) fn doubt(&mut self) {
        self.bad_in_a_row = 0;
        self.is_confirmed = false;
    }

    /// It failed, and falls if it does once more.
    pub(crate) fn is_about_to_fall(&self, config: &CheckConfig) -> bool {
        self.bad_in_a_row > 0 && self.bad_in_a_row + 1 >= config.fall
    }

    /// Since when every run was good.
    pub(crate) fn good_since(&self) -> Option<Instant> {
        self.good_since
    }

    /// What the last run came to, and how long it took.
    pub(crate) fn last(&self) -> Option<&(CheckOutcome, Duration)> {
        self.last.as_ref()
    }

    /// What the last run came to, for people.
    pub(crate) fn text(&self) -> String {
        match &self.last {
            Some((Ok(text), _)) => text.clone(),
            Some((Err(failure), _)) => failure.text.clone(),
            None => "not run yet".to_owned(),
        }
    }

    /// The way is another: what was good says nothing, and what was down has to prove itself.
    pub(crate) fn start_over(&mut self, now: Instant) {
        self.good_in_a_row = 0;
        self.bad_in_a_row = 0;
        self.good_since = None;
        if self.state == State::Up {
            self.set(State::Unknown, now);
        }
    }

    /// Takes the result of a run. False: it is not known yet whether the check is up, so it should be run again soon.
    pub(crate) fn judge(
        &mut self,
        outcome: CheckOutcome,
        took: Duration,
        config: &CheckConfig,
        now: Instant,
    ) -> bool {
        let cause = outcome.as_ref().err().map(|failure| failure.cause);
        self.last = Some((outcome, took));
        match cause {
            None => {
                self.bad_in_a_row = 0;
                self.good_in_a_row = self.good_in_a_row.saturating_add(1);
                self.good_since.get_or_insert(now);
                if self.good_in_a_row >= config.rise {
                    self.is_confirmed = false;
                    self.set(State::Up, now);
                }
            }
            // It says nothing of the uplink.
            Some(Cause::Local) => return true,
            Some(cause) => {
                self.good_in_a_row = 0;
                self.good_since = None;
                self.bad_in_a_row = self.bad_in_a_row.saturating_add(1);
                // A portal does not go away by itself, and nothing good is known of this way.
                let is_plain = self.state == State::Unknown && cause == Cause::Portal;
                if is_plain || self.bad_in_a_row >= config.fall {
                    self.is_confirmed = true;
                    self.set(State::Down, now);
                }
            }
        }
        self.state != State::Unknown
    }

    fn set(&mut self, state: State, now: Instant) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }
}
