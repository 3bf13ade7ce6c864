//! Asks the kernel where a packet would go.

use std::net::IpAddr;

use crate::{
    netlink::{
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
}

/// Where the kernel's routes lead; none if none does, or by another interface only.
pub(super) fn look_up(questions: &mut Questions, lookup: &Lookup) -> Option<Found> {
    if lookup.ifindex.is_some() && lookup.destination.is_ipv4() {
        // Bound to an interface, IPv4 takes for on the wire whatever no route leads to; only this question tells.
        questions.ask(request(lookup, RTM_F_FIB_MATCH)).ok()?;
    }
    let answer = questions.ask(request(lookup, 0)).ok()?;
    let found = read(&answer)?;
    (lookup.ifindex.is_none() || found.ifindex == lookup.ifindex).then_some(found)
}

fn request(lookup: &Lookup, flags: u32) -> RawMessage {
    let bits = |address: IpAddr| if address.is_ipv6() { 128 } else { 32 };
    let header = RouteHeader {
        family: family(lookup.destination.is_ipv6()),
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
    RawMessage {
        kind: libc::RTM_GETROUTE,
        body,
    }
}

fn read(answer: &RawMessage) -> Option<Found> {
    RouteHeader::read(&answer.body)?;
    let mut found = Found::default();
    for (kind, value) in attributes(&answer.body, RouteHeader::LEN) {
        match kind {
            libc::RTA_OIF => found.ifindex = number(value).map(Ifindex),
            libc::RTA_GATEWAY => found.gateway = address(value),
            libc::RTA_PREFSRC => found.source = address(value),
            _ => {}
        }
    }
    Some(found)
}
