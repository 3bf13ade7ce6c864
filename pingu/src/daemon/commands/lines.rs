//! What hooks write, as lines for the log: bounded in length and rate. Logged as values they are quoted there, so that no terminal obeys
//! anything in them.

use std::{
    mem,
    time::{Duration, Instant},
};

/// So much of a line is logged.
const LINE_BYTES_MAX: usize = 512;

/// So many lines of a hook are logged in [`WINDOW`], over all of its runs.
const LINES_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);

/// How many lines of a hook are logged.
#[derive(Debug, Default)]
pub(super) struct LineBudget {
    window_began: Option<Instant>,
    used: u32,
}

impl LineBudget {
    fn take(&mut self, now: Instant) -> bool {
        let is_over = |began: Instant| now.saturating_duration_since(began) >= WINDOW;
        if self.window_began.is_none_or(is_over) {
            self.window_began = Some(now);
            self.used = 0;
        }
        self.used = self.used.saturating_add(1);
        self.used <= LINES_MAX
    }
}

/// The lines of one run.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Of the line that has not ended, up to its limit.
    begun: Vec<u8>,
    /// Bytes of it beyond.
    beyond: usize,
    /// Lines for which there was no budget.
    pub(super) withheld: u64,
}

impl Lines {
    /// Takes some output, and hands every line that has ended to `log`.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        budget: &mut LineBudget,
        now: Instant,
        mut log: impl FnMut(&str),
    ) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, has_ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = LINE_BYTES_MAX - self.begun.len();
            self.begun.extend_from_slice(&text[..text.len().min(room)]);
            self.beyond += text.len().saturating_sub(room);
            if has_ended {
                self.end(budget, now, &mut log);
            }
        }
    }

    /// The output is over: what has begun is a line, too.
    pub(super) fn finish(
        &mut self,
        budget: &mut LineBudget,
        now: Instant,
        mut log: impl FnMut(&str),
    ) {
        if !self.begun.is_empty() || self.beyond > 0 {
            self.end(budget, now, &mut log);
        }
    }

    fn end(&mut self, budget: &mut LineBudget, now: Instant, log: &mut impl FnMut(&str)) {
        let (line, beyond) = (mem::take(&mut self.begun), mem::take(&mut self.beyond));
        if !budget.take(now) {
            self.withheld += 1;
            return;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let mut text = String::from_utf8_lossy(line).into_owned();
        if beyond > 0 {
            text.push_str(&format!(" (and {beyond} more bytes)"));
        }
        log(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::test_clock;

    struct World {
        lines: Lines,
        budget: LineBudget,
        start: Instant,
        logged: Vec<String>,
    }

    impl World {
        fn new() -> Self {
            Self {
                lines: Lines::default(),
                budget: LineBudget::default(),
                start: test_clock(),
                logged: Vec::new(),
            }
        }

        fn take(&mut self, bytes: &[u8], after_s: u64) {
            let now = self.start + Duration::from_secs(after_s);
            let logged = &mut self.logged;
            self.lines.take(bytes, &mut self.budget, now, |line| {
                logged.push(line.to_owned());
            });
        }

        fn finish(&mut self) {
            let logged = &mut self.logged;
            self.lines.finish(&mut self.budget, self.start, |line| {
                logged.push(line.to_owned());
            });
        }
    }

    #[test]
    fn lines_are_logged_one_by_one_however_they_arrive() {
        let mut world = World::new();
        for bytes in [&b"on"[..], b"e\ntwo\r\n", b"", b"\nth", b"ree"] {
            world.take(bytes, 0);
        }
        assert_eq!(world.logged, ["one", "two", ""]);
        world.finish();
        world.finish();
        assert_eq!(world.logged, ["one", "two", "", "three"]);
    }

    #[test]
    fn a_long_line_is_cut_and_takes_no_memory() {
        let mut world = World::new();
        for _ in 0..100 {
            world.take(&[b'x'; 4096], 0);
        }
        world.take(b"\nnext\n", 0);
        let beyond = 100 * 4096 - LINE_BYTES_MAX;
        assert!(world.logged[0].ends_with(&format!("x (and {beyond} more bytes)")));
        assert_eq!(world.logged[1], "next");
        assert!(world.lines.begun.capacity() <= 2 * LINE_BYTES_MAX);
    }

    #[test]
    fn more_lines_than_there_may_be_are_counted() {
        let mut world = World::new();
        world.take("x\n".repeat(150).as_bytes(), 0);
        assert_eq!((world.logged.len(), world.lines.withheld), (100, 50));
        world.take(b"x\n", 9);
        assert_eq!((world.logged.len(), world.lines.withheld), (100, 51));
        world.take(b"x\n", 10);
        assert_eq!((world.logged.len(), world.lines.withheld), (101, 51));
    }
}
