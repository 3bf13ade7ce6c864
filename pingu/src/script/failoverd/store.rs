//! All paths that a script has probed, in the order in which it started them, and their results. It has no clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use thiserror::Error;

use super::results::Results;
use crate::script::probe::{Loss, Origin, Outcome, PathKey};

/// So many paths a script may have probed at a time: more than any router has, and what a loop that never ends may cost.
pub(super) const PATHS_MAX: usize = 16_384;

/// The paths that are probed, and what is known of them.
#[derive(Debug)]
pub(super) struct Store {
    window: Duration,
    paths: BTreeMap<PathNumber, Path>,
    numbers: BTreeMap<PathKey, PathNumber>,
    next: PathNumber,
    /// What the prober has not been told to start yet, in order, and to stop.
    to_start: BTreeMap<PathNumber, PathKey>,
    to_stop: BTreeSet<PathKey>,
}

/// What the prober has to do, so that it probes what the script wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) stop: Vec<PathKey>,
    pub(super) start: Vec<PathKey>,
    /// There are more.
    pub(super) are_more: bool,
}

/// Paths are numbered in the order in which they are started; no number is used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PathNumber(u64);

#[derive(Debug)]
struct Path {
    key: PathKey,
    /// Outcomes of probes that are older belong to an earlier run.
    started_at: Instant,
    results: Results,
}

/// What is known of one path at one time.
#[derive(Clone, Debug)]
pub(super) struct PathStatistics {
    pub(super) number: PathNumber,
    pub(super) key: PathKey,
    /// The address that its probes leave with, once that is known.
    pub(super) source: Option<IpAddr>,
    pub(super) loss_percent: f64,
    pub(super) count: usize,
    pub(super) lost: usize,
    pub(super) cause: Option<Loss>,
}

/// The script wants too much.
#[derive(Debug, Error)]
#[error("{PATHS_MAX} probes are running, which is as many as there may be")]
pub(super) struct TooMany;

impl Store {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            paths: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next: PathNumber::default(),
            to_start: BTreeMap::new(),
            to_stop: BTreeSet::new(),
        }
    }

    /// Results are kept for so long.
    pub(super) fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// Has a path probed; false if it is already.
    pub(super) fn start(&mut self, key: PathKey, now: Instant) -> Result<bool, TooMany> {
        if self.numbers.contains_key(&key) {
            return Ok(false);
        }
        if self.paths.len() >= PATHS_MAX {
            return Err(TooMany);
        }
        let number = self.next;
        self.next = PathNumber(number.0 + 1);
        self.numbers.insert(key.clone(), number);
        // What is stopped and started again before the prober hears of it goes on.
        if !self.to_stop.remove(&key) {
            self.to_start.insert(number, key.clone());
        }
        let path = Path {
            key,
            started_at: now,
            results: Results::default(),
        };
        self.paths.insert(number, path);
        Ok(true)
    }

    /// Ends the paths to a destination, or only those with this source; says how many.
    pub(super) fn stop(&mut self, destination: IpAddr, source: Option<&str>) -> usize {
        let numbers = self.to(destination, source);
        for number in &numbers {
            let path = self.paths.remove(number).expect("it was found just above");
            self.numbers.remove(&path.key);
            if self.to_start.remove(number).is_none() {
                self.to_stop.insert(path.key);
            }
        }
        numbers.len()
    }

    /// At most so many things that the prober has to do, of each kind.
    pub(super) fn take_changes(&mut self, count_max: usize) -> Changes {
        let stop = std::iter::from_fn(|| self.to_stop.pop_first());
        let stop = stop.take(count_max).collect();
        let start = std::iter::from_fn(|| self.to_start.pop_first());
        let start = start.take(count_max).map(|(_, key)| key).collect();
        Changes {
            stop,
            start,
            are_more: !self.to_stop.is_empty() || !self.to_start.is_empty(),
        }
    }

    /// Takes what became of a probe, unless its path has been stopped since.
    pub(super) fn record(&mut self, outcome: &Outcome, now: Instant) -> Option<PathNumber> {
        let number = *self.numbers.get(&outcome.path)?;
        let path = self.paths.get_mut(&number)?;
        if outcome.sent_at < path.started_at {
            return None;
        }
        path.results.push(outcome, now, self.window);
        Some(number)
    }

    /// The path with the least loss, the first of several. As long as nothing is known of a path it has lost nothing: so the script's own
    /// order decides at the start, and not whose answer is the quickest.
    pub(super) fn lowest_loss(&mut self, now: Instant) -> Option<PathStatistics> {
        let window = self.window;
        let ranked = self.paths.iter_mut().map(|(number, path)| {
            path.results.forget_old(now, window);
            (path.results.loss_percent(), *number)
        });
        let (_, number) = ranked.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        self.at(number, now)
    }

    /// The first path to a destination, or the first with this source: an address, or the interface that the script gave.
    pub(super) fn get(
        &mut self,
        destination: IpAddr,
        source: Option<&str>,
        now: Instant,
    ) -> Option<PathStatistics> {
        let number = self.to(destination, source).into_iter().min()?;
        self.at(number, now)
    }

    /// The paths to a destination, or only those with this source.
    fn to(&self, destination: IpAddr, source: Option<&str>) -> Vec<PathNumber> {
        let first = PathKey {
            destination,
            origin: Origin::Any,
        };
        let there = self.numbers.range(first..);
        there
            .take_while(|(key, _)| key.destination == destination)
            .map(|(_, number)| *number)
            .filter(|number| source.is_none_or(|source| self.paths[number].is_from(source)))
            .collect()
    }

    /// A path that is still probed.
    pub(super) fn at(&mut self, number: PathNumber, now: Instant) -> Option<PathStatistics> {
        let path = self.paths.get_mut(&number)?;
        path.results.forget_old(now, self.window);
        Some(PathStatistics {
            number,
            key: path.key.clone(),
            source: path.source(),
            loss_percent: path.results.loss_percent(),
            count: path.results.count(),
            lost: path.results.lost(),
            cause: path.results.cause(),
        })
    }

    /// The round-trip times of a path that is still probed.
    pub(super) fn rtts(&mut self, number: PathNumber, now: Instant) -> Vec<Duration> {
        let window = self.window;
        let path = self.paths.get_mut(&number);
        path.map_or(Vec::new(), |path| {
            path.results.forget_old(now, window);
            path.results.rtts()
        })
    }

    /// The first path, or the one that follows another.
    pub(super) fn after(&self, number: Option<PathNumber>) -> Option<PathNumber> {
        let first = number.map_or(PathNumber(0), |number| PathNumber(number.0 + 1));
        self.paths.range(first..).next().map(|(number, _)| *number)
    }

    /// How many paths are probed.
    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    /// What shall be probed, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &PathKey> {
        self.paths.values().map(|path| &path.key)
    }
}

impl Path {
    fn source(&self) -> Option<IpAddr> {
        match self.key.origin {
            Origin::Source(address) => Some(address),
            Origin::Any | Origin::Interface(_) => self.results.source(),
        }
    }

    fn is_from(&self, text: &str) -> bool {
        match &self.key.origin {
            Origin::Interface(name) if name == text => true,
            // What `ps:src()` says while no address is known.
            Origin::Any if text.is_empty() => true,
            Origin::Any | Origin::Source(_) | Origin::Interface(_) => {
                let address = text.parse();
                address.is_ok_and(|address| self.source() == Some(address))
            }
        }
    }
}
