//! Scripts that try to hurt, while the lab fails over on time and probes leave on time.

use std::time::Duration;

use pingu_tests::lab::{
    capture::Capture,
    route_watch::{Pace, RouteWatch},
    settings::Settings,
    site::TARGET,
    stopwatch::Stopwatch,
    turn,
};

use super::{leaves_by, start, with};

/// The goal for a black hole, as without a script.
const BLACK_HOLE_MAX: Duration = Duration::from_millis(700);

/// From the last probe of a burst to the first of the next (100 ms), and what a busy machine adds. With nothing that hinders it the
/// sender is some hundred microseconds late.
const PROBE_GAP_MAX: Duration = Duration::from_millis(180);

/// Bodies of functions, each of which would hold up whoever waited for it.
const ABUSE: [&str; 16] = [
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "while true do xpcall(function() while true do end end, function() while true do end end) end",
    "local s = 'x' while true do s = s .. s end",
    "return ('x'):rep(2^31)",
    "local function f() return 1 + f() end return f()",
    "local function f() f() f() end f()",
    "coroutine.wrap(function() while true do end end)()",
    "while true do local c = coroutine.create(function() while true do end end) coroutine.resume(c) end",
    "xpcall(error, function() error('again') end) while true do end",
    "local t = {} while true do t[#t + 1] = {} end",
    "return (('a'):rep(30000)):find(('a-'):rep(50) .. 'b')",
    "while true do pcall(string.rep, 'x', 1e6) end",
    "while true do pingu.after(0, function() while true do end end) end",
    "while true do pcall(pingu.unprefer) pcall(pingu.log, ('x'):rep(10000)) end",
    "while true do pcall(pingu.pin, nil) pcall(pingu.route, { to = '10.99.0.0/16', dev = 'wan2' }) end",
];

/// Cuts the first uplink and repairs it; gives the time to the new route and the longest gap between two probes of the second.
fn cut_under(settings: &Settings) -> (Duration, Duration) {
    let (site, mut daemon) = start(settings);
    leaves_by(&site, 0);
    let capture = Capture::start(&site.router, "wan2");
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    let stopwatch = Stopwatch::start();
    site.providers[0].black_hole();
    leaves_by(&site, 1);
    let (cut, stalled) = (stopwatch.started(), stopwatch.stalled());
    daemon.wait_until_down("fibre");
    site.providers[0].repair();
    daemon.wait_until_up(&["fibre", "lte"]);
    leaves_by(&site, 0);
    let sightings = watch.finish();
    let moved = sightings
        .first_by(site.ifindex(1), cut)
        .expect("it was seen");
    let mut sent: Vec<u64> = capture
        .finish()
        .iter()
        .map(|exchange| exchange.request_ns)
        .collect();
    sent.sort_unstable();
    // Two bursts at least, and what lies between them.
    assert!(sent.len() >= 6, "{sent:?}");
    let gaps = sent.windows(2).map(|pair| pair[1] - pair[0]);
    let gap = Duration::from_nanos(gaps.max().expect("there are some"));
    let moved = (moved - cut).saturating_sub(stalled);
    (moved, gap.saturating_sub(stopwatch.stalled()))
}

#[test]
fn no_abuse_delays_a_failover_or_a_probe() {
    let _turn = turn::alone();
    for (index, body) in ABUSE.iter().enumerate() {
        let script = match index % 3 {
            0 => format!("function rank(uplinks) {body} end"),
            1 => format!("function rank(uplinks) {body} end function veto(from, to) {body} end"),
            _ => format!("local function again() pingu.after(0, again) {body} end again()"),
        };
        let (moved, gap) = cut_under(&with("script = \"policy.lua\"", &script));
        println!("{moved:?}, gap {gap:?}: {script}");
        assert!(moved < BLACK_HOLE_MAX, "{moved:?}: {script}");
        assert!(gap < PROBE_GAP_MAX, "{gap:?}: {script}");
    }
}

#[test]
fn a_script_that_waits_for_a_program_holds_up_nothing() {
    let _turn = turn::alone();
    let script = "function rank(uplinks) os.execute('sleep 5') end\n\
                  function veto(from, to) os.execute('sleep 5') return true end";
    let (moved, gap) = cut_under(&with("script = \"policy.lua\"\nsandbox = false", script));
    println!("{moved:?}, gap {gap:?}");
    assert!(moved < BLACK_HOLE_MAX, "{moved:?}");
    assert!(gap < PROBE_GAP_MAX, "{gap:?}");
}
