//! Routes that exist only while an uplink is up, for routing daemons to redistribute.

use ipnet::IpNet;

use crate::{
    config::AdvertiseKind,
    engine::{
        Engine, State,
        routes::{RouteSet, own_route},
    },
    network::NextHop,
    units::UplinkId,
};

impl Engine {
    /// The advertised routes of an uplink; none unless it is up.
    pub(super) fn advertised_routes(&self, id: UplinkId, set: &mut RouteSet) {
        let config = &self.config.uplinks[id.index()];
        if self.uplink(id).state_noted == State::Unknown {
            // After a restart what an earlier run advertised stays until its uplink is known.
            for advertise in &config.advertise {
                let places = advertise.prefixes.iter();
                set.held
                    .extend(places.map(|prefix| (advertise.table, *prefix)));
            }
        }
        if self.uplink(id).state_noted != State::Up {
            return;
        }
        for advertise in &config.advertise {
            for &prefix in &advertise.prefixes {
                let ipv6 = matches!(prefix, IpNet::V6(_));
                let (next_hop, source) = match (advertise.kind, self.way(id, ipv6)) {
                    (AdvertiseKind::Blackhole, _) => (NextHop::Blackhole, None),
                    (AdvertiseKind::Unreachable, _) => (NextHop::Unreachable, None),
                    (AdvertiseKind::Unicast, Some(way)) => (way.next_hop(), way.preferred_source),
                    (AdvertiseKind::Unicast, None) => continue,
                };
                let (table, metric, own) =
                    (advertise.table, advertise.metric, self.config.protocol);
                set.want(own_route(prefix, table, metric, own, next_hop, source));
            }
        }
    }
}
