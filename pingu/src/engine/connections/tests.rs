//! Failover, failback and drain in virtual time.

use std::time::Duration;

use super::*;
use crate::engine::test_clock;

const A: UplinkId = UplinkId(0);
const B: UplinkId = UplinkId(1);
const C: UplinkId = UplinkId(2);
const TEN_MINUTES: Duration = Duration::from_secs(600);

const DIED: Reason = Reason::Died;

/// A group of three, and how long ago it was made.
struct Group {
    connections: Connections,
    start: Instant,
}

impl Group {
    /// On `A`, with all three up.
    fn new(failback: Failback) -> Self {
        let mut group = Self {
            connections: Connections::new(failback, [A, B, C]),
            start: test_clock(),
        };
        assert_eq!(group.at(0, &[A], &[A, B, C]), []);
        group
    }

    fn at(&mut self, second: u64, active: &[UplinkId], up: &[UplinkId]) -> Vec<(UplinkId, Reason)> {
        let now = self.start + Duration::from_secs(second);
        let state = |id| match up.contains(&id) {
            true => State::Up,
            false => State::Down,
        };
        let flushes = self.connections.observe(active, state, now);
        flushes
            .iter()
            .map(|flush| (flush.uplink, flush.reason))
            .collect()
    }

    fn wake_second(&self) -> Option<u64> {
        let wake = self.connections.next_wake()?;
        Some((wake - self.start).as_secs())
    }
}

const ALL: [Failback; 3] = [Failback::Hard, Failback::Soft, Failback::Drain(TEN_MINUTES)];

#[test]
fn a_dead_uplink_s_connections_end_once_under_every_policy() {
    for failback in ALL {
        let mut group = Group::new(failback);
        assert_eq!(group.at(1, &[B], &[B, C]), [(A, DIED)], "{failback:?}");
        assert_eq!(group.at(2, &[B], &[B, C]), []);
        assert_eq!(group.wake_second(), None);
    }
}

#[test]
fn a_dead_uplink_keeps_its_connections_until_there_is_another_way() {
    for failback in ALL {
        let mut group = Group::new(failback);
        // Its route stays, or there is none at all.
        assert_eq!(group.at(1, &[A], &[]), [(B, DIED), (C, DIED)]);
        assert_eq!(group.at(2, &[], &[]), []);
        assert_eq!(group.at(3, &[A], &[A]), []);
        assert_eq!(group.at(4, &[], &[]), []);
        assert_eq!(group.at(5, &[B], &[B]), [(A, DIED)]);
    }
}

#[test]
fn at_a_hard_failback_the_uplink_that_was_left_loses_its_connections() {
    let mut group = Group::new(Failback::Hard);
    assert_eq!(group.at(1, &[B], &[B, C]), [(A, DIED)]);
    assert_eq!(group.at(2, &[B], &[A, B, C]), []);
    assert_eq!(group.at(3, &[A], &[A, B, C]), [(B, Reason::Left)]);
    assert_eq!(group.at(4, &[A], &[A, B, C]), []);
}

#[test]
fn at_a_soft_failback_connections_stay_until_their_uplink_dies() {
    let mut group = Group::new(Failback::Soft);
    assert_eq!(group.at(1, &[B], &[B, C]), [(A, DIED)]);
    assert_eq!(group.at(2, &[A], &[A, B, C]), []);
    assert_eq!(group.at(100_000, &[A], &[A, B, C]), []);
    assert_eq!(group.wake_second(), None);
    assert_eq!(group.at(100_001, &[A], &[A, C]), [(B, DIED)]);
    assert_eq!(group.at(100_002, &[A], &[A, B, C]), []);
}

#[test]
fn a_drain_ends_at_its_time() {
    let mut group = Group::new(Failback::Drain(TEN_MINUTES));
    assert_eq!(group.at(10, &[B], &[A, B, C]), []);
    assert_eq!(group.wake_second(), Some(610));
    // A second one that is left does not move the first one's end.
    assert_eq!(group.at(20, &[C], &[A, B, C]), []);
    assert_eq!(group.at(609, &[C], &[A, B, C]), []);
    assert_eq!(group.at(610, &[C], &[A, B, C]), [(A, Reason::Drained)]);
    assert_eq!(group.wake_second(), Some(620));
    assert_eq!(group.at(700, &[C], &[A, B, C]), [(B, Reason::Drained)]);
    assert_eq!(group.at(10_000, &[C], &[A, B, C]), []);
}

#[test]
fn traffic_that_goes_back_calls_a_drain_off() {
    let mut group = Group::new(Failback::Drain(TEN_MINUTES));
    assert_eq!(group.at(10, &[B], &[A, B, C]), []);
    assert_eq!(group.at(300, &[A], &[A, B, C]), []);
    assert_eq!(group.wake_second(), Some(900));
    assert_eq!(group.at(610, &[A], &[A, B, C]), []);
    assert_eq!(group.at(900, &[A], &[A, B, C]), [(B, Reason::Drained)]);
}

#[test]
fn an_uplink_that_dies_in_its_drain_is_not_waited_for() {
    let mut group = Group::new(Failback::Drain(TEN_MINUTES));
    assert_eq!(group.at(10, &[B], &[A, B, C]), []);
    assert_eq!(group.at(20, &[B], &[B, C]), [(A, DIED)]);
    assert_eq!(group.wake_second(), None);
    assert_eq!(group.at(610, &[B], &[A, B, C]), []);
}

#[test]
fn no_one_is_woken_for_a_drain_while_there_is_no_way() {
    let mut group = Group::new(Failback::Drain(TEN_MINUTES));
    assert_eq!(group.at(10, &[B], &[A, B, C]), []);
    assert_eq!(group.at(20, &[], &[A]), []);
    assert_eq!(group.wake_second(), None);
    assert_eq!(group.at(700, &[], &[A]), []);
    assert_eq!(
        group.at(701, &[C], &[A, C]),
        [(A, Reason::Drained), (B, DIED)]
    );
}

#[test]
fn of_several_that_share_the_traffic_only_the_one_that_dies_loses_its_connections() {
    for failback in ALL {
        let mut group = Group::new(failback);
        assert_eq!(group.at(1, &[A, B, C], &[A, B, C]), []);
        assert_eq!(group.at(2, &[A, C], &[A, C]), [(B, DIED)]);
        assert_eq!(group.at(3, &[A, B, C], &[A, B, C]), []);
        assert_eq!(group.wake_second(), None);
    }
}

#[test]
fn nothing_ends_while_nothing_is_known_or_for_uplinks_of_other_groups() {
    for failback in ALL {
        let start = test_clock();
        let mut connections = Connections::new(failback, [A, B]);
        assert_eq!(connections.observe(&[A], |_| State::Unknown, start), []);
        assert_eq!(connections.observe(&[C], |_| State::Down, start), []);
        assert_eq!(connections.observe(&[], |_| State::Down, start), []);
        assert_eq!(connections.observe(&[A], |_| State::Up, start), []);
        // A standby that is looked at anew, say behind another gateway.
        assert_eq!(connections.observe(&[A], |_| State::Unknown, start), []);
    }
}

/// Whoever ran before may have been killed after it had moved the routes.
#[test]
fn an_uplink_that_is_found_dead_at_a_start_loses_its_connections_once() {
    for failback in ALL {
        let start = test_clock();
        let mut connections = Connections::new(failback, [A, B]);
        assert_eq!(connections.observe(&[B], |_| State::Unknown, start), []);
        let died = Flush {
            uplink: A,
            reason: DIED,
        };
        assert_eq!(connections.observe(&[B], |_| State::Down, start), [died]);
        assert_eq!(connections.observe(&[B], |_| State::Down, start), []);
    }
}

#[test]
fn a_drain_ends_at_its_time_whatever_is_known_of_its_uplink() {
    let mut group = Group::new(Failback::Drain(TEN_MINUTES));
    assert_eq!(group.at(10, &[B], &[A, B, C]), []);
    let end = group.start + Duration::from_secs(610);
    let flushes = group.connections.observe(&[B], |_| State::Unknown, end);
    let drained = Flush {
        uplink: A,
        reason: Reason::Drained,
    };
    assert_eq!(flushes, [drained]);
    assert_eq!(group.wake_second(), None);
}
