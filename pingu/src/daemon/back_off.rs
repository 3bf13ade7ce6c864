//! How long the kernel is left alone after it refused something: shortly at first, for what is missing may come at once.

use std::time::Duration;

/// The first pause. Whoever flushes a table often puts the connected networks back within milliseconds, and without them no
/// gateway can be set; their return is no news here.
const FIRST: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that double from refusal to refusal.
#[derive(Debug)]
pub(super) struct BackOff {
    next: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl BackOff {
    /// The pause after a refusal.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(LONGEST);
        pause
    }

    /// Nothing was refused.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_in_a_row_are_further_and_further_apart() {
        let mut back_off = BackOff::default();
        let pauses_ms: Vec<u128> = (0..7).map(|_| back_off.pause().as_millis()).collect();
        assert_eq!(pauses_ms, [50, 100, 200, 400, 800, 1000, 1000]);
        back_off.reset();
        assert_eq!(back_off.pause(), FIRST);
    }
}
