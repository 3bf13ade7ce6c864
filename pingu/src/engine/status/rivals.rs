//! Routes of others that outrank pingu's.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::{engine::Engine, network::Route, units::TableId};

impl Engine {
    /// Routes of others that outrank wanted ones. Only defaults of others are known, which are few beside ten thousand own routes.
    pub(super) fn rivalries(&self) -> Vec<String> {
        let own = self.config.protocol;
        let is_rival = |route: &&Route| route.is_for_all() && route.protocol != own;
        let mut rivals = self.snapshot.routes.iter().filter(is_rival).peekable();
        if rivals.peek().is_none() {
            return Vec::new();
        }
        let rivals: Vec<&Route> = rivals.collect();
        let set = self.route_set();
        // Only the wanted ones at the rivals' destinations matter, and few are there.
        let mut contested: HashMap<(TableId, IpNet), Vec<&Route>> = HashMap::new();
        for rival in &rivals {
            contested
                .entry((rival.table, rival.destination))
                .or_default();
        }
        for wanted in &set.wanted {
            if let Some(there) = contested.get_mut(&(wanted.table, wanted.destination)) {
                there.push(wanted);
            }
        }
        let outranked = |rival: &Route| {
            // The first that it outranks: wanted routes come in the order of their metrics.
            let there = &contested[&(rival.table, rival.destination)];
            let wanted = there.iter().find(|wanted| rival.metric <= wanted.metric)?;
            Some(rivalry(rival, wanted))
        };
        rivals.into_iter().filter_map(outranked).collect()
    }
}

fn rivalry(rival: &Route, wanted: &Route) -> String {
    let family = if rival.ipv6() { "IPv6" } else { "IPv4" };
    if rival.metric == wanted.metric {
        format!(
            "metric {} is taken by an {family} default route of protocol {}: pingu leaves it alone and cannot add its own",
            rival.metric, rival.protocol
        )
    } else {
        format!(
            "an {family} default route of protocol {} with metric {} outranks pingu's (metric {}): traffic follows it whatever \
             pingu decides; give it a higher metric, or set learned_routes = \"adopt\" if it was learned over an uplink",
            rival.protocol, rival.metric, wanted.metric
        )
    }
}
