//! The wires of the virtual world: interfaces whose targets answer or not, and the transport over them.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use pingu::{
    network::{Link, LinkLayer},
    probe::{ProbeOrder, ProbeTransport, Reflection, Remarks, SendResult, Stamps, Traffic},
    units::{Ifindex, SlotId},
};

use crate::world::Setting;

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
    /// Pings pass; with `answers`, without them all else does.
    pub(crate) pings: bool,
    /// None: nothing counts on it.
    pub(crate) flow: Option<Flow>,
    /// What had passed at a time, and the time.
    pub(crate) passed: (Traffic, Instant),
    /// What is seen of a probe that is not answered.
    pub(crate) unanswered: Remarks,
    /// What is seen of one that is.
    pub(crate) answered: Remarks,
    /// What the kernel says to each probe, where it is not that all is well.
    pub(crate) refusal: Option<SendResult>,
    /// Probes never pass the egress hook.
    pub(crate) vanish: bool,
    /// Answers in the targets' place, for probes that ask for it.
    pub(crate) reflector: Option<Reflector>,
}

/// Counts requests, and loses some before it counts them and some replies after.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reflector {
    pub(crate) count: u32,
    pub(crate) forward_loss_percent: u8,
    pub(crate) backward_loss_percent: u8,
    pub(crate) forward_lost: u64,
    pub(crate) backward_lost: u64,
}

impl Reflector {
    /// The reply to a request, if it comes back; `chance` is below 10,000.
    fn reflect(&mut self, sent_ns: u64, chance: u16) -> Option<Reflection> {
        if chance % 100 < u16::from(self.forward_loss_percent) {
            self.forward_lost += 1;
            return None;
        }
        self.count = self.count.wrapping_add(1);
        if chance / 100 < u16::from(self.backward_loss_percent) {
            self.backward_lost += 1;
            return None;
        }
        Some(Reflection {
            received_ns: sent_ns.wrapping_add(1 << 40),
            sent_ns: sent_ns.wrapping_add((1 << 40) + 500),
            requests: self.count,
        })
    }
}

/// What passes on a wire in a second. Nothing comes in by one that does not answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    pub(crate) ingress: u64,
    pub(crate) egress: u64,
    pub(crate) begun: u64,
    pub(crate) answered: u64,
}

impl Wire {
    /// What has passed by now.
    pub(crate) fn traffic(&self, now: Instant) -> Traffic {
        let flow = self.flow.unwrap_or_default();
        let (mut traffic, since) = self.passed;
        let ns = (now - since).as_nanos();
        let count = |per_s: u64| (ns * u128::from(per_s) / 1_000_000_000) as u64;
        let comes_in = |per_s: u64| {
            let arrives = self.answers && self.link.carrier;
            if arrives { count(per_s) } else { 0 }
        };
        traffic.ingress_packets += comes_in(flow.ingress);
        traffic.ingress_bytes += comes_in(flow.ingress) * 1000;
        traffic.egress_packets += count(flow.egress);
        traffic.egress_bytes += count(flow.egress) * 100;
        traffic.handshakes_begun += count(flow.begun);
        traffic.handshakes_elsewhere += count(flow.begun);
        traffic.handshakes_answered += comes_in(flow.answered);
        traffic
    }
}

/// A probe in its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    sent_ns: Option<u64>,
    reply_ns: Option<u64>,
    remarks: Remarks,
}

/// The transport of this world: replies show when their time has come.
pub(crate) struct Wires {
    pub(crate) start: Instant,
    pub(crate) now: Cell<Instant>,
    pub(crate) wires: Vec<Wire>,
    pub(crate) slots: BTreeMap<SlotId, Probe>,
    pub(crate) random: u64,
}

impl Wires {
    pub(crate) fn now_ns(&self) -> u64 {
        1 + (self.now.get() - self.start).as_nanos() as u64
    }

    pub(crate) fn remark_unanswered(&mut self, remarks: Remarks) {
        let unanswered = self.slots.values_mut();
        for probe in unanswered.filter(|probe| probe.reply_ns.is_none()) {
            probe.remarks = remarks;
        }
    }

    pub(crate) fn percent(&mut self) -> u8 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % 100) as u8
    }
}

impl Wires {
    /// Two chances in a hundred each. Drawn only where a reflector is: other lives stay as they are.
    fn percent_back(&mut self) -> u16 {
        if self.wires.iter().all(|wire| wire.reflector.is_none()) {
            return 0;
        }
        u16::from(self.percent()) * 100 + u16::from(self.percent())
    }
}

impl ProbeTransport for Wires {
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        results.clear();
        for order in orders {
            let (chance, chance_back) = (self.percent(), self.percent_back());
            let sent_ns = self.now_ns();
            let wire = self
                .wires
                .iter_mut()
                .find(|wire| wire.link.ifindex == order.ifindex)
                .expect("an interface");
            let answered = wire.answers
                && wire.pings
                && wire.link.carrier
                && chance >= wire.loss_percent
                && !wire.dead_targets.contains(&order.target);
            let jitter = wire.jitter * u32::from(order.sequence % 2);
            let mut answered = answered && !wire.vanish && wire.refusal.is_none();
            let mut remarks = if answered {
                wire.answered
            } else {
                wire.unanswered
            };
            if answered
                && order.reflect.is_some()
                && let Some(reflector) = &mut wire.reflector
            {
                remarks.reflection = reflector.reflect(sent_ns, chance_back);
                answered = remarks.reflection.is_some();
            }
            let reply_ns = answered.then(|| sent_ns + (wire.rtt + jitter).as_nanos() as u64);
            let probe = Probe {
                sent_ns: (!wire.vanish).then_some(sent_ns),
                reply_ns,
                remarks,
            };
            results.push(wire.refusal.unwrap_or(SendResult::Sent));
            self.slots.insert(order.slot, probe);
        }
    }

    fn traffic(&self, ifindex: Ifindex) -> Option<Traffic> {
        let mut wires = self.wires.iter();
        let wire = wires.find(|wire| wire.link.ifindex == ifindex)?;
        wire.flow.map(|_| wire.traffic(self.now.get()))
    }

    fn read(&self, slot: SlotId) -> Stamps {
        let now_ns = self.now_ns();
        let probe = self.slots.get(&slot);
        Stamps {
            sent_ns: probe.and_then(|probe| probe.sent_ns),
            received_ns: probe.and_then(|probe| probe.reply_ns.filter(|&at| at <= now_ns)),
        }
    }

    fn remarks(&self, slot: SlotId) -> Remarks {
        let probe = self.slots.get(&slot);
        probe.map_or(Remarks::default(), |probe| probe.remarks)
    }
}

/// A wire to a neighbour that answers.
pub(crate) fn wire(start: Instant, ifindex: u32, name: &str, gateway: IpAddr, lease: bool) -> Wire {
    Wire {
        link: Link {
            ifindex: Ifindex(ifindex),
            name: name.to_owned(),
            layer: LinkLayer::Ethernet([2, 0, 0, 0, 0, ifindex as u8]),
            admin_up: true,
            carrier: true,
            is_port: false,
            mtu_bytes: 1500,
            alternative_names: Vec::new(),
        },
        exists: true,
        answers: true,
        loss_percent: 0,
        rtt: Duration::from_millis(10),
        jitter: Duration::ZERO,
        neighbour: true,
        lease,
        dead_targets: Vec::new(),
        gateway,
        pings: true,
        flow: None,
        passed: (Traffic::default(), start),
        unanswered: Remarks::default(),
        answered: Remarks::default(),
        refusal: None,
        vanish: false,
        reflector: None,
    }
}

/// Lets traffic flow as it is set.
pub(crate) fn set_flow(wire: &mut Wire, setting: &Setting) {
    let keys = [
        setting.ingress,
        setting.egress,
        setting.begun,
        setting.answered,
    ];
    if keys.iter().all(Option::is_none) {
        return;
    }
    let flow = wire.flow.get_or_insert_default();
    let places = [
        &mut flow.ingress,
        &mut flow.egress,
        &mut flow.begun,
        &mut flow.answered,
    ];
    for (place, key) in places.into_iter().zip(keys) {
        *place = key.unwrap_or(*place);
    }
}
