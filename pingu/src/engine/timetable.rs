//! When which path is to be looked at: what wakes the loop, and what rides on a wake-up for something else.
//!
//! A deadline alone wakes nobody while something is to be sent before it or soon: the last wake-up before it looks whether the answer has
//! come. Only where it has not, the deadline wakes the loop.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use crate::{engine::wants::Wants, units::PathId};

/// Looks for what somebody waits for are taken together within this time.
const LOOK_TOGETHER: Duration = Duration::from_millis(1);

/// So long before what may decide the loop wakes: it comes up to 200 us late where a processor slept, what it does then takes up to 150 us
/// with cold caches, and those stay warm for the rest.
const LEAD: Duration = Duration::from_micros(500);

/// The paths by the time at which they want to be looked at.
#[derive(Debug)]
pub(crate) struct Timetable {
    start: Instant,
    /// Something is to be sent.
    sends: Queue,
    /// Deadlines before which a look may find the answer.
    quiet: Queue,
    /// Deadlines and looks that wake the loop.
    urgent: Queue,
    /// Shortly before what may decide.
    ahead: Queue,
}

impl Timetable {
    /// Of so many paths, none of which wants anything yet.
    pub(crate) fn new(paths: usize, start: Instant) -> Self {
        Self {
            start,
            sends: Queue::new(paths),
            quiet: Queue::new(paths),
            urgent: Queue::new(paths),
            ahead: Queue::new(paths),
        }
    }

    /// Notes what a path wants. What was noted before and comes sooner stays: a look too many does no harm.
    pub(crate) fn note(&mut self, id: PathId, wants: &Wants) {
        if let Some(at) = wants.send {
            self.sends.put(id, self.nanos(at));
        }
        if let Some(at) = wants.deadline {
            self.quiet.put(id, self.nanos(at));
        }
        if let Some(at) = wants.look {
            let at = self.rounded(at, LOOK_TOGETHER);
            self.urgent.put(id, at);
        }
    }

    /// Notes a deadline before which a look has found nothing. Those that pass within `patience` are met together: when that is.
    pub(crate) fn insist(&mut self, id: PathId, deadline: Instant, patience: Duration) -> Instant {
        let at = self.rounded(deadline, patience);
        self.urgent.put(id, at);
        self.instant(at)
    }

    /// Notes that the loop is to be awake shortly before this time, which may decide about a path and is not near yet.
    pub(crate) fn foresee(&mut self, id: PathId, decides: Instant) {
        let at = decides.checked_sub(LEAD).unwrap_or(self.start);
        self.ahead.put(id, self.nanos(at));
    }

    /// The next deadline of a path that is noted.
    pub(crate) fn deadline_of(&self, id: PathId) -> Option<Instant> {
        let noted = [&self.urgent, &self.quiet].map(|queue| queue.of[id.index()]);
        let first = noted.into_iter().min().filter(|at| *at != NEVER);
        first.map(|at| self.instant(at))
    }

    /// Whether a time comes so shortly after `now` that the loop is to be awake already.
    pub(crate) fn is_ahead(at: Instant, now: Instant) -> bool {
        at <= now + LEAD
    }

    /// The next path about which passing time may decide shortly after `now`.
    pub(crate) fn take_ahead(&mut self, now: Instant) -> Option<PathId> {
        let until = self.nanos(now);
        self.ahead.take(until)
    }

    /// Whether nothing is due at `now` but to be awake.
    pub(crate) fn is_only_ahead(&self, now: Instant) -> bool {
        let now = self.nanos(now);
        let is_due = |queue: &Queue| queue.first().is_some_and(|at| at <= now);
        let others = [&self.sends, &self.urgent, &self.quiet];
        is_due(&self.ahead) && !others.into_iter().any(is_due)
    }

    /// The next path of which passing time decides something at `now`.
    pub(crate) fn take_urgent(&mut self, now: Instant) -> Option<PathId> {
        let until = self.nanos(now);
        self.urgent.take(until)
    }

    /// The next path that has something to send at `now`.
    pub(crate) fn take_send(&mut self, now: Instant) -> Option<PathId> {
        let until = self.nanos(now);
        self.sends.take(until)
    }

    /// The next path whose deadline has passed at `now`, or comes before the next sending would wake the loop.
    pub(crate) fn take_quiet(&mut self, now: Instant) -> Option<PathId> {
        let until = self.horizon(now);
        self.quiet.take(until)
    }

    /// Whether a deadline comes before the next sending would wake the loop: nobody looks again before it.
    pub(crate) fn is_near(&self, deadline: Instant, now: Instant) -> bool {
        self.nanos(deadline) <= self.horizon(now)
    }

    fn horizon(&self, now: Instant) -> u64 {
        self.sends.first().unwrap_or(0).max(self.nanos(now))
    }

    /// When something is to be sent next.
    pub(crate) fn next_send(&self) -> Option<Instant> {
        let first = self.sends.first()?;
        Some(self.start + Duration::from_nanos(first))
    }

    /// When the loop is to wake.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let all = [&self.sends, &self.urgent, &self.quiet, &self.ahead];
        let first = all.into_iter().filter_map(Queue::first).min()?;
        Some(self.instant(first))
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.start + Duration::from_nanos(nanos)
    }

    /// Rounded up to a multiple of so much time.
    fn rounded(&self, at: Instant, to: Duration) -> u64 {
        let to = (to.as_nanos() as u64).max(1);
        self.nanos(at).div_ceil(to) * to
    }

    /// Nanoseconds since the start. A u64 of them lasts for 584 years.
    fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_nanos() as u64
    }
}

/// Paths by time, each once.
#[derive(Debug)]
struct Queue {
    /// With stale entries, which `of` does not confirm.
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// Each path's time; [`NEVER`] where it has none.
    of: Vec<u64>,
}

const NEVER: u64 = u64::MAX;

/// A heap of this many entries more than twice the paths is cleared of stale ones.
const STALE_MAX: usize = 64;

impl Queue {
    fn new(paths: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            of: vec![NEVER; paths],
        }
    }

    fn put(&mut self, id: PathId, at: u64) {
        if at >= self.of[id.index()] {
            return;
        }
        self.of[id.index()] = at;
        if self.heap.len() >= 2 * self.of.len() + STALE_MAX {
            let of = &self.of;
            self.heap
                .retain(|Reverse((at, path))| of[*path as usize] == *at);
        }
        self.heap.push(Reverse((at, id.0)));
    }

    /// The first path whose time is `until` or before it.
    fn take(&mut self, until: u64) -> Option<PathId> {
        let &Reverse((_, path)) = self.heap.peek().filter(|Reverse((at, _))| *at <= until)?;
        self.heap.pop();
        self.of[path as usize] = NEVER;
        // The first entry is never a stale one.
        while let Some(Reverse((at, path))) = self.heap.peek()
            && self.of[*path as usize] != *at
        {
            self.heap.pop();
        }
        Some(PathId(path))
    }

    /// The first time in it.
    fn first(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::test_clock;

    const MS: Duration = Duration::from_millis(1);

    fn send(at: Instant) -> Wants {
        Wants {
            send: Some(at),
            ..Wants::default()
        }
    }

    fn deadline(at: Instant) -> Wants {
        Wants {
            deadline: Some(at),
            ..Wants::default()
        }
    }

    #[test]
    fn a_deadline_before_the_next_sending_is_offered_to_this_wake_up() {
        let start = test_clock();
        let mut table = Timetable::new(3, start);
        table.note(PathId(0), &send(start + 50 * MS));
        table.note(PathId(1), &deadline(start + 40 * MS));
        table.note(PathId(2), &deadline(start + 60 * MS));
        assert_eq!(table.take_quiet(start), Some(PathId(1)));
        assert_eq!(
            table.take_quiet(start),
            None,
            "the sending at 50 ms comes first"
        );
        assert_eq!(table.next_wake(), Some(start + 50 * MS));
    }

    #[test]
    fn what_is_insisted_on_wakes_the_loop_soon_after_its_deadline() {
        let start = test_clock();
        let mut table = Timetable::new(2, start);
        for (patience_us, after_ms) in [(625, 3), (20_000, 1005)] {
            let deadline = start + after_ms * MS + Duration::from_micros(1);
            let patience = Duration::from_micros(patience_us);
            table.insist(PathId(0), deadline, patience);
            let wake = table.next_wake().expect("it waits");
            assert!(wake >= deadline && wake <= deadline + patience);
            assert_eq!(table.take_urgent(wake), Some(PathId(0)));
            assert_eq!(table.next_wake(), None);
        }
    }

    #[test]
    fn paths_come_in_the_order_of_their_times_and_each_once() {
        let start = test_clock();
        let mut table = Timetable::new(4, start);
        for (path, ms) in [(2, 30), (0, 10), (1, 20), (0, 40), (2, 5)] {
            table.note(PathId(path), &send(start + ms * MS));
        }
        let taken: Vec<_> = std::iter::from_fn(|| table.take_send(start + 25 * MS)).collect();
        assert_eq!(taken, [PathId(2), PathId(0), PathId(1)]);
        assert_eq!(
            table.next_wake(),
            None,
            "what a sooner time took the place of is gone"
        );
    }

    #[test]
    fn it_does_not_grow_however_often_paths_change_their_minds() {
        let start = test_clock();
        let mut table = Timetable::new(10, start);
        for round in (0..100_000_u32).rev() {
            table.note(PathId(round % 10), &send(start + MS * round));
        }
        assert!(table.sends.heap.len() <= 20 + STALE_MAX);
    }
}
