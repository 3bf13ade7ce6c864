//! Ranking and comparing small sets of uplinks.

use super::*;

const HOLD: Duration = Duration::from_secs(60);

fn candidate(id: u16, state: State, good_for: Option<Duration>, now: Instant) -> Candidate {
    Candidate {
        id: UplinkId(id),
        metric: Metric(100 + u32::from(id)),
        state,
        usable: true,
        held_until: good_for.map(|good_for| now - good_for + HOLD),
        qualities: Vec::new(),
    }
}

fn standing(ids: &[u16]) -> Ranking {
    Ranking {
        standing: ids.iter().copied().map(UplinkId).collect(),
        ..Ranking::default()
    }
}

fn rank(candidates: &[Candidate], before: &Ranking, now: Instant) -> Ranking {
    super::rank(candidates, before, BY_STATE, now)
}

const BY_STATE: Steering = Steering {
    pinned: None,
    better: None,
    mode: Mode::Metric,
};

fn now() -> Instant {
    crate::engine::test_clock() + Duration::from_secs(1000)
}

#[test]
fn every_uplink_that_is_up_stands_in_the_order_of_metrics() {
    let now = now();
    let all = [
        candidate(1, State::Up, Some(HOLD), now),
        candidate(0, State::Up, Some(HOLD), now),
    ];
    assert_eq!(rank(&all, &Ranking::default(), now), standing(&[0, 1]));
}

#[test]
fn a_dead_uplink_leaves_the_next_standing() {
    let now = now();
    let all = [
        candidate(0, State::Down, None, now),
        candidate(1, State::Up, Some(HOLD), now),
    ];
    assert_eq!(rank(&all, &standing(&[0, 1]), now), standing(&[1]));
}

#[test]
fn a_returned_uplink_waits_for_its_hold_down() {
    let now = now();
    let good_for = Duration::from_secs(20);
    let all = [
        candidate(0, State::Up, Some(good_for), now),
        candidate(1, State::Up, Some(HOLD), now),
    ];
    let ranking = rank(&all, &standing(&[1]), now);
    assert_eq!(ranking.standing, [UplinkId(1)]);
    assert_eq!(ranking.held, [(UplinkId(0), now + Duration::from_secs(40))]);
    assert_eq!(
        rank(&all, &ranking, now + Duration::from_secs(40)),
        standing(&[0, 1])
    );
}

#[test]
fn a_worse_uplink_draws_no_traffic_and_is_not_held() {
    let now = now();
    let all = [
        candidate(0, State::Up, Some(HOLD), now),
        candidate(1, State::Up, Some(Duration::ZERO), now),
    ];
    assert_eq!(rank(&all, &standing(&[0]), now), standing(&[0, 1]));
}

#[test]
fn hold_down_gives_way_when_nothing_else_is_up() {
    let now = now();
    let all = [
        candidate(0, State::Up, Some(Duration::ZERO), now),
        candidate(1, State::Down, None, now),
    ];
    assert_eq!(rank(&all, &standing(&[1]), now), standing(&[0]));
}

#[test]
fn the_last_good_uplink_stays_when_all_are_down() {
    let now = now();
    let all = [
        candidate(0, State::Down, None, now),
        candidate(1, State::Down, None, now),
    ];
    assert_eq!(rank(&all, &standing(&[1]), now), standing(&[1]));
    assert_eq!(rank(&all, &standing(&[0, 1]), now), standing(&[0]));
}

#[test]
fn a_last_uplink_without_carrier_yields_to_one_that_can_be_left_by() {
    let now = now();
    let all = [
        Candidate {
            usable: false,
            ..candidate(0, State::Down, None, now)
        },
        candidate(1, State::Down, None, now),
    ];
    assert_eq!(rank(&all, &standing(&[0]), now), standing(&[1]));
}

#[test]
fn nothing_stands_before_anything_is_known() {
    let now = now();
    let all = [
        candidate(0, State::Unknown, None, now),
        candidate(1, State::Down, None, now),
    ];
    assert_eq!(rank(&all, &Ranking::default(), now), standing(&[]));
}

#[test]
fn after_a_restart_found_routes_stay_until_their_uplinks_are_known() {
    let now = now();
    let unknown = candidate(0, State::Unknown, None, now);
    let all = [unknown.clone(), candidate(1, State::Up, Some(HOLD), now)];
    assert_eq!(rank(&all, &standing(&[0, 1]), now), standing(&[0, 1]));
    assert_eq!(rank(&[unknown], &standing(&[0]), now), standing(&[0]));
}
