//! When the kernel is asked about the neighbours that frames are sent to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Bound,
    time::{Duration, Instant},
};

use crate::{
    engine::{Engine, way_out::WayOut},
    network::NeighbourState,
    units::{Ifindex, PathId},
};

/// How often a neighbour that answers is confirmed again, so that the kernel notices when it stops: well inside the kernel's
/// own reachable time (15 to 45 s).
const CONFIRM_EVERY: Duration = Duration::from_secs(5);

/// How often a neighbour that does not answer is asked for again: the kernel's own retransmission time.
const RESOLVE_EVERY: Duration = Duration::from_secs(1);

/// How often a neighbour behind which nothing answers is doubted. The kernel takes three seconds to find out that it is gone.
const DOUBT_EVERY: Duration = Duration::from_secs(5);

/// So many are asked for in one turn of the loop; the rest follows in the next ones.
const ASKED_PER_TURN: usize = 64;

/// So many paths that nothing answers over are looked at in one turn of the loop, in turns.
const DOUBTED_PER_TURN: usize = 64;

/// A neighbour: its interface and address.
pub(super) type Key = (Ifindex, IpAddr);

/// When which neighbour is to be asked for.
#[derive(Debug, Default)]
pub(super) struct Asking {
    by_time: BTreeSet<(Instant, Key)>,
    due: BTreeMap<Key, Instant>,
}

impl Asking {
    fn put(&mut self, key: Key, at: Instant) {
        if let Some(before) = self.due.insert(key, at) {
            self.by_time.remove(&(before, key));
        }
        self.by_time.insert((at, key));
    }

    /// One is to be asked for.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.by_time.first().is_some_and(|(at, _)| *at <= now)
    }

    fn take(&mut self, now: Instant) -> Option<Key> {
        let first = self.by_time.first().filter(|(at, _)| *at <= now)?;
        let (_, key) = *first;
        self.by_time.pop_first();
        self.due.remove(&key);
        Some(key)
    }
}

impl Engine {
    /// The neighbours that the kernel should be asked for; asking is noted.
    pub fn solicitations(&mut self, now: Instant) -> Vec<Key> {
        let mut due = Vec::new();
        while due.len() < ASKED_PER_TURN
            && let Some(key) = self.asking.take(now)
        {
            if self.paths_by(key).next().is_none() {
                continue;
            }
            // One that was set by hand is not asked for, but its turn is over as well.
            self.solicited.insert(key, now);
            if !matches!(self.neighbours.get(&key), Some(NeighbourState::Fixed(_))) {
                due.push(key);
            }
            self.ask_later(key, now);
        }
        due
    }

    /// Plans when a neighbour is asked for next, by what is known of it.
    pub(super) fn ask_later(&mut self, key: Key, now: Instant) {
        let every = match self.neighbours.get(&key) {
            Some(NeighbourState::Fixed(_) | NeighbourState::Usable(_)) => CONFIRM_EVERY,
            Some(NeighbourState::Incomplete | NeighbourState::Failed) | None => RESOLVE_EVERY,
        };
        let last = self.solicited.get(&key);
        self.asking.put(key, last.map_or(now, |last| *last + every));
    }

    /// The neighbours that the kernel should ask anew although it trusts what it knows of them: all probes by way of them are lost.
    /// Hardware that was exchanged without a word is found so, in seconds instead of half a minute. Asking is noted.
    pub fn doubts(&mut self, now: Instant) -> Vec<Key> {
        let from = (Bound::Excluded(self.doubted_last), Bound::Unbounded);
        let behind = self.silent.range(from).chain(&self.silent);
        let count = DOUBTED_PER_TURN.min(self.silent.len());
        let some: Vec<PathId> = behind.take(count).copied().collect();
        self.doubted_last = some.last().copied().unwrap_or(PathId(0));
        let keys: BTreeSet<Key> = some
            .iter()
            .filter_map(|id| self.neighbour_of(*id))
            .collect();
        let mut due = Vec::new();
        for key in keys {
            // One that was set by hand is never touched: asked anew, the kernel would forget what was set.
            let is_trusted = matches!(self.neighbours.get(&key), Some(NeighbourState::Usable(_)));
            let last = self.doubted.get(&key);
            let is_recent = last.is_some_and(|&last| now < last + DOUBT_EVERY);
            if !is_trusted || is_recent {
                continue;
            }
            let is_heard = |id: PathId| {
                let judged = &self.paths[id.index()].record.judged;
                judged.is_some_and(|judged| judged.report.answered > 0)
            };
            if !self.paths_by(key).any(is_heard) {
                self.doubted.insert(key, now);
                due.push(key);
            }
        }
        due
    }

    /// The neighbour that a path's frames are sent to.
    pub(super) fn neighbour_of(&self, id: PathId) -> Option<Key> {
        let path = &self.paths[id.index()];
        let way: &WayOut = self.uplinks[path.uplink.index()].way(path.target)?;
        way.neighbour(path.target)
    }

    /// The paths whose frames are sent to a neighbour.
    pub(super) fn paths_by(&self, key: Key) -> impl Iterator<Item = PathId> + '_ {
        let (ifindex, address) = key;
        let uplinks = self.uplinks_on.get(&ifindex).into_iter().flatten();
        let paths = uplinks.flat_map(move |id| {
            let uplink = &self.uplinks[id.index()];
            let mut ways = uplink.ways.iter().flatten();
            // Where the device itself is the next hop, each target is its own neighbour, and they are found by their addresses.
            let by_gateway = ways.any(|way| way.gateway == Some(address));
            let by_device = uplink
                .ways
                .iter()
                .flatten()
                .any(|way| way.gateway.is_none());
            let all = by_gateway.then(|| uplink.paths.clone().map(|path| PathId(path as u32)));
            let found = self
                .targets
                .binary_search_by_key(&address, |target| target.address);
            let place = found.ok().filter(|_| by_device && !by_gateway);
            let to_it = place
                .into_iter()
                .flat_map(|place| self.targets[place].paths.iter().copied());
            let of_it = to_it.filter(|path| uplink.paths.contains(&path.index()));
            all.into_iter().flatten().chain(of_it)
        });
        paths.filter(move |path| self.neighbour_of(*path) == Some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        engine::{
            burst::Report,
            evidence::{Basis, Judged},
            health::Verdict,
            test_clock,
        },
        network::{Address, Link, LinkLayer, Neighbour, Snapshot},
    };

    const TWO_TARGETS: &str = "[probe]\ntargets = [\"192.0.2.1\", \"192.0.2.2\"]\n\
        [[uplink]]\nname = \"a\"\ninterface = \"wan2\"\ngateway = \"10.0.2.1\"\n";

    const GATEWAY: (Ifindex, IpAddr) =
        (Ifindex(2), IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 2, 1)));

    fn engine(state: NeighbourState) -> Engine {
        let (config, _) = Config::parse(TWO_TARGETS, "test").unwrap();
        let mut engine = Engine::new(config, 7, test_clock());
        let snapshot = Snapshot {
            links: vec![Link {
                ifindex: GATEWAY.0,
                name: "wan2".to_owned(),
                alternative_names: Vec::new(),
                layer: LinkLayer::Ethernet([2, 0, 0, 0, 0, 1]),
                admin_up: true,
                carrier: true,
                is_port: false,
                mtu_bytes: 1500,
            }],
            addresses: vec![Address {
                ifindex: GATEWAY.0,
                address: [10, 0, 2, 2].into(),
                prefix_len: 24,
                global: true,
                usable: true,
                secondary: false,
            }],
            neighbours: vec![Neighbour {
                ifindex: GATEWAY.0,
                address: GATEWAY.1,
                state,
            }],
            ..Snapshot::default()
        };
        engine.network(snapshot, test_clock());
        engine
    }

    /// A judged burst of three.
    fn judged(answered: u32, lost: u32) -> Option<Judged> {
        let report = Report {
            answered,
            lost,
            ..Report::default()
        };
        Some(Judged {
            basis: Basis::Burst,
            verdict: Verdict::Bad,
            report,
            of: answered + lost,
            was_up: true,
            cause: None,
            started: test_clock(),
        })
    }

    fn judge(engine: &mut Engine, path: u32, judged: Option<Judged>) {
        engine.paths[path as usize].record.judged = judged;
        engine.review(PathId(path), true);
    }

    #[test]
    fn a_gateway_behind_which_nothing_answers_is_doubted_now_and_then() {
        let now = test_clock();
        let mut engine = engine(NeighbourState::Usable([2; 6]));
        assert_eq!(engine.doubts(now), [], "nothing is known");
        judge(&mut engine, 0, judged(0, 3));
        judge(&mut engine, 1, judged(1, 2));
        assert_eq!(engine.doubts(now), [], "another target answers");
        judge(&mut engine, 1, judged(0, 3));
        assert_eq!(engine.doubts(now), [GATEWAY]);
        assert_eq!(engine.doubts(now), [], "asked just now");
        assert_eq!(engine.doubts(now + DOUBT_EVERY), [GATEWAY]);
    }

    #[test]
    fn one_that_was_set_by_hand_is_never_asked_for_and_others_in_turns() {
        let now = test_clock() + CONFIRM_EVERY;
        let mut set = engine(NeighbourState::Fixed([2; 6]));
        assert_eq!(set.solicitations(now), []);
        let mut found = engine(NeighbourState::Usable([2; 6]));
        assert_eq!(found.solicitations(now), [GATEWAY]);
        assert_eq!(found.solicitations(now), [], "asked just now");
        assert_eq!(found.solicitations(now + CONFIRM_EVERY), [GATEWAY]);
    }

    #[test]
    fn only_what_the_kernel_found_out_by_itself_is_doubted() {
        for state in [
            NeighbourState::Fixed([2; 6]),
            NeighbourState::Incomplete,
            NeighbourState::Failed,
        ] {
            let mut engine = engine(state);
            for path in 0..2 {
                judge(&mut engine, path, judged(0, 3));
            }
            assert_eq!(engine.doubts(test_clock()), [], "{state:?}");
        }
    }
}
