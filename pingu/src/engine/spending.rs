//! What probing an uplink costs, checks included, and how far apart bursts and checks must be for a budget to last.
//!
//! Counted are the bytes of probes that left and of replies that came, and of checks, from the link header to the payload, without what
//! the link adds (preamble, padding, checksum).

use std::time::{Duration, Instant};

use crate::{
    config::{Budget, ProbeConfig},
    engine::{calendar::Span, check::Cost},
};

/// The share of a budget that the regular pace leaves to uplinks that fail: one in ten.
const RESERVE_ONE_IN: u64 = 10;

/// So large a share of a budget is noted for the next start before it is time to: one in a thousand.
const MUCH_ONE_IN: u64 = 1000;

/// A clock that shows a time before this has not been set: 2024-01-01.
const CLOCK_SET_S: i64 = 1_704_067_200;

/// An ICMP header.
const ICMP_BYTES: u64 = 8;

/// What one run tells the next of an uplink's budget.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BudgetHint {
    /// The uplink's name.
    pub uplink: String,
    /// When the budget's time began, in seconds since 1970.
    pub since_s: i64,
    /// The bytes spent in it.
    pub spent_bytes: u64,
}

/// Packets on the wire, by family: IPv4, IPv6.
pub(crate) type Packets = [u64; 2];

/// What was spent, and of what.
#[derive(Debug)]
pub(crate) struct Spending {
    budget: Option<Budget>,
    /// Bytes of a packet of each family behind the link header.
    packet_bytes: [u64; 2],
    pub(crate) header_bytes: u64,
    /// What the checks cost in a second at the pace that they are to have.
    pub(crate) check_bytes_per_s: f64,
    spent: u64,
    /// What of that the next run will be told if this one crashes.
    noted: u64,
    counted: Packets,
    /// The budget's time; none while nobody knows what day it is.
    span: Option<Span>,
    /// The one before it, and what was spent in it: the clock may have been wrong.
    before: Option<(Span, u64)>,
    ends: Option<Instant>,
}

impl Spending {
    pub(crate) fn new(probe: &ProbeConfig) -> Self {
        let packet = |ip: u64| ip + ICMP_BYTES + u64::from(probe.size_bytes);
        Self {
            budget: probe.passive.budget,
            packet_bytes: [packet(20), packet(40)],
            header_bytes: 0,
            check_bytes_per_s: 0.0,
            spent: 0,
            noted: 0,
            counted: [0; 2],
            span: None,
            before: None,
            ends: None,
        }
    }

    pub(crate) fn budget(&self) -> Option<Budget> {
        self.budget
    }

    /// Takes how many packets there have been since the start. A probe that vanished was counted for a while: numbers may go back.
    pub(crate) fn take(&mut self, packets: Packets) {
        self.spent = self.spent_with(packets);
        self.counted = packets;
    }

    /// Takes what a check has cost, and says how many bytes that are with link headers.
    pub(crate) fn charge(&mut self, cost: Cost) -> u64 {
        let bytes = cost.bytes + cost.packets * self.header_bytes;
        self.spent += bytes;
        bytes
    }

    /// What has been spent in the budget's time, or without one since the start.
    pub(crate) fn spent_with(&self, packets: Packets) -> u64 {
        let mut spent = self.spent;
        for family in [0, 1] {
            let bytes = self.header_bytes + self.packet_bytes[family];
            let (new, old) = (packets[family], self.counted[family]);
            spent = (spent + new.saturating_sub(old) * bytes)
                .saturating_sub(old.saturating_sub(new) * bytes);
        }
        spent
    }

    /// Takes the time of day, in seconds since 1970. Once a budget's time has ended another begins; with a clock that goes back what was
    /// spent stays spent. Whether another began.
    pub(crate) fn keep_time(&mut self, wall_s: i64, now: Instant) -> bool {
        let Some(budget) = self.budget else {
            return false;
        };
        let same = self.span.filter(|span| span.holds(wall_s));
        let span = same.or_else(|| Span::around(budget.per, wall_s));
        let Some(span) = span.filter(|_| wall_s >= CLOCK_SET_S) else {
            self.ends = None;
            return false;
        };
        let old = self.span.replace(span).filter(|old| *old != span);
        if let Some(old) = old {
            if span.begins_s > old.begins_s {
                self.before = Some((old, self.spent));
                self.spent = 0;
            } else if let Some((_, spent)) = self.before.take_if(|(before, _)| *before == span) {
                self.spent += spent;
            }
        }
        let left_s = u64::try_from(span.ends_s - wall_s).unwrap_or(0);
        self.ends = Some(now + Duration::from_secs(left_s));
        old.is_some()
    }

    /// When the budget's time ends, in seconds since 1970.
    pub(crate) fn resets_s(&self) -> Option<i64> {
        self.ends.and(self.span).map(|span| span.ends_s)
    }

    /// What an earlier run spent, told before anything else.
    pub(crate) fn remember(&mut self, hint: &BudgetHint) {
        if let Some(budget) = self.budget {
            self.span = Span::around(budget.per, hint.since_s);
            self.spent = hint.spent_bytes;
            self.noted = self.spent;
        }
    }

    /// A crash would make the next run forget much of its budget.
    pub(crate) fn is_much_unnoted(&self) -> bool {
        let unnoted = self.spent.saturating_sub(self.noted);
        self.budget
            .is_some_and(|budget| unnoted > budget.bytes / MUCH_ONE_IN)
    }

    /// What was spent is noted.
    pub(crate) fn take_note(&mut self) {
        self.noted = self.spent;
    }

    /// What the next run should know.
    pub(crate) fn hint(&self, uplink: &str) -> Option<BudgetHint> {
        Some(BudgetHint {
            uplink: uplink.to_owned(),
            since_s: self.span?.begins_s,
            spent_bytes: self.spent,
        })
    }

    /// Everything has been spent, what is kept for failures as well.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.budget.is_some_and(|budget| self.spent >= budget.bytes)
    }

    /// How far apart the bursts of one path may begin: `period`, or so far that what is left lasts, with `probes` to each family in a
    /// round of all paths; never further than `at_least`. What fails may spend the reserve.
    pub(crate) fn interval(
        &self,
        probe: &ProbeConfig,
        probes: Packets,
        failing: bool,
        now: Instant,
    ) -> Duration {
        let Some(budget) = self.budget else {
            return probe.mode.period();
        };
        let at_least = probe.passive.at_least;
        match self.spread(budget, probe, probes, failing, now) {
            Some(spread) => spread.clamp(probe.mode.period(), at_least),
            None => at_least,
        }
    }

    /// By how many times checks must run less often for the budget to last; infinite where nothing is left. Bursts are spread alike.
    pub(crate) fn stretch(
        &self,
        probe: &ProbeConfig,
        probes: Packets,
        failing: bool,
        now: Instant,
    ) -> f64 {
        let Some(budget) = self.budget else {
            return 1.0;
        };
        match self.spread(budget, probe, probes, failing, now) {
            Some(spread) => spread.as_secs_f64() / probe.mode.period().as_secs_f64(),
            None => f64::INFINITY,
        }
    }

    /// How far apart bursts would be that spend what is left to the end, with checks that are spread as much; none if not one can be
    /// paid.
    fn spread(
        &self,
        budget: Budget,
        probe: &ProbeConfig,
        probes: Packets,
        failing: bool,
        now: Instant,
    ) -> Option<Duration> {
        let of_family =
            |family: usize| probes[family] * (self.header_bytes + self.packet_bytes[family]);
        let of_checks = self.check_bytes_per_s * probe.mode.period().as_secs_f64();
        let round_bytes = 2 * (of_family(0) + of_family(1)) + of_checks as u64;
        let reserve = if failing {
            0
        } else {
            budget.bytes / RESERVE_ONE_IN
        };
        let left = (budget.bytes - reserve).saturating_sub(self.spent);
        let rounds = left / round_bytes.max(1);
        // Without the time of day the whole of it may lie ahead.
        let ahead = self.ends.map_or(budget.per.length_max(), |ends| {
            ends.saturating_duration_since(now)
        });
        match u32::try_from(rounds) {
            Ok(0) => None,
            Ok(rounds) => Some(ahead / rounds),
            Err(_) => Some(Duration::ZERO),
        }
    }
}

#[cfg(test)]
mod tests;
