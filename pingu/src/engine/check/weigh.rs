//! What checks that are down count for: one that fails over every uplink has a dead far end, and takes none down until that answers.
//!
//! A check takes its uplink down once its far end has answered over another one since the failing run began. Those others are asked at
//! once, so that this takes a run of theirs. Where no other uplink can tell, it takes it down as it is.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    config::WhenAllFail,
    engine::{
        State,
        check::{Checks, Weight},
    },
    units::UplinkId,
};

/// So many other uplinks are asked at once about a failure: enough to tell a dead far end, too few to flood it when one uplink of a
/// thousand fails.
const WITNESSES_MAX: usize = 8;

/// A run that was asked for may wait for a place before its own time begins.
const PLACE_GRACE: Duration = Duration::from_secs(1);

/// What depends on a change of weights.
#[derive(Debug, Default)]
pub(super) struct Weighed {
    /// Uplinks that a check takes down, or does no longer.
    pub(super) uplinks: BTreeSet<UplinkId>,
    /// A far end died or came back.
    pub(super) told: bool,
}

impl Checks {
    /// Takes in what the last run of a check came to: what it and all that try the same count for. `fine` says of which uplinks pings
    /// say that they are up.
    pub(super) fn weigh(
        &mut self,
        index: usize,
        good: Option<bool>,
        fine: &dyn Fn(UplinkId) -> bool,
        now: Instant,
    ) -> Weighed {
        let mut weighed = Weighed::default();
        let check = &mut self.list[index];
        let far_end = check.far_end;
        let recovers = good == Some(true)
            && check.verdicts.state() == State::Down
            && !matches!(check.weight, Weight::Counts { .. });
        if recovers {
            check.verdicts.doubt();
            self.set_weight(index, Weight::Doubted, &mut weighed);
        }
        if good == Some(true) {
            self.answers(far_end, now, &mut weighed);
        }
        self.settle(index, fine, now, &mut weighed);
        self.settle_open(far_end, fine, now, &mut weighed);
        weighed
    }

    /// Lets those count that have waited long enough for others.
    pub(super) fn weigh_late(&mut self, fine: &dyn Fn(UplinkId) -> bool, now: Instant) -> Weighed {
        let mut weighed = Weighed::default();
        while let Some(&(until, index)) = self.waits.first()
            && until <= now
        {
            self.settle(index, fine, now, &mut weighed);
            // Whatever came of it, it has waited.
            self.waits.remove(&(until, index));
        }
        weighed
    }

    /// When [`Checks::weigh_late`] is wanted.
    pub(super) fn next_weighing(&self) -> Option<Instant> {
        self.waits.first().map(|(until, _)| *until)
    }

    /// Asks others about the far end of a check that is run to find out whether it is down.
    pub(super) fn ask_with(&mut self, index: usize, now: Instant) {
        let check = &self.list[index];
        if !check.may_fall() || check.config.when_all_fail == WhenAllFail::Fall {
            return;
        }
        let works = |other: &usize| {
            let other = &self.list[*other];
            other.uplink != check.uplink
                && other.tells()
                && other.told.is_some_and(|told| told.good)
        };
        let far_end = &self.far_ends[check.far_end];
        let others = far_end.checks.iter().copied().filter(works);
        let others: Vec<usize> = others.take(WITNESSES_MAX).collect();
        for other in others {
            self.ask(other, now);
        }
    }

    fn ask(&mut self, index: usize, now: Instant) {
        let check = &self.list[index];
        let comes = check.run.is_some() || check.due.is_some_and(|due| due <= now);
        if check.way.is_some() && !comes {
            self.schedule(index, now);
        }
    }

    /// A far end answers over some uplink. If it was dead, those that failed over others must do so anew.
    fn answers(&mut self, far_end: usize, now: Instant, weighed: &mut Weighed) {
        let there = &mut self.far_ends[far_end];
        there.answered = Some(now);
        if there.dead.take().is_none() {
            return;
        }
        weighed.told = true;
        let mut left = WITNESSES_MAX;
        for index in there.checks.clone() {
            if self.list[index].weight != Weight::LeftOut {
                continue;
            }
            self.list[index].verdicts.doubt();
            self.set_weight(index, Weight::Doubted, weighed);
            // Whoever is not asked finds out with its next run.
            if left > 0 {
                left -= 1;
                self.ask(index, now);
            }
        }
    }

    fn settle_open(
        &mut self,
        far_end: usize,
        fine: &dyn Fn(UplinkId) -> bool,
        now: Instant,
        weighed: &mut Weighed,
    ) {
        let open: Vec<usize> = self.far_ends[far_end].open.iter().copied().collect();
        for index in open {
            self.settle(index, fine, now, weighed);
        }
    }

    fn settle(
        &mut self,
        index: usize,
        fine: &dyn Fn(UplinkId) -> bool,
        now: Instant,
        weighed: &mut Weighed,
    ) {
        let was_alive = self.far_ends[self.list[index].far_end].dead.is_none();
        let weight = self.weight(index, fine, now);
        let check = &self.list[index];
        if weight == Weight::LeftOut && was_alive {
            let death = check.death();
            let far_end = check.far_end;
            self.far_ends[far_end].dead = Some(death);
            weighed.told = true;
            self.set_weight(index, weight, weighed);
            self.settle_open(far_end, fine, now, weighed);
            return;
        }
        if let (Weight::Waits { asked, .. }, false) =
            (&weight, matches!(check.weight, Weight::Waits { .. }))
        {
            for other in asked.clone() {
                self.ask(other, now);
            }
        }
        self.set_weight(index, weight, weighed);
    }

    /// What a check counts for.
    fn weight(&self, index: usize, fine: &dyn Fn(UplinkId) -> bool, now: Instant) -> Weight {
        let check = &self.list[index];
        if check.verdicts.state() != State::Down {
            return Weight::Nothing;
        }
        if !check.verdicts.is_confirmed() || check.weight == (Weight::Counts { proven: true }) {
            return check.weight.clone();
        }
        let unproven = Weight::Counts { proven: false };
        let told = check.told.filter(|told| !told.good);
        let Some(told) = told.filter(|_| check.config.when_all_fail == WhenAllFail::Ignore) else {
            return match check.weight {
                Weight::LeftOut => Weight::LeftOut,
                _ => unproven,
            };
        };
        let since = match check.weight {
            Weight::Waits { since, .. } => since,
            _ => told.ordered,
        };
        let far_end = &self.far_ends[check.far_end];
        let death = check.death();
        if far_end.answered.is_some_and(|at| at >= since) {
            let proven = fine(check.uplink);
            return Weight::Counts { proven };
        }
        if far_end.dead.as_ref() == Some(&death) {
            return Weight::LeftOut;
        }
        if !fine(check.uplink) {
            return unproven;
        }
        let is_witness = |other: &usize| {
            let other = &self.list[*other];
            other.uplink != check.uplink && other.tells() && fine(other.uplink)
        };
        let agrees = |other: &usize| {
            let other = &self.list[*other];
            other.told.is_some_and(|told| !told.good) && other.death() == death
        };
        let may_tell = |other: &usize| {
            let told = self.list[*other].told;
            is_witness(other) && !agrees(other) && told.is_none_or(|told| told.ended < since)
        };
        let witnesses = || far_end.checks.iter().copied().filter(is_witness);
        match &check.weight {
            Weight::Waits { until, asked, .. } if asked.iter().any(may_tell) => {
                return if now >= *until {
                    unproven
                } else {
                    check.weight.clone()
                };
            }
            // It has taken its uplink down already: that is not taken back for a question.
            Weight::Counts { .. } if witnesses().any(|other| may_tell(&other)) => return unproven,
            Weight::Waits { .. } | Weight::Counts { .. } => {}
            Weight::Nothing | Weight::LeftOut | Weight::Doubted => {
                if let Some(waits) = self.wait(witnesses().filter(may_tell), since, now) {
                    return waits;
                }
            }
        }
        if witnesses().any(|other| agrees(&other)) {
            Weight::LeftOut
        } else {
            unproven
        }
    }

    /// Waits for some of these, if there are any: first those that worked last.
    fn wait(
        &self,
        others: impl Iterator<Item = usize>,
        since: Instant,
        now: Instant,
    ) -> Option<Weight> {
        let mut asked: Vec<usize> = others.collect();
        asked.sort_by_key(|other| !self.list[*other].told.is_some_and(|told| told.good));
        asked.truncate(WITNESSES_MAX);
        let timeouts = asked.iter().map(|other| self.list[*other].config.timeout);
        let until = now + timeouts.max()? + PLACE_GRACE;
        Some(Weight::Waits {
            since,
            until,
            asked,
        })
    }

    fn set_weight(&mut self, index: usize, weight: Weight, weighed: &mut Weighed) {
        let check = &mut self.list[index];
        let felled = check.fells();
        let before = std::mem::replace(&mut check.weight, weight);
        if check.fells() != felled {
            weighed.uplinks.insert(check.uplink);
        }
        let far_end = &mut self.far_ends[check.far_end];
        let is_open = match &check.weight {
            Weight::Waits { .. } => true,
            Weight::Counts { proven } => {
                !proven && check.config.when_all_fail == WhenAllFail::Ignore
            }
            Weight::Nothing | Weight::LeftOut | Weight::Doubted => false,
        };
        if is_open {
            far_end.open.insert(index);
        } else {
            far_end.open.remove(&index);
        }
        if let Weight::Waits { until, .. } = before {
            self.waits.remove(&(until, index));
        }
        if let Weight::Waits { until, .. } = self.list[index].weight {
            self.waits.insert((until, index));
        }
    }
}
