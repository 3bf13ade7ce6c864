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
    engine::check::{CheckChange, CheckOrder, CheckOutcome, Cost, Failure, RunId},
    probe::checks::{self, meter::Meter},
    units::UplinkId,
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
    runs: HashMap<RunId, Run>,
    /// Those that were ended by force, until nothing of them is left.
    aborted: Vec<(RunId, Run)>,
    results: mpsc::Receiver<CheckResult>,
    sender: mpsc::Sender<CheckResult>,
    connections: Arc<Semaphore>,
    programs: Arc<Semaphore>,
}

/// A run under way.
struct Run {
    task: AbortHandle,
    uplink: UplinkId,
    meter: Arc<Meter>,
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
            aborted: Vec::new(),
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
        let (uplink, meter) = (order.id, Arc::new(Meter::default()));
        let metered = Arc::clone(&meter);
        let work = async move {
            let _place = places.acquire().await;
            let begin = clock();
            let running = checks::run(&order, begin + order.check.timeout, &metered);
            // A result that never came would leave the check waiting for ever.
            let outcome = AssertUnwindSafe(running).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err(Failure::fault()));
            let took = clock().saturating_duration_since(begin);
            let result = CheckResult { run, outcome, took };
            // The loop has ended, and nobody wants to know.
            let _ = sender.send(result).await;
        };
        let task = thread.handle.spawn(work).abort_handle();
        let begun = Run {
            task,
            uplink,
            meter,
        };
        self.runs.insert(run, begun);
    }

    /// Ends a run that nobody waits for.
    pub(super) fn cancel(&mut self, run: RunId) {
        if let Some(ended) = self.runs.remove(&run) {
            ended.task.abort();
            self.aborted.push((run, ended));
        }
    }

    /// Something is left of runs that were ended by force: their costs are asked for in each turn.
    pub(super) fn are_ending(&self) -> bool {
        !self.aborted.is_empty()
    }

    /// What runs cost that were ended by force, and of which nothing is left.
    fn costs(&mut self) -> impl Iterator<Item = (RunId, UplinkId, Cost)> + use<> {
        let is_over = |(_, run): &mut (RunId, Run)| Arc::strong_count(&run.meter) == 1;
        let over: Vec<(RunId, Run)> = self.aborted.extract_if(.., is_over).collect();
        let cost = |(id, run): (RunId, Run)| (id, run.uplink, run.meter.cost());
        over.into_iter().map(cost)
    }

    /// The next result.
    pub(super) async fn next(&mut self) -> CheckResult {
        let result = self.results.recv().await;
        result.expect("this holds a sender itself")
    }
}

impl Daemon {
    /// Ends the checks that nobody waits for, and starts those that are due.
    pub(super) fn check(&mut self) {
        for run in self.engine.cancelled_checks() {
            self.checks.cancel(run);
        }
        for (run, uplink, cost) in self.checks.costs() {
            self.engine.check_cost(run, uplink, cost);
        }
        for order in self.engine.check_orders(clock()) {
            self.checks.begin(order);
        }
    }

    /// Takes what a check came to.
    pub(super) fn take_check(&mut self, result: CheckResult) {
        let CheckResult { run, outcome, took } = result;
        tracing::debug!(?run, ?outcome, ?took, "check ended");
        if let Some(ended) = self.checks.runs.remove(&run) {
            self.engine
                .check_cost(run, ended.uplink, ended.meter.cost());
        }
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
