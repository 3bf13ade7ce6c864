//! Time as the machine gave it. A test machine is shared: it may stand still for a tenth of a second while nobody in it is to blame.
#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is the time that passes on the real network"
)]

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::lab::worker::Worker;

/// A thread that sleeps this long, again and again, is what the machine is judged by.
const NAP: Duration = Duration::from_millis(2);

/// Being woken late by less is how every machine is.
const LATE_MIN: Duration = Duration::from_millis(1);

/// Measures a time, and how much of it the machine kept a thread that wanted to run from running: a limit that pingu is to keep
/// holds for the rest.
pub struct Stopwatch {
    start: Instant,
    stalled_ns: Arc<AtomicU64>,
    _sleeper: Worker<()>,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        let stalled_ns = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&stalled_ns);
        let sleeper = Worker::start("stopwatch", move |stop| {
            let mut begin = Instant::now();
            while !stop.is_wanted() {
                thread::sleep(NAP);
                let end = Instant::now();
                let late = (end - begin).saturating_sub(NAP);
                if late >= LATE_MIN {
                    let late_ns = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
                    seen.fetch_add(late_ns, Ordering::Relaxed);
                }
                begin = end;
            }
        });
        Self {
            start: Instant::now(),
            stalled_ns,
            _sleeper: sleeper,
        }
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.start
    }

    /// How long the machine stood still since the start.
    pub fn stalled(&self) -> Duration {
        Duration::from_nanos(self.stalled_ns.load(Ordering::Relaxed))
    }

    /// The time since the start without those in which this process, started since then, wanted to run and could not: a sleeper may
    /// be woken in time while one that works waits behind others.
    pub fn elapsed_of(&self, id: u32) -> Duration {
        let stalled = self.stalled().max(waited_to_run(id));
        self.start.elapsed().saturating_sub(stalled)
    }

    /// The time since the start without those.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed().saturating_sub(self.stalled())
    }
}

/// How long a process' first thread has been ready to run and was not running (the second figure of proc's `schedstat`).
pub fn waited_to_run(id: u32) -> Duration {
    let path = format!("/proc/{id}/schedstat");
    let text = fs::read_to_string(&path).expect("the process runs");
    let figure = text.split_whitespace().nth(1);
    let waited_ns = figure.and_then(|figure| figure.parse().ok());
    Duration::from_nanos(waited_ns.expect("proc has three figures there"))
}
