//! Probes one by one: how fast a cut is seen, and what a late answer does.
#![expect(
    clippy::disallowed_methods,
    reason = "the time from a cut to the new route is what is tested"
)]

use std::time::{Duration, Instant};

use pingu_tests::lab::{
    daemon::Daemon,
    delay::Delay,
    route_watch::{self, Pace, RouteWatch},
    settings::Settings,
    site::{Plan, TARGET},
    status::{self, counter},
    turn,
};

use crate::running::{running, two_uplinks};

const DEADLINE: Duration = Duration::from_secs(20);

/// Cuts per test: the phase between a cut and the probes is another one each time.
const CUTS: usize = 8;

/// What commands and looks take on a busy machine, on top of what the probing itself does.
const SLACK: Duration = Duration::from_millis(50);

fn rolling(lines: &str) -> Settings {
    Settings::new()
        .probe("targets = [\"8.8.8.8\"]\nmode = \"rolling\"")
        .probe(lines)
}

/// The times from each of some cuts to the new route, in order.
fn cut_times(settings: Settings) -> Vec<Duration> {
    let settings = two_uplinks(settings);
    let (site, mut daemon) = running(&settings);
    let (fibre, lte) = (site.ifindex(0), site.ifindex(1));
    let mut times = Vec::new();
    for _ in 0..CUTS {
        let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
        let start = Instant::now();
        site.providers[0].black_hole();
        // Taken after the command: the cut is somewhere in between.
        let cut = Instant::now();
        route_watch::wait_until_by(&site.router, TARGET, lte, DEADLINE);
        daemon.wait_until_down("fibre");
        site.providers[0].repair();
        daemon.wait_until_up(&["fibre", "lte"]);
        route_watch::wait_until_by(&site.router, TARGET, fibre, DEADLINE);
        let sightings = watch.finish();
        assert_eq!(sightings.count.without_route, 0, "{sightings:?}");
        let moved = sightings
            .changes
            .iter()
            .find(|change| change.ifindex == Some(lte));
        let at = moved.expect("the route moved").at;
        assert!(at >= start);
        times.push(at.saturating_duration_since(cut));
    }
    times.sort();
    times
}

#[test]
fn a_black_hole_is_three_lost_probes_ten_milliseconds_apart() {
    let _turn = turn::alone();
    let times = cut_times(rolling(
        "interval = \"10ms\"\ntimeout = \"10ms\"\nwindow = \"500ms\"",
    ));
    println!("10 ms x 3, black hole to new route: {times:?}");
    // The first lost probe, two more, and the last one's timeout.
    let most = Duration::from_millis(40) + SLACK;
    assert!(times.iter().all(|time| *time <= most), "{times:?}");
    assert!(times[CUTS / 2] >= Duration::from_millis(15), "{times:?}");
}

#[test]
fn a_suspicion_finds_a_black_hole_long_before_three_timeouts() {
    let _turn = turn::alone();
    let times = cut_times(rolling(
        "interval = \"100ms\"\ntimeout = \"1s\"\nwindow = \"3s\"\nsuspect_interval = \"5ms\"",
    ));
    println!("100 ms, suspect_interval 5 ms, black hole to new route: {times:?}");
    let most = Duration::from_millis(100 + 30) + SLACK;
    assert!(times.iter().all(|time| *time <= most), "{times:?}");
}

#[test]
fn a_late_answer_is_counted_as_late_and_its_loss_taken_back() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let delay = Delay::start(&site.providers[0]);
    let settings = rolling("interval = \"50ms\"\ntimeout = \"100ms\"\nwindow = \"5s\"")
        .health("fall = 20\nmax_delay = \"1s\"")
        .uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    delay.set(Duration::from_millis(300));
    let status = daemon.wait_for("late answers", DEADLINE, |status| {
        counter(status::target(status, "fibre", 0), "late") >= 50
    });
    let target = status::target(&status, "fibre", 0);
    // Those whose answers are on their way: 300 ms of them.
    assert!(counter(target, "lost") <= 8, "{target:#}");
    assert_eq!(status::state(&status, "fibre"), "up", "{status:#}");
    let causes = target["causes"].as_array().expect("a list");
    let late = causes.iter().find(|cause| cause["cause"] == "late");
    assert_eq!(late.expect("late")["count"], target["late"], "{target:#}");
    drop(delay);
}
