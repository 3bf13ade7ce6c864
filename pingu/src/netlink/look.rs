//! What one look at the kernel is put together from.

use crate::{
    netlink::{
        KernelRoutes, NetlinkError,
        codec::{RawMessage, RouteHeader, family, push_attribute},
        dump, multipath, nexthops, rules,
    },
    network::{Nexthop, Route, Rule},
    units::TableId,
};

impl KernelRoutes {
    /// Everybody's default routes of the main table.
    pub(super) async fn default_routes(&mut self, ipv6: bool) -> Result<Vec<Route>, NetlinkError> {
        let header = RouteHeader {
            family: family(ipv6),
            table: libc::RT_TABLE_MAIN,
            ..RouteHeader::default()
        };
        let mut body = header.write();
        push_attribute(&mut body, libc::RTA_TABLE, &TableId::MAIN.0.to_ne_bytes());
        let request = RawMessage {
            kind: libc::RTM_GETROUTE,
            body,
        };
        let what = if ipv6 { "IPv6 route" } else { "IPv4 route" };
        let messages = match self.requests.dump(what, &request).await {
            // A namespace without any IPv4 route has no main table yet.
            Err(error) if error.is(&[libc::ENOENT]) => Vec::new(),
            messages => messages?,
        };
        let bodies = messages.iter().map(|message| message.body.as_slice());
        Ok(bodies
            .filter_map(|body| dump::default_route(body, self.protocol))
            .flat_map(|route| multipath::apart(route, self.protocol))
            .collect())
    }

    /// The own routes of every table but the main one's defaults, which come with everybody's.
    pub(super) async fn other_own_routes(
        &mut self,
        ipv6: bool,
    ) -> Result<Vec<Route>, NetlinkError> {
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
        let messages = self.requests.dump(what, &request).await?;
        let is_other = |route: &Route| !(route.table == TableId::MAIN && route.is_default());
        let bodies = messages.iter().map(|message| message.body.as_slice());
        Ok(bodies
            .filter_map(|body| dump::route(body, self.protocol))
            // A kernel that does not filter shows everybody's.
            .filter(|route| route.protocol == self.protocol && is_other(route))
            .flat_map(|route| multipath::apart(route, self.protocol))
            .collect())
    }

    /// The routes of this one's table and family at its place.
    pub(super) async fn routes_at(&mut self, wanted: &Route) -> Result<Vec<Route>, NetlinkError> {
        if wanted.table == TableId::MAIN && wanted.is_default() {
            let mut routes = self.default_routes(wanted.ipv6()).await?;
            routes.retain(|route| route.is_for_all() && route.metric == wanted.metric);
            return Ok(routes);
        }
        let mut routes = self.routes_of_table(wanted.table, wanted.ipv6()).await?;
        routes.retain(|route| {
            (route.destination, route.metric) == (wanted.destination, wanted.metric)
                && route.is_for_all()
        });
        Ok(routes)
    }

    /// Everybody's routes of a table and family.
    pub(super) async fn routes_of_table(
        &mut self,
        table: TableId,
        ipv6: bool,
    ) -> Result<Vec<Route>, NetlinkError> {
        let header = RouteHeader {
            family: family(ipv6),
            ..RouteHeader::default()
        };
        let mut body = header.write();
        push_attribute(&mut body, libc::RTA_TABLE, &table.0.to_ne_bytes());
        let request = RawMessage {
            kind: libc::RTM_GETROUTE,
            body,
        };
        let messages = match self.requests.dump("route", &request).await {
            // There is no such table yet.
            Err(error) if error.is(&[libc::ENOENT]) => Vec::new(),
            messages => messages?,
        };
        let bodies = messages.iter().map(|message| message.body.as_slice());
        Ok(bodies
            .filter_map(|body| dump::route(body, self.protocol))
            .filter(|route| route.table == table)
            .flat_map(|route| multipath::apart(route, self.protocol))
            .collect())
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
