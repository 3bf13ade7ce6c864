//! How often a hook is run: at most once in its period for each uplink, and for each group's switch.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::units::{GroupId, UplinkId};

/// What something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Uplink(UplinkId),
    Group(GroupId),
}

/// When a hook was last run for each subject: no more than there are uplinks and groups.
#[derive(Debug)]
pub(super) struct Grace {
    at_most_every: Option<Duration>,
    last: BTreeMap<Subject, Instant>,
}

impl Grace {
    pub(super) fn new(at_most_every: Option<Duration>) -> Self {
        Self {
            at_most_every,
            last: BTreeMap::new(),
        }
    }

    /// There is a limit at all.
    pub(super) fn is_limited(&self) -> bool {
        self.at_most_every.is_some()
    }

    /// Whether it may be run again.
    pub(super) fn allows(&self, subject: Subject, now: Instant) -> bool {
        let (Some(every), Some(last)) = (self.at_most_every, self.last.get(&subject)) else {
            return true;
        };
        now.saturating_duration_since(*last) >= every
    }

    /// It is run.
    pub(super) fn note(&mut self, subject: Subject, now: Instant) {
        if self.at_most_every.is_some() {
            self.last.insert(subject, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::test_clock;

    const FIBRE: Subject = Subject::Uplink(UplinkId(0));
    const LTE: Subject = Subject::Uplink(UplinkId(1));

    /// When events at these milliseconds are run.
    fn run(every_ms: Option<u64>, events: &[(Subject, u64)]) -> Vec<u64> {
        let start = test_clock();
        let mut grace = Grace::new(every_ms.map(Duration::from_millis));
        let mut taken = Vec::new();
        for (subject, at_ms) in events {
            let now = start + Duration::from_millis(*at_ms);
            if grace.allows(*subject, now) {
                grace.note(*subject, now);
                taken.push(*at_ms);
            }
        }
        taken
    }

    #[test]
    fn the_first_is_run_at_once_and_what_still_is_bad_after_the_period_again() {
        let burst: Vec<(Subject, u64)> = (0..=25).map(|n| (FIBRE, n * 100)).collect();
        assert_eq!(run(Some(1000), &burst), [0, 1000, 2000]);
    }

    #[test]
    fn what_is_left_out_does_not_lengthen_the_period() {
        let events = [(FIBRE, 0), (FIBRE, 999), (FIBRE, 1000), (FIBRE, 1001)];
        assert_eq!(run(Some(1000), &events), [0, 1000]);
    }

    #[test]
    fn each_uplink_and_each_group_has_its_own_period() {
        let group = Subject::Group(GroupId(0));
        let events = [(FIBRE, 0), (LTE, 10), (group, 20), (LTE, 30), (group, 40)];
        assert_eq!(run(Some(1000), &events), [0, 10, 20]);
    }

    #[test]
    fn without_a_period_everything_is_run() {
        assert_eq!(run(None, &[(FIBRE, 0), (FIBRE, 0), (FIBRE, 1)]), [0, 0, 1]);
    }
}
