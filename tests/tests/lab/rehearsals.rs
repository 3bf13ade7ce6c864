//! What follows a decision is rehearsed before it, and never while every answer comes.

use std::{ffi::OsStr, time::Duration};

use pingu_tests::lab::{
    daemon::Daemon,
    settings::Settings,
    site::Plan,
    status::{self, counter},
};

use crate::running::two_uplinks;

const DEADLINE: Duration = Duration::from_secs(20);

/// A busy machine may wake the loop too late before one decision or the other, but not before all.
const CUTS: usize = 5;

/// Answers over which nothing is in doubt.
const CALM: u64 = 12;

const REHEARSED: &str = "rehearsed uplink=\"fibre\"";

#[test]
fn a_decision_is_rehearsed_before_it_and_nothing_is_while_answers_come() {
    let settings = two_uplinks(
        Settings::new()
            .probe("targets = [\"8.8.8.8\"]\nmode = \"rolling\"")
            .probe("interval = \"200ms\"\ntimeout = \"400ms\"\nwindow = \"20s\"")
            .health("fall = 3\nrise = 2\nmax_loss = 90"),
    );
    let site = Plan::new(&["wan1", "wan2"]).build();
    let level = [("RUST_LOG", OsStr::new("debug"))];
    let mut daemon = Daemon::start_with_environment(&site.router, &settings, &level);
    daemon.wait_until_up(&["fibre", "lte"]);
    daemon.wait_for("answers without a doubt", DEADLINE, |status| {
        counter(status::target(status, "fibre", 0), "answered") >= CALM
    });
    let calm = daemon.process().log();
    assert!(!calm.contains("rehearsed"), "{calm}");

    for _ in 0..CUTS {
        site.providers[0].black_hole();
        daemon.wait_until_down("fibre");
        site.providers[0].repair();
        daemon.wait_until_up(&["fibre", "lte"]);
    }
    let log = daemon.process().log();
    let is_fall = |line: &&str| {
        line.contains("uplink changed") && line.contains("\"fibre\"") && line.contains("to=Down")
    };
    assert_eq!(log.lines().filter(is_fall).count(), CUTS, "{log}");
    let (mut missed, mut near) = (0, 0);
    for part in log.split_inclusive("to=Down").take(CUTS) {
        missed += usize::from(part.contains(REHEARSED));
        near += usize::from(part.contains("is_near=true"));
    }
    assert_eq!(missed, CUTS, "each time something was missed first: {log}");
    assert!(near > 0, "none was just before the decision: {log}");
}
