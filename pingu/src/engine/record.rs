//! What is known of a path, whichever way it is probed: its counts, its figures, its verdicts, and the slots that it may use.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    engine::{
        causes::{CauseId, CauseKind, Causes, Detail},
        evidence::{Evidence, Judged},
        health::Health,
        histogram::Histogram,
        way_out::Readiness,
        window::{Recent, Window},
    },
    probe::{ProbeOrder, ProbeTransport},
    units::SlotId,
};

/// What became of all probes ever ordered on a path: sent = answered + lost + late + not_sent + pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    pub(crate) late: u64,
    /// Refused by the kernel, vanished before the egress hook, or without a neighbour.
    pub(crate) not_sent: u64,
    /// Those of `not_sent` whose next hop had no link-layer address.
    pub(crate) no_neighbour: u64,
}

/// A path's own share of the slots, used in turns.
#[derive(Clone, Copy, Debug)]
struct SlotRing {
    base: u32,
    len: u32,
    next: u32,
    /// How many of the next ones have been looked at for the last time.
    swept: u32,
}

impl SlotRing {
    fn take(&mut self) -> SlotId {
        let slot = self.peek();
        self.next = (self.next + 1) % self.len;
        self.swept = self.swept.saturating_sub(1);
        slot
    }

    fn peek(&self) -> SlotId {
        SlotId(self.base + self.next)
    }
}

/// What every probe of a look has in common.
pub(crate) struct Shape {
    pub(crate) target: IpAddr,
    pub(crate) ident: u16,
    pub(crate) payload_bytes: u16,
    pub(crate) now: Instant,
}

/// The shared parts of a path.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) readiness: Readiness,
    /// Hooks are not just being attached to its interface.
    pub(crate) is_served: bool,
    /// Since when the next hop's link-layer address has been unknown.
    resolving_since: Option<Instant>,
    pub(crate) health: Health,
    pub(crate) tally: Tally,
    pub(crate) window: Window,
    pub(crate) recent: Recent,
    pub(crate) histogram: Histogram,
    /// The last judgement.
    pub(crate) judged: Option<Judged>,
    pub(crate) evidence: Evidence,
    /// How often something was due and left out.
    pub(crate) skipped: u64,
    /// Why probes were not answered.
    pub(crate) causes: Causes,
    slots: SlotRing,
    sequence: u16,
}

impl Record {
    pub(crate) fn new(first_slot: u32, slots: u32) -> Self {
        Self {
            readiness: Readiness::Blocked,
            is_served: true,
            resolving_since: None,
            health: Health::unknown(),
            tally: Tally::default(),
            window: Window::default(),
            recent: Recent::default(),
            histogram: Histogram::default(),
            judged: None,
            evidence: Evidence::default(),
            skipped: 0,
            causes: Causes::default(),
            slots: SlotRing {
                base: first_slot,
                len: slots,
                next: 0,
                swept: 0,
            },
            sequence: 0,
        }
    }

    /// Takes a new answer to "can this path be probed". Blocked, nothing is known any more.
    pub(crate) fn set_readiness(&mut self, readiness: Readiness, now: Instant) {
        self.readiness = readiness;
        self.resolving_since =
            (readiness == Readiness::Resolving).then(|| self.resolving_since.unwrap_or(now));
        if readiness == Readiness::Blocked {
            self.health.start_over();
            self.evidence = Evidence::default();
        }
    }

    /// It has no way out.
    pub(crate) fn is_blocked(&self) -> bool {
        self.readiness == Readiness::Blocked
    }

    /// Takes the round-trip time of an answered probe. Replies are taken as they came: RFC 3550 reckons jitter so, whatever overtakes what.
    pub(crate) fn answered(&mut self, rtt: Duration) {
        self.window.push(rtt);
        self.histogram.push(rtt);
    }

    /// A probe that counts as lost was answered after all: late, or in time behind the back of somebody who had reported that it was not
    /// delivered. Whether it was late.
    pub(crate) fn answered_after_all(
        &mut self,
        cause: CauseId,
        (rtt, timeout): (Duration, Duration),
        now: Instant,
    ) -> bool {
        let is_late = rtt > timeout;
        self.tally.lost -= 1;
        if is_late {
            self.causes.turn_late(cause, now);
            self.tally.late += 1;
        } else {
            self.causes.take_back(cause);
            self.tally.answered += 1;
            self.answered(rtt);
        }
        is_late
    }

    /// Until when what is due waits: as long as hooks are being attached, of which it is told; for the next hop's link-layer address for
    /// one timeout, after which its probes count as without one.
    pub(crate) fn waits_until(&self, timeout: Duration, now: Instant) -> Option<Instant> {
        if !self.is_served {
            return Some(now + timeout);
        }
        let patience_ends = self.resolving_since.map(|since| since + timeout);
        patience_ends.filter(|ends| now < *ends)
    }

    /// Looks for the last time at so many slots that orders may take next, for what else came for their probes.
    pub(crate) fn sweep_slots(
        &mut self,
        slots: u32,
        transport: &impl ProbeTransport,
        now: Instant,
    ) {
        let ring = &mut self.slots;
        let until = slots.min(ring.len);
        for ahead in ring.swept..until {
            let slot = SlotId(ring.base + (ring.next + ahead) % ring.len);
            let remarks = transport.remarks(slot);
            self.causes.note_packets(slot, &remarks, true, now);
            self.causes.take_dropped(slot);
        }
        ring.swept = ring.swept.max(until);
    }

    /// Counts what else has come so far for the probes in the other slots: somebody asks.
    pub(crate) fn look_at_slots(&mut self, transport: &impl ProbeTransport, now: Instant) {
        let ring = self.slots;
        for ahead in ring.swept..ring.len {
            let slot = SlotId(ring.base + (ring.next + ahead) % ring.len);
            let remarks = transport.remarks(slot);
            self.causes.note_packets(slot, &remarks, false, now);
        }
    }

    /// The slot that the next order takes.
    pub(crate) fn next_slot(&self) -> SlotId {
        self.slots.peek()
    }

    /// Orders one probe and counts it as sent; none if there is no neighbour to send it to, which is counted too.
    pub(crate) fn order(&mut self, shape: &Shape, orders: &mut Vec<ProbeOrder>) -> Option<SlotId> {
        self.tally.sent += 1;
        self.sequence = self.sequence.wrapping_add(1);
        let Readiness::Ready {
            ifindex,
            link,
            source,
        } = self.readiness
        else {
            self.tally.not_sent += 1;
            self.tally.no_neighbour += 1;
            self.recent.push(1, true);
            let cause = CauseKind::NoNeighbour;
            self.causes.count(cause, Detail::None, 1, shape.now);
            return None;
        };
        let slot = self.slots.take();
        orders.push(ProbeOrder {
            slot,
            ifindex,
            link,
            source,
            target: shape.target,
            ident: shape.ident,
            sequence: self.sequence,
            payload_bytes: shape.payload_bytes,
            reflect: None,
        });
        Some(slot)
    }
}
