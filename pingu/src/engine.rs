//! Everything known and everything decided, without a clock, a socket or a file: time and news come in as arguments.
//!
//! The loop tells the engine what the kernel says ([`Engine::network`], [`Engine::neighbour`]), lets it probe
//! ([`Engine::run`]), and asks what should be true ([`Engine::route_set`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Instant,
};

use crate::{
    config::{Config, GroupConfig},
    network::{LinkLayer, NeighbourState, Route, Snapshot},
    units::{Ifindex, PathId, UplinkId},
};

mod acknowledged;
mod active;
mod adoption;
mod advice;
mod burst;
mod bursts;
mod calendar;
mod causes;
mod census;
pub mod check;
pub mod connections;
mod damping;
mod dead_target;
mod decide;
mod directions;
mod errands;
mod evidence;
mod fights;
mod foresight;
mod handshakes;
mod happenings;
mod health;
mod histogram;
mod knowledge;
mod ledger;
mod looking;
mod memory;
mod neighbours;
mod pacing;
mod passive;
mod path;
mod phase;
mod probing;
mod quorum;
mod random;
mod reason;
pub mod reconcile;
mod record;
mod rolling;
mod routes;
mod signs;
mod spending;
mod status;
mod steering;
mod timetable;
mod uplink;
mod wants;
mod way_out;
mod why;
mod window;

pub use advice::{ExtraRoute, UplinkView};
pub(crate) use causes::words::icmp as icmp_words;
pub use causes::{CauseKind, status::CauseStatus};
pub use check::CheckStatus;
pub(crate) use damping::ceiling as penalty_ceiling;
pub use decide::Ranking;
pub use directions::DirectionsStatus;
pub use happenings::UplinkFacts;
pub use health::State;
pub use histogram::RttHistogram;
pub use knowledge::{Families, GatewayKnowledge, Knowledge, Origin};
pub use memory::GatewayHint;
pub(crate) use path::{bytes_needed, slots_needed};
pub use routes::RouteSet;
pub use signs::{Cause, HandshakeStatus, PassiveStatus, TrafficStatus};
pub use spending::BudgetHint;
pub use status::{
    DampingStatus, HookRun, HookState, HookStatus, PinnedBy, Status, TargetStatus, UplinkStatus,
};
pub use why::{Why, WhyCause, WhyTarget, WhyUplink};
pub use window::RttSummary;

use census::Mark;
use dead_target::{Target, TargetId};
use decide::Contest;
use directions::Reflections;
use health::Verdict;
use neighbours::Asking;
use path::Path;
use phase::Pace;
use probing::Outgoing;
use random::Random;
use steering::Unsettled;
use timetable::Timetable;
use uplink::Uplink;

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
    /// What was last counted of each path.
    marks: Vec<Mark>,
    /// The place of each path among all.
    places: Vec<usize>,
    /// By their addresses.
    targets: Vec<Target>,
    /// Of each path.
    target_of: Vec<TargetId>,
    /// How many targets answer over some uplink.
    answering: usize,
    /// The same when targets were last weighed, two standing for more.
    answering_weighed: Option<usize>,
    unsettled: Unsettled,
    happenings: happenings::Happenings,
    /// Paths whose last burst never left.
    blind: BTreeSet<PathId>,
    /// Paths over which nothing answered the last burst.
    silent: BTreeSet<PathId>,
    /// Uplinks whose state changed, until somebody asks.
    changed: BTreeSet<UplinkId>,
    checks: check::Checks,
    snapshot: Snapshot,
    /// Each uplink's interface: its place in the snapshot.
    link_places: Vec<Option<usize>>,
    /// The uplinks on each interface.
    uplinks_on: BTreeMap<Ifindex, Vec<UplinkId>>,
    neighbours: BTreeMap<(Ifindex, IpAddr), NeighbourState>,
    /// When each neighbour was last asked for.
    solicited: BTreeMap<(Ifindex, IpAddr), Instant>,
    asking: Asking,
    /// When each neighbour was last doubted.
    doubted: BTreeMap<(Ifindex, IpAddr), Instant>,
    /// The last path that was looked at for that.
    doubted_last: PathId,
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
    advice: advice::Advice,
    /// When counters are read.
    watch: signs::Watch,
    ledger: ledger::Ledger,
    /// The first snapshot has been seen.
    oriented: bool,
    /// Counts what may change the route set.
    revision: u64,
    /// When the next hold-down, suppression or comparison ends.
    turn: Option<Instant>,
    /// When some group was last ranked.
    ranked: Option<Instant>,
    timetable: Timetable,
    pace: Pace,
    /// What reflectors tell of the paths.
    reflections: Reflections,
    /// Makes the ICMP identifiers, which differ from burst to burst: some targets drop one that they saw before.
    identifiers: Random,
    outgoing: Outgoing,
    /// Of the last turn.
    doubt: foresight::Doubt,
}

impl Engine {
    /// An engine that knows nothing yet. `seed` makes the ICMP identifiers; equal seeds give equal decisions.
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        let places = phase::places(&config.uplinks);
        let phases = phase::phases(&config.uplinks, &places, now);
        let mut paths = Vec::with_capacity(places.len());
        let mut uplinks = Vec::with_capacity(config.uplinks.len());
        let mut members = vec![Vec::new(); config.groups.len()];
        let mut first_slot = 0;
        for (index, uplink) in config.uplinks.iter().enumerate() {
            let id = UplinkId(index as u16);
            members[uplink.group.index()].push(id);
            let first_path = paths.len();
            for &target in &uplink.probe.targets {
                let phase = phases[paths.len()];
                paths.push(Path::new(id, target, first_slot, &uplink.probe, phase));
                first_slot += slots_needed(&uplink.probe);
            }
            uplinks.push(Uplink::new(first_path..paths.len(), uplink, now));
        }
        let targets = dead_target::targets(&paths);
        let mut target_of = vec![TargetId(0); paths.len()];
        for (index, target) in targets.iter().enumerate() {
            for path in &target.paths {
                target_of[path.index()] = TargetId(index as u32);
            }
        }
        let reflections = Reflections::new(&config, paths.iter(), seed, now);
        let mut engine = Self {
            rankings: vec![Ranking::default(); config.groups.len()],
            contests: vec![Contest::default(); config.groups.len()],
            families: config.groups.iter().map(families).collect(),
            watch: signs::Watch::new(&config, now),
            ledger: ledger::Ledger::new(now),
            pinned: None,
            advice: advice::Advice::default(),
            marks: paths.iter().map(Mark::of).collect(),
            timetable: Timetable::new(paths.len(), now),
            pace: Pace::new(&config.uplinks, now),
            checks: check::Checks::new(&config, now),
            link_places: vec![None; config.uplinks.len()],
            happenings: happenings::Happenings::new(&config),
            config,
            uplinks,
            members,
            reflections,
            paths,
            places,
            targets,
            target_of,
            answering: 0,
            answering_weighed: None,
            unsettled: Unsettled::default(),
            blind: BTreeSet::new(),
            silent: BTreeSet::new(),
            changed: BTreeSet::new(),
            snapshot: Snapshot::default(),
            uplinks_on: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            solicited: BTreeMap::new(),
            asking: Asking::default(),
            doubted: BTreeMap::new(),
            doubted_last: PathId(0),
            adopted: Vec::new(),
            hints: memory::Hints::default(),
            refusals: Vec::new(),
            fights: fights::Fights::default(),
            oriented: false,
            revision: 0,
            turn: None,
            ranked: None,
            identifiers: Random(seed),
            outgoing: Outgoing::default(),
            doubt: foresight::Doubt::default(),
        };
        for (index, mark) in engine.marks.iter().enumerate() {
            let uplink = engine.paths[index].uplink;
            engine.uplinks[uplink.index()].census.add(mark);
            let target = engine.target_of[index];
            engine.targets[target.index()].census.add(mark);
        }
        engine
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

    /// There was a look at the kernel.
    pub fn is_oriented(&self) -> bool {
        self.oriented
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

    /// The interfaces that need hooks, by uplink: number, and whether its packets have no link header.
    pub fn hooks_wanted(&self) -> Vec<(UplinkId, Ifindex, bool)> {
        let of = |(index, place): (usize, &Option<usize>)| {
            let link = &self.snapshot.links[(*place)?];
            match link.layer {
                LinkLayer::Ethernet(_) => Some((UplinkId(index as u16), link.ifindex, false)),
                LinkLayer::Bare => Some((UplinkId(index as u16), link.ifindex, true)),
                LinkLayer::Other(_) => None,
            }
        };
        self.link_places.iter().enumerate().filter_map(of).collect()
    }

    /// Uplinks whose last burst said nothing because its probes never left, with the errno if the kernel gave one, and when it began:
    /// their hooks or sockets may be dead.
    pub fn blind(&self) -> impl Iterator<Item = (UplinkId, Option<i32>, Instant)> + '_ {
        let of = |id: &PathId| {
            let path = &self.paths[id.index()];
            let judged = path.record.judged?;
            Some((path.uplink, judged.report.errno, judged.started))
        };
        self.blind.iter().filter_map(of)
    }

    /// Uplinks with a target whose probes left in the last burst, and none came back.
    pub fn silent(&self) -> impl Iterator<Item = UplinkId> + '_ {
        let of = |id: &PathId| self.paths[id.index()].uplink;
        self.silent.iter().map(of)
    }

    /// Whether a burst over this uplink that began no earlier said something: its probes left.
    pub fn saw_since(&self, id: UplinkId, since: Instant) -> bool {
        let mut paths = self.uplinks[id.index()].own_paths(&self.paths);
        paths.any(|path| {
            let judged = path.record.judged.as_ref();
            judged.is_some_and(|judged| judged.verdict != Verdict::Blind && judged.started >= since)
        })
    }
}

/// Whether a group has IPv4 destinations, and IPv6 ones.
fn families(group: &GroupConfig) -> [bool; 2] {
    [false, true].map(|ipv6| {
        let mut prefixes = group.prefixes.iter();
        prefixes.any(|prefix| prefix.network().is_ipv6() == ipv6)
    })
}

/// A starting point for tests; only differences matter.
#[cfg(test)]
pub(crate) fn test_clock() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant can only be made from the clock; the tests add to it"
    )]
    Instant::now()
}
