//! Which packet is the reply that a slot waits for: the rules of the eBPF program, over bytes. Pure; the tests hold both against the same
//! plain reference.

use std::net::IpAddr;

use pingu_common::{
    ICMP_HEADER_BYTES, PAYLOAD_HEADER_BYTES, Payload, Slot,
    reflection::{MAGIC_REPLY, REFLECTION_OFFSET},
};

use super::network::{Icmp, Network, PROTOCOL_ICMP, PROTOCOL_ICMPV6, ipv4, ipv6, word};
use crate::{
    probe::{IcmpError, Reflection},
    units::{Ifindex, SlotId},
};

const FRAGMENT_OFFSET_MASK: u16 = 0x1fff;

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
    (icmp.kind == network.echo_request())
        .then(|| Echo::read(icmp.bytes).map(|echo| echo.payload))?
}

/// Judges an ICMP message that the kernel hands over as the reply to an echo socket bound to this interface: its checksum is right.
pub(super) fn judge_message(
    icmp: &[u8],
    source: IpAddr,
    ifindex: Ifindex,
    slot: impl Fn(SlotId) -> Option<Slot>,
) -> Verdict {
    let kind = if source.is_ipv4() { 0 } else { 129 };
    match Echo::read(icmp) {
        Some(echo) if icmp[..2] == [kind, 0] => {
            let reflection = || Some(reflection(icmp));
            judge_echo(
                &echo,
                source,
                |expected| expected.ifindex == ifindex.0,
                reflection,
                slot,
            )
        }
        Some(_) | None => Verdict::Foreign,
    }
}

/// Which probe an ICMP error on an echo socket speaks of.
pub(super) enum Quoted {
    /// That of this slot, cookie and all.
    Probe(SlotId),
    /// It quotes the number of a slot, and does not prove to speak of its probe.
    Unproven,
    /// None of ours.
    Foreign,
}

/// Judges what an echo socket learned from an ICMP error: the ICMP part of the packet that it quotes, and where it had gone. The error may
/// be here before the time at which its request left: the cookie is proof that it did.
pub(super) fn judge_quoted(
    icmp: &[u8],
    target: IpAddr,
    slot: impl Fn(SlotId) -> Option<Slot>,
) -> Quoted {
    let Some(echo) = Echo::read(icmp) else {
        return Quoted::Foreign;
    };
    let id = SlotId(echo.payload.slot);
    match slot(id) {
        None => Quoted::Foreign,
        Some(expected) if expected.state != 0 && echo.is_of(&expected, target) => Quoted::Probe(id),
        Some(_) => Quoted::Unproven,
    }
}

fn judge_reply(
    arrival: &Arrival<'_>,
    network: &Network<'_>,
    icmp: &Icmp<'_>,
    slot: impl Fn(SlotId) -> Option<Slot>,
) -> Verdict {
    let Some(echo) = Echo::read(icmp.bytes).filter(|_| icmp.code == 0) else {
        return Verdict::Foreign;
    };
    let is_here =
        |expected: &Slot| expected.ifindex == arrival.ifindex.0 && expected.vlan == network.vlan;
    let intact = || icmp.is_intact(network).then(|| reflection(icmp.bytes));
    judge_echo(&echo, network.source, is_here, intact, slot)
}

/// `is_here` says whether the reply came the right way, `intact` what a reflector wrote, if the checksum is right.
fn judge_echo(
    echo: &Echo,
    source: IpAddr,
    is_here: impl Fn(&Slot) -> bool,
    intact: impl Fn() -> Option<Option<Reflection>>,
    slot: impl Fn(SlotId) -> Option<Slot>,
) -> Verdict {
    let id = SlotId(echo.payload.slot);
    let Some(expected) = slot(id) else {
        return Verdict::Foreign;
    };
    if expected.state == 0 {
        Verdict::Stale(id)
    } else if !echo.is_of(&expected, source) {
        Verdict::Forged(id)
    } else if !is_here(&expected) {
        Verdict::WrongUplink(id)
    } else if expected.sent_ns == 0 {
        Verdict::Stale(id)
    } else if !Slot::is_armed(expected.state) {
        Verdict::Duplicate(id)
    } else {
        intact().map_or(Verdict::Corrupt(id), |reflection| {
            Verdict::Matched(id, reflection)
        })
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
