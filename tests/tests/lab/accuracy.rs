//! The round-trip times that pingu publishes, against the packet capture's own.

use std::time::Duration;

use pingu_tests::lab::{
    capture::{self, Capture},
    daemon::{Daemon, START_DEADLINE},
    load::Load,
    settings::Settings,
    site::{Plan, TARGET},
    status, turn,
};

/// The goal.
const TOLERANCE: Duration = Duration::from_micros(10);

/// The kernel's own stamps are a few microseconds outside of the hooks'.
const TOLERANCE_BY_SOCKETS: Duration = Duration::from_micros(20);

/// So many round-trip times the daemon's figures are about: both medians are over the same probes.
const WINDOW: usize = 128;

/// A few windows in.
const ANSWERS: u64 = 400;

#[test]
fn the_median_rtt_is_the_captures_own_on_an_idle_machine() {
    let _turn = turn::alone();
    compare_medians("auto", TOLERANCE);
}

#[test]
fn the_median_rtt_is_the_captures_own_on_a_busy_machine() {
    let _turn = turn::alone();
    let _load = Load::start(Duration::from_secs(60));
    compare_medians("auto", TOLERANCE);
}

#[test]
fn by_sockets_the_median_rtt_is_the_captures_own_on_an_idle_machine() {
    let _turn = turn::alone();
    compare_medians("socket", TOLERANCE_BY_SOCKETS);
}

#[test]
fn by_sockets_the_median_rtt_is_the_captures_own_on_a_busy_machine() {
    let _turn = turn::alone();
    let _load = Load::start(Duration::from_secs(60));
    compare_medians("socket", TOLERANCE_BY_SOCKETS);
}

fn compare_medians(engine: &str, tolerance: Duration) {
    let site = Plan::new(&["wan1"]).build();
    let settings = Settings::new()
        .top(&format!("engine = \"{engine}\""))
        .probe("targets = [\"8.8.8.8\"]\ncount = 10\nspacing = \"10ms\"\nperiod = \"100ms\"\ntimeout = \"500ms\"")
        .uplink("fibre", "wan1", "auto", 88);
    let capture = Capture::start(&site.router, "wan1");
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_for("some hundred answers", START_DEADLINE, |status| {
        status::counter(status::target(status, "fibre", 0), "answered") >= ANSWERS
    });
    daemon.stop();
    let target = status::target(&status, "fibre", 0);
    let answered = status::counter(target, "answered") as usize;
    let published_us = target["rtt_us"]["p50"]
        .as_f64()
        .expect("a target that answered has a median");

    let exchanges = capture.finish();
    let seen: Vec<Duration> = exchanges
        .iter()
        .filter(|e| e.target == TARGET)
        .filter_map(|e| e.rtt())
        .take(answered)
        .collect();
    assert_eq!(
        seen.len(),
        answered,
        "the capture saw fewer answers than pingu"
    );
    let window = seen[answered - WINDOW..].to_vec();
    let captured_us = capture::median(window).as_secs_f64() * 1e6;
    println!(
        "median of {WINDOW} behind {answered}: published {published_us:.3} us, captured {captured_us:.3} us"
    );
    let difference_us = (published_us - captured_us).abs();
    assert!(
        difference_us <= tolerance.as_secs_f64() * 1e6,
        "published {published_us} us, captured {captured_us} us"
    );
}
