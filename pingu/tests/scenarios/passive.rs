//! What traffic changes about probing, in virtual time: probes left out, probes at once, budgets.

mod handshakes;

use std::time::Duration;

use pingu::engine::{State, UplinkStatus};

use crate::world::{Setting, World};

const SEEDS: u64 = 20;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The same, probed one by one.
fn rolling(probe: &str, health: &str) -> World {
    World::new(&format!(
        "[probe]\nmode = \"rolling\"\ntargets = [\"192.0.2.99\"]\ntimeout = \"200ms\"\n{probe}\n[health]\n{health}\n\
         [[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\n"
    ))
}

/// Two uplinks with these keys in `[probe]` and `[health]`.
fn world(probe: &str, health: &str) -> World {
    World::new(&format!(
        "[probe]\ntargets = [\"192.0.2.99\"]\ncount = 4\nspacing = \"20ms\"\ntimeout = \"200ms\"\n{probe}\n\
         [health]\nmax_lost = 1\n{health}\n\
         [[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\n"
    ))
}

/// Traffic of an uplink that works: so many packets a second in each direction, and handshakes.
fn flow(packets: u64, handshakes: u64) -> Setting {
    Setting {
        ingress: Some(packets),
        egress: Some(packets),
        begun: Some(handshakes),
        answered: Some(handshakes),
        ..Setting::default()
    }
}

fn cut() -> Setting {
    Setting {
        answers: Some(false),
        ..Setting::default()
    }
}

fn first(world: &World) -> UplinkStatus {
    world.status().uplinks[0].clone()
}

/// Lives on until the first uplink is in a state, in small steps; how long that took.
#[track_caller]
fn time_until(world: &mut World, state: State, from: Duration, most: Duration) -> Duration {
    let mut at = from;
    while first(world).state != state {
        assert!(
            at <= from + most,
            "still {:?}: {:#?}",
            first(world).state,
            first(world)
        );
        at += millis(5);
        world.run_until(at);
    }
    at - from
}

#[test]
fn with_traffic_hardly_any_burst_is_sent_and_after_it_the_cut_is_found_as_soon_as_ever() {
    for seed in 0..SEEDS {
        let (period, fall) = (seconds(1 + seed % 7), 1 + seed % 3);
        let keys = format!(
            "period = \"{}s\"\nprobe_when = \"idle\"\nsilence = \"0s\"",
            period.as_secs()
        );
        let mut world = world(&keys, &format!("fall = {fall}"));
        world.run_until(seconds(3));
        world.set("a", &flow(50, 1));
        let end = seconds(200) + millis(seed * 317);
        world.run_until(end);
        let status = first(&world);
        let (sent, skipped) = (status.targets[0].sent, status.targets[0].skipped);
        assert!(
            sent <= 4 * (3 / period.as_secs() + 3),
            "seed {seed}: {sent} sent"
        );
        assert!(
            skipped >= 190 / period.as_secs(),
            "seed {seed}: {skipped} skipped"
        );
        assert_eq!(status.state, State::Up);
        world.set("a", &cut());
        let took = time_until(&mut world, State::Down, end, seconds(60));
        // As a cut without any traffic: a period until the first burst, then the others.
        let late = period * fall as u32 + millis(80 + 200 + 50);
        assert!(took <= late, "seed {seed}: {took:?}, {late:?}");
    }
}

#[test]
fn probes_one_by_one_are_left_out_as_well() {
    for interval_ms in [500_u64, 2000] {
        let keys =
            format!("interval = \"{interval_ms}ms\"\nprobe_when = \"idle\"\nsilence = \"0s\"");
        let mut world = rolling(&keys, "fall = 3");
        world.run_until(seconds(10));
        world.set("a", &flow(50, 1));
        let begun = first(&world).targets[0].sent;
        let end = seconds(600);
        world.run_until(end);
        let status = first(&world);
        assert!(status.targets[0].sent <= begun + 5, "{status:#?}");
        assert_eq!(status.state, State::Up);
        world.set("a", &cut());
        let took = time_until(&mut world, State::Down, end, seconds(60));
        let late = millis(interval_ms) * 3 + millis(200 + 50);
        assert!(took <= late, "{took:?}, {late:?}");
    }
}

#[test]
fn a_budget_holds_for_probes_one_by_one_and_a_failure_is_found_by_silence() {
    let keys = "interval = \"500ms\"\nbudget = \"100kB/day\"\nsilence = \"2s\"";
    let mut world = rolling(keys, "fall = 3\nhandshakes = \"off\"");
    world.set("a", &flow(20, 0));
    let at = seconds(6 * 3600);
    world.run_until(at);
    let status = first(&world);
    assert!(
        (20_000..25_000).contains(&status.passive.spent),
        "{}",
        status.passive.spent
    );
    assert_eq!(status.state, State::Up);
    world.set("a", &cut());
    let took = time_until(&mut world, State::Down, at, seconds(30));
    assert!(took <= seconds(6), "{took:?}");
}

#[test]
fn when_traffic_ends_bursts_go_on_at_once() {
    let mut world = world("period = \"60s\"\nprobe_when = \"idle\"", "");
    world.set("a", &flow(50, 1));
    world.run_until(seconds(290));
    let before = first(&world).targets[0].sent;
    assert!(before <= 8, "{before}");
    world.set("a", &flow(0, 0));
    world.run_until(seconds(297));
    let after = first(&world).targets[0].sent;
    assert_eq!(after, before + 4, "one burst within seven seconds");
}

#[test]
fn however_much_passes_a_burst_is_sent_each_so_often() {
    let keys = "period = \"5s\"\nprobe_when = \"idle\"\nprobe_at_least = \"1m\"";
    let mut world = world(keys, "");
    world.set("a", &flow(50, 1));
    world.run_until(seconds(20));
    let before = first(&world).targets[0].sent;
    world.run_until(seconds(20 + 600));
    let bursts = (first(&world).targets[0].sent - before) / 4;
    assert!((10..=11).contains(&bursts), "{bursts} in ten minutes");
}

#[test]
fn what_proves_nothing_saves_nothing() {
    let what = [
        (
            "a trickle",
            Setting {
                ingress: Some(0),
                egress: Some(50),
                ..Setting::default()
            },
        ),
        (
            "only in",
            Setting {
                ingress: Some(5000),
                egress: Some(0),
                ..Setting::default()
            },
        ),
        (
            "errors",
            Setting {
                ingress: Some(1),
                egress: Some(500),
                ..Setting::default()
            },
        ),
        (
            "no handshake",
            Setting {
                ingress: Some(50),
                egress: Some(50),
                begun: Some(5),
                answered: Some(0),
                ..Setting::default()
            },
        ),
        ("nothing counts", Setting::default()),
    ];
    for (what, setting) in what {
        let mut world = world(
            "period = \"5s\"\nprobe_when = \"idle\"\nsilence = \"0s\"",
            "",
        );
        world.run_until(seconds(2));
        world.set("a", &setting);
        world.run_until(seconds(302));
        assert_eq!(first(&world).targets[0].skipped, 0, "{what}");
    }
}

#[test]
fn an_uplink_that_is_not_up_is_probed_whatever_passes() {
    let mut world = world(
        "period = \"5s\"\nprobe_when = \"idle\"",
        "handshakes = \"off\"",
    );
    world.set(
        "a",
        &Setting {
            pings: Some(false),
            ..flow(50, 1)
        },
    );
    world.run_until(seconds(302));
    let status = first(&world);
    assert_eq!((status.state, status.targets[0].skipped), (State::Down, 0));
}

#[test]
fn a_silence_finds_a_cut_long_before_the_next_burst() {
    for fall in 1..4_u32 {
        let mut world = world(
            "period = \"60s\"\nsilence = \"2s\"",
            &format!("fall = {fall}"),
        );
        world.set("a", &flow(20, 0));
        let at = seconds(70);
        world.run_until(at);
        world.set("a", &cut());
        let took = time_until(&mut world, State::Down, at, seconds(20));
        assert!(took >= seconds(2), "{took:?}");
        // The silence, when it began and when it is seen by a tick of 500 ms, then each burst and a tick.
        let late = seconds(3) + millis(80 + 200 + 500) * fall;
        assert!(took <= late, "fall {fall}: {took:?}");
        assert_eq!(world.status().uplinks[1].state, State::Up);
    }
}

#[test]
fn packets_that_nobody_answers_cause_few_bursts() {
    let mut world = world("period = \"10m\"\nsilence = \"2s\"", "");
    world.run_until(seconds(5));
    let before = first(&world).targets[0].sent;
    world.set(
        "a",
        &Setting {
            egress: Some(10),
            ..Setting::default()
        },
    );
    world.run_until(seconds(305));
    let status = first(&world);
    assert_eq!(status.state, State::Up);
    assert_eq!(
        status.targets[0].sent,
        before + 4,
        "one burst for one silence"
    );
    // Something comes in now and then: each time another silence begins.
    for n in 0..100 {
        let ingress = Some(n % 2 * 100);
        world.set(
            "a",
            &Setting {
                ingress,
                ..Setting::default()
            },
        );
        world.run_until(seconds(305 + 3 * (n + 1)));
    }
    let bursts = (first(&world).targets[0].sent - before) / 4;
    assert!((5..=17).contains(&bursts), "{bursts} in five minutes");
}

#[test]
fn a_budget_is_kept_to_the_end_of_the_day_and_spent_evenly() {
    // One burst is 2 * 4 * 98 = 784 bytes: 90 % of 400 kB are 459 bursts, one each 188 s.
    let keys = "period = \"5s\"\nbudget = \"400kB/day\"\nsilence = \"0s\"";
    let mut world = world(keys, "handshakes = \"off\"");
    let hour = 3600;
    world.run_until(seconds(6 * hour));
    let status = first(&world);
    assert_eq!(status.passive.budget, Some(400_000));
    assert_eq!(
        status.passive.resets_at.as_deref(),
        Some("2026-11-02T00:00:00Z")
    );
    let stretched = status
        .passive
        .stretched_to_s
        .expect("the period is stretched");
    assert!((180.0..196.0).contains(&stretched), "{stretched}");
    let quarter = 85_000..95_000;
    assert!(
        quarter.contains(&status.passive.spent),
        "{}",
        status.passive.spent
    );
    let exactly = |status: &UplinkStatus| {
        let target = &status.targets[0];
        (target.sent - target.not_sent + target.answered + target.late) * 98
    };
    assert_eq!(status.passive.spent, exactly(&status));
    world.run_until(seconds(24 * hour - 1));
    let spent = first(&world).passive.spent;
    assert!(
        (340_000..=361_000).contains(&spent),
        "{spent}: a tenth is kept"
    );
    world.run_until(seconds(24 * hour + 10));
    assert!(first(&world).passive.spent < 1000, "a new day");
}

#[test]
fn a_failure_on_a_budget_is_found_by_silence_and_decided_at_full_pace() {
    let keys = "period = \"5s\"\nbudget = \"10MB/month\"\nsilence = \"2s\"";
    let mut world = world(keys, "fall = 3\nhandshakes = \"off\"");
    world.set("a", &flow(20, 0));
    let at = seconds(3600);
    world.run_until(at);
    assert!(first(&world).passive.stretched_to_s.is_some());
    world.set("a", &cut());
    let took = time_until(&mut world, State::Down, at, seconds(30));
    assert!(took <= seconds(8), "{took:?}");
}

#[test]
fn an_exhausted_budget_still_leaves_an_uplink_judged() {
    let keys = "period = \"5s\"\nbudget = \"1kB/month\"\nprobe_at_least = \"2m\"\nsilence = \"0s\"";
    let mut world = world(keys, "");
    let at = seconds(3600);
    world.run_until(at);
    let bursts = first(&world).targets[0].sent / 4;
    assert!((28..=34).contains(&bursts), "{bursts} bursts in an hour");
    world.set("a", &cut());
    time_until(&mut world, State::Down, at, seconds(121));
}

#[test]
fn what_passes_is_published_with_its_rates() {
    let mut world = world("period = \"5s\"", "");
    world.set("a", &flow(50, 3));
    world.run_until(seconds(120));
    let passive = first(&world).passive;
    let traffic = passive.traffic.expect("it is counted");
    assert!(traffic.total.ingress_packets >= 5900, "{traffic:?}");
    assert!(
        (traffic.ingress_packets_per_s - 50.0).abs() < 1.0,
        "{traffic:?}"
    );
    assert!(
        (traffic.ingress_bytes_per_s - 50_000.0).abs() < 1000.0,
        "{traffic:?}"
    );
    let handshakes = passive.handshakes.expect("they are counted");
    assert!((174..=196).contains(&handshakes.begun), "{handshakes:?}");
    assert_eq!(handshakes.share, Some(1.0));
    assert_eq!(world.status().uplinks[1].passive.traffic, None);
}
