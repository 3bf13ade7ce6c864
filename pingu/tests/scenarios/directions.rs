//! Directions by a reflector behind the wire, through the whole engine.

use std::time::Duration;

use pingu::engine::{DirectionsStatus, State};

use crate::{
    wires::Reflector,
    world::{Setting, World},
};

const BURSTS: &str = "period = \"1s\"\ncount = 10\nspacing = \"20ms\"\ntimeout = \"200ms\"\n";
const ROLLING: &str =
    "mode = \"rolling\"\ninterval = \"100ms\"\ntimeout = \"200ms\"\nwindow = \"10s\"\n";

fn world(probe: &str) -> World {
    let mut world = World::new(&format!(
        "[probe]\ntargets = [\"192.0.2.99\"]\nreflect = true\n{probe}[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n\
         gateway = \"10.0.0.1\"\n[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\ngateway = \"10.0.1.1\"\n"
    ));
    world.wire(0).reflector = Some(Reflector {
        // It wraps soon.
        count: u32::MAX - 100,
        ..Reflector::default()
    });
    world
}

fn directions(world: &World) -> Option<DirectionsStatus> {
    world.status().uplinks[0].targets[0].directions.clone()
}

fn live(world: &mut World, time: Duration) {
    world.run_until(world.elapsed() + time);
}

fn reflector(world: &mut World) -> &mut Reflector {
    world.wire(0).reflector.as_mut().expect("it was put there")
}

#[test]
fn each_direction_s_losses_are_told_to_the_probe_in_both_modes() {
    for probe in [BURSTS, ROLLING] {
        for (forward, backward) in [(0, 0), (30, 0), (0, 30), (30, 30)] {
            let mut world = world(probe);
            live(&mut world, Duration::from_secs(30));
            assert_eq!(directions(&world).and_then(|found| found.fault), None);
            reflector(&mut world).forward_loss_percent = forward;
            reflector(&mut world).backward_loss_percent = backward;
            live(&mut world, Duration::from_secs(12));
            reflector(&mut world).forward_loss_percent = 0;
            reflector(&mut world).backward_loss_percent = 0;
            live(&mut world, Duration::from_secs(3));
            let found = directions(&world).expect("there are reflections");
            let Reflector {
                forward_lost,
                backward_lost,
                ..
            } = *reflector(&mut world);
            assert_eq!(
                (found.forward_lost, found.backward_lost),
                (forward_lost, backward_lost),
                "{probe} {found:?}"
            );
            let reason = world.status().uplinks[0].reason.clone();
            assert_eq!(reason.contains("on the way there"), forward > 0, "{reason}");
            assert_eq!(reason.contains("on the way back"), backward > 0, "{reason}");
            live(&mut world, Duration::from_secs(60));
            let found = directions(&world).expect("there are reflections");
            assert_eq!(
                (found.forward_lost, found.backward_lost),
                (0, 0),
                "it passes"
            );
        }
    }
}

#[test]
fn a_reflector_that_restarts_or_goes_leaves_no_nonsense() {
    for probe in [BURSTS, ROLLING] {
        let mut world = world(probe);
        live(&mut world, Duration::from_secs(10));
        for count in [7, 1 << 30, u32::MAX - 3] {
            reflector(&mut world).count = count;
            live(&mut world, Duration::from_millis(2_345));
            let found = directions(&world).expect("there are reflections");
            assert_eq!(
                (found.forward_lost, found.backward_lost),
                (0, 0),
                "{found:?}"
            );
        }
        // The kernel answers in its place.
        let before = world.wire(0).reflector.take();
        live(&mut world, Duration::from_secs(10));
        world.wire(0).reflector = before;
        live(&mut world, Duration::from_secs(5));
        let found = directions(&world).expect("there are reflections");
        assert_eq!(
            (found.forward_lost, found.backward_lost),
            (0, 0),
            "{found:?}"
        );
        assert_eq!(world.status().uplinks[0].state, State::Up);
    }
}

#[test]
fn an_outage_of_the_whole_wire_is_the_forward_way_s() {
    let mut world = world(BURSTS);
    live(&mut world, Duration::from_secs(10));
    let dead = |answers| Setting {
        answers: Some(answers),
        ..Setting::default()
    };
    world.set("a", &dead(false));
    live(&mut world, Duration::from_secs(60));
    let during = directions(&world).expect("there were reflections");
    assert!(during.untold > 400, "{during:?}");
    assert_eq!((during.forward_lost, during.backward_lost), (0, 0));
    world.set("a", &dead(true));
    live(&mut world, Duration::from_secs(2));
    let after = directions(&world).expect("there are reflections");
    assert!(after.forward_lost > 400, "{after:?}");
    assert_eq!((after.backward_lost, after.untold), (0, 0), "{after:?}");
}

#[test]
fn targets_that_are_not_asked_tell_nothing() {
    let world = world(BURSTS);
    let status = world.status();
    assert_eq!(status.uplinks[1].targets[0].directions, None);
}
