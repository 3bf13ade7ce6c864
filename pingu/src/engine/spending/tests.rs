//! What is counted, when it starts anew, and how far apart bursts must be.

use jiff::Timestamp;

use super::*;
use crate::config::Config;

fn probe(keys: &str) -> ProbeConfig {
    let text = format!(
        "[probe]\ntargets = [\"192.0.2.1\"]\n{keys}\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n"
    );
    let (config, _) = Config::parse(&text, "test").unwrap();
    config.uplinks[0].probe.clone()
}

fn spending(keys: &str) -> Spending {
    let mut spending = Spending::new(&probe(keys));
    spending.header_bytes = 14;
    spending
}

fn second(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

const MONTHLY: &str = "budget = \"50MB/month\"";

/// One IPv4 packet with its Ethernet header.
const PACKET: u64 = 14 + 20 + 8 + 56;

#[test]
fn packets_of_both_families_are_counted_with_their_headers() {
    let mut spending = spending(MONTHLY);
    spending.take([10, 0]);
    assert_eq!(spending.spent, 10 * PACKET);
    assert_eq!(
        spending.spent_with([11, 2]),
        11 * PACKET + 2 * (PACKET + 20)
    );
    spending.take([9, 0]);
    assert_eq!(spending.spent, 9 * PACKET, "one vanished after all");
}

#[test]
fn a_thousandth_of_a_budget_is_much_until_it_is_noted() {
    let mut spending = spending(MONTHLY);
    spending.take([50_000 / PACKET, 0]);
    assert!(!spending.is_much_unnoted());
    spending.take([50_000 / PACKET + 1, 0]);
    assert!(spending.is_much_unnoted());
    spending.take_note();
    assert!(!spending.is_much_unnoted());
    // What an earlier run noted is no news.
    let hint = spending.hint("a");
    assert_eq!(hint, None, "nobody knows what day it is");
    let mut next = self::spending(MONTHLY);
    next.remember(&BudgetHint {
        uplink: "a".to_owned(),
        since_s: second("2026-11-01T00:00:00Z"),
        spent_bytes: 40_000_000,
    });
    assert!(!next.is_much_unnoted());
}

#[test]
fn checks_are_charged_with_link_headers_and_share_what_is_left() {
    let (now, probe) = (
        crate::engine::test_clock(),
        probe("budget = \"86400000B/day\""),
    );
    let mut spending = Spending::new(&probe);
    spending.header_bytes = 14;
    let cost = Cost {
        packets: 10,
        bytes: 1000,
    };
    assert_eq!(spending.charge(cost), 1140);
    assert_eq!(spending.spent_with([1, 0]), 1140 + PACKET);
    spending.keep_time(second("2026-11-30T00:00:00Z"), now);
    spending.spent = 0;
    let round = [10, 0];
    // Nine tenths of the budget are 900 bytes a second; the probes cost 392 of them.
    assert!(spending.stretch(&probe, round, false, now) < 1.0);
    let period = probe.mode.period();
    assert_eq!(spending.interval(&probe, round, false, now), period);
    spending.check_bytes_per_s = 1800.0;
    let stretch = spending.stretch(&probe, round, false, now);
    let probes_per_s = 2.0 * 10.0 * PACKET as f64 / period.as_secs_f64();
    let expected = (1800.0 + probes_per_s) / 900.0;
    assert!((stretch - expected).abs() < 0.01, "{stretch} {expected}");
    let interval = spending.interval(&probe, round, false, now);
    assert!((interval.as_secs_f64() / period.as_secs_f64() - stretch).abs() < 0.01);
    spending.spent = 86_400_000;
    assert_eq!(spending.stretch(&probe, round, true, now), f64::INFINITY);
    let free = Spending::new(&self::probe(""));
    assert_eq!(free.stretch(&probe, round, false, now), 1.0);
}

#[test]
fn a_new_month_begins_with_nothing_spent() {
    let now = crate::engine::test_clock();
    let mut spending = spending(MONTHLY);
    spending.take([10, 0]);
    spending.keep_time(second("2026-11-30T23:59:59Z"), now);
    assert_eq!(
        spending.spent,
        10 * PACKET,
        "the time of day was not known yet"
    );
    assert_eq!(spending.resets_s(), Some(second("2026-12-01T00:00:00Z")));
    assert!(spending.keep_time(second("2026-12-01T00:00:00Z"), now));
    assert_eq!(spending.spent, 0);
    spending.take([11, 0]);
    assert_eq!(spending.spent, PACKET);
}

#[test]
fn a_clock_that_goes_wrong_and_right_again_changes_nothing() {
    let now = crate::engine::test_clock();
    let mut spending = spending(MONTHLY);
    let right = second("2026-11-21T12:00:00Z");
    spending.keep_time(right, now);
    spending.take([10, 0]);
    for wrong in [
        "2036-11-21T12:00:00Z",
        "2016-11-21T12:00:00Z",
        "1970-01-01T00:00:10Z",
    ] {
        spending.keep_time(second(wrong), now);
        let before = spending.counted[0];
        spending.take([before + 1, 0]);
        spending.keep_time(right, now);
        assert_eq!(spending.spent, spending.counted[0] * PACKET, "{wrong}");
        assert_eq!(spending.resets_s(), Some(second("2026-12-01T00:00:00Z")));
    }
    spending.keep_time(i64::MAX, now);
    spending.keep_time(0, now);
    assert_eq!(spending.resets_s(), None, "nobody knows what day it is");
    spending.keep_time(right, now);
    assert_eq!(spending.spent, 13 * PACKET);
}

#[test]
fn what_one_run_spent_the_next_one_goes_on_from() {
    let now = crate::engine::test_clock();
    let mut first = spending(MONTHLY);
    first.keep_time(second("2026-11-21T12:00:00Z"), now);
    first.take([10, 0]);
    let hint = first.hint("a").expect("the day is known");
    let told = |at: &str| {
        let mut next = spending(MONTHLY);
        next.remember(&hint);
        // A machine without a clock of its own.
        next.keep_time(30, now);
        next.keep_time(second(at), now);
        next.take([1, 0]);
        next.spent
    };
    assert_eq!(told("2026-11-22T00:00:00Z"), 11 * PACKET);
    assert_eq!(told("2026-12-01T00:00:00Z"), PACKET);
    let mut without = spending("");
    without.remember(&hint);
    assert_eq!(without.spent, 0);
}

#[test]
fn bursts_are_spread_over_what_is_left() {
    let now = crate::engine::test_clock();
    let probe = probe(MONTHLY);
    let round = [10, 0];
    let interval = |spent: u64, at: &str, failing: bool| {
        let mut spending = spending(MONTHLY);
        spending.keep_time(second(at), now);
        spending.spent = spent;
        let interval = spending.interval(&probe, round, failing, now);
        interval.as_secs_f64().round() as u64
    };
    // 45 MB are 22,959 bursts of 1960 bytes, in 30 days.
    assert_eq!(interval(0, "2026-11-01T00:00:00Z", false), 113);
    assert_eq!(interval(0, "2026-11-01T00:00:00Z", true), 102);
    assert_eq!(interval(22_500_000, "2026-11-16T00:00:00Z", false), 113);
    assert_eq!(
        interval(0, "2026-11-30T23:00:00Z", false),
        5,
        "never below the period"
    );
    assert_eq!(interval(45_000_000, "2026-11-16T00:00:00Z", false), 300);
    assert_eq!(interval(99_000_000, "2026-11-16T00:00:00Z", true), 300);
    let unset = spending(MONTHLY).interval(&probe, round, false, now);
    assert_eq!(unset.as_secs(), 116, "as if the month had just begun");
    let none = spending("").interval(&self::probe(""), round, false, now);
    assert_eq!(none.as_secs(), 5);
}
