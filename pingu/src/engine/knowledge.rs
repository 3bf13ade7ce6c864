//! What is known of gateways: the stable shape of the line that SIGUSR1 prints.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    config::Gateway,
    engine::{Engine, GatewayHint, way_out::WayOut},
    units::UplinkId,
};

/// What is known of gateways. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knowledge {
    /// By the name of the uplink.
    pub gateways: BTreeMap<String, GatewayKnowledge>,
    /// The uplink that the kernel's default route leaves by; null when it leaves by none of them.
    pub active: Option<String>,
    /// The pinned uplink; null where none is.
    pub pinned: Option<String>,
}

/// What is known of one uplink's gateways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayKnowledge {
    /// Its interface.
    pub interface: String,
    /// The next hop of IPv4 (an IPv6 address for `via inet6`); null where none is known, or the device itself is it.
    pub ipv4: Option<IpAddr>,
    /// The next hop of IPv6.
    pub ipv6: Option<IpAddr>,
    /// The device itself is the next hop of a family.
    pub device: bool,
    /// The addresses that probes leave from; null where the family cannot be left by at the moment.
    pub source: Families<Option<IpAddr>>,
    /// Where the next hops are known from; null where there is none.
    pub origin: Families<Option<Origin>>,
}

/// A value for each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Families<T> {
    /// IPv4.
    pub ipv4: T,
    /// IPv6.
    pub ipv6: T,
}

/// Where a next hop is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The configuration gives it, or says that the device is it.
    Configuration,
    /// Somebody's route teaches it.
    Route,
    /// A route taught it that pingu has taken out of the table.
    Adopted,
    /// A route taught it that is gone, in this run or an earlier one.
    Memory,
}

/// One family's next hop.
#[derive(Clone, Copy)]
struct Hop {
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    origin: Origin,
}

impl Engine {
    /// What is known of gateways.
    pub fn knowledge(&self) -> Knowledge {
        let ids = (0..self.uplinks.len()).map(|index| UplinkId(index as u16));
        let name = |id: UplinkId| self.config.uplinks[id.index()].name.clone();
        Knowledge {
            gateways: ids
                .map(|id| (name(id), self.gateway_knowledge(id)))
                .collect(),
            active: self.active().map(name),
            pinned: self.pinned().map(name),
        }
    }

    fn gateway_knowledge(&self, id: UplinkId) -> GatewayKnowledge {
        let hints = self.hints.of(id);
        let ways = &self.uplinks[id.index()].ways;
        let [v4, v6] = [0, 1].map(|family| match (&ways[family], hints[family]) {
            (Ok(way), _) => Some(self.hop(id, way)),
            (Err(_), Some(hint)) => Some(remembered(hint)),
            (Err(_), None) => None,
        });
        let gateway = |hop: Option<Hop>| hop.and_then(|hop| hop.gateway);
        let source = |hop: Option<Hop>| hop.and_then(|hop| hop.source);
        let origin = |hop: Option<Hop>| hop.map(|hop| hop.origin);
        let is_device = |hop: Option<Hop>| hop.is_some_and(|hop| hop.gateway.is_none());
        GatewayKnowledge {
            interface: self.config.uplinks[id.index()].interface.clone(),
            ipv4: gateway(v4),
            ipv6: gateway(v6),
            device: is_device(v4) || is_device(v6),
            source: Families {
                ipv4: source(v4),
                ipv6: source(v6),
            },
            origin: Families {
                ipv4: origin(v4),
                ipv6: origin(v6),
            },
        }
    }

    fn hop(&self, id: UplinkId, way: &WayOut) -> Hop {
        let own = self.config.protocol;
        let mut routes = self.snapshot.routes.iter();
        let origin = match self.config.uplinks[id.index()].gateway {
            Gateway::Static { .. } | Gateway::Device => Origin::Configuration,
            Gateway::Auto
                if routes.any(|route| route.protocol != own && way.is_taught_by(route)) =>
            {
                Origin::Route
            }
            Gateway::Auto if self.adopted.iter().any(|route| way.is_taught_by(route)) => {
                Origin::Adopted
            }
            Gateway::Auto => Origin::Memory,
        };
        Hop {
            gateway: way.gateway,
            source: Some(way.source),
            origin,
        }
    }
}

fn remembered(hint: &GatewayHint) -> Hop {
    Hop {
        gateway: hint.gateway,
        source: None,
        origin: Origin::Memory,
    }
}
