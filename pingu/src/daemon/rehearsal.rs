//! While an answer is missing, the next thing may be a decision, and traffic waits for what follows it: the way there is gone once without
//! a change, so that its code and what it reads are in the processor's caches when they are needed. Where the time is known that may
//! decide, the loop is awake shortly before it for that.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use crate::{
    daemon::{Daemon, clock},
    engine::reconcile,
};

/// Not more often than this for either reason: each takes 100 us at most, and a path that loses some probes all day pays a hundredth of a
/// core at most.
const APART_MIN: Duration = Duration::from_millis(20);

/// Where there are more routes, comparing them takes long itself, and fills the caches by itself.
const ROUTES_MAX: usize = 256;

/// It takes this long at most with cold caches: where something else is due sooner, there is none, and nothing is cold.
const ROOM_MIN: Duration = Duration::from_micros(150);

/// When the way was last gone: because an answer was missing, and because the time that may decide was near.
#[derive(Debug, Default)]
pub(super) struct Rehearsal {
    last: [Option<Instant>; 2],
}

impl Rehearsal {
    /// Whether it is time for another one; it is taken as done then.
    fn begins(&mut self, is_near: bool, now: Instant) -> bool {
        let last = &mut self.last[usize::from(is_near)];
        let begins = last.is_none_or(|last| now >= last + APART_MIN);
        if begins {
            *last = Some(now);
        }
        begins
    }
}

impl Daemon {
    /// Does what [`Daemon::converge`] would do after a decision that may be next, and changes nothing.
    pub(super) fn rehearse(&mut self) {
        let Some(doubted) = self.engine.in_doubt() else {
            return;
        };
        let now = clock();
        let room = self
            .engine
            .next_wake()
            .map(|wake| wake.saturating_duration_since(now));
        let is_short = room.is_some_and(|room| room < ROOM_MIN);
        let is_near = self.engine.may_decide_soon();
        let many = self.engine.snapshot().routes.len() > ROUTES_MAX;
        if is_short || many || !self.rehearsal.begins(is_near, now) {
            return;
        }
        let own = self.engine.config().protocol;
        let (objects, set) = self.engine.route_set_without(doubted, now);
        let snapshot = self.engine.snapshot();
        let mut changes = reconcile::plan_nexthops(snapshot, &objects, own);
        changes.extend(reconcile::plan(snapshot, &set, own).changes);
        black_box(
            self.with_names(
                &changes
                    .first()
                    .map_or_else(String::new, ToString::to_string),
            ),
        );
        self.routes.rehearse(changes.first());
        let us = |time: Duration| time.as_micros() as u64;
        tracing::debug!(
            uplink = self.engine.config().uplinks[doubted.index()].name,
            is_near,
            us_ahead = room.map(us),
            us_took = us(clock().saturating_duration_since(now)),
            "rehearsed"
        );
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
        for is_near in [false, true] {
            let begun =
                (0..100).filter(|ms| rehearsal.begins(is_near, start + Duration::from_millis(*ms)));
            assert_eq!(begun.count(), 5);
        }
    }
}
