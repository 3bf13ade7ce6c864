//! From the ranking to the routes that should be there.

use crate::{
    network::{NextHop, Route},
    units::{Ifindex, Metric, Protocol, TableId},
};

/// The routes that should carry pingu's protocol, and those that may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSet {
    /// Must be there.
    pub wanted: Vec<Route>,
    /// Own routes at these (IPv6, metric) places stay as they are, if they are there: their uplink is the last resort although it
    /// cannot be left by at the moment.
    pub kept: Vec<(bool, Metric)>,
    /// Learned routes that adopt mode may take out of the table, once an own route stands.
    pub taken_over: Vec<Route>,
}

/// An own default route.
pub(crate) fn own_default(
    ipv6: bool,
    metric: Metric,
    protocol: Protocol,
    next_hop: NextHop,
    preferred_source: Option<std::net::IpAddr>,
) -> Route {
    // The kernel chooses IPv6 sources by RFC 6724; a fixed one would outlive its prefix.
    let preferred_source = preferred_source.filter(|_| !ipv6);
    Route {
        ipv6,
        table: TableId::MAIN,
        metric,
        protocol,
        next_hop,
        preferred_source,
        wire: Vec::new(),
    }
}

/// The default that the kernel takes for one family: the lowest metric among those it can use.
pub(crate) fn kernel_choice(routes: &[Route], ipv6: bool) -> Option<&Route> {
    routes
        .iter()
        .filter(|route| route.ipv6 == ipv6)
        .min_by_key(|route| route.metric)
}

/// Whether a route is a foreign default over this interface.
pub(crate) fn is_learned_on(route: &Route, own: Protocol, ifindex: Ifindex) -> bool {
    route.protocol != own && route.next_hop.ifindex() == Some(ifindex)
}
