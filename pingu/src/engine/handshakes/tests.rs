//! What counts as success, and what as a portal.

use super::*;

const ENOUGH: Count = Count {
    begun: 20,
    answered: 20,
    elsewhere: 20,
};

fn count(begun: u64, answered: u64) -> Count {
    Count {
        begun,
        answered,
        elsewhere: begun,
    }
}

#[test]
fn handshakes_succeed_where_so_few_fail_that_they_are_not_lost_like_pings() {
    let ten = Pings {
        lost: 10,
        answered: 0,
    };
    let all = ten.lost_share();
    assert!((0.9..0.95).contains(&all));
    for (whole, due, lost_share, expected) in [
        (count(15, 14), 15, all, true),
        (count(3, 3), 3, all, true),
        (count(2, 2), 2, all, false),
        (count(0, 0), 0, all, false),
        // As lost as the pings, or nearly so.
        (count(70, 0), 0, all, false),
        (count(100, 36), 100, 0.4, false),
        (count(100, 81), 100, 0.1, false),
        (count(1000, 990), 1000, 0.1, true),
        // Too few to tell from a link that loses one in ten.
        (count(40, 40), 40, 0.1, false),
        (count(60, 60), 60, 0.1, true),
        // Those under way may still be answered.
        (count(70, 50), 0, all, true),
        (count(70, 50), 70, all, false),
        // Others' answers.
        (count(10, 40), 10, all, false),
    ] {
        assert_eq!(
            succeed(whole, due, ENOUGH, lost_share),
            expected,
            "{whole:?} {due} {lost_share}"
        );
    }
}

#[test]
fn what_has_ended_is_told_by_the_last_seconds() {
    let good = count(100, 99);
    for (recent, expected) in [
        (count(0, 0), true),
        (count(2, 0), true),
        (count(3, 1), false),
        (count(10, 5), true),
        (count(10, 4), false),
    ] {
        assert_eq!(succeed(good, 100, recent, 0.9), expected, "{recent:?}");
    }
}

#[test]
fn a_portal_is_ten_handshakes_in_ten_seconds_without_an_answer() {
    let start = crate::engine::test_clock();
    let at = |s: u64| start + Duration::from_secs(s);
    let passed = |begun, answered| Traffic {
        handshakes_begun: begun,
        handshakes_answered: answered,
        handshakes_elsewhere: begun,
        ..Traffic::default()
    };
    let found = |unanswered: &Unanswered, s| unanswered.failing_since(Count::default(), at(s));
    let mut unanswered = Unanswered::default();
    unanswered.take(&passed(9, 0), at(1));
    assert_eq!(found(&unanswered, 20), None, "too few");
    unanswered.take(&passed(1, 0), at(9));
    assert_eq!(found(&unanswered, 10), None, "too soon");
    assert_eq!(found(&unanswered, 11), Some((at(1), 10)));
    unanswered.take(&passed(5, 0), at(12));
    assert_eq!(found(&unanswered, 12), Some((at(1), 15)));
    unanswered.take(&passed(0, 1), at(13));
    assert_eq!(found(&unanswered, 60), None, "one was answered");
    unanswered.take(&passed(12, 0), at(20));
    assert!(found(&unanswered, 40).is_some());
    unanswered.take(&passed(0, 0), at(20 + 600));
    assert_eq!(found(&unanswered, 620), None, "forgotten");
}

#[test]
fn of_many_handshakes_one_in_twenty_may_be_answered() {
    let start = crate::engine::test_clock();
    let mut unanswered = Unanswered::default();
    let one = Traffic {
        handshakes_begun: 1,
        handshakes_elsewhere: 1,
        ..Traffic::default()
    };
    unanswered.take(&one, start);
    for (minute, expected) in [
        (count(100, 4), true),
        (count(100, 5), false),
        (count(39, 1), false),
    ] {
        let found = unanswered.failing_since(minute, start).is_some();
        assert_eq!(found, expected, "{minute:?}");
    }
    let flood = Count {
        elsewhere: 120,
        ..count(6_000, 60)
    };
    assert_eq!(unanswered.failing_since(flood, start), None);
}
