//! Handshakes against pings, in virtual time: what keeps an uplink up whose pings are lost, and what shows a portal.

use pingu::engine::{Cause, State};

use super::{SEEDS, cut, first, flow, millis, seconds, time_until, world};
use crate::world::Setting;

#[test]
fn lost_pings_while_handshakes_succeed_move_nothing() {
    for period in ["200ms", "1s", "5s"] {
        let mut world = world(&format!("period = \"{period}\""), "fall = 2");
        world.set("a", &flow(20, 5));
        world.run_until(seconds(30));
        world.set(
            "a",
            &Setting {
                pings: Some(false),
                ..Setting::default()
            },
        );
        world.run_until(seconds(300));
        let status = first(&world);
        assert_eq!(status.state, State::Up, "{status:#?}");
        assert_eq!(status.passive.cause, Some(Cause::Pings));
        assert!(
            status.reason.starts_with("pings lost, but "),
            "{}",
            status.reason
        );
        assert_eq!((world.switches(), world.changes("a")), (0, 1), "{period}");
        // Then the rest fails as well.
        world.set("a", &cut());
        let took = time_until(&mut world, State::Down, seconds(300), seconds(60));
        assert!(took <= seconds(4), "{took:?}");
        assert_eq!(first(&world).passive.cause, None);
    }
}

#[test]
fn handshakes_that_end_keep_nothing_up() {
    let mut world = world("period = \"1s\"", "");
    world.set("a", &flow(20, 5));
    world.run_until(seconds(30));
    world.set(
        "a",
        &Setting {
            pings: Some(false),
            ..Setting::default()
        },
    );
    world.run_until(seconds(100));
    assert_eq!(first(&world).state, State::Up);
    world.set("a", &flow(0, 0));
    time_until(&mut world, State::Down, seconds(100), seconds(66));
}

#[test]
fn a_cut_is_found_in_time_however_many_handshakes_succeeded_before() {
    for seed in 0..SEEDS {
        let mut world = world("period = \"1s\"", "");
        world.set("a", &flow(200, 1 + seed * 10));
        let at = seconds(20) + millis(seed * 137);
        world.run_until(at);
        world.set("a", &cut());
        let took = time_until(&mut world, State::Down, at, seconds(10));
        assert!(
            took <= millis(1000 + 80 + 200 + 50),
            "seed {seed}: {took:?}"
        );
    }
}

#[test]
fn handshakes_bring_nothing_up_and_hold_up_nothing_that_is_only_slow() {
    let mut world = world("period = \"1s\"", "max_delay = \"50ms\"");
    world.set(
        "a",
        &Setting {
            pings: Some(false),
            ..flow(20, 5)
        },
    );
    world.set("b", &flow(20, 5));
    world.run_until(seconds(60));
    assert_eq!(first(&world).state, State::Down, "it never was up");
    world.set(
        "b",
        &Setting {
            rtt_ms: Some(90),
            ..Setting::default()
        },
    );
    world.run_until(seconds(70));
    assert_eq!(
        world.status().uplinks[1].state,
        State::Down,
        "delay is not loss"
    );
}

#[test]
fn a_portal_is_named_and_where_asked_for_counts_as_down() {
    for (handshakes, state) in [("report", State::Up), ("judge", State::Down)] {
        let mut world = world("period = \"5s\"", &format!("handshakes = \"{handshakes}\""));
        world.set("a", &flow(20, 2));
        world.set("b", &flow(20, 2));
        world.run_until(seconds(60));
        assert_eq!(first(&world).passive.cause, None);
        world.set(
            "a",
            &Setting {
                answered: Some(0),
                ..Setting::default()
            },
        );
        world.run_until(seconds(80));
        let status = first(&world);
        assert_eq!(status.passive.cause, Some(Cause::Portal), "{status:#?}");
        assert_eq!(status.state, state);
        assert!(status.reason.contains("portal"), "{}", status.reason);
        let warnings = world.status().warnings;
        assert!(
            warnings.iter().any(|w| w.contains("no TCP handshake")),
            "{warnings:?}"
        );
        assert_eq!(world.status().uplinks[1].passive.cause, None);
        // Traffic has left it: it is remembered for a while.
        world.set("a", &flow(0, 0));
        world.run_until(seconds(300));
        assert_eq!(first(&world).state, state);
        world.set("a", &flow(20, 2));
        world.run_until(seconds(310));
        assert_eq!(
            (first(&world).passive.cause, first(&world).state),
            (None, State::Up)
        );
    }
}

#[test]
fn answers_that_come_in_by_another_uplink_make_no_portal() {
    let mut world = world("period = \"5s\"", "handshakes = \"judge\"");
    world.set(
        "a",
        &Setting {
            answered: Some(0),
            ..flow(20, 2)
        },
    );
    world.set(
        "b",
        &Setting {
            answered: Some(2),
            begun: Some(0),
            ..flow(20, 0)
        },
    );
    world.run_until(seconds(300));
    assert_eq!(
        (first(&world).passive.cause, first(&world).state),
        (None, State::Up)
    );
}

#[test]
fn a_dead_uplink_is_no_portal() {
    let mut world = world("period = \"5s\"", "handshakes = \"judge\"");
    world.set("a", &flow(20, 2));
    world.run_until(seconds(60));
    world.set("a", &cut());
    world.run_until(seconds(200));
    let status = first(&world);
    assert_eq!((status.passive.cause, status.state), (None, State::Down));
    assert!(status.reason.contains("lost"), "{}", status.reason);
}
