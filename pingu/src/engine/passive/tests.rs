//! What counters say, depending on whose they are.

use super::*;
use crate::{config::Config, engine::test_clock};

const TOLD_APART: Counting = Counting::Interface { told_apart: true };
const BLURRED: Counting = Counting::Interface { told_apart: false };
const STEP: Duration = Duration::from_millis(500);

fn passive(probe: &str) -> Passive {
    let text = format!(
        "[probe]\ntargets = [\"192.0.2.1\"]\n{probe}\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n"
    );
    let (config, _) = Config::parse(&text, "test").unwrap();
    let mut passive = Passive::new(&config.uplinks[0]);
    passive.set_source(Source::Interface(Ifindex(2)));
    passive
}

/// Gives it one reading after another, a step apart: packets that had come in and left by then. Returns the time of the last one.
fn read(passive: &mut Passive, by: Counting, readings: &[(u64, u64)]) -> Instant {
    let mut now = test_clock();
    for (ingress_packets, egress_packets) in readings {
        now += STEP;
        let traffic = Traffic {
            ingress_packets: *ingress_packets,
            egress_packets: *egress_packets,
            ..Traffic::default()
        };
        passive.take(Some(Counted { traffic, by }), now);
    }
    now
}

#[test]
fn packets_that_nobody_tells_apart_prove_nothing_however_many_they_are() {
    for (by, proves) in [
        (Counting::Programs, true),
        (TOLD_APART, true),
        (BLURRED, false),
    ] {
        let mut passive = passive("period = \"5s\"\nprobe_when = \"idle\"");
        let now = read(
            &mut passive,
            by,
            &[(0, 0), (9_000, 9_000), (18_000, 18_000)],
        );
        assert_eq!(passive.proves_life(now), proves, "{by:?}");
    }
}

#[test]
fn one_frame_that_leaves_is_a_silence_to_programs_only() {
    for (by, left, is_silence) in [
        (Counting::Programs, 1, true),
        (TOLD_APART, 1, false),
        (TOLD_APART, 2, true),
        (BLURRED, 2, true),
    ] {
        let mut passive = passive("period = \"60s\"\nsilence = \"1s\"");
        let now = read(
            &mut passive,
            by,
            &[(9, 9), (9, 9 + left), (9, 9 + left), (9, 9 + left)],
        );
        let since = passive.silent_since(now);
        assert_eq!(since.is_some(), is_silence, "{by:?} {left}");
    }
}

#[test]
fn frames_about_neighbours_now_and_then_never_come_to_a_silence() {
    let each_two_seconds: Vec<(u64, u64)> = (0..60).map(|step| (9, step / 4)).collect();
    for end in 1..=each_two_seconds.len() {
        let mut passive = passive("period = \"60s\"\nsilence = \"1s\"");
        let now = read(&mut passive, TOLD_APART, &each_two_seconds[..end]);
        assert_eq!(passive.silent_since(now), None, "{end}");
    }
}

#[test]
fn what_comes_in_ends_a_silence() {
    let mut passive = passive("period = \"60s\"\nsilence = \"1s\"");
    let now = read(
        &mut passive,
        TOLD_APART,
        &[(9, 9), (9, 20), (9, 30), (9, 40)],
    );
    assert!(passive.silent_since(now).is_some());
    let readings = [(9, 9), (9, 20), (9, 30), (9, 40), (10, 40)];
    let mut passive = self::passive("period = \"60s\"\nsilence = \"1s\"");
    let now = read(&mut passive, TOLD_APART, &readings);
    assert_eq!(passive.silent_since(now), None);
}

#[test]
fn counters_of_another_source_are_no_sequel() {
    let mut passive = passive("period = \"5s\"\nprobe_when = \"idle\"");
    read(&mut passive, Counting::Programs, &[(0, 0), (1, 1)]);
    let now = read(&mut passive, TOLD_APART, &[(9_000, 9_000)]);
    assert!(!passive.proves_life(now));
    let now = read(&mut passive, TOLD_APART, &[(9_000, 9_000), (9_001, 9_001)]);
    assert!(!passive.proves_life(now));
}

#[test]
fn the_loop_wakes_for_an_interfaces_counters_only_where_something_waits_for_them() {
    for (keys, wakes) in [
        ("period = \"1s\"", false),
        ("period = \"60s\"\nsilence = \"0s\"", false),
        ("period = \"60s\"", true),
        ("period = \"1s\"\nprobe_when = \"idle\"", true),
        ("period = \"1s\"\nbudget = \"5MB/month\"", true),
    ] {
        let mut passive = passive(keys);
        assert!(!passive.is_worth_waking());
        read(&mut passive, TOLD_APART, &[(0, 0)]);
        assert_eq!(passive.is_worth_waking(), wakes, "{keys}");
        read(&mut passive, Counting::Programs, &[(0, 0)]);
        assert!(passive.is_worth_waking());
    }
}

#[test]
fn an_interfaces_counters_are_not_read_at_every_turn() {
    let mut passive = passive("period = \"60s\"\nsilence = \"2s\"");
    let now = read(&mut passive, TOLD_APART, &[(0, 0)]);
    assert_eq!(passive.wanted(now + Duration::from_millis(100)), None);
    assert!(passive.wanted(now + STEP).is_some());
    let now = read(&mut passive, Counting::Programs, &[(0, 0)]);
    assert!(passive.wanted(now + Duration::from_millis(100)).is_some());
}
