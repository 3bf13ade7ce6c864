//! Builds echo requests. Pure: bytes in, bytes out, and checksums that cost the same for every payload, since all but a
//! probe's own header, and what it asks of a reflector, is zeros.

use std::{
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use pingu_common::{
    ICMP_HEADER_BYTES, PAYLOAD_BYTES_MAX, PAYLOAD_HEADER_BYTES, Payload,
    fan::Sums,
    reflector::{MAGIC_REQUEST, REFLECTED_BYTES, Reflected},
};

use super::{LinkHeader, ProbeOrder};

/// Bytes of the longest headers that a probe can have: Ethernet with two VLAN tags, IPv6 and ICMP.
pub const HEADER_BYTES_MAX: usize =
    ETHERNET_BYTES + 2 * VLAN_BYTES + IPV6_BYTES + ICMP_HEADER_BYTES;

const ETHERNET_BYTES: usize = 14;
const VLAN_BYTES: usize = 4;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
/// Place of the path's number in what a reflector reads.
const REFLECTED_PATH: usize = offset_of!(Reflected, path);
/// Places of checksums in their headers.
const IPV4_CHECKSUM: usize = 10;
const ICMP_CHECKSUM: usize = 2;
const ETHER_TYPE_IPV4: u16 = 0x0800;
const ETHER_TYPE_IPV6: u16 = 0x86dd;
const ETHER_TYPE_VLAN: u16 = 0x8100;
const ETHER_TYPE_VLAN_OUTER: u16 = 0x88a8;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
/// What hosts use (RFC 1700, RFC 4861); enough for any path.
const TTL: u8 = 64;
/// A probe that does not fit is lost, not cut up: fragments would not pass the hooks as one packet.
const DO_NOT_FRAGMENT: u16 = 0x4000;

/// The Ethernet protocol number of a target's family.
pub fn ether_type(target: IpAddr) -> u16 {
    match target {
        IpAddr::V4(_) => ETHER_TYPE_IPV4,
        IpAddr::V6(_) => ETHER_TYPE_IPV6,
    }
}

/// Writes an order's packet to the head of `frame`, which holds at least [`HEADER_BYTES_MAX`] and the payload, and returns its
/// length; none if source and target are of two families, or the payload is too short for what is asked for.
pub fn write(frame: &mut [u8], order: &ProbeOrder, payload: &Payload) -> Option<usize> {
    let link_bytes = write_link(frame, order);
    let packet = &mut frame[link_bytes..];
    let icmp_bytes = ICMP_HEADER_BYTES + usize::from(order.payload_bytes);
    let (ip_bytes, kind, pseudo_header) = match (order.source, order.target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let header = &mut packet[..IPV4_BYTES];
            let total_bytes = (IPV4_BYTES + icmp_bytes) as u16;
            header[..2].copy_from_slice(&[0x45, 0]);
            header[2..4].copy_from_slice(&total_bytes.to_be_bytes());
            // A packet that is never cut up may have any identification (RFC 6864 §4.1).
            header[4..6].copy_from_slice(&order.sequence.to_be_bytes());
            header[6..8].copy_from_slice(&DO_NOT_FRAGMENT.to_be_bytes());
            header[8..12].copy_from_slice(&[TTL, PROTOCOL_ICMP, 0, 0]);
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&target.octets());
            let checksum = !fold(sum(header));
            header[10..12].copy_from_slice(&checksum.to_ne_bytes());
            (IPV4_BYTES, ECHO_REQUEST, 0)
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let header = &mut packet[..IPV6_BYTES];
            header[..4].copy_from_slice(&[0x60, 0, 0, 0]);
            header[4..6].copy_from_slice(&(icmp_bytes as u16).to_be_bytes());
            header[6..8].copy_from_slice(&[PROTOCOL_ICMPV6, TTL]);
            header[8..24].copy_from_slice(&source.octets());
            header[24..40].copy_from_slice(&target.octets());
            let addresses = sum(&header[8..40]);
            let rest = u64::from((icmp_bytes as u32).to_be())
                + u64::from(u32::from(PROTOCOL_ICMPV6).to_be());
            (IPV6_BYTES, ECHO_REQUEST_V6, addresses + rest)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let icmp = &mut packet[ip_bytes..ip_bytes + icmp_bytes];
    let (head, tail) = icmp.split_at_mut(ICMP_HEADER_BYTES + PAYLOAD_HEADER_BYTES);
    head[..4].copy_from_slice(&[kind, 0, 0, 0]);
    head[4..6].copy_from_slice(&order.ident.to_be_bytes());
    head[6..8].copy_from_slice(&order.sequence.to_be_bytes());
    head[8..12].copy_from_slice(&payload.slot.to_ne_bytes());
    for (bytes, word) in head[12..].chunks_exact_mut(4).zip(payload.cookie) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    tail.fill(0);
    let mut beyond = 0;
    if let Some(path) = order.reflect {
        let asked = tail.get_mut(..REFLECTED_BYTES)?;
        ask(asked, path);
        beyond = sum(asked);
    }
    let checksum = !fold(sum(head) + beyond + pseudo_header);
    head[2..4].copy_from_slice(&checksum.to_ne_bytes());
    Some(link_bytes + ip_bytes + icmp_bytes)
}

/// Writes what is asked of a reflector into zeros: so many bytes as it has, behind the cookie.
pub(super) fn ask(asked: &mut [u8], path: u32) {
    asked[..4].copy_from_slice(&MAGIC_REQUEST.to_ne_bytes());
    asked[REFLECTED_PATH..REFLECTED_BYTES].copy_from_slice(&path.to_be_bytes());
}

/// The constant part of the checksums of all probes of an order's shape: those of one whose other fields are 0.
pub fn sums(order: &ProbeOrder) -> Sums {
    let blank = ProbeOrder {
        target: match order.target {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        },
        link: LinkHeader::Bare,
        ident: 0,
        sequence: 0,
        payload_bytes: order.payload_bytes,
        ..*order
    };
    let payload = Payload {
        slot: 0,
        cookie: [0; 4],
    };
    let mut frame = [0; HEADER_BYTES_MAX + PAYLOAD_BYTES_MAX as usize];
    if write(&mut frame, &blank, &payload).is_none() {
        return Sums::default();
    }
    let sum_at = |offset: usize| !u16::from_ne_bytes([frame[offset], frame[offset + 1]]);
    match order.target {
        IpAddr::V4(_) => Sums {
            ip: sum_at(IPV4_CHECKSUM),
            icmp: sum_at(IPV4_BYTES + ICMP_CHECKSUM),
        },
        IpAddr::V6(_) => Sums {
            ip: 0,
            icmp: sum_at(IPV6_BYTES + ICMP_CHECKSUM),
        },
    }
}

fn write_link(frame: &mut [u8], order: &ProbeOrder) -> usize {
    let (source, destination, vlan) = match order.link {
        LinkHeader::Bare => return 0,
        LinkHeader::Ethernet {
            source,
            destination,
        } => (source, destination, Default::default()),
        LinkHeader::Vlan {
            source,
            destination,
            outer,
            inner,
        } => (source, destination, [outer, inner]),
    };
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&source);
    let mut offset = 12;
    let mut put = |value: u16| {
        frame[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
        offset += 2;
    };
    match vlan {
        [0, 0] => {}
        [id, 0] | [0, id] => {
            put(ETHER_TYPE_VLAN);
            put(id);
        }
        [outer, inner] => {
            put(ETHER_TYPE_VLAN_OUTER);
            put(outer);
            put(ETHER_TYPE_VLAN);
            put(inner);
        }
    }
    put(ether_type(order.target));
    offset
}

/// The Internet checksum's sum (RFC 1071) over whole words of 32 bits, in the machine's byte order: the result is right in
/// memory whatever that order is (§2 (B) there).
fn sum(words: &[u8]) -> u64 {
    let (words, rest) = words.as_chunks::<4>();
    debug_assert!(rest.is_empty());
    words
        .iter()
        .map(|word| u64::from(u32::from_ne_bytes(*word)))
        .sum()
}

fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests;
