//! While an answer is missing, the next thing may be a decision, and traffic waits for what follows it: the way there is gone once without
//! a change, so that its code and what it reads are in the processor's caches when they are needed.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use crate::{
    daemon::{Daemon, clock},
    engine::reconcile,
};

/// Not more often than this: two lie within the misses that any decision takes at the usual intervals, and a path that loses some probes
/// all day pays a hundredth of a core at most.
const APART_MIN: Duration = Duration::from_millis(5);

/// Where there are more routes, comparing them takes long itself, and fills the caches by itself.
const ROUTES_MAX: usize = 256;

/// When the way was last gone.
#[derive(Debug, Default)]
pub(super) struct Rehearsal {
    last: Option<Instant>,
}

impl Rehearsal {
    /// Whether it is time for another one; it is taken as done then.
    fn begins(&mut self, now: Instant) -> bool {
        let begins = self.last.is_none_or(|last| now >= last + APART_MIN);
        if begins {
            self.last = Some(now);
        }
        begins
    }
}

impl Daemon {
    /// Does what [`Daemon::converge`] would do after a decision, and changes nothing.
    pub(super) fn rehearse(&mut self) {
        let snapshot = self.engine.snapshot();
        if snapshot.routes.len() > ROUTES_MAX || !self.rehearsal.begins(clock()) {
            return;
        }
        let own = self.engine.config().protocol;
        let objects = self.engine.nexthop_set();
        black_box(reconcile::plan_nexthops(snapshot, &objects, own));
        let set = self.engine.route_set();
        black_box(reconcile::plan(snapshot, &set, own));
        self.routes.rehearse(set.wanted.first());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::test_clock;

    #[test]
    fn however_many_answers_are_missing_rehearsals_lie_apart() {
        let start = test_clock();
        let mut rehearsal = Rehearsal::default();
        let begun = (0..100).filter(|ms| rehearsal.begins(start + Duration::from_millis(*ms)));
        assert_eq!(begun.count(), 20);
    }
}
