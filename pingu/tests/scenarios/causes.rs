//! Why probes were not answered: every one has a cause, and people are told the main one.

use std::{net::IpAddr, time::Duration};

use pingu::{
    engine::{CauseKind, State, TargetStatus},
    probe::{IcmpError, Remarks, SendResult},
    units::Ifindex,
};

use crate::{
    properties::Random,
    world::{Setting, World},
};

const BURSTS: &str = "period = \"1s\"\ncount = 10\nspacing = \"20ms\"\ntimeout = \"200ms\"\n";
const ROLLING: &str =
    "mode = \"rolling\"\ninterval = \"100ms\"\ntimeout = \"200ms\"\nwindow = \"10s\"\n";

fn world(probe: &str) -> World {
    World::new(&format!(
        "[probe]\ntargets = [\"192.0.2.99\"]\n{probe}[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\ngateway = \"10.0.0.1\"\n\
         [[uplink]]\nname = \"b\"\ninterface = \"wan1\"\ngateway = \"10.0.1.1\"\n"
    ))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn black_hole() -> Setting {
    Setting {
        answers: Some(false),
        ..Setting::default()
    }
}

fn error(kind: u8, code: u8) -> Remarks {
    Remarks {
        error: Some(IcmpError {
            from: IpAddr::from([192, 0, 2, 1]),
            kind,
            code,
        }),
        ..Remarks::default()
    }
}

fn target(world: &World) -> TargetStatus {
    world.status().uplinks[0].targets[0].clone()
}

fn count(target: &TargetStatus, kind: CauseKind) -> u64 {
    let of_kind = target.causes.iter().filter(|cause| cause.cause == kind);
    of_kind.map(|cause| cause.count).sum()
}

/// Everything that was sent is accounted for, and everything that was not answered has a cause.
fn adds_up(target: &TargetStatus) {
    let settled = target.answered + target.lost + target.late + target.not_sent;
    assert_eq!(target.sent, settled + target.pending, "{target:#?}");
    let beside = [CauseKind::Duplicate, CauseKind::Forged];
    let causes = target.causes.iter();
    let caused: u64 = causes
        .filter(|cause| !beside.contains(&cause.cause))
        .map(|cause| cause.count)
        .sum();
    let missing = target.lost + target.late + target.not_sent;
    assert_eq!(caused, missing, "{target:#?}");
    assert_eq!(count(target, CauseKind::Late), target.late);
    assert_eq!(count(target, CauseKind::NoNeighbour), target.no_neighbour);
}

#[test]
fn each_cause_is_counted_and_told() {
    let by = Some(Ifindex(3));
    let remarks = Remarks::default();
    for (unanswered, kind, reason) in [
        (remarks, CauseKind::NoReply, "10 of 10 lost"),
        (
            error(3, 13),
            CauseKind::IcmpError,
            "10 of 10 lost; 192.0.2.1 says: communication administratively prohibited (type 3, code 13) to 10 of 10",
        ),
        (
            Remarks {
                wrong_uplink: 1,
                came_in_by: by,
                ..remarks
            },
            CauseKind::WrongUplink,
            "10 of 10 lost; answers come in by wan1 to 10 of 10",
        ),
        (
            Remarks {
                corrupt: 2,
                ..remarks
            },
            CauseKind::Corrupt,
            "10 of 10 lost; answers are damaged to 10 of 10",
        ),
    ] {
        let mut world = world(BURSTS);
        world.run_until(Duration::from_millis(5500));
        world.wire(0).unanswered = unanswered;
        world.set("a", &black_hole());
        world.run_until(Duration::from_millis(8900));
        let (status, target) = (world.status(), target(&world));
        assert_eq!(status.uplinks[0].state, State::Down);
        assert_eq!(status.uplinks[0].reason, format!("192.0.2.99: {reason}"));
        assert_eq!(count(&target, kind), 30, "{target:#?}");
        adds_up(&target);
    }
}

#[test]
fn what_never_left_is_told_with_its_cause() {
    for (vanish, strayed_to, refusal, kind, reason) in [
        (
            true,
            None,
            None,
            CauseKind::Vanished,
            "probes vanish before they leave",
        ),
        (
            true,
            Some(Ifindex(3)),
            None,
            CauseKind::WrongInterface,
            "probes vanish before they leave; tried to leave by wan1: 10 of 10",
        ),
        (
            false,
            None,
            Some(SendResult::NotSent(libc::ENETDOWN)),
            CauseKind::NotSent,
            "nothing sent: Network is down (os error 100)",
        ),
    ] {
        let mut world = world(BURSTS);
        let wire = world.wire(0);
        wire.vanish = vanish;
        wire.unanswered.strayed_to = strayed_to;
        wire.refusal = refusal;
        world.run_until(seconds(5));
        let (status, target) = (world.status(), target(&world));
        assert_eq!(status.uplinks[0].state, State::Unknown);
        assert_eq!(status.uplinks[0].reason, reason);
        assert!(count(&target, kind) >= 40, "{target:#?}");
        adds_up(&target);
    }
}

#[test]
fn the_own_queue_is_told_apart_from_the_line() {
    let mut world = world(BURSTS);
    world.wire(0).refusal = Some(SendResult::Dropped(libc::ENOBUFS));
    world.run_until(seconds(3));
    let target = target(&world);
    assert!(
        count(&target, CauseKind::DroppedLocally) >= 20,
        "{target:#?}"
    );
    adds_up(&target);
}

#[test]
fn an_error_that_quotes_the_probe_ends_its_waiting() {
    let mut world = world("period = \"2s\"\ncount = 3\nspacing = \"20ms\"\ntimeout = \"1s\"\n");
    world.run_until(Duration::from_millis(5000));
    world.wire(0).unanswered = error(3, 1);
    world.set("a", &black_hole());
    // The burst of 6.0 ends at 6.04.
    world.run_until(Duration::from_millis(6100));
    assert_eq!(world.status().uplinks[0].state, State::Down);
    let mut world =
        self::world("period = \"2s\"\ncount = 3\nspacing = \"20ms\"\ntimeout = \"1s\"\n");
    world.run_until(Duration::from_millis(5000));
    // A redirect says nothing of the kind.
    world.wire(0).unanswered = error(5, 1);
    world.set("a", &black_hole());
    world.run_until(Duration::from_millis(7000));
    assert_eq!(world.status().uplinks[0].state, State::Up);
    world.run_until(Duration::from_millis(7100));
    assert_eq!(world.status().uplinks[0].state, State::Down);
    assert_eq!(count(&target(&world), CauseKind::NoReply), 3);
}

#[test]
fn duplicates_and_forgeries_are_counted_once_and_fail_nothing() {
    for probe in [BURSTS, ROLLING] {
        let mut world = world(probe);
        world.wire(0).answered = Remarks {
            duplicates: 2,
            forged: 5,
            ..Remarks::default()
        };
        world.run_until(seconds(100));
        let target = target(&world);
        let (duplicates, forged) = (
            count(&target, CauseKind::Duplicate),
            count(&target, CauseKind::Forged),
        );
        // Those of the probes whose slots were used again; each has two and five.
        assert_eq!(forged * 2, duplicates * 5);
        assert!(
            duplicates / 2 <= target.sent && duplicates / 2 + 130 >= target.sent,
            "{target:#?}"
        );
        assert_eq!((target.lost, world.changes("a")), (0, 1));
        adds_up(&target);
    }
}

#[test]
fn over_random_lives_every_probe_has_one_cause() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut world = world([BURSTS, ROLLING][(seed % 2) as usize]);
        let mut at = Duration::ZERO;
        for _ in 0..60 {
            at += Duration::from_millis(random.below(1500));
            world.run_until(at);
            adds_up(&target(&world));
            let pick = random.below(8);
            let wire = world.wire(0);
            wire.vanish = pick == 0;
            wire.refusal = match pick {
                1 => Some(SendResult::NotSent(100 + random.below(30) as i32)),
                2 => Some(SendResult::Dropped(libc::ENOBUFS)),
                _ => None,
            };
            wire.unanswered = match random.below(4) {
                0 => error(3, random.below(16) as u8),
                1 => Remarks {
                    wrong_uplink: 1,
                    came_in_by: Some(Ifindex(random.below(9) as u32 + 1)),
                    ..Remarks::default()
                },
                _ => Remarks::default(),
            };
            world.set(
                "a",
                &Setting {
                    loss_percent: Some(random.below(101) as u8),
                    rtt_ms: Some(random.below(500)),
                    jitter_ms: Some(random.below(200)),
                    neighbour: Some(random.below(5) > 0),
                    carrier: Some(random.below(9) > 0),
                    ..Setting::default()
                },
            );
            if random.below(6) == 0 {
                world.stall(Duration::from_millis(random.below(5000)));
                at = at.max(world.elapsed());
            }
        }
        world.set(
            "a",
            &Setting {
                carrier: Some(true),
                ..Setting::default()
            },
        );
        world.run_until(at + seconds(20));
        let target = target(&world);
        adds_up(&target);
        assert!(target.causes.len() <= 16 + 12, "{target:#?}");
    }
}

#[test]
fn a_report_that_comes_after_the_deadline_is_told_too() {
    let mut world = world("period = \"5s\"\ncount = 3\nspacing = \"20ms\"\ntimeout = \"200ms\"\n");
    world.run_until(seconds(4));
    world.set("a", &black_hole());
    world.run_until(seconds(6));
    assert_eq!(count(&target(&world), CauseKind::NoReply), 3);
    // The router has given up its search for the target.
    world.note_late(error(3, 1));
    world.run_until(seconds(12));
    let (status, target) = (world.status(), target(&world));
    assert_eq!(count(&target, CauseKind::IcmpError), 3, "{target:#?}");
    let reason = &status.uplinks[0].reason;
    assert!(
        reason.ends_with("; 192.0.2.1 says: host unreachable (type 3, code 1)"),
        "{reason}"
    );
    adds_up(&target);
}

#[test]
fn why_says_it_all() {
    let mut world = world(BURSTS);
    world.run_until(Duration::from_millis(5500));
    world.wire(0).unanswered = error(3, 13);
    world.set("a", &black_hole());
    world.run_until(Duration::from_millis(8900));
    let text = pingu::control::why::render(&world.why("a"));
    for part in [
        "a (wan0) is down since 1970-01-01T00:00:06",
        "Routes: its routes have yielded: it leaves by b.",
        "Target 192.0.2.99 is down since 1970-01-01T00:00:06",
        "bursts of 10 every 1 s, answers within 200 ms: at most 5 lost, mean RTT below 100 ms; up after 1 good ones in a row, \
         down after 1 bad ones",
        "30 x icmp-error (192.0.2.1: communication administratively prohibited (type 3, code 13)), last 1970-01-01T00:00:08",
        "reported that the probe was not delivered",
        "Ask whoever runs",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let why = world.why("b");
    assert_eq!(why.uplinks.len(), 1);
    assert_eq!(why.uplinks[0].routes, "traffic leaves by it");
}
