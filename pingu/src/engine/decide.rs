//! From what is known of each uplink to which of them shall have a route.

use std::time::{Duration, Instant};

use crate::{
    engine::health::State,
    units::{Metric, UplinkId},
};

/// What the decision needs to know of an uplink.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: UplinkId,
    pub(crate) metric: Metric,
    pub(crate) state: State,
    /// It has a way out: interface, carrier, gateway and address.
    pub(crate) usable: bool,
    /// Since when every burst was good.
    pub(crate) good_since: Option<Instant>,
    /// It was down before it came up; a first rise after the start is no return.
    pub(crate) returned: bool,
    pub(crate) hold_down: Duration,
}

/// Which uplinks shall have a route. The kernel takes the one with the lowest metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranking {
    /// The most wanted first, by metric.
    pub standing: Vec<UplinkId>,
    /// Uplinks that are up but would draw traffic before their hold-down has passed, and until when.
    pub held: Vec<(UplinkId, Instant)>,
}

/// Ranks the uplinks. `before` is the ranking that stands, or after a start the uplinks whose own routes were found.
///
/// Every uplink that is up stands, so that the kernel falls to the next by itself. Nothing is taken from an uplink of which
/// nothing is known yet. Where none is up the best one that stood stays, as long as it can be left by at all.
pub(crate) fn rank(candidates: &[Candidate], before: &Ranking, now: Instant) -> Ranking {
    let mut by_metric: Vec<&Candidate> = candidates.iter().collect();
    by_metric.sort_by_key(|candidate| candidate.metric);
    let stood = |candidate: &Candidate| before.standing.contains(&candidate.id);

    if !by_metric
        .iter()
        .any(|candidate| candidate.state == State::Up)
    {
        let unknown = by_metric
            .iter()
            .filter(|c| stood(c) && c.state == State::Unknown && c.usable)
            .map(|c| c.id);
        let mut standing: Vec<UplinkId> = unknown.collect();
        if standing.is_empty() && !before.standing.is_empty() {
            let last = by_metric
                .iter()
                .find(|c| stood(c) && c.usable)
                .or_else(|| by_metric.iter().find(|c| c.usable));
            standing.push(last.map_or(before.standing[0], |candidate| candidate.id));
        }
        return Ranking {
            standing,
            held: Vec::new(),
        };
    }

    let up = || {
        by_metric
            .iter()
            .filter(|candidate| candidate.state == State::Up)
    };
    let best_settled = up()
        .find(|candidate| stood(candidate) || held_until(candidate, now).is_none())
        .map(|c| c.metric);
    let held: Vec<(UplinkId, Instant)> = up()
        .filter(|candidate| {
            !stood(candidate) && best_settled.is_some_and(|best| candidate.metric < best)
        })
        .filter_map(|candidate| Some((candidate.id, held_until(candidate, now)?)))
        .collect();
    let standing = by_metric
        .iter()
        .filter(|candidate| match candidate.state {
            State::Up => !held.iter().any(|(id, _)| *id == candidate.id),
            State::Unknown => stood(candidate) && candidate.usable,
            State::Down => false,
        })
        .map(|candidate| candidate.id)
        .collect();
    Ranking { standing, held }
}

fn held_until(candidate: &Candidate, now: Instant) -> Option<Instant> {
    let until = candidate.good_since? + candidate.hold_down;
    (candidate.returned && until > now).then_some(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(60);

    fn candidate(id: u16, state: State, good_for: Option<Duration>, now: Instant) -> Candidate {
        Candidate {
            id: UplinkId(id),
            metric: Metric(100 + u32::from(id)),
            state,
            usable: true,
            good_since: good_for.map(|good_for| now - good_for),
            returned: true,
            hold_down: HOLD,
        }
    }

    fn standing(ids: &[u16]) -> Ranking {
        Ranking {
            standing: ids.iter().copied().map(UplinkId).collect(),
            held: Vec::new(),
        }
    }

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
        let all = [unknown, candidate(1, State::Up, Some(HOLD), now)];
        assert_eq!(rank(&all, &standing(&[0, 1]), now), standing(&[0, 1]));
        assert_eq!(rank(&[unknown], &standing(&[0]), now), standing(&[0]));
    }
}
