//! Which callback comes next: on_quit before all others, then on_update when it is due, then on_recv for each outcome. It has no clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::store::PathNumber;

/// So many outcomes wait for their on_recv at most: some minutes of a usual script. A script that is slower than that has no use for
/// older ones.
const PENDING_MAX: usize = 4096;

/// What is still to be called.
#[derive(Debug)]
pub(super) struct Agenda {
    pending: VecDeque<PathNumber>,
    dropped: u64,
    update_every: Duration,
    update_at: Instant,
    is_over: bool,
}

/// What the script's thread does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Calls on_quit, and ends.
    Quit,
    /// Calls on_update.
    Update,
    /// Calls what a timer of the script is for.
    Timer,
    /// Calls on_recv.
    Receive(PathNumber),
    /// Nothing before then.
    Wait(Instant),
}

impl Agenda {
    /// on_update is called for the first time after its period.
    pub(super) fn new(update_every: Duration, now: Instant) -> Self {
        Self {
            pending: VecDeque::new(),
            dropped: 0,
            update_every,
            update_at: now + update_every,
            is_over: false,
        }
    }

    /// An outcome is known. The oldest gives way where there are too many.
    pub(super) fn push(&mut self, path: PathNumber) {
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
            self.dropped += 1;
        }
        self.pending.push_back(path);
    }

    /// There is nothing more to do but to quit.
    pub(super) fn quit(&mut self) {
        self.is_over = true;
    }

    /// What to do, which counts as done.
    pub(super) fn next(&mut self, now: Instant, timer_at: Option<Instant>) -> Step {
        if self.is_over {
            return Step::Quit;
        }
        // Timers are set for a tenth of a second at least, so they starve nobody.
        if timer_at.is_some_and(|timer_at| timer_at <= now) {
            return Step::Timer;
        }
        if now >= self.update_at {
            self.update_at = following(self.update_at, self.update_every, now);
            return Step::Update;
        }
        match self.pending.pop_front() {
            Some(path) => Step::Receive(path),
            None => Step::Wait(timer_at.map_or(self.update_at, |at| at.min(self.update_at))),
        }
    }

    /// on_update has returned: ticks that passed meanwhile are left out, so that outcomes get their turn as well.
    pub(super) fn updated(&mut self, now: Instant) {
        if now >= self.update_at {
            self.update_at = following(self.update_at, self.update_every, now);
        }
    }

    /// How many on_recv were left out since this was asked last.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

/// The first tick after `now`.
fn following(tick: Instant, every: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(tick).as_nanos();
    let into_tick = late % every.as_nanos().max(1);
    // The remainder is shorter than the period, which is a duration.
    let into_tick = Duration::from_nanos(u64::try_from(into_tick).unwrap_or(u64::MAX));
    now + every.saturating_sub(into_tick)
}
