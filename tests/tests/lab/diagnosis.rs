//! What pingu says of an uplink that does not work: the cause, not just the state.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::{Daemon, START_DEADLINE},
    settings::Settings,
    site::Plan,
    status::{self, counter},
    turn,
};

use crate::running::two_uplinks;

const DEADLINE: Duration = Duration::from_secs(15);

#[test]
fn a_gateway_that_does_not_answer_arp_is_named() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    site.providers[0].set_arp(false);
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["lte"]);
    let status = daemon.wait_for("the reason to name the gateway", DEADLINE, |status| {
        status::state(status, "fibre") == "down"
            && status::reason(status, "fibre").contains("10.0.1.1")
    });
    let target = status::target(&status, "fibre", 0);
    assert_eq!(
        counter(target, "answered") + counter(target, "lost"),
        0,
        "what never left is not lost: {target:#}"
    );

    site.providers[0].set_arp(true);
    daemon.wait_until_up(&["fibre"]);
}

#[test]
fn a_dead_target_is_named_and_not_the_gateway() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    site.providers[0].black_hole();
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_down("fibre");
    let reason = status::reason(&status, "fibre");
    assert!(
        reason.contains("8.8.8.8") && !reason.contains("10.0.1.1"),
        "{reason}"
    );
    assert!(
        counter(status::target(&status, "fibre", 0), "lost") >= 2,
        "{status:#}"
    );
}

#[test]
fn a_missing_interface_is_named_and_waited_for() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["fibre"]);
    assert_ne!(status::state(&status, "lte"), "up");
    assert!(
        status::reason(&status, "lte").contains("wan2"),
        "{}",
        status::reason(&status, "lte")
    );
    assert!(
        status::uplink(&status, "lte")["engine"].is_null(),
        "{status:#}"
    );
}

#[test]
fn a_lost_carrier_is_told_from_lost_packets() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    site.providers[0].set_carrier(false);
    let status = daemon.wait_until_down("fibre");
    let reason = status::reason(&status, "fibre");
    assert!(reason.contains("carrier"), "{reason}");
}

#[test]
fn a_slow_uplink_is_down_because_of_its_delay() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = Settings::quick()
        .uplink_with("fibre", "wan1", "auto", 88, "max_delay = \"1us\"")
        .uplink("lte", "wan2", "auto", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["lte"]);
    let status = daemon.wait_for("the delay to count", START_DEADLINE, |status| {
        status::state(status, "fibre") == "down" && status::reason(status, "fibre").contains("RTT")
    });
    assert_eq!(
        counter(status::target(&status, "fibre", 0), "lost"),
        0,
        "{status:#}"
    );
}

#[test]
fn probes_that_are_too_long_for_the_wire_are_not_sent_and_not_lost() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = Settings::quick()
        .uplink_with("fibre", "wan1", "auto", 88, "size = 2000")
        .uplink("lte", "wan2", "auto", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["lte"]);
    let status = daemon.wait_for("some probes of the fibre", DEADLINE, |status| {
        counter(status::target(status, "fibre", 0), "not_sent") >= 6
    });
    assert_eq!(
        status::state(&status, "fibre"),
        "unknown",
        "nothing was asked, so nothing is known: {status:#}"
    );
    let reason = status::reason(&status, "fibre");
    assert!(reason.contains("too long"), "{reason}");
    assert_eq!(counter(status::target(&status, "fibre", 0), "lost"), 0);
}

#[test]
fn a_renamed_interface_is_missed_and_found_again() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    site.router.ip("link set wan1 name spare");
    let status = daemon.wait_until_down("fibre");
    let reason = status::reason(&status, "fibre");
    assert!(reason.contains("wan1"), "{reason}");
    site.router.ip("link set spare name wan1");
    daemon.wait_until_up(&["fibre"]);
}
