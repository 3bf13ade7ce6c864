//! `ping_frequency`, `update_frequency`, `num_seconds` and `probes`: what they do, and what they are when nothing is said.
#![expect(
    clippy::disallowed_methods,
    reason = "the time between two packets, or two calls, is what the variables say"
)]

use std::time::{Duration, Instant};

use pingu_tests::lab::{capture::Capture, script::Script, turn};

use super::{Wire, assert_about};

/// The time from one line of a kind to a later one.
#[track_caller]
fn time_of(script: &mut Script, word: &str, lines: usize) -> Duration {
    script.wait_for_next(word);
    let (start, before) = (Instant::now(), script.lines(word).len());
    script.wait_for_lines(word, before + lines);
    start.elapsed()
}

/// The middle one of the times between requests to an address.
#[track_caller]
fn gap(capture: Capture, target: &str) -> Duration {
    let exchanges = capture.finish();
    let sent: Vec<u64> = exchanges
        .iter()
        .filter(|exchange| exchange.target.to_string() == target)
        .map(|exchange| exchange.request_ns)
        .collect();
    let mut gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    assert!(!gaps.is_empty(), "{exchanges:?}");
    Duration::from_nanos(gaps[gaps.len() / 2])
}

#[test]
fn without_a_word_every_variable_has_its_documented_default() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let capture = Capture::start(&wire.there, "eth0");
    let mut script = wire.start(
        "probes = { probe.new('192.168.0.1') }\n\
         function on_recv(gps, ps) print('recv', ps:loss()) end\n\
         function on_update(gps) print('update') end",
    );
    script.wait_for_output("recv\t0\n");
    let start = Instant::now();
    assert_about(
        time_of(&mut script, "update", 2),
        Duration::from_secs(1) * 2,
    );
    wire.silence("192.168.0.1");
    script.wait_for_output("recv\t100\n");
    // The answers from before the silence are forgotten after ten seconds, and not before.
    let forgotten = start.elapsed();
    assert!(
        forgotten > Duration::from_secs(9) && forgotten < Duration::from_secs(16),
        "{forgotten:?}"
    );
    assert_about(gap(capture, "192.168.0.1"), Duration::from_secs(1));
}

#[test]
fn ping_frequency_is_the_seconds_between_two_packets_of_each_probe() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let capture = Capture::start(&wire.there, "eth0");
    let mut script = wire.start(
        "ping_frequency = 0.15\n\
         probes = { probe.new('192.168.0.1'), probe.new('192.168.0.2') }\n\
         function on_recv(gps, ps) print(ps:dst()) end",
    );
    script.wait_for_lines("192.168.0.1", 8);
    script.wait_for_lines("192.168.0.2", 8);
    assert_eq!(script.stop(libc::SIGTERM).code(), Some(0));
    assert_about(gap(capture, "192.168.0.1"), Duration::from_millis(150));
}

#[test]
fn update_frequency_is_the_seconds_between_two_calls_of_on_update() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "update_frequency = 0.15\n\
         probes = { probe.new('192.168.0.1') }\n\
         function on_update(gps) print('update') end",
    );
    assert_about(
        time_of(&mut script, "update", 10),
        Duration::from_millis(1500),
    );
}

#[test]
fn a_slow_update_does_not_slow_the_packets_and_quick_ones_do_not_hurry_them() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency, update_frequency = 0.3, 0.02\n\
         probes = { probe.new('192.168.0.1') }\n\
         updates = 0\n\
         function on_update(gps) updates = updates + 1 end\n\
         function on_recv(gps, ps) print('recv', updates) end",
    );
    let lines = script.wait_for_lines("recv", 4);
    let updates: Vec<u32> = lines.iter().map(|line| line.parse().unwrap()).collect();
    assert!(updates[3] - updates[1] > 15, "{updates:?}");
    assert!(updates[3] - updates[1] <= 45, "{updates:?}");
}

#[test]
fn num_seconds_is_how_long_loss_is_remembered() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency, update_frequency, num_seconds = 0.05, 0.05, 1.5\n\
         probes = { probe.new('192.168.0.1') }\n\
         function on_update(gps) print('loss', gps:get('192.168.0.1'):loss()) end",
    );
    script.wait_for_output("loss\t0\n");
    wire.silence("192.168.0.1");
    let start = Instant::now();
    script.wait_for_output("loss\t100\n");
    let all_lost = start.elapsed();
    wire.answer();
    let start = Instant::now();
    script.wait_for("all to be forgotten", |script| {
        (script.lines("loss").last()? == "0").then_some(())
    });
    let none_lost = start.elapsed();
    for time in [all_lost, none_lost] {
        assert!(
            time > Duration::from_millis(1300) && time < Duration::from_millis(4000),
            "{time:?}"
        );
    }
    let between = script.lines("loss");
    let is_between = |loss: &&String| {
        let loss: f64 = loss.parse().unwrap();
        loss > 0.0 && loss < 100.0
    };
    assert!(
        between.iter().filter(is_between).count() > 10,
        "{between:?}"
    );
}

#[test]
fn probes_may_be_built_in_a_loop_and_be_empty() {
    let _turn = turn::shared();
    let wire = Wire::new();
    let mut script = wire.start(
        "ping_frequency = 0.05\n\
         probes = {}\n\
         for last = 1, 2 do table.insert(probes, probe.new('192.168.0.' .. last)) end\n\
         function on_recv(gps, ps) print(ps:dst(), ps:loss()) end",
    );
    script.wait_for_output("192.168.0.1\t0\n");
    script.wait_for_output("192.168.0.2\t0\n");
    for none in ["probes = {}", ""] {
        let mut script = wire.start(&format!(
            "update_frequency = 0.05 {none} function on_update() print('update') end"
        ));
        script.wait_for_lines("update", 3);
        assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
    }
}
