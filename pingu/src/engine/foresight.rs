//! What may be decided next: when, and what should be true then. Nothing is decided here.

use std::{mem, time::Instant};

use crate::{
    engine::{
        Engine, State,
        decide::{self, Steering},
        routes::RouteSet,
        timetable::Timetable,
    },
    network::Nexthop,
    probe::ProbeTransport,
    units::{PathId, UplinkId},
};

/// So many paths are looked at shortly before their deadlines in one turn: where more are about to fall, the first of them are enough to
/// have what follows at hand.
const LOOKS_AHEAD_MAX: usize = 8;

/// What the last turn found to doubt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    /// An uplink with a path in doubt.
    pub(super) of: Option<UplinkId>,
    /// Passing time may shortly decide about one.
    is_near: bool,
}

impl Engine {
    /// An uplink with a path that was looked at in the last turn, is up and misses an answer: a decision may be next.
    pub fn in_doubt(&self) -> Option<UplinkId> {
        self.doubt.of
    }

    /// Whether the last turn was just before the time that may decide.
    pub fn may_decide_soon(&self) -> bool {
        self.doubt.is_near && self.doubt.of.is_some()
    }

    /// What should be there if an uplink were down.
    pub fn route_set_without(&mut self, id: UplinkId, now: Instant) -> (Vec<Nexthop>, RouteSet) {
        let group = self.config.uplinks[id.index()].group;
        let index = group.index();
        let mut candidates = self.candidates(group, now);
        for candidate in candidates.iter_mut().filter(|other| other.id == id) {
            candidate.state = State::Down;
        }
        let steering = Steering {
            pinned: self.pinned,
            kept: None,
            better: self.contests[index].chosen.filter(|better| *better != id),
            scripted: self.is_advised(group),
            mode: self.config.groups[index].mode,
        };
        let ranking = decide::rank(&candidates, &self.rankings[index], steering, now);
        let real = mem::replace(&mut self.rankings[index], ranking);
        let wanted = (self.nexthop_set(), self.route_set());
        self.rankings[index] = real;
        wanted
    }

    /// Looks at paths about which passing time may decide shortly after `now`. Whether nothing else is due.
    pub(super) fn look_ahead(&mut self, now: Instant, transport: &impl ProbeTransport) -> bool {
        let is_only_ahead = self.timetable.is_only_ahead(now);
        let mut looks = LOOKS_AHEAD_MAX;
        while let Some(id) = self.timetable.take_ahead(now) {
            if looks == 0 || !self.may_fall(id, now) {
                continue;
            }
            looks -= 1;
            self.collect(id, now, transport);
            match self.timetable.deadline_of(id) {
                // Another one may have taken the place of the deadline that was foreseen.
                Some(deadline) if self.may_fall(id, now) => self.foresee(id, deadline, now),
                _ => self.note_wants(id, now),
            }
        }
        is_only_ahead
    }

    /// Sees to it that the loop is awake shortly before a deadline that may take a path in doubt down. Where that is near, it is awake.
    pub(super) fn foresee(&mut self, id: PathId, decides: Instant, now: Instant) {
        if decides <= now || !self.may_fall(id, now) {
            return;
        }
        if Timetable::is_ahead(decides, now) {
            self.doubt = Doubt {
                of: Some(self.paths[id.index()].uplink),
                is_near: true,
            };
        } else {
            self.timetable.foresee(id, decides);
        }
    }

    fn may_fall(&self, id: PathId, now: Instant) -> bool {
        let path = &self.paths[id.index()];
        let uplink = &self.config.uplinks[path.uplink.index()];
        path.may_fall((&uplink.probe, &uplink.health), now)
    }
}
