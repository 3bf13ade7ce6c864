//! What a probe's interface leads to where no rule leads by it: any table's route is good enough to learn a gateway from.

use std::{cmp::Reverse, net::IpAddr};

use crate::{
    netlink::{
        codec::{RawMessage, RouteHeader, family, push_attribute},
        dump,
        tables::{Sight, Tables},
    },
    network::Route,
    units::{Ifindex, Metric, Protocol},
};

/// No protocol is read in its own terms here: `RTPROT_UNSPEC` is nobody's.
const NOBODY: Protocol = Protocol(0);

/// Of a route; the least is the best.
type Rank = (Reverse<u8>, Metric);

/// The next hop by this interface in the route of any table that fits best: the longest prefix, then the lowest metric. `Some(None)` is a
/// route by the device itself; none if there is no route.
pub(super) fn learn(
    tables: &mut Tables,
    ifindex: Ifindex,
    destination: IpAddr,
) -> Option<Option<IpAddr>> {
    let header = RouteHeader {
        family: family(destination.is_ipv6()),
        ..RouteHeader::default()
    };
    let mut body = header.write();
    // The kernel leaves out the others; one that does not shows them all.
    push_attribute(&mut body, libc::RTA_OIF, &ifindex.0.to_ne_bytes());
    let request = RawMessage {
        kind: libc::RTM_GETROUTE,
        body,
    };
    let mut best: Option<(Rank, Option<IpAddr>)> = None;
    let seen = tables.dump("route", &request, |body| {
        let is_unicast =
            RouteHeader::read(body).is_some_and(|header| header.kind == libc::RTN_UNICAST);
        let route = dump::route(body, NOBODY).filter(|_| is_unicast);
        if let Some(route) = route.filter(|route| route.destination.contains(&destination))
            && let Some(gateway) = by(&route, ifindex)
        {
            let rank = (Reverse(route.destination.prefix_len()), route.metric);
            if best.is_none_or(|(best, _)| rank < best) {
                best = Some((rank, gateway));
            }
        }
        Sight::<()>::Pass
    });
    if let Err(error) = seen {
        tracing::debug!(%error, "cannot look for a gateway");
    }
    best.map(|(_, gateway)| gateway)
}

/// The next hop by this interface, if the route leads by it.
fn by(route: &Route, ifindex: Ifindex) -> Option<Option<IpAddr>> {
    let hops = route.next_hop.hops();
    let hop = hops.iter().find(|hop| hop.ifindex == ifindex)?;
    Some(hop.gateway)
}
