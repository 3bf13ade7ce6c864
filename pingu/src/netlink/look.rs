//! What one look at the kernel is put together from.

use std::collections::HashSet;

use crate::{
    netlink::{
        KernelRoutes, NetlinkError,
        codec::{RawMessage, RouteHeader, family, push_attribute},
        dump::{self, Place},
        multipath, nexthops, rules,
        tables::Sight,
    },
    network::{Address, Link, Nexthop, Route, Rule},
    units::TableId,
};

/// So many routes in ascending order are no accident; below that, a whole dump takes less than a millisecond.
const ASCENT_FROM: usize = 1_000;

/// The order in which a dump shows its routes.
#[derive(Debug, Default)]
struct Order {
    last: u32,
    routes: usize,
    descends: bool,
}

impl Order {
    /// Takes the next route's network.
    fn note(&mut self, network: Option<u32>) {
        let network = network.unwrap_or(0);
        self.descends |= network < self.last;
        self.last = network;
        self.routes += 1;
    }

    /// Whether there is no doubt that networks come by their numbers.
    fn proves_ascent(&self) -> bool {
        !self.descends && self.routes >= ASCENT_FROM
    }
}

/// Asks for a table.
fn table_request(table: TableId, ipv6: bool) -> RawMessage {
    let header = RouteHeader {
        family: family(ipv6),
        ..RouteHeader::default()
    };
    let mut body = header.write();
    push_attribute(&mut body, libc::RTA_TABLE, &table.0.to_ne_bytes());
    RawMessage {
        kind: libc::RTM_GETROUTE,
        body,
    }
}

/// A table that nobody has used yet is none: the main one of a namespace without any route, too.
fn none_without_table<T>(seen: Result<Vec<T>, NetlinkError>) -> Result<Vec<T>, NetlinkError> {
    match seen {
        Err(error) if error.is(&[libc::ENOENT]) => Ok(Vec::new()),
        seen => seen,
    }
}

impl KernelRoutes {
    /// Everybody's default routes of the main table.
    ///
    /// The kernel keeps IPv4 routes by their networks' numbers, and so the defaults come first: where a whole dump of a large table
    /// has shown that it is so, the next ones end behind them.
    pub(super) fn default_routes(&mut self, ipv6: bool) -> Result<Vec<Route>, NetlinkError> {
        let request = table_request(TableId::MAIN, ipv6);
        let what = if ipv6 { "IPv6 route" } else { "IPv4 route" };
        let (own, ends_early) = (self.protocol, self.main_ascends && !ipv6);
        let mut order = Order::default();
        let seen = self.tables.dump(what, &request, |body| {
            if ends_early {
                if dump::network_v4(body).is_some_and(|network| network != 0) {
                    return Sight::Enough;
                }
            } else if !ipv6 {
                order.note(dump::network_v4(body));
            }
            dump::default_route(body, own).map_or(Sight::Pass, Sight::Keep)
        });
        self.main_ascends |= seen.is_ok() && order.proves_ascent();
        let routes = none_without_table(seen)?;
        Ok(routes
            .into_iter()
            .flat_map(|route| multipath::apart(route, own))
            .collect())
    }

    /// The own routes of every table but the main one's defaults, which come with everybody's.
    pub(super) fn other_own_routes(&mut self, ipv6: bool) -> Result<Vec<Route>, NetlinkError> {
        let header = RouteHeader {
            family: family(ipv6),
            protocol: self.protocol.0,
            ..RouteHeader::default()
        };
        let request = RawMessage {
            kind: libc::RTM_GETROUTE,
            body: header.write(),
        };
        let what = if ipv6 {
            "own IPv6 route"
        } else {
            "own IPv4 route"
        };
        let own = self.protocol;
        let is_other = |route: &Route| !(route.table == TableId::MAIN && route.is_default());
        let routes = self.tables.dump(what, &request, |body| {
            // A kernel that does not filter shows everybody's.
            let of_own = RouteHeader::read(body).filter(|header| header.protocol == own.0);
            let route = of_own.and_then(|_| dump::route(body, own)).filter(is_other);
            route.map_or(Sight::Pass, Sight::Keep)
        })?;
        Ok(routes
            .into_iter()
            .flat_map(|route| multipath::apart(route, own))
            .collect())
    }

    /// The routes of this one's table and family at its place.
    pub(super) fn routes_at(&mut self, wanted: &Route) -> Result<Vec<Route>, NetlinkError> {
        if wanted.table == TableId::MAIN && wanted.is_default() {
            let mut routes = self.default_routes(wanted.ipv6())?;
            routes.retain(|route| route.is_for_all() && route.metric == wanted.metric);
            return Ok(routes);
        }
        let mut routes = self.routes_of_table(wanted.table, wanted.ipv6())?;
        routes.retain(|route| {
            (route.destination, route.metric) == (wanted.destination, wanted.metric)
                && route.is_for_all()
        });
        Ok(routes)
    }

    /// Everybody's routes of a table and family.
    fn routes_of_table(&mut self, table: TableId, ipv6: bool) -> Result<Vec<Route>, NetlinkError> {
        let own = self.protocol;
        let seen = self
            .tables
            .dump("route", &table_request(table, ipv6), |body| {
                let route = dump::route(body, own).filter(|route| route.table == table);
                route.map_or(Sight::Pass, Sight::Keep)
            });
        Ok(none_without_table(seen)?
            .into_iter()
            .flat_map(|route| multipath::apart(route, own))
            .collect())
    }

    /// Everybody's routes at those of the places in a table and family, for every packet to there.
    pub(super) fn routes_at_places(
        &mut self,
        table: TableId,
        ipv6: bool,
        places: &HashSet<Place>,
    ) -> Result<Vec<Route>, NetlinkError> {
        let own = self.protocol;
        let seen = self
            .tables
            .dump("route", &table_request(table, ipv6), |body| {
                let asked_for = dump::place(body).filter(|place| places.contains(place));
                let route = asked_for.and_then(|_| dump::route(body, own));
                let route = route.filter(Route::is_for_all);
                route.map_or(Sight::Pass, Sight::Keep)
            });
        Ok(none_without_table(seen)?
            .into_iter()
            .flat_map(|route| multipath::apart(route, own))
            .collect())
    }

    /// Those of the places in a table and family where others have routes.
    pub(super) fn places_of_others(
        &mut self,
        table: TableId,
        ipv6: bool,
        places: &HashSet<Place>,
    ) -> Result<HashSet<Place>, NetlinkError> {
        let own = self.protocol;
        let seen = self
            .tables
            .dump("route", &table_request(table, ipv6), |body| {
                let foreign = RouteHeader::read(body).filter(|header| header.protocol != own.0);
                let place = foreign.and_then(|_| dump::place(body));
                let asked_for = place.filter(|place| places.contains(place));
                // One for some packets only has a place of its own.
                let is_taken = || dump::route(body, own).is_some_and(|route| route.is_for_all());
                let taken = asked_for.filter(|_| is_taken());
                taken.map_or(Sight::Pass, Sight::Keep)
            });
        Ok(none_without_table(seen)?.into_iter().collect())
    }

    /// Every interface and every address.
    pub(crate) async fn interfaces(&mut self) -> Result<(Vec<Link>, Vec<Address>), NetlinkError> {
        let links = self.requests.dump("link", &dump::links_request()).await?;
        let addresses = self
            .requests
            .dump("address", &dump::addresses_request())
            .await?;
        let links = links.iter().filter_map(|message| dump::link(&message.body));
        let addresses = addresses
            .iter()
            .filter_map(|message| dump::interface_address(&message.body));
        Ok((links.collect(), addresses.collect()))
    }

    pub(super) async fn rules(&mut self, ipv6: bool) -> Result<Vec<Rule>, NetlinkError> {
        let what = if ipv6 { "IPv6 rule" } else { "IPv4 rule" };
        let messages = match self.requests.dump(what, &rules::request(ipv6)).await {
            // A kernel without policy routing, or without this family.
            Err(error) if error.is(&[libc::EOPNOTSUPP, libc::EAFNOSUPPORT]) => Vec::new(),
            messages => messages?,
        };
        let bodies = messages.iter().map(|message| message.body.as_slice());
        Ok(bodies.filter_map(rules::rule).collect())
    }

    pub(super) async fn nexthops(&mut self) -> Result<Vec<Nexthop>, NetlinkError> {
        let messages = match self.requests.dump("nexthop", &nexthops::request()).await {
            // Before Linux 5.3.
            Err(error) if error.is(&[libc::EOPNOTSUPP]) => Vec::new(),
            messages => messages?,
        };
        let bodies = messages.iter().map(|message| message.body.as_slice());
        Ok(bodies.filter_map(nexthops::nexthop).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(networks: impl Iterator<Item = u32>) -> Order {
        let mut order = Order::default();
        for network in networks {
            order.note((network != 0).then_some(network));
        }
        order
    }

    #[test]
    fn only_a_large_table_in_ascending_order_proves_it() {
        let many = ASCENT_FROM as u32;
        assert!(order(0..many).proves_ascent());
        assert!(!order(0..many - 1).proves_ascent());
        assert!(!order((0..many).chain([0])).proves_ascent());
        assert!(!Order::default().proves_ascent());
    }
}
