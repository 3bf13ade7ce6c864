//! Plans for small tables.

mod best;
mod ownership;

use super::*;
use crate::{
    network::{DEFAULT_V4, DEFAULT_V6, NextHop},
    units::{Ifindex, TableId},
};

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

#[test]
fn of_stale_routes_the_worst_goes_first() {
    let (first, second, third) = (
        route(OWN, 88, 2, "192.0.2.1"),
        route(OWN, 89, 3, "198.51.100.1"),
        route(OWN, 90, 4, "203.0.113.1"),
    );
    let actual = [first.clone(), second.clone(), third.clone()];
    let made = plan(&table(&actual), &wanted(&[third]), OWN);
    let deletions = [Change::Delete(second), Change::Delete(first)];
    assert_eq!(made.changes, deletions, "the second may be dead already");
}

#[test]
fn a_learned_route_is_not_taken_over_for_the_good_of_a_stranger() {
    let own = route(OWN, 88, 2, "192.0.2.1");
    let learned = route(DHCP, 10, 2, "192.0.2.1");
    let stranger = |metric| Route {
        next_hop: NextHop::Other("unreachable".to_owned()),
        ..route(Protocol(3), metric, 2, "192.0.2.1")
    };
    let desired = RouteSet {
        taken_over: vec![learned.clone()],
        ..wanted(std::slice::from_ref(&own))
    };
    for (metric, taken) in [(5, true), (10, false), (20, false), (100, true)] {
        let actual = [own.clone(), learned.clone(), stranger(metric)];
        let made = plan(&table(&actual), &desired, OWN);
        let expected = [Change::TakeOver(learned.clone())];
        assert_eq!(made.changes, expected[..usize::from(taken)], "{metric}");
    }
}

#[test]
fn what_refuses_packets_never_stands_beside_what_carried_them() {
    let object = Route {
        destination: DEFAULT_V6,
        next_hop: NextHop::Object(NexthopId(7)),
        ..route(OWN, 50, 2, "192.0.2.1")
    };
    let unreachable = Route {
        next_hop: NextHop::Unreachable,
        ..object.clone()
    };
    let desired = wanted(std::slice::from_ref(&unreachable));
    let made = plan(&table(std::slice::from_ref(&object)), &desired, OWN);
    assert_eq!(
        made.changes,
        [Change::Delete(object), Change::Add(unreachable)]
    );
}

#[test]
fn what_follows_without_a_look_keeps_exchanges_whole_and_touches_own_routes_only() {
    let actual = [
        route(OWN, 100, 2, "192.0.2.1"),
        route(OWN, 101, 3, "198.51.100.1"),
        route(DHCP, 1000, 3, "198.51.100.1"),
    ];
    let desired = RouteSet {
        wanted: vec![
            route(OWN, 100, 3, "198.51.100.1"),
            route(OWN, 101, 2, "192.0.2.1"),
        ],
        taken_over: vec![actual[2].clone()],
        ..RouteSet::default()
    };
    let changes = plan_behind(&table(&actual), &desired, OWN);
    let deletes = |change: &Change| matches!(change, Change::Delete(route) if *route == actual[0]);
    let adds =
        |change: &Change| matches!(change, Change::Add(route) if *route == desired.wanted[0]);
    let deletion = changes.iter().position(deletes);
    let addition = changes.iter().position(adds);
    assert!(deletion.is_some() && deletion < addition, "{changes:?}");
    let is_own = |change: &Change| {
        matches!(change, Change::Delete(route) | Change::Add(route) | Change::AddBeside(route)
            if route.protocol == OWN)
    };
    assert!(changes.iter().all(is_own), "{changes:?}");
}
