//! Waiting for a condition, with a deadline and with words for what was waited for.
#![expect(
    clippy::disallowed_methods,
    reason = "a deadline on the real network needs the clock"
)]

use std::{
    env, thread,
    time::{Duration, Instant},
};

/// Between two looks at a condition: far below every time that the tests measure, far above the cost of a look.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Polls until the condition gives a value, and panics at the deadline with the last thing seen instead of it.
#[track_caller]
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    condition: impl FnMut() -> Result<T, String>,
) -> T {
    match try_wait_until(deadline, condition) {
        Ok(value) => value,
        Err(seen) => panic!("waited {deadline:?} for {what}; seen instead: {seen}"),
    }
}

/// Polls until the condition gives a value; at the deadline gives the last thing seen instead of it.
pub fn try_wait_until<T>(
    deadline: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let end = Instant::now() + deadline * patience();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= end => return Err(seen),
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

/// How many times a deadline is waited for: more than one where `PINGU_LAB_PATIENCE` says so, as for an emulated machine.
fn patience() -> u32 {
    env::var("PINGU_LAB_PATIENCE").map_or(1, |text| {
        text.parse().expect("PINGU_LAB_PATIENCE is a number")
    })
}
