//! Own IPv6 routes that the kernel shows as one.
//!
//! IPv6 keeps gateways of one metric as routes of their own, each deleted by its own key, and merges them only in a dump. A new
//! own gateway beside the old one is such a pair; whoever could not tell them apart could not finish what was interrupted.

use crate::{
    network::{Hop, NextHop, Route},
    units::Protocol,
};

/// The routes that a dump merged into this one, if they are own IPv6 routes; else the route as it is.
///
/// The message names the first one's protocol only. A deletion names it, too, so that a foreign route among them stays.
pub(crate) fn apart(route: Route, own: Protocol) -> Vec<Route> {
    match &route.next_hop {
        NextHop::Several { hops, .. }
            if route.ipv6()
                && route.protocol == own
                && hops.iter().all(|hop| hop.gateway.is_some()) =>
        {
            hops.iter().map(|hop| single(&route, *hop)).collect()
        }
        _ => vec![route],
    }
}

/// A route of the kernel's that it never wrote as such: without bytes to put it back from.
fn single(merged: &Route, hop: Hop) -> Route {
    Route {
        next_hop: hop.next_hop(),
        wire: Vec::new(),
        ..merged.clone()
    }
}
