//! Those who come from py-pingu.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use pingu_tests::lab::{
    daemon::START_DEADLINE,
    delay::Delay,
    routes,
    site::{Plan, Site},
    status, turn,
    wait::wait_until,
};
use serde_json::Value;

use super::{DEADLINE, Moved};

const ENO2: &str = "default via 10.0.1.1 dev eno2 proto 136 .. metric 88";
const WLO1: &str = "default via 10.0.2.1 dev wlo1 proto 136 .. metric 50";

fn leased() -> Site {
    Plan::new(&["eno2", "wlo1"]).dhcp().build()
}

#[test]
fn py_pingu_s_example_imported_has_each_route_only_while_the_host_answers_well_over_it() {
    let _turn = turn::shared();
    let site = leased();
    let before = routes::defaults(&site.router);
    let moved = Moved::import("py-pingu.json", site, &["eno2", "wlo1"]);
    // The leased ones are taken over.
    moved.wait_for_defaults(&[WLO1, ENO2]);
    let watch = moved.watch();

    moved.site.providers[0].lose_of_each(6, 10);
    moved.wait_for_defaults(&[WLO1]);

    // Five of ten are as many as may be lost.
    moved.site.providers[0].lose_of_each(5, 10);
    moved.wait_for_defaults(&[WLO1, ENO2]);
    moved.site.providers[1].black_hole();
    moved.wait_for_defaults(&[ENO2]);
    moved.traffic_leaves_by(0);

    moved.site.providers[0].repair();
    moved.site.providers[1].repair();
    moved.wait_for_defaults(&[WLO1, ENO2]);
    moved.traffic_leaves_by(1);

    let delay = Delay::start(&moved.site.providers[0]);
    delay.set(Duration::from_millis(150));
    moved.wait_for_defaults(&[WLO1]);
    drop(delay);
    assert_eq!(watch.finish().count.without_route, 0);
    assert!(moved.daemon.stop().success());
    assert_eq!(routes::defaults(&moved.site.router), before);
}

#[test]
fn py_pingu_s_example_runs_as_it_is_and_learns_a_gateway_that_comes_later() {
    let _turn = turn::shared();
    let site = Plan::new(&["eno2", "wlo1"]).without_defaults().build();
    site.providers[0].leave_default(&site.router, 1000);
    let mut moved = Moved::direct("py-pingu.json", site, &["eno2"]);
    // No gateway, no route.
    moved.wait_for_defaults(&[ENO2]);
    moved.site.providers[1].leave_default(&moved.site.router, 1001);
    moved.wait_for_defaults(&[WLO1, ENO2]);
    moved.site.providers[1].set_carrier(false);
    moved.wait_for_defaults(&[ENO2]);
    moved.site.providers[1].set_carrier(true);
    moved.daemon.wait_until_up(&["wlo1"]);

    moved.daemon.process().signal(libc::SIGUSR1);
    let deadline = START_DEADLINE;
    let gateways = "\"ipv4\":\"10.0.1.1\"";
    moved.daemon.process().wait_for_log(gateways, deadline);
    let log = moved.daemon.process().log();
    assert!(log.contains("\"ipv4\":\"10.0.2.1\""), "{log}");
}

#[test]
fn py_pingu_s_reset_script_is_run_when_a_burst_is_bad_and_not_again_within_its_grace_period() {
    let _turn = turn::shared();
    let site = Plan::new(&["eno2", "wlo1"]).build();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = |name: &str| directory.path().join(name);
    fs::write(
        path("reset"),
        format!("#!/bin/sh\necho reset >> {}\n", path("ran").display()),
    )
    .and_then(|()| fs::set_permissions(path("reset"), Permissions::from_mode(0o700)))
    .expect("a temporary file can be written");
    let text = format!(
        r#"{{"host": "8.8.8.8", "period": 0.5, "interfaces": {{
            "eno2": {{"metric": 88, "count": 1, "max_lost": 0, "reset_script": "{}", "reset_script_grace_period": 600}},
            "wlo1": {{"metric": 89, "count": 1, "max_lost": 0}} }} }}"#,
        path("reset").display()
    );
    fs::write(path("config.json"), text).expect("a temporary file can be written");
    let ran = path("ran");
    let runs = || fs::read_to_string(&ran).unwrap_or_default().lines().count();
    let mut moved = Moved::run(&path("config.json"), site, directory, &["eno2", "wlo1"]);
    assert_eq!(runs(), 0);
    moved.site.providers[0].black_hole();
    moved.traffic_leaves_by(1);
    wait_until("the script", DEADLINE, || {
        (runs() == 1).then_some(()).ok_or_else(String::new)
    });
    let lost = |status: &Value| status::counter(status::target(status, "eno2", 0), "lost");
    let before = lost(&moved.daemon.status().expect("the daemon runs"));
    moved
        .daemon
        .wait_for("more bad bursts", DEADLINE, |status| {
            lost(status) >= before + 3
        });
    moved.site.providers[0].repair();
    moved.traffic_leaves_by(0);
    assert_eq!(runs(), 1);
}
