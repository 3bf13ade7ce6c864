//! The checks of uplinks: when each is due, what its results come to, and what that does to its uplink.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::{CheckConfig, Config},
    engine::{Engine, State},
    units::UplinkId,
};

mod cost;
mod far_end;
mod outcome;
mod status;
mod verdicts;
mod ways;
mod weigh;

pub use cost::Cost;
use far_end::{FarEnd, Told, Weight};
pub use outcome::{Cause, CheckOutcome, Failure};
pub use status::CheckStatus;
pub(crate) use verdicts::Verdicts;
pub use ways::{CheckWay, Exit};
use weigh::Weighed;

/// One run of one check; no two have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// A check that is to be run.
#[derive(Clone, Debug)]
pub struct CheckOrder {
    /// The run.
    pub run: RunId,
    /// The uplink.
    pub id: UplinkId,
    /// The uplink's name.
    pub uplink: Arc<str>,
    /// What is to be tried.
    pub check: Arc<CheckConfig>,
    /// How it leaves.
    pub way: CheckWay,
}

/// A change of a check's state, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckChange {
    /// The uplink's name.
    pub uplink: Arc<str>,
    /// The check's name.
    pub check: String,
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// What its last run came to.
    pub text: String,
}

/// What is known of every check.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    list: Vec<Check>,
    /// Those of each uplink.
    of_uplink: Vec<Range<usize>>,
    /// What several of them try alike.
    far_ends: Vec<FarEnd>,
    /// Until when those that are down wait for others of their far end.
    waits: BTreeSet<(Instant, usize)>,
    wakes: BinaryHeap<Reverse<(Instant, usize)>>,
    running: HashMap<RunId, usize>,
    cancelled: Vec<RunId>,
    next_run: u64,
}

/// What is known of one check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) config: Arc<CheckConfig>,
    uplink: UplinkId,
    uplink_name: Arc<str>,
    pub(crate) verdicts: Verdicts,
    /// How it leaves; none while it cannot.
    way: Option<CheckWay>,
    run: Option<RunId>,
    /// Its valid entry in `wakes`; others there are stale.
    due: Option<Instant>,
    ordered: Instant,
    /// It has run by this way.
    has_run: bool,
    /// The place of its far end.
    far_end: usize,
    /// What its last run by this way said of it.
    told: Option<Told>,
    /// What it counts for.
    weight: Weight,
    /// What its last run cost, in bytes from the link header on; none before the first.
    cost_bytes: Option<u64>,
    /// What of its period its second run waits beyond half of it, so that not all run at once.
    phase: f64,
}

impl Check {
    /// Its state, as far as it can be run.
    pub(crate) fn state(&self) -> State {
        match self.way {
            Some(_) => self.verdicts.state(),
            None => State::Unknown,
        }
    }

    /// Its uplink is down because of it.
    pub(crate) fn fells(&self) -> bool {
        let counts = matches!(self.weight, Weight::Counts { .. });
        self.config.required && counts && self.state() == State::Down
    }

    /// It fails over every uplink: its far end is dead.
    pub(crate) fn is_left_out(&self) -> bool {
        self.weight == Weight::LeftOut
    }
}

/// The golden ratio's fraction: multiples of it lie evenly between 0 and 1.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Entries of `wakes` for each check, of which all but one are stale, until they are swept.
const STALE_MAX: usize = 4;

impl Checks {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let mut checks = Self::default();
        for (index, uplink) in config.uplinks.iter().enumerate() {
            let first = checks.list.len();
            let name: Arc<str> = uplink.name.as_str().into();
            for check in &uplink.checks {
                let number = checks.list.len() as f64;
                checks.list.push(Check {
                    config: Arc::clone(check),
                    uplink: UplinkId(index as u16),
                    uplink_name: Arc::clone(&name),
                    verdicts: Verdicts::unknown(now),
                    way: None,
                    run: None,
                    due: None,
                    ordered: now,
                    has_run: false,
                    far_end: 0,
                    told: None,
                    weight: Weight::Nothing,
                    cost_bytes: None,
                    phase: (number * GOLDEN).fract(),
                });
            }
            checks.of_uplink.push(first..checks.list.len());
        }
        checks.far_ends = far_end::far_ends(&mut checks.list);
        checks
    }

    /// Those of an uplink.
    pub(crate) fn of(&self, id: UplinkId) -> &[Check] {
        &self.list[self.of_uplink[id.index()].clone()]
    }

    /// The first check that fells an uplink.
    pub(crate) fn felling(&self, id: UplinkId) -> Option<&Check> {
        self.of(id).iter().find(|check| check.fells())
    }

    /// Since when no run of an uplink's required checks has failed; none where there are none, or one has just failed.
    fn good_since(&self, id: UplinkId) -> Option<Instant> {
        let required = self.of(id).iter().filter(|check| check.config.required);
        required
            .filter_map(|check| check.verdicts.good_since())
            .max()
    }

    fn next_wake(&self) -> Option<Instant> {
        self.wakes.peek().map(|Reverse((at, _))| *at)
    }

    /// Runs are to begin, or to end.
    pub(super) fn has_errands(&self, now: Instant) -> bool {
        !self.cancelled.is_empty() || self.next_errand().is_some_and(|at| at <= now)
    }

    /// When something is due: a run, or a verdict that has waited for others.
    fn next_errand(&self) -> Option<Instant> {
        let wakes = [self.next_wake(), self.next_weighing()];
        wakes.into_iter().flatten().min()
    }

    fn schedule(&mut self, index: usize, at: Instant) {
        self.list[index].due = Some(at);
        if self.wakes.len() > STALE_MAX * self.list.len() {
            let list = &self.list;
            self.wakes
                .retain(|Reverse((at, index))| list[*index].due == Some(*at));
        }
        self.wakes.push(Reverse((at, index)));
    }

    /// Takes how a check leaves from here on. A run by another way tells nothing of this one.
    fn set_way(&mut self, index: usize, way: Option<CheckWay>, now: Instant) {
        let check = &mut self.list[index];
        if check.way == way {
            return;
        }
        check.way = way;
        check.has_run = false;
        check.told = None;
        check.due = None;
        check.verdicts.start_over(now);
        if let Some(run) = check.run.take() {
            self.running.remove(&run);
            self.cancelled.push(run);
        }
        if self.list[index].way.is_some() {
            self.schedule(index, now);
        }
    }

    fn orders(&mut self, now: Instant) -> Vec<CheckOrder> {
        let mut orders = Vec::new();
        while let Some(&Reverse((at, index))) = self.wakes.peek()
            && at <= now
        {
            self.wakes.pop();
            let check = &mut self.list[index];
            if check.due != Some(at) || check.run.is_some() {
                continue;
            }
            let Some(way) = check.way.clone() else {
                continue;
            };
            let run = RunId(self.next_run);
            self.next_run += 1;
            check.due = None;
            check.run = Some(run);
            check.ordered = now;
            orders.push(CheckOrder {
                run,
                id: check.uplink,
                uplink: Arc::clone(&check.uplink_name),
                check: Arc::clone(&check.config),
                way,
            });
            self.running.insert(run, index);
            self.ask_with(index, now);
        }
        orders
    }

    /// Takes what a run came to: the check, its state before, and whether the far end answered as it should, if that was tried. None
    /// if nobody waits for it any more.
    fn take(
        &mut self,
        run: RunId,
        outcome: CheckOutcome,
        took: Duration,
        every: Duration,
        now: Instant,
    ) -> Option<(usize, State, Option<bool>)> {
        let index = self.running.remove(&run)?;
        let check = &mut self.list[index];
        let before = check.state();
        check.run = None;
        let good = match &outcome {
            Ok(_) => Some(true),
            Err(failure) => (failure.cause != Cause::Local).then_some(false),
        };
        if let Some(good) = good {
            check.told = Some(Told {
                good,
                ordered: check.ordered,
                ended: now,
            });
        }
        let config = &check.config;
        let is_sure = check.verdicts.judge(outcome, took, config, now);
        let is_doubtful = good == Some(false)
            && !check.verdicts.is_confirmed()
            && self.far_ends[check.far_end].is_in_doubt();
        let pause = if !is_sure || is_doubtful || check.weight == Weight::Doubted {
            config.timeout
        } else if check.has_run {
            every
        } else {
            every.mul_f64(0.5 + 0.5 * check.phase)
        };
        check.has_run |= is_sure;
        let next = now.max(check.ordered + pause);
        self.schedule(index, next);
        Some((index, before, good))
    }
}

impl Engine {
    /// The checks that are to be run.
    pub fn check_orders(&mut self, now: Instant) -> Vec<CheckOrder> {
        if self.checks.next_weighing().is_some_and(|at| at <= now) {
            let uplinks = &self.uplinks;
            let fine = |id: UplinkId| uplinks[id.index()].is_fine_but_for_checks();
            let weighed = self.checks.weigh_late(&fine, now);
            self.note_weighed(weighed, now);
        }
        self.checks.orders(now)
    }

    /// Runs that nobody waits for any more.
    pub fn cancelled_checks(&mut self) -> Vec<RunId> {
        std::mem::take(&mut self.checks.cancelled)
    }

    /// How many checks there are.
    pub fn check_count(&self) -> usize {
        self.checks.list.len()
    }

    /// Takes what a run came to, and how long it took.
    pub fn checked(
        &mut self,
        run: RunId,
        outcome: CheckOutcome,
        took: Duration,
        now: Instant,
    ) -> Option<CheckChange> {
        let every = self.pause_of(run, now)?;
        let (index, from, good) = self.checks.take(run, outcome, took, every, now)?;
        let uplinks = &self.uplinks;
        let fine = |id: UplinkId| uplinks[id.index()].is_fine_but_for_checks();
        let weighed = self.checks.weigh(index, good, &fine, now);
        let check = &self.checks.list[index];
        let (id, to) = (check.uplink, check.state());
        let change = (from != to).then(|| CheckChange {
            uplink: Arc::clone(&check.uplink_name),
            check: check.config.name.clone(),
            from,
            to,
            text: check.verdicts.text(),
        });
        self.note_checks(id);
        self.note_weighed(weighed, now);
        if change.is_some() {
            self.rank(now);
        }
        change
    }

    fn note_weighed(&mut self, weighed: Weighed, now: Instant) {
        self.revision += u64::from(weighed.told);
        for id in &weighed.uplinks {
            self.note_checks(*id);
        }
        if !weighed.uplinks.is_empty() {
            self.rank(now);
        }
    }

    /// When [`Engine::check_orders`] is wanted next.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.checks.next_errand()
    }

    fn note_checks(&mut self, id: UplinkId) {
        let uplink = &mut self.uplinks[id.index()];
        uplink.failed_check = self.checks.felling(id).is_some();
        uplink.checks_good_since = self.checks.good_since(id);
        self.unsettled.uplinks.insert(id);
        let group = self.config.uplinks[id.index()].group;
        self.unsettled.restless.insert(group);
    }
}

#[cfg(test)]
mod tests;
