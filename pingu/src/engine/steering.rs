//! Every look at the states of all uplinks: what they count for, who stands, and who is steered to.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    config::Mode,
    engine::{
        Engine, State,
        census::Mark,
        dead_target::TargetId,
        decide::{self, Candidate, Contest, Steering},
    },
    units::{GroupId, PathId, UplinkId},
};

impl Engine {
    /// Prefers one uplink to all others of its group whatever its health, as long as it can be left by; none: as they rank.
    pub fn pin(&mut self, pinned: Option<UplinkId>, now: Instant) {
        self.pinned = pinned.filter(|id| id.index() < self.uplinks.len());
        self.revision += 1;
        self.unsettle_all();
        self.rank(now);
    }

    /// The pinned uplink.
    pub fn pinned(&self) -> Option<UplinkId> {
        self.pinned
    }

    /// Ranks the groups in which something has changed, or of which a time has come.
    pub(super) fn rank(&mut self, now: Instant) {
        let mut changed = self.weigh(now);
        let damping = self.config.damping;
        for id in std::mem::take(&mut self.unsettled.uplinks) {
            let uplink = &mut self.uplinks[id.index()];
            let group = self.config.uplinks[id.index()].group;
            let before = uplink.state_noted;
            if uplink.note_state(&self.paths, damping.as_ref(), now) {
                changed = true;
                self.unsettled.groups.insert(group);
            }
            if uplink.state_noted != before {
                self.changed.insert(id);
            }
            self.note_waiting(id);
        }
        if self.turn.is_some_and(|turn| turn <= now) {
            for index in 0..self.rankings.len() {
                if self
                    .turn_of(GroupId(index as u16))
                    .is_some_and(|turn| turn <= now)
                {
                    self.unsettled.groups.insert(GroupId(index as u16));
                }
            }
        }
        let often = self.paths.len() > DENSE_PATHS
            && self
                .ranked
                .is_some_and(|ranked| now < ranked + RESTLESS_EVERY);
        if !often {
            let restless = std::mem::take(&mut self.unsettled.restless);
            self.unsettled.groups.extend(restless);
        }
        let groups = std::mem::take(&mut self.unsettled.groups);
        if !groups.is_empty() {
            for &group in &groups {
                changed |= self.rank_group(group, now);
            }
            let turns = (0..self.rankings.len()).map(|index| self.turn_of(GroupId(index as u16)));
            self.turn = turns.flatten().min();
            self.ranked = Some(now);
        }
        self.revision += u64::from(changed);
        self.observe_soon(now);
    }

    /// Whether the ranking of a group changed.
    fn rank_group(&mut self, group: GroupId, now: Instant) -> bool {
        let index = group.index();
        let candidates = self.candidates(group, now);
        let mode = self.config.groups[index].mode;
        let scripted = self.is_advised(group);
        let before = &self.rankings[index];
        let margins = self.config.prefer_better.as_ref();
        // A script that says the order has the figures too.
        self.contests[index] = match margins.filter(|_| mode != Mode::Balance && !scripted) {
            Some(margins) => {
                decide::preferred(&candidates, before, &self.contests[index], margins, now)
            }
            None => Contest::default(),
        };
        let mut steering = Steering {
            pinned: self.pinned,
            kept: None,
            better: self.contests[index].chosen,
            scripted,
            mode,
        };
        let mut ranking = decide::rank(&candidates, before, steering, now);
        steering.kept = self.stays_on(group, &candidates, &ranking, now);
        if steering.kept.is_some() {
            ranking = decide::rank(&candidates, &self.rankings[index], steering, now);
        }
        let changed = ranking != self.rankings[index];
        self.rankings[index] = ranking;
        changed
    }

    pub(super) fn candidates(&self, group: GroupId, now: Instant) -> Vec<Candidate> {
        let ids = self.members[group.index()].iter();
        ids.map(|&id| self.candidate(id, now)).collect()
    }

    fn candidate(&self, id: UplinkId, now: Instant) -> Candidate {
        let (uplink, config) = (&self.uplinks[id.index()], &self.config.uplinks[id.index()]);
        let mut candidate = uplink.candidate(id, config);
        candidate.order = self.advised_place(id).unwrap_or(candidate.order);
        // Nothing holds one that stands, or that is not up.
        let may_be_held =
            candidate.state == State::Up && !self.rankings[config.group.index()].stood(id);
        if may_be_held {
            let damping = self.config.damping.as_ref();
            candidate.held_until = uplink.held_until(config, &self.paths, damping, now);
        }
        if self.config.prefer_better.is_some() {
            candidate.qualities = uplink.qualities(&self.paths);
        }
        candidate
    }

    /// When the next hold-down, suppression or comparison of a group ends.
    fn turn_of(&self, group: GroupId) -> Option<Instant> {
        let held = self.rankings[group.index()]
            .held
            .iter()
            .map(|(_, until)| *until);
        let margins = self.config.prefer_better.as_ref();
        let decided = margins.and_then(|margins| self.contests[group.index()].decided_at(margins));
        held.chain(decided).chain(self.question_until(group)).min()
    }

    /// Everything is looked at in the next ranking.
    pub(super) fn unsettle_all(&mut self) {
        self.unsettle_uplinks();
        let groups = (0..self.rankings.len()).map(|index| GroupId(index as u16));
        self.unsettled.groups.extend(groups);
    }

    /// Each uplink's state is looked at in the next ranking.
    pub(super) fn unsettle_uplinks(&mut self) {
        let uplinks = (0..self.uplinks.len()).map(|index| UplinkId(index as u16));
        self.unsettled.uplinks.extend(uplinks);
    }

    /// Counts a path anew for its uplink and its target. Whether anything that they depend on has changed.
    pub(super) fn mark(&mut self, id: PathId) -> bool {
        let path = &self.paths[id.index()];
        let (before, mark) = (self.marks[id.index()], Mark::of(path));
        if before == mark {
            return false;
        }
        self.marks[id.index()] = mark;
        let uplink = &mut self.uplinks[path.uplink.index()];
        uplink.census.remove(&before);
        uplink.census.add(&mark);
        self.unsettled.uplinks.insert(path.uplink);
        let to = self.target_of[id.index()];
        let census = &mut self.targets[to.index()].census;
        let answered = census.answering > 0;
        census.remove(&before);
        census.add(&mark);
        let answers = census.answering > 0;
        self.answering = self.answering + usize::from(answers) - usize::from(answered);
        self.unsettled.targets.insert(to);
        note(&mut self.blind, id, mark.blind);
        note(&mut self.silent, id, mark.silent);
        true
    }

    /// Takes in that a path may have changed; `judged`: a burst of it was.
    pub(super) fn review(&mut self, id: PathId, judged: bool) {
        let is_changed = self.mark(id);
        let path = &self.paths[id.index()];
        // What these count for depends on more than their marks.
        if is_changed || path.waits_since.is_some() || path.counted.is_none() {
            self.unsettled.paths.push(id);
        }
        if !judged {
            return;
        }
        self.unsettled.targets.insert(self.target_of[id.index()]);
        let uplink = self.paths[id.index()].uplink;
        self.happenings.judged(uplink, &self.marks[id.index()]);
        if self.config.prefer_better.is_some() || self.uplinks[uplink.index()].is_returning() {
            let group = self.config.uplinks[uplink.index()].group;
            self.unsettled.restless.insert(group);
        }
    }

    /// Uplinks whose state changed since the last call, with their states and the reasons.
    pub fn changes(&mut self) -> Vec<(UplinkId, State, String)> {
        let changed = std::mem::take(&mut self.changed);
        let told = changed.into_iter().map(|id| {
            let (uplink, config) = (&self.uplinks[id.index()], &self.config.uplinks[id.index()]);
            let reason = uplink.reason(
                config,
                &self.paths,
                self.checks.of(id),
                &self.snapshot.links,
            );
            (id, uplink.state_noted, reason)
        });
        told.collect()
    }
}

fn note(set: &mut BTreeSet<PathId>, id: PathId, is_member: bool) {
    if is_member {
        set.insert(id);
    } else {
        set.remove(&id);
    }
}

/// What the next ranking has to look at.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// Paths that may count for something else.
    pub(super) paths: Vec<PathId>,
    /// Targets of which an uplink says something else.
    pub(super) targets: BTreeSet<TargetId>,
    /// Uplinks whose paths count for something else.
    pub(super) uplinks: BTreeSet<UplinkId>,
    /// Groups whose uplinks changed.
    pub(super) groups: BTreeSet<GroupId>,
    /// Groups of which verdicts may decide although they change no state: an uplink returns, or figures are compared.
    pub(super) restless: BTreeSet<GroupId>,
}

/// With more paths than this, verdicts that change no state wait for [`RESTLESS_EVERY`].
const DENSE_PATHS: usize = 4096;

/// Comparing a hundred thousand paths takes some ten milliseconds. A hold-down and a comparison last for seconds.
const RESTLESS_EVERY: Duration = Duration::from_millis(500);
