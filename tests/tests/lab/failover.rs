//! Failover and failback, timed from the instant of the cut, and never an instant without a default route.
#![expect(
    clippy::disallowed_methods,
    reason = "the time from a cut to the new route is what is tested"
)]

use std::time::{Duration, Instant};

use pingu_tests::lab::{
    route_monitor::RouteMonitor,
    route_watch::{self, Pace, RouteWatch, Sightings},
    routes,
    settings::Settings,
    site::{Site, TARGET},
    status,
    stopwatch::Stopwatch,
    turn,
    wait::wait_until,
};

use crate::running::{running, two_uplinks};

const DEADLINE: Duration = Duration::from_secs(10);

/// The goals.
const BLACK_HOLE_MAX: Duration = Duration::from_millis(700);
const CARRIER_LOSS_MAX: Duration = Duration::from_millis(100);

/// Cuts per test: the phase between a cut and the running burst is another one each time.
const CUTS: usize = 5;

#[test]
fn a_black_hole_moves_the_default_route_in_time_and_without_a_gap() {
    let _turn = turn::alone();
    fall_into_black_holes("auto");
}

#[test]
fn by_sockets_a_black_hole_moves_the_default_route_in_time_and_without_a_gap() {
    let _turn = turn::alone();
    fall_into_black_holes("socket");
}

fn fall_into_black_holes(engine: &str) {
    let times = cut_and_repair(
        engine,
        |site| site.providers[0].black_hole(),
        |site| site.providers[0].repair(),
    );
    println!("black hole to new route: {times:?}");
    assert!(
        times.iter().all(|time| *time <= BLACK_HOLE_MAX),
        "{times:?}"
    );
}

#[test]
fn a_lost_carrier_moves_the_default_route_at_once_and_without_a_gap() {
    let _turn = turn::alone();
    let times = cut_and_repair(
        "auto",
        |site| site.providers[0].set_carrier(false),
        |site| site.providers[0].set_carrier(true),
    );
    println!("carrier loss to new route: {times:?}");
    assert!(
        times.iter().all(|time| *time <= CARRIER_LOSS_MAX),
        "{times:?}"
    );
}

/// Cuts and repairs the first uplink several times; gives the times from each cut to the new route.
fn cut_and_repair(engine: &str, cut: impl Fn(&Site), repair: impl Fn(&Site)) -> Vec<Duration> {
    let quick = Settings::quick().top(&format!("engine = \"{engine}\""));
    let settings = two_uplinks(quick);
    let (site, mut daemon) = running(&settings);
    let (fibre, lte) = (site.ifindex(0), site.ifindex(1));
    let monitor = RouteMonitor::start(&site.router);
    let mut times = Vec::new();
    for _ in 0..CUTS {
        let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
        // Taken before the command starts: the true instant of the cut is a few milliseconds later.
        let stopwatch = Stopwatch::start();
        cut(&site);
        route_watch::wait_until_by(&site.router, TARGET, lte, DEADLINE);
        let stalled = stopwatch.stalled();
        daemon.wait_until_down("fibre");
        repair(&site);
        daemon.wait_until_up(&["fibre", "lte"]);
        route_watch::wait_until_by(&site.router, TARGET, fibre, DEADLINE);
        let sightings = watch.finish();
        println!("the watch: {:?}", sightings.count);
        times.push(time_to(&sightings, lte, stopwatch.started()).saturating_sub(stalled));
        assert_eq!(sightings.count.without_route, 0, "{sightings:?}");
        let moves: Vec<_> = sightings
            .changes
            .iter()
            .map(|change| change.ifindex)
            .collect();
        assert_eq!(
            moves,
            [Some(fibre), Some(lte), Some(fibre)],
            "one move there and one back"
        );
    }
    assert!(monitor.fewest_defaults() >= 1, "{:?}", monitor.events());
    assert!(!monitor.events().is_empty());
    times
}

#[test]
fn traffic_goes_back_only_after_the_hold_down() {
    let _turn = turn::alone();
    let hold_down = Duration::from_millis(1500);
    let settings = two_uplinks(Settings::quick().health("hold_down = \"1500ms\""));
    let (site, mut daemon) = running(&settings);
    let (fibre, lte) = (site.ifindex(0), site.ifindex(1));
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, lte, DEADLINE);
    daemon.wait_until_down("fibre");

    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let start = Instant::now();
    site.providers[0].repair();
    let status = daemon.wait_until_up(&["fibre"]);
    assert_eq!(
        status["active"], "lte",
        "up, but not yet trusted: {status:#}"
    );
    route_watch::wait_until_by(&site.router, TARGET, fibre, DEADLINE);
    let time = time_to(&watch.finish(), fibre, start);
    println!("repair to failback: {time:?} with a hold-down of {hold_down:?}");
    assert!(time >= hold_down, "{time:?}");
    assert!(time <= hold_down + Duration::from_secs(1), "{time:?}");
}

#[test]
fn an_uplink_that_falls_again_during_its_hold_down_gets_no_traffic() {
    let _turn = turn::alone();
    let settings = two_uplinks(Settings::quick().health("hold_down = \"2s\""));
    let (site, mut daemon) = running(&settings);
    let lte = site.ifindex(1);
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, lte, DEADLINE);
    daemon.wait_until_down("fibre");
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    for _ in 0..3 {
        site.providers[0].repair();
        daemon.wait_until_up(&["fibre"]);
        site.providers[0].black_hole();
        daemon.wait_until_down("fibre");
    }
    let sightings = watch.finish();
    assert_eq!(
        sightings.changes.len(),
        1,
        "the route stays where it was: {sightings:?}"
    );
    assert_eq!(sightings.changes[0].ifindex, Some(lte));
}

#[test]
fn when_every_uplink_is_down_the_last_good_one_keeps_its_route() {
    let _turn = turn::alone();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let (fibre, lte) = (site.ifindex(0), site.ifindex(1));
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, lte, DEADLINE);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    site.providers[1].black_hole();
    daemon.wait_until_down("lte");
    assert_eq!(status::state(&daemon.status().unwrap(), "fibre"), "down");
    assert!(
        routes::own_over(&site.router, "wan2").is_some(),
        "{:?}",
        routes::own(&site.router)
    );
    site.providers[0].repair();
    daemon.wait_until_up(&["fibre"]);
    route_watch::wait_until_by(&site.router, TARGET, fibre, DEADLINE);
    let sightings = watch.finish();
    assert_eq!(sightings.count.without_route, 0, "{sightings:?}");
    let moves: Vec<_> = sightings
        .changes
        .iter()
        .map(|change| change.ifindex)
        .collect();
    assert_eq!(moves, [Some(lte), Some(fibre)]);
}

#[test]
fn a_worse_uplink_that_dies_moves_nothing() {
    let _turn = turn::alone();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    site.providers[1].black_hole();
    daemon.wait_until_down("lte");
    wait_until(
        "the own route of lte to go",
        DEADLINE,
        || match routes::own_over(&site.router, "wan2") {
            None => Ok(()),
            Some(route) => Err(route),
        },
    );
    let sightings = watch.finish();
    assert_eq!(sightings.changes.len(), 1, "{sightings:?}");
    assert_eq!(sightings.count.without_route, 0);
}

#[track_caller]
fn time_to(sightings: &Sightings, ifindex: u32, since: Instant) -> Duration {
    let at = sightings.first_by(ifindex, since);
    at.unwrap_or_else(|| panic!("the route never left by {ifindex}: {sightings:?}")) - since
}
