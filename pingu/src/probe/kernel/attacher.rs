//! Puts programs on interfaces and takes them off on a thread of its own. Either waits for the lock of the kernel's network configuration
//! (RTNL), which somebody else may hold for seconds, and no probe is to wait for that.
//!
//! One thread does one after the other, in the order in which it was asked: what is taken off an interface has gone before the next is put
//! there.

use std::{
    io,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use tokio::sync::mpsc as results;

use super::AttachError;
use crate::units::Ifindex;

/// So many are asked for at a time: the thread need not wait for the loop between two, and those that matter most are still chosen late.
const UNDER_WAY_MAX: usize = 4;

/// At the end one that takes longer than this is not waited for; the kernel takes links off with the process.
const END_STEP_MAX: Duration = Duration::from_secs(5);

/// The thread, for whom it works. Dropped, it ends when all is done that it was asked for.
pub(in crate::probe) struct Attacher<T> {
    /// Attempts are at most [`UNDER_WAY_MAX`], and what is taken off was made by one before: the queue is no longer than there are
    /// interfaces served and attempts.
    jobs: Option<mpsc::Sender<Job<T>>>,
    /// Something was done since this was asked, or the thread has ended.
    steps: mpsc::Receiver<()>,
    last: Attempt,
    under_way: usize,
}

/// Where attempts' outcomes come.
pub(crate) type Outcomes<T> = results::Receiver<Made<T>>;

/// The number of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::probe) struct Attempt(u64);

/// What became of an attempt.
pub(crate) struct Made<T> {
    pub(in crate::probe) attempt: Attempt,
    pub(in crate::probe) ifindex: Ifindex,
    /// The device has no link header.
    pub(in crate::probe) bare: bool,
    pub(in crate::probe) outcome: Result<T, AttachError>,
}

enum Job<T> {
    Make(Attempt, Ifindex, bool),
    End(T),
}

impl<T: Send + 'static> Attacher<T> {
    /// Starts the thread, in the caller's network namespace. `make` attaches to an interface, the second argument being whether it is a
    /// device without link header; what it returns is detached by being dropped.
    pub(in crate::probe) fn start(
        make: impl FnMut(Ifindex, bool) -> Result<T, AttachError> + Send + 'static,
    ) -> io::Result<(Self, Outcomes<T>)> {
        let (jobs, queue) = mpsc::channel();
        // As many as there can be: the thread never waits for the loop.
        let (outcomes, made) = results::channel(UNDER_WAY_MAX);
        let (step, steps) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("attach".to_owned())
            .spawn(move || work(&queue, make, &outcomes, &step))?;
        let attacher = Self {
            jobs: Some(jobs),
            steps,
            last: Attempt::default(),
            under_way: 0,
        };
        Ok((attacher, made))
    }
}

impl<T> Attacher<T> {
    /// Whether another attempt may begin.
    pub(in crate::probe) fn has_room(&self) -> bool {
        self.under_way < UNDER_WAY_MAX
    }

    /// Whether an outcome is to come.
    pub(in crate::probe) fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// Begins an attempt. There must be room.
    pub(in crate::probe) fn begin(&mut self, ifindex: Ifindex, bare: bool) -> Attempt {
        debug_assert!(self.has_room());
        self.last.0 += 1;
        self.under_way += 1;
        self.ask(Job::Make(self.last, ifindex, bare));
        self.last
    }

    /// An outcome was taken.
    pub(in crate::probe) fn took_one(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Has something taken off again.
    pub(in crate::probe) fn end(&self, made: T) {
        self.ask(Job::End(made));
    }

    fn ask(&self, job: Job<T>) {
        let jobs = self
            .jobs
            .as_ref()
            .expect("the queue is there until the end");
        // Without the thread, what was to be taken off is so here, and the missing outcome ends the loop.
        drop(jobs.send(job));
    }
}

impl<T> Drop for Attacher<T> {
    fn drop(&mut self) {
        self.jobs = None;
        loop {
            match self.steps.recv_timeout(END_STEP_MAX) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!("hooks are not yet detached, and are not waited for");
                    return;
                }
            }
        }
    }
}

fn work<T>(
    queue: &mpsc::Receiver<Job<T>>,
    mut make: impl FnMut(Ifindex, bool) -> Result<T, AttachError>,
    outcomes: &results::Sender<Made<T>>,
    step: &mpsc::SyncSender<()>,
) {
    while let Ok(job) = queue.recv() {
        match job {
            Job::Make(attempt, ifindex, bare) => {
                let outcome = make(ifindex, bare);
                // Where nobody takes it, it is taken off here.
                drop(outcomes.blocking_send(Made {
                    attempt,
                    ifindex,
                    bare,
                    outcome,
                }));
            }
            Job::End(made) => drop(made),
        }
        // One that was not looked at yet says as much.
        let (Ok(()) | Err(_)) = step.try_send(());
    }
}

#[cfg(test)]
mod tests;
