//! What passes on an interface without eBPF: the interface's own counters, less what is pingu's own there. They tell nobody who a frame
//! is for; where that matters, a socket counts what is for this host alone.

use std::io;

use super::{
    counters::{Amount, Counters, Reader},
    filter::Passes,
    tap::Tap,
};
use crate::{
    probe::{InterfaceTraffic, LinkHeader, ProbeOrder, SendResult, Traffic},
    units::Ifindex,
};

const ICMP_HEADER_BYTES: u64 = 8;

/// The accounts of the interfaces that somebody asks about.
#[derive(Default)]
pub(super) struct Accounts {
    reader: Option<Reader>,
    /// In order of their interfaces' numbers.
    accounts: Vec<Account>,
}

struct Account {
    ifindex: Ifindex,
    /// Counts what is for this host; none where that is not asked for, or refused.
    witness: Option<Witness>,
    own: Own,
    ledger: Ledger,
}

struct Witness {
    tap: Tap,
    packets: u64,
}

/// Probes that left, and what came back for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Own {
    sent: Amount,
    heard: Amount,
}

/// What is left of the counters without what is our own. It never goes back, although packets are counted here a moment before or after the
/// interface does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ledger {
    begin: Counters,
    last: Counters,
    traffic: Traffic,
}

impl Accounts {
    /// What was read is old.
    pub(super) fn grow_old(&mut self) {
        if let Some(reader) = &mut self.reader {
            reader.grow_old();
        }
    }

    /// What has passed since the first call. With `tell_apart` packets that come in are counted only if they are for this host, where the
    /// kernel lets this process see that; `bare` is a device without link header, and own cookies begin with `own`.
    pub(super) fn traffic(
        &mut self,
        ifindex: Ifindex,
        tell_apart: bool,
        (bare, own): (bool, u32),
    ) -> Option<InterfaceTraffic> {
        let counters = match self.read(ifindex) {
            Ok(counters) => counters?,
            Err(error) => {
                tracing::debug!(%ifindex, %error, "cannot read the interface's counters");
                return None;
            }
        };
        let place = match self.place(ifindex) {
            Ok(place) => place,
            Err(place) => {
                let witness = tell_apart
                    .then(|| Witness::open(ifindex, bare, own))
                    .flatten();
                self.accounts.insert(
                    place,
                    Account {
                        ifindex,
                        witness,
                        own: Own::default(),
                        ledger: Ledger::begin(counters),
                    },
                );
                place
            }
        };
        let account = &mut self.accounts[place];
        let for_us = account.witness.as_mut().map(Witness::count);
        account.ledger.take(counters, &mut account.own, for_us);
        Some(InterfaceTraffic {
            traffic: account.ledger.traffic,
            told_apart: account.witness.is_some(),
        })
    }

    /// Takes what became of orders.
    pub(super) fn sent(&mut self, orders: &[ProbeOrder], results: &[SendResult]) {
        if self.accounts.is_empty() {
            return;
        }
        for (order, result) in orders.iter().zip(results) {
            if *result == SendResult::Sent
                && let Ok(place) = self.place(order.ifindex)
            {
                self.accounts[place].own.sent.add(frame_bytes(order));
            }
        }
    }

    /// A packet came in that speaks of a probe.
    pub(super) fn heard(&mut self, ifindex: Ifindex, bytes: u64) {
        if let Ok(place) = self.place(ifindex) {
            self.accounts[place].own.heard.add(bytes);
        }
    }

    /// Forgets an interface.
    pub(super) fn end(&mut self, ifindex: Ifindex) {
        self.accounts.retain(|account| account.ifindex != ifindex);
    }

    fn place(&self, ifindex: Ifindex) -> Result<usize, usize> {
        self.accounts
            .binary_search_by_key(&ifindex, |account| account.ifindex)
    }

    fn read(&mut self, ifindex: Ifindex) -> io::Result<Option<Counters>> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(Reader::new()?),
        };
        reader.of(ifindex)
    }
}

impl Witness {
    fn open(ifindex: Ifindex, bare: bool, own: u32) -> Option<Self> {
        match Tap::open(ifindex, bare, Passes::Traffic(own), 0) {
            Ok(tap) => Some(Self { tap, packets: 0 }),
            Err(error) => {
                tracing::debug!(%ifindex, %error, "what comes in is not told apart");
                None
            }
        }
    }

    /// How many packets for this host have come in since it was opened.
    fn count(&mut self) -> u64 {
        // An interface that is set down says so once.
        self.packets += u64::from(self.tap.passed().unwrap_or(0));
        self.packets
    }
}

impl Ledger {
    fn begin(counters: Counters) -> Self {
        Self {
            begin: counters,
            last: counters,
            traffic: Traffic::default(),
        }
    }

    /// Takes what the interface has counted, and the packets for this host, if they are told apart.
    fn take(&mut self, counters: Counters, own: &mut Own, for_us: Option<u64>) {
        let goes_back = counters.ingress.packets < self.last.ingress.packets
            || counters.egress.packets < self.last.egress.packets;
        if goes_back {
            // The driver began anew. What passed meanwhile is lost; it is less than nothing that is made up.
            *own = Own::default();
            self.begin = counters;
            self.traffic = Traffic::default();
        }
        self.last = counters;
        let passed = |now: u64, begin: u64, own: u64| now.saturating_sub(begin).saturating_sub(own);
        let (now, begin) = (&counters, &self.begin);
        let multicast = now.multicast.saturating_sub(begin.multicast);
        let heard = own.heard.packets + multicast;
        let ingress = passed(now.ingress.packets, begin.ingress.packets, heard);
        let traffic = Traffic {
            ingress_packets: for_us.unwrap_or(ingress),
            ingress_bytes: passed(now.ingress.bytes, begin.ingress.bytes, own.heard.bytes),
            egress_packets: passed(now.egress.packets, begin.egress.packets, own.sent.packets),
            egress_bytes: passed(now.egress.bytes, begin.egress.bytes, own.sent.bytes),
            handshakes_begun: 0,
            handshakes_answered: 0,
            handshakes_elsewhere: 0,
        };
        let before = &mut self.traffic;
        before.ingress_packets = before.ingress_packets.max(traffic.ingress_packets);
        before.ingress_bytes = before.ingress_bytes.max(traffic.ingress_bytes);
        before.egress_packets = before.egress_packets.max(traffic.egress_packets);
        before.egress_bytes = before.egress_bytes.max(traffic.egress_bytes);
    }
}

/// What a probe's frame has, as interfaces count it.
fn frame_bytes(order: &ProbeOrder) -> u64 {
    let link = match order.link {
        LinkHeader::Ethernet { .. } => 14,
        LinkHeader::Vlan { inner: 0, .. } => 18,
        LinkHeader::Vlan { .. } => 22,
        LinkHeader::Bare => 0,
    };
    let ip = if order.target.is_ipv4() { 20 } else { 40 };
    link + ip + ICMP_HEADER_BYTES + u64::from(order.payload_bytes)
}

#[cfg(test)]
mod tests;
