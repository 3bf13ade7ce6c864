//! Keeps the memory's file up to date, beside the loop: a slow disk delays no probe, and a broken one stops nothing.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::task::{JoinError, JoinHandle};

use crate::memory::{Memory, MemoryFile};

/// The file is written at most this often, however fast the table changes.
const PAUSE: Duration = Duration::from_secs(1);

/// After a failed write the next attempt waits this long: a disk that is full or read-only stays so for a while.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// The routes wait for the last writes, and people for the daemon's end.
const LAST_WRITES_TIME_MAX: Duration = Duration::from_secs(2);

/// What became of a write: what was written, or why it was not.
pub(super) type Outcome = Result<(Memory, io::Result<()>), JoinError>;

/// Somebody waits for the file to be written.
type Waiting = Box<dyn FnOnce(&io::Result<()>) + Send>;

/// Writes the memory where it has changed.
pub(super) struct Saver {
    file: MemoryFile,
    /// What the file holds.
    saved: Memory,
    under_way: Option<JoinHandle<(Memory, io::Result<()>)>>,
    /// The engine's revision that was last looked at.
    revision: Option<u64>,
    /// Something may have changed since.
    due: bool,
    not_before: Instant,
    /// At most as many as there may be conversations at the control socket.
    waiting: Vec<Waiting>,
    failing: bool,
}

impl Saver {
    /// A saver of a file that holds this.
    pub(super) fn new(file: MemoryFile, saved: Memory, now: Instant) -> Self {
        Self {
            file,
            saved,
            under_way: None,
            revision: None,
            due: false,
            not_before: now,
            waiting: Vec::new(),
            failing: false,
        }
    }

    /// Writes what there is to remember, if it may have changed and it is time. `revision` grows with every change.
    pub(super) fn follow(&mut self, revision: u64, memory: impl FnOnce() -> Memory, now: Instant) {
        self.due |= self.revision.replace(revision) != Some(revision);
        if self.due && self.under_way.is_none() && now >= self.not_before {
            self.due = false;
            self.save(memory(), now);
        }
    }

    /// Has the memory written in this turn of the loop, or as soon as the write under way has ended, and `done` called then.
    pub(super) fn hurry(&mut self, done: Waiting, now: Instant) {
        self.due = true;
        self.not_before = now;
        self.waiting.push(done);
    }

    /// Something is being written.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The end of the write that is under way; safe to cancel. [`Saver::take`] must get it.
    pub(super) async fn ended(&mut self) -> Outcome {
        match &mut self.under_way {
            Some(write) => write.await,
            None => std::future::pending().await,
        }
    }

    /// Takes the end of the write that was under way.
    pub(super) fn take(&mut self, outcome: Outcome, now: Instant) {
        self.under_way = None;
        let error = match outcome {
            Ok((memory, Ok(()))) => {
                self.saved = memory;
                if self.failing {
                    tracing::info!("the memory for the next start can be written again");
                }
                self.failing = false;
                return;
            }
            Ok((_, Err(error))) => error,
            Err(error) => io::Error::other(error),
        };
        if !self.failing {
            tracing::warn!(%error, "the memory for the next start cannot be written, going on without");
        }
        self.failing = true;
        self.due = true;
        self.not_before = now + PAUSE_AFTER_FAILURE;
    }

    /// When [`Saver::follow`] has something to do; a write under way ends by itself.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        (self.due && self.under_way.is_none()).then_some(self.not_before)
    }

    /// Writes what has changed, at the end; a disk that hangs is not waited for.
    pub(super) async fn finish(&mut self, memory: Memory, now: Instant) {
        let last = async {
            if self.under_way.is_some() {
                let outcome = self.ended().await;
                self.take(outcome, now);
            }
            self.save(memory, now);
            if self.under_way.is_some() {
                let outcome = self.ended().await;
                self.take(outcome, now);
            }
        };
        if tokio::time::timeout(LAST_WRITES_TIME_MAX, last)
            .await
            .is_err()
        {
            tracing::warn!("the memory for the next start is not written yet, ending without");
        }
    }

    fn save(&mut self, memory: Memory, now: Instant) {
        let waiting = std::mem::take(&mut self.waiting);
        if memory == self.saved {
            for done in waiting {
                done(&Ok(()));
            }
            return;
        }
        self.not_before = now + PAUSE;
        let file = self.file.clone();
        self.under_way = Some(tokio::task::spawn_blocking(move || {
            let outcome = file.write(&memory);
            for done in waiting {
                done(&outcome);
            }
            (memory, outcome)
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::test_clock, units::Protocol};

    fn pinned(name: &str) -> Memory {
        Memory {
            pinned: Some(name.to_owned()),
            ..Memory::default()
        }
    }

    struct World {
        directory: tempfile::TempDir,
        saver: Saver,
        start: Instant,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory for the test");
            let start = test_clock();
            let file = MemoryFile::new(&directory.path().join("state"), Protocol(136));
            Self {
                saver: Saver::new(file, Memory::default(), start),
                directory,
                start,
            }
        }

        /// One turn of the loop, until nothing is under way.
        async fn turn(&mut self, revision: u64, memory: &Memory, after_ms: u64) -> Memory {
            let now = self.start + Duration::from_millis(after_ms);
            self.saver.follow(revision, || memory.clone(), now);
            if self.saver.under_way.is_some() {
                let outcome = self.saver.ended().await;
                self.saver.take(outcome, now);
            }
            self.saver.file.read()
        }
    }

    #[tokio::test]
    async fn changes_are_written_at_most_once_a_second_and_the_last_one_wins() {
        let mut world = World::new();
        assert_eq!(world.turn(1, &pinned("a"), 0).await, pinned("a"));
        assert_eq!(world.saver.next_wake(), None);
        assert_eq!(world.turn(2, &pinned("b"), 10).await, pinned("a"));
        assert_eq!(world.turn(3, &pinned("c"), 20).await, pinned("a"));
        assert_eq!(world.saver.next_wake(), Some(world.start + PAUSE));
        assert_eq!(world.turn(3, &pinned("c"), 1000).await, pinned("c"));
        assert_eq!(world.saver.next_wake(), None);
    }

    #[tokio::test]
    async fn nothing_is_written_where_nothing_has_changed() {
        let mut world = World::new();
        world.turn(1, &Memory::default(), 0).await;
        assert!(!world.directory.path().join("state").exists());
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_written_is_tried_again_seldom() {
        let mut world = World::new();
        let state = world.directory.path().join("state");
        std::fs::write(&state, "a file in the directory's place").expect("writable");
        world.turn(1, &pinned("a"), 0).await;
        assert!(world.saver.failing);
        std::fs::remove_file(&state).expect("removable");
        let nothing = Memory::default();
        assert_eq!(world.turn(2, &pinned("b"), 59_999).await, nothing);
        assert_eq!(world.turn(2, &pinned("b"), 60_000).await, pinned("b"));
        assert!(!world.saver.failing);
    }

    #[tokio::test]
    async fn who_waits_hears_what_became_of_it_at_once() {
        let mut world = World::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        let tell = || -> Waiting {
            let sender = sender.clone();
            Box::new(move |outcome| sender.send(outcome.is_ok()).expect("the test listens"))
        };
        world.turn(1, &pinned("a"), 0).await;
        let soon = world.start + Duration::from_millis(1);
        world.saver.hurry(tell(), soon);
        world.turn(1, &pinned("a"), 1).await;
        assert_eq!(receiver.try_recv(), Ok(true), "it is there already");
        world.saver.hurry(tell(), soon);
        assert_eq!(world.turn(1, &pinned("b"), 1).await, pinned("b"));
        assert_eq!(receiver.try_recv(), Ok(true));
        std::fs::remove_dir_all(world.directory.path().join("state")).expect("removable");
        std::fs::write(world.directory.path().join("state"), "").expect("writable");
        world.saver.hurry(tell(), soon);
        world.turn(1, &pinned("c"), 1).await;
        assert_eq!(receiver.try_recv(), Ok(false));
    }

    #[tokio::test]
    async fn the_end_writes_what_is_left() {
        let mut world = World::new();
        world.turn(1, &pinned("a"), 0).await;
        world.saver.finish(pinned("b"), world.start).await;
        assert_eq!(world.saver.file.read(), pinned("b"));
    }
}
