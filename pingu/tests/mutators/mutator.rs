//! Whoever else meddles with the router: clients, administrators, accidents.

use pingu::{
    netlink::model::{Addition, Deletion, Filter, Listed, RuleDeletion, Verb},
    network::{NextHop, Nexthop, NexthopKind, Route, Rule, Selector, default_of},
    units::{Ifindex, Metric, NexthopId, Protocol, TableId},
};

use crate::{random::Random, setting, world::World};

const STRANGERS: [Protocol; 3] = [Protocol(3), Protocol(4), Protocol(99)];
const TABLES: [TableId; 4] = [TableId::MAIN, TableId::MAIN, TableId(100), TableId(300)];
/// Those of own routes among them.
const METRICS: [u32; 9] = [1, 10, 11, 50, 51, 77, 100, 1000, 2000];

/// Does one thing.
pub fn disturb(world: &mut World, random: &mut Random) {
    let uplink = random.below(world.generations.len());
    let ifindex = interface(world, uplink);
    let ipv6 = random.percent(50);
    let what = match random.below(100) {
        0..22 => add(world, random, uplink, ipv6),
        22..42 => delete(world, random, ipv6),
        42..48 => flush(world, random, ipv6),
        48..54 => renew(world, random, uplink, ipv6),
        54..60 => {
            let (address, length) = setting::addresses(uplink)[usize::from(ipv6)];
            let done = world.kernel.delete_address(ifindex, address, length);
            format!("address {address} deleted: {done:?}")
        }
        60..64 => {
            let (address, length) = setting::addresses(uplink)[usize::from(ipv6)];
            let done = world.kernel.add_address(ifindex, address, length);
            format!("address {address} added: {done:?}")
        }
        64..72 => {
            let up = random.percent(60);
            let done = world.kernel.set_link(ifindex, up);
            format!("interface {ifindex} set up {up}: {done:?}")
        }
        72..78 => {
            let carrier = random.percent(60);
            world.kernel.set_carrier(ifindex, carrier);
            format!("carrier of {ifindex}: {carrier}")
        }
        78..80 => {
            let done = world.kernel.delete_link(ifindex);
            format!("interface {ifindex} deleted: {done:?}")
        }
        80..86 => {
            let answers = random.percent(50);
            world.answer(ifindex, ipv6, answers);
            format!("{ifindex} answers (IPv6 {ipv6}): {answers}")
        }
        86..93 => objects(world, random, uplink),
        _ => rules(world, random, ipv6),
    };
    world.tell(what);
}

/// The number that an uplink's interface has, or had.
pub fn interface(world: &World, uplink: usize) -> Ifindex {
    setting::ifindex(uplink, world.generations[uplink])
}

fn add(world: &mut World, random: &mut Random, uplink: usize, ipv6: bool) -> String {
    const VERBS: [Verb; 6] = [
        Verb::Add,
        Verb::Add,
        Verb::Add,
        Verb::Append,
        Verb::Prepend,
        Verb::Replace,
    ];
    let ifindex = interface(world, uplink);
    let next_hop = match random.below(10) {
        0 => NextHop::Unreachable,
        1..4 => NextHop::Device { ifindex },
        _ => NextHop::Gateway {
            ifindex,
            gateway: setting::gateway(uplink, ipv6, random.percent(30)),
            onlink: false,
        },
    };
    let route = Route {
        destination: default_of(ipv6),
        table: random.of(&TABLES),
        metric: Metric(random.of(&METRICS)),
        protocol: random.of(&STRANGERS),
        next_hop,
        preferred_source: None,
        wire: Vec::new(),
    };
    let verb = random.of(&VERBS);
    let done = world.kernel.route(verb, &Addition::from(&route));
    format!("{verb:?} {route}: {done:?}")
}

/// Any route: foreign, own, or of a connected network.
fn delete(world: &mut World, random: &mut Random, ipv6: bool) -> String {
    let mut there: Vec<Listed> = world.kernel.routes(ipv6);
    if random.percent(60) {
        there.retain(|listed| listed.protocol == world.own);
    }
    if there.is_empty() {
        return "nothing to delete".to_owned();
    }
    let listed = random.of(&there);
    let deletion = Deletion {
        metric: Some(listed.metric),
        protocol: random.percent(80).then_some(listed.protocol),
        ..Deletion::of(listed.destination, listed.table)
    };
    let done = world.kernel.delete_route(&deletion);
    format!("deleted {deletion:?}: {done:?}")
}

fn flush(world: &mut World, random: &mut Random, ipv6: bool) -> String {
    let filter = Filter {
        ipv6,
        table: random.of(&TABLES),
        protocol: match random.below(3) {
            0 => None,
            1 => Some(world.own),
            _ => Some(random.of(&STRANGERS)),
        },
        destination: random.percent(50).then_some(default_of(ipv6)),
    };
    world.kernel.flush(&filter);
    format!("flushed {filter:?}")
}

/// A lease is renewed, by the same gateway or another.
fn renew(world: &mut World, random: &mut Random, uplink: usize, ipv6: bool) -> String {
    let ifindex = interface(world, uplink);
    let second = random.percent(40);
    let done = setting::lease(&mut world.kernel, uplink, ifindex, ipv6, second);
    format!("lease of {ifindex} (IPv6 {ipv6}, second {second}): {done}")
}

fn objects(world: &mut World, random: &mut Random, uplink: usize) -> String {
    let there = world.kernel.nexthops();
    if !there.is_empty() && random.percent(60) {
        let id = random.of(&there).id;
        let done = world.kernel.delete_nexthop(id);
        return format!("nexthop {id} deleted: {done:?}");
    }
    let ifindex = interface(world, uplink);
    let id = match random.below(4) {
        0 if !there.is_empty() => random.of(&there).id,
        _ => NexthopId(random.of(&[7, 8])),
    };
    let object = Nexthop {
        id,
        protocol: random.of(&STRANGERS),
        ipv6: false,
        kind: NexthopKind::Single(NextHop::Gateway {
            ifindex,
            gateway: setting::gateway(uplink, false, false),
            onlink: false,
        }),
    };
    let done = world.kernel.replace_nexthop(&object);
    format!("nexthop {object} made: {done:?}")
}

fn rules(world: &mut World, random: &mut Random, ipv6: bool) -> String {
    let there: Vec<Rule> = world.kernel.rules().to_vec();
    let of_ours: Vec<&Rule> = there
        .iter()
        .filter(|rule| rule.table.0 < 250 || rule.table.0 > 255)
        .collect();
    match random.below(5) {
        0..3 if !of_ours.is_empty() => {
            let rule = random.of(&of_ours);
            let done = world.kernel.delete_rule(&RuleDeletion::from(rule));
            format!("rule {rule} deleted: {done:?}")
        }
        3 => {
            world.kernel.flush_rules(ipv6);
            format!("rules flushed (IPv6 {ipv6})")
        }
        _ => {
            let rule = Rule {
                ipv6,
                priority: random.of(&[500, 20_000, 21_000]),
                selector: Selector::Mark {
                    value: 7,
                    mask: 0xff,
                },
                table: TableId(random.of(&[100, 300])),
                protocol: random.of(&STRANGERS),
            };
            let done = world.kernel.add_rule(&rule);
            format!("rule {rule} added: {done:?}")
        }
    }
}

/// Links, addresses and leases as they were in the beginning; who answers may change.
pub fn repair(world: &mut World, random: &mut Random) {
    for uplink in 0..world.generations.len() {
        let is_there = |world: &World, ifindex| {
            let mut devices = world.kernel.devices();
            devices.any(|device| device.link.ifindex == ifindex)
        };
        if !is_there(world, interface(world, uplink)) {
            world.generations[uplink] += 1;
            setting::plug(&mut world.kernel, uplink, world.generations[uplink]);
        }
        let ifindex = interface(world, uplink);
        world.kernel.set_carrier(ifindex, true);
        let _ = world.kernel.set_link(ifindex, true);
        for (address, length) in setting::addresses(uplink) {
            let network = ipnet::IpNet::new(address, length).unwrap().trunc();
            let connected = world
                .kernel
                .routes(address.is_ipv6())
                .iter()
                .any(|listed| listed.destination == network && listed.table == TableId::MAIN);
            if !connected {
                let _ = world.kernel.delete_address(ifindex, address, length);
            }
            let _ = world.kernel.add_address(ifindex, address, length);
        }
        let (address, length) = setting::another_address(uplink, random.percent(50));
        if random.percent(50) {
            let done = world.kernel.add_address(ifindex, address, length);
            world.tell(format!("another address {address}: {done:?}"));
        } else {
            let done = world.kernel.delete_address(ifindex, address, length);
            world.tell(format!("without {address}: {done:?}"));
        }
        for ipv6 in [false, true] {
            let done = setting::lease(&mut world.kernel, uplink, ifindex, ipv6, false);
            world.tell(format!("repaired {ifindex} (IPv6 {ipv6}): {done}"));
            let answers = random.percent(70);
            world.answer(ifindex, ipv6, answers);
            world.tell(format!("{ifindex} answers (IPv6 {ipv6}): {answers}"));
        }
    }
}
