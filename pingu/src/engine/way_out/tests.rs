//! Learning gateways and choosing sources from small snapshots.

use super::*;
use crate::{
    config::{
        BurstConfig, Handshakes, HealthConfig, Limits, LossLimit, PassiveConfig, ProbeConfig,
        ProbeMode, Quorum, Rule, Sources,
    },
    network::{NexthopKind, default_of},
    units::{GroupId, Metric, TableId},
};
use std::time::Duration;

mod hints;
mod unnumbered;

const LIMITS: Limits = Limits {
    loss: LossLimit::Probes(0),
    max_delay: Duration::from_secs(1),
    max_jitter: None,
};

const OWN: Protocol = Protocol(136);

fn uplink(gateway: Gateway) -> UplinkConfig {
    UplinkConfig {
        name: "fibre".to_owned(),
        interface: "wan0".to_owned(),
        gateway,
        group: GroupId(0),
        weight: 1,
        source: Sources::default(),
        fwmark: None,
        table: None,
        checks: Vec::new(),
        advertise: Vec::new(),
        metric: Metric(88),
        probe: ProbeConfig {
            targets: vec!["192.0.2.99".parse().expect("an address")],
            mode: ProbeMode::Burst(BurstConfig {
                suspect_interval: None,
                period: Duration::from_secs(1),
                count: 1,
                spacing: Duration::from_millis(1),
            }),
            timeout: Duration::from_secs(1),
            size_bytes: 56,
            reflect: false,
            passive: PassiveConfig::default(),
        },
        health: HealthConfig {
            fail: LIMITS,
            recover: LIMITS,
            rule: Rule::InARow { fall: 1, rise: 1 },
            quorum: Quorum::Any,
            hold_down: Duration::ZERO,
            handshakes: Handshakes::Report,
        },
    }
}

fn address(text: &str, prefix_len: u8) -> Address {
    let address = text.parse().expect("an address");
    Address {
        ifindex: Ifindex(2),
        address,
        prefix_len,
        global: true,
        usable: true,
        secondary: false,
    }
}

fn route(protocol: u8, metric: u32, gateway: &str) -> Route {
    let gateway: IpAddr = gateway.parse().expect("an address");
    Route {
        destination: default_of(gateway.is_ipv6()),
        table: TableId::MAIN,
        metric: Metric(metric),
        protocol: Protocol(protocol),
        next_hop: NextHop::Gateway {
            ifindex: Ifindex(2),
            gateway,
            onlink: false,
        },
        preferred_source: None,
        wire: Vec::new(),
    }
}

fn snapshot(routes: Vec<Route>) -> Snapshot {
    Snapshot {
        links: vec![Link {
            ifindex: Ifindex(2),
            name: "wan0".to_owned(),
            layer: LinkLayer::Ethernet([2, 0, 0, 0, 0, 1]),
            admin_up: true,
            carrier: true,
            is_port: false,
            mtu_bytes: 1500,
            alternative_names: Vec::new(),
        }],
        addresses: vec![
            address("198.51.100.7", 24),
            address("192.0.2.7", 24),
            address("2001:db8::7", 64),
        ],
        routes,
        neighbours: Vec::new(),
        ..Snapshot::default()
    }
}

fn find(
    uplink: &UplinkConfig,
    ipv6: bool,
    snapshot: &Snapshot,
    own: Protocol,
    known: Known<'_>,
) -> Result<WayOut, Obstacle> {
    let mut links = snapshot.links.iter();
    let link = links.find(|link| link.is_called(&uplink.interface));
    super::find(uplink, link, ipv6, snapshot, own, known)
}

fn gateway_of(found: Result<WayOut, Obstacle>) -> Option<String> {
    found
        .ok()
        .and_then(|way| way.gateway)
        .map(|gateway| gateway.to_string())
}

fn auto(snapshot: &Snapshot, ipv6: bool, before: Option<&WayOut>) -> Result<WayOut, Obstacle> {
    let known = Known {
        before,
        ..Known::default()
    };
    find(&uplink(Gateway::Auto), ipv6, snapshot, OWN, known)
}

#[test]
fn the_gateway_is_learned_from_the_foreign_default_with_the_lowest_metric() {
    let seen = snapshot(vec![
        route(16, 1002, "192.0.2.2"),
        route(16, 100, "192.0.2.1"),
        route(136, 1, "192.0.2.3"),
    ]);
    assert_eq!(
        gateway_of(auto(&seen, false, None)).as_deref(),
        Some("192.0.2.1")
    );
}

#[test]
fn the_source_is_in_the_gateways_network() {
    let seen = snapshot(vec![route(16, 100, "192.0.2.1")]);
    assert_eq!(
        auto(&seen, false, None).map(|way| way.source),
        Ok("192.0.2.7".parse().expect("an address"))
    );
}

#[test]
fn a_known_gateway_is_kept_while_its_route_is_there() {
    let before = auto(&snapshot(vec![route(16, 100, "192.0.2.2")]), false, None).expect("a way");
    let seen = snapshot(vec![route(16, 1, "192.0.2.1"), route(16, 100, "192.0.2.2")]);
    assert_eq!(
        gateway_of(auto(&seen, false, Some(&before))).as_deref(),
        Some("192.0.2.2")
    );
}

#[test]
fn an_ipv4_gateway_outlives_its_route_but_not_its_address() {
    let before = auto(&snapshot(vec![route(16, 100, "192.0.2.1")]), false, None).expect("a way");
    let mut seen = snapshot(Vec::new());
    assert_eq!(
        gateway_of(auto(&seen, false, Some(&before))).as_deref(),
        Some("192.0.2.1")
    );
    seen.addresses.retain(|a| a.address != before.source);
    assert_eq!(auto(&seen, false, Some(&before)), Err(Obstacle::NoGateway));
}

#[test]
fn an_ipv6_router_that_takes_itself_back_is_forgotten() {
    let before = auto(&snapshot(vec![route(9, 1024, "fe80::1")]), true, None).expect("a way");
    assert_eq!(
        auto(&snapshot(Vec::new()), true, Some(&before)),
        Err(Obstacle::NoGateway)
    );
}

#[test]
fn after_a_restart_an_own_leftover_tells_the_gateway() {
    let seen = snapshot(vec![route(136, 88, "192.0.2.1")]);
    assert_eq!(
        gateway_of(auto(&seen, false, None)).as_deref(),
        Some("192.0.2.1")
    );
}

#[test]
fn each_obstacle_is_named() {
    let mut seen = snapshot(Vec::new());
    assert_eq!(auto(&seen, false, None), Err(Obstacle::NoGateway));
    assert_eq!(
        find(
            &uplink(Gateway::Device),
            true,
            &Snapshot {
                addresses: Vec::new(),
                ..seen.clone()
            },
            OWN,
            Known::default()
        ),
        Err(Obstacle::NoAddress)
    );
    seen.links[0].is_port = true;
    assert_eq!(auto(&seen, false, None), Err(Obstacle::Port));
    seen.links[0].carrier = false;
    assert_eq!(auto(&seen, false, None), Err(Obstacle::NoCarrier));
    seen.links[0].admin_up = false;
    assert_eq!(auto(&seen, false, None), Err(Obstacle::AdminDown));
    seen.links[0].layer = LinkLayer::Other(772);
    assert_eq!(
        auto(&seen, false, None),
        Err(Obstacle::UnsupportedLink(772))
    );
    seen.links.clear();
    assert_eq!(auto(&seen, false, None), Err(Obstacle::NoInterface));
}

#[test]
fn a_prefix_of_any_length_tells_networks_apart() {
    let a: IpAddr = "10.0.0.1".parse().expect("an address");
    let b: IpAddr = "10.0.0.2".parse().expect("an address");
    assert!(same_network(a, b, 0) && same_network(a, b, 30));
    assert!(!same_network(a, b, 31) && !same_network(a, b, 32));
    assert!(same_network(a, a, 32));
}

#[test]
fn a_route_that_stands_outranks_one_that_was_adopted() {
    let adopted = [route(16, 50, "198.51.100.1")];
    let mut renewed = route(16, 60, "198.51.100.254");
    renewed.preferred_source = Some("192.0.2.7".parse().expect("an address"));
    let config = uplink(Gateway::Auto);
    let known = |before| Known {
        adopted: &adopted,
        before,
        hint: None,
    };
    let old = find(&config, false, &snapshot(vec![]), OWN, known(None)).expect("adopted");
    assert_eq!(
        old.gateway,
        Some("198.51.100.1".parse().expect("an address"))
    );
    let seen = snapshot(vec![renewed]);
    let new = find(&config, false, &seen, OWN, known(Some(&old))).expect("renewed");
    assert_eq!(
        new.gateway,
        Some("198.51.100.254".parse().expect("an address"))
    );
    assert_eq!(
        new.source,
        "192.0.2.7".parse::<IpAddr>().expect("an address")
    );
}

#[test]
fn a_given_gateway_outside_every_network_is_onlink() {
    for (gateway, onlink) in [("203.0.113.1", true), ("198.51.100.1", false)] {
        let gateway = Gateway::Static {
            v4: Some(gateway.parse().expect("an address")),
            v6: None,
        };
        let way = find(
            &uplink(gateway),
            false,
            &snapshot(vec![]),
            OWN,
            Known::default(),
        );
        assert_eq!(way.expect("a way").onlink, onlink, "{gateway:?}");
    }
    let link_local = Gateway::Static {
        v4: None,
        v6: Some("fe80::1".parse().expect("an address")),
    };
    let way = find(
        &uplink(link_local),
        true,
        &snapshot(vec![]),
        OWN,
        Known::default(),
    );
    assert!(!way.expect("a way").onlink);
}

#[test]
fn a_unique_local_address_is_no_source_towards_the_internet_nor_the_reverse() {
    let mut seen = snapshot(vec![route(9, 1024, "fe80::1")]);
    seen.addresses.insert(0, address("fd00::7", 64));
    let way = |target: &str| {
        let mut config = uplink(Gateway::Auto);
        config.probe.targets = vec![target.parse().expect("an address")];
        find(&config, true, &seen, OWN, Known::default())
            .expect("a way")
            .source
    };
    assert_eq!(way("2001:db8:ff::1").to_string(), "2001:db8::7");
    assert_eq!(way("fd00:1::1").to_string(), "fd00::7");
}

#[test]
fn nothing_is_asked_over_ipv6_before_the_link_local_address_is_settled() {
    let mut seen = snapshot(vec![route(9, 1024, "fe80::1")]);
    let mut own = address("fe80::7", 64);
    (own.global, own.usable) = (false, false);
    seen.addresses.push(own);
    assert_eq!(auto(&seen, true, None), Err(Obstacle::NoAddress));
    seen.addresses.last_mut().expect("just added").usable = true;
    assert!(auto(&seen, true, None).is_ok());
}

/// A default of somebody else's with several next hops: interface and gateway of each.
fn several(metric: u32, hops: &[(u32, &str)]) -> Route {
    let first = route(4, metric, hops[0].1);
    let hops = hops.iter().map(|(ifindex, gateway)| network::Hop {
        ifindex: Ifindex(*ifindex),
        gateway: Some(gateway.parse().expect("an address")),
        onlink: false,
    });
    let (what, hops) = ("multipath".to_owned(), hops.collect());
    Route {
        next_hop: NextHop::Several { what, hops },
        ..first
    }
}

#[test]
fn every_next_hop_over_the_interface_is_a_gateway_to_learn() {
    let first = several(
        50,
        &[(3, "203.0.113.1"), (2, "192.0.2.1"), (2, "192.0.2.2")],
    );
    let second = route(16, 100, "192.0.2.3");
    let seen = snapshot(vec![second.clone(), first.clone()]);
    let before = auto(&seen, false, None);
    assert_eq!(gateway_of(before).as_deref(), Some("192.0.2.1"));
    // Whichever of them is known is kept while it is taught.
    for known in ["192.0.2.2", "192.0.2.3"] {
        let before = auto(&snapshot(vec![route(16, 1, known)]), false, None).expect("a way");
        let kept = auto(&seen, false, Some(&before));
        assert_eq!(gateway_of(kept).as_deref(), Some(known));
    }
    let before = auto(&snapshot(vec![route(16, 1, "192.0.2.9")]), false, None).expect("a way");
    let kept = auto(&seen, false, Some(&before));
    assert_eq!(gateway_of(kept).as_deref(), Some("192.0.2.1"));
    // Routers that the kernel shows as one route.
    let routers = snapshot(vec![several(1024, &[(2, "fe80::1"), (2, "fe80::2")])]);
    let before = auto(&snapshot(vec![route(9, 1024, "fe80::2")]), true, None).expect("a way");
    let kept = auto(&routers, true, Some(&before));
    assert_eq!(gateway_of(kept).as_deref(), Some("fe80::2"));
    assert_eq!(
        gateway_of(auto(&routers, true, None)).as_deref(),
        Some("fe80::1")
    );
}

#[test]
fn a_known_gateway_that_is_taught_with_another_source_is_kept_with_it() {
    let mut renewed = route(16, 100, "192.0.2.2");
    let before = auto(&snapshot(vec![renewed.clone()]), false, None).expect("a way");
    renewed.preferred_source = Some("192.0.2.7".parse().expect("an address"));
    let seen = snapshot(vec![route(16, 1, "192.0.2.1"), renewed.clone()]);
    let way = auto(&seen, false, Some(&before)).expect("a way");
    assert_eq!(gateway_of(Ok(way)).as_deref(), Some("192.0.2.2"));
    assert_eq!(way.preferred_source, renewed.preferred_source);
}

#[test]
fn routes_for_some_packets_teach_nothing() {
    let mut selective = route(16, 1, "192.0.2.1");
    selective.next_hop = NextHop::Selective("for packets with tos 0x10".to_owned());
    let seen = snapshot(vec![selective]);
    assert_eq!(auto(&seen, false, None), Err(Obstacle::NoGateway));
}
