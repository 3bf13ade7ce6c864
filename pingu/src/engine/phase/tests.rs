//! Phases over an even spread, first bursts at a bounded rate, and ticks.

use std::net::IpAddr;

use super::*;
use crate::{config::Config, engine::test_clock};

const MS: Duration = Duration::from_millis(1);

/// So many uplinks with so many targets each.
fn uplinks(uplinks: usize, targets: usize, probe: &str) -> Vec<UplinkConfig> {
    let addresses: Vec<String> = (0..targets)
        .map(|n| {
            format!(
                "\"{}\"",
                IpAddr::from((0x0a00_0001_u32 + n as u32).to_be_bytes())
            )
        })
        .collect();
    let mut text = format!("[probe]\ntargets = [{}]\n{probe}\n", addresses.join(", "));
    for n in 0..uplinks {
        text +=
            &format!("[[uplink]]\nname = \"u{n}\"\ninterface = \"wan{n}\"\ngateway = \"none\"\n");
    }
    let (config, _) = Config::parse(&text, "test").unwrap_or_else(|problems| panic!("{problems}"));
    config.uplinks
}

/// How long after the start each path's bursts begin.
fn offsets(uplinks: &[UplinkConfig]) -> Vec<Duration> {
    let start = test_clock();
    let phases = phases(uplinks, &places(uplinks), start);
    phases.into_iter().map(|phase| phase.0 - start).collect()
}

#[test]
fn thirty_two_or_more_begin_together_and_the_rest_is_spread_evenly() {
    for (count, targets, period_ms, begin_together) in
        [(16, 8, 500, 32), (1, 1000, 10_000, 32), (50, 40, 1000, 71)]
    {
        let probe = format!("count = 1\nperiod = \"{period_ms}ms\"");
        let offsets = offsets(&uplinks(count, targets, &probe));
        let period = MS * period_ms;
        assert!(offsets.iter().all(|offset| *offset < period));
        let mut times = offsets.clone();
        times.sort_unstable();
        let together: Vec<usize> = times.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
        assert!(
            together.iter().all(|n| n.abs_diff(begin_together) <= 1),
            "{together:?}"
        );
        times.dedup();
        let (mean, last) = (period / times.len() as u32, period + times[0]);
        for (a, b) in times.iter().zip(times.iter().skip(1).chain([&last])) {
            assert!(*b - *a < mean + MS && *b - *a + MS > mean, "{a:?} {b:?}");
        }
        // The targets of one uplink are as far apart as may be, and neighbours in time are other uplinks' where there are others.
        for own in offsets.chunks(targets) {
            let mut own = own.to_vec();
            own.sort_unstable();
            let least = period / targets as u32;
            assert!(own.windows(2).all(|pair| pair[1] - pair[0] + mean >= least));
        }
    }
}

#[test]
fn a_few_paths_begin_together_whatever_their_bursts() {
    for probe in ["count = 1", "count = 10"] {
        assert!(offsets(&uplinks(2, 5, probe)).iter().all(Duration::is_zero));
    }
}

#[test]
fn requests_of_a_burst_fall_on_the_beginnings_of_others() {
    for (count, targets, period) in [(10, 10, "1s"), (100, 50, "5s"), (30, 7, "3s")] {
        let probe = format!("count = 10\nspacing = \"20ms\"\nperiod = \"{period}\"");
        let offsets = offsets(&uplinks(count, targets, &probe));
        let mut beginnings = offsets.clone();
        beginnings.sort_unstable();
        beginnings.dedup();
        let last = *beginnings.last().expect("there are paths");
        for request in beginnings
            .iter()
            .map(|at| *at + 20 * MS)
            .filter(|at| *at < last)
        {
            let apart = beginnings[1] - beginnings[0];
            let is_shared = beginnings.binary_search(&request).is_ok();
            assert!(is_shared || apart > 20 * MS, "{request:?} {apart:?}");
        }
    }
}

#[test]
fn a_burst_out_of_phase_is_followed_within_a_period_and_soon_one_is_in_phase() {
    let start = test_clock();
    for period_ms in [10, 200, 5000] {
        let period = MS * period_ms;
        for step in 0..40 {
            let phase = Phase(start + period * step / 40);
            let (mut due, mut gaps) = (start + 3 * period + period / 7, Vec::new());
            for _ in 0..4 {
                // A little late, as wake-ups are.
                let now = due + period / 50;
                let next = phase.next(due, now, period, Duration::ZERO);
                gaps.push(next - now);
                due = next;
            }
            assert!(
                gaps.iter().all(|gap| *gap <= period && *gap >= period / 3),
                "{gaps:?}"
            );
            assert!(phase.behind(due, period).is_zero(), "{gaps:?}");
        }
    }
}

#[test]
fn a_burst_in_phase_stays_there_even_after_a_long_sleep() {
    let start = test_clock();
    let phase = Phase(start + 30 * MS);
    for (due_ms, now_ms, next_ms) in [
        (30, 30, 130),
        (130, 131, 230),
        (130, 229, 230),
        (130, 1930, 2030),
    ] {
        let next = phase.next(start + MS * due_ms, start + MS * now_ms, 100 * MS, 20 * MS);
        assert_eq!(next, start + MS * next_ms);
    }
}
