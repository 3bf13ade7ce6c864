//! ICMP and ICMPv6 echo messages.

use core::mem::size_of;

use pingu_common::{ICMP_HEADER_BYTES, PAYLOAD_HEADER_BYTES, Payload, VlanIds};

use super::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, Packet, link::LinkLayer};

/// More fragments, or an offset.
const FRAGMENT_MASK: u16 = 0x3fff_u16.to_be();
/// `::ffff:0:0/96`, third word.
const IPV4_MAPPED: u32 = 0xffff_u32.to_be();

/// Which of the two echo messages a hook looks for.
#[derive(Clone, Copy)]
pub enum EchoKind {
    Request,
    Reply,
}

/// An ICMP or ICMPv6 echo message that is long enough to be a probe's.
pub struct Echo {
    pub payload: Payload,
    /// In the packet's byte order.
    pub ident: u16,
    /// In the packet's byte order.
    pub sequence: u16,
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
struct Ipv4Header {
    version_and_length: u8,
    service: u8,
    total_bytes: u16,
    identification: u16,
    fragment: u16,
    ttl: u8,
    protocol: u8,
    checksum: u16,
    source: u32,
    destination: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Ipv6Header {
    version_and_class: u8,
    class_and_flow: [u8; 3],
    payload_bytes: u16,
    next_header: u8,
    hop_limit: u8,
    source: [u32; 4],
    destination: [u32; 4],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct EchoHeader {
    kind: u8,
    code: u8,
    checksum: u16,
    ident: u16,
    sequence: u16,
    payload: Payload,
}

/// Reads a packet as an echo message of this kind; none if it is anything else.
#[inline(always)]
pub fn echo<L: LinkLayer, P: Packet>(packet: P, kind: EchoKind) -> Option<Echo> {
    let network = L::network(packet)?;
    let ip_offset = network.offset;
    let wanted;
    let source;
    let icmp_offset;
    let icmp_bytes;
    if network.is_ipv4 {
        let ip = packet.read::<Ipv4Header>(ip_offset)?;
        let header_bytes = usize::from(ip.version_and_length & 0x0f) * 4;
        let total_bytes = usize::from(u16::from_be(ip.total_bytes));
        if ip.version_and_length >> 4 != 4
            || ip.protocol != PROTOCOL_ICMP
            || ip.fragment & FRAGMENT_MASK != 0
            || header_bytes < size_of::<Ipv4Header>()
            || total_bytes < header_bytes
            || ip_offset + total_bytes > packet.bytes()
        {
            return None;
        }
        wanted = match kind {
            EchoKind::Request => 8,
            EchoKind::Reply => 0,
        };
        source = [0, 0, IPV4_MAPPED, ip.source];
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
        wanted = match kind {
            EchoKind::Request => 128,
            EchoKind::Reply => 129,
        };
        source = ip.source;
    }
    if icmp_bytes < ICMP_HEADER_BYTES + PAYLOAD_HEADER_BYTES {
        return None;
    }
    let icmp = packet.read::<EchoHeader>(icmp_offset)?;
    if icmp.kind != wanted || icmp.code != 0 {
        return None;
    }
    Some(Echo {
        payload: icmp.payload,
        ident: icmp.ident,
        sequence: icmp.sequence,
        source,
        ip_version: if network.is_ipv4 { 4 } else { 6 },
        vlan: network.vlan,
        ip_offset,
        icmp_offset,
        icmp_bytes,
    })
}
