//! Other programs that take pingu's routes for theirs to remove or replace: pingu holds its ground, within bounds, and says who.
#![expect(
    clippy::disallowed_methods,
    reason = "own routes must be back within a second, and writes are bounded by time"
)]

use std::time::{Duration, Instant};

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    process::Process,
    route_monitor::RouteMonitor,
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{Plan, Site, TARGET},
    stopwatch::Stopwatch,
    turn,
    wait::wait_until,
};

use crate::running::{running, two_uplinks};

const DEADLINE: Duration = Duration::from_secs(10);

/// The goal: a route that was taken away is back within this time.
const MENDED_MAX: Duration = Duration::from_secs(1);

/// In a fight that goes on, a route that traffic can do without is put back every ten seconds.
const TRUCE: Duration = Duration::from_secs(12);

/// Additions that a daemon with two uplinks may make at once, and each second in the long run: its whole budget.
const BURST: usize = 80;
const PER_SECOND: usize = 2;

#[test]
fn each_of_many_deletions_is_mended_within_a_second() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let before = routes::own(&site.router);
    let mut slowest = Duration::ZERO;
    for _ in 0..15 {
        let start = Stopwatch::start();
        site.router.ip("route del default proto 136 metric 88");
        wait_for_own(&site, &before);
        slowest = slowest.max(start.elapsed());
    }
    println!("the slowest: {slowest:?}");
    assert!(slowest <= MENDED_MAX, "{slowest:?}");
    wait_until_warned(&mut daemon, &["default route over wan1", "deleted"]);
}

#[test]
fn what_tidies_up_all_foreign_routes_at_once_is_mended_within_a_second() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, _daemon) = running(&settings);
    let before = routes::own(&site.router);
    // systemd-networkd with ManageForeignRoutes takes all but the kernel's, at each reconfiguration.
    let start = Stopwatch::start();
    site.router
        .ip_batch("route flush proto 136\nroute flush proto dhcp\n");
    assert!(routes::own(&site.router).len() <= before.len());
    wait_for_own(&site, &before);
    assert!(start.elapsed() <= MENDED_MAX, "{:?}", start.elapsed());
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

#[test]
fn a_rival_that_deletes_one_route_for_ever_costs_few_writes_and_no_traffic() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let before = routes::own(&site.router);
    let monitor = RouteMonitor::start(&site.router);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    let start = Instant::now();
    let rival = rival(&site.router, "ip route del default proto 136 metric 88");
    daemon.wait_for("the fight to be told of", DEADLINE, |status| {
        warnings(status).contains("deleted")
    });
    // Long enough for a daemon without a bound to write some hundred times.
    wait_until("the rival to have raged", DEADLINE, || {
        let time = start.elapsed();
        if time >= Duration::from_secs(5) {
            Ok(())
        } else {
            Err(format!("{time:?}"))
        }
    });
    drop(rival);
    let elapsed = start.elapsed();
    let additions = additions(&monitor);
    println!("{additions} additions in {elapsed:?}");
    assert!(additions >= 3, "pingu gave in: {additions}");
    assert!(
        within_budget(additions, elapsed),
        "{additions} in {elapsed:?}"
    );
    assert_eq!(watch.finish().count.without_route, 0);
    wait_until("the route to be back", TRUCE, || {
        let own = routes::own(&site.router);
        if own == before {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
}

#[test]
fn the_only_defaults_there_are_come_back_each_time_within_a_second() {
    let _turn = turn::shared();
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "10.0.1.1", 88)
        .uplink("lte", "wan2", "10.0.2.1", 89);
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    let monitor = RouteMonitor::start(&site.router);
    let begin = Instant::now();
    for _ in 0..20 {
        let start = Stopwatch::start();
        site.router.ip("route flush proto 136");
        wait_until("a default to be back", DEADLINE, || {
            route_watch::way_to(&site.router, TARGET).ok_or_else(|| "none".to_owned())
        });
        assert!(start.elapsed() <= MENDED_MAX, "{:?}", start.elapsed());
    }
    assert!(within_budget(additions(&monitor), begin.elapsed()));
    wait_until_warned(&mut daemon, &["deleted"]);
}

#[test]
fn a_rival_that_replaces_an_own_route_is_not_fought_over_its_place() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let monitor = RouteMonitor::start(&site.router);
    // The kernel's replacement heeds neither protocol nor interface: what it hits is gone.
    let rival = rival(
        &site.router,
        "ip route replace default via 10.0.2.1 dev wan2 proto static metric 88",
    );
    daemon.wait_for("a word of it", DEADLINE, |status| {
        warnings(status).contains("88")
    });
    wait_until("the rival to have had its way", DEADLINE, || {
        let attempts = rival.log().matches(ATTEMPT).count();
        if attempts >= 30 {
            Ok(())
        } else {
            Err(format!("{attempts} attempts"))
        }
    });
    drop(rival);
    assert_eq!(additions(&monitor), 0, "{:?}", monitor.events());
    assert!(routes::own_over(&site.router, "wan2").is_some());
    let foreign = "default via 10.0.2.1 dev wan2 proto static metric 88";
    assert!(routes::defaults(&site.router).contains(&foreign.to_owned()));

    site.router.ip("route del default proto static metric 88");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    wait_until("the own route to be back", DEADLINE, || {
        routes::own_over(&site.router, "wan1").ok_or_else(|| "none".to_owned())
    });
}

/// What a rival writes each time.
const ATTEMPT: &str = "attempt";

/// A program that runs a command twenty times a second, whether that succeeds or not.
fn rival(namespace: &Namespace, what: &str) -> Process {
    let mut command = namespace.command("sh");
    command.args([
        "-c",
        &format!("while :; do {what} 2>&-; echo {ATTEMPT}; sleep 0.05; done"),
    ]);
    Process::spawn("rival", command)
}

fn wait_for_own(site: &Site, wanted: &[String]) {
    wait_until("own routes to be back", DEADLINE, || {
        let own = routes::own(&site.router);
        if own == wanted {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
}

fn additions(monitor: &RouteMonitor<'_>) -> usize {
    let is_addition = |event: &String| event.starts_with("default") && event.contains("proto 136");
    monitor
        .events()
        .iter()
        .filter(|event| is_addition(event))
        .count()
}

fn within_budget(additions: usize, time: Duration) -> bool {
    additions <= BURST + PER_SECOND * (time.as_secs() as usize + 1)
}

fn warnings(status: &serde_json::Value) -> String {
    status["warnings"].to_string()
}

#[track_caller]
fn wait_until_warned(daemon: &mut Daemon, texts: &[&str]) {
    daemon.wait_for("the fight to be told of", DEADLINE, |status| {
        texts.iter().all(|text| warnings(status).contains(text))
    });
}
