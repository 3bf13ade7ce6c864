//! Whose connections end: what becomes of flows over an uplink when it dies, and when traffic leaves it although it is up.
//!
//! One for each group, and for each family where the families of a group may prefer different uplinks.

use std::{collections::BTreeMap, time::Instant};

use crate::{config::Failback, engine::health::State, units::UplinkId};

pub mod addresses;

/// An uplink whose connections are to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// The uplink.
    pub uplink: UplinkId,
    /// Why.
    pub reason: Reason,
}

/// Why an uplink's connections are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is not up any more, and there is another way.
    Died,
    /// Traffic left it for a better one, and the group fails back hard.
    Left,
    /// Traffic left it so long ago that what stayed has had its time.
    Drained,
}

/// The connections of a group's uplinks.
#[derive(Debug)]
pub struct Connections {
    failback: Failback,
    members: BTreeMap<UplinkId, Member>,
    /// The last look found an uplink that carries traffic.
    has_way: bool,
    /// When the first of what is left somewhere ends.
    drained_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    /// It carried traffic when some uplink last did.
    active: bool,
    /// It was up or active after its connections were last deleted: there may be some, if only such that came in over it. So there
    /// may at a start: whoever ran before may have been killed between moving the routes and deleting.
    may_have: bool,
    /// When what is left on it ends.
    drained_at: Option<Instant>,
}

impl Connections {
    /// Of a group of which nothing is known yet.
    pub fn new(failback: Failback, members: impl IntoIterator<Item = UplinkId>) -> Self {
        let found = Member {
            active: false,
            may_have: true,
            drained_at: None,
        };
        Self {
            failback,
            members: members.into_iter().map(|id| (id, found)).collect(),
            has_way: false,
            drained_at: None,
        }
    }

    /// Takes what the kernel does: the uplinks that new flows leave by, as its table has it (deleting before the routes have moved
    /// would let the flows come back where they were); several in mode `balance`, otherwise `Option::as_slice`. Gives what is to be
    /// deleted now.
    ///
    /// With no uplink active nothing is decided: a flow without another way is better off waiting for its own. `state` is that of an
    /// uplink that is not active; nothing is taken from one of which nothing is known yet.
    pub fn observe(
        &mut self,
        active: &[UplinkId],
        state: impl Fn(UplinkId) -> State,
        now: Instant,
    ) -> Vec<Flush> {
        self.has_way = active.iter().any(|id| self.members.contains_key(id));
        if !self.has_way {
            return Vec::new();
        }
        let failback = self.failback;
        let flush = |(&uplink, member): (&UplinkId, &mut Member)| {
            let reason = if active.contains(&uplink) {
                member.carries();
                None
            } else {
                match state(uplink) {
                    State::Up => member.stands_by(failback, now),
                    State::Unknown => member.drains(now),
                    State::Down => member.is_down(),
                }
            };
            reason.map(|reason| Flush { uplink, reason })
        };
        let flushes = self.members.iter_mut().filter_map(flush).collect();
        let ends = self.members.values().filter_map(|member| member.drained_at);
        self.drained_at = ends.min();
        flushes
    }

    /// When to observe again, if nothing else happens before.
    pub fn next_wake(&self) -> Option<Instant> {
        self.drained_at.filter(|_| self.has_way)
    }
}

impl Member {
    fn carries(&mut self) {
        *self = Self {
            active: true,
            may_have: true,
            drained_at: None,
        };
    }

    fn stands_by(&mut self, failback: Failback, now: Instant) -> Option<Reason> {
        let left = std::mem::take(&mut self.active);
        self.may_have = true;
        match failback {
            Failback::Hard => left.then_some(Reason::Left),
            Failback::Soft => None,
            Failback::Drain(time) => {
                if left {
                    self.drained_at = Some(now + time);
                }
                self.drains(now)
            }
        }
    }

    fn drains(&mut self, now: Instant) -> Option<Reason> {
        let over = self.drained_at.take_if(|end| *end <= now);
        over.map(|_| Reason::Drained)
    }

    fn is_down(&mut self) -> Option<Reason> {
        self.active = false;
        self.drained_at = None;
        std::mem::take(&mut self.may_have).then_some(Reason::Died)
    }
}

#[cfg(test)]
mod tests;
