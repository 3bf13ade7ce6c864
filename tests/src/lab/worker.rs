//! A thread that works until it is told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A running thread; dropped, it is stopped and waited for.
pub struct Worker<R> {
    stop: Stop,
    thread: Option<JoinHandle<R>>,
}

/// What tells a worker to stop.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether the worker should end.
    pub fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<R: Send + 'static> Worker<R> {
    /// Starts a thread; its work looks at [`Stop`] at least every few hundred milliseconds.
    pub fn start(name: &str, work: impl FnOnce(&Stop) -> R + Send + 'static) -> Self {
        let stop = Stop::default();
        let seen_inside = stop.clone();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&seen_inside))
            .expect("a thread can be started");
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Stops the thread and gives what it came to; panics as it did.
    pub fn finish(mut self) -> R {
        self.stop.ask();
        let thread = self
            .thread
            .take()
            .expect("only finish takes the thread, and it consumes the worker");
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<R> Drop for Worker<R> {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed; a second one in a drop would abort the process.
            let _ = thread.join();
        }
    }
}
