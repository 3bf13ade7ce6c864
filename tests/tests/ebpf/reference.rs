//! The rules by which a packet counts as the reply to a probe, written down as plainly as possible and without a look at the
//! programs: what they must agree with.

use std::net::IpAddr;

use pingu::probe::kernel::KernelCounters;

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
    Matched(u32),
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
        Decision::Matched(_) => counters.matched += 1,
    }
    counters
}

/// What a packet that comes by this interface is.
pub fn decide(packet: &[u8], has_ethernet: bool, ifindex: u32, entries: &[Entry]) -> Decision {
    let Some(reply) = read(packet, has_ethernet) else {
        return Decision::Foreign;
    };
    let Some(entry) = entries.get(reply.slot as usize) else {
        return Decision::Foreign;
    };
    if !entry.is_live {
        Decision::Stale
    } else if reply.cookie != entry.cookie
        || reply.ident != entry.ident
        || reply.sequence != entry.sequence
        || Some(reply.source) != entry.target
    {
        Decision::Forged
    } else if ifindex != entry.ifindex || reply.vlan != entry.vlan {
        Decision::WrongUplink
    } else if !entry.is_stamped {
        Decision::Stale
    } else if entry.is_answered {
        Decision::Duplicate
    } else if !reply.is_intact {
        Decision::Corrupt
    } else {
        Decision::Matched(reply.slot)
    }
}

struct Reply {
    vlan: [u16; 2],
    source: IpAddr,
    ident: u16,
    sequence: u16,
    slot: u32,
    cookie: [u32; 4],
    is_intact: bool,
}

fn read(packet: &[u8], has_ethernet: bool) -> Option<Reply> {
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
    vlan.resize(2, 0);
    if ip.first()? >> 4 != version {
        return None;
    }
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
    let echo_reply = if version == 4 { 0 } else { 129 };
    if icmp.len() < 28 || icmp[..2] != [echo_reply, 0] {
        return None;
    }
    let number = |offset: usize| u32::from_ne_bytes(icmp[offset..offset + 4].try_into().unwrap());
    Some(Reply {
        vlan: [vlan[0], vlan[1]],
        source,
        ident: u16::from_be_bytes([icmp[4], icmp[5]]),
        sequence: u16::from_be_bytes([icmp[6], icmp[7]]),
        slot: number(8),
        cookie: [number(12), number(16), number(20), number(24)],
        is_intact: icmp.len() <= LONGEST && sum(&[&pseudo, icmp].concat()) == 0xffff,
    })
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
