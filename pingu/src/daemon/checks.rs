//! Runs checks beside the loop, on a thread of their own: neither TLS nor a program delays what the loop has to do.

use std::{
    collections::HashMap,
    io,
    panic::AssertUnwindSafe,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    runtime::{self, Handle},
    sync::{Semaphore, mpsc, oneshot},
    task::AbortHandle,
};

use crate::{
    config::CheckKind,
    daemon::{Daemon, clock},
    engine::check::{CheckChange, CheckOrder, CheckOutcome, Failure, RunId},
    probe::checks,
};

/// Each has a socket or two and perhaps the state of a TLS connection, some ten kilobytes.
pub(super) const RUNS_MAX: usize = 256;

/// Each is a process.
const PROGRAMS_MAX: usize = 16;

/// Results that wait for the loop; whoever has one waits for its place.
const RESULTS_MAX: usize = 64;

/// What is left at the end is given up after this.
const END_MAX: Duration = Duration::from_millis(200);

/// What a run came to.
#[derive(Debug)]
pub(super) struct CheckResult {
    pub(super) run: RunId,
    pub(super) outcome: CheckOutcome,
    pub(super) took: Duration,
}

/// The runs under way.
pub(super) struct Checks {
    thread: Option<Thread>,
    runs: HashMap<RunId, AbortHandle>,
    results: mpsc::Receiver<CheckResult>,
    sender: mpsc::Sender<CheckResult>,
    connections: Arc<Semaphore>,
    programs: Arc<Semaphore>,
}

/// Where the runs happen.
struct Thread {
    handle: Handle,
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    join: Option<JoinHandle<()>>,
}

impl Checks {
    /// Without any check there is no thread.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let (sender, results) = mpsc::channel(RESULTS_MAX);
        Ok(Self {
            thread: (count > 0).then(Thread::start).transpose()?,
            runs: HashMap::new(),
            results,
            sender,
            connections: Arc::new(Semaphore::new(RUNS_MAX)),
            programs: Arc::new(Semaphore::new(PROGRAMS_MAX)),
        })
    }

    /// Whether there may ever be a result.
    pub(super) fn any(&self) -> bool {
        self.thread.is_some()
    }

    /// Starts a run, or has it wait for a place.
    pub(super) fn begin(&mut self, order: CheckOrder) {
        let Some(thread) = &self.thread else {
            return;
        };
        let places = match order.check.kind {
            CheckKind::Exec(_) => &self.programs,
            CheckKind::Tcp(_) | CheckKind::Http(_) | CheckKind::Dns(_) | CheckKind::Mtu(_) => {
                &self.connections
            }
        };
        let (run, places, sender) = (order.run, Arc::clone(places), self.sender.clone());
        let work = async move {
            let _place = places.acquire().await;
            let begin = clock();
            let running = checks::run(&order, begin + order.check.timeout);
            // A result that never came would leave the check waiting for ever.
            let outcome = AssertUnwindSafe(running).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err(Failure::fault()));
            let took = clock().saturating_duration_since(begin);
            let result = CheckResult { run, outcome, took };
            // The loop has ended, and nobody wants to know.
            let _ = sender.send(result).await;
        };
        let task = thread.handle.spawn(work);
        self.runs.insert(run, task.abort_handle());
    }

    /// Ends a run that nobody waits for.
    pub(super) fn cancel(&mut self, run: RunId) {
        if let Some(task) = self.runs.remove(&run) {
            task.abort();
        }
    }

    /// The next result.
    pub(super) async fn next(&mut self) -> CheckResult {
        let result = self.results.recv().await;
        let result = result.expect("this holds a sender itself");
        self.runs.remove(&result.run);
        result
    }
}

impl Daemon {
    /// Ends the checks that nobody waits for, and starts those that are due.
    pub(super) fn check(&mut self) {
        for run in self.engine.cancelled_checks() {
            self.checks.cancel(run);
        }
        for order in self.engine.check_orders(clock()) {
            self.checks.begin(order);
        }
    }

    /// Takes what a check came to.
    pub(super) fn take_check(&mut self, result: CheckResult) {
        let CheckResult { run, outcome, took } = result;
        tracing::debug!(?run, ?outcome, ?took, "check ended");
        if let Some(change) = self.engine.checked(run, outcome, took, clock()) {
            let CheckChange {
                uplink,
                check,
                from,
                to,
                text,
            } = change;
            tracing::info!(%uplink, check, ?from, ?to, text, "check changed");
        }
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(END_MAX);
        };
        let join = thread::Builder::new()
            .name("checks".to_owned())
            .spawn(work)?;
        Ok(Self {
            handle,
            stop: Some(stop),
            join: Some(join),
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop = None;
        // Programs are killed before pingu ends.
        let _ = self.join.take().map(JoinHandle::join);
    }
}
