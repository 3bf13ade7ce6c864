//! The sliding window of one path.

use super::*;
use crate::script::failoverd::results::{Results, summary};

const WINDOW: Duration = Duration::from_secs(10);

fn pushed(outcomes: &[(u64, Result<Duration, Loss>)]) -> (Results, Instant) {
    let start = Instant::now();
    let mut results = Results::default();
    for (at_s, result) in outcomes {
        let at = start + Duration::from_secs(*at_s);
        results.push(&outcome(&path("192.0.2.1"), *result), at, WINDOW);
    }
    (results, start)
}

#[test]
fn nothing_known_is_no_loss_and_no_time() {
    let (results, _) = pushed(&[]);
    assert_eq!(results.loss_percent(), 0.0);
    assert_eq!((results.count(), results.lost()), (0, 0));
    assert_eq!(results.cause(), None);
    assert_eq!(summary(&results.rtts()), None);
}

#[test]
fn loss_is_the_mean_of_what_became_known_within_the_window() {
    let (mut results, start) = pushed(&[
        (0, Err(Loss::NoReply)),
        (4, ms(20)),
        (8, Err(Loss::NotSent(101))),
        (9, ms(30)),
    ]);
    assert_eq!(results.loss_percent(), 50.0);
    assert_eq!(results.cause(), Some(Loss::NotSent(101)));
    results.forget_old(start + Duration::from_secs(10), WINDOW);
    assert_eq!((results.count(), results.lost()), (3, 1));
    results.forget_old(start + Duration::from_secs(18), WINDOW);
    assert_eq!(results.loss_percent(), 0.0);
    assert_eq!(results.cause(), None, "the loss is older than the window");
}

#[test]
fn the_latest_outcome_counts_however_old_it_is() {
    let (mut results, start) = pushed(&[(0, ms(1)), (1, Err(Loss::NoReply))]);
    results.forget_old(start + Duration::from_secs(3600), WINDOW);
    assert_eq!(results.loss_percent(), 100.0);
    assert_eq!(results.cause(), Some(Loss::NoReply));
}

#[test]
fn a_window_holds_no_more_outcomes_than_there_is_room_for() {
    let start = Instant::now();
    let mut results = Results::default();
    for _ in 0..70_000 {
        results.push(
            &outcome(&path("192.0.2.1"), Err(Loss::NoReply)),
            start,
            WINDOW,
        );
    }
    assert_eq!((results.count(), results.lost()), (65_536, 65_536));
    assert_eq!(results.loss_percent(), 100.0);
}

#[test]
fn round_trip_times_are_told_in_milliseconds_with_nearest_ranks() {
    let rtts: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
    let rtt = summary(&rtts).expect("a hundred");
    assert_eq!(
        (rtt.min, rtt.p50, rtt.p99, rtt.max),
        (1.0, 50.0, 99.0, 100.0)
    );
    assert!((rtt.mean - 50.5).abs() < 1e-9);
}

#[test]
fn jitter_is_smoothed_as_rfc_3550_does() {
    let rtts = [10, 26, 10].map(Duration::from_millis);
    let jitter = summary(&rtts).expect("three").jitter;
    // J = 0, then 0 + (16 - 0) / 16 = 1, then 1 + (16 - 1) / 16.
    assert!((jitter - (1.0 + 15.0 / 16.0)).abs() < 1e-9, "{jitter}");
    assert_eq!(summary(&rtts[..1]).expect("one").jitter, 0.0);
}

#[test]
fn the_source_is_the_latest_that_is_known() {
    let mut results = Results::default();
    let now = Instant::now();
    let mut known = outcome(&path("192.0.2.1"), ms(1));
    known.source = Some("192.0.2.7".parse().unwrap());
    results.push(&known, now, WINDOW);
    results.push(
        &outcome(&path("192.0.2.1"), Err(Loss::NoReply)),
        now,
        WINDOW,
    );
    assert_eq!(results.source(), known.source);
}
