//! Echo requests and replies as bytes: just enough to find them in frames, to answer them and to forge them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;

/// Bytes of an ICMP echo header.
pub const ECHO_HEADER_BYTES: usize = 8;

const IPV6_BYTES: usize = 40;

/// An echo request or reply inside a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// A reply rather than a request.
    pub reply: bool,
    /// ICMP identifier.
    pub ident: u16,
    /// ICMP sequence number.
    pub sequence: u16,
    /// Where the ICMP header begins in the IP packet.
    pub icmp_offset: usize,
}

/// Reads the echo in an IP packet; none where it holds something else.
pub fn echo(packet: &[u8]) -> Option<Echo> {
    let (source, destination, icmp_offset, request_type): (IpAddr, IpAddr, usize, u8) =
        match packet.first()? >> 4 {
            4 if packet.get(9) == Some(&1) => (
                Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?).into(),
                Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?).into(),
                usize::from(packet[0] & 0xf) * 4,
                8,
            ),
            6 if packet.get(6) == Some(&58) => (
                Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?).into(),
                Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?).into(),
                IPV6_BYTES,
                128,
            ),
            _ => return None,
        };
    let icmp = packet.get(icmp_offset..icmp_offset + ECHO_HEADER_BYTES)?;
    let reply_type = if request_type == 8 {
        0
    } else {
        request_type + 1
    };
    (icmp[0] == request_type || icmp[0] == reply_type).then(|| Echo {
        source,
        destination,
        reply: icmp[0] == reply_type,
        ident: u16::from_be_bytes([icmp[4], icmp[5]]),
        sequence: u16::from_be_bytes([icmp[6], icmp[7]]),
        icmp_offset,
    })
}

/// Turns an echo request into its reply: addresses swapped, type changed, checksums right, everything else as it was.
pub fn turn_around(packet: &mut [u8]) {
    let request = echo(packet).expect("only echo requests are turned around");
    let (source, address_bytes) = if request.source.is_ipv4() {
        (12, 4)
    } else {
        (8, 16)
    };
    let (left, right) = packet[source..source + 2 * address_bytes].split_at_mut(address_bytes);
    left.swap_with_slice(right);
    packet[request.icmp_offset] = if request.source.is_ipv4() { 0 } else { 129 };
    fix_icmp_checksum(packet);
}

/// An echo request without an IP header, as a raw socket takes it; for ICMPv6 the kernel fills in the checksum.
pub fn request_message(ipv6: bool, ident: u16, sequence: u16, payload_bytes: usize) -> Vec<u8> {
    let mut message = vec![0; ECHO_HEADER_BYTES + payload_bytes];
    message[0] = if ipv6 { 128 } else { 8 };
    message[4..6].copy_from_slice(&ident.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum = checksum(0, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Makes the ICMP checksum of an echo right.
pub fn fix_icmp_checksum(packet: &mut [u8]) {
    let Echo {
        icmp_offset,
        source,
        ..
    } = echo(packet).expect("only echoes are recognised");
    set_icmp_checksum(packet, source, icmp_offset);
}

/// Makes the checksum of any ICMP message right; it begins at this offset in an IP packet of the source's family.
pub fn set_icmp_checksum(packet: &mut [u8], source: IpAddr, icmp_offset: usize) {
    let end = match source {
        IpAddr::V4(_) => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        IpAddr::V6(_) => IPV6_BYTES + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
    };
    let end = end.min(packet.len());
    let pseudo_header = match source {
        IpAddr::V4(_) => 0,
        // RFC 8200 section 8.1: addresses, length and next header are summed as well.
        IpAddr::V6(_) => sum(0, &packet[8..IPV6_BYTES]) + (end - IPV6_BYTES) as u32 + 58,
    };
    packet[icmp_offset + 2..icmp_offset + 4].fill(0);
    let value = checksum(pseudo_header, &packet[icmp_offset..end]);
    packet[icmp_offset + 2..icmp_offset + 4].copy_from_slice(&value.to_be_bytes());
}

fn checksum(start: u32, bytes: &[u8]) -> u16 {
    let mut total = sum(start, bytes);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

fn sum(start: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(start, |total, pair| {
        total
            + u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4_BYTES: usize = 20;

    fn ipv4_request() -> Vec<u8> {
        let mut packet = vec![
            0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2, 8, 8, 8, 8,
        ];
        packet.extend(request_message(false, 0x1234, 7, 5));
        packet[3] = packet.len() as u8;
        packet
    }

    #[test]
    fn a_request_turned_around_is_its_reply() {
        let mut packet = ipv4_request();
        assert_eq!(packet.len(), IPV4_BYTES + ECHO_HEADER_BYTES + 5);
        turn_around(&mut packet);
        let reply = echo(&packet).unwrap();
        assert!(reply.reply);
        assert_eq!((reply.ident, reply.sequence), (0x1234, 7));
        assert_eq!(reply.destination, IpAddr::from([10, 0, 0, 2]));
        assert_eq!(
            checksum(0, &packet[IPV4_BYTES..]),
            0,
            "a right checksum sums up to zero"
        );
    }

    #[test]
    fn something_else_is_no_echo() {
        let mut packet = ipv4_request();
        packet[IPV4_BYTES] = 3;
        assert_eq!(echo(&packet), None);
        packet[9] = 17;
        assert_eq!(echo(&packet), None);
        assert_eq!(echo(&packet[..10]), None);
    }
}
