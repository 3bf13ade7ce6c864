//! The rules by which a packet counts as the reply to a probe, written down as plainly as possible and without a look at the
//! programs: what they must agree with.

use std::net::IpAddr;

use pingu::{
    probe::{IcmpError, Reflection, Remarks, Traffic, kernel::KernelCounters},
    units::Ifindex,
};

use crate::harness::Receiver;

/// What a slot holds.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub is_live: bool,
    pub is_stamped: bool,
    pub is_answered: bool,
    pub cookie: [u32; 4],
    pub target: Option<IpAddr>,
    pub ifindex: u32,
    pub ident: u16,
    pub sequence: u16,
    pub vlan: [u16; 2],
    pub remarks: Remarks,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Foreign,
    Stale,
    Forged,
    WrongUplink,
    Duplicate,
    Corrupt,
    Error,
    ErrorUnproven,
    Matched,
}

/// What a packet is, and what it says of which slot.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    pub decision: Decision,
    pub slot: usize,
    pub error: Option<IcmpError>,
    pub reflection: Option<Reflection>,
}

/// The counters after one more packet of this kind.
pub fn count(mut counters: KernelCounters, decision: Decision) -> KernelCounters {
    match decision {
        Decision::Foreign => {}
        Decision::Stale => counters.stale += 1,
        Decision::Forged => counters.forged += 1,
        Decision::WrongUplink => counters.wrong_uplink += 1,
        Decision::Duplicate => counters.duplicate += 1,
        Decision::Corrupt => counters.corrupt += 1,
        Decision::Error => counters.error += 1,
        Decision::ErrorUnproven => counters.error_unproven += 1,
        Decision::Matched => counters.matched += 1,
    }
    counters
}

/// Writes down what a packet changes.
pub fn note(judged: &Judged, ifindex: u32, entries: &mut [Entry]) {
    let Some(entry) = entries.get_mut(judged.slot) else {
        return;
    };
    let remarks = &mut entry.remarks;
    match judged.decision {
        Decision::Foreign | Decision::Stale | Decision::ErrorUnproven => {}
        Decision::Forged => remarks.forged += 1,
        Decision::WrongUplink => {
            remarks.wrong_uplink += 1;
            remarks.came_in_by = Some(Ifindex(ifindex));
        }
        Decision::Duplicate => remarks.duplicates += 1,
        Decision::Corrupt => remarks.corrupt += 1,
        Decision::Error => remarks.error = judged.error,
        Decision::Matched => {
            remarks.reflection = judged.reflection;
            entry.is_answered = true;
        }
    }
}

/// What a packet that comes by this interface is.
pub fn decide(packet: &[u8], has_ethernet: bool, ifindex: u32, entries: &[Entry]) -> Judged {
    let foreign = Judged {
        decision: Decision::Foreign,
        slot: usize::MAX,
        error: None,
        reflection: None,
    };
    let Some(message) = message(packet, has_ethernet) else {
        return foreign;
    };
    if let Some(echo) = echo(&message.icmp, message.version, [0, 129]) {
        let Some(entry) = entries.get(echo.slot) else {
            return foreign;
        };
        Judged {
            decision: decide_reply(&message, &echo, ifindex, entry),
            slot: echo.slot,
            reflection: reflection(&message.icmp),
            ..foreign
        }
    } else if let Some((target, echo)) = quoted(&message) {
        let Some(entry) = entries.get(echo.slot) else {
            return foreign;
        };
        let is_proven = entry.is_live
            && entry.is_stamped
            && echo.is_of(entry)
            && Some(target) == entry.target
            && ifindex == entry.ifindex
            && message.vlan == entry.vlan
            && message.is_intact;
        Judged {
            decision: if is_proven {
                Decision::Error
            } else {
                Decision::ErrorUnproven
            },
            slot: echo.slot,
            error: Some(IcmpError {
                from: message.source,
                kind: message.icmp[0],
                code: message.icmp[1],
            }),
            ..foreign
        }
    } else {
        foreign
    }
}

fn decide_reply(message: &Message, reply: &Echo, ifindex: u32, entry: &Entry) -> Decision {
    if !entry.is_live {
        Decision::Stale
    } else if !reply.is_of(entry) || Some(message.source) != entry.target {
        Decision::Forged
    } else if ifindex != entry.ifindex || message.vlan != entry.vlan {
        Decision::WrongUplink
    } else if !entry.is_stamped {
        Decision::Stale
    } else if entry.is_answered {
        Decision::Duplicate
    } else if !message.is_intact {
        Decision::Corrupt
    } else {
        Decision::Matched
    }
}

struct Message {
    vlan: [u16; 2],
    version: u8,
    source: IpAddr,
    icmp: Vec<u8>,
    is_intact: bool,
}

struct Echo {
    ident: u16,
    sequence: u16,
    slot: usize,
    cookie: [u32; 4],
}

impl Echo {
    fn is_of(&self, entry: &Entry) -> bool {
        self.cookie == entry.cookie && self.ident == entry.ident && self.sequence == entry.sequence
    }
}

fn echo(icmp: &[u8], version: u8, kinds: [u8; 2]) -> Option<Echo> {
    let kind = if version == 4 { kinds[0] } else { kinds[1] };
    if icmp.len() < 28 || icmp[..2] != [kind, 0] {
        return None;
    }
    let number = |offset: usize| u32::from_ne_bytes(icmp[offset..offset + 4].try_into().unwrap());
    Some(Echo {
        ident: u16::from_be_bytes([icmp[4], icmp[5]]),
        sequence: u16::from_be_bytes([icmp[6], icmp[7]]),
        slot: number(8) as usize,
        cookie: [number(12), number(16), number(20), number(24)],
    })
}

/// Whom a quoted echo request went to.
fn quoted(message: &Message) -> Option<(IpAddr, Echo)> {
    let errors: &[u8] = match message.version {
        4 => &[3, 4, 11, 12],
        _ => &[1, 2, 3, 4],
    };
    let quote = message.icmp.get(8..)?;
    if !errors.contains(&message.icmp[0]) || quote.first()? >> 4 != message.version {
        return None;
    }
    let (target, icmp): (IpAddr, _) = if message.version == 4 {
        let header_bytes = usize::from(quote[0] & 0xf) * 4;
        let offset = u16::from_be_bytes([*quote.get(6)?, *quote.get(7)?]) & 0x1fff;
        if header_bytes < 20 || offset != 0 || *quote.get(9)? != 1 {
            return None;
        }
        let target: [u8; 4] = quote.get(16..20)?.try_into().ok()?;
        (target.into(), quote.get(header_bytes..)?)
    } else {
        let target: [u8; 16] = quote.get(24..40)?.try_into().ok()?;
        if quote[6] != 58 {
            return None;
        }
        (target.into(), quote.get(40..)?)
    };
    Some((target, echo(icmp, message.version, [8, 128])?))
}

fn reflection(icmp: &[u8]) -> Option<Reflection> {
    let written = icmp.get(28..52)?.strip_prefix(b"PGrp")?;
    let number = |range| u64::from_be_bytes(<[u8; 8]>::try_from(&written[range]).unwrap());
    Some(Reflection {
        received_ns: number(0..8),
        sent_ns: number(8..16),
        requests: u32::from_be_bytes(written[16..20].try_into().unwrap()),
    })
}

/// The IP packet in a frame, its version, the tags before it and how many they were.
fn network(packet: &[u8], has_ethernet: bool) -> Option<(&[u8], u8, Vec<u16>)> {
    let mut vlan = Vec::new();
    let (ip, version) = if has_ethernet {
        let mut rest = packet.get(12..)?;
        let mut tags = 0;
        while let [0x81, 0x00, high, low, inner @ ..] | [0x88, 0xa8, high, low, inner @ ..] = rest {
            let id = u16::from_be_bytes([*high, *low]) & 0xfff;
            vlan.extend((id != 0).then_some(id));
            tags += 1;
            rest = inner;
        }
        if tags > 2 {
            return None;
        }
        match rest {
            [0x08, 0x00, ip @ ..] => (ip, 4),
            [0x86, 0xdd, ip @ ..] => (ip, 6),
            _ => return None,
        }
    } else {
        (packet, packet.first()? >> 4)
    };
    (ip.first()? >> 4 == version).then_some((ip, version, vlan))
}

fn message(packet: &[u8], has_ethernet: bool) -> Option<Message> {
    let (ip, version, mut vlan) = network(packet, has_ethernet)?;
    vlan.resize(2, 0);
    let word = |offset: usize| Some(u16::from_be_bytes([*ip.get(offset)?, *ip.get(offset + 1)?]));
    let (icmp, source, pseudo): (_, IpAddr, Vec<u8>) = match version {
        4 => {
            let header_bytes = usize::from(ip[0] & 0xf) * 4;
            let whole = ip.get(..usize::from(word(2)?))?;
            let is_fragment = word(6)? & 0x3fff != 0;
            if header_bytes < 20 || is_fragment || *ip.get(9)? != 1 {
                return None;
            }
            let source: [u8; 4] = ip.get(12..16)?.try_into().ok()?;
            (whole.get(header_bytes..)?, source.into(), Vec::new())
        }
        6 => {
            if *ip.get(6)? != 58 {
                return None;
            }
            let bytes = usize::from(word(4)?);
            let source: [u8; 16] = ip.get(8..24)?.try_into().ok()?;
            let mut pseudo = ip.get(8..40)?.to_vec();
            pseudo.extend((bytes as u32).to_be_bytes());
            pseudo.extend([0, 0, 0, 58]);
            (ip.get(40..40 + bytes)?, source.into(), pseudo)
        }
        _ => return None,
    };
    Some(Message {
        vlan: [vlan[0], vlan[1]],
        version,
        source,
        icmp: icmp.to_vec(),
        is_intact: icmp.len() <= LONGEST && sum(&[&pseudo, icmp].concat()) == 0xffff,
    })
}

/// Whether a packet that came in counts as traffic, and whether it answers a TCP handshake.
pub fn counted(packet: &[u8], receiver: Receiver, decision: Decision) -> Option<bool> {
    if decision != Decision::Foreign {
        return None;
    }
    let flags = flags_of_counted(packet, receiver)?;
    Some(flags & 0x12 == 0x12)
}

/// TCP's flags, 0 where there are none; none for what is no unicast IP.
pub fn flags_of_counted(packet: &[u8], receiver: Receiver) -> Option<u8> {
    let (ip, version, vlan) = network(packet, receiver.has_ethernet())?;
    if !vlan.is_empty() {
        return None;
    }
    let header_bytes = match version {
        4 => usize::from(ip[0] & 0xf) * 4,
        6 => 40,
        _ => return None,
    };
    if header_bytes < 20 || ip.len() < if version == 4 { 20 } else { 40 } {
        return None;
    }
    let is_for_one = match receiver {
        // The device of a test run has this address.
        Receiver::Ethernet => packet[..6] == [0; 6],
        Receiver::Xdp => packet[0] & 1 == 0,
        Receiver::Bare if version == 4 => ip[16] < 224,
        Receiver::Bare => ip[24] != 0xff,
    };
    if !is_for_one {
        return None;
    }
    let rest = ip.get(header_bytes..).unwrap_or_default();
    let is_first = version == 6 || u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff == 0;
    let protocol = if version == 4 { ip[9] } else { ip[6] };
    match (version, protocol) {
        (_, 6) if is_first => Some(rest.get(13).copied().unwrap_or(0)),
        (6, 58) if rest.len() >= 4 && (133..=137).contains(&rest[0]) => None,
        _ => Some(0),
    }
}

/// The traffic after one more packet.
pub fn add(mut traffic: Traffic, packet: &[u8], counted: Option<bool>) -> Traffic {
    if let Some(answers) = counted {
        traffic.ingress_packets += 1;
        traffic.ingress_bytes += packet.len() as u64;
        traffic.handshakes_answered += u64::from(answers);
    }
    traffic
}

/// Bytes of the longest ICMP message that counts.
const LONGEST: usize = 8 + pingu_common::PAYLOAD_BYTES_MAX as usize + 63;

/// The Internet checksum's sum as RFC 1071 §1 says it.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
