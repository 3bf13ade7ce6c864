//! What an earlier run knew, against what the table says.

use super::*;

fn hint(gateway: &str, address: &str) -> GatewayHint {
    let address: IpAddr = address.parse().expect("an address");
    GatewayHint {
        uplink: "fibre".to_owned(),
        interface: "wan0".to_owned(),
        ipv6: address.is_ipv6(),
        gateway: Some(gateway.parse().expect("an address")),
        onlink: false,
        preferred_source: None,
        address,
    }
}

fn remembering(
    snapshot: &Snapshot,
    hint: &GatewayHint,
    before: Option<&WayOut>,
) -> Result<WayOut, Obstacle> {
    let known = Known {
        before,
        hint: Some(hint),
        ..Known::default()
    };
    find(&uplink(Gateway::Auto), hint.ipv6, snapshot, OWN, known)
}

#[test]
fn an_earlier_run_is_believed_only_where_nothing_else_is_known_and_its_address_is_there() {
    let old = hint("192.0.2.1", "192.0.2.7");
    let gateway = |routes: Vec<Route>| gateway_of(remembering(&snapshot(routes), &old, None));
    assert_eq!(gateway(vec![]).as_deref(), Some("192.0.2.1"));
    assert_eq!(
        gateway(vec![route(16, 100, "192.0.2.2")]).as_deref(),
        Some("192.0.2.2"),
        "a route teaches another"
    );
    assert_eq!(
        gateway(vec![route(136, 88, "192.0.2.3")]).as_deref(),
        Some("192.0.2.3"),
        "a left-over own route is as new as the last run, the hint may be older"
    );

    let mut seen = snapshot(vec![]);
    for a in &mut seen.addresses {
        a.usable = false;
    }
    assert_eq!(remembering(&seen, &old, None), Err(Obstacle::NoGateway));
    let other = hint("192.0.2.1", "192.0.2.8");
    let seen = snapshot(vec![]);
    assert_eq!(remembering(&seen, &other, None), Err(Obstacle::NoGateway));
    let mut elsewhere = snapshot(vec![]);
    for a in &mut elsewhere.addresses {
        a.ifindex = Ifindex(3);
    }
    assert_eq!(
        remembering(&elsewhere, &old, None),
        Err(Obstacle::NoGateway),
        "the address is on another interface"
    );
    let asking = GatewayHint {
        preferred_source: Some("203.0.113.7".parse().expect("an address")),
        ..old.clone()
    };
    assert_eq!(remembering(&seen, &asking, None), Err(Obstacle::NoGateway));
}

#[test]
fn a_hint_says_nothing_once_this_run_has_known_better() {
    let before =
        auto(&snapshot(vec![route(16, 100, "198.51.100.1")]), false, None).expect("learned");
    let mut seen = snapshot(vec![]);
    seen.addresses.retain(|a| a.address != before.source);
    let old = hint("192.0.2.1", "192.0.2.7");
    assert_eq!(
        remembering(&seen, &old, Some(&before)),
        Err(Obstacle::NoGateway),
        "the lease has ended"
    );
}

#[test]
fn an_ipv6_router_is_not_remembered_beyond_its_route() {
    let old = hint("fe80::1", "2001:db8::7");
    assert_eq!(
        remembering(&snapshot(vec![]), &old, None),
        Err(Obstacle::NoGateway)
    );
    let both = vec![route(9, 100, "fe80::2"), route(9, 1024, "fe80::1")];
    let way = remembering(&snapshot(both), &old, None);
    assert_eq!(
        gateway_of(way).as_deref(),
        Some("fe80::1"),
        "of several, the one that was in use stays in use"
    );
}

#[test]
fn after_a_restart_an_own_table_or_nexthop_object_tells_the_gateway() {
    let mut config = uplink(Gateway::Auto);
    let mut left = route(136, 1, "192.0.2.5");
    left.table = TableId(1001);
    let object = |id: u32, protocol: u8, ifindex: u32| network::Nexthop {
        id: crate::units::NexthopId(id),
        protocol: Protocol(protocol),
        ipv6: false,
        kind: NexthopKind::Single(NextHop::Gateway {
            ifindex: Ifindex(ifindex),
            gateway: [192, 0, 2, id as u8].into(),
            onlink: false,
        }),
    };
    let mut seen = snapshot(vec![left]);
    assert_eq!(auto(&seen, false, None), Err(Obstacle::NoGateway));
    seen.nexthops = vec![object(6, 4, 2), object(7, 136, 3), object(8, 136, 2)];
    assert_eq!(
        gateway_of(auto(&seen, false, None)).as_deref(),
        Some("192.0.2.8")
    );
    config.table = Some(crate::config::PolicyTable {
        id: TableId(1001),
        name: "fibre".to_owned(),
    });
    let found = find(&config, false, &seen, OWN, Known::default());
    assert_eq!(gateway_of(found).as_deref(), Some("192.0.2.5"));
}
