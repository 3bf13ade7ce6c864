//! When which path's probe is due: each path has a grid of its own, which nothing shifts. Pure.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::script::probe::{Origin, PathKey};

/// So few paths begin at once; further ones are spread over the interval, so that probes do not leave in waves.
const TOGETHER_MAX: usize = 10;

/// A slot that is later than this share of the interval was missed, and the path waits for its next one: after a stall, paths that are
/// spread stay so.
const LATE_SHARE: u32 = 10;

/// What a busy machine may be late without missing a slot.
const LATE_MIN: Duration = Duration::from_millis(20);

/// A heap of this many entries more than twice the paths is cleared of stale ones.
const STALE_MAX: usize = 64;

/// The golden ratio's fraction of 2^32: its multiples, wrapped, are spread evenly however many there are.
const GOLDEN: u32 = 0x9e37_79b9;

/// A path's place, and which of those that have it one after the other: what outlives a path is never taken for the next one's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    index: u32,
    turn: u32,
}

/// The paths and their grids.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    slots: Vec<Slot>,
    /// Those without a path.
    free: Vec<u32>,
    places: HashMap<PathKey, Place>,
    /// Due times, with stale entries that `slots` does not confirm.
    heap: BinaryHeap<Reverse<(Instant, Place)>>,
    /// How many paths ever began later than at once.
    spread: u32,
}

#[derive(Debug, Default)]
struct Slot {
    turn: u32,
    path: Option<Path>,
}

#[derive(Debug)]
struct Path {
    key: PathKey,
    next: Instant,
    /// The sequence number of its next probe.
    sequence: u16,
}

/// A probe that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) place: Place,
    /// The slot of the grid.
    pub(super) at: Instant,
    pub(super) sequence: u16,
}

impl Schedule {
    /// Without paths. An interval of nothing becomes one of a nanosecond: time passes between two slots.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval: interval.max(Duration::from_nanos(1)),
            slots: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            heap: BinaryHeap::new(),
            spread: 0,
        }
    }

    /// How many paths there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Begins to probe a path; does nothing where that is done already.
    pub(super) fn start(&mut self, key: PathKey, now: Instant) {
        if self.places.contains_key(&key) {
            return;
        }
        let phase = if self.places.len() < TOGETHER_MAX {
            Duration::ZERO
        } else {
            self.spread = self.spread.wrapping_add(1);
            let share = u64::from(self.spread.wrapping_mul(GOLDEN));
            let interval_ns = self.interval.as_nanos();
            Duration::from_nanos(((interval_ns * u128::from(share)) >> 32) as u64)
        };
        let next = now + phase;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.turn = slot.turn.wrapping_add(1);
        slot.path = Some(Path {
            key: key.clone(),
            next,
            sequence: 0,
        });
        let turn = slot.turn;
        let place = Place { index, turn };
        self.places.insert(key, place);
        self.put(place, next);
    }

    /// Probes paths to there no more: those from this origin, or all.
    pub(super) fn stop(&mut self, destination: IpAddr, origin: Option<&Origin>) {
        let meant: Vec<PathKey> = match origin {
            Some(origin) => vec![PathKey {
                destination,
                origin: origin.clone(),
            }],
            None => {
                let paths = self.slots.iter().filter_map(|slot| slot.path.as_ref());
                let keys = paths.map(|path| &path.key);
                keys.filter(|key| key.destination == destination)
                    .cloned()
                    .collect()
            }
        };
        for key in meant {
            if let Some(place) = self.places.remove(&key) {
                self.slots[place.index as usize].path = None;
                self.free.push(place.index);
            }
        }
    }

    /// Whose a place is; nobody's any more once its path was stopped.
    pub(super) fn key(&self, place: Place) -> Option<&PathKey> {
        Some(&self.path(place)?.key)
    }

    fn path(&self, place: Place) -> Option<&Path> {
        let slot = self.slots.get(place.index as usize)?;
        slot.path.as_ref().filter(|_| slot.turn == place.turn)
    }

    /// The next probe that is to be sent at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Option<Due> {
        while let Some(&Reverse((at, place))) = self.heap.peek().filter(|entry| entry.0.0 <= now) {
            self.heap.pop();
            let slot = &mut self.slots[place.index as usize];
            let path = slot.path.as_mut().filter(|_| slot.turn == place.turn);
            let Some(path) = path.filter(|path| path.next == at) else {
                continue;
            };
            let late = now - at;
            let slot = at + whole(late, self.interval);
            path.next = slot + self.interval;
            let next = path.next;
            let due = Due {
                place,
                at: slot,
                sequence: path.sequence,
            };
            let late_max = (self.interval / LATE_SHARE)
                .max(LATE_MIN)
                .min(self.interval);
            let is_missed = now - slot > late_max;
            if !is_missed {
                path.sequence = path.sequence.wrapping_add(1);
            }
            self.put(place, next);
            if !is_missed {
                return Some(due);
            }
        }
        None
    }

    /// When the next probe is due.
    pub(super) fn next(&mut self) -> Option<Instant> {
        while let Some(&Reverse((at, place))) = self.heap.peek() {
            if self.path(place).is_some_and(|path| path.next == at) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }

    fn put(&mut self, place: Place, at: Instant) {
        if self.heap.len() >= 2 * self.slots.len() + STALE_MAX {
            let mut heap = std::mem::take(&mut self.heap);
            heap.retain(|Reverse((at, place))| {
                self.path(*place).is_some_and(|path| path.next == *at)
            });
            self.heap = heap;
        }
        self.heap.push(Reverse((at, place)));
    }
}

/// The largest multiple of `part` that is not longer than `time`.
fn whole(time: Duration, part: Duration) -> Duration {
    let rest = time.as_nanos() % part.as_nanos();
    time - Duration::from_nanos(rest as u64)
}

#[cfg(test)]
mod tests;
