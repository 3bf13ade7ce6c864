//! Some questions to the kernel wait for the lock of its network configuration (RTNL), which somebody else may hold for seconds: whoever
//! removes many interfaces, say. A thread takes it once before each look, so that the probes need not wait for it.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use tokio::sync::mpsc;

use crate::netlink::ask::Questions;

/// One is asked for at a time.
const QUEUE: usize = 1;

/// Whether the lock was to be had just before.
pub(super) struct Clearance {
    ask: SyncSender<()>,
    answers: mpsc::Receiver<()>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Asked,
    Given,
}

impl Clearance {
    /// Starts the thread, in the caller's network namespace.
    pub(super) fn start() -> io::Result<Self> {
        let mut questions = Questions::default();
        Self::start_with(move || {
            if let Err(error) = questions.wait_for_lock() {
                tracing::debug!(%error, "cannot wait for the kernel's network configuration");
            }
        })
    }

    fn start_with(wait: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let (ask, asked) = sync_channel(QUEUE);
        let (answer, answers) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("clearance".to_owned())
            .spawn(move || work(&asked, wait, &answer))?;
        Ok(Self {
            ask,
            answers,
            state: State::Idle,
        })
    }

    /// Whether it is given, which counts once; else it is asked for.
    pub(super) fn take(&mut self) -> bool {
        match self.state {
            State::Given => {
                self.state = State::Idle;
                true
            }
            State::Asked => false,
            // Without the thread nobody waits for anything but the kernel.
            State::Idle if self.ask.try_send(()).is_err() => true,
            State::Idle => {
                self.state = State::Asked;
                false
            }
        }
    }

    /// Whether the answer is to come.
    pub(super) fn is_asked(&self) -> bool {
        self.state == State::Asked
    }

    /// Returns when it is given. Safe to cancel.
    pub(super) async fn given(&mut self) {
        // Without the thread it is given as well.
        let _answer = self.answers.recv().await;
        self.state = State::Given;
    }
}

fn work(asked: &Receiver<()>, mut wait: impl FnMut(), answer: &mpsc::Sender<()>) {
    while asked.recv().is_ok() {
        wait();
        if answer.blocking_send(()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn it_counts_once_and_is_given_no_earlier_than_the_lock_is_to_be_had() {
        let (let_go, held) = channel::<()>();
        let wait = move || held.recv().unwrap_or_default();
        let mut clearance = Clearance::start_with(wait).unwrap();
        assert!(!clearance.take() && clearance.is_asked());
        assert!(!clearance.take(), "it is asked for once");
        assert!(clearance.answers.try_recv().is_err());
        let_go.send(()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(clearance.given());
        assert!(!clearance.is_asked());
        assert!(clearance.take());
        assert!(!clearance.take() && clearance.is_asked());
    }

    #[test]
    fn without_its_thread_nothing_waits_for_it() {
        let mut clearance = Clearance::start_with(|| panic!("on purpose")).unwrap();
        assert!(!clearance.take());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for _ in 0..3 {
            runtime.block_on(clearance.given());
            assert!(clearance.take());
        }
    }
}
