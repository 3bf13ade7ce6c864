//! Sending probes and reading what became of them, without knowing why or when.

use std::{net::IpAddr, time::Duration};

use pingu_common::{PAYLOAD_BYTES_MIN, reflector::REFLECTED_PAYLOAD_BYTES_MIN};

use crate::units::{Ifindex, SlotId};

pub mod checks;
pub mod kernel;
pub mod packet;
pub mod socket;
pub mod transport;

/// One echo request to send, complete: the transport looks nothing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOrder {
    /// The slot that is armed for it; whatever it held is forgotten.
    pub slot: SlotId,
    /// The interface it leaves by, and the only one on which its reply counts.
    pub ifindex: Ifindex,
    /// What stands before the IP header.
    pub link: LinkHeader,
    /// Source address, of the target's family.
    pub source: IpAddr,
    /// Destination address, the only source from which a reply counts.
    pub target: IpAddr,
    /// ICMP identifier, fresh for each burst.
    pub ident: u16,
    /// ICMP sequence number.
    pub sequence: u16,
    /// ICMP payload in bytes, at least `pingu_common::PAYLOAD_BYTES_MIN`, and with `reflect` at least
    /// `pingu_common::reflector::REFLECTED_PAYLOAD_BYTES_MIN`.
    pub payload_bytes: u16,
    /// The number under which a reflector counts this path's requests; none: no reflection is asked for.
    pub reflect: Option<u32>,
}

impl ProbeOrder {
    /// Bytes that its ICMP payload needs at least.
    pub(crate) fn payload_bytes_min(&self) -> u16 {
        match self.reflect {
            Some(_) => REFLECTED_PAYLOAD_BYTES_MIN,
            None => PAYLOAD_BYTES_MIN,
        }
    }
}

/// What stands before the IP header of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkHeader {
    /// An Ethernet header.
    Ethernet {
        /// The interface's own address.
        source: [u8; 6],
        /// The next hop's address.
        destination: [u8; 6],
    },
    /// An Ethernet header with one or two VLAN tags. Only a reply with the same tags counts.
    Vlan {
        /// The interface's own address.
        source: [u8; 6],
        /// The next hop's address.
        destination: [u8; 6],
        /// The id of the tag nearer to the Ethernet addresses, 1..=4094.
        outer: u16,
        /// The id of the tag nearer to the IP header; 0 if there is one tag only.
        inner: u16,
    },
    /// Nothing: a layer-3 device.
    Bare,
}

/// What the kernel said to one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// Handed to the interface.
    Sent,
    /// The interface's own queue dropped it, or a filter at its egress, with the errno: it left this program, not this machine.
    Dropped(i32),
    /// Refused, with the errno.
    NotSent(i32),
}

/// What was seen of a probe beside its first right reply. Whatever is here counts for nothing in a verdict: it names causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Further replies to a probe that was answered.
    pub duplicates: u16,
    /// Replies right in everything but the ICMP checksum.
    pub corrupt: u16,
    /// Replies that name its slot but differ in cookie, identifier, sequence or source.
    pub forged: u16,
    /// Replies right in everything but the interface or the VLAN.
    pub wrong_uplink: u16,
    /// The interface that the last of those came in by.
    pub came_in_by: Option<Ifindex>,
    /// The interface that the request tried to leave by, if it was another than its own.
    pub strayed_to: Option<Ifindex>,
    /// The last ICMP error that quoted the probe with its cookie.
    pub error: Option<IcmpError>,
    /// What a reflector wrote into its reply.
    pub reflection: Option<Reflection>,
}

/// An ICMP error that quotes a probe of ours, cookie and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent it; its family says whether the numbers are ICMP's or ICMPv6's.
    pub from: IpAddr,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
}

/// What `pingu reflect` writes into a reply. Times are the reflector's own clock: only their difference means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflection {
    /// When the request reached the reflector, in nanoseconds.
    pub received_ns: u64,
    /// When the reply left it, in nanoseconds.
    pub sent_ns: u64,
    /// How many requests of this path (source, target and path number) it had received by then, this one included; wraps.
    pub requests: u32,
}

/// What the hooks counted on one interface since they were attached. Only unicast IP packets count, and no probe or reply of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Traffic {
    /// IP packets that came in.
    pub ingress_packets: u64,
    /// Their bytes, link header included.
    pub ingress_bytes: u64,
    /// IP packets that left.
    pub egress_packets: u64,
    /// Their bytes, link header included.
    pub egress_bytes: u64,
    /// TCP segments that left with SYN and without ACK.
    pub handshakes_begun: u64,
    /// TCP segments that came in with SYN and ACK.
    pub handshakes_answered: u64,
    /// Those of the begun ones that went to another address than the one before; of many to one address there are few.
    #[serde(skip)]
    pub handshakes_elsewhere: u64,
}

/// What passed on an interface without programs that count, since somebody first asked. TCP's handshakes are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceTraffic {
    /// The interface's own counters less pingu's probes and replies; bytes that come in are those of all frames.
    pub traffic: Traffic,
    /// Packets that come in are counted only if they are for this host; else broadcasts are among them.
    pub told_apart: bool,
}

/// Whose counts tell what passes on an uplink's interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TrafficSource {
    /// Nobody's.
    #[default]
    #[serde(rename = "none")]
    None,
    /// The eBPF programs'.
    #[serde(rename = "programs")]
    Programs,
    /// The interface's own.
    #[serde(rename = "interface counters")]
    Interface,
}

/// What a slot says of its probe. Times are `CLOCK_MONOTONIC` as both hooks saw them; only differences mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// When the request passed the egress hook; none if it never did.
    pub sent_ns: Option<u64>,
    /// When its reply, matched in full and for the first time, reached the ingress hook.
    pub received_ns: Option<u64>,
}

impl Stamps {
    /// The round-trip time; none while there is no reply.
    pub fn rtt(&self) -> Option<Duration> {
        let (sent_ns, received_ns) = (self.sent_ns?, self.received_ns?);
        Some(Duration::from_nanos(received_ns.saturating_sub(sent_ns)))
    }
}

/// Sends probes and answers what became of them. The kernel engine is the real one; the simulator's lives in the tests.
pub trait ProbeTransport {
    /// Arms the orders' slots and sends them, in order, in as few system calls as possible. `results` is cleared and then
    /// holds one result for each order.
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>);

    /// Reads a slot; costs no system call.
    fn read(&self, slot: SlotId) -> Stamps;

    /// What else was seen of the probe that a slot holds; costs no system call.
    fn remarks(&self, _slot: SlotId) -> Remarks {
        Remarks::default()
    }

    /// What the hooks counted on an interface; none where nothing counts there.
    fn traffic(&self, _ifindex: Ifindex) -> Option<Traffic> {
        None
    }

    /// What passed on an interface that no hooks count on, as far as that is known without; none where hooks serve, or nothing is known.
    /// Costs system calls. With `tell_apart` what comes in is told apart by whom it is for, if that can be had: it costs each packet a
    /// little.
    fn interface_traffic(
        &mut self,
        _ifindex: Ifindex,
        _tell_apart: bool,
    ) -> Option<InterfaceTraffic> {
        None
    }

    /// Takes in what has arrived, where that needs a system call. Called before slots are read.
    fn refresh(&mut self) {}
}

/// Which hooks serve an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// TCX on both sides.
    Tcx,
    /// clsact filters on both sides.
    Clsact,
    /// Stamped by TCX or clsact, matched by native XDP.
    Xdp,
    /// No eBPF: sockets and their timestamps.
    Socket,
}
