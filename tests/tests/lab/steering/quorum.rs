//! Several targets: how many must answer, and which of them is dead rather than the uplink.

use std::{net::Ipv4Addr, time::Duration};

use pingu_tests::lab::{
    route_watch::{self, Pace, RouteWatch},
    settings::Settings,
    site::{SECOND_TARGET, TARGET},
    status, turn,
};
use serde_json::Value;

use super::{DEADLINE, after_more_probes, stays};
use crate::running::running;

const TARGETS: [Ipv4Addr; 3] = [TARGET, SECOND_TARGET, Ipv4Addr::new(9, 9, 9, 9)];

/// An uplink with three targets falls when so many of them are blocked, and not before.
#[track_caller]
fn falls_with(quorum: &str, blocked_max: usize) {
    let _turn = turn::alone();
    let settings = Settings::quick().health(&format!("quorum = {quorum}"));
    let settings = two_uplinks_with_targets(settings);
    let (site, mut daemon) = running(&settings);
    if blocked_max > 0 {
        site.providers[0].block(&TARGETS[..blocked_max]);
        daemon.wait_for("the blocked ones to be down", DEADLINE, |status| {
            (0..blocked_max).all(|index| status::target(status, "fibre", index)["state"] == "down")
        });
        stays(&mut daemon, "up");
        let status = daemon.status().expect("pingu answers");
        assert_eq!(status["active"], "fibre", "{status:#}");
    }
    site.providers[0].block(&TARGETS[..=blocked_max]);
    let status = daemon.wait_until_down("fibre");
    assert_eq!(status::state(&status, "lte"), "up", "{status:#}");
    assert_eq!(status["dead_targets"], serde_json::json!([]), "{status:#}");
    println!("{}", status::reason(&status, "fibre"));
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    site.providers[0].repair();
    daemon.wait_until_up(&["fibre", "lte"]);
}

#[test]
fn with_quorum_all_one_blocked_target_fells_its_uplink() {
    falls_with("\"all\"", 0);
}

#[test]
fn with_quorum_two_an_uplink_stands_on_two_of_three_targets() {
    falls_with("2", 1);
}

#[test]
fn with_quorum_any_an_uplink_stands_on_its_last_target() {
    falls_with("\"any\"", 2);
}

#[test]
fn a_target_that_is_dead_everywhere_is_named_and_fells_no_uplink() {
    let _turn = turn::alone();
    let settings = two_uplinks_with_targets(Settings::quick().health("quorum = \"all\""));
    let (site, mut daemon) = running(&settings);
    let began = |status: &Value| {
        let since = |name| (status::state(status, name).to_owned(), since(status, name));
        [since("fibre"), since("lte")]
    };
    let before = began(&daemon.status().expect("pingu answers"));
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(Duration::from_millis(1)));
    for provider in &site.providers {
        provider.block(&[SECOND_TARGET]);
    }
    let status = daemon.wait_for("the dead target to be named", DEADLINE, |status| {
        status["dead_targets"] == serde_json::json!(["1.1.1.1"])
    });
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("1.1.1.1"), "{status:#}");
    assert_eq!(began(&after_more_probes(&mut daemon)), before);
    // It still counts that another target fails over one uplink alone.
    site.providers[0].block(&[SECOND_TARGET, TARGET]);
    daemon.wait_until_down("fibre");
    site.providers[0].block(&[SECOND_TARGET]);
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    assert_eq!(status["dead_targets"], serde_json::json!(["1.1.1.1"]));
    for provider in &site.providers {
        provider.repair();
    }
    let status = daemon.wait_for("the target to live again", DEADLINE, |status| {
        status["dead_targets"] == serde_json::json!([])
    });
    assert_eq!(since(&status, "lte"), before[1].1, "{status:#}");
    let moves = watch.finish().changes.len();
    assert!(moves <= 3, "there and back at most: {moves}");
}

fn since(status: &Value, name: &str) -> String {
    status::uplink(status, name)["since"].to_string()
}

/// Both uplinks with three targets.
fn two_uplinks_with_targets(settings: Settings) -> Settings {
    let targets = TARGETS.map(|target| format!("\"{target}\"")).join(", ");
    let lines = format!("targets = [{targets}]");
    settings
        .uplink_with("fibre", "wan1", "auto", 88, &lines)
        .uplink_with("lte", "wan2", "auto", 89, &lines)
}
