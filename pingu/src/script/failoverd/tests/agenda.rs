//! The order of callbacks.

use super::*;
use crate::script::failoverd::{
    agenda::{Agenda, Step},
    store::PathNumber,
};

const EVERY: Duration = Duration::from_secs(5);

fn at(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

#[test]
fn outcomes_come_in_their_order_and_updates_when_they_are_due() {
    let start = Instant::now();
    let mut agenda = Agenda::new(EVERY, start);
    let number = PathNumber::default();
    assert_eq!(agenda.next(start, None), Step::Wait(at(start, 5000)));
    agenda.push(number);
    assert_eq!(agenda.next(at(start, 10), None), Step::Receive(number));
    agenda.push(number);
    assert_eq!(agenda.next(at(start, 5000), None), Step::Update);
    agenda.updated(at(start, 5001));
    assert_eq!(agenda.next(at(start, 5001), None), Step::Receive(number));
    assert_eq!(
        agenda.next(at(start, 5001), None),
        Step::Wait(at(start, 10_000))
    );
}

#[test]
fn ticks_do_not_pile_up_and_keep_their_rhythm() {
    let start = Instant::now();
    let mut agenda = Agenda::new(EVERY, start);
    assert_eq!(agenda.next(at(start, 17_300), None), Step::Update);
    agenda.updated(at(start, 17_301));
    assert_eq!(
        agenda.next(at(start, 17_301), None),
        Step::Wait(at(start, 20_000))
    );
}

#[test]
fn outcomes_get_their_turn_beside_updates_that_take_longer_than_their_period() {
    let start = Instant::now();
    let mut agenda = Agenda::new(EVERY, start);
    agenda.push(PathNumber::default());
    assert_eq!(agenda.next(at(start, 5000), None), Step::Update);
    agenda.updated(at(start, 12_000));
    assert_eq!(
        agenda.next(at(start, 12_000), None),
        Step::Receive(PathNumber::default())
    );
}

#[test]
fn the_end_comes_before_all_others() {
    let start = Instant::now();
    let mut agenda = Agenda::new(EVERY, start);
    agenda.push(PathNumber::default());
    agenda.quit();
    assert_eq!(agenda.next(at(start, 60_000), None), Step::Quit);
}

#[test]
fn the_oldest_outcomes_give_way_to_new_ones_and_are_counted() {
    let start = Instant::now();
    let mut agenda = Agenda::new(EVERY, start);
    (0..5000).for_each(|_| agenda.push(PathNumber::default()));
    assert_eq!(agenda.take_dropped(), 5000 - 4096);
    assert_eq!(agenda.take_dropped(), 0);
    let waiting = std::iter::from_fn(|| match agenda.next(start, None) {
        Step::Receive(number) => Some(number),
        _ => None,
    });
    assert_eq!(waiting.count(), 4096);
}

#[test]
fn timers_are_called_when_they_are_due_and_waited_for() {
    let start = Instant::now();
    let mut agenda = Agenda::new(EVERY, start);
    let timer_at = Some(at(start, 300));
    assert_eq!(agenda.next(start, timer_at), Step::Wait(at(start, 300)));
    agenda.push(PathNumber::default());
    assert_eq!(agenda.next(at(start, 300), timer_at), Step::Timer);
    assert_eq!(
        agenda.next(start, Some(at(start, 9000))),
        Step::Receive(PathNumber::default())
    );
    assert_eq!(
        agenda.next(start, Some(at(start, 9000))),
        Step::Wait(at(start, 5000))
    );
}
