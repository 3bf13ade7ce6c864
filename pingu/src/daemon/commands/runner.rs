//! Runs the commands of one hook, one after the other, on a thread beside the loop.

use std::{
    io,
    os::fd::OwnedFd,
    panic::AssertUnwindSafe,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe,
    sync::{Semaphore, mpsc, watch},
};

use crate::{
    config::HookConfig,
    daemon::{
        clock,
        commands::{
            facts::Facts,
            lines::{LineBudget, Lines},
        },
    },
    process::{Group, Output, Program, described},
};

/// What is running when pingu ends has so long left: nobody waits longer for a service to stop.
const END_MAX: Duration = Duration::from_secs(1);

/// Of what a program that has ended left behind, so much is still read.
const REST_BYTES_MAX: usize = 1 << 18;

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Verdict {
    /// Exit status 0.
    Good,
    /// Another exit status, a signal, or it could not be started.
    Failed,
    /// Its time was over.
    TimedOut,
}

/// A run that has ended.
#[derive(Debug)]
pub(in crate::daemon) struct Ran {
    /// The place of its hook.
    pub(in crate::daemon) hook: usize,
    pub(in crate::daemon) facts: Arc<Facts>,
    pub(in crate::daemon) verdict: Verdict,
    /// In words.
    pub(in crate::daemon) outcome: String,
    pub(in crate::daemon) took: Duration,
}

/// What the runs of all hooks share.
#[derive(Clone)]
pub(super) struct Shared {
    /// Its sender is dropped when pingu ends.
    pub(super) stop: watch::Receiver<()>,
    pub(super) places: Arc<Semaphore>,
    pub(super) ended: mpsc::Sender<Ran>,
}

/// One hook at work.
pub(super) struct Runner {
    pub(super) place: usize,
    pub(super) config: Arc<HookConfig>,
    pub(super) queue: mpsc::Receiver<Arc<Facts>>,
    pub(super) shared: Shared,
}

impl Runner {
    /// Works until pingu ends.
    pub(super) async fn work(mut self) {
        let mut budget = LineBudget::default();
        let mut stop = self.shared.stop.clone();
        let places = Arc::clone(&self.shared.places);
        loop {
            let next = async {
                let facts = self.queue.recv().await?;
                let place = places.acquire().await.ok()?;
                Some((facts, place))
            };
            let Some((facts, _place)) = unless_stopped(&mut stop, next).await.flatten() else {
                return;
            };
            let begin = clock();
            let running = run(&self.config, &facts, &mut budget, &mut stop);
            let done = AssertUnwindSafe(running).catch_unwind().await;
            let (verdict, outcome) = done.unwrap_or_else(|_| {
                let text = "a fault of pingu's own: its log says more".to_owned();
                (Verdict::Failed, text)
            });
            let ran = Ran {
                hook: self.place,
                facts,
                verdict,
                outcome,
                took: clock().saturating_duration_since(begin),
            };
            let told = unless_stopped(&mut stop, self.shared.ended.send(ran)).await;
            if !matches!(told, Some(Ok(()))) {
                return;
            }
        }
    }
}

/// What comes of it; none if pingu ends before.
async fn unless_stopped<T>(
    stop: &mut watch::Receiver<()>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        _ = stop.changed() => None,
        done = work => Some(done),
    }
}

async fn run(
    config: &HookConfig,
    facts: &Facts,
    budget: &mut LineBudget,
    stop: &mut watch::Receiver<()>,
) -> (Verdict, String) {
    let hook = config.name.as_str();
    let log = |line: &str| tracing::info!(hook, event = facts.event(), line, "hook says");
    let started = start(config, facts);
    let (mut group, mut output, input) = match started {
        Ok(started) => started,
        Err(error) => {
            let program = &config.command[0];
            return (Verdict::Failed, format!("cannot run {program}: {error}"));
        }
    };
    let mut lines = Lines::default();
    let mut take = |bytes: &[u8]| lines.take(bytes, budget, clock(), log);
    let ended = attend(
        &group,
        &mut output,
        &mut take,
        (input, facts.json(hook)),
        (clock() + config.timeout, stop),
    )
    .await;
    if matches!(ended, Ending::ByItself) {
        output.read_rest(&mut take, REST_BYTES_MAX);
    }
    let status = group.finish().await;
    lines.finish(budget, clock(), log);
    if lines.withheld > 0 {
        let withheld = lines.withheld;
        tracing::info!(hook, withheld, "it writes more lines than are logged");
    }
    told(ended, status, config.timeout)
}

fn told(ended: Ending, status: Option<ExitStatus>, timeout: Duration) -> (Verdict, String) {
    match (ended, status) {
        (Ending::ByItself, Some(status)) if status.success() => (Verdict::Good, described(status)),
        (Ending::ByItself, Some(status)) => (Verdict::Failed, described(status)),
        (Ending::ByItself, None) => (Verdict::Failed, "how it ended is not known".to_owned()),
        (Ending::TimeOver, _) => (
            Verdict::TimedOut,
            format!("its time was over after {timeout:?}: it was killed"),
        ),
        (Ending::Stopped, _) => (Verdict::Failed, "it was killed: pingu ends".to_owned()),
        (Ending::Broken(error), _) => (Verdict::Failed, format!("it was killed: {error}")),
    }
}

fn start(config: &HookConfig, facts: &Facts) -> io::Result<(Group, Output, Option<pipe::Sender>)> {
    let (mut group, output) = Group::start(Program {
        command: &config.command,
        environment: facts.environment(&config.name),
        input: Stdio::piped(),
    })?;
    let input = group.input().map(|input| {
        let fd: OwnedFd = input.into();
        pipe::Sender::from_owned_fd(fd)
    });
    Ok((group, output, input.transpose()?))
}

/// Why a run is over.
enum Ending {
    ByItself,
    TimeOver,
    Stopped,
    Broken(io::Error),
}

/// Writes its input, reads its output, and waits for its end or that of its time.
async fn attend(
    group: &Group,
    output: &mut Output,
    take: &mut impl FnMut(&[u8]),
    (input, json): (Option<pipe::Sender>, String),
    (mut deadline, stop): (Instant, &mut watch::Receiver<()>),
) -> Ending {
    let write = async {
        // Who does not read it need not, and may be gone.
        if let Some(mut input) = input {
            let _ = input.write_all(json.as_bytes()).await;
        }
    };
    let mut write = std::pin::pin!(write);
    let (mut is_written, mut is_stopped) = (false, false);
    loop {
        tokio::select! {
            biased;
            ended = group.ended() => match ended {
                Ok(()) => return Ending::ByItself,
                Err(error) => return Ending::Broken(error),
            },
            // Before the output, of which there may always be more.
            () = tokio::time::sleep_until(deadline.into()) => {
                return if is_stopped { Ending::Stopped } else { Ending::TimeOver };
            }
            _ = stop.changed(), if !is_stopped => {
                is_stopped = true;
                deadline = deadline.min(clock() + END_MAX);
            }
            () = &mut write, if !is_written => is_written = true,
            () = output.read(take), if output.is_open() => {}
        }
    }
}
