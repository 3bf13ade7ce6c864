//! Which packet is the reply that a slot waits for: the rules of the eBPF program, over bytes. Pure; the tests hold both against the same
//! plain reference.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pingu_common::{
    ICMP_HEADER_BYTES, PAYLOAD_BYTES_MAX, PAYLOAD_HEADER_BYTES, Payload, Slot, VlanIds,
    reflection::{MAGIC_REPLY, REFLECTION_OFFSET},
};

use crate::{
    probe::{IcmpError, Reflection},
    units::{Ifindex, SlotId},
};

/// The longest ICMP message that the eBPF programs sum up, and so the longest that counts.
const ICMP_BYTES_MAX: usize = ICMP_HEADER_BYTES + PAYLOAD_BYTES_MAX as usize + 63;

const ETHERNET_BYTES: usize = 14;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;
/// More fragments, or an offset.
const FRAGMENT_MASK: u16 = 0x3fff;
const FRAGMENT_OFFSET_MASK: u16 = 0x1fff;
const VLAN_ID_MASK: u16 = 0x0fff;

/// A packet as a packet socket hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its bytes, or the first of them.
    pub packet: &'a [u8],
    /// How many it had.
    pub bytes: usize,
    /// It has no link header.
    pub bare: bool,
    /// The VLAN tag that was taken out of it.
    pub tag: Option<u16>,
    /// The interface that it came in by.
    pub ifindex: Ifindex,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing of ours.
    Foreign,
    /// Its slot is dead, or the request was never seen to leave.
    Stale(SlotId),
    /// Cookie, identifier, sequence or source differ.
    Forged(SlotId),
    /// It came in by another interface or VLAN.
    WrongUplink(SlotId),
    /// The probe was answered before.
    Duplicate(SlotId),
    /// The checksum is wrong.
    Corrupt(SlotId),
    /// The reply, and what a reflector wrote into it.
    Matched(SlotId, Option<Reflection>),
    /// An ICMP error that quotes the probe, cookie and all.
    Error(SlotId, IcmpError),
    /// An ICMP error that quotes an echo request with the number of a slot, and does not prove to speak of its probe.
    ErrorUnproven,
}

/// Judges a packet; `slot` says what the slot of a number holds.
pub fn judge(arrival: &Arrival<'_>, slot: impl Fn(SlotId) -> Option<Slot>) -> Verdict {
    let Some(network) = Network::read(arrival) else {
        return Verdict::Foreign;
    };
    let Some(icmp) = network.icmp() else {
        return Verdict::Foreign;
    };
    match icmp.kind {
        kind if kind == network.echo_reply() => judge_reply(arrival, &network, &icmp, slot),
        kind if network.is_error(kind) => judge_error(arrival, &network, &icmp, slot),
        _ => Verdict::Foreign,
    }
}

/// The slot and the cookie of an echo request of ours; none if it is anything else.
pub(super) fn request(packet: &[u8], bare: bool) -> Option<Payload> {
    let network = Network::read(&Arrival {
        packet,
        bytes: packet.len(),
        bare,
        tag: None,
        ifindex: Ifindex(0),
    })?;
    let icmp = network.icmp()?;
    (icmp.kind == network.echo_request()).then(|| icmp.echo().map(|echo| echo.payload))?
}

fn judge_reply(
    arrival: &Arrival<'_>,
    network: &Network<'_>,
    icmp: &Icmp<'_>,
    slot: impl Fn(SlotId) -> Option<Slot>,
) -> Verdict {
    let Some(echo) = icmp.echo().filter(|_| icmp.code == 0) else {
        return Verdict::Foreign;
    };
    let id = SlotId(echo.payload.slot);
    let Some(expected) = slot(id) else {
        return Verdict::Foreign;
    };
    if expected.state == 0 {
        Verdict::Stale(id)
    } else if !echo.is_of(&expected, network.source) {
        Verdict::Forged(id)
    } else if expected.ifindex != arrival.ifindex.0 || expected.vlan != network.vlan {
        Verdict::WrongUplink(id)
    } else if expected.sent_ns == 0 {
        Verdict::Stale(id)
    } else if !Slot::is_armed(expected.state) {
        Verdict::Duplicate(id)
    } else if !icmp.is_intact(network) {
        Verdict::Corrupt(id)
    } else {
        Verdict::Matched(id, reflection(icmp.bytes))
    }
}

fn judge_error(
    arrival: &Arrival<'_>,
    network: &Network<'_>,
    icmp: &Icmp<'_>,
    slot: impl Fn(SlotId) -> Option<Slot>,
) -> Verdict {
    let quoted = icmp.bytes.get(ICMP_HEADER_BYTES..).unwrap_or_default();
    let Some(quote) = Quote::read(quoted, network.is_ipv4()) else {
        return Verdict::Foreign;
    };
    let id = SlotId(quote.echo.payload.slot);
    let Some(expected) = slot(id) else {
        return Verdict::Foreign;
    };
    let proven = expected.state != 0
        && quote.echo.is_of(&expected, quote.target)
        && expected.ifindex == arrival.ifindex.0
        && expected.vlan == network.vlan
        && expected.sent_ns != 0
        && icmp.is_intact(network);
    if !proven {
        return Verdict::ErrorUnproven;
    }
    let (from, kind, code) = (network.source, icmp.kind, icmp.code);
    Verdict::Error(id, IcmpError { from, kind, code })
}

/// An IP packet.
struct Network<'a> {
    source: IpAddr,
    destination: IpAddr,
    vlan: VlanIds,
    protocol: u8,
    /// What follows the IP header, as much as was kept.
    content: &'a [u8],
    /// How many bytes follow it.
    content_bytes: usize,
}

impl<'a> Network<'a> {
    fn read(arrival: &Arrival<'a>) -> Option<Self> {
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

    fn icmp(&self) -> Option<Icmp<'a>> {
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

    fn is_ipv4(&self) -> bool {
        self.source.is_ipv4()
    }

    fn echo_reply(&self) -> u8 {
        if self.is_ipv4() { 0 } else { 129 }
    }

    fn echo_request(&self) -> u8 {
        if self.is_ipv4() { 8 } else { 128 }
    }

    /// Says why a packet did not arrive: unreachable, source quench or too big, time exceeded, parameter problem.
    fn is_error(&self, kind: u8) -> bool {
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
struct Icmp<'a> {
    kind: u8,
    code: u8,
    bytes: &'a [u8],
}

impl Icmp<'_> {
    /// Whether it is short enough to count, here in whole, and its checksum right.
    fn is_intact(&self, network: &Network<'_>) -> bool {
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

    fn echo(&self) -> Option<Echo> {
        Echo::read(self.bytes)
    }
}

/// The numbers of an echo message that is long enough to be a probe's.
struct Echo {
    ident: u16,
    sequence: u16,
    payload: Payload,
}

impl Echo {
    fn read(icmp: &[u8]) -> Option<Self> {
        let head = icmp.get(..ICMP_HEADER_BYTES + PAYLOAD_HEADER_BYTES)?;
        let (words, _) = head[ICMP_HEADER_BYTES..].as_chunks::<4>();
        let [slot, cookie @ ..] =
            std::array::from_fn::<u32, 5, _>(|index| u32::from_ne_bytes(words[index]));
        Some(Self {
            ident: word(head, 4)?,
            sequence: word(head, 6)?,
            payload: Payload {
                slot,
                cookie: cookie.first_chunk().copied()?,
            },
        })
    }

    /// Whether it is that of the slot's probe; `target` is the source of a reply and the destination of a quoted request.
    fn is_of(&self, expected: &Slot, target: IpAddr) -> bool {
        let (address, ip_version) = match target {
            IpAddr::V4(address) => (address.to_ipv6_mapped().octets(), 4),
            IpAddr::V6(address) => (address.octets(), 6),
        };
        let (words, _) = address.as_chunks::<4>();
        expected.cookie == self.payload.cookie
            && expected.ident == self.ident.to_be()
            && expected.sequence == self.sequence.to_be()
            && expected.ip_version == ip_version
            && expected.target == std::array::from_fn(|index| u32::from_ne_bytes(words[index]))
    }
}

/// What a reflector wrote behind the probe's own payload.
fn reflection(icmp: &[u8]) -> Option<Reflection> {
    let bytes = icmp.get(ICMP_HEADER_BYTES + REFLECTION_OFFSET..)?;
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (received_ns, rest) = rest.split_first_chunk::<8>()?;
    let (sent_ns, rest) = rest.split_first_chunk::<8>()?;
    let requests = rest.first_chunk::<4>()?;
    (*magic == MAGIC_REPLY).then(|| Reflection {
        received_ns: u64::from_be_bytes(*received_ns),
        sent_ns: u64::from_be_bytes(*sent_ns),
        requests: u32::from_be_bytes(*requests),
    })
}

/// The head of an echo request, quoted by an ICMP error.
struct Quote {
    target: IpAddr,
    echo: Echo,
}

impl Quote {
    fn read(quoted: &[u8], is_ipv4: bool) -> Option<Self> {
        let (header_bytes, protocol, target, kind) = if is_ipv4 {
            let header = quoted.get(..20)?;
            let header_bytes = usize::from(header[0] & 0x0f) * 4;
            let is_first = word(header, 6)? & FRAGMENT_OFFSET_MASK == 0;
            (header[0] >> 4 == 4 && header_bytes >= 20 && is_first).then_some(())?;
            (header_bytes, header[9], ipv4(&header[16..20]), 8)
        } else {
            let header = quoted.get(..40)?;
            (header[0] >> 4 == 6).then_some(())?;
            (40, header[6], ipv6(&header[24..40]), 128)
        };
        let wanted = if is_ipv4 {
            PROTOCOL_ICMP
        } else {
            PROTOCOL_ICMPV6
        };
        let icmp = quoted.get(header_bytes..).filter(|_| protocol == wanted)?;
        let echo = Echo::read(icmp)?;
        (icmp[..2] == [kind, 0]).then_some(Self { target, echo })
    }
}

fn ipv4(bytes: &[u8]) -> IpAddr {
    Ipv4Addr::from(<[u8; 4]>::try_from(bytes).expect("four bytes")).into()
}

fn ipv6(bytes: &[u8]) -> IpAddr {
    Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("sixteen bytes")).into()
}

fn word(bytes: &[u8], offset: usize) -> Option<u16> {
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
