//! What is told of round-trip times, and of memory.

use super::*;

/// RFC 3550 section 6.4.1 over all answers in time, in order of arrival, in microseconds.
fn jitter_us(log: &[Seen], timeout: Duration) -> f64 {
    let in_time = |seen: &Seen| seen.rtt.filter(|rtt| *rtt <= timeout);
    let mut replies: Vec<(Instant, Duration)> = log
        .iter()
        .filter_map(|seen| in_time(seen).map(|rtt| (seen.sent + rtt, rtt)))
        .collect();
    replies.sort();
    replies.windows(2).fold(0.0, |jitter, pair| {
        let step_us = pair[1].1.abs_diff(pair[0].1).as_secs_f64() * 1e6;
        jitter + (step_us - jitter) / 16.0
    })
}

#[test]
fn jitter_is_reckoned_in_order_of_arrival_whatever_overtakes_what() {
    for seed in 0..20 {
        let mut driver = Driver::new("interval = \"10ms\"\ntimeout = \"300ms\"");
        driver.run(ms(3000), &mut random_wire(seed, 10, ms(250)));
        driver.run(ms(1000), &mut never);
        let reckoned = jitter_us(&driver.wire.log, ms(300));
        let told = driver.record.window.summary().expect("answers").jitter;
        assert!(
            reckoned > 1000.0 && (told - reckoned).abs() < 1.0,
            "{seed}: {told} {reckoned}"
        );
    }
}

#[test]
fn the_memory_that_is_told_covers_a_full_window_and_is_not_twice_as_much() {
    for keys in [
        "",
        "interval = \"10ms\"\nwindow = \"30s\"",
        "interval = \"20ms\"\nwindow = \"84s\"",
    ] {
        let mut driver = Driver::new(keys);
        let window = driver.config.probe.mode.rolling().window;
        driver.run(window + ms(3000), &mut always(ms(900)));
        let told = bytes_needed(&driver.config.probe);
        let taken = driver.rolling.probes.bytes();
        assert!(taken <= told && told < 2 * taken, "{keys}: {told} {taken}");
    }
}
