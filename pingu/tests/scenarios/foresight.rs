//! Shortly before a deadline that may take an uplink down the loop is awake, and never otherwise.

use std::time::Duration;

use pingu::units::{Ifindex, UplinkId};

use crate::crowd::{Crowd, targets, uplinks};

const MS: Duration = Duration::from_millis(1);

/// Before a decision by at most this, beside what a turn takes.
const AHEAD_MAX: Duration = Duration::from_micros(700);

/// Lines of `[probe]` and `[health]` by which misses in a row take a path down, and how many milliseconds that takes at most.
const PACES: [(&str, u32); 6] = [
    (
        "mode = \"rolling\"\ninterval = \"50ms\"\ntimeout = \"50ms\"\nsuspect_interval = \"50ms\"\n[health]\nfall = 3\nmax_loss = 90",
        170,
    ),
    (
        "mode = \"rolling\"\ninterval = \"50ms\"\ntimeout = \"50ms\"\nsuspect_interval = \"2ms\"\n[health]\nfall = 3\nmax_loss = 90",
        80,
    ),
    (
        "mode = \"rolling\"\ninterval = \"10ms\"\ntimeout = \"10ms\"\nsuspect_interval = \"10ms\"\n[health]\nfall = 3\nmax_loss = 90",
        50,
    ),
    (
        "mode = \"rolling\"\ninterval = \"500ms\"\ntimeout = \"1s\"\n[health]\nfall = 4\nmax_loss = 90",
        3_100,
    ),
    (
        "count = 1\nperiod = \"1s\"\ntimeout = \"200ms\"\n[health]\nfall = 3\nmax_lost = 0",
        3_300,
    ),
    (
        "count = 3\nspacing = \"10ms\"\nperiod = \"500ms\"\nsuspect_interval = \"50ms\"\n\
         timeout = \"100ms\"\n[health]\nfall = 2\nmax_lost = 1",
        800,
    ),
];

fn crowd(lines: &str, of_targets: u32, of_uplinks: u32) -> Crowd {
    let text = format!(
        "[probe]\n{}\n{lines}\n{}",
        targets(of_targets),
        uplinks(of_uplinks, "")
    );
    Crowd::new(&text)
}

#[test]
fn the_loop_is_awake_just_before_a_decision_and_knows_what_follows() {
    for (lines, most_ms) in PACES {
        for offset_ms in [0, 7, 13, 31, 77, 333] {
            let mut crowd = crowd(lines, 1, 2);
            crowd.run_until(MS * (12_000 + offset_ms));
            assert_eq!(crowd.doubtful, [], "{lines}");
            crowd.transport.cut.insert(Ifindex(2));
            let cut = crowd.now();
            crowd.run_until(cut + MS * 6_000);
            let down = crowd.down_after(UplinkId(0), cut).expect("it was cut");
            assert!(down - cut <= MS * most_ms, "{:?}: {lines}", down - cut);
            let last = crowd.ahead.last().expect("it was awake before");
            assert!(
                *last < down && down - *last <= AHEAD_MAX,
                "{last:?} {down:?}: {lines}"
            );
            assert!(crowd.ahead.len() <= 2, "{:?}: {lines}", crowd.ahead);
            assert_eq!(crowd.surprises, 0, "{lines}");
        }
    }
}

#[test]
fn where_many_paths_fall_together_few_wake_ups_more_come_before() {
    for (lines, _) in PACES {
        let mut crowd = crowd(lines, 40, 8);
        crowd.run_until(MS * 12_000);
        crowd.transport.cut.insert(Ifindex(2));
        let cut = crowd.now();
        crowd.run_until(cut + MS * 6_000);
        assert!(crowd.down_after(UplinkId(0), cut).is_some(), "{lines}");
        assert!(
            crowd.ahead.len() <= 3 * 40,
            "{}: {lines}",
            crowd.ahead.len()
        );
    }
}
