//! What must be true: of each single write, of a refusal, and of the state in the end.

use pingu::{
    engine::RouteSet,
    netlink::model::{FakeKernel, Listed},
    network::{Address, Change, NextHop, Nexthop, NexthopKind, Route, Rule, default_of},
    units::{Protocol, TableId},
};

use crate::world::World;

/// `RTPROT_KERNEL`.
const KERNEL: Protocol = Protocol(2);

/// Everything of others, and whether there is a way out.
pub struct Foreign {
    routes: Vec<Listed>,
    rules: Vec<Rule>,
    nexthops: Vec<Nexthop>,
    addresses: Vec<Address>,
    ways_out: [bool; 2],
}

impl Foreign {
    pub fn of(world: &World) -> Self {
        let kernel = &world.kernel;
        let mut routes = [kernel.routes(false), kernel.routes(true)].concat();
        routes.retain(|listed| listed.protocol != world.own);
        let mut nexthops = kernel.nexthops();
        nexthops.retain(|object| object.protocol != world.own);
        let mut rules = kernel.rules().to_vec();
        rules.retain(|rule| !is_own(world, rule));
        Self {
            routes,
            rules,
            nexthops,
            addresses: kernel.addresses().to_vec(),
            ways_out: [false, true].map(|ipv6| way_out(kernel, ipv6)),
        }
    }

    /// What a write of pingu's must leave as it was; of a default, where the plan was made for what is there.
    pub fn check(mut self, world: &World, change: &Change, set: &RouteSet, is_fresh: bool) {
        let after = Self::of(world);
        if let Change::TakeOver(route) = change {
            // Exactly this one.
            let taken = self.routes.iter().position(|listed| is(listed, route));
            if let Some(place) = taken.filter(|_| !after.routes.iter().any(|l| is(l, route))) {
                self.routes.remove(place);
            }
        }
        let story = || format!("{change:?}\n{}", world.story());
        assert_eq!(self.routes, after.routes, "{}", story());
        assert_eq!(self.rules, after.rules, "{}", story());
        assert_eq!(self.nexthops, after.nexthops, "{}", story());
        assert_eq!(self.addresses, after.addresses, "{}", story());
        for ipv6 in [false, true] {
            let had = self.ways_out[usize::from(ipv6)];
            let has = after.ways_out[usize::from(ipv6)];
            assert!(
                has || !had
                    || !is_fresh
                    || may_end(set, ipv6)
                    || refused_by_others(world, change, ipv6),
                "{change:?} took the last default (IPv6 {ipv6})\n{}",
                world.story()
            );
        }
    }
}

/// Whether a route of an uplink that is down was all that stood before a stranger's refusal of everything.
fn refused_by_others(world: &World, change: &Change, ipv6: bool) -> bool {
    let by_others =
        |best: Listed| best.protocol != world.own && best.hops == [NextHop::Unreachable];
    matches!(change, Change::Delete(_)) && choice(&world.kernel, ipv6).is_some_and(by_others)
}

/// The default that the kernel takes.
fn choice(kernel: &FakeKernel, ipv6: bool) -> Option<Listed> {
    let mut defaults = kernel.list(ipv6);
    defaults.retain(|listed| {
        listed.table == TableId::MAIN && listed.destination == default_of(ipv6) && listed.tos == 0
    });
    defaults.sort_by_key(|listed| listed.metric);
    defaults.into_iter().next()
}

/// Whether it leads somewhere.
fn way_out(kernel: &FakeKernel, ipv6: bool) -> bool {
    let Some(best) = choice(kernel, ipv6) else {
        return false;
    };
    let has_carrier = |hop: &NextHop| {
        hop.ifindex().is_some_and(|ifindex| {
            kernel
                .devices()
                .any(|device| device.link.ifindex == ifindex && device.link.carrier)
        })
    };
    best.hops
        .iter()
        .flat_map(|hop| singles(kernel, hop))
        .any(|hop| has_carrier(&hop))
}

/// A next hop, or those of an object.
fn singles(kernel: &FakeKernel, hop: &NextHop) -> Vec<NextHop> {
    let NextHop::Object(id) = hop else {
        return vec![hop.clone()];
    };
    let there = kernel.nexthops();
    match there.iter().find(|object| object.id == *id) {
        Some(Nexthop {
            kind: NexthopKind::Single(hop),
            ..
        }) => vec![hop.clone()],
        Some(Nexthop {
            kind: NexthopKind::Group(members),
            ..
        }) => members
            .iter()
            .flat_map(|(member, _)| singles(kernel, &NextHop::Object(*member)))
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether pingu made a rule: strangers have protocols of their own, and the kernel's lead to its tables.
fn is_own(world: &World, rule: &Rule) -> bool {
    rule.protocol == world.own
        || (rule.protocol == KERNEL && !TableId::BUILT_IN.contains(&rule.table))
}

/// Where no way out is wanted, the last default may go.
fn may_end(set: &RouteSet, ipv6: bool) -> bool {
    let mut wanted = set
        .wanted
        .iter()
        .filter(|route| route.table == TableId::MAIN && route.destination == default_of(ipv6));
    !wanted.any(|route| !matches!(route.next_hop, NextHop::Unreachable | NextHop::Blackhole))
}

fn is(listed: &Listed, route: &Route) -> bool {
    (
        listed.table,
        listed.destination,
        listed.metric,
        listed.protocol,
    ) == (route.table, route.destination, route.metric, route.protocol)
        && leads_to(listed, &route.next_hop)
}

fn leads_to(listed: &Listed, next_hop: &NextHop) -> bool {
    listed.hops.iter().any(|hop| hop.leads_as(next_hop))
}

/// Whether two kernels hold the same.
pub fn same(a: &FakeKernel, b: &FakeKernel) -> bool {
    a.routes(false) == b.routes(false)
        && a.routes(true) == b.routes(true)
        && a.nexthops() == b.nexthops()
        && a.rules() == b.rules()
}

/// A refusal must have its reason in something of somebody else's.
pub fn check_refusal(world: &World, change: &Change) {
    let explained = match change {
        Change::Add(route) | Change::AddBeside(route) => is_occupied(world, route),
        // A foreign one among own ones of IPv6, which a dump shows as own.
        Change::Delete(route) => is_occupied(world, route),
        _ => false,
    };
    assert!(explained, "{change:?} is refused\n{}", world.story());
}

/// Whether somebody else is in a route's place.
fn is_occupied(world: &World, route: &Route) -> bool {
    world.kernel.routes(route.ipv6()).iter().any(|listed| {
        (listed.table, listed.destination, listed.metric)
            == (route.table, route.destination, route.metric)
            && listed.protocol != world.own
    })
}

/// Own routes, rules and objects are exactly the wanted ones, but for places that somebody else has.
pub fn check_desired(world: &World) {
    let set = world.engine.route_set();
    let there = [world.kernel.routes(false), world.kernel.routes(true)].concat();
    let needs_foreign = |route: &Route| match &route.next_hop {
        NextHop::Object(id) => world.kernel.nexthops().iter().any(|object| {
            object.protocol != world.own && (object.id == *id || is_member(world, *id, object))
        }),
        _ => false,
    };
    for wanted in &set.wanted {
        let found = there.iter().any(|listed| is(listed, wanted));
        assert!(
            found || is_occupied(world, wanted) || needs_foreign(wanted),
            "{wanted} is missing\n{}",
            world.story()
        );
    }
    for listed in there.iter().filter(|listed| listed.protocol == world.own) {
        let place = (listed.table, listed.destination, listed.metric);
        let is_wanted = set.wanted.iter().any(|wanted| is(listed, wanted));
        let may_stay = set.kept.contains(&place)
            || there.iter().any(|other| {
                (other.table, other.destination) == (listed.table, listed.destination)
                    && other.protocol != world.own
            });
        assert!(
            is_wanted || may_stay,
            "{listed:?} is stale\n{}",
            world.story()
        );
    }
    let mut own: Vec<&Rule> = world.kernel.rules().iter().collect();
    own.retain(|rule| is_own(world, rule));
    for wanted in &set.rules {
        assert!(
            own.contains(&wanted),
            "{wanted} is missing\n{}",
            world.story()
        );
    }
    for rule in own {
        assert!(
            set.rules.contains(rule),
            "{rule} is stale\n{}",
            world.story()
        );
    }
}

/// Whether an object is one of those that a wanted group would have.
fn is_member(world: &World, group: pingu::units::NexthopId, object: &Nexthop) -> bool {
    let set = world.engine.route_set();
    set.nexthops.iter().any(|wanted| {
        wanted.id == group
            && matches!(&wanted.kind, NexthopKind::Group(members)
                if members.iter().any(|(member, _)| *member == object.id))
    })
}
