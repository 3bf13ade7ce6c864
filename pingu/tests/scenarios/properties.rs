//! What must hold whatever happens: seeded random lives of the engine in virtual time.

use std::{net::IpAddr, time::Duration};

use pingu::engine::State;

use crate::world::{Setting, World};

const SEEDS: u64 = 20;

/// `splitmix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn millis(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.below(end))
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn config(probe: &str, health: &str, uplinks: &[(&str, &str)]) -> String {
    let mut text = format!(
        "[probe]\ncount = 4\nspacing = \"20ms\"\ntimeout = \"200ms\"\n{probe}\n[health]\nmax_lost = 1\n{health}\n"
    );
    for (index, (name, keys)) in uplinks.iter().enumerate() {
        text += &format!("[[uplink]]\nname = \"{name}\"\ninterface = \"wan{index}\"\n{keys}\n");
    }
    text
}

fn answers(answers: bool, target: Option<IpAddr>) -> Setting {
    Setting {
        answers: Some(answers),
        target,
        ..Setting::default()
    }
}

#[test]
fn whatever_an_uplink_loses_traffic_returns_to_it_once_a_hold_down_at_most() {
    let mut returns = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let hold_down = 5 + random.below(30);
        let (fall, rise) = (1 + random.below(3), 1 + random.below(3));
        let mut world = World::new(&config(
            "targets = [\"192.0.2.99\"]\nperiod = \"1s\"",
            &format!("fall = {fall}\nrise = {rise}\nhold_down = \"{hold_down}s\""),
            &[("a", ""), ("b", "")],
        ));
        let end = seconds(450);
        let mut at = seconds(5);
        while at < end {
            world.run_until(at);
            let loss_percent = [0, 0, 0, 40, 80, 100][random.below(6) as usize];
            world.set(
                "a",
                &Setting {
                    loss_percent: Some(loss_percent),
                    ..Setting::default()
                },
            );
            at += random.millis(2 * hold_down * 1000);
        }
        world.run_until(end);
        let mut returned: Option<Duration> = None;
        let mut left: Option<Duration> = None;
        for (at, to) in world.history() {
            if to == "b" {
                left = Some(*at);
                continue;
            }
            returns += 1;
            let left = left.expect("traffic was on the first uplink before");
            assert!(
                *at >= left + seconds(hold_down),
                "seed {seed}: {:?}",
                world.history()
            );
            if let Some(before) = returned.replace(*at) {
                assert!(*at >= before + seconds(hold_down), "seed {seed}");
            }
        }
        let most = 2 * (end.as_secs() / hold_down + 1);
        assert!(world.history().len() as u64 <= most, "seed {seed}");
    }
    assert!(returns > SEEDS, "only {returns} returns in all");
}

#[test]
fn a_cut_takes_an_uplink_down_in_time_and_not_before_its_bursts() {
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let fall = 1 + random.below(4);
        let mut world = World::new(&config(
            "targets = [\"192.0.2.99\"]\nperiod = \"1s\"",
            &format!("fall = {fall}"),
            &[("a", ""), ("b", "")],
        ));
        let cut = seconds(5) + random.millis(3000);
        world.run_until(cut);
        world.set("a", &answers(false, None));
        let state = |world: &World| world.status().uplinks[0].state;
        // Of the first burst that may be lost whole or in part, to the last deadline of the last.
        let (period, burst) = (seconds(1), Duration::from_millis(80 + 200));
        let late = cut + period * fall as u32 + burst + Duration::from_millis(50);
        let mut at = cut;
        while state(&world) != State::Down {
            at += Duration::from_millis(5);
            assert!(
                at <= late,
                "seed {seed}: still up {:?} after the cut",
                at - cut
            );
            world.run_until(at);
        }
        let early = cut + period * (fall as u32 - 1);
        assert!(
            at >= early,
            "seed {seed}: down {:?} after the cut",
            at - cut
        );
    }
}

#[test]
fn a_target_that_dies_everywhere_changes_no_uplink_whatever_periods_and_rules_they_have() {
    let targets: [IpAddr; 3] = [[192, 0, 2, 97], [192, 0, 2, 98], [192, 0, 2, 99]]
        .map(|[a, b, c, d]| IpAddr::from([a, b, c, d]));
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut keys = || {
            let (period_ms, fall, rise) = (
                400 + random.below(8000),
                1 + random.below(3),
                1 + random.below(3),
            );
            format!("period = \"{period_ms}ms\"\nfall = {fall}\nrise = {rise}")
        };
        let own = [keys(), keys(), keys()];
        let quorum = ["\"all\"", "2", "3"][random.below(3) as usize];
        let mut world = World::new(&config(
            "targets = [\"192.0.2.97\", \"192.0.2.98\", \"192.0.2.99\"]",
            &format!("quorum = {quorum}"),
            &[("a", &own[0]), ("b", &own[1]), ("c", &own[2])],
        ));
        let dies = targets[random.below(3) as usize];
        let mut at = seconds(40) + random.millis(9000);
        world.run_until(at);
        let switches = world.switches();
        for _ in 0..3 {
            for answering in [false, true] {
                world.run_until(at);
                for uplink in ["a", "b", "c"] {
                    world.set(uplink, &answers(answering, Some(dies)));
                }
                at += seconds(60) + random.millis(9000);
                world.run_until(at);
                let dead: &[IpAddr] = if answering { &[] } else { &[dies] };
                assert_eq!(world.status().dead_targets, dead, "seed {seed} {own:?}");
            }
        }
        for uplink in ["a", "b", "c"] {
            assert_eq!(
                world.changes(uplink),
                1,
                "seed {seed} {quorum} {uplink} {own:?}"
            );
        }
        assert_eq!(world.switches(), switches, "seed {seed}");
    }
}

#[test]
fn a_target_that_one_uplink_loses_takes_it_down_in_time_with_quorum_all() {
    let target = Some(IpAddr::from([192, 0, 2, 98]));
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let other_period_ms = 400 + random.below(60_000);
        let mut world = World::new(&config(
            "targets = [\"192.0.2.97\", \"192.0.2.98\"]",
            "quorum = \"all\"",
            &[
                ("a", "period = \"1s\""),
                ("b", &format!("period = \"{other_period_ms}ms\"")),
            ],
        ));
        let cut = seconds(130) + random.millis(3000);
        world.run_until(cut);
        world.set("a", &answers(false, target));
        // A burst of its own that is lost, and one of the other that is answered: it is looked for before its deadline.
        let late = cut + seconds(1) + Duration::from_millis(280 + 120);
        world.run_until(late);
        let status = world.status();
        assert_eq!(
            status.uplinks[0].state,
            State::Down,
            "seed {seed}: {status:#?}"
        );
        assert_eq!(status.uplinks[1].state, State::Up, "seed {seed}");
        assert!(status.dead_targets.is_empty());
    }
}

#[test]
fn a_brownout_is_decided_when_its_time_is_over_though_no_burst_ends_then() {
    let better = "prefer_better = { by_delay = \"50ms\", by_loss = 5, for = \"30s\" }\n";
    let rest = config(
        "targets = [\"192.0.2.99\"]\nperiod = \"20s\"",
        "max_delay = \"1s\"",
        &[("a", ""), ("b", "")],
    );
    let mut world = World::new(&format!("{better}{rest}"));
    world.run_until(seconds(30));
    let slow = Setting {
        rtt_ms: Some(190),
        ..Setting::default()
    };
    world.set("a", &slow);
    world.run_until(seconds(100));
    let [(at, to)] = world.history() else {
        panic!("one switch: {:?}", world.history())
    };
    assert_eq!(to, "b");
    assert!(*at > seconds(70) && *at < seconds(72), "{at:?}");
}
