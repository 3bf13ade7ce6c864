//! What probing costs, uplink by uplink: counted, and noted for the next start.

use std::time::{Duration, Instant, SystemTime};

use crate::engine::{Engine, path::Path, spending::BudgetHint, uplink::Uplink};

/// The time of day is taken so often: a budget's time ends to the second.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// What was spent is noted for the next start so often: each note is a write to the disk.
const NOTE_EVERY: Duration = Duration::from_secs(10 * 60);

/// And so often where it is much of a budget.
const NOTE_MUCH_EVERY: Duration = Duration::from_secs(60);

/// When the clock is read and notes are taken.
#[derive(Debug)]
pub(crate) struct Ledger {
    next_clock: Instant,
    next_note: Instant,
    next_note_of_much: Instant,
    hints: Vec<BudgetHint>,
}

impl Ledger {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            next_clock: now,
            next_note: now + NOTE_EVERY,
            next_note_of_much: now + NOTE_MUCH_EVERY,
            hints: Vec::new(),
        }
    }
}

impl Uplink {
    /// Takes what its paths have sent and received into account.
    pub(crate) fn count_spending(&mut self, paths: &[Path]) {
        let packets = self.packets(paths);
        self.spending.take(packets);
    }

    /// Probes that left it and replies to them, by family.
    pub(crate) fn packets(&self, paths: &[Path]) -> [u64; 2] {
        let mut packets = [0; 2];
        for path in self.own_paths(paths) {
            packets[usize::from(path.target.is_ipv6())] += path.packets();
        }
        packets
    }
}

impl Engine {
    /// Takes the time of day at `now`, which budgets need; cheap enough for every turn of a loop.
    pub fn tell_time(&mut self, wall: SystemTime, now: Instant) {
        if now < self.ledger.next_clock {
            return;
        }
        self.ledger.next_clock = now + CLOCK_EVERY;
        let wall_s = match wall.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        let mut is_worth_a_note = now >= self.ledger.next_note;
        for uplink in &mut self.uplinks {
            if uplink.spending.budget().is_some() {
                uplink.count_spending(&self.paths);
                is_worth_a_note |= uplink.spending.keep_time(wall_s, now)
                    || now >= self.ledger.next_note_of_much && uplink.spending.is_much_unnoted();
            }
        }
        if is_worth_a_note {
            self.note_spending(now);
        }
    }

    /// Notes what the next start should know of budgets.
    pub fn note_spending(&mut self, now: Instant) {
        self.ledger.next_note = now + NOTE_EVERY;
        self.ledger.next_note_of_much = now + NOTE_MUCH_EVERY;
        for uplink in &mut self.uplinks {
            uplink.count_spending(&self.paths);
            uplink.spending.take_note();
        }
        let both = self.uplinks.iter().zip(&self.config.uplinks);
        let hints = both.filter_map(|(uplink, config)| uplink.spending.hint(&config.name));
        let hints: Vec<BudgetHint> = hints.collect();
        if self.ledger.hints != hints {
            self.ledger.hints = hints;
            self.revision += 1;
        }
    }

    /// What was noted last.
    pub fn spending_hints(&self) -> Vec<BudgetHint> {
        self.ledger.hints.clone()
    }

    /// Tells what earlier runs spent. Hints for uplinks without a budget are dropped.
    pub fn remember_spending(&mut self, hints: impl IntoIterator<Item = BudgetHint>) {
        for hint in hints {
            let mut names = self.config.uplinks.iter().map(|uplink| &uplink.name);
            if let Some(index) = names.position(|name| *name == hint.uplink) {
                self.uplinks[index].spending.remember(&hint);
            }
        }
        let both = self.uplinks.iter().zip(&self.config.uplinks);
        let hints = both.filter_map(|(uplink, config)| uplink.spending.hint(&config.name));
        self.ledger.hints = hints.collect();
    }
}
