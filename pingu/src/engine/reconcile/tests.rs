//! Plans for small tables.

use super::*;
use crate::{
    network::{DEFAULT_V4, DEFAULT_V6, NextHop},
    units::{Ifindex, TableId},
};

mod ownership;

const OWN: Protocol = Protocol(136);
const DHCP: Protocol = Protocol(16);

fn route(protocol: Protocol, metric: u32, ifindex: u32, gateway: &str) -> Route {
    Route {
        destination: DEFAULT_V4,
        table: TableId::MAIN,
        metric: Metric(metric),
        protocol,
        next_hop: NextHop::Gateway {
            ifindex: Ifindex(ifindex),
            gateway: gateway.parse().expect("an address"),
            onlink: false,
        },
        preferred_source: None,
        wire: Vec::new(),
    }
}

fn wanted(routes: &[Route]) -> RouteSet {
    RouteSet {
        wanted: routes.to_vec(),
        ..RouteSet::default()
    }
}

/// What a look at a kernel with these routes shows.
fn table(routes: &[Route]) -> Snapshot {
    Snapshot {
        routes: routes.to_vec(),
        ..Snapshot::default()
    }
}

#[test]
fn in_sync_nothing_is_written() {
    let own = route(OWN, 88, 2, "192.0.2.1");
    let actual = [own.clone(), route(DHCP, 1002, 2, "192.0.2.1")];
    assert_eq!(plan(&table(&actual), &wanted(&[own]), OWN), Plan::default());
}

#[test]
fn a_deletion_waits_until_the_addition_is_seen() {
    let fibre = route(OWN, 88, 2, "192.0.2.1");
    let lte = route(OWN, 89, 3, "198.51.100.1");
    let desired = wanted(std::slice::from_ref(&lte));
    let made = plan(&table(std::slice::from_ref(&fibre)), &desired, OWN);
    assert_eq!(made.changes, [Change::Add(lte.clone())]);
    let made = plan(&table(&[fibre.clone(), lte]), &desired, OWN);
    assert_eq!(made.changes, [Change::Delete(fibre)]);
}

#[test]
fn a_new_gateway_stands_beside_the_old_one_before_that_goes() {
    let before = route(OWN, 88, 2, "192.0.2.1");
    let after = route(OWN, 88, 2, "192.0.2.254");
    let desired = wanted(std::slice::from_ref(&after));
    let made = plan(&table(std::slice::from_ref(&before)), &desired, OWN);
    assert_eq!(made.changes, [Change::AddBeside(after.clone())]);
    let made = plan(&table(&[before.clone(), after]), &desired, OWN);
    assert_eq!(made.changes, [Change::Delete(before)]);
}

#[test]
fn the_last_own_route_of_a_family_goes_only_where_the_family_may_end() {
    let leftover = route(OWN, 50, 2, "192.0.2.1");
    let actual = std::slice::from_ref(&leftover);
    let held = |destinations: &[IpNet]| RouteSet {
        held: destinations.iter().map(|d| (TableId::MAIN, *d)).collect(),
        ..RouteSet::default()
    };
    let nothing_known = held(&[DEFAULT_V4, DEFAULT_V6]);
    assert_eq!(plan(&table(actual), &nothing_known, OWN), Plan::default());
    assert_eq!(
        plan(&table(actual), &held(&[DEFAULT_V6]), OWN).changes,
        [Change::Delete(leftover.clone())]
    );
}

#[test]
fn a_place_taken_by_another_protocol_is_left_alone_and_reported() {
    let foreign = route(DHCP, 88, 2, "192.0.2.1");
    let made = plan(
        &table(std::slice::from_ref(&foreign)),
        &wanted(&[route(OWN, 88, 2, "192.0.2.1")]),
        OWN,
    );
    assert_eq!(
        made,
        Plan {
            changes: Vec::new(),
            conflicts: vec![foreign],
            ..Plan::default()
        }
    );
}

#[test]
fn foreign_routes_are_never_deleted() {
    let actual = [
        route(DHCP, 88, 2, "192.0.2.1"),
        route(Protocol(3), 0, 4, "203.0.113.1"),
    ];
    assert_eq!(
        plan(&table(&actual), &RouteSet::default(), OWN),
        Plan::default()
    );
}

#[test]
fn a_last_resort_is_kept_as_it_is() {
    let own = route(OWN, 88, 2, "192.0.2.1");
    let desired = RouteSet {
        kept: HashSet::from([(TableId::MAIN, DEFAULT_V4, Metric(88))]),
        ..RouteSet::default()
    };
    assert_eq!(plan(&table(&[own]), &desired, OWN), Plan::default());
}

#[test]
fn a_learned_route_is_taken_over_only_in_sight_of_an_own_one() {
    let learned = route(DHCP, 0, 2, "192.0.2.1");
    let own = route(OWN, 88, 2, "192.0.2.1");
    let desired = RouteSet {
        wanted: vec![own.clone()],
        taken_over: vec![learned.clone()],
        ..RouteSet::default()
    };
    assert_eq!(
        plan(&table(std::slice::from_ref(&learned)), &desired, OWN).changes,
        [Change::Add(own.clone())]
    );
    assert_eq!(
        plan(&table(&[learned.clone(), own]), &desired, OWN).changes,
        [Change::TakeOver(learned)]
    );
}

#[test]
fn a_learned_route_waits_for_the_own_one_over_its_interface_while_that_is_wanted() {
    let learned = route(DHCP, 0, 3, "198.51.100.1");
    let fibre = route(OWN, 88, 2, "192.0.2.1");
    let lte = route(OWN, 89, 3, "198.51.100.1");
    let desired = |wanted: &[Route]| RouteSet {
        wanted: wanted.to_vec(),
        taken_over: vec![learned.clone()],
        ..RouteSet::default()
    };
    let actual = [learned.clone(), fibre.clone()];
    assert_eq!(
        plan(
            &table(&actual),
            &desired(&[fibre.clone(), lte.clone()]),
            OWN
        )
        .changes,
        [Change::Add(lte)]
    );
    assert_eq!(
        plan(&table(&actual), &desired(&[fibre]), OWN).changes,
        [Change::TakeOver(learned.clone())],
        "an uplink that is down has no own route to wait for"
    );
}

#[test]
fn a_multipath_route_with_our_protocol_is_not_touched() {
    let multipath = Route {
        next_hop: NextHop::Other("multipath".to_owned()),
        ..route(OWN, 88, 2, "192.0.2.1")
    };
    assert_eq!(
        plan(
            &table(std::slice::from_ref(&multipath)),
            &RouteSet::default(),
            OWN
        ),
        Plan::default()
    );
    assert_eq!(
        withdrawal(&table(&[multipath]), &[], &RuleMark::default(), OWN),
        []
    );
}

#[test]
fn withdrawal_puts_adopted_routes_back_first() {
    let own = route(OWN, 88, 2, "192.0.2.1");
    let learned = route(DHCP, 0, 2, "192.0.2.1");
    let actual = [own.clone(), route(DHCP, 5, 3, "198.51.100.1")];
    let made = withdrawal(
        &table(&actual),
        std::slice::from_ref(&learned),
        &RuleMark::default(),
        OWN,
    );
    assert_eq!(made, [Change::Restore(learned), Change::Delete(own)]);
}

#[test]
fn a_gateway_that_had_to_be_declared_reachable_is_no_reason_to_write() {
    let wanted_route = route(OWN, 88, 2, "192.0.2.1");
    let Some(Change::Add(onlink)) = Change::Add(wanted_route.clone()).onlink() else {
        panic!("an addition by a gateway");
    };
    assert_ne!(onlink, wanted_route);
    for (actual, desired) in [
        (onlink.clone(), wanted_route.clone()),
        (wanted_route, onlink),
    ] {
        let desired = wanted(std::slice::from_ref(&desired));
        assert_eq!(plan(&table(&[actual]), &desired, OWN), Plan::default());
    }
}

#[test]
fn routes_for_some_packets_take_nobodys_place() {
    let own = route(OWN, 88, 2, "192.0.2.1");
    for protocol in [OWN, DHCP] {
        let mut selective = route(protocol, 88, 2, "192.0.2.9");
        selective.next_hop = NextHop::Selective("for packets with tos 0x10".to_owned());
        let desired = wanted(std::slice::from_ref(&own));
        let made = plan(&table(&[selective.clone()]), &desired, OWN);
        assert_eq!(made.changes, [Change::Add(own.clone())]);
        assert_eq!(made.conflicts, []);
        let made = plan(&table(&[selective, own.clone()]), &desired, OWN);
        assert_eq!(made, Plan::default());
    }
}

#[test]
fn routes_that_change_their_order_are_never_two_in_one_place() {
    let [fibre_first, lte_second] = [
        route(OWN, 100, 2, "192.0.2.1"),
        route(OWN, 101, 3, "198.51.100.1"),
    ];
    let [lte_first, fibre_second] = [
        route(OWN, 100, 3, "198.51.100.1"),
        route(OWN, 101, 2, "192.0.2.1"),
    ];
    let learned = route(DHCP, 1000, 2, "192.0.2.1");
    let desired = wanted(&[lte_first.clone(), fibre_second.clone()]);
    // Traffic leaves by the second place while the first is changed, and the reverse.
    let before = [fibre_first.clone(), lte_second.clone(), learned.clone()];
    let made = plan(&table(&before), &desired, OWN);
    let first = [Change::Delete(fibre_first), Change::Add(lte_first.clone())];
    assert_eq!(made.changes, first);
    let between = [lte_first.clone(), lte_second.clone(), learned.clone()];
    let made = plan(&table(&between), &desired, OWN);
    let second = [
        Change::Delete(lte_second),
        Change::Add(fibre_second.clone()),
    ];
    assert_eq!(made.changes, second);
    let after = [lte_first, fibre_second, learned];
    assert_eq!(plan(&table(&after), &desired, OWN).changes, []);
}

#[test]
fn a_place_is_not_emptied_while_the_next_route_leads_elsewhere() {
    let dead = route(OWN, 100, 2, "192.0.2.1");
    let dead_as_well = route(OWN, 101, 3, "198.51.100.1");
    let wanted_first = route(OWN, 100, 4, "203.0.113.1");
    let actual = [dead, dead_as_well.clone()];
    let desired = wanted(&[wanted_first.clone(), dead_as_well]);
    let made = plan(&table(&actual), &desired, OWN);
    assert_eq!(made.changes[0], Change::AddBeside(wanted_first));
}

fn single(id: u32, protocol: Protocol, ipv6: bool, gateway: &str) -> Nexthop {
    Nexthop {
        id: NexthopId(id),
        protocol,
        ipv6,
        kind: NexthopKind::Single(route(OWN, 0, id, gateway).next_hop),
    }
}

fn group(id: u32, members: &[u32]) -> Nexthop {
    let weight = 1;
    Nexthop {
        id: NexthopId(id),
        protocol: OWN,
        ipv6: false,
        kind: NexthopKind::Group(members.iter().map(|id| (NexthopId(*id), weight)).collect()),
    }
}

fn objects(nexthops: &[Nexthop]) -> Snapshot {
    Snapshot {
        nexthops: nexthops.to_vec(),
        ..Snapshot::default()
    }
}

#[test]
fn a_number_that_is_taken_keeps_only_its_member_out_of_a_group() {
    let [dead, good, wanted_taken] = [1, 2, 3].map(|id| single(id, OWN, false, "192.0.2.1"));
    let foreign = single(3, DHCP, false, "203.0.113.1");
    let actual = objects(&[dead, good.clone(), foreign.clone(), group(9, &[1, 2])]);
    let wanted = [good, wanted_taken.clone(), group(9, &[2, 3])];
    let made = plan_nexthops(&actual, &wanted, OWN);
    assert_eq!(made, [Change::ReplaceNexthop(group(9, &[2]))]);
    let texts = conflicts(&actual, &wanted, OWN);
    assert_eq!(texts.len(), 1);
    assert!(texts[0].contains("object 3 ") && texts[0].contains("protocol 16"));
    let none_remains = [wanted_taken, group(9, &[3])];
    assert_eq!(plan_nexthops(&actual, &none_remains, OWN), []);
}

#[test]
fn an_object_by_an_ipv6_gateway_for_ipv4_routes_is_in_sync() {
    let wanted = [single(1, OWN, false, "fe80::1")];
    let actual = objects(&[single(1, OWN, true, "fe80::1")]);
    assert_eq!(plan_nexthops(&actual, &wanted, OWN), []);
    let moved = objects(&[single(1, OWN, true, "fe80::2")]);
    let replaced = [Change::ReplaceNexthop(wanted[0].clone())];
    assert_eq!(plan_nexthops(&moved, &wanted, OWN), replaced);
}

#[test]
fn an_unchanged_last_place_does_not_let_the_best_route_go() {
    let old_best = route(OWN, 50, 2, "192.0.2.1");
    let dead_last = route(OWN, 102, 3, "198.51.100.1");
    let new_best = route(OWN, 100, 4, "203.0.113.1");
    let desired = wanted(&[new_best.clone(), dead_last.clone()]);
    let actual = [old_best.clone(), dead_last.clone()];
    let made = plan(&table(&actual), &desired, OWN);
    assert_eq!(made.changes, [Change::Add(new_best.clone())]);
    let made = plan(
        &table(&[old_best.clone(), new_best, dead_last.clone()]),
        &desired,
        OWN,
    );
    assert_eq!(made.changes, [Change::Delete(old_best.clone())]);
    // A place that somebody took is withheld; what leads as the best does as well.
    let taken = route(DHCP, 100, 9, "192.0.2.9");
    let made = plan(
        &table(&[old_best.clone(), taken.clone(), dead_last.clone()]),
        &desired,
        OWN,
    );
    assert_eq!(made.changes, []);
    let leads_as_best = route(OWN, 101, 4, "203.0.113.1");
    let made = plan(
        &table(&[old_best.clone(), taken, leads_as_best, dead_last]),
        &desired,
        OWN,
    );
    assert_eq!(made.changes, [Change::Delete(old_best)]);
}
