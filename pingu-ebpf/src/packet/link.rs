//! What stands before the IP header, and the glance that lets foreign packets go.

use pingu_common::VlanIds;

use super::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, Packet};

const ETHER_TYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHER_TYPE_IPV6: u16 = 0x86dd_u16.to_be();
const ETHER_TYPE_VLAN: u16 = 0x8100_u16.to_be();
const ETHER_TYPE_VLAN_OUTER: u16 = 0x88a8_u16.to_be();
const ETHERNET_BYTES: usize = 14;
const VLAN_BYTES: usize = 4;
const VLAN_ID_MASK: u16 = 0x0fff;
/// Where an IPv4 header says what it carries.
const IPV4_PROTOCOL: usize = 9;
/// Where an IPv6 header says what follows.
const IPV6_NEXT_HEADER: usize = 6;

/// Whether a device's packets begin with an Ethernet header: a property of the program, not of the packet.
pub trait LinkLayer {
    /// True if a glance shows that the packet is no ICMP. This is all that forwarded traffic pays for.
    fn is_surely_foreign<P: Packet>(packet: P) -> bool;
    /// Finds the IP header.
    fn network<P: Packet>(packet: P) -> Option<Network>;
}

/// Where the IP header begins, and what stood before it.
pub struct Network {
    pub offset: usize,
    pub is_ipv4: bool,
    pub vlan: VlanIds,
}

/// Packets begin with an Ethernet header.
pub struct Ethernet;

/// Packets begin with the IP header.
pub struct Bare;

#[repr(C)]
struct EthernetGlance {
    addresses: [u16; 6],
    ether_type: u16,
    ip: [u8; 10],
}

impl LinkLayer for Ethernet {
    #[inline(always)]
    fn is_surely_foreign<P: Packet>(packet: P) -> bool {
        let Some(glance) = packet.peek::<EthernetGlance>(0) else {
            return false;
        };
        // SAFETY: `peek` checked the bounds.
        let glance = unsafe { &*glance };
        match glance.ether_type {
            ETHER_TYPE_IPV4 => glance.ip[IPV4_PROTOCOL] != PROTOCOL_ICMP,
            ETHER_TYPE_IPV6 => glance.ip[IPV6_NEXT_HEADER] != PROTOCOL_ICMPV6,
            ETHER_TYPE_VLAN | ETHER_TYPE_VLAN_OUTER => false,
            _ => true,
        }
    }

    #[inline(always)]
    fn network<P: Packet>(packet: P) -> Option<Network> {
        let mut vlan = VlanIds::default();
        let mut tags = 0;
        if let Some(tag) = packet.tag() {
            add_tag(&mut vlan, tag);
            tags += 1;
        }
        let mut ether_type = packet.read::<u16>(ETHERNET_BYTES - 2)?;
        let mut offset = ETHERNET_BYTES;
        for _ in 0..2 {
            if ether_type != ETHER_TYPE_VLAN && ether_type != ETHER_TYPE_VLAN_OUTER {
                break;
            }
            let [tag, inner_type] = packet.read::<[u16; 2]>(offset)?;
            add_tag(&mut vlan, u16::from_be(tag));
            ether_type = inner_type;
            offset += VLAN_BYTES;
            tags += 1;
        }
        if tags > 2 {
            return None;
        }
        match ether_type {
            ETHER_TYPE_IPV4 => Some(Network {
                offset,
                is_ipv4: true,
                vlan,
            }),
            ETHER_TYPE_IPV6 => Some(Network {
                offset,
                is_ipv4: false,
                vlan,
            }),
            _ => None,
        }
    }
}

/// A priority tag (id 0) names no VLAN.
#[inline(always)]
fn add_tag(vlan: &mut VlanIds, tag: u16) {
    let id = tag & VLAN_ID_MASK;
    if id == 0 {
        return;
    }
    if vlan.outer == 0 {
        vlan.outer = id;
    } else {
        vlan.inner = id;
    }
}

impl LinkLayer for Bare {
    #[inline(always)]
    fn is_surely_foreign<P: Packet>(packet: P) -> bool {
        let Some(glance) = packet.peek::<[u8; 10]>(0) else {
            return false;
        };
        // SAFETY: `peek` checked the bounds.
        let glance = unsafe { &*glance };
        match glance[0] >> 4 {
            4 => glance[IPV4_PROTOCOL] != PROTOCOL_ICMP,
            6 => glance[IPV6_NEXT_HEADER] != PROTOCOL_ICMPV6,
            _ => true,
        }
    }

    #[inline(always)]
    fn network<P: Packet>(packet: P) -> Option<Network> {
        // Four bytes for one: `start + 1 <= end` becomes `start < end`, from which the verifier learns nothing.
        let [version, ..] = packet.read::<[u8; 4]>(0)?;
        let is_ipv4 = match version >> 4 {
            4 => true,
            6 => false,
            _ => return None,
        };
        Some(Network {
            offset: 0,
            is_ipv4,
            vlan: VlanIds::default(),
        })
    }
}
