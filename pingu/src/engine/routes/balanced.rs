//! Mode `balance`: one route by a group of nexthop objects, which one message changes for every destination at once.

use crate::{
    engine::{
        Engine,
        routes::{RouteSet, grouped::Family},
    },
    network::{NextHop, Nexthop, NexthopKind},
    units::{GroupId, NexthopId, UplinkId},
};

/// Numbers that an uplink takes of the configured range: one for each family.
const IDS_PER_UPLINK: u32 = 2;

impl Engine {
    /// The number of an uplink's own next hop.
    pub(super) fn single_id(&self, id: UplinkId, ipv6: bool) -> NexthopId {
        let place = IDS_PER_UPLINK * u32::from(id.0) + u32::from(ipv6);
        NexthopId(self.config.nexthop_base.0 + place)
    }

    /// The number of a group of next hops: behind those of the uplinks.
    fn group_id(&self, group: GroupId, ipv6: bool) -> NexthopId {
        let uplinks = IDS_PER_UPLINK * crate::config::UPLINKS_MAX as u32;
        let place = uplinks + IDS_PER_UPLINK * u32::from(group.0) + u32::from(ipv6);
        NexthopId(self.config.nexthop_base.0 + place)
    }

    /// One route over all that stand, by their weights, down to the last of them.
    pub(super) fn balanced(
        &self,
        group: GroupId,
        standing: &[UplinkId],
        ipv6: bool,
        set: &mut RouteSet,
    ) -> Family {
        let mut family = Family::default();
        let usable = || {
            standing
                .iter()
                .filter_map(|&id| Some((id, self.way(id, ipv6)?)))
        };
        let another_carries = usable().any(|(id, _)| self.carries(id, ipv6));
        let mut members = Vec::new();
        let carrying = usable().filter(|&(id, _)| !another_carries || self.carries(id, ipv6));
        for (id, way) in carrying.chain(self.last_member(group, standing, ipv6)) {
            let single = self.single_id(id, ipv6);
            if members.iter().any(|(member, _)| *member == single) {
                continue;
            }
            set.nexthops.push(Nexthop {
                id: single,
                protocol: self.config.protocol,
                ipv6,
                kind: NexthopKind::Single(way.next_hop()),
            });
            members.push((single, self.config.uplinks[id.index()].weight));
        }
        if members.is_empty() {
            return family;
        }
        let id = self.group_id(group, ipv6);
        set.nexthops.push(Nexthop {
            id,
            protocol: self.config.protocol,
            ipv6: false,
            kind: NexthopKind::Group(members),
        });
        family.place(self.group(group).start_metric, NextHop::Object(id), None);
        family
    }

    /// With nothing that stands to be left by and no uplink up, the first that can be left by.
    fn last_member(
        &self,
        group: GroupId,
        standing: &[UplinkId],
        ipv6: bool,
    ) -> Option<(UplinkId, &crate::engine::way_out::WayOut)> {
        let stands = standing.iter().any(|&id| self.way(id, ipv6).is_some());
        if standing.is_empty() || stands || self.any_up(group) {
            return None;
        }
        self.members(group)
            .find_map(|id| Some((id, self.way(id, ipv6)?)))
    }
}
