//! Ingress: which ICMP error speaks of a probe of ours. Only the whole cookie proves that: routers that quote no more than the 8 bytes
//! behind the IP header that RFC 792 asks for prove nothing, those that quote what RFC 1812 (4.3.2.3) or RFC 4443 (2.4) ask for do.

use core::mem::size_of;

use pingu_common::ICMP_HEADER_BYTES;

use crate::{
    maps,
    packet::{
        PROTOCOL_ICMP, PROTOCOL_ICMPV6, Packet,
        checksum::{Loaded, checksum_is_right},
        echo::{ECHO_BYTES_MIN, EchoKind},
        icmp::{self, EchoHeader, Ipv4Header, Ipv6Header, Message},
    },
    remark::{self, Found},
    reply::NotMatched,
};

/// The offset of a fragment.
const FRAGMENT_OFFSET_MASK: u16 = 0x1fff_u16.to_be();

/// Notes the error beside the probe that it quotes. It passes on whatever it is: the kernel's other readers want it too.
#[inline(always)]
pub fn note<P: Packet>(packet: P, message: &Message) -> NotMatched {
    let Some([kind, code, ..]) = packet.load::<[u8; 4]>(message.icmp_offset) else {
        return NotMatched::Foreign;
    };
    if !is_error(message.ip_version, kind) {
        return NotMatched::Foreign;
    }
    let Some((target, quoted)) = quoted_request(packet, message) else {
        return NotMatched::Foreign;
    };
    let number = quoted.payload.slot;
    let Some(slot) = maps::slot(number) else {
        return NotMatched::Foreign;
    };
    // SAFETY: the pointer comes from a lookup that found it.
    let expected = unsafe { &*slot.expected() };
    if slot.state() == 0
        || expected.cookie != quoted.payload.cookie
        || expected.ident != quoted.ident
        || expected.sequence != quoted.sequence
        || expected.ip_version != message.ip_version
        || expected.target != target
        || expected.ifindex != packet.ifindex()
        || expected.vlan != message.vlan
        || slot.sent_ns() == 0
        || !checksum_is_right::<Loaded, P>(packet, message)
    {
        return NotMatched::ErrorUnproven;
    }
    let found = Found::Error {
        from: message.source,
        ip_version: message.ip_version,
        kind,
        code,
    };
    remark::note(number, &quoted.payload.cookie, found);
    NotMatched::Error
}

/// Messages that say why a packet did not arrive: unreachable, source quench, time exceeded and parameter problem of ICMP, and
/// unreachable, too big, time exceeded and parameter problem of ICMPv6. A redirect says that the packet was sent on.
#[inline(always)]
fn is_error(ip_version: u32, kind: u8) -> bool {
    if ip_version == 4 {
        matches!(kind, 3 | 4 | 11 | 12)
    } else {
        matches!(kind, 1..=4)
    }
}

/// Whom the quoted echo request went to, and its head; none if the message quotes anything else, or less.
#[inline(always)]
fn quoted_request<P: Packet>(packet: P, message: &Message) -> Option<([u32; 4], EchoHeader)> {
    let quote = message.icmp_offset + ICMP_HEADER_BYTES;
    let (target, header_bytes) = if message.ip_version == 4 {
        let ip = packet.load::<Ipv4Header>(quote)?;
        if ip.protocol != PROTOCOL_ICMP || ip.fragment & FRAGMENT_OFFSET_MASK != 0 {
            return None;
        }
        (icmp::mapped(ip.destination), ip.bytes()?)
    } else {
        let ip = packet.load::<Ipv6Header>(quote)?;
        if ip.version_and_class >> 4 != 6 || ip.next_header != PROTOCOL_ICMPV6 {
            return None;
        }
        (ip.destination, size_of::<Ipv6Header>())
    };
    if ICMP_HEADER_BYTES + header_bytes + ECHO_BYTES_MIN > message.icmp_bytes {
        return None;
    }
    let echo = packet.load::<EchoHeader>(quote + header_bytes)?;
    EchoKind::Request
        .is(&echo, message.ip_version)
        .then_some((target, echo))
}
