//! Counts what passes beside our own probes: unicast IP, and TCP's handshakes. Frames of a VLAN belong to another interface, and
//! neighbour discovery is no traffic: both go on while a provider is dead.

use core::mem::size_of;

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use pingu_common::{TRAFFIC_OFF, VlanIds, traffic::TrafficEntry};

use crate::{
    maps,
    packet::{
        PROTOCOL_ICMPV6, PROTOCOL_TCP, Packet,
        icmp::{Ipv4Header, Ipv6Header},
        link::{Ipv4Bytes, Ipv6Bytes, LinkLayer},
    },
};

/// Set when the object is loaded; see `pingu_common::GLOBAL_TRAFFIC_MASK`.
#[unsafe(no_mangle)]
static TRAFFIC_MASK: u32 = TRAFFIC_OFF;

/// Set when the object is loaded; see `pingu_common::GLOBAL_PROCESSORS`.
#[unsafe(no_mangle)]
static PROCESSORS: u32 = 1;

/// The offset of a fragment.
const FRAGMENT_OFFSET_MASK: u16 = 0x1fff_u16.to_be();
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Where a TCP header has its flags.
const TCP_FLAGS: usize = 13;
const IPV4_BYTES: usize = size_of::<Ipv4Bytes>();
const IPV6_BYTES: usize = size_of::<Ipv6Bytes>();
/// Version and length of an IPv4 header without options.
const IPV4_PLAIN: u8 = 0x45;
/// Where it has the offset of a fragment, and which bits of that byte are part of it.
const IPV4_FRAGMENT: usize = 6;
const IPV4_FRAGMENT_OFFSET: u8 = 0x1f;
/// Where it says what it carries.
pub const IPV4_PROTOCOL: usize = 9;
/// Where it says whom it is for.
const IPV4_DESTINATION: usize = 16;
/// Where an IPv6 header says what follows.
pub const IPV6_NEXT_HEADER: usize = 6;
/// Where it says whom it is for.
const IPV6_DESTINATION: usize = 24;
/// Router and neighbour discovery, and redirects (RFC 4861, 4).
const NEIGHBOUR_DISCOVERY: core::ops::RangeInclusive<u8> = 133..=137;

/// The way of the packets that a program sees.
pub trait Direction {
    const IS_INGRESS: bool;
}

/// They come in.
pub struct Ingress;

/// They leave.
pub struct Egress;

impl Direction for Ingress {
    const IS_INGRESS: bool = true;
}

impl Direction for Egress {
    const IS_INGRESS: bool = false;
}

/// Whether anything is counted. The verifier knows the answer, and takes out what is not to be done.
#[inline(always)]
pub fn is_on() -> bool {
    mask() != TRAFFIC_OFF
}

#[inline(always)]
fn mask() -> u32 {
    // SAFETY: reads what user space set; volatile, or the compiler would take the value that stands here.
    unsafe { (&raw const TRAFFIC_MASK).read_volatile() }
}

/// Counts an IPv4 packet whose header lies at the packet's head, and leaves what is not plain to [`count_slowly`].
#[inline(always)]
pub fn count_v4<L: LinkLayer, P: Packet, D: Direction>(packet: P, ip: &Ipv4Bytes) {
    let Some(entry) = entry(packet.ifindex()) else {
        return;
    };
    if ip[0] != IPV4_PLAIN || has_tag_beside::<L, P>(packet) {
        return count_slowly::<L, P, D>(packet);
    }
    if !L::is_unicast_v4(packet, ip[IPV4_DESTINATION]).unwrap_or(false)
        || !is_for_us::<L, P, D>(packet)
    {
        return;
    }
    let destination = || word(ip, IPV4_DESTINATION);
    let mut flags = 0;
    if ip[IPV4_PROTOCOL] == PROTOCOL_TCP
        && ip[IPV4_FRAGMENT] & IPV4_FRAGMENT_OFFSET == 0
        && ip[IPV4_FRAGMENT + 1] == 0
    {
        match packet.peek::<u8>(L::IP_OFFSET + IPV4_BYTES + TCP_FLAGS) {
            // SAFETY: `peek` checked the bounds.
            Some(byte) => flags = unsafe { *byte },
            None => return count_slowly::<L, P, D>(packet),
        }
    }
    add::<P, D>(entry, packet, flags, destination);
}

/// Likewise for IPv6.
#[inline(always)]
pub fn count_v6<L: LinkLayer, P: Packet, D: Direction>(packet: P, ip: &Ipv6Bytes) {
    let Some(entry) = entry(packet.ifindex()) else {
        return;
    };
    if has_tag_beside::<L, P>(packet) {
        return count_slowly::<L, P, D>(packet);
    }
    if ip[0] >> 4 != 6
        || !L::is_unicast_v6(packet, ip[IPV6_DESTINATION]).unwrap_or(false)
        || !is_for_us::<L, P, D>(packet)
    {
        return;
    }
    let destination = || {
        let word = |number: usize| word(ip, IPV6_DESTINATION + number * 4);
        word(0) ^ word(1) ^ word(2) ^ word(3)
    };
    let mut flags = 0;
    if ip[IPV6_NEXT_HEADER] == PROTOCOL_TCP {
        match packet.peek::<u8>(L::IP_OFFSET + IPV6_BYTES + TCP_FLAGS) {
            // SAFETY: `peek` checked the bounds.
            Some(byte) => flags = unsafe { *byte },
            None => return count_slowly::<L, P, D>(packet),
        }
    }
    add::<P, D>(entry, packet, flags, destination);
}

/// Four bytes of a header.
#[inline(always)]
fn word<const BYTES: usize>(header: &[u8; BYTES], at: usize) -> u32 {
    u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// Counts any packet, wherever its headers lie.
#[inline(never)]
pub fn count_slowly<L: LinkLayer, P: Packet, D: Direction>(packet: P) {
    let Some(entry) = entry(packet.ifindex()) else {
        return;
    };
    if let Some((flags, destination)) = flags_of_counted::<L, P, D>(packet) {
        add::<P, D>(entry, packet, flags, || destination);
    }
}

/// TCP's flags, 0 where there are none, and what is made of the address that it goes to; none for a packet that does not count.
#[inline(always)]
fn flags_of_counted<L: LinkLayer, P: Packet, D: Direction>(packet: P) -> Option<(u8, u32)> {
    let network = L::network(packet)?;
    if network.vlan != VlanIds::default() {
        return None;
    }
    let (is_unicast, protocol, header_bytes, destination) = if network.is_ipv4 {
        let ip = packet.read::<Ipv4Header>(network.offset)?;
        let is_first = ip.fragment & FRAGMENT_OFFSET_MASK == 0;
        let protocol = if is_first { ip.protocol } else { 0 };
        let first = ip.destination.to_ne_bytes()[0];
        let is_unicast = L::is_unicast_v4(packet, first)?;
        (is_unicast, protocol, ip.bytes()?, ip.destination)
    } else {
        let ip = packet.read::<Ipv6Header>(network.offset)?;
        if ip.version_and_class >> 4 != 6 {
            return None;
        }
        let first = ip.destination[0].to_ne_bytes()[0];
        let is_unicast = L::is_unicast_v6(packet, first)?;
        let [a, b, c, d] = ip.destination;
        (is_unicast, ip.next_header, IPV6_BYTES, a ^ b ^ c ^ d)
    };
    if !is_unicast || !is_for_us::<L, P, D>(packet) {
        return None;
    }
    let next = network.offset + header_bytes;
    if !network.is_ipv4 && protocol == PROTOCOL_ICMPV6 {
        let kind = packet.read::<[u8; 4]>(next).map_or(0, |head| head[0]);
        return (!NEIGHBOUR_DISCOVERY.contains(&kind)).then_some((0, 0));
    }
    if protocol != PROTOCOL_TCP {
        return Some((0, 0));
    }
    // Two bytes for one: see `Bare::network`.
    let head = packet.read::<[u8; 2]>(next + TCP_FLAGS - 1);
    Some((head.map_or(0, |head| head[1]), destination))
}

/// Whether the kernel or the hardware took a VLAN tag out of the packet, which then looks like one without.
#[inline(always)]
fn has_tag_beside<L: LinkLayer, P: Packet>(packet: P) -> bool {
    L::HAS_ADDRESSES && packet.tag().is_some()
}

/// A packet that comes in must be for this host, as far as the hook knows that.
#[inline(always)]
fn is_for_us<L: LinkLayer, P: Packet, D: Direction>(packet: P) -> bool {
    !D::IS_INGRESS || !L::HAS_ADDRESSES || packet.is_for_this_host()
}

/// Where this processor counts the interface; none if it is not counted.
#[inline(always)]
fn entry(ifindex: u32) -> Option<*mut TrafficEntry> {
    // SAFETY: as in `mask`.
    let processors = unsafe { (&raw const PROCESSORS).read_volatile() };
    // SAFETY: the helper has no precondition.
    let processor = unsafe { bpf_get_smp_processor_id() } as u32;
    let entry = maps::traffic((ifindex & mask()) * processors + processor)?;
    // SAFETY: the pointer comes from a lookup that found it.
    (unsafe { (*entry).ifindex } == ifindex).then_some(entry)
}

#[inline(always)]
fn add<P: Packet, D: Direction>(
    entry: *mut TrafficEntry,
    packet: P,
    flags: u8,
    destination: impl Fn() -> u32,
) {
    let handshake = flags & (SYN | ACK);
    // SAFETY: the pointer comes from a lookup that found it, to this processor's own entry, and no program of ours interrupts another
    // on one processor. What user space writes there, `ifindex`, is not written here.
    unsafe {
        if D::IS_INGRESS {
            (*entry).ingress_packets += 1;
            (*entry).ingress_bytes += packet.bytes() as u64;
            if handshake == SYN | ACK {
                (*entry).handshakes_answered += 1;
            }
        } else {
            (*entry).egress_packets += 1;
            (*entry).egress_bytes += packet.wire_bytes() as u64;
            if handshake == SYN {
                (*entry).handshakes_begun += 1;
                let destination = destination();
                if (*entry).last_destination != destination {
                    (*entry).last_destination = destination;
                    (*entry).handshakes_elsewhere += 1;
                }
            }
        }
    }
}
