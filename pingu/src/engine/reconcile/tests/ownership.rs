//! What is pingu's in rules and kept tables.

use super::*;
use crate::network::Selector;

#[test]
fn rules_are_own_by_their_table_and_not_by_their_priority() {
    let kernel = Protocol(2);
    let rule = |protocol, priority, table| Rule {
        ipv6: false,
        priority,
        selector: Selector::From("192.0.2.2/32".parse().unwrap()),
        table: TableId(table),
        protocol,
    };
    let own = [
        rule(kernel, 1000, 201),
        rule(kernel, 77, 201),
        rule(kernel, 1000, 250),
        rule(OWN, 5, 999),
    ];
    let foreign = [
        rule(kernel, 1000, 301),
        rule(kernel, 1000, 254),
        rule(Protocol(3), 1000, 201),
    ];
    let mut leftover = route(OWN, 1, 2, "192.0.2.1");
    leftover.table = TableId(250);
    let mut of_another = route(Protocol(137), 1, 2, "192.0.2.1");
    of_another.table = TableId(301);
    let in_main = route(OWN, 88, 2, "192.0.2.1");
    let mut actual = table(&[leftover, of_another, in_main]);
    actual.rules = [&own[..], &foreign[..]].concat();
    let rule_mark = RuleMark {
        protocol: kernel,
        tables: vec![TableId(201)],
    };
    let deleted = |changes: Vec<Change>| -> Vec<Rule> {
        let rules = changes.into_iter().filter_map(|change| match change {
            Change::DeleteRule(rule) => Some(rule),
            _ => None,
        });
        rules.collect()
    };
    assert_eq!(deleted(withdrawal(&actual, &[], &rule_mark, OWN)), own);
    let desired = RouteSet {
        rules: vec![own[0].clone()],
        rule_mark,
        ..RouteSet::default()
    };
    assert_eq!(deleted(plan(&actual, &desired, OWN).changes), own[1..]);
}

#[test]
fn a_kept_table_keeps_no_route_over_another_interface() {
    let in_table = |ifindex| Route {
        table: TableId(201),
        ..route(OWN, 1, ifindex, "192.0.2.1")
    };
    let desired = RouteSet {
        kept_tables: HashSet::from([(TableId(201), false, Ifindex(2))]),
        ..RouteSet::default()
    };
    let made = |ifindex| plan(&table(&[in_table(ifindex)]), &desired, OWN).changes;
    assert_eq!(made(2), []);
    assert_eq!(made(3), [Change::Delete(in_table(3))]);
}
