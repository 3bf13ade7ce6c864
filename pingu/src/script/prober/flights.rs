//! Probes in flight: which reply is whose, and what became of each probe, once. Pure.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use pingu_common::{COOKIE_WORDS, Payload};

use super::schedule::Place;

/// Probes in flight at most: more are refused. A probe of each of the paths that one has, sixteen times.
pub(super) const FLIGHTS_MAX: usize = 1 << 20;

/// A number of a probe in flight, and what it carries as its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number(pub(super) u32);

/// A probe that is in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) place: Place,
    /// The slot of the path's grid.
    pub(super) due: Instant,
    /// When it was handed to the kernel.
    pub(super) sent: Instant,
    /// The same by `CLOCK_MONOTONIC`, in nanoseconds.
    pub(super) sent_ns: u64,
    pub(super) target: IpAddr,
    pub(super) sequence: u16,
    pub(super) ident: u16,
    pub(super) cookie: [u32; COOKIE_WORDS],
    /// The source that it was given.
    pub(super) source: Option<IpAddr>,
    /// The only interface by which its reply counts.
    pub(super) ifindex: Option<u32>,
    /// It left as a frame: hooks see it leave and return.
    pub(super) framed: bool,
}

/// What an echo message that came in says: of a reply, or of the request that an error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Echo {
    pub(super) ident: u16,
    pub(super) sequence: u16,
    pub(super) payload: Payload,
    /// The source of a reply, the destination of a quoted request.
    pub(super) target: IpAddr,
    /// The interface that it came in by; none where that says nothing.
    pub(super) ifindex: Option<u32>,
}

/// The probes in flight.
#[derive(Debug)]
pub(super) struct Flights {
    timeout: Duration,
    slots: Vec<Slot>,
    free: VecDeque<Number>,
    /// In the order of their deadlines, which is that of their departures.
    deadlines: VecDeque<(Instant, Number, u32)>,
    aloft: usize,
}

#[derive(Debug, Default)]
struct Slot {
    /// How many probes had this number.
    turn: u32,
    flight: Option<Flight>,
}

impl Flights {
    /// None; a reply that comes later than `timeout` is none.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            slots: Vec::new(),
            free: VecDeque::new(),
            deadlines: VecDeque::new(),
            aloft: 0,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.aloft
    }

    /// The number that the next probe gets; none while too many are in flight.
    pub(super) fn number(&mut self) -> Option<Number> {
        if let Some(number) = self.free.front() {
            return Some(*number);
        }
        (self.slots.len() < FLIGHTS_MAX).then(|| {
            let number = Number(self.slots.len() as u32);
            self.slots.push(Slot::default());
            self.free.push_back(number);
            number
        })
    }

    /// A probe has left under the number that was told last.
    pub(super) fn depart(&mut self, flight: Flight) {
        let Some(number) = self.free.pop_front() else {
            return;
        };
        let slot = &mut self.slots[number.0 as usize];
        slot.turn = slot.turn.wrapping_add(1);
        let deadline = flight.sent + self.timeout;
        self.deadlines.push_back((deadline, number, slot.turn));
        slot.flight = Some(flight);
        self.aloft += 1;
    }

    /// The probe that an echo message is of; none if it is of none, or not right in everything.
    pub(super) fn find(&self, echo: &Echo) -> Option<(Number, &Flight)> {
        let number = Number(echo.payload.slot);
        let flight = self.slots.get(number.0 as usize)?.flight.as_ref()?;
        let is_its = flight.cookie == echo.payload.cookie
            && flight.ident == echo.ident
            && flight.sequence == echo.sequence
            && flight.target == echo.target
            && (echo.ifindex.is_none()
                || flight.ifindex.is_none()
                || flight.ifindex == echo.ifindex);
        is_its.then_some((number, flight))
    }

    /// The number's turn: it tells a probe from those that have the number later.
    pub(super) fn turn(&self, number: Number) -> u32 {
        let slot = self.slots.get(number.0 as usize);
        slot.map_or(0, |slot| slot.turn)
    }

    /// A probe that is in flight under this number.
    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut Flight> {
        self.slots.get_mut(number.0 as usize)?.flight.as_mut()
    }

    /// Whether a round trip of so long counts.
    pub(super) fn is_in_time(&self, rtt: Duration) -> bool {
        rtt <= self.timeout
    }

    /// Takes a probe out of which it is known what became.
    pub(super) fn land(&mut self, number: Number) -> Option<Flight> {
        let slot = self.slots.get_mut(number.0 as usize)?;
        let flight = slot.flight.take()?;
        self.free.push_back(number);
        self.aloft -= 1;
        Some(flight)
    }

    /// Takes out the next probe whose time is over at `now`.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(Number, Flight)> {
        loop {
            let &(_, number, turn) = self.deadlines.front().filter(|entry| entry.0 <= now)?;
            self.deadlines.pop_front();
            if self.is_aloft(number, turn) {
                return Some((number, self.land(number)?));
            }
        }
    }

    /// When the next probe's time is over.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some(&(at, number, turn)) = self.deadlines.front() {
            if self.is_aloft(number, turn) {
                return Some(at);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// Whether the probe of this turn is still in flight.
    pub(super) fn is_aloft(&self, number: Number, turn: u32) -> bool {
        let slot = &self.slots[number.0 as usize];
        slot.turn == turn && slot.flight.is_some()
    }
}

#[cfg(test)]
mod tests;
