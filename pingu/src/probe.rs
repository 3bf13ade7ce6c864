//! Sending probes and reading what became of them, without knowing why or when.

use std::net::IpAddr;

use crate::units::{Ifindex, SlotId};

pub mod kernel;
pub mod packet;

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
    /// ICMP payload in bytes, at least `pingu_common::PAYLOAD_BYTES_MIN`.
    pub payload_bytes: u16,
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
    /// Refused, with the errno.
    NotSent(i32),
}

/// What a slot says of its probe. Times are `CLOCK_MONOTONIC` as both hooks saw them; only differences mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// When the request passed the egress hook; none if it never did.
    pub sent_ns: Option<u64>,
    /// When its reply, matched in full and for the first time, reached the ingress hook.
    pub received_ns: Option<u64>,
}

/// Sends probes and answers what became of them. The kernel engine is the real one; the simulator's lives in the tests.
pub trait ProbeTransport {
    /// Arms the orders' slots and sends them, in order, in as few system calls as possible. `results` is cleared and then
    /// holds one result for each order.
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>);

    /// Reads a slot; costs no system call.
    fn read(&self, slot: SlotId) -> Stamps;
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
