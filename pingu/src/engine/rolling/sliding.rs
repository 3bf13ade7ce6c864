//! A sliding window of probes, and what they amount to: counts, mean delay and jitter, kept as probes come, are settled and leave.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    engine::{burst::Report, causes::CauseId},
    units::SlotId,
};

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// On its way.
    Pending(SlotId),
    /// Answered, in time or later.
    Received { rtt: Duration, is_late: bool },
    /// Not answered within its timeout so far, and why.
    Lost(CauseId),
    /// The next hop has no link-layer address.
    NoNeighbour,
    /// Refused by the kernel, with the errno. Says nothing about the path.
    NotSent(i32),
    /// It never passed the egress hook. Says nothing about the path.
    NotStamped(CauseId),
}

/// A probe. Its number counts up from the path's first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// When it had been handed over.
    pub(crate) sent: Instant,
    pub(crate) fate: Fate,
}

/// Probes in a row at the end of the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) count: u32,
    /// The number of the oldest of them.
    pub(crate) first: u64,
    /// When the oldest and the newest of them were sent.
    pub(crate) oldest: Instant,
    pub(crate) newest: Instant,
    /// Those of them without a neighbour.
    pub(crate) no_neighbour: u32,
}

/// The probes of a path that still count, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Sliding {
    probes: VecDeque<Probe>,
    /// The number of the oldest of them.
    first: u64,
    /// Probes before this number say nothing any more: the path was blocked since.
    fresh_from: u64,
    received: u32,
    lost: u32,
    no_neighbour: u32,
    not_sent: u32,
    errno: Option<i32>,
    rtt_sum: Duration,
    /// The sum of the steps from each answer's round-trip time to the next one's, in order of sending.
    step_sum: Duration,
}

impl Sliding {
    /// Adds a probe. Returns its number.
    pub(crate) fn push(&mut self, probe: Probe) -> u64 {
        let number = self.end();
        self.probes.push_back(Probe {
            fate: Fate::Pending(SlotId(0)),
            ..probe
        });
        self.settle(number, probe.fate);
        number
    }

    /// The number of the next probe.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.probes.len() as u64
    }

    /// The number of the oldest probe.
    pub(crate) fn begin(&self) -> u64 {
        self.first
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Probe> {
        self.probes.get(self.index(number)?)
    }

    /// The newest probe.
    pub(crate) fn newest(&self) -> Option<&Probe> {
        self.probes.back()
    }

    /// Notes when the newest probe had been handed over.
    pub(crate) fn handed_over(&mut self, now: Instant) {
        if let Some(newest) = self.probes.back_mut() {
            newest.sent = now;
        }
    }

    /// Notes what became of a probe, which was pending or lost. One that has left the window is no matter.
    pub(crate) fn settle(&mut self, number: u64, fate: Fate) {
        let Some(index) = self.index(number) else {
            return;
        };
        let before = std::mem::replace(&mut self.probes[index].fate, fate);
        if number < self.fresh_from {
            return;
        }
        if matches!(before, Fate::Lost(_)) {
            self.lost -= 1;
        }
        match fate {
            Fate::Pending(_) => {}
            Fate::Received { rtt, .. } => {
                self.received += 1;
                self.rtt_sum += rtt;
                let (older, newer) = (self.older_answer(index), self.newer_answer(index));
                if let (Some(older), Some(newer)) = (older, newer) {
                    self.step_sum -= older.abs_diff(newer);
                }
                for neighbour in [older, newer].into_iter().flatten() {
                    self.step_sum += neighbour.abs_diff(rtt);
                }
            }
            Fate::Lost(_) => self.lost += 1,
            Fate::NoNeighbour => self.no_neighbour += 1,
            Fate::NotSent(errno) => {
                self.not_sent += 1;
                self.errno = Some(errno);
            }
            Fate::NotStamped(_) => {
                self.not_sent += 1;
                self.errno = None;
            }
        }
    }

    /// Forgets what was sent before this time, but for what is pending.
    pub(crate) fn forget_before(&mut self, start: Instant) {
        while let Some(oldest) = self.probes.front()
            && oldest.sent < start
            && !matches!(oldest.fate, Fate::Pending(_))
        {
            let fate = oldest.fate;
            if self.first >= self.fresh_from {
                self.uncount(fate);
            }
            self.probes.pop_front();
            self.first += 1;
        }
    }

    /// No probe so far says anything any more; those that are pending are still awaited.
    pub(crate) fn start_over(&mut self) {
        let fresh_from = self.end();
        *self = Self {
            probes: std::mem::take(&mut self.probes),
            first: self.first,
            fresh_from,
            ..Self::default()
        };
    }

    /// What all of them amount to. Late answers are answers here.
    pub(crate) fn report(&self) -> Report {
        let settled = self.received + self.lost + self.no_neighbour + self.not_sent;
        let fresh = self.end() - self.first.max(self.fresh_from);
        Report {
            answered: self.received,
            lost: self.lost,
            late: 0,
            no_neighbour: self.no_neighbour,
            not_sent: self.not_sent,
            pending: u32::try_from(fresh).unwrap_or(u32::MAX) - settled,
            rtt_mean: self.rtt_sum / self.received.max(1),
            jitter: (self.received > 1).then(|| self.step_sum / (self.received - 1)),
            errno: self.errno,
        }
    }

    /// The last probes in a row that are missing, `most` at most: lost, without a neighbour, or pending and overdue. One that is
    /// pending still, or never left, says nothing.
    pub(crate) fn missing_row(
        &self,
        most: u32,
        is_overdue: impl Fn(&Probe) -> bool,
    ) -> Option<Row> {
        let mut row: Option<Row> = None;
        for (number, probe) in self.numbered() {
            let no_neighbour = match probe.fate {
                Fate::Received { .. } => break,
                Fate::Pending(_) if !is_overdue(probe) => continue,
                Fate::NotSent(_) | Fate::NotStamped(_) => continue,
                Fate::Pending(_) | Fate::Lost(_) => 0,
                Fate::NoNeighbour => 1,
            };
            let row = row.get_or_insert(Row {
                count: 0,
                first: number,
                oldest: probe.sent,
                newest: probe.sent,
                no_neighbour: 0,
            });
            row.count += 1;
            (row.first, row.oldest) = (number, probe.sent);
            row.no_neighbour += no_neighbour;
            if row.count >= most {
                break;
            }
        }
        row
    }

    /// The last probes in a row, from this number on, that were answered in time, `most` at most, but for what is pending behind them.
    pub(crate) fn answered_row(&self, most: u32, from: u64) -> Option<Row> {
        let mut row: Option<Row> = None;
        for (number, probe) in self.numbered() {
            match probe.fate {
                _ if number < from => break,
                Fate::Received { is_late: false, .. } => {}
                Fate::Pending(_) if row.is_none() => continue,
                Fate::NotSent(_) | Fate::NotStamped(_) => continue,
                Fate::Pending(_)
                | Fate::Received { is_late: true, .. }
                | Fate::Lost(_)
                | Fate::NoNeighbour => break,
            }
            let row = row.get_or_insert(Row {
                count: 0,
                first: number,
                oldest: probe.sent,
                newest: probe.sent,
                no_neighbour: 0,
            });
            row.count += 1;
            (row.first, row.oldest) = (number, probe.sent);
            if row.count >= most {
                break;
            }
        }
        row
    }

    /// What its ring takes of memory.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.probes.capacity() * size_of::<Probe>()
    }

    fn numbered(&self) -> impl Iterator<Item = (u64, &Probe)> {
        let end = self.end();
        let newest_first = self.newest_first().zip(1_u64..);
        newest_first.map(move |(probe, back)| (end - back, probe))
    }

    /// The probes that say something, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Probe> {
        let fresh = self.end() - self.first.max(self.fresh_from);
        let fresh = usize::try_from(fresh).unwrap_or(usize::MAX);
        self.probes.iter().rev().take(fresh)
    }

    fn index(&self, number: u64) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (index < self.probes.len()).then_some(index)
    }

    fn uncount(&mut self, fate: Fate) {
        match fate {
            Fate::Pending(_) => {}
            Fate::Received { rtt, .. } => {
                self.received -= 1;
                self.rtt_sum -= rtt;
                if let Some(newer) = self.newer_answer(0) {
                    self.step_sum -= newer.abs_diff(rtt);
                }
            }
            Fate::Lost(_) => self.lost -= 1,
            Fate::NoNeighbour => self.no_neighbour -= 1,
            Fate::NotSent(_) | Fate::NotStamped(_) => self.not_sent -= 1,
        }
    }

    /// The round-trip time of the last answered probe before this one.
    fn older_answer(&self, index: usize) -> Option<Duration> {
        let first_fresh = usize::try_from(self.fresh_from.saturating_sub(self.first)).ok()?;
        let older = self.probes.range(first_fresh.min(index)..index).rev();
        older.filter_map(rtt_of).next()
    }

    /// That of the first one behind it.
    fn newer_answer(&self, index: usize) -> Option<Duration> {
        self.probes.range(index + 1..).filter_map(rtt_of).next()
    }
}

fn rtt_of(probe: &Probe) -> Option<Duration> {
    match probe.fate {
        Fate::Received { rtt, .. } => Some(rtt),
        Fate::Pending(_)
        | Fate::Lost(_)
        | Fate::NoNeighbour
        | Fate::NotSent(_)
        | Fate::NotStamped(_) => None,
    }
}
