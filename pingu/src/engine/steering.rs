//! Every look at the states of all uplinks: what they count for, who stands, and who is steered to.

use std::time::Instant;

use crate::{
    config::Mode,
    engine::{
        Engine,
        decide::{self, Candidate, Contest, Steering},
    },
    units::UplinkId,
};

impl Engine {
    /// Prefers one uplink to all others of its group whatever its health, as long as it can be left by; none: as they rank.
    pub fn pin(&mut self, pinned: Option<UplinkId>, now: Instant) {
        self.pinned = pinned.filter(|id| id.index() < self.uplinks.len());
        self.revision += 1;
        self.rank(now);
    }

    /// The pinned uplink.
    pub fn pinned(&self) -> Option<UplinkId> {
        self.pinned
    }

    pub(super) fn rank(&mut self, now: Instant) {
        let mut changed = self.weigh(now);
        let damping = self.config.damping;
        for uplink in &mut self.uplinks {
            changed |= uplink.note_state(&self.paths, damping.as_ref(), now);
        }
        for index in 0..self.rankings.len() {
            let candidates: Vec<Candidate> = self.members[index]
                .iter()
                .map(|&id| self.candidate(id, now))
                .collect();
            let mode = self.config.groups[index].mode;
            let before = &self.rankings[index];
            if let Some(margins) = self.config.prefer_better.filter(|_| mode != Mode::Balance) {
                let contest = &self.contests[index];
                self.contests[index] =
                    decide::preferred(&candidates, before, contest, &margins, now);
            }
            let steering = Steering {
                pinned: self.pinned,
                better: self.contests[index].chosen,
                mode,
            };
            let ranking = decide::rank(&candidates, before, steering, now);
            changed |= ranking != self.rankings[index];
            self.rankings[index] = ranking;
        }
        self.revision += u64::from(changed);
        self.observe_soon(now);
    }

    fn candidate(&self, id: UplinkId, now: Instant) -> Candidate {
        let (uplink, config) = (&self.uplinks[id.index()], &self.config.uplinks[id.index()]);
        let damping = self.config.damping.as_ref();
        let mut candidate = uplink.candidate(id, config, &self.paths, damping, now);
        if self.config.prefer_better.is_some() {
            candidate.qualities = uplink.qualities(&self.paths);
        }
        candidate
    }

    /// When the next hold-down, suppression or comparison ends.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        let held = self.rankings.iter().flat_map(|ranking| &ranking.held);
        let margins = self.config.prefer_better.as_ref();
        let decided = |contest: &Contest| contest.decided_at(margins?);
        held.map(|(_, until)| *until)
            .chain(self.contests.iter().filter_map(decided))
            .min()
    }
}
