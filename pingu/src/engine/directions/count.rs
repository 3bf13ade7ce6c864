//! What the counts of consecutive replies come to. Whatever they are, the numbers add up: what was sent was lost on one of the two ways, or
//! its reply came back.

use super::DirectionsStatus;

/// How far two counts may lie apart beyond what was sent between them: requests overtake each other, and a network may double some. What
/// lies farther apart was not counted from the same beginning; of counts with random beginnings one in ten million seems to be.
const COUNT_SLACK: u32 = 256;

/// The last reply before the probes that are looked back on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) requests: u32,
    /// Probes that left after it and before those.
    pub(super) since: u64,
}

/// Whether two counts, between which so many requests were sent, began together.
pub(super) fn are_of_one_count(before: u32, after: u32, sent: u64) -> bool {
    let apart = after.wrapping_sub(before) as i32;
    let limit = sent.saturating_add(u64::from(COUNT_SLACK));
    u64::from(apart.unsigned_abs()) <= limit
}

/// A walk over the probes in the order in which they were sent.
pub(super) struct Count {
    /// The highest count so far.
    pub(super) last: Option<u32>,
    /// Requests that left since the last reply.
    pub(super) since: u64,
    of: u64,
    arrived: u64,
    returned: u64,
}

impl Count {
    pub(super) fn new(base: Option<Base>) -> Self {
        Self {
            last: base.map(|base| base.requests),
            since: base.map_or(0, |base| base.since),
            of: 0,
            arrived: 0,
            returned: 0,
        }
    }

    pub(super) fn take(&mut self, requests: u32) {
        let since = std::mem::take(&mut self.since) + 1;
        match self.last {
            Some(last) if are_of_one_count(last, requests, since) => {
                // One that was overtaken by the next has a lower count, and was counted there.
                let more = (requests.wrapping_sub(last) as i32).max(0) as u32;
                self.of += since;
                self.returned += 1;
                self.arrived += u64::from(more);
                self.last = Some(last.wrapping_add(more));
            }
            // The first one, or a count that began anew: what was sent before it is not known.
            Some(_) | None => self.last = Some(requests),
        }
    }

    pub(super) fn status(&self) -> DirectionsStatus {
        // What came back had arrived, whatever the counts say: a doubled request is counted twice, an overtaken one late.
        let arrived = self.arrived.clamp(self.returned, self.of);
        let forward_lost = self.of - arrived;
        let backward_lost = arrived - self.returned;
        let percent = |part: u64, of: u64| (of > 0).then(|| part as f64 * 100.0 / of as f64);
        DirectionsStatus {
            of: self.of,
            forward_lost,
            backward_lost,
            forward_loss_percent: percent(forward_lost, self.of),
            backward_loss_percent: percent(backward_lost, arrived),
            untold: self.since,
            ..DirectionsStatus::default()
        }
    }
}
