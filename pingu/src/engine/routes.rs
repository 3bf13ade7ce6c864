//! From the rankings to the routes, rules and nexthop objects that should be there.

use std::collections::HashSet;

use ipnet::IpNet;

use crate::{
    config::{GroupConfig, LearnedRoutes, Mode, RuleProtocol},
    engine::{Engine, State, reconcile::RuleMark, uplink::Uplink, way_out::WayOut},
    network::{NextHop, Nexthop, NexthopKind, Route, Rule, default_of},
    units::{GroupId, Ifindex, Metric, Protocol, TableId, UplinkId},
};

mod advertised;
mod balanced;
mod grouped;
mod policy;

/// `RTPROT_KERNEL`.
const PROTOCOL_KERNEL: Protocol = Protocol(2);

/// What should carry pingu's protocol, and what may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSet {
    /// Routes that must be there.
    pub wanted: Vec<Route>,
    /// Own routes at these places stay as they are, if they are there: their uplink is the last resort although it cannot be left by
    /// at the moment.
    pub kept: HashSet<(TableId, IpNet, Metric)>,
    /// Own routes of these tables and families (IPv6) over these interfaces stay as they are: their uplink cannot be left by at the
    /// moment. Those over another interface would let its traffic leave by another uplink.
    pub kept_tables: HashSet<(TableId, bool, Ifindex)>,
    /// Destinations whose own routes stay although none is wanted: nothing is known yet. Elsewhere the last one may go.
    pub held: HashSet<(TableId, IpNet)>,
    /// Learned routes that adopt mode may take out of the table, once an own route stands.
    pub taken_over: Vec<Route>,
    /// Rules that must be there.
    pub rules: Vec<Rule>,
    /// How own rules are told from others'.
    pub rule_mark: RuleMark,
    /// Nexthop objects that must be there.
    pub nexthops: Vec<Nexthop>,
}

/// An own route by a way out.
pub(crate) fn own_route(
    destination: IpNet,
    table: TableId,
    metric: Metric,
    protocol: Protocol,
    next_hop: NextHop,
    source: Option<std::net::IpAddr>,
) -> Route {
    // The kernel chooses IPv6 sources by RFC 6724; a fixed one would outlive its prefix.
    let preferred_source = source.filter(|_| matches!(destination, IpNet::V4(_)));
    Route {
        destination,
        table,
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
        .filter(|route| route.table == TableId::MAIN && route.destination == default_of(ipv6))
        .filter(|route| route.is_for_all())
        .min_by_key(|route| route.metric)
}

/// Whether a route is a foreign default over this interface.
pub(crate) fn is_learned_on(route: &Route, own: Protocol, ifindex: Ifindex) -> bool {
    route.protocol != own
        && route.table == TableId::MAIN
        && route.is_default()
        && route.next_hop.ifindex() == Some(ifindex)
}

impl Engine {
    /// What should be there.
    pub fn route_set(&self) -> RouteSet {
        let mut set = RouteSet {
            rule_mark: self.rule_mark(),
            ..RouteSet::default()
        };
        for index in 0..self.config.groups.len() {
            self.group_routes(GroupId(index as u16), &mut set);
        }
        for index in 0..self.config.uplinks.len() {
            let id = UplinkId(index as u16);
            self.policy_routes(id, &mut set);
            self.advertised_routes(id, &mut set);
        }
        self.extra_routes(&mut set);
        if self.config.learned_routes == LearnedRoutes::Adopt {
            set.taken_over = self.learned_routes();
        }
        set
    }

    /// The nexthop objects that should be there: what to write first, since one message moves every route that uses one. It takes no
    /// longer for ten thousand destinations than for one.
    pub fn nexthop_set(&self) -> Vec<Nexthop> {
        let mut set = RouteSet::default();
        for index in 0..self.config.groups.len() {
            let group = GroupId(index as u16);
            for ipv6 in [false, true] {
                if self.group(group).mode == Mode::Balance && self.leads_somewhere(group, ipv6) {
                    let standing = self.standing_now(group, ipv6);
                    self.family_routes(group, &standing, ipv6, &mut set);
                }
            }
        }
        set.nexthops
    }

    /// Whether a group has destinations of a family.
    fn leads_somewhere(&self, group: GroupId, ipv6: bool) -> bool {
        self.families[group.index()][usize::from(ipv6)]
    }

    /// How own rules are told from others'.
    pub fn rule_mark(&self) -> RuleMark {
        let ids = (0..self.config.uplinks.len()).map(|index| UplinkId(index as u16));
        RuleMark {
            protocol: self.rule_protocol(),
            tables: ids.filter_map(|id| self.config.table_of(id)).collect(),
        }
    }

    fn rule_protocol(&self) -> Protocol {
        match self.config.rules.protocol {
            RuleProtocol::Kernel => PROTOCOL_KERNEL,
            RuleProtocol::Own => self.config.protocol,
        }
    }

    /// The uplinks of a group, in the order of the configuration.
    pub(super) fn members(&self, group: GroupId) -> impl Iterator<Item = UplinkId> + '_ {
        self.members[group.index()].iter().copied()
    }

    pub(super) fn group(&self, id: GroupId) -> &GroupConfig {
        &self.config.groups[id.index()]
    }

    fn uplink(&self, id: UplinkId) -> &Uplink {
        &self.uplinks[id.index()]
    }

    fn way(&self, id: UplinkId, ipv6: bool) -> Option<&WayOut> {
        self.uplink(id).ways[usize::from(ipv6)].as_ref().ok()
    }

    /// The uplink of a group that an own route of it leads to.
    pub(super) fn owner(&self, group: GroupId, route: &Route) -> Option<UplinkId> {
        let ifindex = route.next_hop.ifindex()?;
        let on_it = || {
            self.members(group)
                .filter(move |&id| self.interface_index(id) == Some(ifindex))
        };
        let leads_there = |id: UplinkId| {
            let way = self.way(id, route.ipv6())?;
            way.next_hop().leads_as(&route.next_hop).then_some(way)
        };
        let by_source = on_it().find(|&id| {
            leads_there(id).is_some_and(|way| way.preferred_source == route.preferred_source)
        });
        let by_gateway = || on_it().find(|&id| leads_there(id).is_some());
        by_source.or_else(by_gateway).or_else(|| on_it().next())
    }

    /// Uplinks of a group whose own routes an earlier run left behind, the one that the kernel prefers first.
    pub(super) fn found_standing(&self, group: GroupId) -> Vec<UplinkId> {
        let config = self.group(group);
        let own = self.config.protocol;
        let mut found: Vec<(Metric, UplinkId)> = Vec::new();
        // In mode `metric`, routes at metrics that their uplinks have no more.
        let mut elsewhere: Vec<(Metric, UplinkId)> = Vec::new();
        let prefixes: HashSet<&IpNet> = config.prefixes.iter().collect();
        let left = self.snapshot.routes.iter().filter(|route| {
            route.protocol == own
                && route.table == TableId::MAIN
                && prefixes.contains(&route.destination)
        });
        for route in left {
            match (config.mode, &route.next_hop) {
                (Mode::Balance, NextHop::Object(id)) => {
                    let leaves_by = self.members_of_object(group, *id);
                    found.extend(leaves_by.into_iter().map(|id| (route.metric, id)));
                }
                (Mode::Metric, _) => {
                    let id = self.owner(group, route);
                    if let Some(id) = id {
                        let is_there = self.config.uplinks[id.index()].metric == route.metric;
                        let list = if is_there { &mut found } else { &mut elsewhere };
                        list.push((route.metric, id));
                    }
                }
                _ => found.extend(self.owner(group, route).map(|id| (route.metric, id))),
            }
        }
        if found.is_empty() {
            found = elsewhere;
        }
        found.sort_unstable();
        let mut standing: Vec<UplinkId> = Vec::new();
        for (_, id) in found {
            if !standing.contains(&id) {
                standing.push(id);
            }
        }
        if config.mode == Mode::Ordered {
            // The others are installed whatever their state: only the first was wanted.
            standing.truncate(1);
        }
        standing
    }

    pub(super) fn members_of_object(
        &self,
        group: GroupId,
        id: crate::units::NexthopId,
    ) -> Vec<UplinkId> {
        let objects = &self.snapshot.nexthops;
        let Some(NexthopKind::Group(members)) = objects
            .iter()
            .find(|object| object.id == id)
            .map(|object| &object.kind)
        else {
            return Vec::new();
        };
        let leads_to = |member| {
            let object = objects.iter().find(|object| object.id == member)?;
            let NexthopKind::Single(next_hop) = &object.kind else {
                return None;
            };
            let over_it = |id: &UplinkId| self.interface_index(*id) == next_hop.ifindex();
            // The number tells the uplink, also where several share an interface; after another configuration it may mislead.
            let by_number = self.members(group).filter(over_it).find(|&id| {
                [false, true]
                    .map(|ipv6| self.single_id(id, ipv6))
                    .contains(&member)
            });
            by_number.or_else(|| self.members(group).find(over_it))
        };
        members
            .iter()
            .filter_map(|&(member, _)| leads_to(member))
            .collect()
    }

    /// No uplink of a group is up, and of each it is known.
    fn all_down(&self, group: GroupId) -> bool {
        self.members(group)
            .all(|id| self.uplink(id).state_noted == State::Down)
    }

    /// Some uplink of a group is up.
    fn any_up(&self, group: GroupId) -> bool {
        self.members(group)
            .any(|id| self.uplink(id).state_noted == State::Up)
    }

    /// Whether a family works over an uplink, as far as is known.
    pub(super) fn carries(&self, id: UplinkId, ipv6: bool) -> bool {
        self.uplink(id).family_state(ipv6) != State::Down
    }
}

/// The destinations of one family.
fn of_family(prefixes: &[IpNet], ipv6: bool) -> impl Iterator<Item = IpNet> + '_ {
    prefixes
        .iter()
        .copied()
        .filter(move |prefix| matches!(prefix, IpNet::V6(_)) == ipv6)
}

impl RouteSet {
    /// Adds a route.
    fn want(&mut self, route: Route) {
        self.wanted.push(route);
    }
}

#[cfg(test)]
mod tests;
