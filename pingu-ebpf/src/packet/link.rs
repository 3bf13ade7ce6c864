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
/// Where it has the offset of a fragment, and which bits are that.
const IPV4_FRAGMENT: usize = 6;
const IPV4_FRAGMENT_OFFSET: u8 = 0x1f;
/// Where it says whom it is for.
const IPV4_DESTINATION: usize = 16;
/// Version and length of one without options.
const IPV4_PLAIN: u8 = 0x45;
/// Where an IPv6 header says what follows.
const IPV6_NEXT_HEADER: usize = 6;
/// Where it says whom it is for.
const IPV6_DESTINATION: usize = 24;
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

/// What a glance tells.
pub enum Glance {
    /// It is no IP.
    NoIp,
    /// It has VLAN tags, or its headers lie in pieces.
    Unsure,
    /// It is IP.
    Ip(IpGlance),
}

/// What a glance tells of an IP packet.
pub struct IpGlance {
    pub is_ipv4: bool,
    pub protocol: u8,
    pub is_unicast: bool,
    /// IPv4 without options, and no later fragment.
    pub is_plain_ipv4: bool,
}

impl IpGlance {
    /// Whether it may be one of those packets that the programs match.
    #[inline(always)]
    pub fn is_icmp(&self) -> bool {
        self.protocol
            == if self.is_ipv4 {
                PROTOCOL_ICMP
            } else {
                PROTOCOL_ICMPV6
            }
    }
}

/// Packets begin with an Ethernet header.
pub struct Ethernet;

/// Packets begin with the IP header.
pub struct Bare;

#[repr(C)]
struct EthernetGlance {
    destination: [u8; 6],
    source: [u8; 6],
    ether_type: u16,
    ip: [u8; 10],
}

impl LinkLayer for Ethernet {
    const IP_OFFSET: usize = ETHERNET_BYTES;

    #[inline(always)]
    fn glance<P: Packet>(packet: P) -> Glance {
        let Some(glance) = packet.peek::<EthernetGlance>(0) else {
            return Glance::Unsure;
        };
        // SAFETY: `peek` checked the bounds.
        let glance = unsafe { &*glance };
        let is_unicast = glance.destination[0] & ETHERNET_GROUP == 0;
        match glance.ether_type {
            ETHER_TYPE_IPV4 => Glance::Ip(IpGlance {
                is_ipv4: true,
                protocol: glance.ip[IPV4_PROTOCOL],
                is_unicast,
                is_plain_ipv4: is_plain_ipv4(&glance.ip),
            }),
            ETHER_TYPE_IPV6 => Glance::Ip(IpGlance {
                is_ipv4: false,
                protocol: glance.ip[IPV6_NEXT_HEADER],
                is_unicast,
                is_plain_ipv4: false,
            }),
            ETHER_TYPE_VLAN | ETHER_TYPE_VLAN_OUTER => Glance::Unsure,
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

#[inline(always)]
fn is_plain_ipv4<const BYTES: usize>(ip: &[u8; BYTES]) -> bool {
    ip[0] == IPV4_PLAIN
        && ip[IPV4_FRAGMENT] & IPV4_FRAGMENT_OFFSET == 0
        && ip[IPV4_FRAGMENT + 1] == 0
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

    #[inline(always)]
    fn glance<P: Packet>(packet: P) -> Glance {
        let Some(ip) = packet.peek::<[u8; 20]>(0) else {
            return Glance::Unsure;
        };
        // SAFETY: `peek` checked the bounds.
        let ip = unsafe { &*ip };
        match ip[0] >> 4 {
            4 => Glance::Ip(IpGlance {
                is_ipv4: true,
                protocol: ip[IPV4_PROTOCOL],
                is_unicast: ip[IPV4_DESTINATION] < IPV4_MULTICAST,
                is_plain_ipv4: is_plain_ipv4(ip),
            }),
            6 => {
                let Some(first) = packet.peek::<u8>(IPV6_DESTINATION) else {
                    return Glance::Unsure;
                };
                Glance::Ip(IpGlance {
                    is_ipv4: false,
                    protocol: ip[IPV6_NEXT_HEADER],
                    // SAFETY: `peek` checked the bounds.
                    is_unicast: unsafe { *first } != IPV6_MULTICAST,
                    is_plain_ipv4: false,
                })
            }
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
