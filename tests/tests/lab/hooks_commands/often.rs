//! How often hooks are run: their grace periods, and what becomes of more events than can be run.

use super::*;

#[test]
fn in_its_grace_period_a_hook_is_run_once_and_after_it_again() {
    let _turn = turn::alone();
    let notes = Notes::new();
    let often = hook("\"bad\"", &notes.line("often", "$PINGU_TIME"), "");
    let seldom = hook(
        "\"bad\"",
        &notes.line("seldom", "x"),
        "at_most_every = \"1h\"",
    );
    let again = hook(
        "\"bad\"",
        &notes.line("again", "$(date +%s%N)"),
        "at_most_every = \"1s\"",
    );
    let other = hook("\"bad\"", &notes.line("other", "x"), "uplinks = [\"lte\"]");
    let hooks = [often, seldom, again, other].concat();
    let (site, _settings, mut daemon) = started(Settings::quick(), &hooks);
    site.providers[0].black_hole();
    let times = notes.wait_for_lines("again", 3);
    let times: Vec<u64> = times.iter().map(|t| t.parse().expect("a number")).collect();
    for pair in times.windows(2) {
        let apart = Duration::from_nanos(pair[1] - pair[0]);
        // A start takes some milliseconds, one more and one less.
        assert!(apart > Duration::from_millis(900), "{times:?}");
        assert!(apart < Duration::from_millis(2000), "{times:?}");
    }
    // A burst each 200 ms for two seconds.
    let often = notes.lines("often").len();
    assert!((7..=20).contains(&often), "{often}");
    assert_eq!(notes.lines("seldom").len(), 1);
    assert_eq!(notes.lines("other").len(), 0);
    let seldom = wait_for_hook(&mut daemon, 1, "to be told", |h| {
        count(h, "suppressed") >= 7
    });
    assert_eq!(count(&seldom, "runs"), 1, "{seldom:#}");
}

#[test]
fn an_uplink_without_a_carrier_is_bad_as_long_as_it_is_down() {
    let _turn = turn::alone();
    let notes = Notes::new();
    let again = hook(
        "\"bad\"",
        &notes.line("again", "$PINGU_UPLINK $PINGU_REASON"),
        "at_most_every = \"1s\"",
    );
    let once = hook("\"bad\"", &notes.line("once", "$PINGU_UPLINK"), "");
    let (site, _settings, _daemon) = started(Settings::quick(), &[again, once].concat());
    site.providers[0].set_carrier(false);
    let lines = notes.wait_for_lines("again", 2);
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("fibre") && line.contains("carrier")),
        "{lines:?}"
    );
    assert_eq!(notes.lines("once"), ["fibre"]);
}

#[test]
fn events_beyond_the_queue_are_dropped_and_counted() {
    let _turn = turn::alone();
    let quick = Settings::new()
        .probe("targets = [\"8.8.8.8\"]\ncount = 1\nperiod = \"20ms\"\ntimeout = \"15ms\"")
        .health("max_lost = 0\nfall = 3\nmax_delay = \"15ms\"");
    let hooks = hook("\"bad\"", "exec sleep 1007", "uplinks = \"fibre\"");
    let (site, _settings, mut daemon) = started(quick, &hooks);
    site.providers[0].black_hole();
    let hook = wait_for_hook(&mut daemon, 0, "to drop events", |h| {
        count(h, "dropped") > 5
    });
    assert_eq!(count(&hook, "waiting"), 64, "{hook:#}");
    daemon.process().wait_for_log("its queue is full", DEADLINE);
    let status = daemon.status().expect("pingu answers");
    assert_eq!(status::state(&status, "lte"), "up", "{status:#}");
    assert!(daemon.stop().success());
}
