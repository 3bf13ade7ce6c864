//! Probing on this thread, the script on another: outcomes go there by what they share, and come back as what is to be probed.

use std::{
    ffi::CString,
    io,
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::sleep,
};

use super::{
    load,
    machine::Machine,
    shared::{self, Call, Shared},
    store::TooMany,
    variables::Variables,
};
use crate::{
    daemon::notify::Notifier,
    script::{
        probe::{Origin, Outcome, Pace, PathKey},
        prober::{Prober, ProberError},
        vm,
    },
};

/// A reply that takes longer is none. failoverd has no variable for it.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A callback that runs when the end is asked for has so long before it is given up.
const CALLBACK_PATIENCE: Duration = Duration::from_secs(2);

/// on_quit has so long: what it runs, such as `ip route`, is worth waiting for.
const QUIT_PATIENCE: Duration = Duration::from_secs(10);

/// With nothing to do the loop turns this often, for the service manager's watchdog.
const TURN_EVERY: Duration = Duration::from_secs(10);

/// So many paths are started in a row, and so many stopped: some milliseconds' work.
const CHANGES_MAX: usize = 256;

/// What sends probes: the real prober, and one for tests.
pub(super) trait Probing {
    fn start(&mut self, path: PathKey, now: Instant);
    fn stop(&mut self, destination: IpAddr, origin: Option<&Origin>);
    /// The next outcome. It may be dropped and asked for again.
    async fn next(&mut self) -> Outcome;
}

impl Probing for Prober {
    fn start(&mut self, path: PathKey, now: Instant) {
        self.start(path, now);
    }

    fn stop(&mut self, destination: IpAddr, origin: Option<&Origin>) {
        self.stop(destination, origin);
    }

    async fn next(&mut self) -> Outcome {
        self.next().await
    }
}

/// Runs a script until a signal.
///
/// # Errors
/// What keeps it from being run, or ended its thread.
pub async fn run(path: &Path) -> anyhow::Result<()> {
    let (machine, variables, shared) = load(path)?;
    let signals = Signals::new().context("cannot listen for signals")?;
    let prober = prober(&variables)?;
    begin(&shared, &variables)?;
    tracing::info!(
        script = %path.display(),
        probes = shared.store(|store, _| store.len()),
        "the script runs"
    );
    serve(prober, machine, &shared, signals).await
}

/// Where echo sockets are refused, a process that may open raw ones probes all the same.
fn prober(variables: &Variables) -> anyhow::Result<Prober> {
    let pace = Pace {
        privileged: variables.privileged,
        interval: variables.ping_frequency,
        timeout: TIMEOUT,
    };
    let refused = match Prober::new(pace) {
        Err(refused @ ProberError::EchoSocket(_)) => refused,
        other => return other.context("cannot probe"),
    };
    let privileged = Pace {
        privileged: true,
        ..pace
    };
    let Ok(prober) = Prober::new(privileged) else {
        return Err(refused).context("cannot probe");
    };
    tracing::warn!(
        "net.ipv4.ping_group_range does not include this process' group: its probes leave by raw sockets, as with `privileged = true`"
    );
    Ok(prober)
}

/// Adds what the script has listed to what it has started itself.
fn begin(shared: &Shared, variables: &Variables) -> Result<(), TooMany> {
    shared.store(|store, now| {
        store.set_window(variables.num_seconds);
        for key in &variables.probes {
            if !store.start(key.clone(), now)? {
                tracing::warn!(probe = super::api::tell(key), "is listed twice");
            }
            if let Origin::Interface(name) = &key.origin
                && !is_interface(name)
            {
                tracing::warn!(
                    interface = name,
                    "there is no such interface; its probes are lost until there is"
                );
            }
        }
        Ok(())
    })?;
    shared.begin(variables.update_frequency);
    Ok(())
}

fn is_interface(name: &str) -> bool {
    // SAFETY: the kernel reads a text that ends with a zero.
    CString::new(name).is_ok_and(|name| unsafe { libc::if_nametoindex(name.as_ptr()) } != 0)
}

/// Probes and lets the script run, until a signal or until its thread ends.
async fn serve(
    mut prober: impl Probing,
    machine: Machine,
    shared: &Arc<Shared>,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let routes = machine.routes();
    routes.open()?;
    let mut script = spawn(machine, shared)?;
    shared.paths_changed.notify_one();
    let mut notifier = Notifier::new(shared::now());
    notifier.ready("a script decides");
    loop {
        notifier.turn(shared::now());
        select! {
            outcome = prober.next() => shared.record(&outcome),
            () = shared.paths_changed.notified() => converge(&mut prober, shared),
            () = signals.end() => break,
            () = sleep(TURN_EVERY) => {}
            _ = &mut script => anyhow::bail!("the script's thread has ended"),
        }
    }
    notifier.stopping("letting the script end");
    shared.quit();
    finish(shared, &mut script, &mut signals).await;
    routes.end();
    Ok(())
}

/// Has that probed which the script wants: a part of it, where there is much to change, so that probes leave in between.
fn converge(prober: &mut impl Probing, shared: &Shared) {
    let (changes, now) = shared.store(|store, now| (store.take_changes(CHANGES_MAX), now));
    for key in changes.stop {
        prober.stop(key.destination, Some(&key.origin));
    }
    for key in changes.start {
        prober.start(key, now);
    }
    if changes.are_more {
        shared.paths_changed.notify_one();
    }
}

/// Lets the callback that runs, and on_quit, end by themselves if they are quick enough.
async fn finish(shared: &Shared, script: &mut oneshot::Receiver<()>, signals: &mut Signals) {
    if is_over(script, signals, CALLBACK_PATIENCE).await {
        return;
    }
    if let Some(stuck) = shared.running().filter(|running| !running.is_last) {
        tracing::warn!(
            callback = stuck.name,
            running_s = stuck.since.elapsed().as_secs(),
            "the script does not return; on_quit is left out"
        );
        return;
    }
    tracing::info!("on_quit is still running; another signal ends it");
    if !is_over(script, signals, QUIT_PATIENCE - CALLBACK_PATIENCE).await {
        let after_s = QUIT_PATIENCE.as_secs();
        tracing::warn!(after_s, "on_quit does not return, and is given up");
    }
}

/// Whether the script has ended by itself, or need not, since there was another signal; within so long.
async fn is_over(
    script: &mut oneshot::Receiver<()>,
    signals: &mut Signals,
    patience: Duration,
) -> bool {
    select! {
        _ = script => true,
        () = signals.end() => {
            tracing::warn!("another signal: the script is not waited for");
            true
        }
        () = sleep(patience) => false,
    }
}

fn spawn(machine: Machine, shared: &Arc<Shared>) -> io::Result<oneshot::Receiver<()>> {
    let (ended, script) = oneshot::channel();
    let shared = Arc::clone(shared);
    let work = move || {
        call_back(&machine, &shared);
        // The loop may have given up.
        let _ = ended.send(());
        // Freeing what a script has collected would only take time.
        std::mem::forget(machine);
    };
    vm::thread::spawn_as("script", vm::thread::Niceness::Nice, work)?;
    Ok(script)
}

/// The script's thread: one callback after another.
fn call_back(machine: &Machine, shared: &Shared) {
    loop {
        let call = shared.wait(machine.timer_at());
        if let Err(error) = machine.call(&call) {
            tracing::error!(callback = call.name(), "{error}");
        }
        shared.returned(&call);
        if matches!(call, Call::Quit) {
            return;
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Only so that a handler stands: programs that a script runs get SIGPIPE's default back.
    _pipe: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _pipe: signal(SignalKind::pipe())?,
        })
    }

    async fn end(&mut self) {
        select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}
