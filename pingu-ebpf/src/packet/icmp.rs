//! ICMP and ICMPv6 messages: which packets are one, and the headers that are read in them and in what their errors quote.

use core::mem::size_of;

use pingu_common::{Payload, VlanIds};

use super::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, Packet, link::LinkLayer};

/// More fragments, or an offset.
const FRAGMENT_MASK: u16 = 0x3fff_u16.to_be();
/// `::ffff:0:0/96`, third word.
const IPV4_MAPPED: u32 = 0xffff_u32.to_be();

/// An ICMP or ICMPv6 message that came in one piece.
pub struct Message {
    /// In the packet's byte order; IPv4 is mapped.
    pub source: [u32; 4],
    pub ip_version: u32,
    pub vlan: VlanIds,
    pub ip_offset: usize,
    pub icmp_offset: usize,
    pub icmp_bytes: usize,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ipv4Header {
    pub version_and_length: u8,
    service: u8,
    pub total_bytes: u16,
    identification: u16,
    pub fragment: u16,
    ttl: u8,
    pub protocol: u8,
    checksum: u16,
    pub source: u32,
    pub destination: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ipv6Header {
    pub version_and_class: u8,
    class_and_flow: [u8; 3],
    pub payload_bytes: u16,
    pub next_header: u8,
    hop_limit: u8,
    pub source: [u32; 4],
    pub destination: [u32; 4],
}

/// An echo header and the head of a probe's payload.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct EchoHeader {
    pub kind: u8,
    pub code: u8,
    checksum: u16,
    pub ident: u16,
    pub sequence: u16,
    pub payload: Payload,
}

impl Ipv4Header {
    /// Bytes of the header with its options; none if the header is none.
    #[inline(always)]
    pub fn bytes(&self) -> Option<usize> {
        let bytes = usize::from(self.version_and_length & 0x0f) * 4;
        (self.version_and_length >> 4 == 4 && bytes >= size_of::<Self>()).then_some(bytes)
    }
}

/// How the programs hold an IPv4 address.
#[inline(always)]
pub fn mapped(address: u32) -> [u32; 4] {
    [0, 0, IPV4_MAPPED, address]
}

/// Finds the message in a packet; none if the packet is anything else.
#[inline(always)]
pub fn message<L: LinkLayer, P: Packet>(packet: P) -> Option<Message> {
    let network = L::network(packet)?;
    let ip_offset = network.offset;
    let source;
    let icmp_offset;
    let icmp_bytes;
    if network.is_ipv4 {
        let ip = packet.read::<Ipv4Header>(ip_offset)?;
        let header_bytes = ip.bytes()?;
        let total_bytes = usize::from(u16::from_be(ip.total_bytes));
        if ip.protocol != PROTOCOL_ICMP
            || ip.fragment & FRAGMENT_MASK != 0
            || total_bytes < header_bytes
            || ip_offset + total_bytes > packet.bytes()
        {
            return None;
        }
        source = mapped(ip.source);
        icmp_offset = ip_offset + header_bytes;
        icmp_bytes = total_bytes - header_bytes;
    } else {
        let ip = packet.read::<Ipv6Header>(ip_offset)?;
        icmp_bytes = usize::from(u16::from_be(ip.payload_bytes));
        icmp_offset = ip_offset + size_of::<Ipv6Header>();
        if ip.version_and_class >> 4 != 6
            || ip.next_header != PROTOCOL_ICMPV6
            || icmp_offset + icmp_bytes > packet.bytes()
        {
            return None;
        }
        source = ip.source;
    }
    Some(Message {
        source,
        ip_version: if network.is_ipv4 { 4 } else { 6 },
        vlan: network.vlan,
        ip_offset,
        icmp_offset,
        icmp_bytes,
    })
}
