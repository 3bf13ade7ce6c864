//! The kernel's own account of a cut wire and of what became of the routes, with times.

use std::{
    collections::BTreeMap,
    sync::mpsc::sync_channel,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::wire::{HEADER_BYTES, HostWay, way};
use crate::lab::{namespace::Namespace, raw_socket::RawSocket, worker::Worker};

/// A move of ten thousand prefixes makes tens of thousands of messages within milliseconds, of about a kilobyte each in the kernel.
const RECEIVE_BUFFER_BYTES: i32 = 256 << 20;

/// How long the monitor waits before it looks whether it should stop.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(100);

/// More messages than any run makes.
const EVENTS_MAX: usize = 1 << 20;

const DATAGRAM_BYTES: usize = 32 << 10;

/// `IFF_LOWER_UP`
const LOWER_UP: u32 = 1 << 16;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// An interface has no carrier.
    Cut(u32),
    /// A route was put behind those of its metric, or in the place of the first of them.
    Added { way: HostWay, replaces: bool },
    /// A route was deleted.
    Deleted(HostWay),
}

/// What happened, and when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: Instant,
    pub(super) deed: Deed,
}

/// A running monitor.
pub(super) struct Monitor {
    worker: Worker<Result<Vec<Event>>>,
}

impl Monitor {
    /// Returns once it listens.
    pub(super) fn start(namespace: &Namespace) -> Result<Self> {
        let (ready, listening) = sync_channel(1);
        let worker = namespace.worker("route-monitor", move |stop| {
            let socket = RawSocket::rtnetlink(RECEIVE_TIMEOUT)?;
            socket.set_receive_buffer(RECEIVE_BUFFER_BYTES)?;
            socket.join(&[libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_ROUTE])?;
            // Nobody waits any more where the start failed.
            let _ = ready.send(());
            let mut events = Vec::new();
            let mut buffer = vec![0; DATAGRAM_BYTES];
            loop {
                // Asked before the look: what happened before the stop is seen for certain.
                let is_last = stop.is_wanted();
                match socket.receive(&mut buffer)? {
                    Some(datagram) if events.len() < EVENTS_MAX => {
                        let at = Instant::now();
                        events.extend(deed(datagram).map(|deed| Event { at, deed }));
                    }
                    Some(_) => {}
                    None if is_last => return Ok(events),
                    None => {}
                }
            }
        });
        listening.recv().context("the monitor could not start")?;
        Ok(Self { worker })
    }

    /// All that happened.
    pub(super) fn finish(self) -> Result<Vec<Event>> {
        self.worker.finish()
    }
}

fn deed(datagram: &[u8]) -> Option<Deed> {
    let body = datagram.get(HEADER_BYTES..)?;
    let kind = u16::from_ne_bytes([datagram[4], datagram[5]]);
    let flags = u16::from_ne_bytes([datagram[6], datagram[7]]);
    match kind {
        libc::RTM_NEWLINK => {
            let number =
                |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
            let is_cut = number(8)? & LOWER_UP == 0;
            is_cut.then_some(Deed::Cut(number(4)?))
        }
        libc::RTM_NEWROUTE => Some(Deed::Added {
            way: way(body, &BTreeMap::new())?,
            replaces: flags & libc::NLM_F_REPLACE as u16 != 0,
        }),
        libc::RTM_DELROUTE => way(body, &BTreeMap::new()).map(Deed::Deleted),
        _ => None,
    }
}

/// From the cut of an interface until the last prefix that left by it left by another one; `before` is what there was, in the kernel's
/// order.
pub(super) fn last_move(before: &[HostWay], events: &[Event], cut: u32) -> Option<Duration> {
    let mut table: BTreeMap<u32, Vec<HostWay>> = BTreeMap::new();
    for way in before {
        table.entry(way.to).or_default().push(*way);
    }
    let best = |ways: &[HostWay]| Some(ways.iter().min_by_key(|way| way.metric)?.by);
    let begin = events
        .iter()
        .position(|event| event.deed == Deed::Cut(cut))?;
    let mut last = None;
    for event in &events[begin..] {
        let (Deed::Added { way, .. } | Deed::Deleted(way)) = event.deed else {
            continue;
        };
        let ways = table.entry(way.to).or_default();
        let before = best(ways);
        match event.deed {
            Deed::Added { replaces: true, .. } => {
                match ways.iter_mut().find(|other| other.metric == way.metric) {
                    Some(other) => *other = way,
                    None => ways.push(way),
                }
            }
            Deed::Added { .. } => ways.push(way),
            _ => {
                let place = ways.iter().position(|other| *other == way);
                place.map(|place| ways.remove(place));
            }
        }
        if before == Some(cut) && best(ways).is_some_and(|by| by != cut) {
            last = Some(event.at - events[begin].at);
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way_by(to: u32, metric: u32, by: u32) -> HostWay {
        HostWay { to, metric, by }
    }

    #[test]
    fn a_prefix_has_moved_when_its_best_route_leaves_elsewhere_not_before_and_not_after() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let beside = |to| Deed::Added {
            way: way_by(to, 10, 4),
            replaces: false,
        };
        let before = [way_by(1, 10, 3), way_by(2, 10, 3), way_by(2, 11, 4)];
        let events: Vec<Event> = [
            (1, Deed::Deleted(way_by(9, 10, 3))),
            (5, Deed::Cut(3)),
            (6, beside(1)),
            (8, Deed::Deleted(way_by(2, 10, 3))),
            (11, Deed::Deleted(way_by(1, 10, 3))),
            (14, Deed::Deleted(way_by(2, 11, 4))),
        ]
        .map(|(ms, deed)| Event { at: at(ms), deed })
        .to_vec();
        assert_eq!(
            last_move(&before, &events, 3),
            Some(Duration::from_millis(6))
        );
        assert_eq!(last_move(&before, &events[2..], 3), None);
    }

    #[test]
    fn a_replacement_moves_at_once() {
        let at = Instant::now();
        let replaced = Deed::Added {
            way: way_by(1, 10, 4),
            replaces: true,
        };
        let events = [Deed::Cut(3), replaced].map(|deed| Event { at, deed });
        let before = [way_by(1, 10, 3)];
        assert_eq!(last_move(&before, &events, 3), Some(Duration::ZERO));
    }
}
