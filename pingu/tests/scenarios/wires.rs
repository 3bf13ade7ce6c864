//! The wires of the virtual world: interfaces whose targets answer or not, and the transport over them.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use pingu::{
    network::Link,
    probe::{ProbeOrder, ProbeTransport, SendResult, Stamps},
    units::SlotId,
};

#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) link: Link,
    pub(crate) exists: bool,
    pub(crate) answers: bool,
    pub(crate) loss_percent: u8,
    pub(crate) rtt: Duration,
    pub(crate) jitter: Duration,
    pub(crate) neighbour: bool,
    pub(crate) lease: bool,
    pub(crate) dead_targets: Vec<IpAddr>,
    pub(crate) gateway: IpAddr,
}

/// The transport of this world: replies show when their time has come.
pub(crate) struct Wires {
    pub(crate) start: Instant,
    pub(crate) now: Cell<Instant>,
    pub(crate) wires: Vec<Wire>,
    pub(crate) slots: BTreeMap<SlotId, (u64, Option<u64>)>,
    pub(crate) random: u64,
}

impl Wires {
    pub(crate) fn now_ns(&self) -> u64 {
        1 + (self.now.get() - self.start).as_nanos() as u64
    }

    pub(crate) fn percent(&mut self) -> u8 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % 100) as u8
    }
}

impl ProbeTransport for Wires {
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        results.clear();
        for order in orders {
            let chance = self.percent();
            let sent_ns = self.now_ns();
            let wire = self
                .wires
                .iter()
                .find(|wire| wire.link.ifindex == order.ifindex)
                .expect("an interface");
            let answered = wire.answers
                && wire.link.carrier
                && chance >= wire.loss_percent
                && !wire.dead_targets.contains(&order.target);
            let jitter = wire.jitter * u32::from(order.sequence % 2);
            let reply = answered.then(|| sent_ns + (wire.rtt + jitter).as_nanos() as u64);
            self.slots.insert(order.slot, (sent_ns, reply));
            results.push(SendResult::Sent);
        }
    }

    fn read(&self, slot: SlotId) -> Stamps {
        let now_ns = self.now_ns();
        match self.slots.get(&slot) {
            Some(&(sent_ns, reply)) => Stamps {
                sent_ns: Some(sent_ns),
                received_ns: reply.filter(|&at| at <= now_ns),
            },
            None => Stamps {
                sent_ns: None,
                received_ns: None,
            },
        }
    }
}
