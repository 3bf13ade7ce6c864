//! Echo requests of any size without an IP header, and what comes back to a raw socket. Pure: bytes in, bytes out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of an ICMP header.
pub(super) const ICMP_BYTES: usize = 8;

/// Bytes at the head of a payload that tell our own packets from others'.
pub(super) const COOKIE_BYTES: usize = 16;

/// Bytes of an IPv6 header.
pub(super) const IPV6_BYTES: usize = 40;

/// Bytes of an IPv4 header without options.
pub(super) const IPV4_BYTES: usize = 20;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
const TOO_BIG_V6: u8 = 2;

/// What tells one exchange of packets from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) target: IpAddr,
    pub(super) ident: u16,
    pub(super) cookie: [u8; COOKIE_BYTES],
}

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The target answers the request with this number.
    Reply {
        /// The request's number.
        sequence: u16,
    },
    /// A router says that it cannot pass the request on as it is.
    TooBig {
        /// The request's number.
        sequence: u16,
        /// Bytes of the largest packet that passes; none where it does not say.
        mtu_bytes: Option<u16>,
    },
}

impl Exchange {
    /// A request that makes an IP packet of this size.
    pub(super) fn request(&self, sequence: u16, packet_bytes: u16) -> Vec<u8> {
        let header_bytes = match self.target {
            IpAddr::V4(_) => IPV4_BYTES,
            IpAddr::V6(_) => IPV6_BYTES,
        };
        let least = ICMP_BYTES + COOKIE_BYTES;
        let mut message = vec![
            0;
            usize::from(packet_bytes)
                .saturating_sub(header_bytes)
                .max(least)
        ];
        message[0] = match self.target {
            IpAddr::V4(_) => ECHO_REQUEST,
            IpAddr::V6(_) => ECHO_REQUEST_V6,
        };
        message[4..6].copy_from_slice(&self.ident.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        message[ICMP_BYTES..][..COOKIE_BYTES].copy_from_slice(&self.cookie);
        if self.target.is_ipv4() {
            // That of ICMPv6 is the kernel's affair (RFC 3542 section 3.1).
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// Reads what a raw socket gives: an IPv4 packet, or an ICMPv6 message. None if it has nothing to do with this exchange.
    pub(super) fn read(&self, from: IpAddr, bytes: &[u8]) -> Option<Heard> {
        let icmp = match self.target {
            IpAddr::V4(_) => bytes.get(header_bytes_v4(bytes)?..)?,
            IpAddr::V6(_) => bytes,
        };
        let header: &[u8; ICMP_BYTES] = icmp.first_chunk()?;
        match (self.target, header[0], header[1]) {
            (IpAddr::V4(_), ECHO_REPLY, _) | (IpAddr::V6(_), ECHO_REPLY_V6, _) => {
                let cookie = icmp.get(ICMP_BYTES..ICMP_BYTES + COOKIE_BYTES)?;
                let is_ours = from == self.target
                    && cookie == self.cookie
                    && header[4..6] == self.ident.to_be_bytes();
                is_ours.then(|| Heard::Reply {
                    sequence: u16::from_be_bytes([header[6], header[7]]),
                })
            }
            (IpAddr::V4(_), UNREACHABLE, FRAGMENTATION_NEEDED) => {
                let mtu = u16::from_be_bytes([header[6], header[7]]);
                self.too_big(icmp, u32::from(mtu))
            }
            (IpAddr::V6(_), TOO_BIG_V6, _) => {
                let mtu = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                self.too_big(icmp, mtu)
            }
            _ => None,
        }
    }

    /// The error counts only if it quotes one of our requests.
    fn too_big(&self, icmp: &[u8], mtu_bytes: u32) -> Option<Heard> {
        let quoted = &icmp[ICMP_BYTES..];
        let (destination, protocol, header_bytes): (IpAddr, u8, usize) = match self.target {
            IpAddr::V4(_) => {
                let address: [u8; 4] = quoted.get(16..20)?.try_into().ok()?;
                let header_bytes = header_bytes_v4(quoted)?;
                (
                    Ipv4Addr::from(address).into(),
                    *quoted.get(9)?,
                    header_bytes,
                )
            }
            IpAddr::V6(_) => {
                let address: [u8; 16] = quoted.get(24..IPV6_BYTES)?.try_into().ok()?;
                (Ipv6Addr::from(address).into(), *quoted.get(6)?, IPV6_BYTES)
            }
        };
        let (own_protocol, request) = match self.target {
            IpAddr::V4(_) => (PROTOCOL_ICMP, ECHO_REQUEST),
            IpAddr::V6(_) => (PROTOCOL_ICMPV6, ECHO_REQUEST_V6),
        };
        let inner: &[u8; ICMP_BYTES] = quoted.get(header_bytes..)?.first_chunk()?;
        let is_ours = destination == self.target
            && protocol == own_protocol
            && inner[0] == request
            && inner[4..6] == self.ident.to_be_bytes();
        is_ours.then(|| Heard::TooBig {
            sequence: u16::from_be_bytes([inner[6], inner[7]]),
            mtu_bytes: u16::try_from(mtu_bytes).ok().filter(|mtu| *mtu != 0),
        })
    }
}

fn header_bytes_v4(packet: &[u8]) -> Option<usize> {
    let bytes = usize::from(packet.first()? & 0xf) * 4;
    (bytes >= IPV4_BYTES).then_some(bytes)
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(target: &str) -> Exchange {
        Exchange {
            target: target.parse().unwrap(),
            ident: 0x1234,
            cookie: [7; COOKIE_BYTES],
        }
    }

    fn in_ipv4(protocol: u8, destination: [u8; 4], message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; IPV4_BYTES];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[16..20].copy_from_slice(&destination);
        packet.extend_from_slice(message);
        packet
    }

    #[test]
    fn a_request_has_the_size_of_its_packet_and_a_right_checksum() {
        let v4 = exchange("192.0.2.1").request(1, 1500);
        assert_eq!(v4.len(), 1480);
        assert_eq!(checksum(&v4), 0);
        assert_eq!(exchange("2001:db8::1").request(1, 1500).len(), 1460);
        assert_eq!(checksum(&exchange("192.0.2.1").request(2, 577)), 0);
    }

    #[test]
    fn only_the_target_s_answer_to_this_exchange_counts() {
        let own = exchange("192.0.2.1");
        let mut reply = own.request(3, 128);
        reply[0] = ECHO_REPLY;
        let heard = |own: &Exchange, from: &str, reply: &[u8]| {
            own.read(from.parse().unwrap(), &in_ipv4(1, [0; 4], reply))
        };
        let answered = Some(Heard::Reply { sequence: 3 });
        assert_eq!(heard(&own, "192.0.2.1", &reply), answered);
        assert_eq!(heard(&own, "192.0.2.2", &reply), None);
        let other = Exchange { ident: 1, ..own };
        assert_eq!(heard(&other, "192.0.2.1", &reply), None);
        let other = Exchange {
            cookie: [8; COOKIE_BYTES],
            ..own
        };
        assert_eq!(heard(&other, "192.0.2.1", &reply), None);
        for len in 0..ICMP_BYTES + COOKIE_BYTES {
            assert_eq!(heard(&own, "192.0.2.1", &reply[..len]), None, "{len}");
        }
    }

    #[test]
    fn an_error_counts_only_if_it_quotes_a_request_of_the_exchange() {
        let own = exchange("192.0.2.1");
        let error = |destination, ident: u16| {
            let inner = Exchange { ident, ..own }.request(5, 128);
            let mut message = vec![UNREACHABLE, FRAGMENTATION_NEEDED, 0, 0, 0, 0, 0x05, 0x78];
            message.extend(in_ipv4(PROTOCOL_ICMP, destination, &inner));
            own.read(
                "198.51.100.1".parse().unwrap(),
                &in_ipv4(1, [0; 4], &message),
            )
        };
        let too_big = Heard::TooBig {
            sequence: 5,
            mtu_bytes: Some(1400),
        };
        assert_eq!(error([192, 0, 2, 1], 0x1234), Some(too_big));
        assert_eq!(error([192, 0, 2, 2], 0x1234), None);
        assert_eq!(error([192, 0, 2, 1], 0x1235), None);

        let own = exchange("2001:db8::1");
        let mut quoted = vec![0; IPV6_BYTES];
        quoted[6] = PROTOCOL_ICMPV6;
        quoted[24..40].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        quoted.extend(own.request(6, 1280));
        let mut message = vec![TOO_BIG_V6, 0, 0, 0, 0, 0, 0x05, 0x14];
        message.extend(quoted);
        let heard = own.read("2001:db8::99".parse().unwrap(), &message);
        let too_big = Heard::TooBig {
            sequence: 6,
            mtu_bytes: Some(1300),
        };
        assert_eq!(heard, Some(too_big));
    }

    #[test]
    fn no_bytes_are_too_strange_to_read() {
        let mut state = 1_u32;
        let mut bytes = [0_u8; 128];
        for target in ["192.0.2.1", "2001:db8::1"] {
            let own = exchange(target);
            for len in (0..bytes.len()).cycle().take(5000) {
                for byte in &mut bytes {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *byte = (state >> 24) as u8;
                }
                bytes[0] = [0x45, 0x4f, 0x40, 2, 3, 129][len % 6];
                let _ = own.read(own.target, &bytes[..len]);
            }
        }
    }
}
