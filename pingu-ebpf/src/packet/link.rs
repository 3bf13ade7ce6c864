//! What stands before the IP header, and the glance that lets foreign packets go.

use pingu_common::VlanIds;

use super::Packet;

const ETHER_TYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHER_TYPE_IPV6: u16 = 0x86dd_u16.to_be();
const ETHER_TYPE_VLAN: u16 = 0x8100_u16.to_be();
const ETHER_TYPE_VLAN_OUTER: u16 = 0x88a8_u16.to_be();
const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const VLAN_BYTES: usize = 4;
const VLAN_ID_MASK: u16 = 0x0fff;
/// The first byte of the first address that is no host's (224.0.0.0/4 and all behind it, RFC 1112, 4).
const IPV4_MULTICAST: u8 = 224;
/// The first byte of every IPv6 multicast address.
const IPV6_MULTICAST: u8 = 0xff;
/// Set in the first byte of an Ethernet address of more than one host.
const ETHERNET_GROUP: u8 = 1;

/// Whether a device's packets begin with an Ethernet header: a property of the program, not of the packet.
pub trait LinkLayer {
    /// Where the IP header begins in a packet without tags.
    const IP_OFFSET: usize;
    /// What is seen at a glance. This and counting are all that forwarded traffic pays for.
    fn glance<P: Packet>(packet: P) -> Glance;
    /// Whether the kernel compares a link address with its own.
    const HAS_ADDRESSES: bool;
    /// Whether an IPv4 packet is for one host, given the first byte of its destination; none if it is too short to tell.
    fn is_unicast_v4<P: Packet>(packet: P, destination: u8) -> Option<bool>;
    /// Likewise for IPv6.
    fn is_unicast_v6<P: Packet>(packet: P, destination: u8) -> Option<bool>;
    /// Finds the IP header.
    fn network<P: Packet>(packet: P) -> Option<Network>;
}

/// Where the IP header begins, and what stood before it.
pub struct Network {
    pub offset: usize,
    pub is_ipv4: bool,
    pub vlan: VlanIds,
}

/// What a glance tells. Without the header itself, which may be read again at no cost: the compiler would spill a register that holds
/// it in some cases only, and the verifier takes no such thing.
pub enum Glance {
    /// It is no IP.
    NoIp,
    /// It has VLAN tags, or its headers lie in pieces.
    Unsure,
    /// Its IPv4 header, without options, can be peeked.
    Ipv4,
    /// Its IPv6 header can be peeked.
    Ipv6,
}

/// An IPv4 header without options.
pub type Ipv4Bytes = [u8; IPV4_BYTES];
/// An IPv6 header.
pub type Ipv6Bytes = [u8; IPV6_BYTES];

/// Packets begin with an Ethernet header.
pub struct Ethernet;

/// Packets begin with the IP header.
pub struct Bare;

impl LinkLayer for Ethernet {
    const IP_OFFSET: usize = ETHERNET_BYTES;
    const HAS_ADDRESSES: bool = true;

    #[inline(always)]
    fn glance<P: Packet>(packet: P) -> Glance {
        let Some(header) = packet.peek::<[u16; (ETHERNET_BYTES + IPV4_BYTES) / 2]>(0) else {
            return Glance::Unsure;
        };
        // SAFETY: `peek` checked the bounds.
        match unsafe { (*header)[ETHERNET_BYTES / 2 - 1] } {
            ETHER_TYPE_IPV4 => Glance::Ipv4,
            ETHER_TYPE_IPV6 if packet.peek::<Ipv6Bytes>(ETHERNET_BYTES).is_some() => Glance::Ipv6,
            ETHER_TYPE_IPV6 | ETHER_TYPE_VLAN | ETHER_TYPE_VLAN_OUTER => Glance::Unsure,
            _ => Glance::NoIp,
        }
    }

    #[inline(always)]
    fn is_unicast_v4<P: Packet>(packet: P, _destination: u8) -> Option<bool> {
        let [first, ..] = packet.read::<[u8; 4]>(0)?;
        Some(first & ETHERNET_GROUP == 0)
    }

    #[inline(always)]
    fn is_unicast_v6<P: Packet>(packet: P, destination: u8) -> Option<bool> {
        Self::is_unicast_v4(packet, destination)
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
    const IP_OFFSET: usize = 0;
    const HAS_ADDRESSES: bool = false;

    #[inline(always)]
    fn glance<P: Packet>(packet: P) -> Glance {
        let Some(ip) = packet.peek::<Ipv4Bytes>(0) else {
            return Glance::Unsure;
        };
        // SAFETY: `peek` checked the bounds.
        match unsafe { (*ip)[0] } >> 4 {
            4 => Glance::Ipv4,
            6 if packet.peek::<Ipv6Bytes>(0).is_some() => Glance::Ipv6,
            6 => Glance::Unsure,
            _ => Glance::NoIp,
        }
    }

    #[inline(always)]
    fn is_unicast_v4<P: Packet>(_packet: P, destination: u8) -> Option<bool> {
        Some(destination < IPV4_MULTICAST)
    }

    #[inline(always)]
    fn is_unicast_v6<P: Packet>(_packet: P, destination: u8) -> Option<bool> {
        Some(destination != IPV6_MULTICAST)
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
