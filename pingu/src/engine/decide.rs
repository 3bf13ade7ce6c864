//! From what is known of each uplink to which of them shall have a route.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    config::{Mode, PreferBetter},
    engine::health::State,
    units::{Metric, UplinkId},
};

/// What the decision needs to know of an uplink.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: UplinkId,
    pub(crate) metric: Metric,
    /// Its place among the others, the most wanted first: its metric, or what a script says.
    pub(crate) order: u32,
    pub(crate) state: State,
    /// It has a way out: interface, carrier, gateway and address.
    pub(crate) usable: bool,
    /// Until then it draws no traffic although it is up: its hold-down, or its suppression.
    pub(crate) held_until: Option<Instant>,
    /// How well each target answers over it, in the order of their addresses; empty where nobody compares.
    pub(crate) qualities: Vec<(IpAddr, Quality)>,
}

/// How well a target answers, over its recent probes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quality {
    pub(crate) delay: Duration,
    pub(crate) loss_percent: f64,
}

/// Which uplinks shall have a route. The kernel takes the one with the lowest metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranking {
    /// The most wanted first, by metric.
    pub standing: Vec<UplinkId>,
    /// Uplinks that are up but would draw traffic before their hold-down has passed or while they are suppressed, and until when.
    pub held: Vec<(UplinkId, Instant)>,
    /// The uplink that traffic is steered to, because it is pinned or better than the one before it.
    pub preferred: Option<UplinkId>,
    /// Uplinks that would stand and outrank the preferred one. They serve a family that it cannot carry.
    pub passed_over: Vec<UplinkId>,
}

/// What steers traffic beside the state of the uplinks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steering {
    /// Preferred whatever its health, as long as it can be left by.
    pub(crate) pinned: Option<UplinkId>,
    /// Preferred as long as it is up and can be left by: a script vetoes that traffic leaves it.
    pub(crate) kept: Option<UplinkId>,
    /// Preferred as long as it is up: the outcome of [`preferred`].
    pub(crate) better: Option<UplinkId>,
    /// A script says the order: the first of it that stands is preferred if it is up, whatever the metrics.
    pub(crate) scripted: bool,
    pub(crate) mode: Mode,
}

/// Ranks the uplinks. `before` is the ranking that stands, or after a start the uplinks whose own routes were found.
///
/// Every uplink that is up stands, so that the kernel falls to the next by itself. Nothing is taken from an uplink of which
/// nothing is known yet. Where none is up the best one that stood stays, as long as it can be left by at all.
pub(crate) fn rank(
    candidates: &[Candidate],
    before: &Ranking,
    steering: Steering,
    now: Instant,
) -> Ranking {
    let mut by_metric: Vec<&Candidate> = candidates.iter().collect();
    by_metric.sort_by_key(|candidate| candidate.order);
    let (mut standing, held) = rank_by_metric(&by_metric, before, now);
    let pinned = by_metric
        .iter()
        .find(|c| steering.pinned == Some(c.id) && c.usable);
    let up = |wanted: Option<UplinkId>| {
        by_metric
            .iter()
            .filter(|c| c.state == State::Up && standing.contains(&c.id))
            .find(|c| wanted == Some(c.id))
    };
    let kept = || up(steering.kept).filter(|c| c.usable);
    let better = || up(steering.better);
    let first = || up(standing.first().copied().filter(|_| steering.scripted));
    let Some(preferred) = pinned.or_else(kept).or_else(better).or_else(first) else {
        return Ranking {
            standing,
            held,
            ..Ranking::default()
        };
    };
    let outranks = |id: UplinkId| {
        let other = by_metric.iter().find(|c| c.id == id);
        match steering.mode {
            Mode::Metric | Mode::Ordered => other.is_some_and(|c| c.metric < preferred.metric),
            Mode::Balance => true,
        }
    };
    standing.retain(|id| *id != preferred.id);
    let (passed_over, behind): (Vec<_>, Vec<_>) =
        standing.into_iter().partition(|&id| outranks(id));
    Ranking {
        standing: std::iter::once(preferred.id).chain(behind).collect(),
        held: held
            .into_iter()
            .filter(|(id, _)| *id != preferred.id)
            .collect(),
        preferred: Some(preferred.id),
        passed_over,
    }
}

/// Those that stand by their state and metric alone, and those that are held.
fn rank_by_metric(
    by_metric: &[&Candidate],
    before: &Ranking,
    now: Instant,
) -> (Vec<UplinkId>, Vec<(UplinkId, Instant)>) {
    let stood = |candidate: &Candidate| before.stood(candidate.id);
    let is_up = |candidate: &&&Candidate| candidate.state == State::Up;
    if !by_metric.iter().any(|candidate| is_up(&candidate)) {
        let unknown = by_metric
            .iter()
            .filter(|c| stood(c) && c.state == State::Unknown && c.usable)
            .map(|c| c.id);
        let mut standing: Vec<UplinkId> = unknown.collect();
        if standing.is_empty()
            && let Some(first) = before.standing.first().or(before.passed_over.first())
        {
            let carried = |c: &&&Candidate| before.standing.contains(&c.id);
            let last = by_metric
                .iter()
                .find(|c| carried(c) && c.usable)
                .or_else(|| by_metric.iter().find(|c| stood(c) && c.usable))
                .or_else(|| by_metric.iter().find(|c| c.usable));
            standing.push(last.map_or(*first, |candidate| candidate.id));
        }
        return (standing, Vec::new());
    }

    let up = || by_metric.iter().filter(is_up);
    let best_settled = up()
        .find(|candidate| before.has_settled(candidate, now))
        .map(|c| c.order);
    let held: Vec<(UplinkId, Instant)> = up()
        .filter(|candidate| {
            !stood(candidate) && best_settled.is_some_and(|best| candidate.order < best)
        })
        .filter_map(|candidate| Some((candidate.id, candidate.held(now)?)))
        .collect();
    let standing = by_metric
        .iter()
        .filter(|candidate| match candidate.state {
            State::Up => !held.iter().any(|(id, _)| *id == candidate.id),
            State::Unknown => stood(candidate) && candidate.usable,
            State::Down => false,
        })
        .map(|candidate| candidate.id)
        .collect();
    (standing, held)
}

impl Ranking {
    /// It stands, or would but for the preferred one.
    pub(crate) fn stood(&self, id: UplinkId) -> bool {
        self.standing.contains(&id) || self.passed_over.contains(&id)
    }

    /// Traffic may go to it.
    fn has_settled(&self, candidate: &Candidate, now: Instant) -> bool {
        candidate.state == State::Up && (self.stood(candidate.id) || candidate.held(now).is_none())
    }
}

impl Candidate {
    fn held(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|until| *until > now)
    }

    /// By the margin in delay or in loss, and not worse by the margin in the other. Only what both reach is compared.
    fn is_better_than(&self, other: &Self, margins: &PreferBetter) -> bool {
        let of = |qualities: &[(IpAddr, Quality)], target: IpAddr| {
            let place = qualities.binary_search_by_key(&target, |(address, _)| *address);
            place.ok().map(|place| qualities[place].1)
        };
        let pairs = || {
            let pair =
                |(target, own): &(IpAddr, Quality)| Some((*own, of(&other.qualities, *target)?));
            self.qualities.iter().filter_map(pair)
        };
        let count = pairs().count() as f64;
        if count == 0.0 {
            return false;
        }
        let gain = |figure: fn(&Quality) -> f64| {
            pairs()
                .map(|(own, other)| figure(&other) - figure(&own))
                .sum::<f64>()
                / count
        };
        let (delay_gain, delay_margin) = (
            gain(|quality| quality.delay.as_nanos() as f64),
            margins.by_delay.as_nanos() as f64,
        );
        let (loss_gain, loss_margin) = (
            gain(|quality| quality.loss_percent),
            f64::from(margins.by_loss_percent),
        );
        (delay_gain >= delay_margin && loss_gain > -loss_margin)
            || (loss_gain >= loss_margin && delay_gain > -delay_margin)
    }
}

/// The comparison of healthy uplinks with each other, and since when it has been as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contest {
    /// The uplink that others yield to.
    pub(crate) chosen: Option<UplinkId>,
    /// The one that the others are compared with.
    carries: Option<UplinkId>,
    /// Since when each of these has been better than that one.
    better_since: Vec<(UplinkId, Instant)>,
    /// Since when the chosen one has not been better than the one that would carry traffic without it.
    back_since: Option<Instant>,
}

impl Contest {
    /// When it is decided next, if nothing changes.
    pub(crate) fn decided_at(&self, margins: &PreferBetter) -> Option<Instant> {
        let since = self.better_since.iter().map(|(_, since)| *since);
        since
            .chain(self.back_since)
            .min()
            .map(|since| since + margins.for_time)
    }
}

/// Which uplink should carry traffic, although another one that is up outranks it: `chosen` in what is returned.
///
/// The one that carries traffic yields to one that has been better by the margin for the whole time. It comes back once that has
/// been untrue for as long. So between two decisions there is always that time, whatever the figures do.
pub(crate) fn preferred(
    candidates: &[Candidate],
    before: &Ranking,
    contest: &Contest,
    margins: &PreferBetter,
    now: Instant,
) -> Contest {
    let find = |id: Option<UplinkId>| candidates.iter().find(|c| Some(c.id) == id);
    let settled = || candidates.iter().filter(|c| before.has_settled(c, now));
    let natural = settled().min_by_key(|c| c.metric);
    let chosen = find(contest.chosen).filter(|c| c.state == State::Up && c.usable);
    let Some(carries) = chosen.or(natural) else {
        return Contest::default();
    };
    let same = contest.carries == Some(carries.id);
    let since = |id: UplinkId| {
        let known = contest
            .better_since
            .iter()
            .find(|(better, _)| *better == id);
        known.filter(|_| same).map_or(now, |(_, since)| *since)
    };
    let mut better: Vec<&Candidate> = settled()
        .filter(|c| c.id != carries.id && c.is_better_than(carries, margins))
        .collect();
    better.sort_by_key(|c| c.metric);
    let back_since = match (chosen, natural) {
        (Some(chosen), Some(natural))
            if chosen.id != natural.id && !chosen.is_better_than(natural, margins) =>
        {
            Some(contest.back_since.filter(|_| same).unwrap_or(now))
        }
        _ => None,
    };
    let is_over = |since: Instant| now >= since + margins.for_time;
    let winner = if back_since.is_some_and(is_over) {
        natural
    } else {
        better.iter().copied().find(|c| is_over(since(c.id)))
    };
    match winner {
        Some(winner) => Contest {
            chosen: Some(winner.id).filter(|id| natural.is_none_or(|n| n.id != *id)),
            carries: Some(winner.id),
            ..Contest::default()
        },
        None => Contest {
            chosen: chosen.map(|c| c.id),
            carries: Some(carries.id),
            better_since: better.iter().map(|c| (c.id, since(c.id))).collect(),
            back_since,
        },
    }
}

#[cfg(test)]
mod tests;
