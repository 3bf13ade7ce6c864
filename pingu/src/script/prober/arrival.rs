//! Reads what a probe's socket received: the echo message in it, whole and right. Pure.

use std::net::IpAddr;

use pingu_common::{ICMP_HEADER_BYTES, PAYLOAD_HEADER_BYTES, Payload};

use super::flights::Echo;

/// The smallest IPv4 header.
const IPV4_BYTES_MIN: usize = 20;

/// Where a message came from and by which interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    /// The source of a reply, the destination of a quoted request.
    pub(super) peer: IpAddr,
    /// The interface that it came in by.
    pub(super) ifindex: Option<u32>,
}

/// A reply; `raw` is one with its IPv4 header, whose ICMP checksum nobody has checked.
pub(super) fn reply(packet: &[u8], raw: bool, from: Envelope) -> Option<Echo> {
    let is_ipv4 = from.peer.is_ipv4();
    let message = if raw && is_ipv4 {
        let message = behind_header(packet)?;
        if checksum(message) != 0xffff {
            return None;
        }
        message
    } else {
        packet
    };
    let kind = if is_ipv4 { 0 } else { 129 };
    if message.get(..2)? != [kind, 0] {
        return None;
    }
    echo(message, from)
}

/// The request that an error quotes, as the kernel hands it over: from its ICMP header on, and as much as was quoted.
pub(super) fn quoted(message: &[u8], from: Envelope) -> Option<Echo> {
    let kind = if from.peer.is_ipv4() { 8 } else { 128 };
    if message.get(..2)? != [kind, 0] {
        return None;
    }
    echo(message, from)
}

fn echo(message: &[u8], from: Envelope) -> Option<Echo> {
    let head = message.get(..ICMP_HEADER_BYTES + PAYLOAD_HEADER_BYTES)?;
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (words, _) = head[ICMP_HEADER_BYTES..].as_chunks::<4>();
    let word = |at: usize| u32::from_ne_bytes(words[at]);
    Some(Echo {
        ident: half(4),
        sequence: half(6),
        payload: Payload {
            slot: word(0),
            cookie: [word(1), word(2), word(3), word(4)],
        },
        target: from.peer,
        ifindex: from.ifindex,
    })
}

fn behind_header(packet: &[u8]) -> Option<&[u8]> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    (header_bytes >= IPV4_BYTES_MIN).then(|| packet.get(header_bytes..))?
}

/// The Internet checksum's sum (RFC 1071): all ones where the message is right.
fn checksum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let odd = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    let mut sum: u64 = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum::<u64>()
        + odd;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
