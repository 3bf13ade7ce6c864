//! Route sets of small configurations.

use super::*;
use crate::{
    config::Config,
    engine::test_clock,
    network::{Address, Link, LinkLayer, Neighbour, NeighbourState, Snapshot},
};

const TWO: &str = "[probe]\ntargets = [\"192.0.2.1\"]\n\
    [[uplink]]\nname = \"a\"\ninterface = \"wan2\"\ngateway = [\"10.0.2.1\", \"fe80::1\"]\nmetric = 1\n\
    [[uplink]]\nname = \"b\"\ninterface = \"wan3\"\ngateway = [\"10.0.3.1\", \"fe80::1\"]\nmetric = 2\n";

fn link(ifindex: u32) -> Link {
    Link {
        ifindex: Ifindex(ifindex),
        name: format!("wan{ifindex}"),
        layer: LinkLayer::Ethernet([2, 0, 0, 0, 0, 1]),
        admin_up: true,
        carrier: true,
        is_port: false,
        mtu_bytes: 1500,
        alternative_names: Vec::new(),
    }
}

fn address(ifindex: u32, address: &str) -> Address {
    Address {
        ifindex: Ifindex(ifindex),
        address: address.parse().unwrap(),
        prefix_len: 24,
        global: true,
        usable: true,
        secondary: false,
    }
}

#[test]
fn a_last_resort_that_lost_one_family_does_not_take_it_from_the_others() {
    let (config, _) = Config::parse(TWO, "test").unwrap();
    let mut engine = Engine::new(config, 7, test_clock());
    let snapshot = Snapshot {
        links: vec![link(2), link(3)],
        addresses: vec![address(2, "2001:db8::2"), address(3, "10.0.3.2")],
        ..Snapshot::default()
    };
    engine.network(snapshot, test_clock());
    engine.rankings[0].standing.clear();
    assert_eq!(engine.route_set().wanted, [], "nothing has stood yet");
    engine.rankings[0].standing = vec![UplinkId(0)];
    let set = engine.route_set();
    let places: Vec<(bool, u32)> = set
        .wanted
        .iter()
        .map(|route| (route.ipv6(), route.metric.0))
        .collect();
    assert_eq!(places, [(false, 2), (true, 1)]);
    assert_eq!(set.held.len(), 0);
}

#[test]
fn a_neighbour_that_was_flushed_is_asked_for_at_once() {
    let (config, _) = Config::parse(TWO, "test").unwrap();
    let mut engine = Engine::new(config, 7, test_clock());
    let neighbour = |state| Neighbour {
        ifindex: Ifindex(3),
        address: [10, 0, 3, 1].into(),
        state,
    };
    let snapshot = Snapshot {
        links: vec![link(3)],
        addresses: vec![address(3, "10.0.3.2")],
        neighbours: vec![neighbour(NeighbourState::Usable([2; 6]))],
        ..Snapshot::default()
    };
    let now = test_clock();
    engine.network(snapshot, now);
    engine.solicitations(now);
    assert_eq!(engine.solicitations(now), [], "asked just now");
    engine.neighbour(&neighbour(NeighbourState::Failed), now);
    assert_eq!(
        engine.solicitations(now),
        [(Ifindex(3), [10, 0, 3, 1].into())]
    );
}

#[test]
fn a_family_that_the_pinned_uplink_cannot_carry_goes_as_if_it_were_not_pinned() {
    let (config, _) = Config::parse(TWO, "test").unwrap();
    let mut engine = Engine::new(config, 7, test_clock());
    let snapshot = Snapshot {
        links: vec![link(2), link(3)],
        addresses: vec![
            address(2, "10.0.2.2"),
            address(2, "2001:db8::2"),
            address(3, "10.0.3.2"),
        ],
        ..Snapshot::default()
    };
    engine.network(snapshot, test_clock());
    engine.rankings[0].standing = vec![UplinkId(0)];
    engine.pin(Some(UplinkId(1)), test_clock());
    let set = engine.route_set();
    let places: Vec<(bool, u32)> = set
        .wanted
        .iter()
        .map(|route| (route.ipv6(), route.metric.0))
        .collect();
    assert_eq!(places, [(false, 2), (true, 1)]);
}
