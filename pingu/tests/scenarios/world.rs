//! A virtual world for the engine: interfaces that answer or not, a route table, and time that jumps.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use pingu::{
    config::{Config, Gateway},
    engine::{Engine, HookState, State, Status, Why, reconcile},
    network::{
        Address, Change, DEFAULT_V4, Neighbour, NeighbourState, NextHop, Route, Rule, Snapshot,
    },
    probe::{EngineKind, Remarks},
    units::{Metric, Protocol, TableId, UplinkId},
};
use serde::Deserialize;

use crate::{
    errands,
    far_ends::FarEnds,
    wires::{Wire, Wires, set_flow, wire},
};

/// Metrics of the routes that a DHCP client of this world installs: this plus the interface's number.
const LEARNED_METRIC_BASE: u32 = 1000;

/// One plan adds, the next deletes; a third shows that all is well.
const PLANS_MAX: usize = 3;

/// What may be changed about an uplink; what is absent stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setting {
    pub(crate) carrier: Option<bool>,
    pub(crate) admin_up: Option<bool>,
    /// Present at all.
    pub(crate) exists: Option<bool>,
    /// Targets answer; with the carrier up, false is a black hole.
    pub(crate) answers: Option<bool>,
    pub(crate) loss_percent: Option<u8>,
    pub(crate) rtt_ms: Option<u64>,
    /// Every other answer takes so much longer.
    pub(crate) jitter_ms: Option<u64>,
    /// The gateway answers address resolution.
    pub(crate) neighbour: Option<bool>,
    /// A DHCP client's default route is there.
    pub(crate) lease: Option<bool>,
    /// Pings pass; false, with `answers`: all else does.
    pub(crate) pings: Option<bool>,
    /// Packets in a second that come in, unless the wire is a black hole, and that leave.
    pub(crate) ingress: Option<u64>,
    pub(crate) egress: Option<u64>,
    /// Handshakes in a second that begin, and those that would be answered.
    pub(crate) begun: Option<u64>,
    pub(crate) answered: Option<u64>,
    /// One target only.
    pub(crate) target: Option<IpAddr>,
}

/// The engine in its world.
pub(crate) struct World {
    engine: Engine,
    transport: Wires,
    own_routes: Vec<Route>,
    own_rules: Vec<Rule>,
    far_ends: FarEnds,
    history: Vec<(Duration, String)>,
    active: Option<String>,
    /// Each uplink's state, and how often it changed.
    states: BTreeMap<String, (State, usize)>,
}

impl World {
    pub(crate) fn new(config: &str) -> Self {
        let (config, _warnings) =
            Config::parse(config, "scenario").unwrap_or_else(|problems| panic!("{problems}"));
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant can only be made from the clock; virtual time adds to it"
        )]
        let start = Instant::now();
        let wires = config.uplinks.iter().enumerate().map(|(index, uplink)| {
            let gateway = match uplink.gateway {
                Gateway::Static { v4: Some(v4), .. } => IpAddr::V4(v4),
                _ => IpAddr::from([10, 0, index as u8, 1]),
            };
            wire(
                start,
                index as u32 + 2,
                &uplink.interface,
                gateway,
                uplink.gateway == Gateway::Auto,
            )
        });
        let transport = Wires {
            start,
            now: Cell::new(start),
            wires: wires.collect(),
            slots: BTreeMap::new(),
            random: 42,
        };
        let mut engine = Engine::new(config, 7, start);
        for index in 0..engine.config().uplinks.len() {
            engine.set_hook(UplinkId(index as u16), HookState::Attached(EngineKind::Tcx));
        }
        let mut world = Self {
            engine,
            transport,
            own_routes: Vec::new(),
            own_rules: Vec::new(),
            far_ends: FarEnds::default(),
            history: Vec::new(),
            active: None,
            states: BTreeMap::new(),
        };
        world.look();
        world
    }

    /// Changes something about an uplink, and lets the engine see what the kernel would tell of it.
    pub(crate) fn set(&mut self, uplink: &str, setting: &Setting) {
        let index = self
            .engine
            .config()
            .uplinks
            .iter()
            .position(|u| u.name == uplink)
            .expect("the scenario names an uplink");
        let now = self.now();
        let wire = &mut self.transport.wires[index];
        wire.passed = (wire.traffic(now), now);
        let put = |to: &mut bool, from: Option<bool>| *to = from.unwrap_or(*to);
        put(&mut wire.link.carrier, setting.carrier);
        put(&mut wire.link.admin_up, setting.admin_up);
        put(&mut wire.exists, setting.exists);
        put(&mut wire.neighbour, setting.neighbour);
        put(&mut wire.lease, setting.lease);
        put(&mut wire.pings, setting.pings);
        set_flow(wire, setting);
        match setting.target {
            Some(target) if setting.answers == Some(false) => wire.dead_targets.push(target),
            Some(target) => wire.dead_targets.retain(|dead| *dead != target),
            None => put(&mut wire.answers, setting.answers),
        }
        wire.loss_percent = setting.loss_percent.unwrap_or(wire.loss_percent);
        wire.rtt = setting.rtt_ms.map_or(wire.rtt, Duration::from_millis);
        wire.jitter = setting.jitter_ms.map_or(wire.jitter, Duration::from_millis);
        let gone = !wire.exists || !wire.link.admin_up;
        let ifindex = wire.link.ifindex;
        if gone {
            self.own_routes
                .retain(|route| route.next_hop.ifindex() != Some(ifindex));
        }
        self.look();
        self.converge();
    }

    /// The wire of an uplink, by its place.
    pub(crate) fn wire(&mut self, index: usize) -> &mut Wire {
        &mut self.transport.wires[index]
    }

    /// Lets so much time pass without a turn of the loop: it was stopped.
    pub(crate) fn stall(&mut self, time: Duration) {
        self.transport.now.set(self.now() + time);
    }

    /// How long it has lived.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now() - self.transport.start
    }

    /// Something is seen of every probe that is not answered, long after it was sent.
    pub(crate) fn note_late(&mut self, remarks: Remarks) {
        self.transport.remark_unanswered(remarks);
    }

    /// What there is to say of an uplink.
    pub(crate) fn why(&self, uplink: &str) -> Why {
        let wall = SystemTime::UNIX_EPOCH + (self.now() - self.transport.start);
        let why = self.engine.why(Some(uplink), self.now(), wall);
        why.expect("the scenario names an uplink")
    }

    /// Pins an uplink, or none by that name.
    pub(crate) fn pin(&mut self, uplink: &str) {
        let uplinks = &self.engine.config().uplinks;
        let index = uplinks.iter().position(|u| u.name == uplink);
        let now = self.now();
        self.engine
            .pin(index.map(|index| UplinkId(index as u16)), now);
        self.converge();
    }

    /// When the active uplink changed since the start, and to which.
    pub(crate) fn history(&self) -> &[(Duration, String)] {
        &self.history
    }

    /// Lives until so long after the start.
    pub(crate) fn run_until(&mut self, after: Duration) {
        let until = self.transport.start + after;
        while let Some(wake) = self.next_wake().filter(|wake| *wake <= until) {
            self.transport.now.set(wake.max(self.now()));
            self.step();
        }
        self.transport.now.set(until);
        self.step();
    }

    fn next_wake(&self) -> Option<Instant> {
        let wakes = [self.engine.next_wake(), self.far_ends.next_wake()];
        wakes.into_iter().flatten().min()
    }

    /// What the checks of the uplinks talk to.
    pub(crate) fn far_ends(&mut self) -> &mut FarEnds {
        &mut self.far_ends
    }

    pub(crate) fn status(&self) -> Status {
        self.engine.status(self.now(), self.wall())
    }

    /// The time of day: since 2026-11-01.
    fn wall(&self) -> SystemTime {
        let lived = self.now() - self.transport.start;
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_491_200) + lived
    }

    /// How often the active uplink changed from one to another.
    pub(crate) fn switches(&self) -> usize {
        self.history.len()
    }

    /// How often an uplink's state changed.
    pub(crate) fn changes(&self, uplink: &str) -> usize {
        self.states.get(uplink).map_or(0, |(_, changes)| *changes)
    }

    fn note_states(&mut self) {
        for (name, state, _) in self.engine.states() {
            let (known, changes) = self
                .states
                .entry(name.to_owned())
                .or_insert((State::Unknown, 0));
            *changes += usize::from(*known != state);
            *known = state;
        }
    }

    fn now(&self) -> Instant {
        self.transport.now.get()
    }

    fn step(&mut self) {
        let now = self.now();
        let wall = self.wall();
        self.engine.tell_time(wall, now);
        self.engine.run(now, &mut self.transport);
        self.engine.sent(now);
        self.far_ends.turn(&mut self.engine, now);
        let has_errands = self.engine.has_errands(now);
        let asked_for = self.engine.solicitations(now);
        let done = errands::done(&mut self.engine, now) + asked_for.len();
        assert!(has_errands || done == 0, "{done} errands were not told of");
        for (ifindex, address) in asked_for {
            let wire = self
                .transport
                .wires
                .iter()
                .find(|wire| wire.link.ifindex == ifindex)
                .expect("an interface");
            let state = if wire.neighbour {
                NeighbourState::Usable([2; 6])
            } else {
                NeighbourState::Failed
            };
            self.engine.neighbour(
                &Neighbour {
                    ifindex,
                    address,
                    state,
                },
                now,
            );
        }
        self.converge();
    }

    /// Applies plans as the kernel would, in order, until one is empty; at no point may the last default vanish.
    fn converge(&mut self) {
        let own = self.engine.config().protocol;
        for _ in 0..PLANS_MAX {
            let actual = self.engine.snapshot();
            let changes = reconcile::plan(actual, &self.engine.route_set(), own).changes;
            if changes.is_empty() {
                self.note_switch();
                return;
            }
            for change in changes {
                self.apply(&change);
            }
            self.look();
        }
        panic!("plan follows plan: {:?}", self.engine.snapshot().routes);
    }

    fn apply(&mut self, change: &Change) {
        let before = self.own_routes.len();
        match change {
            Change::Add(route) | Change::AddBeside(route) => self.own_routes.push(route.clone()),
            Change::Delete(route) => self.own_routes.retain(|own| own != route),
            Change::AddRule(rule) => return self.own_rules.push(rule.clone()),
            Change::DeleteRule(rule) => return self.own_rules.retain(|own| own != rule),
            _ => panic!("the scenarios know only routes and rules: {change:?}"),
        }
        assert_ne!(self.own_routes.len(), before, "{change:?} did nothing");
        assert!(
            !self.own_routes.is_empty(),
            "{change:?} took the last own default"
        );
    }

    fn note_switch(&mut self) {
        self.note_states();
        let active = self
            .engine
            .active()
            .map(|id| self.engine.config().uplinks[id.index()].name.clone());
        if active.is_some() && active != self.active {
            if let (Some(_), Some(to)) = (&self.active, &active) {
                let at = self.now() - self.transport.start;
                self.history.push((at, to.clone()));
            }
            self.active = active;
        }
    }

    fn look(&mut self) {
        let mut snapshot = Snapshot {
            routes: self.own_routes.clone(),
            rules: self.own_rules.clone(),
            ..Snapshot::default()
        };
        for wire in self.transport.wires.iter().filter(|wire| wire.exists) {
            let ifindex = wire.link.ifindex;
            snapshot.links.push(wire.link.clone());
            let IpAddr::V4(gateway) = wire.gateway else {
                panic!("the scenarios are IPv4")
            };
            let [a, b, c, _] = gateway.octets();
            snapshot.addresses.push(Address {
                ifindex,
                address: IpAddr::from([a, b, c, 100]),
                prefix_len: 24,
                global: true,
                usable: true,
                secondary: false,
            });
            let state = if wire.neighbour {
                NeighbourState::Usable([2; 6])
            } else {
                NeighbourState::Failed
            };
            snapshot.neighbours.push(Neighbour {
                ifindex,
                address: wire.gateway,
                state,
            });
            if wire.lease && wire.link.admin_up {
                snapshot.routes.push(Route {
                    destination: DEFAULT_V4,
                    table: TableId::MAIN,
                    metric: Metric(LEARNED_METRIC_BASE + ifindex.0),
                    protocol: Protocol(16),
                    next_hop: NextHop::Gateway {
                        ifindex,
                        gateway: wire.gateway,
                        onlink: false,
                    },
                    preferred_source: None,
                    wire: Vec::new(),
                });
            }
        }
        self.engine.network(snapshot, self.now());
    }
}
