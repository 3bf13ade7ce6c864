//! A target that fails over every uplink is a dead target, not a dead uplink: it is left out of their quorums until it answers.
//!
//! Where one failing path could take its uplink down, it counts only once another uplink has tried the target since the failure
//! began. Those others probe at once, so that this takes a burst of theirs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    config::ProbeMode,
    engine::{
        Engine, burst::DEADLINE_GRACE, census::TargetCensus, health::State, path::Path,
        wants::Wants,
    },
    units::PathId,
};

/// So many other uplinks are asked at once about one failing path: enough to tell a dead target, too few to flood it when one uplink
/// of a thousand dies.
const WITNESSES_MAX: usize = 8;

/// A target's place in the order of their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TargetId(pub(crate) u32);

impl TargetId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A target and what all uplinks together say of it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    /// The paths to it, each over another uplink.
    pub(crate) paths: Vec<PathId>,
    /// Those, counted.
    pub(crate) census: TargetCensus,
    /// Those whose failure waits for others.
    waiting: BTreeSet<PathId>,
    pub(crate) dead: bool,
    /// When the good bursts began that showed it alive again, since it was last dead.
    returned: Option<Instant>,
}

/// The targets of all paths, by their addresses.
pub(crate) fn targets(paths: &[Path]) -> Vec<Target> {
    let mut by_address: BTreeMap<IpAddr, Vec<PathId>> = BTreeMap::new();
    for (index, path) in paths.iter().enumerate() {
        let of = by_address.entry(path.target).or_default();
        of.push(PathId(index as u32));
    }
    let target = |(address, paths)| Target {
        address,
        paths,
        census: TargetCensus::default(),
        waiting: BTreeSet::new(),
        dead: false,
        returned: None,
    };
    by_address.into_iter().map(target).collect()
}

/// What a failing path's failure counts for.
enum Weight {
    Counts,
    /// Nothing yet: these may still say that the target is dead.
    Waits(Vec<PathId>),
}

impl Engine {
    /// Targets that fail over every uplink while others answer.
    pub fn dead_targets(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let dead = self.targets.iter().filter(|target| target.dead);
        dead.map(|target| target.address)
    }

    /// Finds the dead targets, and what those paths count for that may count for something else since the last time. Whether a target
    /// died or came back.
    pub(super) fn weigh(&mut self, now: Instant) -> bool {
        let targets = std::mem::take(&mut self.unsettled.targets);
        let mut paths: BTreeSet<(TargetId, PathId)> = std::mem::take(&mut self.unsettled.paths)
            .into_iter()
            .map(|id| (self.target_of[id.index()], id))
            .collect();
        // Whether another target answers is the same for all but one, unless there are fewer than two.
        let answering = self.answering.min(2);
        let all = self.answering_weighed.replace(answering) != Some(answering);
        let settled: Vec<TargetId> = if all {
            (0..self.targets.len() as u32).map(TargetId).collect()
        } else {
            targets.iter().copied().collect()
        };
        let mut changed = false;
        for id in settled {
            let target = &self.targets[id.index()];
            let itself = usize::from(target.census.answering > 0);
            let of_it = if self.settle(id, self.answering > itself) {
                changed = true;
                self.targets[id.index()].paths.clone()
            } else if targets.contains(&id) {
                self.targets[id.index()].waiting.iter().copied().collect()
            } else {
                continue;
            };
            paths.extend(of_it.into_iter().map(|path| (id, path)));
        }
        for (target, path) in paths {
            self.count(target, path, now);
        }
        changed
    }

    /// Finds out whether a target is dead. Whether that changed.
    fn settle(&mut self, id: TargetId, another_answers: bool) -> bool {
        let target = &mut self.targets[id.index()];
        let census = &target.census;
        let dead = if target.dead {
            another_answers && census.answering == 0
        } else {
            another_answers
                && census.telling >= 2
                && census.telling_bad == census.telling
                && census.telling_down > 0
        };
        if dead == target.dead {
            return false;
        }
        let paths = target.paths.iter().map(|id| &self.paths[id.index()]);
        let good = paths
            .filter(|path| path.answers())
            .filter_map(|path| path.record.evidence.good);
        target.returned = good.map(|run| run.first).min();
        target.dead = dead;
        true
    }

    /// Notes what a path counts for in its uplink's quorum.
    fn count(&mut self, to: TargetId, id: PathId, now: Instant) {
        let target = &self.targets[to.index()];
        let path = &self.paths[id.index()];
        let failed = !path.record.is_blocked() && path.record.health.state() == State::Down;
        let (counted, waits) = if !failed {
            (Some(path.state()), None)
        } else if target.dead {
            (None, None)
        } else if path.counted.is_none() {
            // It was left out, and counts again once it failed while the target was known to live.
            let failed_since = match (target.returned, path.record.evidence.bad) {
                (Some(returned), Some(bad)) => bad.last > returned,
                (None, _) | (_, None) => true,
            };
            (failed_since.then_some(State::Down), None)
        } else if path.counted == Some(State::Down) {
            (path.counted, None)
        } else {
            match self.weight(to, id, now) {
                Weight::Counts => (Some(State::Down), None),
                Weight::Waits(witnesses) => (path.counted, Some(witnesses)),
            }
        };
        let path = &mut self.paths[id.index()];
        path.counted = counted;
        self.mark(id);
        let (path, waiting) = (
            &mut self.paths[id.index()],
            &mut self.targets[to.index()].waiting,
        );
        match waits {
            None => {
                path.waits_since = None;
                waiting.remove(&id);
            }
            Some(witnesses) => {
                path.waits_since.get_or_insert(now);
                waiting.insert(id);
                self.ask(id, &witnesses, now);
            }
        }
    }

    fn weight(&self, to: TargetId, id: PathId, now: Instant) -> Weight {
        let path = &self.paths[id.index()];
        let uplink = &self.config.uplinks[path.uplink.index()];
        if uplink.health.quorum.of(uplink.probe.targets.len()) < 2 {
            return Weight::Counts;
        }
        let Some(bad) = path.record.evidence.bad else {
            return Weight::Counts;
        };
        let others = || {
            let ids = self.targets[to.index()].paths.iter().copied();
            ids.filter(|&other| other != id && self.paths[other.index()].tells())
        };
        let lives = |other: PathId| {
            let evidence = &self.paths[other.index()].record.evidence;
            evidence.is_good() && evidence.good.is_some_and(|good| good.last > bad.first)
        };
        if others().any(lives) {
            return Weight::Counts;
        }
        let mut witnesses: Vec<PathId> = others()
            .filter(|other| !self.paths[other.index()].record.evidence.is_bad())
            .collect();
        // Those that work are asked first.
        witnesses.sort_by_key(|other| !self.paths[other.index()].record.evidence.is_good());
        witnesses.truncate(WITNESSES_MAX);
        let patience = witnesses.iter().map(|&other| self.patience(other)).max();
        match (patience, path.waits_since) {
            (None, _) => Weight::Counts,
            (Some(patience), Some(since)) if now >= since + patience => Weight::Counts,
            (Some(_), _) => Weight::Waits(witnesses),
        }
    }

    /// How long a burst of a path may take that is asked for, from the end of one being sent to its last deadline, with a next hop
    /// that may have to be asked for.
    fn patience(&self, id: PathId) -> Duration {
        let probe = &self.config.uplinks[self.paths[id.index()].uplink.index()].probe;
        let sending = match &probe.mode {
            ProbeMode::Burst(burst) => burst.spacing * u32::from(burst.count),
            ProbeMode::Rolling(rolling) => rolling.interval,
        };
        sending * 2 + probe.timeout * 2 + DEADLINE_GRACE
    }

    /// Lets others probe the target of a failing path, where they have not since the failure began.
    fn ask(&mut self, id: PathId, witnesses: &[PathId], now: Instant) {
        let path = &self.paths[id.index()];
        let since = path.waits_since.unwrap_or(now);
        let began = path.record.evidence.bad.map_or(now, |bad| bad.first);
        for &other in witnesses {
            let patience = self.patience(other);
            let uplink = self.paths[other.index()].uplink;
            let probe = &self.config.uplinks[uplink.index()].probe;
            if let Some(at) = self.paths[other.index()].probe_since(began, probe, now) {
                self.timetable.note(
                    other,
                    &Wants {
                        send: Some(at),
                        ..Wants::default()
                    },
                );
            }
            self.timetable.note(
                id,
                &Wants {
                    look: Some(since + patience),
                    ..Wants::default()
                },
            );
        }
    }
}
