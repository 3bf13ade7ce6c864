//! An attacher that is as slow as the kernel may be: each step waits until the test lets it go on.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// What was done, in order.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    Attached(u32),
    Detached(u32),
}

/// What stands on an interface.
#[derive(Debug)]
struct Stand(u32, Sender<Done>);

impl Drop for Stand {
    fn drop(&mut self) {
        self.1.send(Done::Detached(self.0)).unwrap();
    }
}

/// An attacher, what lets it go on by one attempt, and what it does. Odd interfaces are refused.
struct Slow {
    attacher: Attacher<Stand>,
    outcomes: Outcomes<Stand>,
    go_on: Sender<()>,
    done: Receiver<Done>,
}

fn slow() -> Slow {
    let (go_on, gate) = channel::<()>();
    let (note, done) = channel();
    let (attacher, outcomes) = Attacher::start(move |ifindex, _| {
        // Without the test it goes on.
        let _ended = gate.recv();
        if ifindex.0 % 2 == 1 {
            let source = io::Error::from_raw_os_error(libc::ENOSPC);
            return Err(AttachError::Socket { ifindex, source });
        }
        note.send(Done::Attached(ifindex.0)).unwrap();
        Ok(Stand(ifindex.0, note.clone()))
    })
    .unwrap();
    Slow {
        attacher,
        outcomes,
        go_on,
        done,
    }
}

impl Slow {
    fn next(&self) -> Done {
        self.done.recv_timeout(PATIENCE).unwrap()
    }
}

#[test]
fn whoever_asks_waits_for_nothing_and_is_told_of_each_attempt_in_turn() {
    let mut slow = slow();
    let asked: Vec<Attempt> = (0..UNDER_WAY_MAX as u32)
        .map(|number| slow.attacher.begin(Ifindex(number), false))
        .collect();
    assert!(!slow.attacher.has_room() && slow.attacher.is_busy());
    assert!(slow.outcomes.try_recv().is_err(), "none has had its turn");
    for (number, attempt) in asked.into_iter().enumerate() {
        slow.go_on.send(()).unwrap();
        let made = slow.outcomes.blocking_recv().unwrap();
        slow.attacher.took_one();
        assert_eq!((made.attempt, made.ifindex.0), (attempt, number as u32));
        match made.outcome {
            Ok(stand) => assert_eq!(stand.0 % 2, 0),
            Err(error) => assert_eq!((error.errno(), number % 2), (libc::ENOSPC, 1)),
        }
    }
    assert!(slow.attacher.has_room() && !slow.attacher.is_busy());
}

#[test]
fn what_is_taken_off_has_gone_before_the_next_is_put_there() {
    let mut slow = slow();
    slow.attacher.begin(Ifindex(2), false);
    slow.go_on.send(()).unwrap();
    let made = slow.outcomes.blocking_recv().unwrap();
    assert_eq!(slow.next(), Done::Attached(2));
    slow.attacher.begin(Ifindex(4), false);
    slow.attacher.end(made.outcome.unwrap());
    slow.attacher.begin(Ifindex(2), false);
    slow.go_on.send(()).unwrap();
    slow.go_on.send(()).unwrap();
    let order = [slow.next(), slow.next(), slow.next()];
    assert_eq!(
        order,
        [Done::Attached(4), Done::Detached(2), Done::Attached(2)]
    );
}

#[test]
fn at_the_end_nothing_that_was_begun_stays_attached() {
    let mut slow = slow();
    slow.attacher.begin(Ifindex(2), false);
    slow.attacher.begin(Ifindex(4), false);
    let Slow {
        attacher,
        outcomes,
        go_on,
        done,
    } = slow;
    drop(outcomes);
    drop(go_on);
    drop(attacher);
    let order: Vec<Done> = done.try_iter().collect();
    assert_eq!(
        order,
        [
            Done::Attached(2),
            Done::Detached(2),
            Done::Attached(4),
            Done::Detached(4)
        ],
        "and whoever ended it has waited for that"
    );
}
