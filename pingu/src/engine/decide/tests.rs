//! Ranking and comparing small sets of uplinks.

use super::*;

mod script;

const HOLD: Duration = Duration::from_secs(60);

fn candidate(id: u16, state: State, good_for: Option<Duration>, now: Instant) -> Candidate {
    Candidate {
        id: UplinkId(id),
        metric: Metric(100 + u32::from(id)),
        order: 100 + u32::from(id),
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
    kept: None,
    better: None,
    scripted: false,
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

fn steered(
    candidates: &[Candidate],
    before: &Ranking,
    pinned: Option<u16>,
    better: Option<u16>,
) -> Ranking {
    let steering = Steering {
        pinned: pinned.map(UplinkId),
        better: better.map(UplinkId),
        ..BY_STATE
    };
    super::rank(candidates, before, steering, now())
}

fn ids(ids: &[u16]) -> Vec<UplinkId> {
    ids.iter().copied().map(UplinkId).collect()
}

#[test]
fn a_pinned_uplink_outranks_all_whatever_its_health_as_long_as_it_can_be_left_by() {
    let now = now();
    for state in [State::Up, State::Down, State::Unknown] {
        let mut all = [
            candidate(0, State::Up, Some(HOLD), now),
            candidate(1, state, None, now),
            candidate(2, State::Up, Some(HOLD), now),
        ];
        let ranking = steered(&all, &standing(&[0, 2]), Some(1), None);
        assert_eq!(ranking.preferred, Some(UplinkId(1)), "{state:?}");
        assert_eq!(ranking.standing, ids(&[1, 2]));
        assert_eq!(ranking.passed_over, ids(&[0]));
        all[1].usable = false;
        let ranking = steered(&all[..2], &ranking, Some(1), None);
        assert_eq!(ranking.preferred, None);
        assert_eq!(ranking.standing[0], UplinkId(0));
    }
}

#[test]
fn after_a_pin_what_was_passed_over_carries_at_once() {
    let now = now();
    let all = [
        candidate(0, State::Up, Some(Duration::ZERO), now),
        candidate(1, State::Up, Some(HOLD), now),
    ];
    let ranking = steered(&all, &standing(&[0, 1]), Some(1), None);
    assert_eq!(ranking.standing, ids(&[1]));
    assert_eq!(steered(&all, &ranking, None, None), standing(&[0, 1]));
}

#[test]
fn with_all_down_the_one_that_was_steered_to_stays() {
    let now = now();
    let up = [0, 1].map(|id| candidate(id, State::Up, Some(HOLD), now));
    let ranking = steered(&up, &standing(&[0, 1]), None, Some(1));
    assert_eq!(ranking.standing, ids(&[1]));
    let down = [0, 1].map(|id| candidate(id, State::Down, None, now));
    assert_eq!(steered(&down, &ranking, None, Some(1)), standing(&[1]));
}

#[test]
fn a_better_uplink_that_is_down_or_held_is_not_steered_to() {
    let now = now();
    let all = [
        candidate(0, State::Up, Some(HOLD), now),
        candidate(1, State::Down, None, now),
    ];
    assert_eq!(
        steered(&all, &standing(&[0]), None, Some(1)),
        standing(&[0])
    );
}

#[test]
fn in_mode_balance_a_pinned_uplink_carries_alone() {
    let now = now();
    let all = [0, 1, 2].map(|id| candidate(id, State::Up, Some(HOLD), now));
    let steering = Steering {
        pinned: Some(UplinkId(0)),
        mode: Mode::Balance,
        ..BY_STATE
    };
    let ranking = super::rank(&all, &standing(&[0, 1, 2]), steering, now);
    assert_eq!(ranking.standing, ids(&[0]));
    assert_eq!(ranking.passed_over, ids(&[1, 2]));
}

const MARGINS: PreferBetter = PreferBetter {
    by_delay: Duration::from_millis(50),
    by_loss_percent: 5,
    for_time: Duration::from_secs(60),
};

fn answering(id: u16, delay_ms: u64, loss_percent: f64) -> Candidate {
    let quality = Quality {
        delay: Duration::from_millis(delay_ms),
        loss_percent,
    };
    Candidate {
        qualities: vec![(IpAddr::from([192, 0, 2, 1]), quality)],
        held_until: None,
        ..candidate(id, State::Up, None, now())
    }
}

#[test]
fn better_is_by_a_margin_in_one_figure_and_not_worse_by_one_in_the_other() {
    for ((delay_ms, loss_percent), is_better) in [
        ((50, 0.0), true),
        ((51, 0.0), false),
        ((100, 0.0), false),
        ((50, 4.9), true),
        ((50, 5.0), false),
    ] {
        let (own, other) = (answering(1, delay_ms, loss_percent), answering(0, 100, 0.0));
        assert_eq!(
            own.is_better_than(&other, &MARGINS),
            is_better,
            "{delay_ms} {loss_percent}"
        );
    }
    let lossy = answering(0, 100, 10.0);
    assert!(answering(1, 100, 5.0).is_better_than(&lossy, &MARGINS));
    assert!(!answering(1, 150, 5.0).is_better_than(&lossy, &MARGINS));
}

#[test]
fn only_targets_that_both_reach_are_compared() {
    let far = |delay_ms| {
        let quality = answering(1, delay_ms, 0.0).qualities[0].1;
        (IpAddr::from([192, 0, 2, 2]), quality)
    };
    let slow = answering(0, 100, 0.0);
    let mut quick = answering(1, 10, 0.0);
    quick.qualities.push(far(900));
    assert!(quick.is_better_than(&slow, &MARGINS));
    quick.qualities.remove(0);
    assert!(!quick.is_better_than(&slow, &MARGINS), "nothing in common");
}

#[test]
fn the_better_uplink_carries_after_the_whole_time_and_until_it_has_not_been_better_for_as_long() {
    let start = now();
    let before = standing(&[0, 1]);
    let mut contest = Contest::default();
    // Seconds from the start, the delay over uplink 0 in milliseconds, and who is steered to then.
    for (at_s, delay_ms, chosen) in [
        (0, 200, None),
        (59, 200, None),
        (60, 10, None),
        (61, 200, None),
        (120, 200, None),
        (121, 200, Some(1)),
        (122, 10, Some(1)),
        (181, 10, Some(1)),
        (181, 200, Some(1)),
        (182, 10, Some(1)),
        (241, 10, Some(1)),
        (242, 10, None),
        (300, 10, None),
    ] {
        let all = [answering(0, delay_ms, 0.0), answering(1, 20, 0.0)];
        let at = start + Duration::from_secs(at_s);
        contest = preferred(&all, &before, &contest, &MARGINS, at);
        assert_eq!(contest.chosen, chosen.map(UplinkId), "{at_s} s");
    }
}

#[test]
fn an_uplink_that_fell_while_it_was_worse_returns_only_once_it_is_no_worse() {
    let start = now();
    let mut contest = Contest {
        chosen: Some(UplinkId(1)),
        carries: Some(UplinkId(1)),
        ..Contest::default()
    };
    for (at_s, state, delay_ms, chosen) in [
        (0, State::Down, 200, Some(1)),
        (100, State::Up, 200, Some(1)),
        (200, State::Up, 10, Some(1)),
        (259, State::Up, 10, Some(1)),
        (260, State::Up, 10, None),
    ] {
        let mut all = [answering(0, delay_ms, 0.0), answering(1, 20, 0.0)];
        all[0].state = state;
        let at = start + Duration::from_secs(at_s);
        contest = preferred(&all, &standing(&[1]), &contest, &MARGINS, at);
        assert_eq!(contest.chosen, chosen.map(UplinkId), "{at_s} s");
    }
}

#[test]
fn whatever_the_figures_do_two_choices_are_the_whole_time_apart() {
    let mut random = crate::engine::Random(4);
    for _ in 0..200 {
        let mut contest = Contest::default();
        let mut at = now();
        let mut decided: Option<Instant> = None;
        let mut choices = 0;
        let mut delays = [10, 10, 10];
        for _ in 0..500 {
            at += Duration::from_millis(random.below(30_000));
            if random.below(4) == 0 {
                delays[random.below(3) as usize] = 10 + random.below(3) * 60;
            }
            let all: Vec<Candidate> = (0..3)
                .map(|id| answering(id, delays[usize::from(id)], 0.0))
                .collect();
            let next = preferred(&all, &standing(&[0, 1, 2]), &contest, &MARGINS, at);
            if next.chosen != contest.chosen {
                choices += 1;
                if let Some(before) = decided.replace(at) {
                    assert!(at >= before + MARGINS.for_time);
                }
            }
            contest = next;
        }
        assert!(choices > 0, "nothing was ever chosen");
    }
}
