//! Which direction loses what, told by a reflector's counts.
//!
//! A reflector says in each reply how many requests of the path it had received. So between two replies it is known how many requests left,
//! how many of them arrived, and how many replies came back. Nothing is known of what left after the last reply: a path on which nothing
//! returns tells its direction with the first reply after that.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    config::Config,
    engine::random::Random,
    probe::{ProbeOrder, ProbeTransport, Reflection, SendResult, Stamps},
    units::{PathId, SlotId},
};

mod count;
mod status;

pub use status::DirectionsStatus;
pub(crate) use status::worst_direction;

use count::{Base, Count, are_of_one_count};

/// Probes that are looked back on. Of so many, a share is known to some percent.
const PROBES: usize = 200;

/// What one path's directions take of memory; a ring doubles as it grows.
pub(crate) const BYTES: usize =
    size_of::<Directions>() + (PROBES + 1).next_power_of_two() * size_of::<Probe>();

/// Delays are compared with the lowest of those that are looked back on, as the mean of so many.
const DELAYS_RECENT: usize = 10;

/// What became of a probe, as far as directions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// No reply yet; whether it was seen to leave.
    Open { left: bool },
    /// It never left, or its reply says nothing of directions: as if it had not been sent.
    Untold,
    /// Its reply came, with the reflector's count.
    Told(Told),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    requests: u32,
    /// How long it was inside the reflector, in nanoseconds.
    inside_ns: u32,
    /// The reflector's clock minus this machine's, as the way there and the way back see it, in microseconds after the path's first;
    /// these differ by the delays.
    forward_us: i32,
    backward_us: i32,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    slot: SlotId,
    /// Milliseconds after the path's beginning; wraps.
    at_ms: u32,
    fate: Fate,
}

/// The directions of one path.
#[derive(Debug)]
pub(crate) struct Directions {
    number: u32,
    begin: Instant,
    probes: VecDeque<Probe>,
    base: Option<Base>,
    /// The clocks' difference at the first reflection.
    clocks_ns: Option<i64>,
}

impl Directions {
    pub(crate) fn new(number: u32, now: Instant) -> Self {
        Self {
            number,
            begin: now,
            probes: VecDeque::new(),
            base: None,
            clocks_ns: None,
        }
    }

    /// Takes the path's newest orders, and makes them ask for a reflection.
    pub(crate) fn ordered(&mut self, orders: &mut [ProbeOrder], now: Instant) {
        for order in orders {
            order.reflect = Some(self.number);
            // Whatever the slot's earlier probe was, nobody will know.
            for probe in &mut self.probes {
                if probe.slot == order.slot {
                    probe.slot = NO_SLOT;
                }
            }
            self.probes.push_back(Probe {
                slot: order.slot,
                at_ms: self.milliseconds(now),
                fate: Fate::Open { left: false },
            });
            if self.probes.len() > PROBES {
                self.forget_oldest();
            }
        }
    }

    /// Takes the kernel's answers to those orders.
    pub(crate) fn sent(&mut self, results: &[SendResult]) {
        let newest = self.probes.iter_mut().rev();
        for (probe, result) in newest.zip(results.iter().rev()) {
            if let SendResult::NotSent(_) = result {
                probe.fate = Fate::Untold;
            }
        }
    }

    /// Reads what came back of the probes that have no reply yet.
    pub(crate) fn collect(&mut self, transport: &impl ProbeTransport) {
        for place in 0..self.probes.len() {
            let Probe { slot, fate, .. } = self.probes[place];
            let Fate::Open { left } = fate else {
                continue;
            };
            if slot == NO_SLOT {
                continue;
            }
            let stamps = transport.read(slot);
            self.probes[place].fate = match stamps {
                Stamps {
                    sent_ns: Some(sent_ns),
                    received_ns: Some(received_ns),
                } => match transport.remarks(slot).reflection {
                    Some(reflection) => Fate::Told(self.told(&reflection, sent_ns, received_ns)),
                    None => Fate::Untold,
                },
                Stamps { sent_ns, .. } => Fate::Open {
                    left: left || sent_ns.is_some(),
                },
            };
        }
    }

    /// What is known; none before the first reflection.
    pub(crate) fn status(&self, timeout: Duration, now: Instant) -> Option<DirectionsStatus> {
        let mut count = Count::new(self.base);
        for probe in &self.probes {
            match probe.fate {
                Fate::Untold | Fate::Open { left: false } => {}
                // Its reply may still be on its way; nothing is said of what comes after it.
                Fate::Open { left: true } if !self.is_over(probe, timeout, now) => break,
                Fate::Open { left: true } => count.since += 1,
                Fate::Told(told) => count.take(told.requests),
            }
        }
        count.last?;
        let mut status = count.status();
        self.delays(&mut status);
        status.fault = status.describe();
        Some(status)
    }

    fn told(&mut self, reflection: &Reflection, sent_ns: u64, received_ns: u64) -> Told {
        // Wrapping: the clocks' beginnings are anywhere, and only differences count.
        let forward_ns = reflection.received_ns.wrapping_sub(sent_ns) as i64;
        let backward_ns = received_ns.wrapping_sub(reflection.sent_ns) as i64;
        let clocks_ns = *self.clocks_ns.get_or_insert(forward_ns);
        let microseconds = |ns: i64| {
            let us = ns / 1_000;
            us.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
        };
        Told {
            requests: reflection.requests,
            inside_ns: u32::try_from(reflection.sent_ns.wrapping_sub(reflection.received_ns))
                .unwrap_or(u32::MAX),
            forward_us: microseconds(forward_ns.wrapping_sub(clocks_ns)),
            backward_us: microseconds(backward_ns.wrapping_add(clocks_ns)),
        }
    }

    fn delays(&self, status: &mut DirectionsStatus) {
        let mut told: Vec<Told> = Vec::with_capacity(self.probes.len());
        for probe in &self.probes {
            if let Fate::Told(one) = probe.fate {
                // Another beginning may be another clock.
                if told.last().is_some_and(|last| {
                    !are_of_one_count(last.requests, one.requests, PROBES as u64)
                }) {
                    told.clear();
                }
                told.push(one);
            }
        }
        if told.is_empty() {
            return;
        }
        let inside: f64 = told.iter().map(|one| f64::from(one.inside_ns)).sum();
        status.reflector_us = Some(inside / told.len() as f64 / 1e3);
        let rise = |of: fn(&Told) -> i32| {
            let lowest = told.iter().map(of).min()?;
            let recent = &told[told.len().saturating_sub(DELAYS_RECENT)..];
            let sum: i64 = recent
                .iter()
                .map(|one| i64::from(of(one)) - i64::from(lowest))
                .sum();
            Some(sum as f64 / recent.len() as f64)
        };
        status.forward_delay_rise_us = rise(|one| one.forward_us);
        status.backward_delay_rise_us = rise(|one| one.backward_us);
    }

    fn forget_oldest(&mut self) {
        let Some(probe) = self.probes.pop_front() else {
            return;
        };
        match (probe.fate, &mut self.base) {
            (Fate::Told(told), base) => {
                *base = Some(Base {
                    requests: told.requests,
                    since: 0,
                });
            }
            (Fate::Open { left: true }, Some(base)) => base.since += 1,
            (Fate::Open { .. } | Fate::Untold, _) => {}
        }
    }

    /// Whether a probe's timeout has passed, or its slot has another.
    fn is_over(&self, probe: &Probe, timeout: Duration, now: Instant) -> bool {
        let age_ms = self.milliseconds(now).wrapping_sub(probe.at_ms);
        probe.slot == NO_SLOT || u128::from(age_ms) > timeout.as_millis()
    }

    fn milliseconds(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.begin).as_millis() as u32
    }
}

/// No probe's.
const NO_SLOT: SlotId = SlotId(u32::MAX);

/// The directions of all paths that ask for reflections.
#[derive(Debug, Default)]
pub(crate) struct Reflections {
    /// By path; empty where none asks.
    paths: Vec<Option<Box<Directions>>>,
}

impl Reflections {
    /// Those of a configuration whose paths belong to these uplinks. Path numbers are consecutive from a random one on.
    pub(crate) fn new<'a>(
        config: &Config,
        uplinks: impl Iterator<Item = &'a super::Path>,
        seed: u64,
        now: Instant,
    ) -> Self {
        if !config.uplinks.iter().any(|uplink| uplink.probe.reflect) {
            return Self::default();
        }
        let first = Random(seed).next() as u32;
        let of = |(index, path): (usize, &super::Path)| {
            let probe = &config.uplinks[path.uplink.index()].probe;
            let number = first.wrapping_add(index as u32);
            probe
                .reflect
                .then(|| Box::new(Directions::new(number, now)))
        };
        Self {
            paths: uplinks.enumerate().map(of).collect(),
        }
    }

    /// Those of a path.
    pub(crate) fn of(&self, id: PathId) -> Option<&Directions> {
        self.paths.get(id.index())?.as_deref()
    }

    /// Those of a path, to be told something.
    pub(crate) fn of_mut(&mut self, id: PathId) -> Option<&mut Directions> {
        self.paths.get_mut(id.index())?.as_deref_mut()
    }
}

#[cfg(test)]
mod tests;
