//! The status told to those who ask: a hundred thousand targets are gathered in pieces, between which the loop has its turns, and written
//! as text beside it.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Instant, SystemTime},
};

use crate::{
    control::Reply,
    daemon::{Daemon, clock, time_of_day},
    engine::{Engine, Status},
};

/// So many targets are gathered in one turn of the loop: less than a millisecond.
const TARGETS_PER_TURN: usize = 256;

/// Who asked for the status, and what has been gathered for the first of them.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// At most as many as there may be conversations at the control socket.
    waiting: VecDeque<Reply>,
    /// With the next path.
    gathered: Option<(Status, usize)>,
}

impl Telling {
    /// Somebody asks.
    pub(super) fn ask(&mut self, reply: Reply) {
        self.waiting.push_back(reply);
    }

    /// Somebody waits.
    pub(super) fn is_due(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The paths that are gathered next.
    fn next_paths(&self) -> Range<usize> {
        let first = self.gathered.as_ref().map_or(0, |(_, next)| *next);
        first..first + TARGETS_PER_TURN
    }

    /// Gathers some more, and answers once it is all. `begin` makes the status without its targets.
    pub(super) fn follow(
        &mut self,
        engine: &Engine,
        begin: impl FnOnce() -> Status,
        now: (Instant, SystemTime),
    ) {
        let Some(reply) = self.waiting.pop_front() else {
            return;
        };
        let is_new = self.gathered.is_none();
        let (mut status, first) = self.gathered.take().unwrap_or_else(|| (begin(), 0));
        match engine.add_targets(&mut status, (first, TARGETS_PER_TURN), now) {
            Some(next) => {
                self.gathered = Some((status, next));
                self.waiting.push_front(reply);
            }
            None if is_new => reply.send(&status),
            None => {
                tokio::task::spawn_blocking(move || reply.send(&status));
            }
        }
    }
}

impl Daemon {
    /// Goes on answering those who asked for the status.
    pub(super) fn tell(&mut self) {
        if !self.telling.is_due() {
            return;
        }
        let paths = self.telling.next_paths();
        self.engine.count_packets(paths, &self.transport, clock());
        let (engine, pins) = (&self.engine, &self.pins);
        let (commands, adviser) = (&self.commands, &self.adviser);
        let begin = || {
            let mut status = engine.status_without_targets(clock(), time_of_day());
            pins.amend(&mut status);
            commands.amend(&mut status);
            adviser.amend(&mut status);
            status
        };
        self.telling.follow(engine, begin, (clock(), time_of_day()));
    }
}
