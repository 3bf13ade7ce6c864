//! Fights about the routes of two uplinks.

use super::*;
use crate::{
    config::Config,
    engine::test_clock,
    network::{Address, DEFAULT_V4, Link, LinkLayer, Snapshot},
    units::{Ifindex, Metric, Protocol},
};

const TWO: &str = "[probe]\ntargets = [\"192.0.2.1\"]\n\
    [[uplink]]\nname = \"a\"\ninterface = \"wan2\"\ngateway = \"10.0.2.1\"\nmetric = 88\n\
    [[uplink]]\nname = \"b\"\ninterface = \"wan3\"\ngateway = \"10.0.3.1\"\nmetric = 89\n";

fn link(ifindex: u32) -> Link {
    Link {
        ifindex: Ifindex(ifindex),
        name: format!("wan{ifindex}"),
        alternative_names: Vec::new(),
        layer: LinkLayer::Ethernet([2, 0, 0, 0, 0, 1]),
        admin_up: true,
        carrier: true,
        is_port: false,
        mtu_bytes: 1500,
    }
}

fn address(ifindex: u32) -> Address {
    Address {
        ifindex: Ifindex(ifindex),
        address: [10, 0, ifindex as u8, 2].into(),
        prefix_len: 24,
        global: true,
        usable: true,
        secondary: false,
    }
}

fn route(ifindex: u32, metric: u32, protocol: u8) -> Route {
    Route {
        destination: DEFAULT_V4,
        table: TableId::MAIN,
        metric: Metric(metric),
        protocol: Protocol(protocol),
        next_hop: NextHop::Gateway {
            ifindex: Ifindex(ifindex),
            gateway: [10, 0, ifindex as u8, 1].into(),
            onlink: false,
        },
        preferred_source: None,
        wire: Vec::new(),
    }
}

fn engine(routes: &[Route]) -> Engine {
    let (config, _) = Config::parse(TWO, "test").unwrap();
    let mut engine = Engine::new(config, 7, test_clock());
    let snapshot = Snapshot {
        links: vec![link(2), link(3), link(4)],
        addresses: vec![address(2), address(3)],
        routes: routes.to_vec(),
        ..Snapshot::default()
    };
    engine.network(snapshot, test_clock());
    engine
}

fn deletion(route: &Route) -> Interference {
    Interference {
        deed: Deed::Deleted,
        route: route.clone(),
        port: 612,
    }
}

/// Deletes the first uplink's route so often, each time put back at once.
fn fight(engine: &mut Engine, times: usize, now: Instant) -> Vec<String> {
    let lost = route(2, 88, 136);
    let mut told = Vec::new();
    for _ in 0..times {
        told.extend(engine.interfered(&deletion(&lost), "ghost (pid 612)".to_owned(), now));
        engine.restored(&lost, now);
    }
    told
}

#[test]
fn a_fight_is_told_once_and_stays_in_status_for_a_minute() {
    let start = test_clock();
    let mut engine = engine(&[]);
    let text = |count| {
        format!(
            "own default route over wan2 was deleted {count} times in a minute by ghost (pid 612)"
        )
    };
    assert_eq!(fight(&mut engine, 2, start), Vec::<String>::new());
    assert_eq!(engine.fight_warnings().count(), 0);
    assert_eq!(fight(&mut engine, 3, start), [text(3)]);
    let told: Vec<String> = engine.fight_warnings().collect();
    assert_eq!(told, [text(5)]);
    let later = start + MINUTE;
    engine.network(engine.snapshot().clone(), later);
    assert_eq!(engine.fight_warnings().count(), 0);
}

#[test]
fn in_a_fight_a_route_waits_while_another_stands() {
    let start = test_clock();
    let lost = route(2, 88, 136);
    let mut engine = engine(&[route(3, 89, 136)]);
    let until = |engine: &Engine| engine.restoration_held(&lost, start);
    fight(&mut engine, 9, start);
    assert_eq!(until(&engine), None, "many losses are mended at once");
    fight(&mut engine, 1, start);
    let soon = Duration::from_millis(500);
    assert_eq!(until(&engine), Some(start + soon));
    assert_eq!(engine.restoration_held(&lost, start + soon), None);
    fight(&mut engine, 20, start);
    assert_eq!(until(&engine), Some(start + Duration::from_secs(10)));
    let neighbour = route(3, 89, 136);
    assert_eq!(engine.restoration_held(&neighbour, start), None);
}

#[test]
fn the_last_default_is_put_back_at_once() {
    let start = test_clock();
    let lost = route(2, 88, 136);
    let unreachable = Route {
        next_hop: NextHop::Other("unreachable".to_owned()),
        ..route(4, 5, 4)
    };
    let selective = Route {
        next_hop: NextHop::Selective("for packets with tos 0x10".to_owned()),
        ..route(4, 5, 4)
    };
    for (routes, held) in [
        (vec![], false),
        (vec![unreachable], false),
        (vec![selective], false),
        (vec![route(9, 5, 4)], false),
        (vec![route(4, 5, 4)], true),
    ] {
        let mut engine = engine(&routes);
        fight(&mut engine, 30, start);
        let until = engine.restoration_held(&lost, start);
        assert_eq!(until.is_some(), held, "{routes:?}");
    }
    // What stands leads to an uplink without carrier.
    let mut engine = engine(&[route(3, 89, 136)]);
    let mut snapshot = engine.snapshot().clone();
    snapshot.links[1].carrier = false;
    engine.network(snapshot, start);
    fight(&mut engine, 30, start);
    assert_eq!(engine.restoration_held(&lost, start), None);
}

#[test]
fn a_replaced_route_counts_where_one_of_pingus_belongs() {
    let start = test_clock();
    let mut engine = engine(&[]);
    engine.rankings[0].standing = vec![crate::units::UplinkId(0)];
    let mut told = Vec::new();
    for metric in [88, 88, 88, 77, 77, 77] {
        let what = Interference {
            deed: Deed::Replaced,
            ..deletion(&route(4, metric, 16))
        };
        told.extend(engine.interfered(&what, "dhclient (pid 77)".to_owned(), start));
    }
    assert_eq!(
        told,
        [
            "own default route with metric 88 was replaced 3 times in a minute by dhclient (pid 77), with one of protocol 16"
        ]
    );
}

#[test]
fn what_is_remembered_is_bounded() {
    let start = test_clock();
    let mut engine = engine(&[]);
    for metric in 0..1000 {
        let what = deletion(&route(2, metric, 136));
        engine.interfered(&what, String::new(), start);
    }
    assert_eq!(engine.fights.0.len(), PLACES_MAX);
    fight(&mut engine, 1000, start);
    let times = engine.fights.0.values().map(|fight| fight.times.len());
    assert_eq!(times.max(), Some(DEEDS_MAX));
}
