//! The routes of a group of uplinks, by its mode.

use ipnet::IpNet;

use crate::{
    config::{Mode, WhenAllDown},
    engine::{
        Engine,
        routes::{RouteSet, of_family, own_route},
    },
    network::{NextHop, Route},
    units::{GroupId, Metric, TableId, UplinkId},
};

/// One route of a group, without its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    metric: Metric,
    next_hop: NextHop,
    source: Option<std::net::IpAddr>,
}

/// What a group wants in one family.
#[derive(Clone, Debug, Default)]
pub(super) struct Family {
    pub(super) placed: Vec<Placed>,
    /// Metrics at which an own route stays as it is.
    pub(super) kept: Vec<Metric>,
}

impl Family {
    pub(super) fn place(
        &mut self,
        metric: Metric,
        next_hop: NextHop,
        source: Option<std::net::IpAddr>,
    ) {
        self.placed.push(Placed {
            metric,
            next_hop,
            source,
        });
    }
}

impl Engine {
    pub(super) fn group_routes(&self, group: GroupId, set: &mut RouteSet) {
        let config = self.group(group);
        for ipv6 in [false, true] {
            if !self.leads_somewhere(group, ipv6) {
                continue;
            }
            let standing = self.standing_now(group, ipv6);
            let standing = self.carrying(group, standing, ipv6);
            let family = self.family_routes(group, &standing, ipv6, set);
            // The best of all destinations come first: traffic follows them.
            for placed in &family.placed {
                for destination in of_family(&config.prefixes, ipv6) {
                    let Placed {
                        metric,
                        next_hop,
                        source,
                    } = placed.clone();
                    let (table, own) = (TableId::MAIN, self.config.protocol);
                    let route = own_route(destination, table, metric, own, next_hop, source);
                    set.want(route);
                }
            }
            for destination in of_family(&config.prefixes, ipv6) {
                for &metric in &family.kept {
                    set.kept.insert((TableId::MAIN, destination, metric));
                }
                if standing.is_empty() && !self.only_refuses(group, destination) {
                    set.held.insert((TableId::MAIN, destination));
                }
            }
        }
    }

    /// What a group wants in one family, whatever the destination; nexthop objects go into the set.
    pub(super) fn family_routes(
        &self,
        group: GroupId,
        standing: &[UplinkId],
        ipv6: bool,
        set: &mut RouteSet,
    ) -> Family {
        let config = self.group(group);
        let steered = self.rankings[group.index()].preferred.is_some();
        let unreachable = config.when_all_down == WhenAllDown::Unreachable
            && !steered
            && self.has_known(group, ipv6)
            && self.all_down(group);
        let mut family = match config.mode {
            _ if unreachable => {
                let mut family = Family::default();
                family.place(self.first_metric(group), NextHop::Unreachable, None);
                family
            }
            Mode::Metric => self.by_metric(standing, ipv6),
            Mode::Ordered => self.in_order(group, standing, ipv6),
            Mode::Balance => self.balanced(group, standing, ipv6, set),
        };
        if self.any_up(group) {
            // What cannot be left by is no last resort.
            family.kept.clear();
        }
        if family.placed.is_empty() {
            self.last_resort(group, standing, ipv6, &mut family);
        }
        family
    }

    /// The uplinks of a group that shall have routes of a family, the wanted one first.
    pub(super) fn standing_now(&self, group: GroupId, ipv6: bool) -> Vec<UplinkId> {
        let ranking = &self.rankings[group.index()];
        if let Some(preferred) = ranking.preferred {
            let pinned = self.pinned == Some(preferred);
            let serves =
                self.way(preferred, ipv6).is_some() && (pinned || self.carries(preferred, ipv6));
            // What it cannot carry goes as if it were not preferred.
            let passed_over = ranking.passed_over.iter().filter(|_| !serves);
            return passed_over.chain(&ranking.standing).copied().collect();
        }
        let first_usable = || {
            self.members(group)
                .find(|&id| self.uplink(id).ways.iter().any(Result::is_ok))
        };
        if self.group(group).when_all_down == WhenAllDown::First
            && self.all_down(group)
            && let Some(first) = first_usable()
        {
            return vec![first];
        }
        ranking.standing.clone()
    }

    /// Those that stand, or where none of them carries a family a member that does: it may be down for another family's sake.
    fn carrying(&self, group: GroupId, standing: Vec<UplinkId>, ipv6: bool) -> Vec<UplinkId> {
        let has_way = |id: &UplinkId| self.way(*id, ipv6).is_some();
        let carries = |id: &UplinkId| has_way(id) && self.carries(*id, ipv6);
        let is_pinned = |id: &UplinkId| self.pinned == Some(*id) && has_way(id);
        let stays = standing.is_empty()
            || standing.iter().any(carries)
            || standing.first().is_some_and(is_pinned);
        match self.members(group).find(carries) {
            Some(instead) if !stays => vec![instead],
            _ => standing,
        }
    }

    /// It carries a family, or is pinned and so carries it whatever its health.
    fn may_carry(&self, id: UplinkId, ipv6: bool) -> bool {
        self.carries(id, ipv6) || (self.pinned == Some(id) && self.way(id, ipv6).is_some())
    }

    /// A family by which some uplink of a group can be left, or could before.
    fn has_known(&self, group: GroupId, ipv6: bool) -> bool {
        self.members(group)
            .any(|id| self.uplink(id).has_known_way(ipv6))
    }

    /// All that an earlier run left at a destination refuses packets, which this configuration does not ask for.
    fn only_refuses(&self, group: GroupId, destination: IpNet) -> bool {
        let own = self.snapshot.routes.iter().filter(|route| {
            route.protocol == self.config.protocol
                && route.table == TableId::MAIN
                && route.destination == destination
        });
        let refuses =
            |route: &Route| matches!(route.next_hop, NextHop::Unreachable | NextHop::Blackhole);
        self.group(group).when_all_down != WhenAllDown::Unreachable
            && own.clone().next().is_some()
            && own.into_iter().all(refuses)
    }

    /// The best metric of a group.
    fn first_metric(&self, group: GroupId) -> Metric {
        let config = self.group(group);
        match config.mode {
            Mode::Ordered | Mode::Balance => config.start_metric,
            Mode::Metric => self
                .members(group)
                .map(|id| self.config.uplinks[id.index()].metric)
                .min()
                .unwrap_or(config.start_metric),
        }
    }

    /// Each with its own metric.
    fn by_metric(&self, standing: &[UplinkId], ipv6: bool) -> Family {
        let mut family = Family::default();
        let another_carries = standing.iter().any(|&id| self.carries(id, ipv6));
        for &id in standing {
            let metric = self.config.uplinks[id.index()].metric;
            match self.way(id, ipv6) {
                Some(_) if another_carries && !self.may_carry(id, ipv6) => {}
                Some(way) => family.place(metric, way.next_hop(), way.preferred_source),
                None if standing.len() == 1 => family.kept.push(metric),
                None => {}
            }
        }
        family
    }

    /// All that can be left by, the wanted one first and the others in their order. Places are counted over all members, so that one
    /// that comes or goes moves no other.
    fn in_order(&self, group: GroupId, standing: &[UplinkId], ipv6: bool) -> Family {
        let mut family = Family::default();
        if standing.is_empty() {
            return family;
        }
        let usable = |&&id: &&UplinkId| self.way(id, ipv6).is_some();
        let members: Vec<UplinkId> = self.members(group).collect();
        let wanted = standing
            .iter()
            .filter(usable)
            .find(|&&id| self.may_carry(id, ipv6))
            .or_else(|| standing.iter().find(usable))
            .or_else(|| members.iter().find(usable))
            .unwrap_or(&standing[0]);
        let others = members.iter().filter(|&id| id != wanted);
        for (rank, &id) in std::iter::once(wanted).chain(others).enumerate() {
            let metric = Metric(self.group(group).start_metric.0 + rank as u32);
            match self.way(id, ipv6) {
                Some(way) => family.place(metric, way.next_hop(), way.preferred_source),
                None if id == *wanted => family.kept.push(metric),
                None => {}
            }
        }
        family
    }

    /// With no uplink of a group up, a family whose route the last resort cannot carry leaves by the best that can be left by in it.
    fn last_resort(&self, group: GroupId, standing: &[UplinkId], ipv6: bool, family: &mut Family) {
        if standing.is_empty() || self.any_up(group) {
            return;
        }
        let ways = self
            .members(group)
            .filter_map(|id| Some((self.config.uplinks[id.index()].metric, self.way(id, ipv6)?)));
        if let Some((metric, way)) = ways.min_by_key(|(metric, _)| *metric) {
            family.place(metric, way.next_hop(), way.preferred_source);
        }
    }
}
