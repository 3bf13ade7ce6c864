//! What happens to pingu itself: stopped for a while, or robbed of its hooks. Nothing may be concluded from that.

use std::{thread, time::Duration};

use pingu_tests::lab::{
    daemon::Daemon,
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{LEARNED_METRIC, Plan, TARGET},
    status::{self, counter},
    turn,
    wait::wait_until,
};

use crate::running::two_uplinks;

const DEADLINE: Duration = Duration::from_secs(10);

/// Many periods and timeouts of a quick daemon.
const STOPPED: Duration = Duration::from_millis(1500);

#[test]
fn a_daemon_that_was_stopped_for_a_while_concludes_nothing() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));

    let before = sent(&status);
    for _ in 0..3 {
        daemon.process().signal(libc::SIGSTOP);
        // Time that passes is what is tested here.
        thread::sleep(STOPPED);
        daemon.process().signal(libc::SIGCONT);
        let at = sent(&daemon.status().unwrap());
        daemon.wait_for("two bursts more", DEADLINE, |status| {
            assert!(status::all_up(status, &["fibre", "lte"]), "{status:#}");
            sent(status) >= at + 6
        });
    }

    let sightings = watch.finish();
    assert_eq!(
        sightings.changes.len(),
        1,
        "the route stays where it was: {sightings:?}"
    );
    let status = daemon.status().unwrap();
    let fibre = status::target(&status, "fibre", 0);
    assert!(sent(&status) >= before + 18, "{fibre:#}");
    assert_eq!(counter(fibre, "lost"), 0, "{fibre:#}");
}

#[test]
fn an_uplink_whose_hooks_were_deleted_keeps_its_route() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = two_uplinks(Settings::quick().top("receive_hook = \"clsact\""));
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    assert_eq!(status::uplink(&status, "fibre")["engine"], "clsact");
    wait_until("both own routes", DEADLINE, || {
        match routes::own(&site.router).len() {
            2 => Ok(()),
            other => Err(format!("{other} own routes")),
        }
    });
    let before = routes::own(&site.router);

    // What some traffic shapers do when they start.
    site.router
        .run(&["tc", "qdisc", "del", "dev", "wan1", "clsact"]);
    let blind = daemon.wait_for("a dozen probes that were not seen", DEADLINE, |status| {
        counter(status::target(status, "fibre", 0), "not_sent") >= 12
    });
    assert_eq!(status::state(&blind, "fibre"), "up", "{blind:#}");
    // What was on its way when the hooks went is missed by no fault of the daemon's: less than a burst.
    let lost = counter(status::target(&blind, "fibre", 0), "lost");
    assert!(lost < 3, "{blind:#}");
    assert_eq!(routes::own(&site.router), before);
}

#[test]
fn a_learned_route_of_metric_zero_is_overlaid_only_by_adoption() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    // As clients leave it that know no metrics; the kernel takes it before any other.
    site.providers[0].leave_default(&site.router, 0);
    site.providers[1].leave_default(&site.router, LEARNED_METRIC);
    let before = routes::defaults(&site.router);
    {
        let settings = two_uplinks(Settings::quick());
        let mut daemon = Daemon::start(&site.router, &settings);
        let status = daemon.wait_until_up(&["fibre", "lte"]);
        let warnings = status["warnings"].to_string();
        assert!(
            warnings.contains("metric 0") && warnings.contains("adopt"),
            "{warnings}"
        );
        daemon.stop();
    }
    assert_eq!(routes::defaults(&site.router), before);

    let settings = two_uplinks(Settings::quick().top("learned_routes = \"adopt\""));
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    site.providers[0].repair();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    daemon.stop();
    assert_eq!(routes::defaults(&site.router), before);
}

fn sent(status: &serde_json::Value) -> u64 {
    counter(status::target(status, "fibre", 0), "sent")
}
