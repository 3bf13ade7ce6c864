//! Nexthop objects whose numbers are taken, and which route must stand before another goes.

use super::*;

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
