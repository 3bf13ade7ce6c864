//! One hook as the loop sees it: what it waits for, what it has been given, and what became of that.

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    facts::Facts,
    grace::{Grace, Subject},
    runner::{Ran, Verdict},
};
use crate::{
    config::{HookConfig, HookEvent},
    engine::{HookRun, HookStatus},
    units::UplinkId,
};

/// One of them.
pub(super) struct Hook {
    pub(super) config: Arc<HookConfig>,
    queue: mpsc::Sender<Arc<Facts>>,
    pub(super) grace: Grace,
    tally: Tally,
}

/// What became of its events.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    failures: u64,
    timeouts: u64,
    dropped: u64,
    suppressed: u64,
    /// Those dropped since the last one that was not.
    dropped_in_a_row: u64,
    last: Option<HookRun>,
}

impl Hook {
    pub(super) fn new(config: Arc<HookConfig>, queue: mpsc::Sender<Arc<Facts>>) -> Self {
        Self {
            grace: Grace::new(config.at_most_every),
            config,
            queue,
            tally: Tally::default(),
        }
    }

    pub(super) fn waits_for(&self, event: HookEvent) -> bool {
        self.config.on.contains(&event)
    }

    /// Whether it is for one of these.
    pub(super) fn is_about(&self, ids: &[UplinkId]) -> bool {
        let uplinks = self.config.uplinks.as_ref();
        uplinks.is_none_or(|uplinks| ids.iter().any(|id| uplinks.contains(id)))
    }

    /// Hands an event over, unless it comes too early or too many wait.
    pub(super) fn take(&mut self, subject: Subject, facts: &Arc<Facts>, now: Instant) {
        let (name, tally) = (&self.config.name, &mut self.tally);
        if !self.grace.allows(subject, now) {
            tally.suppressed += 1;
            return;
        }
        match self.queue.try_send(Arc::clone(facts)) {
            Ok(()) => {
                self.grace.note(subject, now);
                let dropped = std::mem::take(&mut tally.dropped_in_a_row);
                if dropped > 0 {
                    tracing::warn!(hook = name, dropped, "its queue was full for a while");
                }
            }
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                if tally.dropped_in_a_row == 0 {
                    let event = facts.event();
                    tracing::warn!(hook = name, event, "its queue is full: events are dropped");
                }
                tally.dropped += 1;
                tally.dropped_in_a_row += 1;
            }
        }
    }

    pub(super) fn status(&self) -> HookStatus {
        let tally = &self.tally;
        HookStatus {
            name: self.config.name.clone(),
            on: self
                .config
                .on
                .iter()
                .map(|on| on.word().to_owned())
                .collect(),
            command: self.config.command.clone(),
            runs: tally.runs,
            failures: tally.failures,
            timeouts: tally.timeouts,
            dropped: tally.dropped,
            suppressed: tally.suppressed,
            waiting: (self.queue.max_capacity() - self.queue.capacity()) as u64,
            last: tally.last.clone(),
        }
    }

    /// A run of it has ended.
    pub(super) fn ended(&mut self, ran: Ran) {
        let tally = &mut self.tally;
        let (name, outcome) = (&self.config.name, &ran.outcome);
        let (event, subject) = (ran.facts.event(), ran.facts.subject());
        let took_ms = ran.took.as_millis() as u64;
        tally.runs += 1;
        if ran.verdict == Verdict::Good {
            tracing::info!(hook = name, event, subject, took_ms, "hook ran");
        } else {
            tracing::warn!(hook = name, event, subject, took_ms, outcome, "hook failed");
            tally.failures += 1;
        }
        tally.timeouts += u64::from(ran.verdict == Verdict::TimedOut);
        tally.last = Some(HookRun {
            event: event.to_owned(),
            subject: subject.to_owned(),
            time: ran.facts.time().to_owned(),
            good: ran.verdict == Verdict::Good,
            outcome: ran.outcome,
            took_ms,
        });
    }
}
