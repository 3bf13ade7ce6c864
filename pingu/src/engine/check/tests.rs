//! Checks in virtual time: when they run, what their results do, and by which way they leave.

use std::collections::BTreeMap;

use super::*;
use crate::{
    engine::{routes::RouteSet, test_clock},
    network::{Address, Link, LinkLayer, Snapshot},
    units::{Ifindex, TableId},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A configuration of so many uplinks with these lines in each.
fn config(uplinks: u32, lines: &str) -> Config {
    let mut text = "[probe]\ntargets = [\"192.0.2.1\"]\n".to_owned();
    for n in 0..uplinks {
        text += &format!(
            "[[uplink]]\nname = \"u{n}\"\ninterface = \"wan{n}\"\ngateway = \"10.{}.{}.1\"\n{lines}\n",
            n / 250,
            n % 250
        );
    }
    let (config, warnings) = Config::parse(&text, "f").unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(warnings, []);
    config
}

const TCP: &str = "[[uplink.check]]\nkind = \"tcp\"\naddress = \"192.0.2.1:443\"";

/// A router whose uplinks all have carrier and an address, and where the kernel does what it is asked.
struct World {
    engine: Engine,
    now: Instant,
    snapshot: Snapshot,
}

impl World {
    fn new(config: Config) -> Self {
        let now = test_clock();
        let count = config.uplinks.len() as u32;
        let snapshot = Snapshot {
            links: (0..count).map(link).collect(),
            addresses: (0..count).map(address).collect(),
            ..Snapshot::default()
        };
        let mut world = Self {
            engine: Engine::new(config, 1, now),
            now,
            snapshot,
        };
        world.settle();
        world
    }

    fn look(&mut self) {
        self.engine.network(self.snapshot.clone(), self.now);
    }

    /// The kernel gets what the engine wants, and the engine sees it.
    fn settle(&mut self) {
        self.look();
        let set: RouteSet = self.engine.route_set();
        self.snapshot.routes = set.wanted;
        self.snapshot.rules = set.rules;
        self.look();
    }

    fn orders(&mut self) -> Vec<CheckOrder> {
        self.engine.check_orders(self.now)
    }

    #[track_caller]
    fn order(&mut self) -> CheckOrder {
        let mut orders = self.orders();
        assert_eq!(orders.len(), 1, "{orders:?}");
        orders.remove(0)
    }

    /// Waits for the next order, and gives how long that took.
    #[track_caller]
    fn next_order(&mut self) -> (Duration, CheckOrder) {
        let begin = self.now;
        loop {
            let next = self.engine.checks.next_wake().expect("something is due");
            self.now = self.now.max(next);
            if let Some(order) = self.orders().pop() {
                return (self.now - begin, order);
            }
        }
    }

    fn report(&mut self, order: &CheckOrder, outcome: CheckOutcome) -> Option<CheckChange> {
        self.now += MS;
        self.engine.checked(order.run, outcome, MS, self.now)
    }

    fn state(&self) -> State {
        self.engine.checks.of(UplinkId(0))[0].state()
    }

    fn uplink_state(&self) -> State {
        self.engine.state_of(UplinkId(0))
    }
}

fn link(n: u32) -> Link {
    Link {
        ifindex: Ifindex(n + 2),
        name: format!("wan{n}"),
        layer: LinkLayer::Ethernet([2, 0, 0, 0, 0, 1]),
        admin_up: true,
        carrier: true,
        is_port: false,
        mtu_bytes: 1500,
        alternative_names: Vec::new(),
    }
}

fn address(n: u32) -> Address {
    Address {
        ifindex: Ifindex(n + 2),
        address: format!("10.{}.{}.2", n / 250, n % 250).parse().unwrap(),
        prefix_len: 24,
        global: true,
        usable: true,
        secondary: false,
    }
}

fn good() -> CheckOutcome {
    Ok("fine".to_owned())
}

fn bad(cause: Cause) -> CheckOutcome {
    let text = "not fine".to_owned();
    Err(Failure { cause, text })
}

#[test]
fn nothing_is_run_before_the_kernel_has_rule_and_table() {
    let mut world = World::new(config(1, TCP));
    let whole = world.snapshot.clone();
    let mut fresh = World {
        engine: Engine::new(config(1, TCP), 1, world.now),
        now: world.now,
        snapshot: Snapshot {
            routes: Vec::new(),
            rules: Vec::new(),
            ..whole.clone()
        },
    };
    fresh.look();
    assert_eq!(fresh.orders().len(), 0);
    fresh.snapshot.routes = whole.routes.clone();
    fresh.look();
    assert_eq!(fresh.orders().len(), 0, "no rule leads there");
    fresh.snapshot.rules = whole.rules.clone();
    fresh.snapshot.routes.clear();
    fresh.look();
    assert_eq!(fresh.orders().len(), 0, "the table is empty");
    fresh.snapshot.routes = whole.routes;
    fresh.look();
    let order = fresh.order();
    assert_eq!(order.way.interface, "wan0");
    assert_eq!(order.way.table, TableId(136_000));
    assert!(order.way.is_lent);
    let v4 = Exit {
        source: "10.0.0.2".parse().unwrap(),
        gateway: Some("10.0.0.1".parse().unwrap()),
    };
    assert_eq!((order.way.v4, order.way.v6), (Some(v4), None));
    world.order();
}

#[test]
fn a_check_falls_and_rises_after_so_many_results() {
    let mut world = World::new(config(1, &format!("{TCP}\nfall = 3\nrise = 2")));
    let order = world.order();
    assert_eq!(world.report(&order, good()), None);
    assert_eq!(world.state(), State::Unknown, "it rises with the second");
    let (pause, order) = world.next_order();
    assert!(
        pause <= 5 * SECOND,
        "{pause:?}: while nothing is known, soon"
    );
    assert_eq!(world.report(&order, good()).unwrap().to, State::Up);
    for n in 1..=3 {
        let (_, order) = world.next_order();
        let change = world.report(&order, bad(Cause::Timeout));
        assert_eq!(change.is_some(), n == 3);
    }
    assert_eq!(world.uplink_state(), State::Down);
    let (_, order) = world.next_order();
    world.report(&order, good());
    assert_eq!(world.state(), State::Down);
    let (_, order) = world.next_order();
    world.report(&order, good());
    assert_eq!(world.state(), State::Up);
    assert_ne!(world.uplink_state(), State::Down);
}

#[test]
fn a_portal_at_the_start_fells_at_once_and_other_failures_are_confirmed_soon() {
    let mut world = World::new(config(1, TCP));
    let order = world.order();
    let change = world.report(&order, bad(Cause::Portal)).expect("it falls");
    assert_eq!((change.from, change.to), (State::Unknown, State::Down));
    assert_eq!(world.uplink_state(), State::Down);

    let mut world = World::new(config(1, TCP));
    let order = world.order();
    assert_eq!(world.report(&order, bad(Cause::Timeout)), None);
    let (pause, order) = world.next_order();
    assert!(pause <= 5 * SECOND, "{pause:?}");
    assert!(world.report(&order, bad(Cause::Timeout)).is_some());
    assert_eq!(world.uplink_state(), State::Down);

    // One that was good is not condemned by one portal.
    let mut world = World::new(config(1, TCP));
    let order = world.order();
    world.report(&order, good());
    let (_, order) = world.next_order();
    assert_eq!(world.report(&order, bad(Cause::Portal)), None);
}

#[test]
fn what_this_machine_could_not_try_changes_nothing() {
    let mut world = World::new(config(1, TCP));
    let order = world.order();
    world.report(&order, good());
    for _ in 0..5 {
        let (_, order) = world.next_order();
        assert_eq!(world.report(&order, bad(Cause::Local)), None);
    }
    assert_eq!(world.state(), State::Up);
}

#[test]
fn a_check_that_is_not_required_fells_nothing() {
    let mut world = World::new(config(1, &format!("{TCP}\nrequired = false")));
    let order = world.order();
    world.report(&order, bad(Cause::Portal));
    assert_eq!(world.state(), State::Down);
    assert_ne!(world.uplink_state(), State::Down);
}

#[test]
fn another_way_ends_the_run_and_asks_anew() {
    let mut world = World::new(config(1, TCP));
    let first = world.order();
    world.snapshot.addresses[0].address = "10.0.0.3".parse().unwrap();
    world.settle();
    assert_eq!(world.engine.cancelled_checks(), [first.run]);
    let second = world.order();
    assert_ne!(first.run, second.run);
    assert_eq!(second.way.v4.unwrap().source.to_string(), "10.0.0.3");
    assert_eq!(
        world.report(&first, bad(Cause::Portal)),
        None,
        "nobody waits for it"
    );
    assert_eq!(world.state(), State::Unknown);
    world.report(&second, good());
    assert_eq!(world.state(), State::Up);
    // What was good says nothing of another way; what was bad has to prove itself.
    world.snapshot.addresses[0].address = "10.0.0.4".parse().unwrap();
    world.settle();
    assert_eq!(world.state(), State::Unknown);
    let order = world.order();
    world.report(&order, bad(Cause::Portal));
    world.snapshot.addresses[0].address = "10.0.0.5".parse().unwrap();
    world.settle();
    assert_eq!(world.state(), State::Down);
    let order = world.order();
    world.report(&order, good());
    assert_eq!(world.state(), State::Up);
}

#[test]
fn without_a_way_nothing_runs_and_nothing_is_known() {
    let mut world = World::new(config(1, TCP));
    let order = world.order();
    world.report(&order, bad(Cause::Portal));
    world.snapshot.links[0].carrier = false;
    world.look();
    assert_eq!(world.state(), State::Unknown);
    world.now += 3600 * SECOND;
    assert_eq!(world.orders().len(), 0);
    world.snapshot.links[0].carrier = true;
    world.settle();
    assert_eq!(world.state(), State::Down);
    world.order();
}

#[test]
fn a_check_s_family_must_have_a_way() {
    let v6 = "[[uplink.check]]\nname = \"six\"\nkind = \"tcp\"\naddress = \"[2001:db8::1]:443\"\n";
    let text = format!(
        "[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"u\"\ninterface = \"wan0\"\n\
         gateway = [\"10.0.0.1\", \"fe80::1\"]\n{TCP}\n{v6}"
    );
    let (config, _) = Config::parse(&text, "f").unwrap();
    let mut world = World::new(config);
    let order = world.order();
    assert_eq!(order.check.kind.peers()[0].to_string(), "192.0.2.1");
    let mut second = address(0);
    second.address = "2001:db8:1::2".parse().unwrap();
    second.prefix_len = 64;
    world.snapshot.addresses.push(second);
    world.settle();
    // The first is under way, and its way is as it was.
    let order = world.order();
    assert_eq!(order.check.kind.peers()[0].to_string(), "2001:db8::1");
    assert!(order.way.v4.is_none() && order.way.v6.is_some());
    let set = world.engine.route_set();
    let fe80 = set
        .wanted
        .iter()
        .find(|route| route.destination.to_string() == "fe80::/64");
    assert_eq!(fe80.map(|route| route.table), Some(TableId(136_000)));
}

#[test]
fn uplinks_with_and_without_tables_get_the_rules_that_they_need() {
    let text = format!(
        "[probe]\ntargets = [\"192.0.2.1\"]\n\
         [[uplink]]\nname = \"a\"\ninterface = \"wan0\"\ngateway = \"10.0.0.1\"\ntable = 7\n{TCP}\n\
         [[uplink]]\nname = \"b\"\ninterface = \"wan1\"\ngateway = \"10.0.1.1\"\n{TCP}\n\
         [[uplink]]\nname = \"c\"\ninterface = \"wan2\"\ngateway = \"10.0.2.1\"\n"
    );
    let (config, _) = Config::parse(&text, "f").unwrap();
    let world = World::new(config);
    let rules: Vec<String> = world
        .snapshot
        .rules
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        rules,
        [
            "21000: from 10.0.0.2/32 lookup 7",
            "19000: oif wan0 lookup 7",
            "19000: oif wan1 lookup 136001",
        ]
    );
}

#[test]
fn a_hold_down_counts_from_the_check_s_recovery() {
    let mut world = World::new(config(1, TCP));
    let order = world.order();
    world.report(&order, bad(Cause::Portal));
    assert_eq!(world.engine.uplinks[0].checks_good_since, None);
    let (_, order) = world.next_order();
    world.report(&order, good());
    assert_eq!(world.engine.uplinks[0].checks_good_since, Some(world.now));
}

#[test]
fn a_thousand_uplinks_spread_their_checks_over_the_period() {
    let mut world = World::new(config(1000, TCP));
    let begin = world.now;
    let first = world.orders();
    assert_eq!(first.len(), 1000, "each at once, when its way is there");
    for order in &first {
        world.engine.checked(order.run, good(), MS, begin + MS);
    }
    // From the second period on they are even.
    let mut per_second: BTreeMap<u64, u32> = BTreeMap::new();
    while world.now < begin + 60 * SECOND {
        let next = world.engine.checks.next_wake().expect("something is due");
        world.now = world.now.max(next);
        for order in world.orders() {
            let second = (world.now - begin).as_secs();
            *per_second.entry(second).or_default() += 1;
            let now = world.now;
            world.engine.checked(order.run, good(), MS, now);
        }
    }
    let most = per_second.values().max().expect("some have run");
    assert!(*most <= 70, "{per_second:?}");
    let all: u32 = per_second.range(15..30).map(|(_, count)| count).sum();
    assert!((990..=1010).contains(&all), "{per_second:?}");
}

#[test]
fn ways_that_flap_leave_no_heap_of_stale_wakes() {
    let mut world = World::new(config(1, &format!("{TCP}\nevery = \"24h\"")));
    for n in 0..1000_u32 {
        let order = world.order();
        world.report(&order, good());
        let last = n % 200 + 3;
        world.snapshot.addresses[0].address = format!("10.0.0.{last}").parse().unwrap();
        world.settle();
    }
    assert!(world.engine.checks.wakes.len() <= STALE_MAX + 1);
}
