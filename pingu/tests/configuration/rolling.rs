//! Probing one by one, as its keys say it.

use std::time::Duration;

use pingu::config::{LossLimit, ProbeMode, RollingConfig, Rule};

use crate::{GOOD, good, problems};

fn rolling(text: &str) -> RollingConfig {
    match good(text).uplinks[0].probe.mode {
        ProbeMode::Rolling(rolling) => rolling,
        ProbeMode::Burst(burst) => panic!("{burst:?}"),
    }
}

#[test]
fn rolling_has_defaults_of_its_own() {
    let text = format!("{GOOD}mode = \"rolling\"\n");
    assert_eq!(
        rolling(&text),
        RollingConfig {
            interval: Duration::from_millis(500),
            window: Duration::from_secs(60),
            suspect_interval: None,
        }
    );
    let health = good(&text).uplinks[0].health;
    assert_eq!(health.fail.loss, LossLimit::Percent(20));
    assert_eq!(health.recover, health.fail);
    assert_eq!(health.rule, Rule::InARow { fall: 3, rise: 3 });
}

#[test]
fn the_default_window_holds_ten_probes_at_least() {
    let text = format!("{GOOD}mode = \"rolling\"\ninterval = \"10s\"\n");
    assert_eq!(rolling(&text).window, Duration::from_secs(110));
}

#[test]
fn a_millisecond_is_an_interval_and_a_window_of_a_minute_holds_it() {
    let text = format!(
        "{GOOD}mode = \"rolling\"\ninterval = \"1ms\"\ntimeout = \"1ms\"\nsuspect_interval = \"300us\"\n"
    );
    assert_eq!(rolling(&text).window_probes(), 60_000);
}

#[test]
fn window_of_an_uplink_is_a_duration_of_probes_or_a_number_of_bursts() {
    let text = format!("{GOOD}mode = \"rolling\"\nwindow = \"30s\"\n");
    assert_eq!(rolling(&text).window, Duration::from_secs(30));
    let config = good(&format!("{GOOD}window = 30\n"));
    assert!(matches!(
        config.uplinks[0].health.rule,
        Rule::Window { window: 30, .. }
    ));
    assert_eq!(
        problems(&format!("{GOOD}window = true\n")),
        ["f:6:10: error: `uplink[1].window` must be a whole number from 1 to 1000, not true"]
    );
}

#[test]
fn an_uplink_in_another_mode_inherits_nothing_that_counts_bursts() {
    let text = GOOD.replace(
        "[[uplink]]",
        "count = 4\n[health]\nmax_lost = 0\nfall = 1\nrise = 1\nmax_delay = \"50ms\"\nhold_down = \"9s\"\n[[uplink]]",
    );
    let config = good(&format!(
        "{text}[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\nmode = \"rolling\"\n"
    ));
    let health = config.uplinks[1].health;
    assert_eq!(health.fail.loss, LossLimit::Percent(20));
    assert_eq!(health.rule, Rule::InARow { fall: 3, rise: 3 });
    assert_eq!(health.fail.max_delay, Duration::from_millis(50));
    assert_eq!(health.hold_down, Duration::from_secs(9));
    assert_eq!(good(&config.to_toml()), config);
}

#[test]
fn uplinks_of_both_modes_with_equal_rules_are_printed_so_that_they_read_back() {
    let config = good(&format!(
        "{GOOD}fall = 2\nrise = 2\nmax_loss = 10\n[[uplink]]\nname = \"b\"\ninterface = \"wan1\"\nmode = \"rolling\"\n\
         fall = 2\nrise = 2\nmax_loss = 10\nrecover_loss = 5\nsuspect_interval = \"50ms\"\n"
    ));
    assert_eq!(good(&config.to_toml()), config);
}

#[test]
fn losses_are_limited_by_share_in_both_modes() {
    let text = format!("{GOOD}max_loss = 30\nrecover_loss = 10\n");
    let health = good(&text).uplinks[0].health;
    assert_eq!(health.fail.loss, LossLimit::Percent(30));
    assert_eq!(health.recover.loss, LossLimit::Percent(10));
    assert_eq!(LossLimit::Percent(30).of(10), 3);
    assert_eq!(LossLimit::Percent(30).of(9), 2);
    assert_eq!(LossLimit::Percent(100).of(u32::MAX), u32::MAX);
}

#[test]
fn each_rule_of_rolling_has_its_message() {
    let rolling = format!("{GOOD}mode = \"rolling\"\n");
    for (text, message) in [
        (
            format!("{GOOD}mode = \"roling\"\n"),
            "f:6:8: error: `uplink[1].mode` must be one of \"burst\", \"rolling\", not \"roling\"",
        ),
        (
            format!("{rolling}count = 4\n"),
            "f:7:9: error: `uplink[1].count` is for mode \"burst\"; mode \"rolling\" has `interval`, `window` and \
             `suspect_interval`",
        ),
        (
            GOOD.replace("[[uplink]]", "interval = \"1s\"\n[[uplink]]"),
            "f:3:12: error: `probe.interval` is for mode \"rolling\"; mode \"burst\" has `period`, `count`, `spacing` and \
             `suspect_interval`",
        ),
        (
            GOOD.replace("[[uplink]]", "mode = \"rolling\"\n[[uplink]]") + "period = \"1s\"\n",
            "f:7:10: error: `uplink[1].period` is for mode \"burst\"; mode \"rolling\" has `interval`, `window` and \
             `suspect_interval`",
        ),
        (
            format!("{rolling}window = \"1499ms\"\n"),
            "f:7:10: error: `window` 1499ms is shorter than `interval` and `timeout` together (1500ms): no probe would be \
             judged while it counts",
        ),
        (
            format!("{rolling}window = \"2400ms\"\n"),
            "f:3:1: error: 3 probes in a row, 500ms apart, and the `timeout` take 2500ms, longer than the `window` 2400ms in \
             which they count",
        ),
        (
            format!("{rolling}interval = \"1ms\"\nwindow = \"10m\"\n"),
            "f:8:10: error: `window` 10m holds 600000 probes, 1ms apart, and 65536 is the most",
        ),
        (
            format!("{rolling}suspect_interval = \"501ms\"\n"),
            "f:7:20: error: `suspect_interval` 501ms is longer than `interval` 500ms: a suspicion is to be cleared up faster",
        ),
        (
            format!("{GOOD}period = \"1s\"\nsuspect_interval = \"1001ms\"\n"),
            "f:7:20: error: `suspect_interval` 1001ms is longer than `period` 1s: a suspicion is to be cleared up faster",
        ),
        (
            format!("{GOOD}count = 3\nspacing = \"50ms\"\nsuspect_interval = \"100ms\"\n"),
            "f:8:20: error: `suspect_interval` 100ms is not longer than a burst: 3 requests, 50ms apart, take 100ms",
        ),
        (
            format!("{rolling}window = 5\n"),
            "f:7:10: error: `window` as a number counts bursts, and in mode \"rolling\" there are none: `fall`, `rise` and the \
             limits over [probe] `window` (a duration) judge",
        ),
        (
            format!("{rolling}max_lost = 120\n"),
            "f:7:12: warning: `max_lost` 120 is not below the probes of `window`, 120: only a window without any reply is bad \
             by its losses",
        ),
        (
            format!("{rolling}max_lost = 5\nmax_loss = 5\n"),
            "f:7:12: error: `max_lost` and `max_loss` exclude each other: two limits for one thing",
        ),
        (
            format!("{rolling}recover_lost = 5\n"),
            "f:7:16: error: `recover_lost` is a number of probes, and the limit of losses is in percent: say `recover_loss`",
        ),
        (
            format!("{rolling}recover_loss = 21\n"),
            "f:7:16: error: `recover_loss` 21 is above `max_loss` 20: what comes up must be better than what stays up",
        ),
    ] {
        assert_eq!(problems(&text), [message], "{text}");
    }
}
