//! The timeline drawn from records made by hand.
#![expect(clippy::disallowed_methods, reason = "a record needs some beginning")]

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::{demo::scene::RouteChange, lab::pinger::Ping};

#[test]
fn every_line_fits_the_width_and_the_number_of_lines_is_fixed() {
    let mut record = Record::new(Instant::now());
    let mut timeline = Timeline::default();
    for second in 0..200 {
        play(&mut record, second);
        timeline.push(record.column());
        let lines = timeline.picture(
            &record,
            &"a very long title ".repeat(9),
            second as f64,
            Paint::Plain,
        );
        assert_eq!(lines.len(), HEIGHT);
        for line in lines {
            assert!(
                line.chars().count() <= WIDTH,
                "{} characters: {line}",
                line.chars().count()
            );
        }
    }
}

#[test]
fn lanes_show_round_trip_times_losses_and_the_active_route() {
    let start = Instant::now();
    let mut record = Record::new(start);
    let mut timeline = Timeline::default();
    for second in 0..4 {
        play(&mut record, second);
        timeline.push(record.column());
    }
    let lines = timeline.picture(&record, "title", 4.0, Paint::Plain);
    assert!(
        lines[3].starts_with("fibre") && lines[3].contains("▁▁××"),
        "{}",
        lines[3]
    );
    assert!(
        lines[4].starts_with("lte") && lines[4].contains("▃▃▃▃") && lines[4].contains("0.20 ms"),
        "{}",
        lines[4]
    );
    assert!(lines[5].contains("ffll"), "{}", lines[5]);
    assert!(
        lines[6].contains("··1·") && lines[6].contains("1 lost"),
        "{}",
        lines[6]
    );
}

#[test]
fn without_colours_there_is_no_escape_sequence() {
    let mut record = Record::new(Instant::now());
    play(&mut record, 0);
    let mut timeline = Timeline::default();
    timeline.push(record.column());
    let text = |paint| timeline.picture(&record, "title", 0.0, paint).concat();
    assert!(!text(Paint::Plain).contains('\u{1b}'));
    assert!(text(Paint::Colours).contains('\u{1b}'));
}

#[test]
fn a_block_is_as_high_as_the_time_is_long() {
    assert_eq!(
        [1.0, 25.0, 90.0, 1e3, 1e5, 1e9].map(block),
        ['▁', '▁', '▂', '▄', '▇', '█']
    );
}

/// Second by second: both up for two seconds, then the fibre is lost and one packet of the LAN with it.
fn play(record: &mut Record, second: u64) {
    let now = Instant::now() + Duration::from_secs(second);
    let lost = second >= 2;
    let status = json!({ "uplinks": [
        { "name": "fibre", "interface": "eno2", "state": if lost { "down" } else { "up" }, "reason": "r".repeat(99),
          "targets": [{ "answered": 10 + second.min(1), "lost": if lost { 5 } else { 0 }, "late": 0, "rtt_us": { "p50": 20.0 } }] },
        { "name": "lte", "interface": "wlo1", "state": "up", "reason": "",
          "targets": [{ "answered": 10 + second, "lost": 0, "late": 0, "rtt_us": { "p50": 200.0 } }] },
    ] });
    record.note_status(&status, now);
    record.note_routes(&[RouteChange {
        at: now,
        uplink: Some(usize::from(lost)),
    }]);
    let rtt = if second == 2 {
        None
    } else {
        Some(Duration::from_millis(1))
    };
    record.note_pings(vec![Ping { sent: now, rtt }]);
}
