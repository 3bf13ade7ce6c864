//! The signals that the daemon heeds, in one queue: a task of their own waits for them, so that the loop, which is woken often, has one
//! thing to ask instead of four.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// More wait for the loop in the kernel, where equal ones are one.
const HEARD_MAX: usize = 4;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The end, by the signal of this name.
    Stop(&'static str),
    /// What is known is to be printed.
    Print,
}

/// The signals that have come.
pub(super) struct Signals(mpsc::Receiver<Wish>);

impl Signals {
    /// Catches them from now on.
    pub(super) fn catch() -> io::Result<Self> {
        let kinds = [
            (SignalKind::interrupt(), Wish::Stop("SIGINT")),
            (SignalKind::terminate(), Wish::Stop("SIGTERM")),
            (SignalKind::hangup(), Wish::Stop("SIGHUP")),
            (SignalKind::user_defined1(), Wish::Print),
        ];
        let (sender, receiver) = mpsc::channel(HEARD_MAX);
        for (kind, wish) in kinds {
            tokio::spawn(forward(signal(kind)?, wish, sender.clone()));
        }
        Ok(Self(receiver))
    }

    /// The next one; safe to cancel.
    pub(super) async fn next(&mut self) -> Wish {
        let wish = self.0.recv().await;
        wish.expect("the tasks that send end with the runtime")
    }
}

async fn forward(mut signal: Signal, wish: Wish, sender: mpsc::Sender<Wish>) {
    while signal.recv().await.is_some() {
        if sender.send(wish).await.is_err() {
            return;
        }
    }
}
