//! A script beside the figures.

use super::*;

#[test]
fn a_script_s_order_prefers_its_first_that_is_up_and_a_veto_what_stands() {
    let now = now();
    let all = [0, 1, 2].map(|id| Candidate {
        // The script turns the order of the metrics around.
        order: 10 - u32::from(id),
        ..candidate(id, State::Up, None, now)
    });
    let scripted = Steering {
        scripted: true,
        ..BY_STATE
    };
    let ranking = crate::engine::decide::rank(&all, &standing(&[0, 1, 2]), scripted, now);
    assert_eq!(ranking.preferred, Some(UplinkId(2)));
    assert_eq!(ranking.standing, ids(&[2]));
    assert_eq!(
        ranking.passed_over,
        ids(&[1, 0]),
        "their metrics outrank it"
    );
    let mut first_down = all.clone();
    first_down[2].state = State::Down;
    let next = crate::engine::decide::rank(&first_down, &ranking, scripted, now);
    assert_eq!(next.preferred, Some(UplinkId(1)));
    let kept = Steering {
        kept: Some(UplinkId(0)),
        ..scripted
    };
    let stays = crate::engine::decide::rank(&all, &standing(&[0, 1, 2]), kept, now);
    assert_eq!(stays.preferred, Some(UplinkId(0)));
    let mut kept_down = all.clone();
    kept_down[0].state = State::Down;
    let leaves = crate::engine::decide::rank(&kept_down, &standing(&[0, 1, 2]), kept, now);
    assert_eq!(
        leaves.preferred,
        Some(UplinkId(2)),
        "no veto holds what is down"
    );
    let mut kept_without_way = all;
    kept_without_way[0].usable = false;
    let leaves = crate::engine::decide::rank(&kept_without_way, &standing(&[0, 1, 2]), kept, now);
    assert_eq!(leaves.preferred, Some(UplinkId(2)));
}
