//! What a script writes into the log: bounded in length and in number.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::script::vm::bounded;

/// A line of the log.
const TEXT_BYTES_MAX: usize = 1024;

/// Lines in [`WINDOW`]; further ones are counted and left out.
const LINES_MAX: u32 = 50;

const WINDOW: Duration = Duration::from_secs(10);

/// Writes what a script says.
#[derive(Debug)]
pub struct Pen {
    clock: fn() -> Instant,
    state: Mutex<Option<Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    lines: u32,
}

impl Pen {
    /// One that has written nothing yet.
    pub fn new(clock: fn() -> Instant) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// What may be written of a text: nothing where too much has been written lately.
    pub fn take(&self, text: &str) -> Option<String> {
        let now = (self.clock)();
        let mut state = self.state.lock().expect("nobody panics while holding it");
        let window = state.get_or_insert(Window {
            since: now,
            lines: 0,
        });
        if now.saturating_duration_since(window.since) > WINDOW {
            if window.lines > LINES_MAX {
                let left_out = window.lines - LINES_MAX;
                tracing::info!(left_out, "the script wrote too much");
            }
            *window = Window {
                since: now,
                lines: 0,
            };
        }
        window.lines = window.lines.saturating_add(1);
        (window.lines <= LINES_MAX).then(|| bounded(text, TEXT_BYTES_MAX))
    }
}
