//! Many paths: how often they wake the loop, how evenly they are spread, and that none delays another's deadline.

use std::{collections::BTreeMap, time::Duration};

use pingu::{engine::State, units::UplinkId};

use crate::crowd::{Crowd, targets, uplinks};

const MS: Duration = Duration::from_millis(1);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// `splitmix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

#[test]
fn at_a_hundred_probes_a_second_a_wake_up_carries_ten_or_more_however_many_targets_there_are() {
    for (links, per_link, probe, period, together) in [
        (1, 10, "count = 1\nperiod = \"100ms\"", MS * 100, 10),
        (1, 1000, "count = 1\nperiod = \"10s\"", seconds(10), 30),
        (100, 10, "count = 1\nperiod = \"10s\"", seconds(10), 30),
        (1, 10, "count = 10\nperiod = \"1s\"", seconds(1), 10),
        (10, 10, "count = 10\nperiod = \"10s\"", seconds(10), 30),
        (1, 10_000, "count = 1\nperiod = \"100s\"", seconds(100), 30),
        (
            1,
            65_536,
            "count = 1\nperiod = \"655360ms\"",
            seconds(655),
            30,
        ),
    ] {
        let probe = format!("[probe]\n{}\n{probe}\n", targets(per_link));
        let mut crowd = Crowd::new(&(probe + &uplinks(links, "")));
        // By its third burst each path is in phase.
        let settled = 2 * period + seconds(5);
        crowd.run_until(settled);
        crowd.count_anew();
        crowd.run_until(settled + seconds(20));
        let (wakes, sent) = (crowd.wakes.len(), crowd.transport.sent.len());
        // What is due in one wake-up may just not have been.
        assert!(sent + 40 >= 2000, "{sent}");
        assert!(
            wakes * (together - 1) <= sent,
            "{links} x {per_link}: {wakes} wake-ups for {sent} probes"
        );
        assert_eq!(crowd.missing_and_answered().0, 0);
    }
}

#[test]
fn sixteen_uplinks_with_eight_targets_at_two_probes_a_second_wake_the_loop_eight_times_a_second() {
    let probe = format!("[probe]\n{}\ncount = 1\nperiod = \"500ms\"\n", targets(8));
    let mut crowd = Crowd::new(&(probe + &uplinks(16, "")));
    crowd.transport.counts = true;
    crowd.run_until(seconds(5));
    crowd.count_anew();
    crowd.run_until(seconds(15));
    assert!(crowd.wakes.len() <= 82, "{}", crowd.wakes.len());
    assert!((2540..=2580).contains(&crowd.transport.sent.len()));
}

#[test]
fn what_passes_is_read_by_wake_ups_that_send_whenever_the_interface_comes() {
    for (period_ms, wakes_a_second) in [(500, 2), (300, 4), (1_000, 2), (200, 5)] {
        for late_ms in (0..period_ms).step_by(50) {
            let probe = format!(
                "[probe]\n{}\ncount = 1\nperiod = \"{period_ms}ms\"\ntimeout = \"{period_ms}ms\"\n",
                targets(8)
            );
            let mut crowd = Crowd::without_interfaces(&(probe + &uplinks(1, "")));
            crowd.transport.counts = true;
            crowd.run_until(MS * late_ms);
            crowd.look(1);
            crowd.run_until(seconds(5));
            crowd.count_anew();
            crowd.run_until(seconds(15));
            let (wakes, sent) = (crowd.wakes.len(), crowd.transport.sent.len());
            assert!(sent >= 8 * 10_000 / period_ms as usize - 8, "{sent}");
            assert!(
                wakes <= 10 * wakes_a_second + 1,
                "{wakes} wake-ups for {sent} probes each {period_ms} ms from {late_ms} ms on"
            );
        }
    }
}

#[test]
fn nothing_comes_in_waves() {
    for (links, per_link, probe, period) in [
        (16, 8, "count = 1\nperiod = \"500ms\"", MS * 500),
        (50, 40, "count = 3\nperiod = \"2s\"", seconds(2)),
        (1000, 10, "count = 1\nperiod = \"10s\"", seconds(10)),
    ] {
        let probe = format!("[probe]\n{}\n{probe}\n", targets(per_link));
        let mut crowd = Crowd::new(&(probe + &uplinks(links, "")));
        crowd.run_until(3 * period);
        crowd.count_anew();
        crowd.run_until(4 * period);
        let paths = (links * per_link) as usize;
        let sent = crowd.transport.sent.len();
        // A fiftieth of the period, or as long as twenty probes take.
        let window = (period / 50).max(period * 20 / paths as u32);
        let mean = sent as f64 * window.as_secs_f64() / period.as_secs_f64();
        let mut windows: BTreeMap<u128, usize> = BTreeMap::new();
        for sent in &crowd.transport.sent {
            *windows
                .entry(sent.at.as_nanos() / window.as_nanos())
                .or_default() += 1;
        }
        let most = windows.values().max().copied().expect("probes were sent");
        assert!(
            (most as f64) < 1.6 * mean + 10.0,
            "{links} x {per_link}: {most} probes in {window:?}, {mean} on average"
        );
    }
}

#[test]
fn first_bursts_are_prompt_and_the_next_follow_within_a_period() {
    for (links, per_link, first_ms) in [(2, 10, 0), (16, 8, 0), (1, 20_000, 1000)] {
        let probe = format!(
            "[probe]\n{}\ncount = 1\nperiod = \"10s\"\n",
            targets(per_link)
        );
        let mut crowd = Crowd::new(&(probe + &uplinks(links, "")));
        crowd.run_until(seconds(40));
        let mut times: BTreeMap<_, Vec<Duration>> = BTreeMap::new();
        for sent in &crowd.transport.sent {
            times
                .entry((sent.ifindex, sent.target))
                .or_default()
                .push(sent.at);
        }
        assert_eq!(times.len(), (links * per_link) as usize);
        for times in times.values() {
            assert!(times[0] <= MS * (first_ms + 10), "{:?}", times[0]);
            // A wake-up may be late by what was sent before it.
            let gaps = || times.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(
                gaps().all(|gap| gap <= seconds(10) + 10 * MS && gap >= seconds(3)),
                "{times:?}"
            );
            assert!(times.len() >= 4);
        }
    }
}

#[test]
fn whatever_is_probed_a_cut_takes_an_uplink_down_in_time() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let timeout_ms = [10, 50, 200, 1000][random.below(4) as usize];
        let period_ms = [10, 50, 300, 1000, 5000][random.below(5) as usize];
        let count = if period_ms >= 300 {
            1 + random.below(4)
        } else {
            1
        };
        let fall = 1 + random.below(3);
        let (links, per_link) = (1 + random.below(20) as u32, 1 + random.below(20) as u32);
        let text = format!(
            "[probe]\n{}\ncount = {count}\nspacing = \"20ms\"\nperiod = \"{period_ms}ms\"\ntimeout = \"{timeout_ms}ms\"\n\
             [health]\nfall = {fall}\nmax_lost = 0\nmax_delay = \"10s\"\n{}",
            targets(per_link),
            uplinks(links, "")
        );
        let mut crowd = Crowd::new(&text);
        // Some answer before the call that sends has returned.
        crowd.transport.rtt = Duration::from_micros(1500 * random.below(3));
        let cut = MS * (6 * period_ms + random.below(3 * period_ms)) as u32;
        crowd.run_until(cut);
        let victim = random.below(links.into()) as u32;
        crowd
            .transport
            .cut
            .insert(pingu::units::Ifindex(victim + 2));
        let burst_ms = (count - 1) * 20;
        let late = cut + MS * (fall * period_ms + burst_ms + timeout_ms + 1) as u32;
        crowd.run_until(late + seconds(1));
        let id = UplinkId(victim as u16);
        let down = crowd
            .down_after(id, cut)
            .unwrap_or_else(|| panic!("seed {seed}: never down"));
        // A short timeout is not made much longer.
        let slack = if timeout_ms == 10 { 3 * MS } else { 50 * MS };
        assert!(
            down <= late + slack,
            "seed {seed}: {:?} too late\n{text}",
            down - late
        );
        let early = cut + MS * ((fall - 1) * period_ms) as u32;
        assert!(down >= early, "seed {seed}: {:?} after the cut", down - cut);
        let others = crowd.changes.iter().filter(|(_, other, _)| *other != id);
        assert!(
            others.into_iter().all(|(_, _, state)| *state == State::Up),
            "seed {seed}"
        );
    }
}

#[test]
fn a_crowd_of_first_bursts_delays_no_other_uplinks_deadline() {
    let quick =
        "targets = [\"192.0.2.99\"]\ncount = 1\nperiod = \"10ms\"\ntimeout = \"10ms\"\nfall = 3";
    let crowded = format!(
        "{}\ncount = 3\nspacing = \"1ms\"\nperiod = \"10s\"",
        targets(20_000)
    );
    let mut text = "[health]\nmax_lost = 0\n".to_owned() + &uplinks(1, quick);
    text += &uplinks(2, &crowded)
        .replace("\"u", "\"crowd")
        .replace("\"wan1", "\"wan2")
        .replace("\"wan0", "\"wan1");
    let mut crowd = Crowd::without_interfaces(&text);
    crowd.look(1);
    crowd.run_until(seconds(1));
    crowd.look(3);
    crowd.run_until(seconds(1) + 100 * MS);
    crowd.transport.cut.insert(pingu::units::Ifindex(2));
    let cut = crowd.now();
    crowd.run_until(seconds(3));
    let down = crowd.down_after(UplinkId(0), cut).expect("it was cut");
    // Three probes, 10 ms apart, the last one's timeout and its grace, and two milliseconds.
    assert!(down - cut <= 43 * MS, "{:?}", down - cut);
    crowd.run_until(seconds(30));
    let (missing, on_cut) = (crowd.missing_and_answered().0, lost_on(&crowd, 2));
    assert!(
        missing <= on_cut + 3 && missing + 3 >= on_cut,
        "{missing} {on_cut}"
    );
}

/// How many probes were sent over a cut interface since it was cut, and are judged.
fn lost_on(crowd: &Crowd, ifindex: u32) -> u64 {
    let from = seconds(1) + 100 * MS;
    let until = crowd.now() - 12 * MS;
    let on_it = crowd
        .transport
        .sent
        .iter()
        .filter(|sent| sent.ifindex.0 == ifindex);
    on_it
        .filter(|sent| sent.at >= from && sent.at < until)
        .count() as u64
}

#[test]
fn equal_inputs_give_equal_probes_at_equal_times() {
    let life = || {
        let probe = format!("[probe]\n{}\ncount = 2\nperiod = \"700ms\"\n", targets(30));
        let mut crowd = Crowd::new(&(probe + &uplinks(40, "")));
        crowd.run_until(seconds(2));
        crowd.transport.cut.insert(pingu::units::Ifindex(7));
        crowd.run_until(seconds(6));
        (crowd.transport.sent, crowd.wakes, crowd.changes)
    };
    assert!(life() == life());
}
