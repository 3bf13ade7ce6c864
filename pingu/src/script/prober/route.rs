//! Asks the kernel where a packet would go, and what station is there.

use std::net::IpAddr;

use netlink_packet_core::NLM_F_CREATE;

use crate::{
    netlink::{
        apply,
        ask::Questions,
        codec::{
            RawMessage, RouteHeader, address, attributes, family, number, push_address,
            push_attribute,
        },
    },
    units::Ifindex,
};

/// `RTM_F_FIB_MATCH`: answer with the route of a table, and refuse where there is none.
const RTM_F_FIB_MATCH: u32 = 0x2000;

/// `RTA_VIA`: a next hop of the other family.
const RTA_VIA: u16 = 18;
/// `RTA_ENCAP`: a tunnel that begins at the route.
const RTA_ENCAP: u16 = 22;
/// `RTA_IP_PROTO`: rules may lead protocols apart.
const RTA_IP_PROTO: u16 = 27;

/// Size in bytes of `struct ndmsg`.
const NEIGHBOUR_HEADER_BYTES: usize = 12;

/// States in which the kernel itself sends to the address that it knows. A stale one is not among them: the kernel confirms it when
/// something is sent by a socket, and so it must be.
const SENDABLE: u16 =
    libc::NUD_REACHABLE | libc::NUD_DELAY | libc::NUD_PROBE | libc::NUD_PERMANENT | libc::NUD_NOARP;

/// What to look up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    pub(super) destination: IpAddr,
    pub(super) source: Option<IpAddr>,
    /// The interface that the packet shall leave by.
    pub(super) ifindex: Option<Ifindex>,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The interface that it leaves by.
    pub(super) ifindex: Option<Ifindex>,
    /// The next hop; none where the destination itself is on the wire.
    pub(super) gateway: Option<IpAddr>,
    /// The source that the kernel would give it.
    pub(super) source: Option<IpAddr>,
    /// It stays on this machine.
    pub(super) local: bool,
    /// Nothing but a link header is put before it.
    pub(super) plain: bool,
}

/// Where the kernel's routes lead; none if none does, or by another interface only.
pub(super) fn look_up(questions: &mut Questions, lookup: &Lookup) -> Option<Found> {
    if lookup.ifindex.is_some() && lookup.destination.is_ipv4() {
        // Bound to an interface, IPv4 takes for on the wire whatever no route leads to; only this question tells.
        questions.ask(request(lookup, RTM_F_FIB_MATCH)).ok()?;
    }
    let answer = questions.ask(request(lookup, 0)).ok()?;
    let found = read(&answer.body)?;
    // What is for this machine itself leaves by nothing.
    let is_by_it = found.local || found.ifindex == lookup.ifindex;
    (lookup.ifindex.is_none() || is_by_it).then_some(found)
}

fn request(lookup: &Lookup, flags: u32) -> RawMessage {
    let bits = |address: IpAddr| if address.is_ipv6() { 128 } else { 32 };
    let ipv6 = lookup.destination.is_ipv6();
    let header = RouteHeader {
        family: family(ipv6),
        destination_len: bits(lookup.destination),
        source_len: lookup.source.map_or(0, bits),
        flags,
        ..RouteHeader::default()
    };
    let mut body = header.write();
    push_address(&mut body, libc::RTA_DST, lookup.destination);
    if let Some(source) = lookup.source {
        push_address(&mut body, libc::RTA_SRC, source);
    }
    if let Some(ifindex) = lookup.ifindex {
        push_attribute(&mut body, libc::RTA_OIF, &ifindex.0.to_ne_bytes());
    }
    let protocol = if ipv6 {
        libc::IPPROTO_ICMPV6
    } else {
        libc::IPPROTO_ICMP
    };
    push_attribute(&mut body, RTA_IP_PROTO, &[protocol as u8]);
    RawMessage {
        kind: libc::RTM_GETROUTE,
        body,
    }
}

fn read(body: &[u8]) -> Option<Found> {
    let header = RouteHeader::read(body)?;
    let mut found = Found {
        local: header.kind == libc::RTN_LOCAL,
        plain: header.kind == libc::RTN_UNICAST,
        ..Found::default()
    };
    for (kind, value) in attributes(body, RouteHeader::LEN) {
        match kind {
            libc::RTA_OIF => found.ifindex = number(value).map(Ifindex),
            libc::RTA_GATEWAY => found.gateway = address(value),
            libc::RTA_PREFSRC => found.source = address(value),
            RTA_VIA | RTA_ENCAP => found.plain = false,
            _ => {}
        }
    }
    Some(found)
}

/// The address of a station, if the kernel itself would send to it at once.
pub(super) fn station(
    questions: &mut Questions,
    ifindex: Ifindex,
    next_hop: IpAddr,
) -> Option<[u8; 6]> {
    let mut body = vec![0; NEIGHBOUR_HEADER_BYTES];
    body[0] = family(next_hop.is_ipv6());
    body[4..8].copy_from_slice(&ifindex.0.to_ne_bytes());
    push_address(&mut body, libc::NDA_DST, next_hop);
    let question = RawMessage {
        kind: libc::RTM_GETNEIGH,
        body,
    };
    let answer = questions.ask(question).ok()?.body;
    let state = answer.get(8..10)?;
    let state = u16::from_ne_bytes([state[0], state[1]]);
    if state & SENDABLE == 0 {
        return None;
    }
    if state & libc::NUD_STALE != 0 {
        // A packet of the kernel's own would make it find out whether the station is still there. A frame does not.
        solicit(questions, ifindex, next_hop);
    }
    let mut told = attributes(&answer, NEIGHBOUR_HEADER_BYTES);
    let (_, value) = told.find(|(kind, _)| *kind == libc::NDA_LLADDR)?;
    // A group of stations, or none.
    let is_one = |mac: &[u8; 6]| mac[0] & 1 == 0 && *mac != [0; 6];
    <[u8; 6]>::try_from(value).ok().filter(is_one)
}

/// Has the kernel look for a station.
pub(super) fn solicit(questions: &mut Questions, ifindex: Ifindex, next_hop: IpAddr) {
    let order = apply::solicitation(ifindex, next_hop);
    if let Err(error) = questions.order(order, NLM_F_CREATE) {
        tracing::debug!(%ifindex, %next_hop, %error, "cannot ask for a neighbour");
    }
}
