//! What the loop leaves out while the engine has no errands must be nothing.

use std::time::Instant;

use pingu::engine::Engine;

use crate::crowd::{Crowd, targets, uplinks};

/// Does as the loop does behind each wake-up; returns how much there was to do.
pub(crate) fn done(engine: &mut Engine, now: Instant) -> usize {
    engine.changes().len()
        + engine.doubts(now).len()
        + engine.cancelled_checks().len()
        + engine.switches_asked().len()
        + engine.bad_uplinks().len()
}

#[test]
fn most_wake_ups_of_healthy_uplinks_are_for_probing_alone() {
    let probe = format!("[probe]\n{}\ncount = 1\nperiod = \"500ms\"\n", targets(8));
    let mut crowd = Crowd::new(&(probe + &uplinks(16, "")));
    crowd.run_until(std::time::Duration::from_secs(20));
    let (wakes, errands) = (crowd.wakes.len(), crowd.errands);
    assert!(wakes > 100 && errands * 5 < wakes, "{errands} of {wakes}");
}
