//! What came of one program's tests, and a second look at the few that failed.

use std::{
    mem,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    failures::{Failure, Failures},
    tally::Tally,
};
use crate::invocation::Invocation;

/// More failures than these are no accident of a busy machine.
const LOOKED_AT_AGAIN_MAX: usize = 3;

/// What came of the tests of one program.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) succeeded: bool,
    pub(super) tally: Tally,
    pub(super) elapsed: Duration,
    pub(super) failures: Vec<Failure>,
    /// Those that failed beside others and passed alone.
    pub(super) unsteady: Vec<Failure>,
}

impl Outcome {
    /// Runs a test program, and prints what it prints.
    pub(super) fn of(program: &Invocation) -> Result<Self> {
        let started = Instant::now();
        let (mut tally, mut failures) = (Tally::default(), Failures::default());
        let succeeded = program.run_seen(|line| {
            println!("{line}");
            tally.see(line);
            failures.see(line);
        })?;
        Ok(Self {
            succeeded,
            tally,
            elapsed: started.elapsed(),
            failures: failures.into_found(),
            unsteady: Vec::new(),
        })
    }

    /// Where few tests failed, each is run once more with nothing beside it. What only fails in company leans on the time that a
    /// machine gives it: it is told, with its reason, and does not fail the rest.
    pub(super) fn look_again(&mut self, mut alone: impl FnMut(&str) -> Result<Self>) -> Result<()> {
        let is_counted = self.tally.failed as usize == self.failures.len();
        if self.succeeded || !is_counted || self.failures.len() > LOOKED_AT_AGAIN_MAX {
            return Ok(());
        }
        for failure in mem::take(&mut self.failures) {
            let again = alone(&failure.name)?;
            self.elapsed += again.elapsed;
            if again.succeeded && again.tally.passed == 1 {
                self.tally.failed -= 1;
                self.tally.passed += 1;
                self.unsteady.push(failure);
            } else {
                self.failures.push(failure);
            }
        }
        self.succeeded = self.failures.is_empty() && !self.unsteady.is_empty();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(names: &[&str]) -> Outcome {
        let failure = |name: &&str| Failure {
            name: (*name).to_owned(),
            words: Vec::new(),
        };
        Outcome {
            tally: Tally {
                passed: 7,
                failed: u32::try_from(names.len()).unwrap(),
            },
            failures: names.iter().map(failure).collect(),
            ..Outcome::default()
        }
    }

    fn passed(count: u32) -> Outcome {
        Outcome {
            succeeded: true,
            tally: Tally {
                passed: count,
                failed: 0,
            },
            ..Outcome::default()
        }
    }

    #[test]
    fn what_passes_alone_is_told_and_fails_nothing() {
        let mut outcome = failed(&["a", "b"]);
        outcome.look_again(|_| Ok(passed(1))).unwrap();
        assert!(outcome.succeeded);
        assert_eq!(outcome.tally.to_string(), "9 passed, 0 failed");
        assert_eq!(outcome.unsteady, failed(&["a", "b"]).failures);
    }

    #[test]
    fn what_fails_alone_as_well_has_failed() {
        let mut outcome = failed(&["a", "b"]);
        let alone = |name: &str| {
            Ok(if name == "a" {
                passed(1)
            } else {
                failed(&["b"])
            })
        };
        outcome.look_again(alone).unwrap();
        assert!(!outcome.succeeded);
        assert_eq!(outcome.tally.to_string(), "8 passed, 1 failed");
        assert_eq!(outcome.failures, failed(&["b"]).failures);
    }

    #[test]
    fn a_name_that_no_test_has_is_no_success() {
        let mut outcome = failed(&["a"]);
        outcome.look_again(|_| Ok(passed(0))).unwrap();
        assert!(!outcome.succeeded);
    }

    #[test]
    fn nothing_is_run_again_for_many_failures_or_a_crash_or_none() {
        let mut crashed = failed(&["a"]);
        crashed.tally.failed = 0;
        for mut outcome in [
            failed(&["a", "b", "c", "d"]),
            crashed,
            passed(3),
            failed(&[]),
        ] {
            let before = outcome.succeeded;
            outcome
                .look_again(|name| panic!("{name} is run again"))
                .unwrap();
            assert_eq!(outcome.succeeded, before);
        }
    }
}
