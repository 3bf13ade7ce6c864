//! What the loop that probes and the script's thread share: results, what is to be called, and whether what is to be probed has changed.
//! Each holds the lock for the time of a look; never while a callback runs.
#![expect(
    clippy::disallowed_methods,
    reason = "the script asks for results when it pleases, so the time is that of its question"
)]

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    agenda::{Agenda, Step},
    store::{PathStatistics, Store},
};
use crate::script::probe::Outcome;

/// A warning of on_recv calls that were left out comes at most this often.
const DROPPED_WARNING_EVERY: Duration = Duration::from_secs(10);

/// Shared between two threads. A callback may block for long while probing goes on: neither could own this alone.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Wakes the script's thread.
    work: Condvar,
    /// Wakes the loop: what is to be probed has changed.
    pub(super) paths_changed: Notify,
}

struct Inner {
    store: Store,
    agenda: Option<Agenda>,
    running: Option<Running>,
    warn_at: Instant,
    dropped: u64,
}

/// The callback that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) name: &'static str,
    pub(super) since: Instant,
    /// It is on_quit.
    pub(super) is_last: bool,
}

/// What the script's thread calls next.
#[derive(Debug)]
pub(super) enum Call {
    Quit,
    Update,
    Timer,
    Receive(Box<PathStatistics>),
}

impl Call {
    /// The function of the script.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Quit => "on_quit",
            Self::Update => "on_update",
            Self::Timer => "pingu.after",
            Self::Receive(_) => "on_recv",
        }
    }
}

impl Shared {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            inner: Mutex::new(Inner {
                store: Store::new(window),
                agenda: None,
                running: None,
                warn_at: Instant::now(),
                dropped: 0,
            }),
            work: Condvar::new(),
            paths_changed: Notify::new(),
        }
    }

    /// Looks at the results, or changes what is to be probed.
    pub(super) fn store<T>(&self, look: impl FnOnce(&mut Store, Instant) -> T) -> T {
        look(&mut self.lock().store, Instant::now())
    }

    /// Probing begins.
    pub(super) fn begin(&self, update_every: Duration) {
        self.lock().agenda = Some(Agenda::new(update_every, Instant::now()));
    }

    /// Takes what became of a probe.
    pub(super) fn record(&self, outcome: &Outcome) {
        let mut inner = self.lock();
        let number = inner.store.record(outcome, Instant::now());
        if let (Some(number), Some(agenda)) = (number, &mut inner.agenda) {
            agenda.push(number);
            self.work.notify_one();
        }
    }

    /// The script shall quit.
    pub(super) fn quit(&self) {
        if let Some(agenda) = &mut self.lock().agenda {
            agenda.quit();
        }
        self.work.notify_one();
    }

    /// The callback that runs at the moment.
    pub(super) fn running(&self) -> Option<Running> {
        self.lock().running
    }

    /// Waits for the next call, that of a timer included; it counts as running until [`Self::returned`].
    pub(super) fn wait(&self, timer_at: Option<Instant>) -> Call {
        let mut inner = self.lock();
        loop {
            let now = Instant::now();
            let agenda = inner.agenda.as_mut();
            let step = agenda.expect("probing has begun").next(now, timer_at);
            let call = match step {
                Step::Timer => Call::Timer,
                Step::Quit => Call::Quit,
                Step::Update => Call::Update,
                // A path that has been stopped since has nothing to be told of.
                Step::Receive(number) => match inner.store.at(number, now) {
                    Some(statistics) => Call::Receive(Box::new(statistics)),
                    None => continue,
                },
                Step::Wait(until) => {
                    let time = until.saturating_duration_since(now);
                    let waited = self.work.wait_timeout(inner, time);
                    inner = waited.unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            };
            inner.running = Some(Running {
                name: call.name(),
                since: now,
                is_last: matches!(call, Call::Quit),
            });
            return call;
        }
    }

    /// The call has returned.
    pub(super) fn returned(&self, call: &Call) {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.running = None;
        if let Some(agenda) = &mut inner.agenda {
            if matches!(call, Call::Update) {
                agenda.updated(now);
            }
            inner.dropped += agenda.take_dropped();
        }
        if inner.dropped > 0 && now >= inner.warn_at {
            tracing::warn!(
                left_out = inner.dropped,
                "the script is slower than its probes: on_recv was not called for the oldest outcomes"
            );
            inner.dropped = 0;
            inner.warn_at = now + DROPPED_WARNING_EVERY;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked did so between two looks that are whole in themselves.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time.
pub(super) fn now() -> Instant {
    Instant::now()
}
