//! Everything known and everything decided, without a clock, a socket or a file: time and news come in as arguments.
//!
//! The loop tells the engine what the kernel says ([`Engine::network`], [`Engine::neighbour`]), lets it probe
//! ([`Engine::run`]), and asks what should be true ([`Engine::route_set`]).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    config::{Config, GroupConfig},
    network::{Neighbour, NeighbourState, Route, Snapshot},
    probe::{ProbeOrder, ProbeTransport, SendResult},
    units::{GroupId, Ifindex, PathId, UplinkId},
};

mod acknowledged;
mod active;
mod adoption;
mod burst;
mod bursts;
mod calendar;
mod causes;
pub mod check;
pub mod connections;
mod damping;
mod dead_target;
mod decide;
mod directions;
mod evidence;
mod fights;
mod handshakes;
mod health;
mod knowledge;
mod ledger;
mod memory;
mod neighbours;
mod passive;
mod path;
mod quorum;
mod random;
mod reason;
pub mod reconcile;
mod record;
mod rolling;
mod routes;
mod sight;
mod signs;
mod spending;
mod status;
mod steering;
mod uplink;
mod way_out;
mod why;
mod window;

pub use causes::{CauseKind, status::CauseStatus};
pub use check::CheckStatus;
pub(crate) use damping::ceiling as penalty_ceiling;
pub use decide::Ranking;
pub use directions::DirectionsStatus;
pub use health::State;
pub use knowledge::{Families, GatewayKnowledge, Knowledge, Origin};
pub use memory::GatewayHint;
pub(crate) use path::slots_needed;
pub use routes::RouteSet;
pub use signs::{Cause, HandshakeStatus, PassiveStatus, TrafficStatus};
pub use spending::BudgetHint;
pub use status::{DampingStatus, HookState, PinnedBy, Status, TargetStatus, UplinkStatus};
pub use why::{Why, WhyCause, WhyTarget, WhyUplink};
pub use window::RttSummary;

use dead_target::Target;
use decide::Contest;
use directions::Reflections;
use path::Path;
use random::Random;
use uplink::Uplink;
use way_out::{Readiness, WayOut};

/// The engine.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    uplinks: Vec<Uplink>,
    /// The uplinks of each group, in the order of the configuration.
    members: Vec<Vec<UplinkId>>,
    /// Of each group: whether it has IPv4 destinations, and IPv6 ones.
    families: Vec<[bool; 2]>,
    paths: Vec<Path>,
    targets: Vec<Target>,
    checks: check::Checks,
    snapshot: Snapshot,
    neighbours: BTreeMap<(Ifindex, IpAddr), NeighbourState>,
    /// When each neighbour was last asked for.
    solicited: BTreeMap<(Ifindex, IpAddr), Instant>,
    /// When each neighbour was last doubted.
    doubted: BTreeMap<(Ifindex, IpAddr), Instant>,
    adopted: Vec<Route>,
    /// Gateways learned by this run or an earlier one.
    hints: memory::Hints,
    /// What the kernel refused in the last attempt to make it agree.
    refusals: Vec<String>,
    /// Who takes own routes away.
    fights: fights::Fights,
    /// Of each group.
    rankings: Vec<Ranking>,
    /// Of each group: the healthy uplinks compared.
    contests: Vec<Contest>,
    pinned: Option<UplinkId>,
    /// When counters are read.
    watch: signs::Watch,
    ledger: ledger::Ledger,
    /// The first snapshot has been seen.
    oriented: bool,
    /// Counts what may change the route set.
    revision: u64,
    wakes: BinaryHeap<Reverse<(Instant, PathId)>>,
    /// Each path's valid entry in `wakes`; others there are stale.
    wake_of: Vec<Option<Instant>>,
    /// What reflectors tell of the paths.
    reflections: Reflections,
    /// Makes the ICMP identifiers, which differ from burst to burst: some targets drop one that they saw before.
    identifiers: Random,
    orders: Vec<ProbeOrder>,
    results: Vec<SendResult>,
    /// Which paths the orders came from, and how many from each.
    ordered: Vec<(PathId, usize)>,
}

impl Engine {
    /// An engine that knows nothing yet. `seed` makes the ICMP identifiers; equal seeds give equal decisions.
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        let mut paths = Vec::new();
        let mut uplinks = Vec::new();
        let mut members = vec![Vec::new(); config.groups.len()];
        let mut first_slot = 0;
        for (index, uplink) in config.uplinks.iter().enumerate() {
            let id = UplinkId(index as u16);
            members[uplink.group.index()].push(id);
            let first_path = paths.len();
            for &target in &uplink.probe.targets {
                paths.push(Path::new(id, target, first_slot, &uplink.probe, now));
                first_slot += slots_needed(&uplink.probe);
            }
            uplinks.push(Uplink::new(first_path..paths.len(), uplink, now));
        }
        let reflections = Reflections::new(&config, paths.iter(), seed, now);
        Self {
            rankings: vec![Ranking::default(); config.groups.len()],
            contests: vec![Contest::default(); config.groups.len()],
            families: config.groups.iter().map(families).collect(),
            watch: signs::Watch::new(&config, now),
            ledger: ledger::Ledger::new(now),
            pinned: None,
            wake_of: vec![None; paths.len()],
            checks: check::Checks::new(&config, now),
            config,
            uplinks,
            members,
            targets: dead_target::targets(&paths),
            reflections,
            paths,
            snapshot: Snapshot::default(),
            neighbours: BTreeMap::new(),
            solicited: BTreeMap::new(),
            doubted: BTreeMap::new(),
            adopted: Vec::new(),
            hints: memory::Hints::default(),
            refusals: Vec::new(),
            fights: fights::Fights::default(),
            oriented: false,
            revision: 0,
            wakes: BinaryHeap::new(),
            identifiers: Random(seed),
            orders: Vec::new(),
            results: Vec::new(),
            ordered: Vec::new(),
        }
    }

    /// The configuration it runs.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many probe slots the configuration needs.
    pub fn slots_needed(&self) -> u32 {
        self.paths
            .iter()
            .map(|path| slots_needed(&self.config.uplinks[path.uplink.index()].probe))
            .sum()
    }

    /// The last look at the kernel.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Which uplinks of each group shall have a route.
    pub fn rankings(&self) -> &[Ranking] {
        &self.rankings
    }

    /// Grows whenever [`Engine::route_set`] or an uplink's state may have changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes a fresh look at the kernel.
    pub fn network(&mut self, snapshot: Snapshot, now: Instant) {
        self.neighbours = snapshot
            .neighbours
            .iter()
            .map(|n| ((n.ifindex, n.address), n.state))
            .collect();
        let is_there = |(ifindex, _): &(Ifindex, IpAddr)| {
            let mut links = snapshot.links.iter();
            links.any(|link| link.ifindex == *ifindex)
        };
        self.solicited.retain(|key, _| is_there(key));
        self.doubted.retain(|key, _| is_there(key));
        self.snapshot = snapshot;
        self.fights.forget(now);
        self.forget_stale_adopted();
        for (index, uplink) in self.uplinks.iter_mut().enumerate() {
            uplink.look(
                &self.config.uplinks[index],
                &self.snapshot,
                self.config.protocol,
                &self.adopted,
                self.hints.of(UplinkId(index as u16)),
            );
        }
        self.hints.note(&self.config.uplinks, &self.uplinks);
        self.find_counters();
        if !self.oriented {
            self.oriented = true;
            for index in 0..self.rankings.len() {
                self.rankings[index].standing = self.found_standing(GroupId(index as u16));
            }
        }
        for path in 0..self.paths.len() {
            self.refresh_readiness(PathId(path as u32), now);
        }
        self.find_check_ways(now);
        self.revision += 1;
        self.rank(now);
    }

    /// Takes news of one neighbour.
    pub fn neighbour(&mut self, neighbour: &Neighbour, now: Instant) {
        let key = (neighbour.ifindex, neighbour.address);
        let before = self.neighbours.insert(key, neighbour.state);
        let was_usable = matches!(
            before,
            Some(NeighbourState::Usable(_) | NeighbourState::Fixed(_))
        );
        if was_usable && neighbour.state == NeighbourState::Failed {
            // An entry that was flushed is asked for at once: it says nothing about the neighbour.
            self.solicited.remove(&key);
        }
        for path in 0..self.paths.len() {
            if self.neighbour_of(PathId(path as u32)) == Some(key) {
                self.refresh_readiness(PathId(path as u32), now);
            }
        }
    }

    /// Reads what came back, judges, and sends what is due. [`Engine::sent`] must follow with the time after the sending.
    pub fn run(&mut self, now: Instant, transport: &mut impl ProbeTransport) {
        self.orders.clear();
        self.ordered.clear();
        transport.refresh();
        let observed = self.observe(transport, now);
        while let Some(&Reverse((at, id))) = self.wakes.peek()
            && at <= now
        {
            self.wakes.pop();
            if self.wake_of[id.index()] != Some(at) {
                continue;
            }
            self.wake_of[id.index()] = None;
            let path = &mut self.paths[id.index()];
            let uplink = &self.config.uplinks[path.uplink.index()];
            self.uplinks[path.uplink.index()].sample(transport, now);
            path.collect(&uplink.probe, &uplink.health, now, transport);
            if let Some(directions) = self.reflections.of_mut(id) {
                directions.collect(transport);
            }
            self.hold_back(id, now);
            let path = &mut self.paths[id.index()];
            let uplink = &self.config.uplinks[path.uplink.index()];
            let first_order = self.orders.len();
            path.order(
                (&uplink.probe, &uplink.health),
                || self.identifiers.next() as u16,
                now,
                &mut self.orders,
            );
            if self.orders.len() > first_order {
                if let Some(directions) = self.reflections.of_mut(id) {
                    directions.ordered(&mut self.orders[first_order..], now);
                }
                self.ordered.push((id, self.orders.len() - first_order));
            } else {
                // A burst without a neighbour is judged without any order having left. Slots just ordered must not be read
                // yet: until they are armed they hold an earlier probe's stamps.
                path.collect(&uplink.probe, &uplink.health, now, transport);
            }
            if let Some(wake) = path.next_wake(&uplink.probe, &uplink.health, now) {
                self.schedule(id, wake.max(now + WAKE_AGAIN_MIN));
            }
        }
        if !self.orders.is_empty() {
            transport.send(&self.orders, &mut self.results);
        }
        if observed {
            self.follow_signs(now);
        }
        self.rank(now);
    }

    /// Takes the time at which the last [`Engine::run`] had handed its probes over: their timeouts count from there.
    pub fn sent(&mut self, now: Instant) {
        let mut first = 0;
        for (id, count) in self.ordered.drain(..) {
            let path = &mut self.paths[id.index()];
            let timeout = self.config.uplinks[path.uplink.index()].probe.timeout;
            path.sent(&self.results[first..first + count], timeout, now);
            if let Some(directions) = self.reflections.of_mut(id) {
                directions.sent(&self.results[first..first + count]);
            }
            first += count;
        }
    }

    /// When [`Engine::run`] is wanted next.
    pub fn next_wake(&self) -> Option<Instant> {
        let probing = self.wakes.peek().map(|Reverse((at, _))| *at);
        probing
            .into_iter()
            .chain(self.next_turn())
            .chain(self.next_check())
            .chain(self.next_observation())
            .min()
    }

    fn refresh_readiness(&mut self, id: PathId, now: Instant) {
        let neighbour = self
            .neighbour_of(id)
            .map(|key| self.neighbours.get(&key).copied());
        let path = &mut self.paths[id.index()];
        let readiness = match self.uplinks[path.uplink.index()].way(path.target) {
            Some(way) => way.readiness(neighbour.flatten()),
            None => Readiness::Blocked,
        };
        if path.record.readiness != readiness {
            path.set_readiness(readiness, now);
            self.schedule(id, now);
        }
    }

    fn neighbour_of(&self, id: PathId) -> Option<(Ifindex, IpAddr)> {
        let path = &self.paths[id.index()];
        let way: &WayOut = self.uplinks[path.uplink.index()].way(path.target)?;
        way.neighbour(path.target)
    }

    fn schedule(&mut self, id: PathId, at: Instant) {
        if self.wake_of[id.index()].is_none_or(|before| at < before) {
            self.wake_of[id.index()] = Some(at);
            self.wakes.push(Reverse((at, id)));
        }
    }
}

/// Whether a group has IPv4 destinations, and IPv6 ones.
fn families(group: &GroupConfig) -> [bool; 2] {
    [false, true].map(|ipv6| {
        let mut prefixes = group.prefixes.iter();
        prefixes.any(|prefix| prefix.network().is_ipv6() == ipv6)
    })
}

/// The shortest time between two looks at the same path, so that a wake-up always makes progress.
const WAKE_AGAIN_MIN: Duration = Duration::from_micros(50);

/// A starting point for tests; only differences matter.
#[cfg(test)]
pub(crate) fn test_clock() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant can only be made from the clock; the tests add to it"
    )]
    Instant::now()
}
