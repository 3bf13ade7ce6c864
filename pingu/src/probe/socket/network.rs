//! Reads a packet's headers down to its ICMP message: Ethernet with up to two VLAN tags or bare IP, IPv4 with options, IPv6 without
//! extension headers. Whatever it does not know is foreign, as for the eBPF programs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pingu_common::{ICMP_HEADER_BYTES, PAYLOAD_BYTES_MAX, VlanIds};

use super::reply::Arrival;

/// The longest ICMP message that the eBPF programs sum up, and so the longest that counts.
const ICMP_BYTES_MAX: usize = ICMP_HEADER_BYTES + PAYLOAD_BYTES_MAX as usize + 63;

const ETHERNET_BYTES: usize = 14;
/// More fragments, or an offset.
const FRAGMENT_MASK: u16 = 0x3fff;
const VLAN_ID_MASK: u16 = 0x0fff;

pub(super) const PROTOCOL_ICMP: u8 = 1;
pub(super) const PROTOCOL_ICMPV6: u8 = 58;

/// An IP packet.
pub(super) struct Network<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) vlan: VlanIds,
    protocol: u8,
    /// What follows the IP header, as much as was kept.
    content: &'a [u8],
    /// How many bytes follow it.
    content_bytes: usize,
}

impl<'a> Network<'a> {
    pub(super) fn read(arrival: &Arrival<'a>) -> Option<Self> {
        let (offset, is_ipv4, vlan) = link(arrival)?;
        let ip = arrival.packet.get(offset..)?;
        let ip_bytes = arrival.bytes.checked_sub(offset)?;
        if ip.first()? >> 4 != if is_ipv4 { 4 } else { 6 } {
            return None;
        }
        if is_ipv4 {
            let header = ip.get(..20)?;
            let header_bytes = usize::from(header[0] & 0x0f) * 4;
            let total_bytes = usize::from(word(header, 2)?);
            if word(header, 6)? & FRAGMENT_MASK != 0
                || header_bytes < 20
                || total_bytes < header_bytes
                || total_bytes > ip_bytes
            {
                return None;
            }
            Some(Self {
                source: ipv4(&header[12..16]),
                destination: ipv4(&header[16..20]),
                vlan,
                protocol: header[9],
                content: ip.get(header_bytes..total_bytes.min(ip.len()))?,
                content_bytes: total_bytes - header_bytes,
            })
        } else {
            let header = ip.get(..40)?;
            let content_bytes = usize::from(word(header, 4)?);
            if 40 + content_bytes > ip_bytes {
                return None;
            }
            Some(Self {
                source: ipv6(&header[8..24]),
                destination: ipv6(&header[24..40]),
                vlan,
                protocol: header[6],
                content: &ip[40..(40 + content_bytes).min(ip.len())],
                content_bytes,
            })
        }
    }

    pub(super) fn icmp(&self) -> Option<Icmp<'a>> {
        let wanted = if self.is_ipv4() {
            PROTOCOL_ICMP
        } else {
            PROTOCOL_ICMPV6
        };
        let [kind, code, ..] = *self.content else {
            return None;
        };
        (self.protocol == wanted).then_some(Icmp {
            kind,
            code,
            bytes: self.content,
        })
    }

    pub(super) fn is_ipv4(&self) -> bool {
        self.source.is_ipv4()
    }

    pub(super) fn echo_reply(&self) -> u8 {
        if self.is_ipv4() { 0 } else { 129 }
    }

    pub(super) fn echo_request(&self) -> u8 {
        if self.is_ipv4() { 8 } else { 128 }
    }

    /// Says why a packet did not arrive: unreachable, source quench or too big, time exceeded, parameter problem.
    pub(super) fn is_error(&self, kind: u8) -> bool {
        if self.is_ipv4() {
            matches!(kind, 3 | 4 | 11 | 12)
        } else {
            matches!(kind, 1..=4)
        }
    }
}

/// Where the IP header begins, its family by the link layer, and the VLANs.
fn link(arrival: &Arrival<'_>) -> Option<(usize, bool, VlanIds)> {
    let mut vlan = VlanIds::default();
    if arrival.bare {
        let is_ipv4 = match arrival.packet.first()? >> 4 {
            4 => true,
            6 => false,
            _ => return None,
        };
        return Some((0, is_ipv4, vlan));
    }
    let mut tags = 0;
    let mut add = |tag: u16| {
        let id = tag & VLAN_ID_MASK;
        // A priority tag (id 0) names no VLAN.
        if vlan.outer == 0 {
            vlan.outer = id;
        } else if id != 0 {
            vlan.inner = id;
        }
        tags += 1;
    };
    if let Some(tag) = arrival.tag {
        add(tag);
    }
    let mut ether_type = word(arrival.packet, ETHERNET_BYTES - 2)?;
    let mut offset = ETHERNET_BYTES;
    for _ in 0..2 {
        if !matches!(ether_type, 0x8100 | 0x88a8) {
            break;
        }
        add(word(arrival.packet, offset)?);
        ether_type = word(arrival.packet, offset + 2)?;
        offset += 4;
    }
    match ether_type {
        _ if tags > 2 => None,
        0x0800 => Some((offset, true, vlan)),
        0x86dd => Some((offset, false, vlan)),
        _ => None,
    }
}

/// An ICMP message.
pub(super) struct Icmp<'a> {
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) bytes: &'a [u8],
}

impl Icmp<'_> {
    /// Whether it is short enough to count, here in whole, and its checksum right.
    pub(super) fn is_intact(&self, network: &Network<'_>) -> bool {
        if self.bytes.len() != network.content_bytes || self.bytes.len() > ICMP_BYTES_MAX {
            return false;
        }
        let pseudo = match (network.source, network.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                sum(&source.octets())
                    + sum(&destination.octets())
                    + self.bytes.len() as u64
                    + u64::from(PROTOCOL_ICMPV6)
            }
            _ => 0,
        };
        fold(sum(self.bytes) + pseudo) == 0xffff
    }
}

pub(super) fn ipv4(bytes: &[u8]) -> IpAddr {
    Ipv4Addr::from(<[u8; 4]>::try_from(bytes).expect("four bytes")).into()
}

pub(super) fn ipv6(bytes: &[u8]) -> IpAddr {
    Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("sixteen bytes")).into()
}

pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..offset + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The Internet checksum's sum (RFC 1071), big-endian.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let odd = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum::<u64>()
        + odd
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
